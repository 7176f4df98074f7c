"""The floors of the house: imports point down, there are no circles, and nothing is imported early."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mmlib"

# The first name after `mmlib.` decides the floor; a new name must be given one here.
FLOORS = {
    **dict.fromkeys(("layers", "data", "losses", "metrics"), 1),
    "backbones": 2,
    "systems": 3,
    **dict.fromkeys(("training", "benchmark", "checks"), 4),
    **dict.fromkeys(("__main__", "cli", "plots", "widgets", "grading", "reporting"), 5),
}
# What these may use of this package besides themselves.
ALLOWED_BESIDE = {
    "layers": set(),
    "data": set(),
    "metrics": set(),
    "losses": set(),
    "checks": {"layers", "losses", "metrics", "data", "backbones", "systems"},
}
OPTIONAL = (
    *("transformers", "av", "cv2", "h5py", "pooch", "accelerate", "IPython", "ipywidgets"),
    *("pandas", "matplotlib", "sklearn", "seaborn", "librosa", "scipy"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Name every module of this package that a file imports when it runs, anywhere in it."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):  # what only a type checker reads is not an import
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{start}.{alias.name}"
                found.add(whole if whole in MODULES else start)
    return {name for name in found if name.split(".")[0] == "mmlib"}


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {module_name(path): path for path in FILES}


def part(module: str) -> str | None:
    """Name the part of the house that a module belongs to; the package itself belongs to none."""
    names = module.split(".")
    return names[1] if len(names) > 1 else None


def test_every_module_has_a_floor():
    homeless = {part(module) for module in MODULES} - set(FLOORS) - {None}
    assert not homeless, f"give these a floor in tests/test_floors.py: {sorted(homeless)}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    own = part(module)
    for imported in imports_of(MODULES[module]):
        other = part(imported)
        if own is None or other is None or other == own:
            assert own is not None or other is None, "the package itself imports nothing of its own"
            continue
        assert FLOORS[other] <= FLOORS[own], f"{module} imports {imported} from a floor above"
        if own in ALLOWED_BESIDE:
            assert other in ALLOWED_BESIDE[own], f"{module} may not use {imported}"


def test_there_are_no_circles():
    graph = {name: imports_of(path) & set(MODULES) - {name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                # A part is reached through its package, whose __init__ imports the part.
                if not name.startswith(f"{other}."):
                    visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


MEASURED = [
    floor
    for floor in ("layers", "data", "losses", "metrics", "backbones", "systems")
    if f"mmlib.{floor}" in MODULES
]
MEASURE = """
import json, sys
import mmlib
alone = sorted(sys.modules)
import torch, einops, torch.utils.data
found = {"alone": alone}
for name in sys.argv[1:]:
    before = set(sys.modules)
    __import__(f"mmlib.{name}")
    found[name] = sorted(set(sys.modules) - before)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """List what a fresh interpreter imports for the package alone, and then floor by floor."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *MEASURED],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_package_alone_imports_nothing(imported):
    loaded = set(imported["alone"])
    assert "torch" not in loaded and "numpy" not in loaded
    assert {name for name in loaded if name.startswith("mmlib")} == {"mmlib"}


@pytest.mark.parametrize("floor", MEASURED)
def test_a_floor_imports_no_optional_package(imported, floor):
    loaded = imported[floor]
    strange = {name.split(".")[0] for name in loaded} & set(OPTIONAL)
    assert not strange, f"mmlib.{floor} imports {strange}"
    # Import time is a matter of how much is imported; seconds would depend on the machine.
    assert len(loaded) < 120, f"mmlib.{floor} imports {len(loaded)} modules beyond torch"


def test_layers_need_torch_and_einops_only(imported):
    others = {name.split(".")[0] for name in imported["layers"]} - {"mmlib", "torch", "einops"}
    assert not {name for name in others if name not in sys.stdlib_module_names}, others


def test_no_two_test_files_share_a_name():
    """Pytest would collect only one of them."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) > 100
    assert sorted(names) == sorted(set(names))
