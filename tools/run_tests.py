"""Runs everything that CI runs, and says at the end what failed and how long each part took.

A part that fails does not stop the others. Each worker gets one thread, so that two workers on two
cores do not fight.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
WORKERS = "2"
CELL_SECONDS = "60"
BUDGET_MINUTES = 35
# The lessons run without a network: tools/offline/sitecustomize.py closes it for Python.
OFFLINE = ROOT / "tools" / "offline"
OFFLINE_PARTS = ("nbval",)
CLOCK = "build/nbval.json"

NBVAL = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", CELL_SECONDS]
# loadfile: the cells of one notebook share a kernel, and the tests of one file what they prepare, and
# so a worker. The long ones start first: tests/conftest.py and lesson_clock put them in order.
SHARED = ["-n", WORKERS, "--dist=loadfile", "--no-loadscope-reorder"]
TIMED = ["-p", "tools.lesson_clock", "--lesson-clock", CLOCK]
PARTS: dict[str, list[str]] = {
    "lint": [PYTHON, "-m", "ruff", "check", "."],
    "format": [PYTHON, "-m", "ruff", "format", "--check", "."],
    "types": [PYTHON, "-m", "mypy"],
    "tests": [PYTHON, "-m", "pytest", "-q", *SHARED, "--durations=15"],
    "nbval": [PYTHON, "-m", "pytest", "-q", *SHARED, *TIMED, *NBVAL, "notebooks", "solutions"],
    # Budgets, for a noisy machine, of the lessons as nbval has just run them; and their pages.
    "course": [PYTHON, "tools/run_course.py", "--slack", "1.5", "--clock", CLOCK],
}


def main(parts: dict[str, list[str]] = PARTS, root: Path = ROOT) -> int:
    """Run every part, print the summary, return 1 if any failed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    rows = []
    for name, command in parts.items():
        shown = ["python" if word == PYTHON else word for word in command]
        print(f"\n== {name}: {' '.join(shown)}", flush=True)
        start = time.perf_counter()
        network = {"PYTHONPATH": str(OFFLINE)} if name in OFFLINE_PARTS else {}
        code = subprocess.run(command, cwd=root, env=environment | network, check=False).returncode
        rows.append((name, code, time.perf_counter() - start))
    print("\n== summary")
    for name, code, seconds in rows:
        print(
            f"{name:<8} {'passed' if code == 0 else f'FAILED (exit code {code})':<24} {seconds:6.0f} s"
        )
    total = sum(seconds for *_, seconds in rows) / 60
    print(f"{'in all':<8} {'':<24} {total:6.1f} min of {BUDGET_MINUTES}")
    return int(any(code for _, code, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
