"""`compare`: several systems under one protocol, as tables and figures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmlib.cli.places import folder_to_write
from mmlib.cli.shared import (
    Commands,
    add_balance,
    add_data,
    add_device,
    add_scale,
    balance_of,
    load_data,
    say,
    say_heedless,
    systems_of,
    told_balance,
    warn_of_leaks,
)

if TYPE_CHECKING:
    from mmlib.data import FeatureSet


#: The baselines and the four systems, which are compared where no others are named.
USUAL = ("concat", "late", "ca_mmaaet", "avt_ca", "jmt", "embracenet")
EPOCHS = 20


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare", help="train several systems with several seeds and compare them"
    )
    parser.set_defaults(run=run)
    add_data(parser)
    parser.add_argument(
        "--systems",
        help="names, joined by commas; else concat, late and those of ca_mmaaet, avt_ca, jmt and "
        "embracenet that fit the data; majority is always beside them",
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many for each system")
    parser.add_argument("--out", required=True, help="the folder for runs, tables and figures")
    add_scale(parser)
    parser.add_argument("--streams", help="only these, for example audio or audio,vision")
    parser.add_argument(
        "--epochs",
        type=_epochs,
        default=EPOCHS,
        metavar="N|own",
        help=f"the same number for all systems ({EPOCHS}), or own: each system's own",
    )
    parser.add_argument(
        "--tune",
        type=int,
        default=0,
        metavar="K",
        help="try K learning rates for each system on valid first: the same budget for all",
    )
    add_balance(parser)
    parser.add_argument(
        "--split",
        choices=("valid", "test"),
        help="what is judged; else test, or valid where there is no test",
    )
    add_device(parser)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, write tables and figures, and print the table."""
    from mmlib.reporting import ceiling_of, ceilings_of, write_report
    from mmlib.training.comparing import compare_systems

    balance = balance_of(options)
    named = [] if options.systems is None else systems_of(options.systems)
    folder = folder_to_write("--out", options.out)
    features = load_data(options.data, options.n, options.streams)
    warn_of_leaks("compare", features, options.data)
    if options.systems is None:
        named = _fitting(features, options.scale)
    systems = ["majority", *(name for name in named if name != "majority")]
    say_heedless("compare", options, systems[1:])  # that the majority looks at nothing is known
    split = options.split or ("test" if "test" in features.split else "valid")
    results = compare_systems(
        features,
        systems,
        folder / "runs",
        seeds=options.seeds,
        split=split,
        tune=options.tune,
        source=options.data,
        progress=not options.quiet,
        scale=options.scale,
        recipe={"epochs": None if options.epochs == "own" else options.epochs},
        device=options.device,
        precision=options.precision,
        **balance,
    )
    ceiling = ceiling_of(options.data, features)
    print(
        write_report(
            results,
            folder,
            source=options.data,
            ceiling=ceiling,
            ceilings=ceilings_of(options.data),
            note=told_balance(balance),
        )
    )
    print(f"Tables and figures are in {folder}; begin with {folder / 'report.md'}.")


def _epochs(word: str) -> int | str:
    """Read a number of epochs, or that each system has its own."""
    return word if word == "own" else int(word)


def _fitting(features: FeatureSet, scale: str) -> list[str]:
    """Name the usual systems that fit the data, and say of the others why they are left out."""
    from mmlib.systems import find

    train_set = features.subset("train")
    fitting = []
    for name in USUAL:
        try:
            find(name).config.for_dataset(train_set, scale=scale)
        except ValueError as error:
            say(f"mmlib compare: {name} is left out: {error}")
        else:
            fitting.append(name)
    return fitting
