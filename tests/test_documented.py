"""Every public name says what it is; an exported one that takes several arguments, what they are."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "mmlib"
PARTS = ("layers", "data", "metrics", "backbones", "systems", "training", "benchmark")


def public(body, before: str = ""):
    """Walk through classes and functions that are not private, and their own."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield f"{before}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{before}{node.name}.")


def test_every_public_name_has_a_docstring():
    bare, seen = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, node in [("the module", tree), *public(tree.body)]:
            seen += 1
            if not ast.get_docstring(node):
                bare.append(f"{path.relative_to(PACKAGE)}: {name}")
    assert not bare and seen > 1000


@pytest.mark.parametrize("part", PARTS)
def test_what_takes_several_arguments_says_more_than_a_line(part):
    module = importlib.import_module(f"mmlib.{part}")
    short = []
    for name in module.__all__:
        thing = getattr(module, name)
        a_class = inspect.isclass(thing) and not issubclass(thing, BaseException)
        if a_class or inspect.isfunction(thing):
            told = (inspect.getdoc(thing) or "").splitlines()
            if len(inspect.signature(thing).parameters) > 1 and len(told) < 2:
                short.append(name)
    assert not short, f"say what they take: {', '.join(short)}"
