"""`prepare`: a public data set as it was unpacked, to a feature file that `train` reads."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from mmlib.cli import affwild2, clips, mosei
from mmlib.cli.entries import Entry, Made
from mmlib.cli.shared import Commands, report_failures, say

DATASETS: dict[str, Entry] = {
    "ravdess": clips.RAVDESS,
    "cremad": clips.CREMAD,
    "mosei": mosei.MOSEI,
    "affwild2": affwild2.AFFWILD2,
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
    parser.add_argument("--out", required=True, help="FEATURES.npz")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    for declare in dict.fromkeys(entry.add for entry in DATASETS.values() if entry.add):
        declare(parser)


def run(options: argparse.Namespace) -> None:
    """Prepare, write the feature file, and name what could not be had."""
    out = Path(options.out)
    if out.suffix != ".npz":
        raise ValueError(f"--out is {out}, expected a feature file such as features.npz.")
    if out.is_dir():
        raise ValueError(
            f"--out is {out}, which is a folder; expected the name of a file to write."
        )
    made = DATASETS[options.dataset].make(options)
    made.features.save(out)
    _describe(made, out)
    for note in made.notes:
        say(f"mmlib prepare: {note}")
    report_failures("prepare", made.failures, made.left_out)


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
        f"{len(features)} samples ({', '.join(told)}): {', '.join(shapes)}{kinds}. The feature file "
        f"is {out}, {out.stat().st_size / 1e6:,.1f} MB."
    )
