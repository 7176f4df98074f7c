"""The workflow that a fork runs: the gate, on every Python and on both ends of torch's range."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
(WORKFLOW,) = (ROOT / ".github" / "workflows").glob("*.yml")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    (only,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return only


@pytest.fixture(scope="module")
def machines(job: dict[str, Any]) -> list[tuple[str, str]]:
    """Every (python, torch) that the matrix makes: the product of its lists, and what is added."""
    matrix = job["strategy"]["matrix"]
    product = [(python, bound) for python in matrix["python"] for bound in matrix["torch"]]
    return product + [(each["python"], each["torch"]) for each in matrix["include"]]


def torch_range() -> dict[str, str]:
    """Both ends of the range that requirements.txt gives torch, by operator."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if re.match(r"torch\b", line)]
    return {each.operator: each.version for each in Requirement(line).specifier}


def test_every_python_of_the_project_is_tried(machines: list[tuple[str, str]]) -> None:
    named = [
        row.rpartition(" :: ")[2] for row in PROJECT["classifiers"] if re.search(r"3\.\d", row)
    ]
    assert {python for python, _ in machines} == set(named)
    assert f">={min(named, key=Version)}" == PROJECT["requires-python"]


def test_both_ends_of_torchs_range_are_tried(machines: list[tuple[str, str]]) -> None:
    ends = torch_range()
    bounds = [bound for _, bound in machines]
    assert set(bounds) == {f"=={ends['>=']}.*", f"<={ends['<=']}"}
    assert len(set(machines)) == len(machines)


def test_the_oldest_torch_meets_the_oldest_python(machines: list[tuple[str, str]]) -> None:
    oldest = [python for python, bound in machines if bound.startswith("==")]
    assert oldest == [min((python for python, _ in machines), key=Version)]


def test_the_torch_of_this_very_run_is_within_the_range() -> None:
    version, ends = Version(Version(torch.__version__).public), torch_range()
    assert Version(ends[">="]) <= version <= Version(ends["<="])


def test_the_chosen_torch_binds_what_is_installed(job: dict[str, Any], tmp_path: Path) -> None:
    """The step that writes the constraint, run as it stands, writes where pip is told to look."""
    workspace = {"${{ github.workspace }}": str(tmp_path), "${{ matrix.torch }}": "==2.6.*"}
    before_gate = [step["run"] for step in job["steps"] if "run" in step]
    *steps, gate = before_gate
    assert gate == "bash .ci/run"
    file = job["env"]["PIP_CONSTRAINT"]
    for old, new in workspace.items():
        file, steps = file.replace(old, new), [step.replace(old, new) for step in steps]
    for step in steps:
        subprocess.run(["bash", "-euc", step], cwd=tmp_path, check=True)
    constraint = Requirement(Path(file).read_text(encoding="utf-8").strip())
    assert constraint.name == "torch" and constraint.specifier == "==2.6.*"


def test_what_it_runs_is_the_gate_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert shlex.split(script.strip().splitlines()[-1]) == ["make", "test"]
