"""The supervisor's side: starts templates, hands them jobs, and makes marks of what comes back."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmlib.grading.assembling import Assembled
from mmlib.grading.words import CLEAN, GRADER_FAILED, PASSED, TAMPERED

ENDED_HELPER = "it ended the grader's helper process, which was started again"
#: Where no exercise had begun, nothing of the learner's had run.
NEVER_BEGAN = f"{GRADER_FAILED}: its helper process ended before any exercise began"
START_SECONDS, GRACE_SECONDS = 180.0, 30.0


@dataclass(frozen=True)
class Limits:
    """What one submission may use: seconds in all and for each check, and bytes of memory."""

    seconds: float = 300.0
    check_seconds: float = 60.0
    memory: int = 4 * 2**30
    confined: bool = True  # tests try what holds without Landlock and namespaces


@dataclass
class Result:
    """The marks of one submission, and why where there is more to say."""

    marks: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)  # what could not be tried, by exercise
    wrong: dict[str, str] = field(default_factory=dict)  # what was tried and found wrong
    seconds: float = 0.0
    grader_failed: bool = False  # so that the marks are no judgement, and must be made again


class Broken(RuntimeError):
    """The template does not answer; a new one is needed."""


class Template:
    """A template process, started when it is needed and again when it was ended."""

    def __init__(self, numbers: list[str], scratch: Path) -> None:
        """Keep what the process will need; it starts with the first job."""
        self._numbers, self._scratch = numbers, scratch
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: queue.Queue[bytes | None] = queue.Queue()

    def ask(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a job and yield its events.

        Raises:
            Broken: no answer, or the process ended.
        """
        self._start()
        self._send(job)
        last = time.monotonic() + job["seconds"] + GRACE_SECONDS
        while (event := self._hear(last - time.monotonic()))["event"] != "idle":
            yield event

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._lines = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mmlib.grading.template"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._scratch,
            env=environment(self._scratch),
            start_new_session=True,
        )
        threading.Thread(
            target=_pump, args=(self._process.stdout, self._lines), daemon=True
        ).start()
        self._send(self._numbers)
        said = self._hear(START_SECONDS)
        if said["event"] == "refused":
            raise ValueError(said["why"])

    def _send(self, message: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            self.close()
            raise Broken from None

    def _hear(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=max(seconds, 0.1))
            if line is not None:
                return dict(json.loads(line))
        except (queue.Empty, ValueError):
            pass
        self.close()
        raise Broken

    def close(self) -> None:
        """End the process and all that came of it."""
        if self._process is None:
            return
        process, self._process = self._process, None
        import psutil

        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.Error:
            family = []
        for each in family:
            try:
                each.kill()
            except psutil.Error:
                continue
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


def _pump(pipe: Any, lines: queue.Queue[bytes | None]) -> None:
    try:
        for line in pipe:
            lines.put(line)
    except (OSError, ValueError):
        pass
    lines.put(None)


def environment(scratch: Path) -> dict[str, str]:
    """What a template sees of the environment: nothing that is anyone's secret."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    home = dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "IPYTHONDIR"), str(scratch))
    return {
        **kept,
        **threads,
        **home,
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "agg",
        "CUDA_VISIBLE_DEVICES": "",
    }


def mark(assembled: Assembled, copy: bytes, template: Template, limits: Limits) -> Result:
    """Run a submission as often as it takes to try every exercise, and mark it.

    An exercise that hangs, dies or tampers gets 0; the others are tried again without its cells.
    Where the grader itself fails, it tries once more, and then says so.
    """
    result = Result()
    began = time.monotonic()
    for number, why in assembled.missing.items():
        result.marks[number], result.reasons[number] = 0, why
    offenders: set[str] = set()
    failures = 0
    numbers = [check[0] for check in assembled.checks]
    for _ in range(len(numbers) + 2):
        pending = [number for number in numbers if number not in result.marks]
        left = limits.seconds - (time.monotonic() - began)
        if not pending:
            break
        if left <= 0:
            _give_up(result, pending, "the time for this submission is used up")
            break
        job = assembled.without(offenders)
        job |= {"seconds": left, "check_seconds": limits.check_seconds, "memory": limits.memory}
        job["confined"] = limits.confined
        offender, why = _attempt(job, copy, template, result)
        if why == CLEAN and not offender:
            continue
        if why.startswith(GRADER_FAILED):
            failures += 1
            if failures == 1:
                continue
            result.grader_failed = True
        if not offender:
            _give_up(result, pending, why)
            break
        offenders.add(offender)
        if offender not in result.marks:
            result.marks[offender], result.reasons[offender] = 0, why
    _give_up(result, [n for n in numbers if n not in result.marks], "could not be tried")
    result.seconds = time.monotonic() - began
    return result


def _give_up(result: Result, numbers: list[str], why: str) -> None:
    for number in numbers:
        result.marks[number], result.reasons[number] = 0, why


def _attempt(
    job: dict[str, Any], copy: bytes, template: Template, result: Result
) -> tuple[str, str]:
    """Run a job once; the exercise that ended it too early, if one did, and why."""
    offender, why, current = "", "", ""
    with _folder(copy) as folder:
        try:
            for event in template.ask({**job, "folder": folder}):
                if event["event"] == "start":
                    current = event["number"]
                elif event["event"] == "verdict":
                    if event["verdict"] == TAMPERED:
                        offender, why = event["number"], f"tampered: {event['reason']}"
                    _take(result, event)
                elif event["event"] == "over" and not offender:
                    why = event["why"]
                    offender = current if why != CLEAN else ""
        except Broken:
            why = ""
    # Without a word of how it was over, the keeper was ended, and took the worker with it.
    return (offender, why) if why else (current, ENDED_HELPER if current else NEVER_BEGAN)


def _take(result: Result, event: dict[str, Any]) -> None:
    number = event["number"]
    if number in result.marks or event["verdict"] == TAMPERED:
        return
    result.marks[number] = int(event["verdict"] == PASSED)
    if event["verdict"] != PASSED:
        result.wrong[number] = event["reason"]


class _folder:
    """A folder of its own for one attempt, two floors below what is removed afterwards."""

    def __init__(self, copy: bytes) -> None:
        self._copy = copy

    def __enter__(self) -> str:
        self._base = Path(tempfile.mkdtemp(prefix="mmlib-grade-"))
        work = self._base / "submission" / "exercises"
        work.mkdir(parents=True)
        (work / "submission.ipynb").write_bytes(self._copy)
        for folder in (work.parent, self._base):
            folder.chmod(0o555)
        return str(work)

    def __exit__(self, *about: object) -> None:
        self._base.chmod(0o755)
        for folder, names, _ in os.walk(self._base):
            for name in names:
                path = Path(folder, name)
                if not path.is_symlink():
                    path.chmod(0o755)
        shutil.rmtree(self._base, ignore_errors=True)
