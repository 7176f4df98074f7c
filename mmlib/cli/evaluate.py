"""`evaluate`: evaluate a run on a split of a feature set and write the numbers as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmlib.cli.places import file_to_write
from mmlib.cli.shared import (
    Commands,
    add_data,
    add_machine,
    add_smooth,
    find_device,
    load_data,
    smoothing,
    warn_of_leaks,
)


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("evaluate", help="evaluate a run on a split")
    parser.set_defaults(run=run)
    parser.add_argument("--run", dest="run_folder", required=True, help="a folder that train left")
    add_data(parser)
    add_machine(parser)
    parser.add_argument("--split", choices=("train", "valid", "test"), default="test")
    add_smooth(parser)
    parser.add_argument("--json", required=True, help="where the numbers go")


def run(options: argparse.Namespace) -> None:
    """Evaluate, write the numbers with their intervals and say the most important ones."""
    from mmlib.training import checkpoints, evaluating, runs
    from mmlib.training.following import following_report

    target = file_to_write("--json", options.json)
    model, about = runs.load_run(Path(options.run_folder))
    whole = runs.fitted(load_data(options.data, options.n), about)
    warn_of_leaks("evaluate", whole, options.data)
    features = whole.subset(options.split)
    smooth = smoothing(options.smooth, features)
    outputs = evaluating.predict(model, features, device=find_device(options.device))
    result = {**evaluating.score(outputs, features), **evaluating.intervals(outputs, features)}
    if features.class_names is None:
        result |= following_report(outputs, features, smooth)
    told = {"system": about["system"], "split": options.split, "class_names": about["class_names"]}
    checkpoints.write_json(target, {**result, **told})
    shown = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "mean_ccc", "mean_pearson")
    numbers = [_with_interval(name, result) for name in shown if name in result]
    print(f"{', '.join(numbers)} on {result['n']} samples ({options.split}).")
    if smooth:
        after = result["smoothed"]["mean_ccc"]
        print(f"Averaged along each video over {options.smooth} steps: mean_ccc {after:.3f}.")
    drawn = result["intervals_drawn"]
    if result["intervals"]:
        what = f"{drawn['units']} {drawn['by']}s" + (
            f", {drawn['note']}" if "note" in drawn else ""
        )
        print(f"In brackets {drawn['level']:.0%} bootstrap intervals over {what}.")


def _with_interval(name: str, result: dict[str, Any]) -> str:
    value = f"{name} {result[name]:.3f}"
    low, high = result["intervals"].get(name, (None, None))
    return value if low is None else f"{value} [{low:.3f}, {high:.3f}]"
