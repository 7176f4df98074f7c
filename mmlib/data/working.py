"""Many small pieces of work in several processes, which end with the one that asked for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import torch

from mmlib.data.feature_set import FeatureError
from mmlib.data.threads import one_thread

Key = TypeVar("Key", bound=Hashable)
Task = TypeVar("Task")
Result = TypeVar("Result")


def in_processes(
    work: Callable[[Task], Result], tasks: Mapping[Key, Task], workers: int
) -> Iterator[tuple[Key, Result]]:
    """Do each task and give its result as soon as it is there, by its key.

    Each process computes with one thread. With one worker all is done in this process.

    Args:
        work: a function of a module; it and the tasks must be picklable for several processes.
        tasks: by key.
        workers: processes.

    Raises:
        FeatureError: a process was killed from outside, as systems do when memory runs out.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        for key, task in tasks.items():
            with one_thread():
                result = work(task)
            yield key, result
        return
    # Started afresh: a copy of a process that has used threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)
    try:
        keys = {pool.submit(work, task): key for key, task in tasks.items()}
        for future in as_completed(keys):
            yield keys[future], future.result()
    except BrokenProcessPool:
        raise FeatureError(
            "a worker process was ended from outside, perhaps because memory ran out; what was done "
            "is kept, so start again, with fewer workers."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """Prepare a worker: one thread, no word of its own at an interrupt, no life without its parent."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
