"""What goes wrong in the grader itself is told as that: nobody is blamed for it, and it is tried again."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmlib.cli import main
from mmlib.grading import classroom, running
from mmlib.grading.collecting import Submission
from mmlib.grading.marks import row_of
from mmlib.grading.running import ENDED_HELPER, Broken, Limits, Result, Template, mark
from mmlib.grading.words import CLEAN, PASSED

NUMBERS = ("02.1", "02.2", "02.3")
FAILS = {"event": "over", "why": "the grader failed: OSError: no processes left", "number": ""}
OVER = {"event": "over", "why": CLEAN, "number": ""}


class Scripted:
    """A template whose attempts go as written: what happens in which exercise of the attempt."""

    def __init__(self, *attempts: dict[str, Any]) -> None:
        self.attempts, self.asked = list(attempts), []

    def ask(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append(job["left"])
        happens = self.attempts.pop(0) if self.attempts else {}
        if "before" in happens:
            yield from happens["before"]()
            return
        for number in job["left"]:
            yield {"event": "start", "number": number}
            if number in happens:
                yield from happens[number]()
                return
            yield {"event": "verdict", "number": number, "verdict": PASSED, "reason": ""}
        yield OVER


def fail() -> Iterator[dict[str, Any]]:
    yield FAILS


def end() -> Iterator[dict[str, Any]]:
    raise Broken
    yield


def graded(*attempts: dict[str, Any]) -> tuple[Result, Scripted]:
    template = Scripted(*attempts)
    assembled: Any = SimpleNamespace(
        missing={},
        checks=[(number, "answer", 1.0) for number in NUMBERS],
        without=lambda offenders: {"left": [n for n in NUMBERS if n not in offenders]},
    )
    return mark(assembled, b"", template, Limits()), template  # type: ignore[arg-type]


def row(result: Result, student: str = "ann") -> dict[str, str]:
    exercises = [SimpleNamespace(number=number) for number in NUMBERS]
    lesson: Any = SimpleNamespace(number="02", exercises=exercises)
    return row_of(Submission(f"{student}.ipynb", student, data=b"mine", lesson=lesson), result)


def test_a_failure_that_passes_leaves_no_trace():
    result, template = graded({"02.2": fail})
    assert result.marks == dict.fromkeys(NUMBERS, 1) and not result.reasons
    assert template.asked == [list(NUMBERS)] * 2 and not result.grader_failed
    assert row(result)["digest"] != ""


def test_a_failure_that_stays_is_told_and_the_other_exercises_are_marked():
    result, _ = graded({"02.2": fail}, {"02.2": fail})
    assert result.marks == {"02.1": 1, "02.2": 0, "02.3": 1} and result.grader_failed
    assert result.reasons == {"02.2": FAILS["why"]}
    told = row(result)
    assert told["reason"] == f"02.2: {FAILS['why']}"
    assert told["digest"] == "", "so that --resume judges it again"


def test_the_command_names_whom_the_grader_failed_whatever_a_learner_says(monkeypatch, capsys):
    blaming = Result(dict.fromkeys(NUMBERS, 0), {"02.1": f"tampered: {FAILS['why']}"})
    failed, _ = graded({"02.2": fail}, {"02.2": fail})
    rows = [row(blaming, "bea"), row(failed, "cid")]
    monkeypatch.setattr(classroom, "grade", lambda *_, **__: rows)
    assert main(["grade", "class", "--csv", "marks.csv"]) == 0
    said = capsys.readouterr().err
    assert "the grader itself failed on cid.ipynb; the 0s there are no marks" in said


@pytest.mark.parametrize("happens", [fail, end])
def test_before_any_exercise_begins_nobody_is_to_blame(happens):
    result, template = graded({"before": happens}, {"before": happens})
    assert len(template.asked) == 2 and result.grader_failed
    assert result.marks == dict.fromkeys(NUMBERS, 0)
    assert all(why.startswith("the grader failed: ") for why in result.reasons.values())


def test_who_ends_the_helper_is_still_told_so():
    result, _ = graded({"02.3": end})
    assert result.marks == {"02.1": 1, "02.2": 1, "02.3": 0}
    assert result.reasons == {"02.3": ENDED_HELPER} and not result.grader_failed
    assert row(result)["digest"] != ""


def test_the_helpers_say_what_went_wrong_in_them_and_go_on(tmp_path: Path):
    template = Template(["00.1"], tmp_path)
    job = {"seconds": 60, "check_seconds": 30, "memory": 2**30, "confined": False}
    job |= {"folder": str(tmp_path), "pieces": []}
    try:
        lacking = {name: value for name, value in job.items() if name != "confined"}
        (keepers,) = template.ask({**lacking, "checks": []})
        assert keepers["why"] == "the grader failed: KeyError: 'confined'"
        (templates,) = template.ask({**job, "checks": [("99.9", "answer", 1.0)]})
        assert templates["why"] == "the grader failed: KeyError: '99.9'"
        assert [event["event"] for event in template.ask({**job, "checks": []})] == ["over"]
    finally:
        template.close()


def test_a_template_that_cannot_start_is_no_submissions_fault(tmp_path, monkeypatch):
    (tmp_path / "einops.py").write_text("raise RuntimeError('einops is broken')", encoding="utf-8")
    usual = running.environment

    def broken(scratch: Path) -> dict[str, str]:
        found = usual(scratch)
        return {**found, "PYTHONPATH": f"{tmp_path}:{found['PYTHONPATH']}"}

    monkeypatch.setattr(running, "environment", broken)
    template = Template(["00.1"], tmp_path)
    try:
        with pytest.raises(ValueError, match="the grader failed: RuntimeError: einops is broken"):
            next(template.ask({"seconds": 1, "checks": []}))
    finally:
        template.close()
