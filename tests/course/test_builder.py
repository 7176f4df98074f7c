"""The builder: what it refuses, what it makes of a source, and that it makes the same twice."""

import os
import re
import shutil
from pathlib import Path

import build_notebooks
import nbformat
import pytest
import run_course
import run_tests
import timings
from builder import cells, editions, execute, lessons
from builder.cells import BuildError
from builder.read import read_lesson
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]
COURSE = lessons.sources(ROOT)
URL = "https://example.org/course.git"
STEM = "98_toy"


def laid_out(source: Path) -> dict[str, NotebookNode]:
    lesson = read_lesson(source)
    return {edition: editions.lay_out(lesson, edition, url=URL) for edition in editions.EDITIONS}


def source_of(course: Path) -> Path:
    return course / "notebooks" / "src" / f"{STEM}.py"


# Refusals: what is spoiled in the toy lesson, and what the message says.
RATING = "Difficulty ★☆☆ · Importance ★★★ · 2 minutes"
REFUSALS = {
    "no difficulty": (RATING, "Importance ★★★ · 2 minutes", "says its difficulty"),
    "no importance": (RATING, "Difficulty ★☆☆ · 2 minutes", "says its difficulty"),
    "no minutes": (RATING, "Difficulty ★☆☆ · Importance ★★★", "says its difficulty"),
    "a hint too few": ('["hint-2"]\n# $', '["exercise"]\n# $', "one cell is tagged hint-2"),
    "a hint too many": ('["hint-2"]\n# $', '["hint-1"]\n# $', "one cell is tagged hint-1"),
    "no check": ('["check"]\ncheck("98.1"', '["exercise"]\ncheck("98.1"', "one cell tagged check"),
    "a check of two lines": ('check("98.1", mean)', 'mean\ncheck("98.1", mean)', "of one line"),
    "another exercise's check": ('check("98.1"', 'check("98.2"', r'one line: check\("98\.1", name'),
    "a number twice": ("98.2", "98.1", "98.1 is not a new number"),
    "another lesson's number": ("98.2", "97.2", "97.2 is not a new number of lesson 98"),
    "no solution": ("### BEGIN SOLUTION\n        r", "r", "unbalanced"),
    "an open region": ("    ### END SOLUTION\n\n\n# %% t", "\n\n# %% t", "unbalanced"),
    "nested regions": ("return values.sum", "### BEGIN SOLUTION\n    values.sum", "unbalanced"),
    "a marker with text": ("### BEGIN SOLUTION\n    r", "### BEGIN SOLUTION here\n    r", "nothing else"),
    "a misspelt marker": ("### BEGIN SOLUTION\n    r", "## begin solution\n    r", "nothing else"),
    "a solution outside of an exercise": (
        'print("an output',
        'def f():\n    ### BEGIN SOLUTION\n    1\n    ### END SOLUTION\nprint("an output',
        "outside of a cell tagged",
    ),
    "a solution that would fail at once": (
        "def mean(values):",
        "### BEGIN SOLUTION\none = 1\n### END SOLUTION\n\ndef mean(values):",
        "inside a function",
    ),
    "an unknown tag": ('tags=["claim"]', 'tags=["clam"]', "unknown tag 'clam'"),
    "a tag in upper case": ('"nbval-check-output"]\nmean', '"NBVAL-CHECK-OUTPUT"]\nmean', "upper case"),
    "raises-exception": ('tags=["claim"]', 'tags=["raises-exception"]', "unknown tag"),
    "a skipped tag": ('tags=["claim"]', 'tags=["nbval-skip"]', "unknown tag"),
    "a hint in code": ('[markdown] tags=["hint-1"]\n# How many', 'tags=["hint-1"]\n# How many', "markdown"),
    "a guided exercise": ('tags=["check"]\ncheck("98.1"', 'tags=["check", "guided"]\ncheck("98.1"', "guided"),
    "a marker comment": ("assert torch.equal", "# NBVAL_CHECK_OUTPUT: mean\nassert torch.equal", "marker comment"),
    "an image without alt text": ("# Sum, then divide.", "# ![](mean.png)", "no alt text"),
    "an HTML image without alt text": ("# Sum, then divide.", '# <img src="a.png">', "no alt text"),
    "an empty HTML alt text": ("# Sum, then divide.", '# <img alt=" " src="a.png">', "no alt text"),
    "a heading that skips a level": ("# ## What a mean is", "# ### What a mean is", "skips a level"),
    "no title": ("# # 98 A toy", "# A toy", "title"),
    "another number in the title": ("# # 98 A toy", "# # 97 A toy", "# 98 Title"),
    "no minutes for the lesson": ("knows. 5 minutes.", "knows.", "how long the lesson takes"),
    "no heading of the exercise": ("# ### Exercise 98.1: the mean\n", "", "opens with a markdown cell"),
    "broken Python": ("for _ in tqdm(range(3)):", "for _ in tqdm(range(3):", "is no Python"),
    "a cell that needs an answer": ('mean = use("98.1")\n', "", "mean is undone until"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), REFUSALS.values(), ids=REFUSALS)
def test_a_spoiled_source_is_refused(
    course: Path, toy_text: str, old: str, new: str, said: str
) -> None:
    assert old in toy_text, "the toy lesson has changed"
    source_of(course).write_text(toy_text.replace(old, new), encoding="utf-8")
    with pytest.raises(BuildError, match=said) as caught:
        laid_out(source_of(course))
    assert str(caught.value).startswith(f"{STEM}.py")


def test_the_toy_lesson_itself_is_taken(course: Path) -> None:
    lesson = read_lesson(source_of(course))
    assert (lesson.number, lesson.title, lesson.minutes) == ("98", "A toy lesson", 5)
    first, second = lesson.exercises
    assert (first.number, first.title, first.answer) == ("98.1", "the mean", "mean")
    assert (first.difficulty, first.importance, first.minutes) == ("★☆☆", "★★★", 2)
    assert second.answer == "double"


def test_a_file_name_without_a_number_is_refused(course: Path) -> None:
    with pytest.raises(BuildError, match="02_attention.py"):
        read_lesson(source_of(course).rename(course / "toy.py"))


def test_a_heading_in_a_code_block_is_no_heading(course: Path, toy_text: str) -> None:
    fenced = "# Sum, then divide.\n#\n# ```python\n# #### a comment\n# ```"
    source_of(course).write_text(toy_text.replace("# Sum, then divide.", fenced), encoding="utf-8")
    laid_out(source_of(course))


# Editions


def texts(notebook: NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("## What a mean is", "notebooks exercises solutions"),
        ("show_figure(figure", "notebooks"),
        ("### Exercise 98.1: the mean", "exercises solutions"),
        ("raise NotImplementedError\n", "exercises"),
        ("values.sum(dim=0) / values.shape[0]", "solutions"),
        ("return values + values", "solutions"),
        ('check("98.1", mean)', "exercises solutions"),
        ("How many values are there", "exercises solutions"),
        ("The sum keeps the other axes.", "solutions"),
        ("The usual slip", "solutions"),
        ("**Practise:** exercise 98.1, *the mean*", "notebooks"),
        ("### BEGIN SOLUTION", ""),
        ("### END SOLUTION", ""),
    ],
)
def test_each_cell_goes_where_its_tag_says(course: Path, text: str, where: str) -> None:
    built = laid_out(source_of(course))
    found = [e for e in editions.EDITIONS if text in texts(built[e]) + "\n"]
    assert found == where.split()


def test_the_pointer_names_difficulty_minutes_and_place(course: Path) -> None:
    pointers = [
        c for c in laid_out(source_of(course))["notebooks"].cells if "Practise:" in c.source
    ]
    assert len(pointers) == 2
    assert "(difficulty ★☆☆, 2 minutes)" in pointers[0].source
    assert "(../exercises/98_toy.ipynb)" in pointers[0].source


def test_hints_are_collapsed_and_keep_their_markdown(course: Path) -> None:
    notebook = laid_out(source_of(course))["exercises"]
    hints = [c.source for c in notebook.cells if "<details>" in c.source]
    assert len(hints) == 6
    assert hints[0].startswith("<details><summary>Hint 1</summary>\n\nHow many")
    # Markdown inside of <details> is rendered only behind an empty line, in JupyterLab and Colab.
    assert all("</summary>\n\n" in hint and hint.endswith("\n\n</details>") for hint in hints)


def test_a_demonstration_that_is_left_out_is_pointed_to_once(course: Path) -> None:
    source = course / "notebooks" / "src" / f"{STEM}.py"
    text = source.read_text(encoding="utf-8")
    more = '# %% tags=["guided"]\n1 + 1\n\n# %% [markdown] tags=["guided"]\n# Two.\n\n'
    first = text.index('# %% tags=["guided"]')
    source.write_text(text[:first] + more + text[first:], encoding="utf-8")
    lesson = read_lesson(source)
    for edition in editions.EDITIONS:
        notebook = editions.lay_out(lesson, edition, url="https://example.org/course")
        texts = [cell.source for cell in notebook.cells]
        pointers = [text for text in texts if "has a longer demonstration here" in text]
        shown = [text for text in texts if text in ("1 + 1", "Two.")]
        guided = edition == editions.GUIDED
        assert (len(pointers), len(shown)) == ((0, 2) if guided else (1, 0))
        assert all(f"(../notebooks/{STEM}.ipynb)" in text for text in pointers)


def test_check_cells_are_compared_and_cannot_be_edited_by_accident(course: Path) -> None:
    notebook = laid_out(source_of(course))["exercises"]
    checks = [c for c in notebook.cells if "check" in c.metadata.get("tags", ())]
    assert len(checks) == 2
    for cell in checks:
        assert "nbval-check-output" in cell.metadata.tags
        assert cell.metadata.editable is cell.metadata.deletable is False


def test_a_cell_has_the_same_id_with_its_answer_and_without(course: Path) -> None:
    built = laid_out(source_of(course))
    stub, solved = (
        next(c for c in built[e].cells if c.source.startswith("def mean"))
        for e in editions.EDITIONS[1:]
    )
    assert stub.source != solved.source
    assert stub.id == solved.id


def test_ids_are_unique_and_hang_on_nothing_but_their_own_cell(course: Path, toy_text: str) -> None:
    twice = toy_text + '\n# %%\nprint("twice")\n\n# %%\nprint("twice")\n'
    source_of(course).write_text(twice, encoding="utf-8")
    before = laid_out(source_of(course))["solutions"].cells
    assert len({cell.id for cell in before}) == len(before)
    changed = twice.replace("Sum, then divide.", "Sum, then divide!")
    source_of(course).write_text(changed, encoding="utf-8")
    after = laid_out(source_of(course))["solutions"].cells
    moved = [new.source for old, new in zip(before, after, strict=True) if old.id != new.id]
    assert moved == ["## What a mean is\n\nSum, then divide!"]


# Running


def test_building_twice_gives_the_same_bytes(course: Path, toy_course: Path) -> None:
    for file in lessons.build(source_of(course), course, slack=10):
        assert file.text == (toy_course / file.path).read_text(encoding="utf-8"), file.path


def test_what_is_stored_is_clean(toy_course: Path) -> None:
    notebook = nbformat.read(toy_course / "notebooks" / f"{STEM}.ipynb", as_version=4)
    assert notebook.metadata == editions.METADATA
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any("execution" in cell.metadata for cell in code)
    streams = {o.name for c in code for o in c.outputs if o.output_type == "stream"}
    assert streams == {"stdout"}, "the progress bar on stderr is not stored"
    (figure,) = [o for c in code for o in c.outputs if "image/png" in o.get("data", {})]
    assert figure.metadata["image/png"]["alt"] == "A curve that rises ever faster"
    exercises = nbformat.read(toy_course / "exercises" / f"{STEM}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in exercises.cells)


def notebook_of(*sources: str) -> NotebookNode:
    return new_notebook(cells=[new_code_cell(source) for source in sources])


def test_a_cell_that_raises_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cell 1 \(1 / 0\): raised ZeroDivisionError"):
        execute.run(notebook_of("x = 1", "1 / 0"), tmp_path)


def test_the_kernel_does_not_see_the_builders_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMLIB_DATA", str(tmp_path))
    monkeypatch.setenv("MMLIB_STATIC", "0")
    notebook = notebook_of(
        "import os\nprint(os.environ.get('MMLIB_DATA'), os.environ['MMLIB_STATIC'])"
    )
    execute.run(notebook, tmp_path)
    assert notebook.cells[0].outputs[0].text == "None 1\n"


def test_a_cell_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="longer than 2 s"):
        execute.run(notebook_of("import time; time.sleep(60)"), tmp_path, cell_seconds=2)


def test_widgets_and_progress_are_dropped_and_split_streams_joined() -> None:
    notebook = notebook_of("x")
    cell = notebook.cells[0]
    cell.metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    still = new_output("display_data", {"text/plain": "the static twin"})
    cell.outputs = [
        new_output("stream", name="stdout", text="one "),
        new_output("stream", name="stderr", text="50%|#####     |"),
        new_output("stream", name="stdout", text="two"),
        new_output("display_data", {execute.WIDGET: {}, "text/plain": "VBox(...)"}),
        still,
    ]
    execute.tidy(notebook)
    assert cell.outputs == [new_output("stream", name="stdout", text="one two"), still]
    assert not cell.metadata


def test_a_compared_cell_that_writes_to_stderr_is_refused() -> None:
    notebook = notebook_of("warn()")
    notebook.cells[0].metadata["tags"] = ["nbval-check-output"]
    notebook.cells[0].outputs = [new_output("stream", name="stderr", text="Warning: old")]
    with pytest.raises(BuildError, match="Warning: old"):
        execute.tidy(notebook)


def test_a_lesson_over_its_budget_is_refused(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "run", lambda notebook, *_, **__: 61.0)
    monkeypatch.setattr(lessons.lint, "complaints", lambda *_, **__: [])
    with pytest.raises(BuildError, match="takes 61 s, over its budget of 60 s"):
        lessons.build(source_of(course), course)
    assert [lessons.budget(number) for number in ("06", "07", "13")] == [60, 120, 120]


def test_nothing_is_left_of_a_file_whose_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lesson.ipynb"
    editions.write(path, "old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        editions.write(path, "new")
    assert path.read_text() == "old"


# The commands


def spoiled(toy_course: Path, tmp_path: Path, edition: str, old: str, new: str) -> Path:
    """A copy of the built toy course with one text in one notebook replaced."""
    root = shutil.copytree(toy_course, tmp_path / "copy")
    path = root / edition / f"{STEM}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("edition", "old", "new", "cells_differ"),
    [
        ("notebooks", "mean: [2.50, 5.50]", "mean: [2.50, 5.60]", True),
        ("exercises", "How many values", "How few values", True),
        ("solutions", '"execution_count": 3', '"execution_count": 4', False),
        ("notebooks", "an output that no test compares", "another output", False),
        ("notebooks", "iVBORw0KGgo", "iVBORw0KGgp", False),
    ],
)
def test_compare_tells_a_stale_notebook_from_another_machine(
    toy_course: Path, tmp_path: Path, edition: str, old: str, new: str, cells_differ: bool
) -> None:
    fresh = (toy_course / edition / f"{STEM}.ipynb").read_text(encoding="utf-8")
    path = spoiled(toy_course, tmp_path, edition, old, new)
    if "another output" in new:  # the text stands in the source, too
        notebook = nbformat.reads(fresh, as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                if "text" in output:
                    output.text = output.text.replace(old, new)
        path.write_text(editions.as_text(notebook), encoding="utf-8")
    difference = lessons.compare(path, path.read_text(encoding="utf-8"), fresh)
    assert bool(difference.cells) is cells_differ
    assert bool(difference.machine) is not cells_differ
    assert lessons.compare(path, fresh, fresh) == lessons.Difference(path, [], [])
    assert lessons.compare(path, None, fresh).cells == ["it is not there"]


@pytest.fixture
def built_once(toy_course: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy course, and a builder that gives back what is stored there instead of running it."""
    paths = [Path(edition) / f"{STEM}.ipynb" for edition in editions.EDITIONS]
    files = [lessons.Built(p, (toy_course / p).read_text(encoding="utf-8"), 1.0) for p in paths]
    monkeypatch.setattr(lessons, "build", lambda *_, **__: files)
    return toy_course


def test_check_is_silent_about_built_notebooks_and_names_stale_ones(
    built_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_notebooks.main(["--check", "--strict"], built_once) == 0
    assert capsys.readouterr().out.count("the same to the byte") == 3
    path = spoiled(built_once, tmp_path, "exercises", "How many values", "How few values")
    before = path.read_text(encoding="utf-8")
    assert build_notebooks.main(["--check"], path.parents[1]) == 1
    assert "exercises/98_toy.ipynb is not built from its source" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == before, "--check stores nothing"
    assert build_notebooks.main([], path.parents[1]) == 0
    assert build_notebooks.main(["--check", "--strict"], path.parents[1]) == 0


def test_another_picture_passes_a_check_and_not_a_strict_one(
    built_once: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spoiled(built_once, tmp_path, "notebooks", "iVBORw0KGgo", "iVBORw0KGgp")
    assert build_notebooks.main(["--check"], path.parents[1]) == 0
    assert "another picture" in capsys.readouterr().err
    assert build_notebooks.main(["--check", "--strict"], path.parents[1]) == 1


def test_a_refusal_is_one_message_and_an_exit_code(
    course: Path, toy_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source_of(course).write_text(toy_text.replace("knows. 5 minutes.", ""), encoding="utf-8")
    assert build_notebooks.main([], course) == 1
    assert "refused: 98_toy.py" in capsys.readouterr().err
    assert not (course / "notebooks" / f"{STEM}.ipynb").exists()
    with pytest.raises(SystemExit) as caught:
        build_notebooks.main(["77"], course)
    assert caught.value.code == 2
    assert "there are 98" in capsys.readouterr().err


def test_the_course_runs_without_a_browser_and_leaves_pages_and_timings(
    toy_course: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(toy_course, tmp_path / "copy")
    assert run_course.main(["--slack", "10"], root) == 0
    assert re.search(r"\[1/1\] 98_toy \.\.\. \d+\.\d s", capsys.readouterr().out)
    html = (root / "build" / f"{STEM}.html").read_text(encoding="utf-8")
    assert 'alt="A curve that rises ever faster"' in html
    assert "No description" not in html
    assert f'href="{STEM}.html"' in (root / "build" / "index.html").read_text(encoding="utf-8")
    assert nbformat.read(root / "build" / "notebooks" / f"{STEM}.ipynb", as_version=4)
    (root / "README.md").write_text(f"before\n{timings.BEGIN}\nold\n{timings.END}\nafter\n")
    assert timings.main(["--write"], root) == 0
    readme = (root / "README.md").read_text()
    assert "| [98 A toy lesson](notebooks/98_toy.ipynb) | 5 | 2 |" in readme
    assert readme.startswith("before") and readme.endswith("after\n") and "old" not in readme
    (root / "build" / "timings.json").unlink()  # measured elsewhere: what the README says stands
    assert timings.main(["--write"], root) == 0
    assert (root / "README.md").read_text() == readme and "not measured" not in readme


def test_rewording_keeps_the_outputs_and_changes_only_the_text(
    toy_course: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(toy_course, tmp_path / "copy")
    source = root / "notebooks" / "src" / f"{STEM}.py"
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("Sum, then divide.", "Add up, then divide."), encoding="utf-8")
    assert build_notebooks.main(["--prose"], root) == 0
    for edition in editions.EDITIONS:
        before, after = (
            nbformat.read(base / edition / f"{STEM}.ipynb", 4) for base in (toy_course, root)
        )
        assert before != after
        code = [[c for c in nb.cells if c.cell_type == "code"] for nb in (before, after)]
        assert code[0] == code[1] and len(code[0]) > 2
    assert lessons.stale(source, root) == []


def test_rewording_refuses_changed_code_and_what_was_never_built(
    toy_course: Path, tmp_path: Path, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(toy_course, tmp_path / "copy")
    source = root / "notebooks" / "src" / f"{STEM}.py"
    text = source.read_text(encoding="utf-8")
    assert "import torch" in text
    source.write_text(text.replace("import torch", "import torch  # anew", 1), encoding="utf-8")
    kept = (root / "notebooks" / f"{STEM}.ipynb").read_bytes()
    assert build_notebooks.main(["--prose"], root) == 1
    assert "its code has changed too" in capsys.readouterr().err
    assert (root / "notebooks" / f"{STEM}.ipynb").read_bytes() == kept
    assert build_notebooks.main(["--prose"], course) == 1
    assert "it is not there yet" in capsys.readouterr().err


def test_the_course_goes_on_after_a_lesson_that_fails_and_says_so(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_course.main([], course) == 1, "nothing is built here"
    assert "98_toy ... FAILED" in capsys.readouterr().out
    monkeypatch.setattr(run_course, "_run", lambda *_: 99.0)
    assert run_course.main([], course) == 1
    assert "OVER its budget of 60 s" in capsys.readouterr().out


def test_all_parts_run_even_where_one_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"one": ["false"], "two": ["touch", "ran"]}
    assert run_tests.main(parts, tmp_path) == 1
    assert (tmp_path / "ran").exists()
    said = capsys.readouterr().out
    assert re.search(r"one +FAILED", said) and re.search(r"two +passed", said)
    assert run_tests.main({"two": ["true"]}, tmp_path) == 0


# The lessons as they stand in the tree


@pytest.mark.parametrize("source", COURSE, ids=lambda path: path.stem)
def test_the_stored_editions_are_built_from_their_source(source: Path) -> None:
    stale = lessons.stale(source, ROOT)
    said = [f"{each.path}: {line}" for each in stale for line in each.cells]
    assert not said, "run make notebooks:\n" + "\n".join(said)


def test_every_stored_notebook_has_a_source() -> None:
    stems = {source.stem for source in COURSE}
    stored = {p.stem for e in editions.EDITIONS for p in (ROOT / e).glob("*.ipynb")}
    assert stored <= stems


def test_the_readmes_table_is_that_of_the_lessons() -> None:
    def without_seconds(text: str) -> list[str]:
        return [line.rsplit("|", 2)[0] for line in text.splitlines()]

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(timings.BEGIN)[1].split(timings.END)[0].strip()
    wanted = timings.table(ROOT)
    assert without_seconds(shown) == without_seconds(wanted), "python tools/timings.py --write"
    assert "not measured" not in shown


def test_the_module_docstring_names_every_tag() -> None:
    from builder import read

    assert all(f"`{tag}`" in (read.__doc__ or "") for tag in cells.TAGS)
