"""The parts of the grader, each by itself: slicing by names, decoys, the watch, names of students."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from handins import FILES, RIGHT, ROOT, answer_places, check_places, code, put, shipped, solved
from torch import nn

from mmlib.checks import CheckFailed, check, exercise, expect
from mmlib.grading import decoy, slicing
from mmlib.grading.assembling import assemble
from mmlib.grading.collecting import collect, student_of
from mmlib.grading.course import load
from mmlib.grading.marks import as_csv
from mmlib.grading.notebooks import Unreadable, parse
from mmlib.grading.watch import Watch


def piece(place: float, source: str, owner: str = "lesson", number: str = "") -> dict[str, Any]:
    return {
        "place": place,
        "label": f"cell {place}",
        "source": source,
        "owner": owner,
        "number": number,
    }


def run_for(pieces: list[dict[str, Any]], check: float = 9) -> list[str]:
    """Sources' labels and statements that are run for the answer `f` of exercise 02.1."""
    found = slicing.units(pieces)
    chosen = slicing.needed(found, "02.1", "f", check, set())
    return [f"{found[i].label}:{','.join(sorted(found[i].gives))}" for i in chosen]


def test_only_statements_that_an_answer_refers_to_are_run() -> None:
    lesson = piece(
        1, "import torch\nimport math\nheavy = train()\ndef helper(x):\n    return math.pi * x"
    )
    answer = piece(2, "def f(x):\n    heavy = 3\n    return helper(x) + heavy", "answer", "02.1")
    assert run_for([lesson, answer]) == ["cell 1:math", "cell 1:helper", "cell 2:f"]


def test_a_learners_own_cell_is_run_whole_or_not_at_all() -> None:
    used = piece(1, "k = 2\nprint(k)", "extra")
    idle = piece(1.5, "z = 2\nwhile True: pass", "extra")
    answer = piece(2, "def f(x):\n    return k * x", "answer", "02.1")
    assert run_for([used, idle, answer]) == ["cell 1:k", "cell 2:f"]


def test_what_stands_below_the_check_does_not_count() -> None:
    answer = piece(2, "def f(x):\n    return k * x", "answer", "02.1")
    assert run_for([answer, piece(4, "k = 2", "extra")], check=3) == ["cell 2:f"]


def test_what_an_answers_cell_defines_itself_is_not_looked_for_in_the_lesson() -> None:
    lesson = piece(1, "for name in train(): pass")
    answer = piece(2, "name = 1\ndef f(x):\n    return name * x", "answer", "02.1")
    assert run_for([lesson, answer]) == ["cell 2:f,name"]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("%matplotlib inline\nx = 1", "pass\nx = 1\n"),
        ("if True:\n    !ls\nx = 5 % 3", "if True:\n    pass\nx = 5 % 3\n"),
        ("torch.nn?\nx = 1", "pass\nx = 1\n"),
        ("%%bash\nrm -rf /", ""),
        ("x = 7 \\\n% 2", "x = 7 \\\n% 2\n"),
    ],
)
def test_magics_are_left_out_and_lines_keep_their_numbers(source: str, kept: str) -> None:
    assert slicing.plain_python(source) == kept


class Pair(NamedTuple):
    first: torch.Tensor
    second: int


@pytest.mark.parametrize(
    "result",
    [
        torch.tensor([1.0, 2.0]),
        torch.tensor([True, False]),
        torch.tensor(3),
        np.array([1, 2]),
        np.array(["a", "b"]),
        np.float64(2.0),
        (torch.ones(2), "first"),
        {"a": 1.5, "b": [False]},
        Pair(torch.ones(3), 2),
        True,
        "second",
        None,
    ],
    ids=repr,
)
def test_a_spoilt_result_is_of_the_same_kind_and_differs(result: Any) -> None:
    spoilt = decoy.spoilt(result)
    assert str(spoilt) != str(result)
    if result is not None:
        assert isinstance(spoilt, type(result))


def test_a_decoy_spoils_one_call_and_keeps_the_learners_signature() -> None:
    import inspect

    def answer(x: int, *, k: int = 2) -> int:
        return k * x

    wrapped = decoy.decoy(answer, 1)
    assert [wrapped(3), wrapped(3), wrapped(3)] == [6, 7, 6]
    assert inspect.signature(wrapped) == inspect.signature(answer)


def test_a_decoy_of_a_class_spoils_what_its_instances_give() -> None:
    class Double(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    wrong = decoy.decoy(Double, 0)()
    assert isinstance(wrong, Double)
    assert torch.equal(wrong(torch.ones(2)), torch.tensor([3.0, 3.0]))
    assert torch.equal(wrong(torch.ones(2)), torch.tensor([2.0, 2.0]))


def test_what_is_needed_of_an_answer_survives_the_wrapping() -> None:
    @exercise("96.1", title="twice", reference=lambda x: 2 * x, forbidden=[torch.add])
    def check_twice(answer: Callable[[torch.Tensor], torch.Tensor]) -> None:
        expect.close(answer(torch.ones(3)), 2 * torch.ones(3))

    def answer_of(source: str) -> Any:
        space: dict[str, Any] = {"torch": torch}
        exec(compile(source, "<cell 3>", "exec"), space)  # noqa: S102 - a planted answer
        return space["f"]

    check("96.1", decoy.watched(answer_of("def f(x):\n    return x * 2"), lambda: None))
    for cheat in (
        "def f(x):\n    return torch.add(x, x)",
        "def f(x):\n    raise NotImplementedError",
    ):
        with pytest.raises(CheckFailed):
            check("96.1", decoy.watched(answer_of(cheat), lambda: None))


class Claims:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        return torch.Tensor


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "result", [Subclass(), [Subclass()], {"a": (Claims(),)}], ids=["bare", "list", "deep"]
)
def test_a_result_that_pretends_is_refused(result: Any) -> None:
    with pytest.raises(decoy.Pretence):
        decoy.refuse_pretence(result)


def test_ordinary_results_are_not_refused() -> None:
    decoy.refuse_pretence(
        (
            torch.ones(2),
            nn.Parameter(torch.ones(1)),
            np.ones(2),
            "a",
            None,
            Pair(torch.ones(1), 2),
            nn.Linear(2, 3),
        )
    )


def _patch_function() -> tuple[Any, str, Any]:
    return torch, "isclose", lambda *a, **k: True


PATCHES: dict[str, Callable[[], tuple[Any, str, Any]]] = {
    "torch.isclose": _patch_function,
    "Tensor.__bool__": lambda: (torch.Tensor, "__bool__", lambda self: True),
    "expect.isinstance": lambda: (expect, "isinstance", lambda *a: True),
    "expect.PRIMES": lambda: (expect, "PRIMES", (1, 1, 1)),
    "expect.close": lambda: (expect.close, "__code__", (lambda *a, **k: None).__code__),
    "expect.that": lambda: (expect.that, "__kwdefaults__", {"got": "", "tried": "", "hint": 3}),
    "modules": lambda: (sys.modules, "mmlib.checks.expect", types.ModuleType("x")),
}


@pytest.mark.parametrize("name", PATCHES)
def test_the_watch_names_what_was_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    assert watch.changed() == "" and watch.changed_nearby() == ""
    owner, key, value = PATCHES[name]()
    if isinstance(owner, dict):
        monkeypatch.setitem(owner, key, value)
    else:
        monkeypatch.setattr(owner, key, value, raising=False)
    assert name.split(".")[-1] in watch.changed()
    monkeypatch.undo()
    assert watch.changed() == ""


def test_the_watch_minds_neither_new_names_nor_settings() -> None:
    watch = Watch()
    torch.a_learners_own_name = 1  # type: ignore[attr-defined]
    torch.set_default_dtype(torch.float64)
    try:
        assert watch.changed() == ""
    finally:
        torch.set_default_dtype(torch.float32)
        del torch.a_learners_own_name  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("alice_05.ipynb", "alice"),
        ("alice-05-fusing_and_judging.ipynb", "alice"),
        ("05_fusing.ipynb", "fusing"),
        ("ben/05_x.ipynb", "ben"),
        ("Ng, Li_31_assignsubmission_file_/work/05.ipynb", "Ng, Li"),
        ("plain.ipynb", "plain"),
        ("_05.ipynb", "_05"),
    ],
)
def test_whose_a_submission_is(name: str, student: str) -> None:
    assert student_of(name) == student


def test_copies_are_noted_but_not_those_of_the_shipped_notebook(tmp_path: Path) -> None:
    for name, data in (("a", b""), ("b", b""), ("c", b" "), ("d", b" ")):
        put(tmp_path, f"{name}.ipynb", (ROOT / "exercises" / FILES["00"]).read_bytes() + data)
    notes = {each.student: each.notes for each in collect(tmp_path, load(None))}
    assert notes["a"] == notes["b"] == []
    assert notes["c"] == ["the same file as d.ipynb"]


def test_names_that_look_alike_keep_a_row_each(tmp_path: Path) -> None:
    for name in ("a\x01", "a\x02"):
        put(tmp_path, f"{name}.ipynb", b"")
    assert [each.name for each in collect(tmp_path, load(None))] == ["a?.ipynb", "a?.ipynb (2)"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "'"])
def test_no_cell_of_the_table_is_a_formula(start: str) -> None:
    row = {
        "submission": f"{start}1+1.ipynb",
        "student": "x",
        "lesson": "02",
        "02.10": "1",
        "02.9": "0",
    }
    head, line = as_csv([row]).splitlines()
    assert head.split(",")[3:5] == ["02.9", "02.10"]
    assert line.startswith("'")


@pytest.mark.parametrize("data", [b'{"cells": 3}', b'{"worksheets": 3}', b'"text"', b"null"])
def test_json_that_is_no_notebook_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(data)


def test_odd_cells_are_read_as_far_as_they_make_sense() -> None:
    data = (
        b'\xef\xbb\xbf{"nbformat": 4, "cells": [3, {"cell_type": "code", "source": ["a\\n", 7, "b"], "id": 5},'
        b' {"cell_type": "raw", "source": {"x": 1}, "metadata": {"tags": "check"}},'
        b' {"cell_type": "code", "source": "\\ud800 = 1\\u0000"}]}'
    )
    code, raw, strange = parse(data).cells
    assert (code.kind, code.source, code.id) == ("code", "a\nb", "")
    assert (raw.kind, raw.source, raw.tags) == ("text", "", ())
    assert strange.source == "? = 1"


def notes_on(notebook: dict[str, Any]) -> list[str]:
    """What is noted of a submission of lesson 00."""
    read = parse(json.dumps(notebook).encode())
    return assemble(read, load(ROOT / "exercises")["00"]).notes


def test_an_answer_below_its_check_is_noted_where_nothing_stands_above_it() -> None:
    late = shipped("00")
    place = check_places(late)[0] + 1
    late["cells"].insert(place, code(RIGHT))
    sentence = f"00.1: cell {place} defines disagree below the check"
    assert [note for note in notes_on(late) if note.startswith(sentence)]
    deleted = shipped("00")
    deleted["cells"].insert(place, code(RIGHT))
    del deleted["cells"][answer_places(deleted)["00.1"]]
    assert any("defines disagree below the check" in note for note in notes_on(deleted))


def test_a_second_try_below_the_check_of_a_given_answer_is_not() -> None:
    answered = solved("00", "00.1")
    answered["cells"].insert(check_places(answered)[0] + 1, code(RIGHT))
    assert not any("below" in note for note in notes_on(answered))
