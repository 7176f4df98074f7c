"""`convert`: between a feature file, a feature folder, and the four pickles of CA-MMAAET's data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib.cli.places import file_to_write, folder_to_write
from mmlib.cli.shared import Commands, words_of

if TYPE_CHECKING:
    from mmlib.data import FeatureSet

FORMS = ("npz", "folder", "pickles")


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert",
        help="turn a feature file into a folder for data larger than memory, four pickles into a "
        "feature file, or either back",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--data", required=True, help="FEATURES.npz, a feature folder, or a folder of pickles"
    )
    parser.add_argument("--out", required=True, help="FEATURES.npz, or a folder")
    parser.add_argument(
        "--to",
        choices=FORMS,
        help="what --out shall be; left out: npz by its ending, else pickles",
    )
    parser.add_argument("--class-names", help="what 0, 1, 2 mean in the pickles, in this order")


def run(options: argparse.Namespace) -> None:
    """Convert and say what came out."""
    from mmlib.data import load_features, save_folder, unpack_features
    from mmlib.data.pickles import save_pickles

    source, target = Path(options.data), Path(options.out)
    form = _form(options.to, target)
    names = words_of(options.class_names)
    if source.resolve() == target.resolve():
        raise ValueError(f"--data and --out are both {source}; write to another place.")
    (file_to_write if form == "npz" else folder_to_write)("--out", target)
    pickled = _from_pickles(source, names, form)
    if form == "folder" and pickled is None and source.is_file():
        features = unpack_features(source, target)
    else:
        features = pickled or load_features(source)
        if form == "npz":
            features.save(target)
        elif form == "folder":
            save_folder(features, target)
        else:
            save_pickles(features, target)
    print(f"{len(features)} samples, {features.lengths}{_kept(features, pickled, form)}.", end=" ")
    print(f"Written to {target}.")


def _form(asked: str | None, target: Path) -> str:
    """Choose what is written, and see that the name fits."""
    form = asked or ("npz" if target.suffix == ".npz" else "pickles")
    if form == "npz" and target.suffix != ".npz":
        raise ValueError(f"--out is {target}, expected a feature file such as features.npz.")
    if form != "npz" and (target.suffix == ".npz" or target.is_file()):
        what = "the four pickles" if form == "pickles" else "the features"
        raise ValueError(f"--out is {target}, expected a folder for {what}.")
    return form


def _from_pickles(source: Path, names: list[str], form: str) -> FeatureSet | None:
    """Load the source if it is a folder of pickles."""
    from mmlib.data.feature_folder import is_feature_folder
    from mmlib.data.pickles import load_pickles

    if not source.is_dir() or is_feature_folder(source):
        if names:
            raise ValueError(
                f"--class-names names the numbers in pickles, but {source} is not a folder of them."
            )
        return None
    if form == "pickles":
        raise ValueError(
            f"{source} is a folder of pickles already; give --out features.npz, or --to folder."
        )
    if not names:
        raise ValueError(
            "the pickles hold numbers without names; give --class-names negative,neutral,positive "
            "(the order the CA-MMAAET paper prints) or negative,positive,neutral (CH-SIMS)."
        )
    return load_pickles(source, class_names=names)


def _kept(features: FeatureSet, pickled: FeatureSet | None, form: str) -> str:
    """Say what the pickles' numbers mean, which they do not say themselves."""
    names = features.class_names or ()
    meant = f"0 to {len(names) - 1} mean {', '.join(names)}"
    if pickled is not None:
        return f"; {meant}"
    return f"; the pickles do not say so, but {meant}" if form == "pickles" else ""
