"""Tries a check on many answers: planted mistakes, right answers written otherwise, and cheats.

A lesson's test file holds the answers as data, since the mistakes become the instructor's notes:

    ANSWERS = [
        Answers(
            "02.1",
            misconceptions=(
                Misconception(
                    "softmax over the wrong axis",
                    "The weights of one query sum to one, not those of one key.",
                    edit=("dim=-1", "dim=-2"),
                ),
                ...
            ),
            alternatives=("def masked_softmax(scores, mask):\n    ...", ...),
            constant="torch.full((2, 3, 5), 0.2)",
        ),
    ]

    @pytest.mark.parametrize("trial", trials(ANSWERS), ids=str)
    def test_the_check_judges_rightly(trial):
        trial.run()
"""

import ast
import contextlib
import functools
import io
import linecache
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builder.cells import BEGIN, Exercise, Lesson
from builder.lessons import sources
from builder.read import read_lesson
from builder.rules import parse

from mmlib.checks import CheckFailed, check
from mmlib.checks.framework import NotAttempted

ROOT = Path(__file__).resolve().parents[2]
LEAST_MISCONCEPTIONS, LEAST_ALTERNATIVES = 5, 2


@dataclass(frozen=True)
class Misconception:
    """A wrong answer that learners give, and what to tell them.

    Attributes:
        name: the slip in a few words.
        says: the instructor's note: what is believed, and why it is not so.
        edit: the text of the solution to replace and what by, or the whole source of the answer.
    """

    name: str
    says: str
    edit: tuple[str, str] | str


@dataclass(frozen=True)
class Answers:
    """The answers on which one exercise's check is tried.

    Attributes:
        number: the exercise, "02.1".
        misconceptions: at least five wrong answers, each to be rejected.
        alternatives: at least two right answers, whole sources written differently.
        constant: an expression of the shape of a right result; giving it back always is a cheat.
        cheats: more cheats by name, whole sources, beside the constant, the echo and the reference.
        setup: code that the answers need beyond the lesson's own imports and definitions.
    """

    number: str
    misconceptions: tuple[Misconception, ...]
    alternatives: tuple[str, ...]
    constant: str
    cheats: dict[str, str] = field(default_factory=dict)
    setup: str = ""

    def __post_init__(self) -> None:
        """Refuse too few of them, or two of one name."""
        if len(self.alternatives) < LEAST_ALTERNATIVES:
            raise ValueError(f"{self.number} needs {LEAST_ALTERNATIVES} alternatives or more")
        names = {wrong.name for wrong in self.misconceptions}
        if len(names) < max(LEAST_MISCONCEPTIONS, len(self.misconceptions)):
            raise ValueError(f"{self.number} needs {LEAST_MISCONCEPTIONS} different misconceptions")


@dataclass(frozen=True)
class Trial:
    """One answer, and what the check has to say to it."""

    number: str
    kind: Literal["solution", "stub", "misconception", "alternative", "cheat"]
    name: str
    source: str
    setup: str = ""

    def __str__(self) -> str:
        """The test's name."""
        return f"{self.number}-{self.kind}-{self.name}".replace(" ", "_")

    def run(self) -> None:
        """Check the answer; fail if the check judges wrongly."""
        answer = answer_from(self.number, self.source, self.setup)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                check(self.number, answer)
            failure = None
        except CheckFailed as error:
            failure = error
        if self.kind in ("solution", "alternative"):
            assert failure is None, f"a right answer was rejected:\n{failure}"
        elif self.kind == "stub":
            assert isinstance(failure, NotAttempted), f"not taken for a stub, but: {failure}"
        else:
            assert failure is not None, f"{self.kind} {self.name!r} passed the check"
            assert not isinstance(failure, NotAttempted), "an attempt was taken for a stub"


def trials(answers: Iterable[Answers]) -> list[Trial]:
    """All trials of the given exercises, for `pytest.mark.parametrize`."""
    return [trial for each in answers for trial in _trials(each)]


def _trials(answers: Answers) -> Iterator[Trial]:
    number, setup = answers.number, answers.setup
    solution = solution_of(number)
    yield Trial(number, "solution", "as shipped", solution, setup)
    yield Trial(number, "stub", "as shipped", stub_of(number), setup)
    for wrong in answers.misconceptions:
        yield Trial(number, "misconception", wrong.name, edited(solution, wrong), setup)
    for i, source in enumerate(answers.alternatives, 1):
        yield Trial(number, "alternative", str(i), source, setup)
    for name, source in (_usual_cheats(answers) | answers.cheats).items():
        yield Trial(number, "cheat", name, source, setup)


def edited(solution: str, wrong: Misconception) -> str:
    """The solution with the misconception planted."""
    if isinstance(wrong.edit, str):
        return wrong.edit
    old, new = wrong.edit
    if solution.count(old) != 1:
        raise ValueError(f"{wrong.name!r}: {old!r} is {solution.count(old)} times in the solution")
    return solution.replace(old, new)


def _usual_cheats(answers: Answers) -> dict[str, str]:
    name, number = exercise_of(answers.number).answer, answers.number
    call = f"from mmlib.checks import use\ndef {name}(*args, **kwargs):\n"
    cheats = {
        "calls the reference": f"{call}    return use({number!r})(*args, **kwargs)",
        "is the reference": f"from mmlib.checks import use\n{name} = use({number!r})",
    }
    if f"class {name}" in solution_of(number):
        head = f"class {name}(torch.nn.Module):\n    def __init__(self, *args, **kwargs):\n"
        head += "        super().__init__()\n"
        head += "        self.unused = torch.nn.Parameter(torch.zeros(1))\n"
        head += "    def forward(self, *args, **kwargs):\n        return "
        del cheats["calls the reference"]
    else:
        head = f"def {name}(*args, **kwargs):\n    return "
    cheats["constant"] = head + answers.constant
    cheats["echo"] = head + "(*args, *kwargs.values())[0]"
    return cheats


@functools.cache
def lesson_of(number: str) -> Lesson:
    """The lesson to which an exercise belongs, read from its source."""
    (source,) = sources(ROOT, [number[:2]])
    return read_lesson(source)


def exercise_of(number: str) -> Exercise:
    """The exercise as its lesson's source declares it."""
    for exercise in lesson_of(number).exercises:
        if exercise.number == number:
            return exercise
    raise LookupError(f"{lesson_of(number).path.name} has no exercise {number}")


def _code(number: str) -> list[Any]:
    return [c for c in exercise_of(number).cells if c.kind == "code" and "check" not in c]


def solution_of(number: str) -> str:
    """The code of the exercise as it stands in solutions/."""
    return "\n\n".join(cell.solved() for cell in _code(number) if BEGIN in cell.source)


def stub_of(number: str) -> str:
    """The code of the exercise as it stands in exercises/."""
    return "\n\n".join(cell.stubbed() for cell in _code(number) if BEGIN in cell.source)


def answer_from(number: str, source: str, setup: str = "") -> Any:
    """Run an answer's source behind what the lesson defines before it; return the answer."""
    namespace: dict[str, Any] = dict(surroundings(number))
    for text, name in ((setup, "setup"), (source, "answer")):
        exec(compiled(text, f"<{name} {number} {hash(text)}>"), namespace)  # noqa: S102
    return namespace[exercise_of(number).answer]


@functools.cache
def surroundings(number: str, *, guided: bool = False) -> dict[str, Any]:
    """Imports, functions, classes, constants and `use(...)` that stand before the exercise.

    With `guided` also those of the guided edition alone.
    """
    namespace: dict[str, Any] = {"__name__": "learner"}
    exec("import torch", namespace)  # noqa: S102
    first = exercise_of(number).cells[0].index
    for cell in lesson_of(number).cells:
        if cell.kind != "code" or BEGIN in cell.source or cell.index > first:
            continue
        if "guided" in cell and not guided:
            continue
        for node in filter(_is_definition, parse(cell.source).body):
            code = compile(ast.Module([node], []), f"<lesson {number} cell {cell.index}>", "exec")
            # A default that hangs on the results of cells which are not run here.
            with contextlib.suppress(NameError):
                exec(code, namespace)  # noqa: S102 - the lesson's own code
    return namespace


def _is_definition(node: ast.stmt) -> bool:
    """Whether a statement only defines: an import, function, class, constant, `use`, named tuple."""
    if isinstance(node, ast.Assign):
        used = isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name)
        named = used and node.value.func.id in ("use", "namedtuple")
        return named or _is_literal(node.value)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _is_literal(node: ast.expr) -> bool:
    with contextlib.suppress(ValueError):
        ast.literal_eval(node)
        return True
    return False


def compiled(source: str, filename: str) -> types.CodeType:
    """Compile a learner's source so that messages can quote its lines."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return compile(source, filename, "exec")
