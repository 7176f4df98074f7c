"""The commands `train` and `evaluate`: options in, one sentence out where they cannot be met."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

REFUSED, INTERRUPTED = 2, 130


class _Parser(argparse.ArgumentParser):
    """A parser that refuses with one sentence instead of its whole usage."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more."""
        self.exit(REFUSED, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 2 (refused) or 130 (interrupted)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(words)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        # What this package refuses is a ValueError whose message is written to be read.
        _say(f"mmlib {options.command}: {str(error).splitlines()[0]}")
        return REFUSED
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "mmlib", *words])
        more = again if "--resume" in words else f"{again} --resume"
        hint = f"; continue with: {more}" if options.command == "train" else ""
        _say(f"mmlib {options.command}: interrupted{hint}")
        return INTERRUPTED
    return 0


def train(options: argparse.Namespace) -> None:
    """Train a system on a feature set and leave a run's folder."""
    from mmlib.data import Standardised
    from mmlib.systems import build, find
    from mmlib.training import fit, runs, seed_everything

    system = find(options.system)  # an unknown name should not wait for the data
    features = _features(options)
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
    if _is_main():
        shown = ("train_loss", "valid_loss", "valid_accuracy", "valid_mean_ccc")
        last = history.iloc[-1]
        numbers = ", ".join(f"{name} {last[name]:.3f}" for name in shown if name in history)
        print(f"{len(history)} epochs, in the last: {numbers}. The run is in {folder}.")


def evaluate(options: argparse.Namespace) -> None:
    """Evaluate a run on a split of a feature set and write the numbers as JSON."""
    from mmlib.training import checkpoints, runs
    from mmlib.training import evaluate as evaluate_model

    model, about = runs.load_run(Path(options.run_folder))
    features = runs.fitted(_features(options), about).subset(options.split)
    result = evaluate_model(model, features, device=_device(options.device))
    told = {"system": about["system"], "split": options.split, "class_names": about["class_names"]}
    checkpoints.write_json(Path(options.json), {**result, **told})
    shown = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "mean_ccc", "mean_pearson")
    print(", ".join(f"{name} {result[name]:.3f}" for name in shown if name in result), end="")
    print(f" on {result['n']} samples ({options.split}).")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="mmlib", description="Train and evaluate systems of the course.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = commands.add_parser("train", help="train a system and leave a run's folder")
    one.set_defaults(run=train)
    one.add_argument("--system", required=True, help="concat, late, majority, ...")
    _data_options(one)
    one.add_argument("--out", required=True, help="the run's folder")
    one.add_argument("--scale", choices=("small", "paper"), default="small")
    one.add_argument("--streams", help="only these, for example audio or audio,vision")
    one.add_argument("--epochs", type=int, help="passes over the train split")
    one.add_argument("--batch-size", type=int, help="over all processes")
    one.add_argument("--learning-rate", type=float)
    one.add_argument("--patience", type=int, help="stop after so many epochs without a better one")
    one.add_argument("--accumulate", type=int, default=1, help="parts a batch is computed in")
    one.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    one.add_argument("--resume", action="store_true", help="continue the run in --out")
    one.add_argument("--quiet", action="store_true", help="no progress bar")
    two = commands.add_parser("evaluate", help="evaluate a run on a split")
    two.set_defaults(run=evaluate, streams=None)
    two.add_argument("--run", dest="run_folder", required=True, help="a folder that train left")
    _data_options(two)
    two.add_argument("--split", choices=("train", "valid", "test"), default="test")
    two.add_argument("--json", required=True, help="where the numbers go")
    return parser


def _data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="FEATURES.npz, theatre or theatre:PRESET")
    parser.add_argument("--n", type=int, default=1000, help="clips, where the data are the theatre")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and noise")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")


def _features(options: argparse.Namespace) -> Any:
    """Load a feature file, or play the theatre."""
    from mmlib.data import load_features

    stage, _, preset = options.data.partition(":")
    if stage == "theatre":
        from mmlib.data import theatre

        features = theatre.make(preset or "masks", n=options.n).features()
    else:
        features = load_features(options.data)
    return features.select(options.streams.split(",")) if options.streams else features


def _device(name: str) -> str:
    """Choose a GPU where there is one."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device is cuda but torch finds no such GPU here; use auto or cpu.")
    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _is_main() -> bool:
    """Say whether this is the only process, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def _say(sentence: str) -> None:
    if _is_main():
        print(sentence, file=sys.stderr)
