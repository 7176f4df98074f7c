"""Let this process keep the memory that it frees, instead of asking the system for it anew."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of mallopt, in glibc's malloc.h
_CHOSEN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed; return whether it will.

    By default glibc hands tensors of more than 32 MB back to the system as soon as they are
    freed, and each next one comes as fresh pages that the system must clear first: of AVT-CA's
    step at the paper's size that is a sixth to a quarter; kept, the process's peak grows by a
    tenth or so. It concerns all that the process does, so it is for a process that trains and
    does nothing else, never for a notebook. Nothing happens on systems without glibc, or where
    the environment has chosen an allocator or settings of its own.
    """
    if not sys.platform.startswith("linux") or any(name.startswith(_CHOSEN) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, -1))
