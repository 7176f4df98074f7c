"""Run by test_larger_than_memory.py: commands in a process that may hold only so much memory.

One process imports everything and forks a child for each command, so that a command costs no import.
The limit is on what a process allocates (RLIMIT_DATA), beyond what it holds after the imports; what
it maps of files does not count, for the system may drop that at any moment.
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

import torch

import mmlib.training.jobs  # noqa: F401
from mmlib.cli import main as command_line


def held() -> int:
    """Bytes that count against the limit now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.partition("VmData:")[2].split()[0])


def attempt(words: list[str], more_bytes: int | None) -> int:
    """Run a command in a child with the limit, and give its exit code."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            if more_bytes is not None:
                limit = held() + more_bytes
                resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            code = command_line(words)
        except BaseException as error:  # noqa: BLE001
            traceback.print_exc()
            code = 71 if isinstance(error, MemoryError) or "allocate" in str(error) else 70
        finally:
            os._exit(code)  # a child must never return into its parent's loop
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    """Read [command, limit] pairs as JSON and print how each ended."""
    import accelerate  # noqa: F401
    import pandas  # noqa: F401
    from sklearn import metrics  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # imports much, once
    print(json.dumps([attempt(words, limit) for words, limit in json.loads(sys.argv[1])]))


if __name__ == "__main__":
    main()
