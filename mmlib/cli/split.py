"""`split`: split a feature set again so that no group stands in two parts, or report what leaks."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mmlib.cli.places import file_to_write
from mmlib.cli.shared import Commands, add_data, load_data, say

if TYPE_CHECKING:
    from mmlib.data import FeatureSet

LEAKING = 1
ALONE = "each sample is a group of its own"
NAME_THEM = "if samples share a speaker, video or dialogue, name it under 'group'."


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "split", help="split by group (speaker, video, dialogue), or report what leaks"
    )
    parser.set_defaults(run=run)
    add_data(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", help="where the feature file with the new split goes")
    what.add_argument(
        "--check", action="store_true", help="only report leaks; exit code 1 where there are any"
    )
    parser.add_argument(
        "--shares", default="0.7,0.15,0.15", help="of train, valid and test: 0.7,0.15,0.15"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split")


def run(options: argparse.Namespace) -> int:
    """Report the leaks, or write the same samples with a split by group."""
    from mmlib.data import SPLITS, find_leaks, split_by_group

    if options.out:
        file_to_write("--out", options.out)
    features = load_data(options.data, options.n)
    if options.check:
        leaks = find_leaks(features)
        print(leaks.describe())
        if _nobody_shares_a_group(features):
            say(f"mmlib split: warning: {ALONE}, so no group can leak; {NAME_THEM}")
        return LEAKING if leaks else 0
    split = split_by_group(
        features.group,
        labels=features.labels,
        shares=_numbers(options.shares),
        seed=options.seed,
    )
    again = features.with_split(split)
    again.save(options.out)
    told = []
    for part in SPLITS:
        here = split == part
        if here.any():
            groups = _number(len(set(features.group[here])), "group")
            told.append(f"{part} {_number(int(here.sum()), 'sample')} of {groups}")
    print(f"{', '.join(told)}. The feature file is {Path(options.out)}.")
    if _nobody_shares_a_group(features):
        say(f"mmlib split: warning: {ALONE}, so this split is one by sample; {NAME_THEM}")
    leaks = find_leaks(again)
    if leaks:
        say(
            f"mmlib split: warning: copies of {_number(len(leaks.samples), 'sample')} stand in more "
            "than one part, under other groups; see them with: python -m mmlib split --data "
            f"{shlex.quote(options.out)} --check"
        )
    return 0


def _nobody_shares_a_group(features: FeatureSet) -> bool:
    return len(set(features.group)) == len(features)


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _numbers(words: str) -> list[float]:
    """Read the shares."""
    try:
        return [float(word) for word in words.split(",")]
    except ValueError:
        raise ValueError(
            f"--shares is '{words}', expected three numbers of train, valid and test such as "
            "0.7,0.15,0.15."
        ) from None
