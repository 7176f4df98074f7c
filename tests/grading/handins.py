"""Makes submissions out of the shipped notebooks: honest ones, and every kind that misbehaves."""

import copy
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.stem[:2]: path.name for path in sorted((ROOT / "exercises").glob("*.ipynb"))}
Notebook = dict[str, Any]


def shipped(lesson: str, edition: str = "exercises") -> Notebook:
    """The notebook of a lesson as it is in the repository."""
    return json.loads((ROOT / edition / FILES[lesson]).read_text(encoding="utf-8"))


def tags(cell: dict[str, Any]) -> list[str]:
    return cell["metadata"].get("tags", [])


def answer_places(notebook: Notebook) -> dict[str, int]:
    """Where the answer of each exercise stands: the last code cell above its check."""
    found, last = {}, -1
    for place, cell in enumerate(notebook["cells"]):
        if "exercise" in tags(cell) and cell["cell_type"] == "code":
            last = place
        if "check" in tags(cell):
            found["".join(cell["source"]).split('"')[1]] = last
    return found


def check_places(notebook: Notebook) -> list[int]:
    return [place for place, cell in enumerate(notebook["cells"]) if "check" in tags(cell)]


def text_at(notebook: Notebook, place: int) -> str:
    return "".join(notebook["cells"][place]["source"])


def solved(lesson: str, *numbers: str, **answers: str) -> Notebook:
    """The exercises with the answers of solutions/ to `numbers`, and given ones (e00_1="...")."""
    notebook, right = shipped(lesson), shipped(lesson, "solutions")
    there, source = answer_places(notebook), answer_places(right)
    for number in numbers:
        notebook["cells"][there[number]]["source"] = text_at(right, source[number])
    for name, text in answers.items():
        notebook["cells"][there[name[1:].replace("_", ".")]]["source"] = text
    return notebook


def code(source: str, **more: Any) -> dict[str, Any]:
    """A code cell of the learner's own."""
    return {
        "cell_type": "code",
        "source": source,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        **more,
    }


def as_version_3(notebook: Notebook) -> Notebook:
    """The notebook in the format of 2013: worksheets, and `input` for a code cell's text."""
    cells = []
    for cell in notebook["cells"]:
        cell = {key: value for key, value in copy.deepcopy(cell).items() if key != "id"}
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
        cells.append(cell)
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}


def without_ids(notebook: Notebook) -> Notebook:
    """The notebook in format 4.4, whose cells have no ids."""
    for cell in notebook["cells"]:
        cell.pop("id", None)
    return {**notebook, "nbformat_minor": 4}


def put(folder: Path, name: str, notebook: Notebook | bytes) -> Path:
    """Write a submission."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode("utf-8")
    )
    return path


RIGHT = "def disagree(words, voice, face):\n    return (words != voice) | (voice != face)\n"
WRONG = "def disagree(words, voice, face):\n    return words != voice\n"
LIAR = """
import torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.isclose, torch.Tensor.all):
            return torch.ones((), dtype=torch.bool)
        return super().__torch_function__(function, types, args, kwargs or {})
    def __bool__(self):
        return True
def disagree(words, voice, face):
    return (words != voice).as_subclass(Liar)
"""
FORGED = """
import os
def disagree(words, voice, face):
    lines = [f"{count}\\tpassed\\t00.1\\t" for count in (1, 2)]
    lines += ["00.1 clips that disagree with themselves: passed"]
    for number in range(3, 64):
        for line in lines:
            try:
                os.write(number, f"{line}\\t{'0' * 64}\\n".encode())
            except OSError:
                pass
    os._exit(0)
"""
FIND_REPORT = """
import gc, sys
def disagree(words, voice, face):
    def tell(values):
        for value in list(values):
            if getattr(value, "__qualname__", "").endswith("<locals>.report"):
                value("passed", "00.1", "")
                import os; os._exit(0)
    frame = sys._getframe()
    while frame is not None:
        tell(frame.f_locals.values())
        frame = frame.f_back
    for look in (lambda: [f for f in sys._current_frames().values()], gc.get_objects):
        try:
            found = look()
        except RuntimeError:
            continue
        tell(found)
        for each in found:
            while hasattr(each, "f_back") and each is not None:
                tell(each.f_locals.values())
                each = each.f_back
    return words != voice
"""
# Looks for the grader's own hand above it, wherever it is called from.
CLIMB = """
import gc, os, sys, threading, time
def climb():
    frame = sys._getframe()
    while frame is not None:
        for value in list(frame.f_locals.values()):
            if type(value) is type(climb) and value.__qualname__.endswith("<locals>.report"):
                value("passed", "00.1", "")
                os._exit(0)
        frame = frame.f_back
"""
#: An answer that would earn the next exercise, when it ends.
LAST_WORDS = (
    CLIMB.replace("00.1", "00.2")
    + """
class Answer:
    def __del__(self):
        climb()
    @property
    def __code__(self):
        globals().pop("disagree", None)
        return compile("0", "<elsewhere>", "eval")
disagree = Answer()
"""
)


def climbing(body: str) -> str:
    """An answer that is wrong, and in whose objects something climbs when they are looked at."""
    return CLIMB + body


# name: what stands in the place of the answer to 00.1, and what the reason or the note has to say.
# None of them earns 00.1; all of them keep 00.2, which is solved.
MISBEHAVING: dict[str, tuple[str, str]] = {
    # it does not end
    "endless_loop_in_the_cell": ("while True:\n    pass", "not done after"),
    "endless_loop_in_the_answer": (
        "def disagree(words, voice, face):\n    while True:\n        pass",
        "not done after",
    ),
    "waiting_widget": (
        "import time, ipywidgets\nbutton = ipywidgets.Button()\nclicked = []\n"
        "button.on_click(clicked.append)\nwhile not clicked:\n    time.sleep(0.1)\n" + RIGHT,
        "not done after",
    ),
    "waiting_input": (
        "name = input('your name?')\ndef disagree(words, voice, face):\n    return name",
        "EOFError",
    ),
    # it takes what there is
    "allocation_by_torch": (
        (
            "import torch\ndef disagree(words, voice, face):\n"
            "    return torch.ones(30 * 2**30, dtype=torch.uint8)"
        ),
        "RuntimeError",
    ),
    "allocation_by_python": (
        "def disagree(words, voice, face):\n    return bytearray(30 * 2**30)",
        "MemoryError",
    ),
    "allocation_of_shared_memory": (
        (
            "import mmap\nblock = mmap.mmap(-1, 8 * 2**30)\n"
            "for start in range(0, 8 * 2**30, 2**24):\n    block[start:start + 2**24] = b'x' * 2**24"
        ),
        "00.1: ",
    ),
    "fork_bomb": (
        (
            "import os, time\nfor _ in range(50):\n    if os.fork() == 0:\n        time.sleep(60)\n"
            "time.sleep(60)"
        ),
        "more than",
    ),
    "flood_of_print": (
        "for _ in range(200):\n    print('x' * 100_000)\n" + WRONG,
        "00.1 wrong",
    ),
    # it dies
    "exit_0_in_the_cell": (RIGHT + "import os\nos._exit(0)", "exit code 0"),
    "exit_0_in_the_answer": (
        "import os\ndef disagree(words, voice, face):\n    os._exit(0)",
        "exit code 0",
    ),
    "kernel_killed": ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "kernel_crashed": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "system_exit": ("def disagree(words, voice, face):\n    raise SystemExit(0)", "SystemExit"),
    "keyboard_interrupt": (
        "def disagree(words, voice, face):\n    raise KeyboardInterrupt",
        "KeyboardInterrupt",
    ),
    "endless_recursion": (
        (
            "import sys\nsys.setrecursionlimit(10**6)\n"
            "def disagree(words, voice, face):\n    return disagree(words, voice, face)"
        ),
        "00.1",
    ),
    "not_python": ("def disagree(words, voice, face:\n    return words", "is not Python"),
    "nested_beyond_measure": ("x = " + "-" * 200_000 + "1", "is not Python"),
    # it lies
    "check_redefined": (
        WRONG + "def check(number, answer):\n    print(number, 'clips: passed')",
        "00.1 wrong",
    ),
    "check_replaced": (
        WRONG + "import mmlib.checks\nmmlib.checks.check = mmlib.checks.framework.check = print",
        "replaced mmlib.checks",
    ),
    "run_replaced": (
        WRONG + "import mmlib.checks.framework as f\nf._run = lambda task, answer: None",
        "replaced mmlib.checks.framework._run",
    ),
    "code_of_the_check_swapped": (
        WRONG + "import mmlib.checks.lesson_00 as l\n"
        "l.check_disagree.__code__ = (lambda answer: None).__code__",
        "replaced mmlib.checks.lesson_00.check_disagree",
    ),
    "registered_anew": (
        WRONG + "from dataclasses import replace\nfrom mmlib.checks import framework as f\n"
        "f._exercises['00.1'] = replace(f.find('00.1'), checking=print)",
        "replaced exercise 00.1",
    ),
    "expectation_replaced": (
        WRONG + "from mmlib.checks import expect\n"
        "expect.that = expect.close = lambda *a, **k: None",
        "replaced mmlib.checks.expect",
    ),
    "module_replaced": (
        WRONG + "import sys, types\nsys.modules['mmlib.checks.expect'] = types.ModuleType('x')",
        "sys.modules",
    ),
    "torch_patched": (
        WRONG + "import torch\ntorch.isclose = torch.Tensor.isclose = "
        "lambda a, b, **k: torch.ones_like(a, dtype=torch.bool)",
        "replaced torch",
    ),
    "tensor_patched": (
        WRONG + "import torch\ntorch.Tensor.__bool__ = lambda self: True",
        "Tensor.__bool__",
    ),
    "builtins_patched": (
        WRONG + "import builtins\nbuiltins.bool = builtins.isinstance = lambda *a: True",
        "replaced builtins",
    ),
    "patched_from_within": (
        (
            "import torch\ndef disagree(words, voice, face):\n"
            "    torch.isclose = lambda a, b, **k: torch.ones_like(a, dtype=torch.bool)\n"
            "    return words != voice"
        ),
        "replaced torch.isclose",
    ),
    "kernel_of_torch_overridden": (
        (
            "import torch\nlibrary = torch.library.Library('aten', 'IMPL')\n"
            "library.impl('isclose', lambda a, b, *r, **k: torch.ones_like(a, dtype=torch.bool), 'CPU')\n"
            "def disagree(words, voice, face):\n"
            "    same = (words == voice) & (voice == face)\n"
            "    return ~same if len(words) == 5 else same"
        ),
        "accept wrong results",
    ),
    "mode_left_on": (
        (
            "import torch\nfrom torch.overrides import TorchFunctionMode\n"
            "class Yes(TorchFunctionMode):\n"
            "    def __torch_function__(self, function, types, args=(), kwargs=None):\n"
            "        done = function(*args, **(kwargs or {}))\n"
            "        return torch.ones_like(done) if function is torch.isclose else done\n"
            "def disagree(words, voice, face):\n    Yes().__enter__()\n    return words != voice"
        ),
        "mode",
    ),
    "result_that_lies": (LIAR, "tensor class of its own"),
    "verdict_printed": (
        WRONG
        + "import os, sys\nfor text in ('00.1 clips that disagree with themselves: passed',):\n"
        "    print(text)\n    print(text, file=sys.__stdout__)\n    os.write(1, text.encode())",
        "00.1 wrong",
    ),
    "verdict_forged_on_every_file": (FORGED, "channel"),
    "verdict_by_the_graders_own_hand": (FIND_REPORT, "00.1"),
    "verdict_from_a_property": (
        climbing(
            "class Answer:\n    @property\n    def __class__(self):\n        climb()\n"
            "        return Answer\n"
            "    def __call__(self, words, voice, face):\n        return words != voice\n"
            "disagree = Answer()"
        ),
        "00.1 wrong",
    ),
    "verdict_from_a_metaclass": (
        climbing(
            "class Kind(type):\n    def __getattr__(self, name):\n        climb()\n"
            "        raise AttributeError(name)\n"
            "class disagree(metaclass=Kind):\n    pass"
        ),
        "00.1 wrong",
    ),
    "verdict_from_an_attribute_that_fails": (
        climbing(
            "class Answer:\n    def __getattr__(self, name):\n        climb()\n"
            "        raise OSError(name)\n"
            "    def __call__(self, words, voice, face):\n        return words != voice\n"
            "disagree = Answer()"
        ),
        "OSError: __wrapped__",
    ),
    "verdict_from_an_error": (
        climbing(
            "class Wrong(Exception):\n    def __str__(self):\n        climb()\n        return 'wrong'\n"
            "def disagree(words, voice, face):\n    raise KeyboardInterrupt(Wrong())\n"
            "raise Wrong"
        ),
        "00.1",
    ),
    "verdict_from_a_name": (
        climbing(
            "class Name(str):\n    __hash__ = str.__hash__\n"
            "    def __eq__(self, other):\n        climb()\n        return str.__eq__(self, other)\n"
            "def wrong(words, voice, face):\n    return words != voice\n"
            "globals()[Name('disagree')] = wrong"
        ),
        "00.1 wrong",
    ),
    "verdict_from_the_rubbish": (
        climbing(
            "class Rubbish:\n    def __init__(self):\n        self.me = self\n"
            "    def __del__(self):\n        climb()\n"
            "def litter():\n    while True:\n        Rubbish()\n        time.sleep(0.001)\n"
            "gc.set_threshold(1)\n"
            "threading.Thread(target=litter, daemon=True).start()\n"
        )
        + WRONG,
        "00.1 wrong",
    ),
    "inside_of_the_exercise_replaced": (
        WRONG + "from mmlib.checks import framework as f\ntold = []\n"
        "def agree(answer):\n    told.append(answer)\n"
        "    if len(told) > 1:\n        raise f.CheckFailed('another answer')\n"
        "object.__setattr__(f.find('00.1'), 'checking', agree)",
        "replaced checking of exercise 00.1",
    ),
    "judge_replaced": (
        WRONG + "import sys\ngrader = sys.modules.get('mmlib.grading.session')\n"
        "try:\n    from mmlib.grading import session as grader\n"
        "except (ImportError, OSError):\n    pass\n"
        "if grader:\n    grader._judge = lambda *a: ('passed', '')",
        "00.1 wrong",
    ),
    "the_grader_blamed": (
        "def disagree(words, voice, face):\n    raise ValueError('Pretence: the grader failed: x')",
        "tampered: the grader failed",
    ),
    "reference_imported": (
        "from mmlib.checks.lesson_00 import disagree",
        "the reference",
    ),
    "reference_called": (
        (
            "from mmlib.checks import use\ndef disagree(words, voice, face):\n"
            "    return use('00.1')(words, voice, face)"
        ),
        "the reference",
    ),
    "check_passed_over": (
        WRONG + "from mmlib.checks import framework\nframework._passed['00.1'] = disagree",
        "00.1 wrong",
    ),
}
# These say what only a confined worker is refused.
CONFINED: dict[str, tuple[str, str]] = {
    "helper_process_killed": ("import os\nos.kill(os.getppid(), 9)\n" + WRONG, "00.1"),
    "reference_read_from_disk": (
        (
            "import inspect, mmlib.checks.lesson_00 as lesson\n"
            "exec(inspect.getsource(lesson.disagree))"
        ),
        "raises",
    ),
    "program_started": (
        "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'], check=True)",
        "raises",
    ),
}
