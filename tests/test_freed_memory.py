"""A process that trains keeps the memory that it frees; no other process is touched."""

import os
import subprocess
import sys

import pytest

from mmlib import cli

PROBE = """
import resource, sys, torch
from mmlib.cli.freed_memory import keep_freed_memory
kept = sys.argv[1] == "keep" and keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for turn in range(16):
    if turn == 11:  # by then small things have found places that split none of the large
        before = faults()
    torch.ones(12_000_000)  # 48 MB, more than glibc would ever keep by itself
print(int(kept), faults() - before)
"""


def probe(word: str, **more: str) -> tuple[bool, int]:
    """Say in a fresh process whether memory is kept, and how many pages the last five tensors ask for."""
    ours = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, word],
        env={**env, "OMP_NUM_THREADS": "1", **more},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, pages = done.stdout.split()
    return kept == "1", int(pages)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator only")
def test_tensors_come_in_the_memory_of_those_before_them():
    kept, pages = probe("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    plain, fresh = probe("leave")
    assert not plain
    assert pages * 4 < fresh, f"{pages} pages against {fresh}"


def test_an_environment_that_chose_an_allocator_is_left_alone():
    assert probe("keep", MALLOC_MMAP_THRESHOLD_="65536")[0] is False


@pytest.mark.parametrize(
    ("command", "keeps"),
    [
        ("train --system nothing --data theatre --out {out}", True),
        ("compare --systems nothing --data theatre --out {out}", True),
        ("crossvalidate --systems nothing --data theatre --out {out}", True),
        ("benchmark --systems nothing", True),
        ("evaluate --run {out} --data theatre --json {out}.json", False),
    ],
)
def test_only_a_process_of_its_own_that_trains_does_so(
    command, keeps, monkeypatch, tmp_path, capsys
):
    calls = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: calls.append(1))
    words = command.format(out=tmp_path / "run").split()
    assert cli.main(words) == cli.REFUSED  # nobody knows that system, or that run
    assert not calls, "called from another program, it must leave that program's memory alone"
    monkeypatch.setattr(sys, "argv", ["mmlib", *words])
    assert cli.main() == cli.REFUSED
    assert bool(calls) is keeps
