"""The generated first cell, in a fresh environment that has torch and does not have the course."""

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch
from builder import editions, lessons

ROOT = Path(__file__).resolve().parents[2]
CELL = editions.first_cell(editions.repository(ROOT))
BUILT = sorted(path.stem for path in (ROOT / "solutions").glob("*.ipynb"))
IMPORTS = (ast.Import, ast.ImportFrom)

# Runs the cell as Colab does: google.colab is loaded already. HIDDEN packages count as missing.
RUNNER = """
import importlib.util, json, sys
import google.colab
hidden = set(json.loads(sys.argv[2]))
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in hidden else find(name)
before = set(sys.modules)
exec(open(sys.argv[1]).read())
import mmlib, torch
print(json.dumps({"course": mmlib.__file__, "torch": torch.__file__}))
"""
# What only those who work on the course have: importing one of them fails on the machine below.
FOR_DEVELOPERS = ("jupytext", "nbclient", "nbval", "playwright", "hypothesis", "librosa")
# What Colab has before the first cell, as the names under which it is imported. The cell adds the rest.
COLAB_HAS = {
    *("IPython", "PIL", "cycler", "ipywidgets", "matplotlib", "numpy"),
    *("pandas", "psutil", "safetensors", "scipy", "seaborn", "sklearn", "threadpoolctl", "torch"),
    *("tqdm", "transformers"),
}
FAKE_PIP = "import json, sys; open(sys.prefix + '/pip.log', 'a').write(json.dumps(sys.argv[1:]))"


@pytest.fixture(scope="module")
def colab(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A machine like Colab: torch is there, mmlib is not, pip only notes what it is asked for."""
    folder = tmp_path_factory.mktemp("colab")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    site = Path(torch.__file__).parents[1]
    (packages / "torch_and_others.pth").write_text(f"{site}\n")
    for module, text in {"google.colab": "", "pip": "", "pip.__main__": FAKE_PIP}.items():
        path = packages / Path(*module.split("."))
        path = path.with_suffix(".py") if module.endswith("__main__") else path / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "cell.py").write_text(CELL)
    (folder / "runner.py").write_text(RUNNER)
    return SimpleNamespace(folder=folder, repository=a_repository(folder / "published"))


def a_repository(folder: Path) -> str:
    """A repository with the course's library in it, as a public one would have."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "mmlib", folder / "mmlib", ignore=ignored)
    who = ["-c", "user.name=Teacher", "-c", "user.email=teacher@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "Publish"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return f"file://{folder}"


def run(
    colab: SimpleNamespace,
    home: Path,
    cwd: Path,
    url: str = "",
    hidden: tuple[str, ...] = (),
    cell: str = "cell.py",
) -> SimpleNamespace:
    home.mkdir(exist_ok=True), cwd.mkdir(exist_ok=True, parents=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GIT_"))}
    repository = {"MMLIB_REPOSITORY": url} if url else {}
    out = subprocess.run(
        [colab.folder / "env/bin/python", colab.folder / "runner.py", colab.folder / cell]
        + [json.dumps(hidden)],
        cwd=cwd,
        env=clean | {"HOME": str(home)} | repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.returncode == 0, out.stderr
    *said, found = out.stdout.splitlines()
    return SimpleNamespace(said=said, **json.loads(found))


def pip_calls(colab: SimpleNamespace) -> str:
    log = colab.folder / "env" / "pip.log"
    text = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return text


def test_the_first_cell_is_short_and_the_same_in_every_notebook() -> None:
    assert len(CELL.splitlines()) <= 12
    assert max(map(len, CELL.splitlines())) <= 100
    stems = [source.stem for source in lessons.sources(ROOT)]
    for path in (ROOT / e / f"{stem}.ipynb" for e in editions.EDITIONS for stem in stems):
        notebook = nbformat.read(path, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert first.source == CELL, f"{path.parent.name}/{path.name}: run make notebooks"


def test_it_clones_once_and_finds_the_clone_again_from_another_folder(
    colab: SimpleNamespace, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    first = run(colab, home, tmp_path / "content", colab.repository)
    assert first.course == str(home / "multimodal-emotion-course/mmlib/__init__.py")
    assert first.said[0].startswith("course 0.")
    assert f"torch {torch.__version__}" in first.said[0]
    # A second notebook: another folder, and an address that would not answer.
    second = run(colab, home, tmp_path / "elsewhere" / "deep", "file:///nowhere")
    assert second.course == first.course
    assert second.said == first.said
    assert first.torch == second.torch == torch.__file__
    assert pip_calls(colab) == ""


def imports_of(stem: str) -> list[str]:
    """Every import statement of a lesson, those of its answers too."""
    found: dict[str, None] = {}
    for cell in nbformat.read(ROOT / "solutions" / f"{stem}.ipynb", as_version=4).cells:
        if cell.cell_type == "code" and cell.source != CELL:
            nodes = ast.walk(ast.parse(cell.source))
            found |= {ast.unparse(n): None for n in nodes if isinstance(n, IMPORTS)}
    return list(found)


def test_behind_it_every_import_of_every_lesson_is_found(
    colab: SimpleNamespace, tmp_path: Path
) -> None:
    """In the clone, without a package that only developers have."""
    lines = dict.fromkeys(line for stem in BUILT for line in imports_of(stem))
    assert all(any("mmlib" in line for line in imports_of(stem)) for stem in BUILT)
    shut = f"import sys\nsys.modules.update(dict.fromkeys({FOR_DEVELOPERS}))"
    (colab.folder / "all.py").write_text("\n".join([shut, CELL, *lines, ""]))
    home = tmp_path / "home"
    found = run(colab, home, tmp_path / "content", colab.repository, cell="all.py")
    assert found.course == str(home / "multimodal-emotion-course/mmlib/__init__.py")


def packages_of(tree: ast.AST) -> set[str]:
    """The packages that some code imports, anywhere in it, without Python's own and the course's."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"mmlib"}


def installed_by_the_cell() -> set[str]:
    (call,) = [
        node
        for node in ast.walk(ast.parse(CELL))
        if isinstance(node, ast.Call) and ast.unparse(node).startswith("absent('einops'")
    ]
    return {ast.literal_eval(word) for word in call.args}


@pytest.mark.parametrize("stem", BUILT)
def test_colab_has_what_a_lesson_imports_or_the_cell_installs_it(stem: str) -> None:
    wanted = packages_of(ast.parse("\n".join(imports_of(stem))))
    assert "torch" in wanted
    missing = wanted - COLAB_HAS - installed_by_the_cell()
    assert not missing, f"{stem}: Colab lacks {sorted(missing)}: the first cell must install them"


def test_colab_has_what_the_library_imports_or_the_cell_installs_it() -> None:
    """But for what stands in the extras, which a lesson uses only where `find_spec` has found it."""
    files = sorted((ROOT / "mmlib").rglob("*.py"))
    wanted = set().union(*(packages_of(ast.parse(path.read_text("utf-8"))) for path in files))
    assert {"numpy", "sklearn", "ipywidgets"} <= wanted
    missing = wanted - COLAB_HAS - installed_by_the_cell()
    assert not missing, f"Colab lacks {sorted(missing)}"


def test_it_says_how_to_switch_a_gpu_on_where_there_is_none(
    colab: SimpleNamespace, tmp_path: Path
) -> None:
    said = run(colab, tmp_path / "home", tmp_path / "content", colab.repository).said
    if torch.cuda.is_available():
        assert said[0].endswith("GPU") and len(said) == 1
    else:
        assert said[0].endswith("CPU") and "Change runtime type" in said[1]


def test_it_installs_what_is_missing_without_its_dependencies_and_never_torch(
    colab: SimpleNamespace, tmp_path: Path
) -> None:
    run(colab, tmp_path / "home", tmp_path / "content", colab.repository, hidden=("einops",))
    calls = pip_calls(colab)
    assert "--no-deps" in calls and '"einops"' in calls
    assert "torch" not in calls and "accelerate" not in calls


def test_in_a_clone_that_is_not_installed_it_takes_the_library_beside_the_notebook(
    colab: SimpleNamespace, tmp_path: Path
) -> None:
    clone = Path(colab.repository.removeprefix("file://"))
    found = run(colab, tmp_path / "home", clone / "exercises", "file:///nowhere")
    assert found.course == str(clone / "mmlib/__init__.py")


def test_where_the_course_is_installed_it_prints_one_line_and_does_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "MMLIB_REPOSITORY": "file:///nowhere"}
    out = subprocess.run(
        [sys.executable, "-c", CELL],
        cwd=ROOT / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(out.stdout.splitlines()) == 1
    assert not (tmp_path / "multimodal-emotion-course").exists()


def test_the_address_stands_in_one_place(tmp_path: Path) -> None:
    address = "https://example.org/fork/our-course.git"
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\n[project.urls]\nRepository = "{address}"\n'
    )
    cell = editions.first_cell(editions.repository(tmp_path))
    assert address in cell and '"our-course"' in cell
