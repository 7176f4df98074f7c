"""One thread for work that consists of many small operations."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread inside, as a context or as a decorator, `@one_thread()`.

    Drawing and speaking are thousands of operations on small chunks. To share one of them between
    threads costs more than it saves, and where another program keeps the cores busy the threads
    wait for each other at the end of each: seconds become minutes. It also gives the same bytes on
    any number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
