"""Which controls each lesson has, and how a keyboard moves each: the browser tests' table.

A row for each lesson, in it a row for each explorer from the top of the page down, in it each control
with the keys that change it from where it stands at first. A new lesson or control needs its row here.
"""

import ast
import re
from pathlib import Path

import nbformat

from mmlib import widgets

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))  # those that stand
UP, DOWN, TICK = "ArrowRight", "ArrowLeft", "Space"
NEXT = "Tab Space"  # from the button of the first choice to that of the second

CONTROLS: dict[str, list[dict[str, str]]] = {
    "00_start_here": [{"emotion": UP, "actor": UP, "clarity": DOWN, "irony": TICK}],
    "01_signals_and_metrics": [{"share": UP, "skill": UP}],
    "02_attention": [{"query": NEXT, "temperature": UP}],
    "03_cross_attention": [{"lag": UP}],
    "04_transformer_blocks": [{"residual": TICK, "norm": NEXT, "positions": TICK, "depth": UP}],
    "05_fusing_and_judging": [
        {"text clarity": UP, "audio clarity": UP, "vision clarity": UP, "irony": UP}
    ],
    "06_adversarial_autoencoder": [
        {"reconstruction": UP, "classification": UP, "adversarial": UP},
    ],
    "07_ca_mmaaet": [{"model": NEXT, "seed": NEXT}],
    "08_attention_over_faces": [{"emotion": NEXT, "rule": NEXT, "actor": UP}],
    "09_avt_ca": [{"name": NEXT, "heads": NEXT}],
    "11_jmt": [{"model": NEXT, "clip": UP}],
    "13_conversations": [{"dialogue": UP, "who": NEXT, "streams": NEXT}],
    "10_valence_arousal": [{"bias": UP, "scale": DOWN, "noise": UP}],
    "14_capstone": [{"metric": NEXT, "against": NEXT, "who": NEXT}],
    "12_embracenet": [{"trust in vision": UP, "audio": TICK, "text": TICK, "vision": TICK}],
}

# explore itself, and what calls it for a lesson.
MAKERS = {
    name
    for name, made in vars(widgets).items()
    if getattr(made, "__annotations__", {}).get("return") is widgets.Explorer
}


def explorers(notebook: Path) -> list[list[str]]:
    """The labels of the controls of each explorer that the notebook's code makes, from the top down."""
    found = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name not in MAKERS:
                continue
            labels = [keyword.arg for keyword in call.keywords]
            assert None not in labels, f"{notebook.name}: write the controls out, not as **controls"
            if name != "explore":
                labels = list(getattr(widgets, name)().controls)
            found.append([str(label).replace("_", " ") for label in labels])
    return found


def mentions(source: Path) -> int:
    """How many explorers a lesson's source makes, by its letters alone."""
    code = [line for line in source.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    return len(re.findall(rf"\b(?:{'|'.join(sorted(MAKERS))})\(", "\n".join(code)))
