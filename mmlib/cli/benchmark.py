"""`benchmark`: what systems cost, beside what this machine could do, as a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmlib.cli.places import file_to_write, folder_to_write
from mmlib.cli.shared import Commands, add_device, find_device, say, systems_of, words_of

if TYPE_CHECKING:
    from mmlib.benchmark import Cost

SYSTEMS = "ca_mmaaet,avt_ca,jmt,embracenet,concat,late"
_HEAD = (
    f"{'system':<12} {'batch':>5} {'length':>6} {'':9} {'parameters':>11} {'GFLOP':>8} "
    f"{'forward':>9} {'step':>9} {'limit':>9} {'share':>6} {'memory':>9}"
)
_NOTE = (
    "GFLOP: of a training step's products. forward, step: milliseconds, a step with its backward pass. "
    "limit: the\nstep's products alone, and a copy of the bytes that its other operations read and "
    "write, in the same run. share: limit / step.\nmemory: what a step allocates at most, MB."
)


#: Of the markdown table: heading -> what stands under it.
_COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "system": lambda row: row["system"],
    "batch": lambda row: str(row["batch"]),
    "length": lambda row: f"{row['length']:g}",
    "precision": lambda row: row["precision"] + (", compiled" if row["compiled"] else ""),
    "parameters": lambda row: f"{row['parameters']:,}",
    "GFLOP": lambda row: f"{row['step_operations'] / 1e9:.2f}",
    "forward, ms": lambda row: f"{1e3 * row['forward_seconds']:.1f}",
    "step, ms": lambda row: f"{1e3 * row['step_seconds']:.1f}",
    "limit, ms": lambda row: f"{1e3 * row['limit_seconds']:.1f}",
    "limit / step": lambda row: f"{row['share']:.2f}",
    "memory, MB": lambda row: _megabytes(row["peak_bytes"]),
    "of eager": lambda row: _of_eager(row["step_seconds"], row["eager_seconds"]),
}


def add(commands: Commands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "benchmark",
        help="measure what systems cost in time and memory, beside the machine's limit",
        description="Measure systems on made-up streams of their papers' shapes: against the batch, and "
        "against the length of every stream.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--systems", default=SYSTEMS, help="names, joined by commas")
    parser.add_argument(
        "--scale",
        choices=("small", "paper"),
        help="else paper on a GPU, small on a CPU, where pictures are smaller, too",
    )
    parser.add_argument("--batches", default="2,16", help="samples at once, joined by commas")
    parser.add_argument("--lengths", default="1,2,4", help="factors on every stream's steps")
    parser.add_argument("--precision", default="fp32,bf16", help="fp32, bf16 or both")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="measure torch.compile's step beside each, too (needs a C++ compiler, and minutes)",
    )
    parser.add_argument("--repeats", type=int, default=5, help="measurements, for their median")
    parser.add_argument("--json", metavar="RESULT.json", help="write every number there")
    parser.add_argument(
        "--out", metavar="DIR", help="write cost.json, cost.csv, cost.md and cost.png there"
    )
    add_device(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> None:
    """Measure every case, print a line for each as it is done, and write the JSON file."""
    import torch
    from tqdm.auto import tqdm

    from mmlib.benchmark import cases, measure
    from mmlib.benchmark.compiling import check_compiler
    from mmlib.benchmark.measuring import PRECISIONS

    device = find_device(options.device)
    if device == "mps":
        raise ValueError("--device is mps, which this cannot time yet; take cpu or cuda.")
    systems, precisions = systems_of(options.systems), words_of(options.precision)
    for name in precisions:
        if name not in PRECISIONS:
            raise ValueError(f"--precision has {name!r}, expected {' or '.join(PRECISIONS)}.")
    scale = options.scale or ("paper" if device == "cuda" else "small")
    batches = _numbers("--batches", options.batches, int)
    lengths = _numbers("--lengths", options.lengths, float)
    if options.repeats < 1:
        raise ValueError(f"--repeats is {options.repeats}, expected at least 1.")
    if options.compile:
        check_compiler()
    asked = [
        (case, precision, compiled)
        for case in cases(systems, scale=scale, batches=batches, lengths=lengths)
        for precision in precisions
        for compiled in ((False, True) if options.compile else (False,))
    ]
    written = [file_to_write("--json", options.json)] if options.json else []
    written += [folder_to_write("--out", options.out) / "cost.json"] if options.out else []
    machine = _machine(device)
    print(
        f"{machine['device']}, torch {machine['torch']}, {machine['threads']} threads; scale {scale}"
    )
    print(_HEAD)
    rows: list[dict[str, Any]] = []
    failed: list[str] = []

    def write_down() -> None:
        whole = {"machine": machine, "scale": scale, "costs": rows, "failed": failed}
        for path in written:
            _write(path, json.dumps(whole, indent=1) + "\n")

    with tqdm(asked, unit="case", disable=options.quiet, dynamic_ncols=True) as bar:
        for case, precision, compiled in bar:
            how = f"{precision} {'comp.' if compiled else ''}".strip()
            bar.set_description(f"{case.system}, batch {case.batch}, {how}")
            try:
                cost = measure(
                    case,
                    device=device,
                    precision=precision,
                    compiled=compiled,
                    repeats=options.repeats,
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, it loses no other case
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                failed.append(
                    f"{case.system}, batch {case.batch}, length {case.length}, {how}: {reason}"
                )
                if device == "cuda":
                    torch.cuda.empty_cache()
            else:
                rows.append(_row(cost))
                tqdm.write(_line(cost, how))
                if compiled:
                    tqdm.write(_about_compiling(cost))
            write_down()  # each time: whoever is killed keeps what was measured
    print(_NOTE)
    for sentence in failed:
        say(f"mmlib benchmark: could not be measured: {sentence}")
    if rows and options.out:
        _report(Path(options.out), rows, machine["device"])
        print(f"The table as csv and markdown, and a figure, are in {options.out}.")
    if options.json:
        print(f"Every number is in {options.json}.")
    if not rows:
        raise ValueError("nothing could be measured; see the sentences above.")


def _write(path: Path, text: str) -> None:
    from mmlib.training.checkpoints import replace_file

    replace_file(path, lambda part: part.write_text(text, encoding="utf-8"))


def _report(folder: Path, rows: list[dict[str, Any]], device: str) -> None:
    """Write the table for a spreadsheet and for a page, and the figure."""
    import csv
    import io

    from mmlib.plots import save_figure
    from mmlib.plots.cost import costs
    from mmlib.training.checkpoints import replace_file

    names = [name for name in rows[0] if name != "shapes"]
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(folder / "cost.csv", sheet.getvalue())
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    lines += [f"| {' | '.join(cell(row) for cell in _COLUMNS.values())} |" for row in rows]
    _write(folder / "cost.md", f"{device}.\n\n" + "\n".join(lines) + "\n")
    figure = costs(rows, title=f"{rows[0]['precision']} on {device}")
    replace_file(folder / "cost.png", lambda part: save_figure(figure, part))


def _numbers(option: str, words: str, kind: type) -> list[Any]:
    """Read positive numbers joined by commas."""
    found = []
    for word in words_of(words):
        try:
            number = kind(word)
        except ValueError:
            number = 0
        if not 0 < number < float("inf"):
            raise ValueError(f"{option} has {word!r}, expected numbers above 0, joined by commas.")
        found.append(number)
    if not found:
        raise ValueError(f"{option} is empty, expected numbers joined by commas.")
    return found


def _machine(device: str) -> dict[str, Any]:
    """Say what was measured on, without naming whose it is."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    return {
        "device": f"{device} ({name})",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _row(cost: Cost) -> dict[str, Any]:
    """Flatten a cost for the JSON file."""
    fields = asdict(cost)
    case = cost.case._asdict() | {"shapes": cost.case.shapes}
    return (
        case
        | {name: value for name, value in fields.items() if name != "case"}
        | {
            "limit_seconds": cost.limit_seconds,
            "share": cost.share,
        }
    )


def _megabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.1f}"


def _line(cost: Cost, how: str) -> str:
    return (
        f"{cost.case.system:<12} {cost.case.batch:>5} {cost.case.length:>6g} {how:9} "
        f"{cost.parameters:>11,} {cost.step_operations / 1e9:>8.2f} "
        f"{1e3 * cost.forward_seconds:>9.1f} {1e3 * cost.step_seconds:>9.1f} "
        f"{1e3 * cost.limit_seconds:>9.1f} {cost.share:>6.2f} {_megabytes(cost.peak_bytes):>9}"
    )


def _of_eager(step: float, eager: float | None) -> str:
    return "-" if eager is None else f"{step / eager:.2f}"


def _about_compiling(cost: Cost) -> str:
    """Say what compiling took and brought."""
    pieces = "1 graph" if cost.graphs == 1 else f"{cost.graphs} graphs"
    return (
        f"{'':12} compiled in {cost.compile_seconds:.0f} s to {pieces}; the step takes "
        f"{_of_eager(cost.step_seconds, cost.eager_seconds)} of the plain one's time, and outputs "
        f"differ by {cost.difference:.0e} of the largest."
    )
