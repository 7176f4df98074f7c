"""How a check is registered, found, run and reported."""

import dis
import functools
import importlib
import linecache
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mmlib.checks.guard import Guard, is_course_code, same_random_draws, unwrapped

LABELS = ("Tried", "Expected", "Got", "Next")


class CheckFailed(AssertionError):
    """An answer that does not do yet what its exercise asks.

    The message says what was tried, what was expected, what came and which hint to open. In a
    notebook it is shown without a traceback, which would lead into the checking code.
    """

    def __init__(
        self, expected: str, *, got: str = "", tried: str = "", hint: int | None = None
    ) -> None:
        """Keep the parts of the message; `check` adds the exercise's number and title."""
        super().__init__(expected)
        self.heading = ""
        self.tried, self.expected, self.got, self.hint = tried, expected, got, hint

    def __str__(self) -> str:
        """The whole message, one labelled part a paragraph."""
        hint = f"open hint {self.hint or 1} below the exercise, then run this check again"
        parts = zip(LABELS, (self.tried, self.expected, self.got, hint), strict=True)
        lines = [self.heading] if self.heading else []
        for label, text in parts:
            if text:
                lines.append(f"{label + ':':<10}" + text.replace("\n", "\n" + " " * 10))
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """IPython prints these lines in the place of a traceback."""
        return f"CheckFailed: {self}".splitlines()


class NotAttempted(CheckFailed):
    """The exercise's body still raises NotImplementedError, or does nothing at all."""

    def __init__(self) -> None:
        """Take no argument: there is one thing to say."""
        super().__init__(
            "your own code where the exercise says `raise NotImplementedError`",
            got="not attempted yet",
        )


@dataclass(frozen=True)
class Exercise:
    """One registered exercise: its checking function, its reference, what an answer may not call."""

    number: str
    title: str
    reference: Any
    checking: Callable[[Any], None]
    forbidden: tuple[Any, ...] = ()

    @property
    def heading(self) -> str:
        """The first line of every message about this exercise."""
        return f"{self.number} {self.title}"


_exercises: dict[str, Exercise] = {}
_passed: dict[str, Any] = {}


def exercise(
    number: str, *, title: str, reference: Any, forbidden: Iterable[Any] = ()
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register the decorated function as the check of exercise `number`.

    The function takes the learner's answer (a function or a class), calls it on fresh inputs and
    looks at what comes back with `mmlib.checks.expect`; it returns nothing and raises
    `CheckFailed`. An answer that calls the reference, or anything named in `forbidden` (Python
    functions, classes, or C functions such as `torch.softmax`), is rejected.

    Args:
        number: lesson and place in it, such as "02.1".
        title: what the passing line says.
        reference: the right answer, which `use` gives to learners who have none yet.
        forbidden: further callables that would be the answer without the work.

    Raises:
        ValueError: the number is written otherwise.
    """
    if not re.fullmatch(r"\d\d\.\d+", number):
        raise ValueError(f"an exercise's number is two digits, a point, a digit: not {number!r}")

    def register(checking: Callable[[Any], None]) -> Callable[[Any], None]:
        _exercises[number] = Exercise(number, title, reference, checking, tuple(forbidden))
        return checking

    return register


def find(number: str) -> Exercise:
    """The exercise of that number; imports its lesson's checks when they are first needed.

    Raises:
        LookupError: no such exercise.
    """
    if number not in _exercises and re.fullmatch(r"\d\d\.\d+", number):
        module = f"mmlib.checks.lesson_{number[:2]}"
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    if number not in _exercises:
        known = ", ".join(sorted(_exercises)) or "none so far"
        raise LookupError(f"there is no exercise {number!r}; registered are {known}")
    return _exercises[number]


def check(number: str, solution: Any) -> None:
    """Check a learner's answer to exercise `number`; print one line if it is right.

    The check leaves the random generators as they were, so that what later cells draw does not
    depend on how often it was run.

    Raises:
        CheckFailed: the answer is not right yet; the message says what to do.
        LookupError: no such exercise.
    """
    task = find(number)
    _passed.pop(number, None)
    try:
        _run(task, solution)
    except CheckFailed as failure:
        failure.heading = f"{task.heading}: not yet"
        raise failure from None
    _passed[number] = solution
    print(f"{task.heading}: passed")


def use(number: str) -> Any:
    """The learner's answer to exercise `number` if its check passed in this session, else the reference."""
    return _passed[number] if number in _passed else find(number).reference


def _run(task: Exercise, solution: Any) -> None:
    if solution is None or solution is Ellipsis or _is_empty(solution):
        raise NotAttempted
    guard = Guard(task.reference, task.forbidden, task.checking)
    guard.refuse(solution)
    failure: CheckFailed | None = None
    with same_random_draws():
        try:
            with guard:
                task.checking(solution)
        except CheckFailed as error:
            failure = error
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the answer raises
            failure = _explain(error, task, guard.last_call)
    if guard.seen:
        failure = CheckFailed(
            "an answer written out by you, which is the point of this exercise",
            got=f"your code calls {guard.seen[0]}",
        )
    if failure is not None:
        raise failure


def _explain(error: BaseException, task: Exercise, tried: str) -> CheckFailed:
    """Turn whatever an answer raised into a failure that names the learner's own line."""
    place = _learners_line(error.__traceback__, task)
    if isinstance(error, NotImplementedError) and place is not None and place.is_last:
        return NotAttempted()
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if place is None:
        return CheckFailed("an answer that can be called as the exercise says", got=said)
    return CheckFailed("an answer that runs", got=f"{said}\nin {place.text}", tried=tried)


@dataclass(frozen=True)
class _Place:
    text: str
    is_last: bool


def _learners_line(trace: TracebackType | None, task: Exercise) -> _Place | None:
    """The deepest line of the traceback that the learner wrote."""
    place = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if not is_course_code(code, task.checking):
            line = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            text = f"{code.co_name}, line {trace.tb_lineno}" + (f": {line}" if line else "")
            place = _Place(text, trace.tb_next is None)
        elif place is not None:
            place = _Place(place.text, False)
        trace = trace.tb_next
    return place


@functools.cache
def _empty_code() -> frozenset[tuple[str, ...]]:
    def nothing() -> None:
        pass

    return frozenset({_operations(nothing)})


def _operations(function: Any) -> tuple[str, ...]:
    skipped = {"RESUME", "NOP", "CACHE", "COPY_FREE_VARS", "MAKE_CELL"}
    return tuple(
        f"{step.opname} {step.argval}"
        for step in dis.get_instructions(function)
        if step.opname not in skipped
    )


def _is_empty(solution: Any) -> bool:
    """Whether a function's body is a docstring, `pass` or `...` and nothing else."""
    function = unwrapped(solution)
    return hasattr(function, "__code__") and _operations(function) in _empty_code()
