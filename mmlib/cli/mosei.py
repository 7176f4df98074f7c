"""`prepare` for CMU-MOSEI: from its computational sequences (.csd) to a feature file."""

from __future__ import annotations

import argparse
from typing import Any

from mmlib.cli.entries import Entry, Made
from mmlib.cli.shared import pairs_of


def _add(parser: Any) -> None:
    """Declare its options."""
    group = parser.add_argument_group(
        "computational sequences (mosei)",
        "ROOT holds the .csd files, in subfolders or not: 'All Labels', and some of glove_vectors "
        "(text), COVAREP (audio), FACET 4.2 or OpenFace_2 (vision). The feature file takes 4 bytes a "
        "value: some 2 GB for 23,000 segments of 50 steps with FACET, and as much memory.",
    )
    group.add_argument(
        "--target",
        choices=("emotion", "emotions", "sentiment"),
        default="emotion",
        help="emotion: the strongest of six; emotions: the intensities of all six; sentiment: -3 to 3",
    )
    group.add_argument(
        "--threshold",
        type=float,
        help="with --target emotions: 1 above it and 0 elsewhere, such as 0",
    )
    group.add_argument(
        "--folds",
        metavar="FILE",
        help="the official videos of each split: the SDK's cmu_mosei_std_folds.py, a .json of lists "
        "train, valid, test, or a .csv with columns video, split; left out: a split by video",
    )
    group.add_argument(
        "--steps", metavar="LIST", help="left out: text=50,audio=50,vision=50; some may be named"
    )
    group.add_argument(
        "--sequences", metavar="LIST", help="another sequence for a stream: vision=OpenFace_2"
    )
    group.add_argument("--split-seed", type=int, default=0, help="of the split by video")


def _make(options: argparse.Namespace) -> Made:
    from mmlib.data.mosei import load_mosei

    steps = pairs_of("--steps", options.steps) if options.steps else {}
    sequences = pairs_of("--sequences", options.sequences) if options.sequences else {}
    features, notes = load_mosei(
        options.root,
        target=options.target,
        threshold=options.threshold,
        folds=options.folds,
        steps={name: _whole(number) for name, number in steps.items()},
        sequences=sequences,
        seed=options.split_seed,
        progress=not options.quiet,
    )
    return Made(features, notes)


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"--steps names '{text}', expected a whole number.")
    return int(text)


MOSEI = Entry("segments of videos with features (.csd), emotions and sentiment", _add, _make)
