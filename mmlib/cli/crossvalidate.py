"""`crossvalidate`: systems on every fold of the groups, all folds in one table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.places import folder_to_write
from mmlib.cli.shared import (
    Commands,
    add_balance,
    add_data,
    add_device,
    add_scale,
    add_smooth,
    balance_of,
    load_data,
    say_heedless,
    smoothing,
    systems_of,
    told_balance,
    words_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from mmlib.training.crossvalidating import CrossValidation


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "crossvalidate",
        help="train systems on every fold of the groups and report all folds",
        description="Cut the groups (videos, speakers) of train and valid into folds, train on all "
        "but one, judge on that one, and report every fold, their mean and their deviation. The "
        "file's own split stands in a row beside them. A command that was stopped goes on when it is "
        "repeated.",
    )
    parser.set_defaults(run=run)
    add_data(parser)
    parser.add_argument("--systems", default="jmt", help="names, joined by commas")
    parser.add_argument("--folds", type=int, default=5, help="how many")
    parser.add_argument("--fold-seed", type=int, default=0, help="of the division into folds")
    parser.add_argument("--seeds", type=int, default=1, help="how many for each fold")
    parser.add_argument("--out", required=True, help="the folder for runs and tables")
    parser.add_argument(
        "--targets", help="names of a regression's numbers, such as valence,arousal"
    )
    add_smooth(parser)
    parser.add_argument("--no-official", action="store_true", help="leave the file's own split out")
    add_scale(parser)
    parser.add_argument("--streams", help="only these, for example audio or audio,vision")
    parser.add_argument("--epochs", type=int, help="for all systems; else each system's own")
    add_balance(parser)
    add_device(parser)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Train what is not trained yet, write the tables, and print them."""
    from mmlib.training.crossvalidating import cross_validate

    balance = balance_of(options)
    systems = systems_of(options.systems)
    folder = folder_to_write("--out", options.out)
    features = load_data(options.data, options.n, options.streams)
    smooth = smoothing(options.smooth, features)
    say_heedless("crossvalidate", options, [name for name in systems if name != "majority"])
    found = cross_validate(
        features,
        systems,
        folder / "runs",
        folds=options.folds,
        fold_seed=options.fold_seed,
        targets=words_of(options.targets) or None,
        official=not options.no_official,
        seeds=options.seeds,
        source=options.data,
        progress=not options.quiet,
        scale=options.scale,
        recipe={"epochs": options.epochs},
        device=options.device,
        precision=options.precision,
        **balance,
    )
    print(_write(found, folder, options, smooth, balance))
    print(f"Tables are in {folder}; begin with {folder / 'report.md'}.")


def _write(
    found: CrossValidation,
    folder: Path,
    options: argparse.Namespace,
    smooth: list[int] | None,
    balance: dict[str, Any],
) -> str:
    """Write the tables as csv and as a page, and return the main ones as text."""
    from mmlib.reporting import in_words, write_csv
    from mmlib.training.checkpoints import replace_file

    for name in ("by_video.csv", "smoothed.csv"):  # of a call that asked for more
        (folder / name).unlink(missing_ok=True)
    main = _tables(found)
    write_csv(folder / "folds.csv", _joined(main))
    write_csv(folder / "runs.csv", found.every_run())
    shown = "\n\n".join(f"{name}\n\n{in_words(table)}" for name, table in main.items())
    parts = ["# Cross-validation", _protocol(found, options, balance)]
    parts += [f"## {name}\n\n{in_words(table)}" for name, table in main.items()]
    by_video = _tables(found, by_video=True) if found.targets else {}
    if any(table["mean"].notna().any() for table in by_video.values()):
        write_csv(folder / "by_video.csv", _joined(by_video))
        parts.append(
            "# Each video by itself\n\nThe concordance of each video over its own steps, averaged "
            "over the videos of a fold that have two labels or more."
        )
        parts += [f"## {name}\n\n{in_words(table)}" for name, table in by_video.items()]
    if smooth:
        smoothed = _tables(found, smooth=smooth)
        write_csv(folder / "smoothed.csv", _joined(smoothed))
        widths = ", ".join(f"{name} {n}" for name, n in zip(found.targets, smooth, strict=True))
        parts.append(
            "# Smoothed\n\nThe same predictions, averaged along each video over so many steps: "
            f"{widths}. These numbers are for comparison with work that smooths; those above are not "
            "smoothed."
        )
        parts += [f"## {name}\n\n{in_words(table)}" for name, table in smoothed.items()]
    text = "\n\n".join(parts) + "\n"
    replace_file(folder / "report.md", lambda part: part.write_text(text, encoding="utf-8"))
    return shown


def _tables(
    found: CrossValidation, *, by_video: bool = False, smooth: list[int] | None = None
) -> dict[str, pd.DataFrame]:
    return {name: found.table(name, by_video=by_video, smooth=smooth) for name in found.systems}


def _joined(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Put the systems' tables below each other, with a column that names them."""
    import pandas as pd

    return pd.concat(
        [table.assign(system=name) for name, table in tables.items()], ignore_index=True
    )[["system", *next(iter(tables.values())).columns]]


def _protocol(found: CrossValidation, options: argparse.Namespace, balance: dict[str, Any]) -> str:
    """Say how the numbers came about."""
    from mmlib.training.crossvalidating import CHOOSING, OFFICIAL

    count = sum(fold.name != OFFICIAL for fold in found.folds)
    seeds = "1 seed" if options.seeds == 1 else f"the mean of {options.seeds} seeds"
    score = "concordance over all real steps of a fold" if found.targets else "score of a fold"
    told = (
        f"Data: {options.data}. {count} folds by group: no group stands on both sides of a fold. "
        f"Each number is a {score}, {seeds}. The epoch is chosen on {CHOOSING:.0%} of what is not "
        "judged, from groups of their own, and never on what is judged. The deviation is that of a "
        "sample of folds."
    )
    if found.official is not None:
        told += (
            f" The row 'official' is the file's own split, judged on {found.official} (where the "
            "file has train, valid and test, the epoch is chosen on its valid); it counts neither in "
            "the mean nor in the deviation."
        )
    return f"{told} {told_balance(balance)}".rstrip()
