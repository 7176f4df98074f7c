"""`train`: train a system on a feature set and leave a run's folder."""

from __future__ import annotations

import argparse

from mmlib.cli.places import folder_to_write
from mmlib.cli.shared import (
    Commands,
    add_balance,
    add_data,
    add_machine,
    add_scale,
    balance_of,
    is_main,
    load_data,
    pairs_of,
    say_heedless,
    warn_of_leaks,
)


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train",
        help="train a system and leave a run's folder",
        epilog="Under torchrun --nproc-per-node N -m mmlib train ... a batch is shared among N "
        "processes, and the numbers are those of one to rounding; but for batch norms (in avt_ca, "
        "wavernn, facenet_gru), each of which measures its process's share alone.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--system",
        required=True,
        help="early, concat, late, gated, tensor, majority, ...; wavernn, facenet_gru, gpt",
    )
    add_data(parser)
    add_machine(parser)
    parser.add_argument("--out", required=True, help="the run's folder")
    add_scale(parser)
    parser.add_argument(
        "--weights", help="public weights that an expert starts from: a file or folder, or a name"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE,...",
        help="other values for fields of the system's config, for example pool=mean,dropout=.2",
    )
    parser.add_argument("--streams", help="only these, for example audio or audio,vision")
    parser.add_argument("--epochs", type=int, help="passes over the train split")
    parser.add_argument("--batch-size", type=int, help="over all processes")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument(
        "--patience", type=int, help="stop after so many epochs without a better one"
    )
    add_balance(parser)
    parser.add_argument("--accumulate", type=int, default=1, help="parts a batch is computed in")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Train and say in one line how it went."""
    from mmlib.systems import find
    from mmlib.training.jobs import RECIPE, train_system

    balance = balance_of(options)
    switches = None
    if options.set is not None:
        switches = pairs_of("--set", options.set, "NAME=VALUE such as pool=mean,dropout=.2")
    find(options.system)  # an unknown name should not wait for the data
    folder = folder_to_write("--out", options.out)
    features = load_data(options.data, options.n, options.streams)
    warn_of_leaks("train", features, options.data)
    say_heedless("train", options, [options.system])
    _, history = train_system(
        options.system,
        features,
        folder,
        source=options.data,
        scale=options.scale,
        weights=options.weights,
        switches=switches,
        seed=options.seed,
        resume=options.resume,
        recipe={name: getattr(options, name, None) for name in RECIPE},
        device=options.device,
        precision=options.precision,
        accumulate=options.accumulate,
        progress=not options.quiet,
        **balance,
    )
    if is_main():
        watched = "valid_balanced_accuracy" if "balanced" in balance.values() else "valid_accuracy"
        shown = ("train_loss", "valid_loss", watched, "valid_mean_ccc")
        last = history.iloc[-1]
        numbers = ", ".join(f"{name} {last[name]:.3f}" for name in shown if name in history)
        took = "1 epoch" if len(history) == 1 else f"{len(history)} epochs, in the last"
        print(f"{took}: {numbers}. The run is in {folder}.")
