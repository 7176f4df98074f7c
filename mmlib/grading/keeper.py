"""Holds a worker to its limits, and ends everything that it leaves behind.

The keeper is a fork of the template: a fresh one for every attempt. It starts the worker (where
namespaces are allowed, under a first process that takes all others with it), passes on what the
worker signs, and watches the clock, the memory, the processes and the disk.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from mmlib.grading import confine, session
from mmlib.grading.words import CLEAN, FORGED, TAMPERED, grader_failed

MOST_PROCESSES = 32
MOST_DISK = 2**30
LONGEST_LINE = 2**16
TICK = 0.1
FOLDERS = ("HOME", "TMPDIR", "PWD", "MPLCONFIGDIR", "IPYTHONDIR")
Tell = Callable[[dict[str, Any]], None]


def keep(job: dict[str, Any], prepared: session.Prepared, tell: Tell) -> None:
    """Run a job in a worker; `tell` its events, and last how it was over.

    What goes wrong in the keeper itself is told as that, and is no fault of the learner's.
    """
    try:
        why, number = _kept(job, prepared, tell)
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody should hear of it
        why, number = grader_failed(error), ""
    _end_all()
    tell({"event": "over", "why": why, "number": number})


def _kept(job: dict[str, Any], prepared: session.Prepared, tell: Tell) -> tuple[str, str]:
    """Start a worker and watch it; say why it was over, and in which exercise."""
    confine.end_with_parent()
    key = secrets.token_bytes(32)
    reading, writing = os.pipe()
    waiting, nodding = os.pipe()
    confine.adopt_orphans()
    apart = job["confined"] and confine.unshare()
    confine.hide()
    child = os.fork()
    if child == 0:
        try:
            confine.end_with_parent()
            if apart and (inner := os.fork()):
                os.closerange(0, 4096)
                _be_first(inner)
            _work(job, prepared, writing, waiting, key)
        finally:
            os._exit(1)
    os.close(writing)
    os.close(waiting)
    watching = _Watching(job, reading, nodding, key, tell)
    return watching.until_over(child), watching.number


def _be_first(inner: int) -> None:
    """Be the first process of a namespace: reap orphans, and end as the worker ends."""
    while True:
        process, status = os.wait()
        if process == inner:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _work(
    job: dict[str, Any], prepared: session.Prepared, channel: int, nods: int, key: bytes
) -> None:
    """Become the worker: no files but the channel, limits, no powers; then run the job."""
    report = _signed(channel, nods, key)
    try:
        os.setsid()
        confine.end_with_parent()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        confine.close_files({0, 1, 2, channel, nods})
        os.chdir(job["folder"])
        os.environ.update(dict.fromkeys(FOLDERS, job["folder"]))
        read = confine.readable()
        confine.limit(job["memory"])
        confine.drop_powers()
        locked = job["confined"] and confine.landlock(read, job["folder"])
        if job["confined"] and confine.landlock_version() and not locked:
            raise RuntimeError("Landlock is there, but refuses its rules")
        confine.blindfold()
        session.run(job, prepared, report)
    except Exception as error:  # noqa: BLE001 - the grader's own, which an instructor should be able to report
        report("broken", reason=grader_failed(error))
    os._exit(0)


def _signed(channel: int, nods: int, key: bytes) -> session.Report:
    """A function that writes numbered messages with their signature; it alone holds the key.

    Before an exercise starts it waits for a nod: that this one started is then known, whatever its
    cells do to the keeper. It calls nothing by a name that a learner could have given another meaning by then.
    """
    write, read, stamp, hide, join = (
        os.write,
        os.read,
        hmac.new(key, digestmod="sha256").copy,
        str.translate,
        "\t".join,
    )
    hidden = dict.fromkeys(range(32), " ")
    count = 0

    def report(event: str, number: str = "", reason: str = "") -> None:
        nonlocal count
        text = join((f"{count}", event, number, hide(reason, hidden))).encode("utf-8", "replace")
        count += 1
        mac = stamp()
        mac.update(text)
        write(channel, text + b"\t" + mac.hexdigest().encode() + b"\n")
        if event == "start":
            read(nods, 1)

    return report


class _Watching:
    """Reads what the worker says, until it ends or goes over a limit."""

    def __init__(
        self, job: dict[str, Any], reading: int, nodding: int, key: bytes, tell: Tell
    ) -> None:
        self.number = ""
        self._job, self._reading, self._nodding = job, reading, nodding
        self._key, self._tell = key, tell
        self._buffer = b""
        self._count = 0
        self._said = ""
        self._since = self._began = time.monotonic()

    def until_over(self, child: int) -> str:
        """Say why it is over: `clean`, or the limit, or how the process ended."""
        while True:
            if self._read(TICK):
                return self._said
            if ended := _ended(child):
                while not self._said and self._read(0):
                    pass
                return self._said or ended
            if over := self._over():
                return over

    def _read(self, seconds: float) -> bool:
        """Take in what there is; whether the worker has said all, or something forged."""
        if not select.select([self._reading], [], [], seconds)[0]:
            return False
        data = os.read(self._reading, LONGEST_LINE)
        if not data:
            time.sleep(seconds)  # closed; its end is noticed by the caller
            return False
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        if len(self._buffer) > LONGEST_LINE:
            lines.append(b"")
        for line in lines:
            self._hear(line)
            if self._said:
                return True
        return False

    def _hear(self, line: bytes) -> None:
        text, _, mac = line.rpartition(b"\t")
        right = hmac.new(self._key, text, "sha256").hexdigest().encode()
        if not hmac.compare_digest(mac, right):
            self._said = FORGED
            return
        count, event, number, reason = text.decode("utf-8").split("\t")
        if int(count) != self._count:
            self._said = FORGED
            return
        self._count += 1
        if event in ("end", "broken"):
            self._said = reason or CLEAN
            return
        if event == "start":
            self.number, self._since = number, time.monotonic()
            self._tell({"event": "start", "number": number})
            with contextlib.suppress(OSError):  # the worker has ended already
                os.write(self._nodding, b".")
            return
        self._tell({"event": "verdict", "number": number, "verdict": event, "reason": reason})
        if event == TAMPERED:
            self._said = CLEAN

    def _over(self) -> str:
        now = time.monotonic()
        if now - self._since > self._job["check_seconds"]:
            return f"not done after {self._job['check_seconds']:g} s (an endless loop, or waiting)"
        if now - self._began > self._job["seconds"]:
            return "the time for this submission is used up"
        family = _family()
        if len(family) > MOST_PROCESSES:
            return f"started more than {MOST_PROCESSES} processes"
        if sum(_memory(process) for process in family) > self._job["memory"]:
            return f"used more than {self._job['memory'] / 2**30:.3g} GB of memory"
        if _disk(self._job["folder"]) > MOST_DISK:
            return "filled the disk"
        return ""


def _ended(child: int) -> str:
    done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        return ""
    code = os.waitstatus_to_exitcode(status)
    name = -code if code < 0 else code - 128
    if name in {each.value for each in signal.Signals}:
        return f"its process died of {signal.Signals(name).name}"
    return f"it ended its own process (exit code {code})"


def _family() -> list[psutil.Process]:
    """The worker and all its descendants, also those that tried to slip away."""
    try:
        return list(psutil.Process().children(recursive=True))
    except psutil.Error:
        return []


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _disk(folder: str) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(base, name).lstat().st_size
            except OSError:
                continue
    return total


def _end_all() -> None:
    """Stop, then kill, whatever is left, until nothing is."""
    for _ in range(100):
        family = _family()
        for order in (signal.SIGSTOP, signal.SIGKILL):
            for process in family:
                try:
                    process.send_signal(order)
                except psutil.Error:
                    continue
        while True:
            try:
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    break
            except ChildProcessError:
                return
        time.sleep(0.01)
