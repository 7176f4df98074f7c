"""Runs a learner's cells and the checks on them, in the confined worker.

Every line of the learner runs in a thread of its own, whose stack begins with that line: above it
there is nothing of the grader to walk up to.
"""

from __future__ import annotations

import _thread
import sys
import types
from collections.abc import Callable
from typing import Any

from mmlib.checks import CheckFailed, framework
from mmlib.checks.framework import Exercise, NotAttempted, _run, find, unwrapped
from mmlib.grading import decoy, slicing
from mmlib.grading.slicing import Unit
from mmlib.grading.watch import Watch
from mmlib.grading.words import FAILED, NOT_ATTEMPTED, PASSED, TAMPERED

STACK = 64 * 2**20
MOST_DECOYS = 6
Report = Callable[..., None]


class Prepared:
    """What is made before any learner's code runs: the watch, and which decoys a check tells.

    Attributes:
        tasks: the exercises by number.
        decoys: by number, the calls that the check refuses when they are spoilt.
        watch: the libraries as they were.
    """

    def __init__(self, numbers: list[str]) -> None:
        """Find the exercises; raises LookupError where one is unknown."""
        self.tasks = {number: find(number) for number in numbers}
        self.decoys: dict[str, list[int]] = {}
        self.watch = Watch()

    def get_ready(self, numbers: list[str]) -> None:
        """Try decoys of the references on the checks of these exercises, once."""
        new = [number for number in numbers if number not in self.decoys]
        for number in new:
            task = self.tasks[number]
            try:
                with framework.same_random_draws():
                    calls = decoy.calls_of(task.checking, task.reference)
            except Exception as error:
                raise RuntimeError(
                    f"the check of {number} refuses its own answer ({type(error).__name__}: {error})"
                ) from error
            tried = sorted({round(i * (calls - 1) / (MOST_DECOYS - 1)) for i in range(MOST_DECOYS)})
            self.decoys[number] = [
                call for call in tried if _refuses(task, decoy.decoy(task.reference, call))
            ]
        if new:
            self.watch = Watch()  # what the checks import when they run is there by now


def _refuses(task: Exercise, answer: Any) -> bool:
    """Whether the check of an exercise refuses an answer for its results."""
    try:
        with framework.same_random_draws():
            task.checking(answer)
    except BaseException:  # noqa: BLE001 - however it is refused
        return True
    return False


def run(job: dict[str, Any], prepared: Prepared, report: Report) -> None:
    """Run the cells that each check needs, then the check, and report as it goes."""
    everything = slicing.units(job["pieces"])
    known = slicing.codes_of(everything)
    space = types.ModuleType("__main__")
    sys.modules["__main__"] = space
    done: set[int] = set()
    for number, answer, place in job["checks"]:
        report("start", number)
        said = _cells(everything, number, answer, place, done, space)
        verdict, reason = _judge(prepared, number, answer, space, known)
        if said and verdict != PASSED:
            reason = said if reason.startswith("no ") else f"{reason} ({said})"
        report(verdict, number, reason[:300])
        if verdict == TAMPERED:
            return
        if verdict == PASSED:
            framework._passed[number] = getattr(space, answer)
    report("end")


def _cells(
    everything: list[Unit],
    number: str,
    answer: str,
    place: float,
    done: set[int],
    space: types.ModuleType,
) -> str:
    """Run what a check needs; an error ends its cell only, as in a notebook. Say the last one."""
    problem = ""
    for index in slicing.needed(everything, number, answer, place, done):
        unit = everything[index]
        done.add(index)
        error = unit.problem or apart(lambda unit=unit: exec(unit.code, space.__dict__))[1]  # type: ignore[misc]  # noqa: S102
        if error:
            problem = f"{unit.label} {error if unit.problem else f'raises {error}'}"
    return problem


def _judge(
    prepared: Prepared, number: str, answer: str, space: types.ModuleType, known: set[Any]
) -> tuple[str, str]:
    watch, task = prepared.watch, prepared.tasks[number]
    if name := watch.changed():
        return TAMPERED, f"replaced {name}"
    if answer not in space.__dict__:
        return FAILED, f"no {answer} is defined"
    solution = space.__dict__[answer]
    code = getattr(unwrapped(solution), "__code__", None)
    if code is not None and code not in known and code.co_filename.startswith("<"):
        return FAILED, f"{answer} does not stand in the notebook as code"
    tampered: list[str] = []

    def look() -> None:
        if not tampered and (name := watch.changed_nearby()):
            tampered.append(name)

    caught, error = apart(lambda: _run(task, decoy.watched(solution, look)))
    if name := (tampered[0] if tampered else watch.changed()):
        return TAMPERED, f"replaced {name}"
    if isinstance(caught, decoy.Pretence) or "Pretence: " in error:
        return TAMPERED, error.partition("Pretence: ")[2] or error
    if isinstance(caught, NotAttempted):
        return FAILED, NOT_ATTEMPTED
    if isinstance(caught, CheckFailed):
        parts = [f"expected {caught.expected}", f"got {caught.got}" if caught.got else ""]
        if "Pretence: " in caught.got:
            return TAMPERED, caught.got.partition("Pretence: ")[2].splitlines()[0]
        return FAILED, "; ".join(part for part in parts if part)
    if caught is not None:
        return FAILED, f"raises {error}"
    if not all(_decoy_refused(task, solution, call) for call in prepared.decoys[number]):
        return TAMPERED, "made the check accept wrong results"
    if name := watch.changed():
        return TAMPERED, f"replaced {name}"
    return PASSED, ""


def _decoy_refused(task: Exercise, solution: Any, call: int) -> bool:
    told: list[bool] = []
    apart(lambda: told.append(_refuses(task, decoy.decoy(solution, call))))
    return told == [True]


def apart(work: Callable[[], Any]) -> tuple[BaseException | None, str]:
    """Run something on an empty stack; the exception that it ended with, and that in words."""
    caught: list[BaseException] = []
    ended = _thread.allocate_lock()
    ended.acquire()
    _thread.stack_size(STACK)
    _thread.start_new_thread(_bottom, (work, caught, ended))
    ended.acquire()
    if not caught:
        return None, ""
    return caught[0], _told(caught[0])


def _bottom(work: Callable[[], Any], caught: list[BaseException], ended: Any) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - a learner may raise anything
        caught.append(error)
    finally:
        ended.release()


def _told(error: BaseException) -> str:
    try:
        text = str(error).split("\n")[0]
    except BaseException:  # noqa: BLE001 - so may its __str__
        text = ""
    return f"{type(error).__name__}: {text}".rstrip(": ")[:200]
