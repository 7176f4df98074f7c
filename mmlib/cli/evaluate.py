"""`evaluate`: evaluate a run on a split of a feature set and write the numbers as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmlib.cli.shared import Commands, add_data, add_machine, find_device, load_data


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("evaluate", help="evaluate a run on a split")
    parser.set_defaults(run=run)
    parser.add_argument("--run", dest="run_folder", required=True, help="a folder that train left")
    add_data(parser)
    add_machine(parser)
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    parser.add_argument("--json", required=True, help="where the numbers go")


def run(options: argparse.Namespace) -> None:
    """Evaluate, write the numbers and say the most important ones."""
    from mmlib.training import checkpoints, evaluate, runs

    model, about = runs.load_run(Path(options.run_folder))
    features = runs.fitted(load_data(options.data, options.n), about).subset(options.split)
    result = evaluate(model, features, device=find_device(options.device))
    told = {"system": about["system"], "split": options.split, "class_names": about["class_names"]}
    checkpoints.write_json(Path(options.json), {**result, **told})
    shown = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "mean_ccc", "mean_pearson")
    print(", ".join(f"{name} {result[name]:.3f}" for name in shown if name in result), end="")
    print(f" on {result['n']} samples ({options.split}).")
