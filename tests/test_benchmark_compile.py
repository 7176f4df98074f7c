"""What `benchmark --compile` adds: what it needs, what it takes and brings, and that nothing else changes."""

import json
import shutil
import sys
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mmlib.__main__ import main
from mmlib.benchmark import Case, compiling, measure
from mmlib.benchmark.compiling import check_agreement, check_compiler

WORDS = "benchmark --systems jmt --batches 2 --lengths 1 --precision fp32 --repeats 1 --quiet"


class Output(NamedTuple):
    logits: Tensor
    copies: None = None


class Tiny(nn.Module):
    """As little as a system can be, so that compiling it takes seconds and not minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3)

    def forward(self, *, audio: Tensor) -> Output:
        return Output(self.layer(audio).relu().sum(1))


@pytest.fixture
def tiny(monkeypatch):
    def build(case, device):
        torch.manual_seed(0)
        return Tiny().to(device), {"audio": torch.randn(case.batch, 7, 5, device=device)}

    monkeypatch.setattr(Case, "build", build)


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "a-compiler-that-nobody-has")


def test_without_a_compiler_the_command_says_what_to_install(no_compiler, capsys):
    assert main([*WORDS.split(), "--device=cpu", "--compile"]) == 2
    said = capsys.readouterr()
    assert "needs a C++ compiler, and a-compiler-that-nobody-has was not found" in said.err
    assert "apt-get install g++" in said.err and "leave out --compile" in said.err
    assert said.err.count("\n") == 1 and not said.out, "nothing was measured before it"


def test_without_a_compiler_nothing_is_built(no_compiler, monkeypatch):
    monkeypatch.setattr(Case, "build", lambda *_: pytest.fail("built a model for nothing"))
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        measure(Case("jmt", "small"), compiled=True)


def test_without_pythons_headers_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", f"{sys.executable} --flag")  # anything that exists
    monkeypatch.setattr(compiling.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(ValueError, match=r"Python\.h does not exist; .*python3-dev"):
        check_compiler()
    (tmp_path / "Python.h").touch()
    check_compiler()


def test_outputs_are_held_against_the_plain_models():
    plain = (torch.tensor([0.5, -2.0]), None, torch.tensor([1e6]))
    near = (torch.tensor([0.5, -2.001]), None, torch.tensor([1e6]))
    assert check_agreement(plain, plain, "fp32") == 0
    assert check_agreement(near, plain, "fp32") == pytest.approx(0.0005, rel=1e-3)
    for off in (-2.01, float("nan")):
        with pytest.raises(ArithmeticError, match=r"compiled outputs differ .* at most 0\.001"):
            check_agreement((torch.tensor([0.5, off]), *plain[1:]), plain, "fp32")
    assert check_agreement((torch.tensor([0.5, -2.1]), *plain[1:]), plain, "bf16") < 0.06


def test_what_is_not_compiled_says_nothing_of_compiling(tiny):
    cost = measure(Case("jmt", "small", 2), repeats=1)
    assert cost.compile_seconds is cost.eager_seconds is cost.graphs is cost.difference is None


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile calls a C++ compiler")
def test_the_command_measures_a_compiled_step_beside_the_plain_one(
    tiny, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    words = [*WORDS.split(), "--device=cpu", "--compile", "--out", str(tmp_path / "cost")]
    assert main(words) == 0
    told = json.loads((tmp_path / "cost" / "cost.json").read_text())
    assert told["failed"] == []
    plain, compiled = told["costs"]
    assert not plain["compiled"] and plain["compile_seconds"] is None
    assert compiled["compiled"] and compiled["graphs"] == 1
    assert compiled["compile_seconds"] > 100 * compiled["step_seconds"] > 0
    assert compiled["eager_seconds"] > 0 and 0 <= compiled["difference"] < 1e-5
    for field in ("parameters", "operations", "step_operations"):
        assert compiled[field] == plain[field], "counted as it is asked for"
    ratio = compiled["step_seconds"] / compiled["eager_seconds"]
    said = capsys.readouterr().out
    assert f"to 1 graph; the step takes {ratio:.2f} of the plain one's time" in said
    page = (tmp_path / "cost" / "cost.md").read_text().splitlines()
    assert page[4].endswith(" - |") and page[5].endswith(f" {ratio:.2f} |")
