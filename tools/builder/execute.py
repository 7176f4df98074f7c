"""Runs a notebook in a fresh kernel, and tidies what it put out so that a rebuild gives the same bytes."""

import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from builder.cells import BuildError, blame

CELL_SECONDS = 60
WIDGET = "application/vnd.jupyter.widget-view+json"
# MMLIB_STATIC: figures as PNG outputs with alt text, and nothing that moves (mmlib.plots.page).
# One thread: sums in another order give other last digits, and so other bytes.
ENVIRONMENT = {"MMLIB_STATIC": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
# What a lesson may find on one machine and not on the next: stored notebooks are made without it.
UNSET = ("MMLIB_DATA",)


def run(notebook: NotebookNode, folder: Path, *, cell_seconds: float = CELL_SECONDS) -> float:
    """Execute in place, with `folder` as the working directory; return the seconds it took.

    Raises:
        BuildError: a cell raised, took longer than `cell_seconds`, or killed the kernel.
    """
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=cell_seconds,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--log-level=ERROR"],
    )
    metadata = dict(notebook.metadata)
    start = time.perf_counter()
    try:
        client.execute(env=kernel_environment())
    except CellTimeoutError:
        raise BuildError(f"a cell takes longer than {cell_seconds:g} s") from None
    except DeadKernelError:
        raise BuildError("the kernel died: not enough memory, or a crash below Python") from None
    except CellExecutionError as error:
        index = _failed(notebook)
        source = notebook.cells[index].source
        said = f"raised {error.ename}: {error.evalue}\n{error.traceback}"
        raise blame(index, source, said) from None
    seconds = time.perf_counter() - start
    notebook.metadata = nbformat.from_dict(metadata)  # the kernel has put its own version there
    tidy(notebook)
    return seconds


def kernel_environment() -> dict[str, str]:
    """What a lesson's kernel sees of the environment: the same on every machine where it matters."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return kept | ENVIRONMENT


def _failed(notebook: NotebookNode) -> int:
    for index, cell in enumerate(notebook.cells):
        if any(out.output_type == "error" for out in cell.get("outputs", ())):
            return index
    return len(notebook.cells) - 1


def tidy(notebook: NotebookNode) -> None:
    """Drop what changes from run to run: progress on stderr, widget models, split streams, times."""
    for index, cell in enumerate(notebook.cells):
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        if "nbval-check-output" in cell.metadata.get("tags", ()) and any(
            map(_is_stderr, cell.outputs)
        ):
            said = "".join(out.text for out in cell.outputs if _is_stderr(out))
            text = f"a compared cell writes to stderr, which is not stored: {said[:200]}"
            raise blame(index, cell.source, text)
        cell.outputs = _joined([out for out in cell.outputs if _is_kept(out)])


def _is_stderr(output: NotebookNode) -> bool:
    return bool(output.output_type == "stream" and output.name == "stderr")


def _is_kept(output: NotebookNode) -> bool:
    return not _is_stderr(output) and WIDGET not in output.get("data", {})


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Merge neighbouring pieces of one stream, which the kernel cuts wherever its clock says."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined
