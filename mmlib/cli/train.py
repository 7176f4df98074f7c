"""`train`: train a system on a feature set and leave a run's folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mmlib.cli.shared import Commands, add_data, add_machine, is_main, load_data, warn_of_leaks


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser("train", help="train a system and leave a run's folder")
    parser.set_defaults(run=run)
    parser.add_argument("--system", required=True, help="concat, late, majority, ...")
    add_data(parser)
    add_machine(parser)
    parser.add_argument("--out", required=True, help="the run's folder")
    parser.add_argument("--scale", choices=("small", "paper"), default="small")
    parser.add_argument("--streams", help="only these, for example audio or audio,vision")
    parser.add_argument("--epochs", type=int, help="passes over the train split")
    parser.add_argument("--batch-size", type=int, help="over all processes")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument(
        "--patience", type=int, help="stop after so many epochs without a better one"
    )
    parser.add_argument("--accumulate", type=int, default=1, help="parts a batch is computed in")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Train and say in one line how it went."""
    from mmlib.data import Standardised
    from mmlib.systems import build, find
    from mmlib.training import fit, runs, seed_everything

    system = find(options.system)  # an unknown name should not wait for the data
    features = load_data(options.data, options.n, options.streams)
    warn_of_leaks("train", features, options.data)
    train_set = features.subset("train")
    valid_set = features.subset("valid") if "valid" in features.split else None
    config = system.config.for_dataset(train_set, scale=options.scale)
    seed_everything(options.seed)
    model = Standardised(model=build(options.system, config), widths=features.widths)
    model.learn(train_set)
    folder = Path(options.out)
    runs.start(
        folder, runs.describe(options.system, config, features, options.data), options.resume
    )
    recipe: dict[str, Any] = {
        "epochs": 30,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "weight_decay": 1e-2,
    }
    for name, usual in recipe.items():
        asked = getattr(options, name, None)
        recipe[name] = getattr(config, name, usual) if asked is None else asked
    history = fit(
        model,
        train_set,
        valid_set,
        **recipe,
        seed=options.seed,
        device=options.device,
        precision=options.precision,
        accumulate=options.accumulate,
        patience=options.patience,
        out=folder,
        resume=options.resume,
        progress=not options.quiet,
    )
    if is_main():
        shown = ("train_loss", "valid_loss", "valid_accuracy", "valid_mean_ccc")
        last = history.iloc[-1]
        numbers = ", ".join(f"{name} {last[name]:.3f}" for name in shown if name in history)
        print(f"{len(history)} epochs, in the last: {numbers}. The run is in {folder}.")
