"""`convert`: the four pickles of CA-MMAAET's data to a feature file, and back."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmlib.cli.shared import Commands


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "convert", help="turn a folder of four pickles into a feature file, or back"
    )
    parser.set_defaults(run=run)
    parser.add_argument("--data", required=True, help="a folder of pickles, or FEATURES.npz")
    parser.add_argument("--out", required=True, help="FEATURES.npz, or a folder for the pickles")
    parser.add_argument("--class-names", help="what 0, 1, 2 mean in the pickles, in this order")


def run(options: argparse.Namespace) -> None:
    """Convert and say what came out."""
    from mmlib.data import load_features
    from mmlib.data.pickles import load_pickles, save_pickles

    source, target = Path(options.data), Path(options.out)
    if source.is_dir():
        if not options.class_names:
            raise ValueError(
                "the pickles hold numbers without names; give --class-names negative,neutral,positive "
                "(the order the CA-MMAAET paper prints) or negative,positive,neutral (CH-SIMS)."
            )
        if target.suffix != ".npz":
            raise ValueError(f"--out is {target}, expected a feature file such as features.npz.")
        names = [name.strip() for name in options.class_names.split(",")]
        features = load_pickles(source, class_names=names)
        features.save(target)
        kept = f"0 to {len(names) - 1} mean {', '.join(names)}"
    else:
        if options.class_names:
            raise ValueError(
                f"--class-names names the numbers in pickles, but {source} is not a folder of them."
            )
        if target.suffix:
            raise ValueError(f"--out is {target}, expected a folder for the four pickles.")
        features = load_features(source)
        save_pickles(features, target)
        names = list(features.class_names or ())
        kept = f"the pickles do not say so, but 0 to {len(names) - 1} mean {', '.join(names)}"
    print(f"{len(features)} samples, {features.lengths}; {kept}. Written to {target}.")
