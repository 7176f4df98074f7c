"""Runs a learner's cells and the checks on them, in the confined worker.

Every line of the learner runs in a thread of its own, whose stack begins with that line: above it
there is nothing of the grader to walk up to. So does whatever looks at an object of the learner's,
since to look at it may run code: only strings come back from there.
"""

from __future__ import annotations

import _thread
import sys
import types
from collections.abc import Callable, Mapping
from gc import disable as _collect_nothing
from gc import enable as _collect
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

    def __init__(
        self, numbers: list[str], graders: Mapping[str, types.ModuleType] | None = None
    ) -> None:
        """Find the exercises; raises LookupError where one is unknown.

        Args:
            numbers: of the exercises.
            graders: modules that are watched although they no longer stand among the imported.
        """
        self._graders = graders or {}
        self.tasks = {number: find(number) for number in numbers}
        self.decoys: dict[str, list[int]] = {}
        self.watch = Watch(self._graders)

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
            # What the checks import when they run is there by now.
            self.watch = Watch(self._graders)


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
    held: list[Any] = []  # so that no answer ends here, where its last words would be heard
    for number, answer, place in job["checks"]:
        report("start", number)
        said = _cells(everything, number, answer, place, done, space)
        solution, lacking = apart(lambda name=answer: space.__dict__[name])  # type: ignore[misc]
        held.append(solution)
        if lacking:
            verdict, reason = FAILED, f"no {answer} is defined"
        else:
            verdict, reason = _judge(prepared, number, answer, solution, known)
        if said and verdict != PASSED:
            reason = said if reason.startswith("no ") else f"{reason} ({said})"
        report(verdict, number, reason[:300])
        if verdict == TAMPERED:
            return
        if verdict == PASSED:
            framework._passed[number] = solution
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
    prepared: Prepared, number: str, answer: str, solution: Any, known: set[Any]
) -> tuple[str, str]:
    """Say what an answer is worth, and why; only strings come back from where it is looked at."""
    task = prepared.tasks[number]
    if name := _changed(prepared.watch):
        return TAMPERED, f"replaced {name}"
    strange, error = apart(lambda: _is_strange(solution, known))
    if error:
        return FAILED, f"raises {error}"
    if strange:
        return FAILED, f"{answer} does not stand in the notebook as code"
    tampered: list[str] = []

    def look() -> None:
        if not tampered and (name := prepared.watch.changed_nearby()):
            tampered.append(name)

    said, _ = apart(lambda: _tried(task, solution, look))
    if name := (tampered[0] if tampered else _changed(prepared.watch)):
        return TAMPERED, f"replaced {name}"
    if said != (PASSED, ""):
        return said or (FAILED, "raises what cannot be told")
    if not all(_decoy_refused(task, solution, call) for call in prepared.decoys[number]):
        return TAMPERED, "made the check accept wrong results"
    if name := _changed(prepared.watch):
        return TAMPERED, f"replaced {name}"
    return PASSED, ""


def _changed(watch: Watch) -> str:
    """Name what was replaced; a name that a learner added may run code when it is looked at."""
    name, error = apart(watch.changed)
    return name or (f"a name by what raises {error}" if error else "")


def _is_strange(solution: Any, known: set[Any]) -> bool:
    """Say whether an answer was made from text that does not stand in the notebook."""
    code = getattr(unwrapped(solution), "__code__", None)
    return code is not None and code not in known and bool(code.co_filename.startswith("<"))


def _tried(task: Exercise, solution: Any, look: Callable[[], None]) -> tuple[str, str]:
    """Run a check on an answer, and put what it raises into words."""
    try:
        _run(task, decoy.watched(solution, look))
    except BaseException as caught:  # noqa: BLE001 - a learner may raise anything
        error = _told(caught)
        if isinstance(caught, decoy.Pretence) or "Pretence: " in error:
            return TAMPERED, error.partition("Pretence: ")[2] or error
        if isinstance(caught, NotAttempted):
            return FAILED, NOT_ATTEMPTED
        if not isinstance(caught, CheckFailed):
            return FAILED, f"raises {error}"
        expected, got = f"expected {caught.expected}", f"{caught.got}"
        if "Pretence: " in got:
            return TAMPERED, got.partition("Pretence: ")[2].splitlines()[0]
        parts = [expected, f"got {got}" if got else ""]
        return FAILED, "; ".join(part for part in parts if part)
    return PASSED, ""


def _decoy_refused(task: Exercise, solution: Any, call: int) -> bool:
    refused, _ = apart(lambda: _refuses(task, decoy.decoy(solution, call)))
    return refused is True


def apart(work: Callable[[], Any]) -> tuple[Any, str]:
    """Run something on an empty stack: what it gave, and, where it raised, that in words.

    Whoever calls this looks at nothing else of a learner's. While it goes on alone nothing is
    collected, since what is collected may run code as well.
    """
    gave: list[Any] = []
    told: list[str] = []
    ended = _thread.allocate_lock()
    ended.acquire()
    _thread.stack_size(STACK)
    _thread.start_new_thread(_bottom, (work, gave, told, ended))
    ended.acquire()
    _collect_nothing()
    return (gave[0], "") if gave else (None, told[0])


def _bottom(work: Callable[[], Any], gave: list[Any], told: list[str], ended: Any) -> None:
    _collect()
    try:
        gave.append(work())
    except BaseException as error:  # noqa: BLE001 - a learner may raise anything
        told.append(_told(error))
    finally:
        ended.release()


def _told(error: BaseException) -> str:
    name = type.__dict__["__name__"].__get__(type(error))  # past a metaclass's own
    try:
        text = str.split(str(error), "\n")[0]
    except BaseException:  # noqa: BLE001 - so may its __str__
        text = ""
    return f"{name}: {text}".rstrip(": ")[:200]
