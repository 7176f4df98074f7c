"""`compare`: several systems under one protocol, as tables and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmlib.cli.shared import (
    Commands,
    add_balance,
    add_data,
    add_device,
    balance_of,
    load_data,
    say_heedless,
    warn_of_leaks,
)


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare", help="train several systems with several seeds and compare them"
    )
    parser.set_defaults(run=run)
    add_data(parser)
    parser.add_argument(
        "--systems",
        default="concat,late,ca_mmaaet",
        help="names, joined by commas; majority is always beside them",
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many for each system")
    parser.add_argument("--out", required=True, help="the folder for runs, tables and figures")
    parser.add_argument(
        "--scale",
        choices=("small", "paper", "official"),
        default="small",
        help="official: AVT-CA as its released code has it",
    )
    parser.add_argument("--streams", help="only these, for example audio or audio,vision")
    parser.add_argument("--epochs", type=int, help="for all systems; else each system's own")
    add_balance(parser)
    parser.add_argument("--split", choices=("valid", "test"), help="what is judged; else test")
    add_device(parser)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, write tables and figures, and print the table."""
    from mmlib.reporting import ceiling_of, write_report
    from mmlib.systems import find
    from mmlib.training.comparing import compare_systems

    balance = balance_of(options)
    systems = [name.strip() for name in options.systems.split(",") if name.strip()]
    systems = ["majority", *(name for name in systems if name != "majority")]
    for name in systems:  # an unknown name should not wait for the data
        find(name)
    features = load_data(options.data, options.n, options.streams)
    warn_of_leaks("compare", features, options.data)
    say_heedless("compare", options, systems[1:])  # that the majority looks at nothing is known
    split = options.split or ("test" if "test" in features.split else "valid")
    folder = Path(options.out)
    results = compare_systems(
        features,
        systems,
        folder / "runs",
        seeds=options.seeds,
        split=split,
        source=options.data,
        progress=not options.quiet,
        scale=options.scale,
        recipe={"epochs": options.epochs},
        device=options.device,
        precision=options.precision,
        **balance,
    )
    ceiling = ceiling_of(options.data, features)
    chosen = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in balance.items())
    note = f"For all of them: {chosen}." if chosen else ""
    print(write_report(results, folder, source=options.data, ceiling=ceiling, note=note))
    print(f"Tables and figures are in {folder}; begin with {folder / 'report.md'}.")
