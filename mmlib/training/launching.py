"""Several processes from a notebook, where there is no shell to call `torchrun` from."""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from mmlib.training.trainer import TrainingError

_RESTART = (
    "restart the kernel and launch before anything touches the GPU or asks for it, as "
    "torch.cuda.is_available, a check and a training do."
)


def launch(function: Callable[..., Any], args: Sequence[Any] = (), *, processes: int = 2) -> Any:
    """Call a function in several processes at once, and return what it returns in the first.

    In the function, build the model and call `fit`: each process takes its share of every batch, and
    the numbers are those of one process. What the notebook holds (the data, say) is there in each
    process, by Accelerate's `notebook_launcher`, which copies this one; what the function changes is
    not seen here, so return what you need: the history, or `history, model.state_dict()`, whose
    tensors come back on the CPU. On GPUs each process takes one of its own; on a CPU each computes
    with one thread. Colab without two GPUs runs the function once, and so does, with a warning, a
    notebook that has used a GPU where there is not one for each process.

    Args:
        function: may be defined in a notebook's cell.
        args: what it is called with.
        processes: how many; 1 calls the function right here.

    Raises:
        TrainingError: processes cannot be copied from this one, or one of them failed; the message
            tells which, and why.
    """
    if processes < 1:
        raise TrainingError(f"processes is {processes}, expected at least 1.")
    if processes == 1 or ("google.colab" in sys.modules and torch.cuda.device_count() < 2):
        return function(*args)
    if torch.cuda.is_initialized() and torch.cuda.device_count() < processes:
        warnings.warn(
            "this notebook has used the GPU, and a process that has cannot be copied, so the function "
            f"runs once, in this process; {processes} processes on the CPU need a new kernel.",
            stacklevel=2,
        )
        return function(*args)
    _refuse_what_cannot_be_copied(processes)
    from accelerate import notebook_launcher
    from accelerate.state import AcceleratorState
    from accelerate.utils import is_cuda_available
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier `fit` in this notebook
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="mmlib-launch-") as folder:
        work = _worker(function, Path(folder))
        # Torch's own question, asked here, would keep every copy of this process from the GPUs.
        out = sys.stdout if is_cuda_available() else _NoFalseWord(sys.stdout)
        try:
            with redirect_stdout(out), _told_once():
                notebook_launcher(work, tuple(args), num_processes=processes, use_port=_free_port())
            return torch.load(Path(folder) / "result", map_location="cpu", weights_only=False)
        except ChildFailedError as error:
            raise _failure(Path(folder), error) from None
        except FileNotFoundError:
            raise TrainingError("the first process ended before the function returned.") from None
        except SignalException:
            raise KeyboardInterrupt from None
        finally:
            torch.set_num_threads(threads)


def _worker(function: Callable[..., Any], folder: Path) -> Callable[..., None]:
    """Make what each process does: the function, with what it needs around it."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    def work(*args: Any) -> None:
        rank = int(os.environ.get("RANK", "0"))
        # The threads of the process that this one was copied from are not there to share the work.
        torch.set_num_threads(1)
        try:
            result = function(*args)
            if rank == 0:
                torch.save(result, folder / "result")
        except SignalException:  # another one failed
            raise
        except Exception as error:
            reason = f"process {rank}: {type(error).__name__}: {error}"
            if torch.cuda._is_in_bad_fork() and "re-initialize CUDA" in reason:
                reason = f"process {rank} has no way to the GPU: {_RESTART}"
            part = folder / f"part{rank}"
            part.write_text(json.dumps([reason, traceback.format_exc()]), encoding="utf-8")
            os.replace(part, folder / f"failed{rank}")
            raise
        finally:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

    return work


class _NoFalseWord(io.TextIOBase):
    """Standard output without Accelerate's line that a training starts on GPUs, where there are none."""

    def __init__(self, out: Any) -> None:
        self.out, self._dropped = out, False

    def write(self, text: str) -> int:
        """Pass on what is true."""
        if text.startswith("Launching training on"):
            self._dropped = True
        elif not (self._dropped and text == "\n"):
            self._dropped = False
            self.out.write(text)
        else:
            self._dropped = False
        return len(text)

    def flush(self) -> None:
        """Pass it on."""
        self.out.flush()


def _refuse_what_cannot_be_copied(processes: int) -> None:
    """Refuse to fork where that is impossible or would fail later, less kindly."""
    if not hasattr(os, "fork"):
        raise TrainingError(
            "this system cannot copy a running notebook; write the training to a file and start it "
            f"with torchrun --nproc-per-node {processes}."
        )
    if torch.cuda.is_initialized():
        raise TrainingError(
            f"this notebook has used the GPU already, and a process that has cannot be copied; {_RESTART}"
        )
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise TrainingError("this process is one of several already; launch from the first alone.")


def _free_port() -> str:
    """Find a port at which the processes can meet; two launches at once need two."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@contextmanager
def _told_once() -> Iterator[None]:
    """Keep the launcher from logging what the error says that is raised in the end."""
    loggers = [
        logging.getLogger(name)
        for name in ("torch.distributed.elastic.multiprocessing.api", "torch.multiprocessing.spawn")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _failure(folder: Path, error: Any) -> TrainingError:
    """Tell which process failed first, and why, with its traceback as a note."""
    told = sorted(folder.glob("failed*"), key=lambda path: path.stat().st_mtime_ns)
    if told:
        reason, trace = json.loads(told[0].read_text(encoding="utf-8"))
        failure = TrainingError(reason)
        failure.add_note(f"In that process:\n{trace}")
        return failure
    rank, ended = min(error.failures.items(), key=lambda item: item[1].timestamp)
    return TrainingError(
        f"process {rank} ended with exit code {ended.exitcode} and no word of its own; where that is "
        "-9, memory may have run out."
    )
