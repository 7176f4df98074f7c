"""`prepare`: a public data set as it was unpacked, to a feature file that `train` reads."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from mmlib.cli import affwild2, clips, meld, mosei
from mmlib.cli.entries import Entry, Made
from mmlib.cli.places import features_to_write, file_to_write, told_place
from mmlib.cli.shared import Commands, given_of, options_of, report_failures, say

DATASETS: dict[str, Entry] = {
    "ravdess": clips.RAVDESS,
    "cremad": clips.CREMAD,
    "mosei": mosei.MOSEI,
    "affwild2": affwild2.AFFWILD2,
    "meld": meld.MELD,
}


def add(commands: Commands) -> None:
    """Declare the command."""
    about = "; ".join(f"{name}: {entry.about}" for name, entry in DATASETS.items())
    parser = commands.add_parser(
        "prepare",
        help="make a feature file of a public data set's own files",
        description=f"Make a feature file of a data set as it was unpacked. {about}.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--dataset", required=True, choices=sorted(DATASETS))
    parser.add_argument("--root", required=True, help="the folder it was unpacked into")
    parser.add_argument(
        "--out",
        required=True,
        help="FEATURES.npz (meld: also a folder, or a TABLE.csv for extract)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    for declare in dict.fromkeys(entry.add for entry in DATASETS.values() if entry.add):
        declare(parser)


def run(options: argparse.Namespace) -> None:
    """Prepare, write the feature file, and name what could not be had."""
    out, entry = Path(options.out), DATASETS[options.dataset]
    _check_options(options)
    if entry.table and out.suffix == ".csv":
        file_to_write("--out", out)
        for sentence in entry.table(options):
            say(f"mmlib prepare: {sentence}")
        return
    if entry.folders:
        features_to_write("--out", out)
    else:
        file_to_write("--out", out, suffix=".npz")
    made = entry.make(options)
    if not made.written:
        made.features.save(out)
    _describe(made, out)
    for note in made.notes:
        say(f"mmlib prepare: {note}")
    report_failures("prepare", made.failures, made.left_out)


def _check_options(options: argparse.Namespace) -> None:
    """Refuse an option of another data set, which would change nothing."""
    declared = {
        name: options_of(entry.add) if entry.add else {} for name, entry in DATASETS.items()
    }
    mine = {*declared[options.dataset], *DATASETS[options.dataset].takes}
    for some in declared.values():
        for name, option in given_of(options, some).items():
            if name not in mine:
                others = [
                    f"--dataset {other}"
                    for other, entry in DATASETS.items()
                    if name in declared[other] or name in entry.takes
                ]
                raise ValueError(
                    f"{option} goes with {' or '.join(others)}, not with {options.dataset}; "
                    "leave it out."
                )


def _describe(made: Made, out: Path) -> None:
    """Say what is in the feature file."""
    features = made.features
    shapes = [f"{name} {tuple(features.inputs[name].shape[1:])}" for name in features.modalities]
    parts = Counter(features.split.tolist())
    told = [f"{part} {parts[part]}" for part in ("train", "valid", "test") if parts[part]]
    classes = [
        f"{name} {int((features.labels == number).sum())}"
        for number, name in enumerate(features.class_names or ())
    ]
    kinds = f"; {', '.join(classes)}" if classes else ""
    print(
        f"{len(features)} samples ({', '.join(told)}): {', '.join(shapes)}{kinds}. {told_place(out)}"
    )
