"""`robustness`: trained runs where streams are absent, as tables and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmlib.cli.places import folder_to_write
from mmlib.cli.shared import Commands, add_device, find_device, load_data, warn_of_leaks


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "robustness",
        help="measure trained runs where streams are absent",
        description="Measure trained runs on every combination of their streams, and with each "
        "stream of each sample gone at a rising rate: the same draws for every run. A sample never "
        "loses all; it keeps one where it would. Seeds of one system are put together.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--runs", nargs="+", required=True, metavar="DIR", help="what train left, or compare"
    )
    parser.add_argument(
        "--data", help="FEATURES.npz, theatre:PRESET, ...; else what the runs were trained on"
    )
    parser.add_argument("--n", type=int, default=1000, help="clips, where --data is the theatre")
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    parser.add_argument("--out", required=True, help="the folder for tables and figures")
    parser.add_argument("--draws", type=int, default=10, help="of what goes, at each rate")
    parser.add_argument("--seed", type=int, default=0, help="of these draws")
    parser.add_argument(
        "--means",
        choices=("mask", "zeros"),
        help="take streams away so in every system; else each system's own",
    )
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Measure every run, write tables and figures, and print the tables."""
    from tqdm.auto import tqdm

    from mmlib.reporting import ceilings_of, write_robustness
    from mmlib.training.robustness import find_trials, measure_runs, own_data

    if options.draws < 1:
        raise ValueError(f"--draws is {options.draws}, expected at least 1.")
    folder = folder_to_write("--out", options.out)
    trials = find_trials([Path(place) for place in options.runs])
    source, count = (options.data, options.n) if options.data else own_data(trials)
    whole = load_data(source, count)
    warn_of_leaks("robustness", whole, source)
    with tqdm(
        total=sum(trial.passes for trial in trials),
        unit="pass",
        disable=options.quiet,
        dynamic_ncols=True,
    ) as bar:
        found = measure_runs(
            trials,
            whole,
            options.split,
            same_data=not options.data,
            draws=options.draws,
            seed=options.seed,
            means=options.means,
            ceilings=ceilings_of(source),
            device=find_device(options.device),
            update=bar.update,
        )
    print(write_robustness(found, folder, source=source, split=options.split, draws=options.draws))
    print(f"Tables and figures are in {folder}; begin with {folder / 'report.md'}.")
