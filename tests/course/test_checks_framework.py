"""The machinery of the checks, tried on a toy exercise; lessons' own checks have their own tests."""

import functools
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmlib.checks import CheckFailed, check, exercise, expect, framework, show, use
from mmlib.checks.framework import NotAttempted


def _weights(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


@exercise("97.1", title="softmax", reference=_weights, forbidden=[torch.softmax, Tensor.softmax])
def _check_weights(answer: Callable[[Tensor], Tensor]) -> None:
    """How a lesson's check is written: fresh inputs, then shape, invariants, values."""
    scores = expect.Fresh(1).normal(3, 5, 2)
    tried = "weights(scores of shape (3, 5, 2))"
    with expect.inputs_left_alone(scores=scores):
        weights = answer(scores)
    expect.shape(weights, (3, 5, 2), tried=tried, hint=1)
    expect.like(weights, scores, tried=tried)
    expect.sums_to_one(weights, tried=tried, hint=2)
    expect.close(weights, _weights(scores), tried=tried, hint=3)


def answer_of(source: str, name: str = "weights") -> Any:
    """A learner's function, in a file of its own as a notebook's cell is."""
    from checking import compiled

    namespace: dict[str, Any] = {"torch": torch, "functional": functional, "use": use}
    exec(compiled(source, f"<cell {hash(source)}>"), namespace)  # noqa: S102 - a planted answer
    return namespace[name]


RIGHT = "def weights(x):\n    e = (x - x.max()).exp()\n    return e / e.sum(-1, keepdim=True)"


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    framework._passed.clear()


def failure_of(source: Any) -> CheckFailed:
    solution = answer_of(source) if isinstance(source, str) else source
    with pytest.raises(CheckFailed) as caught:
        check("97.1", solution)
    return caught.value


def test_a_right_answer_prints_one_fixed_line(capsys: pytest.CaptureFixture[str]) -> None:
    check("97.1", answer_of(RIGHT))
    assert capsys.readouterr().out == "97.1 softmax: passed\n"


@pytest.mark.parametrize(
    "body",
    ["raise NotImplementedError", '"""Only words."""', "pass", "...", "return None"],
)
def test_an_empty_body_is_not_attempted_yet(body: str) -> None:
    failure = failure_of(f"def weights(x):\n    {body}")
    assert isinstance(failure, NotAttempted)
    assert "not attempted yet" in str(failure)


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_answer_at_all_is_not_attempted_yet(nothing: object) -> None:
    assert isinstance(failure_of(nothing), NotAttempted)


def test_a_failure_says_what_was_tried_expected_and_came_and_which_hint_helps() -> None:
    failure = failure_of("def weights(x):\n    return torch.full_like(x, 0.5)")
    lines = str(failure).splitlines()
    assert lines[0] == "97.1 softmax: not yet"
    assert lines[1] == "Tried:    weights(scores of shape (3, 5, 2))"
    assert lines[2].startswith("Expected: the result[")
    assert "30 of 30 values are off" in lines[3]
    assert lines[4] == "Next:     open hint 3 below the exercise, then run this check again"


def test_an_exception_comes_with_the_call_that_raised_it() -> None:
    failure = failure_of("def weights(x):\n    x = x.flatten()\n    return x.nonsense")
    assert failure.tried == "weights(x: tensor of shape (3, 5, 2))"


def test_an_exception_is_named_with_the_learners_own_line() -> None:
    failure = failure_of("def weights(x):\n    y = x + 1\n    return y.reshape(7, 11)")
    assert "RuntimeError: shape '[7, 11]' is invalid" in failure.got
    assert "in weights, line 3: return y.reshape(7, 11)" in failure.got


def test_a_wrong_signature_is_a_failed_check_too() -> None:
    assert "TypeError" in failure_of("def weights(x, y):\n    return x").got


def test_leaving_the_interpreter_is_a_failed_check_too() -> None:
    assert "SystemExit" in failure_of("import sys\ndef weights(x):\n    sys.exit(3)").got


def test_not_implemented_below_an_attempt_is_not_taken_for_a_stub() -> None:
    source = "def weights(x):\n    return torch.nn.Module()(x)"
    assert not isinstance(failure_of(source), NotAttempted)


def test_a_missing_return_is_pointed_out() -> None:
    assert "is there a `return`?" in failure_of("def weights(x):\n    y = x + 1").got


def test_an_input_changed_in_place_is_refused() -> None:
    source = "def weights(x):\n    x.sub_(x.max()).exp_()\n    return x / x.sum(-1, keepdim=True)"
    assert "the argument scores left as it was" in str(failure_of(source))


CHEATS = {
    "a constant": "def weights(x):\n    return torch.full((3, 5, 2), 0.5)",
    "the input": "def weights(x):\n    return x",
    "the reference": "def weights(x):\n    return use('97.1')(x)",
    "the reference kept": "ref = use('97.1')\ndef weights(x):\n    return ref(x)",
    "torch's function": "def weights(x):\n    return torch.softmax(x, -1)",
    "torch's method": "def weights(x):\n    return x.softmax(-1)",
    "a library function over it": "def weights(x):\n    return functional.softmax(x, dim=-1)",
    "a swallowed call": "def weights(x):\n    try:\n        return x.softmax(-1)\n"
    "    except Exception:\n        return x",
}


@pytest.mark.parametrize("source", CHEATS.values(), ids=CHEATS)
def test_a_cheat_is_rejected(source: str) -> None:
    assert not isinstance(failure_of(source), NotAttempted)


@pytest.mark.parametrize(
    "given",
    [
        _weights,
        functools.partial(_weights),
        torch.softmax,
        Tensor.softmax,
        functools.partial(functional.softmax, dim=-1),
        torch.nn.Softmax(dim=-1),
        torch.nn.Softmax,
    ],
    ids=lambda given: type(given).__name__,
)
def test_the_reference_or_a_librarys_own_function_is_no_answer(given: Any) -> None:
    assert "your code calls" in failure_of(given).got


def test_a_subclass_of_a_reference_class_is_no_answer() -> None:
    class Gate(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sigmoid()

    @exercise("97.2", title="gate", reference=Gate)
    def _check_gate(answer: Any) -> None:
        expect.close(answer()(torch.ones(3)), torch.ones(3).sigmoid())

    inherits = type("Mine", (Gate,), {})
    with pytest.raises(CheckFailed, match="your code calls"):
        check("97.2", inherits)
    own = answer_of(
        "class Mine(torch.nn.Module):\n    def forward(self, x):\n        return 1 / (1 + (-x).exp())",
        "Mine",
    )
    check("97.2", own)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (
            (
                "import sys\ndef weights(x):\n"
                "    look = sys.getprofile()\n    sys.setprofile(None)\n"
                "    found = torch.softmax(x, -1)\n    sys.setprofile(look)\n    return found"
            ),
            "sys.setprofile",
        ),
        (
            (
                "from concurrent.futures import ThreadPoolExecutor\ndef weights(x):\n"
                "    with ThreadPoolExecutor() as pool:\n"
                "        return pool.submit(torch.softmax, x, -1).result()"
            ),
            "another thread",
        ),
    ],
)
def test_an_answer_cannot_look_away_to_call_what_is_forbidden(source: str, named: str) -> None:
    assert named in failure_of(source).got


def test_what_is_not_forbidden_may_use_what_is_forbidden_inside_the_library() -> None:
    @exercise("97.3", title="cross-entropy", reference=lambda x, y: 0, forbidden=[torch.sigmoid])
    def _check_entropy(answer: Any) -> None:
        torch.sigmoid(torch.zeros(1))  # the check may; only the answer may not
        expect.that(answer(torch.zeros(2)) == 2, "two")

    check("97.3", answer_of("def weights(x):\n    return len(x)"))


def test_the_profiler_that_was_there_is_put_back() -> None:
    def mine(*_: object) -> None:
        pass

    sys.setprofile(mine)
    try:
        check("97.1", answer_of(RIGHT))
        assert sys.getprofile() is mine
        failure_of("def weights(x):\n    return x.foo")
        assert sys.getprofile() is mine
    finally:
        sys.setprofile(None)


def test_use_gives_the_reference_until_the_check_passes_and_again_when_it_fails() -> None:
    right = answer_of(RIGHT)
    assert use("97.1") is _weights
    check("97.1", right)
    assert use("97.1") is right
    failure_of("def weights(x):\n    return x")
    assert use("97.1") is _weights


def test_a_check_leaves_the_random_draws_as_they_were() -> None:
    source = RIGHT.replace("e =", "torch.rand(3); e =", 1)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    expected = torch.rand(2), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    check("97.1", answer_of(source))
    drawn = torch.rand(2), np.random.rand(), random.random()
    assert torch.equal(drawn[0], expected[0]) and drawn[1:] == expected[1:]


def test_an_unknown_number_names_the_known_ones() -> None:
    for number in ("97.9", "nonsense"):
        with pytest.raises(LookupError, match=r"97\.1"):
            use(number)
    with pytest.raises(ValueError, match="two digits"):
        exercise("7.1", title="", reference=None)


def test_a_notebook_shows_the_message_without_a_traceback() -> None:
    failure = failure_of("def weights(x):\n    return x")
    assert failure._render_traceback_()[0] == "CheckFailed: 97.1 softmax: not yet"


def test_importing_the_checks_imports_no_lesson() -> None:
    code = "import sys, mmlib.checks; print([m for m in sys.modules if 'checks.lesson' in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# expect: each helper lets the right thing through and refuses the wrong one


def refuses(function: Callable[..., object], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CheckFailed) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_expecting_a_shape_names_both() -> None:
    expect.shape(torch.zeros(2, 3), (2, 3))
    said = refuses(expect.shape, torch.zeros(3, 2), (2, 3), name="the heads")
    assert "the heads of shape (2, 3)" in said and "shape (3, 2)" in said
    assert "a list" in refuses(expect.shape, [1, 2], (2,))


def test_expecting_dtype_and_device_of_the_input() -> None:
    expect.like(torch.zeros(2), torch.ones(3))
    assert "torch.float64" in refuses(expect.like, torch.zeros(2).double(), torch.ones(3))
    assert "meta" in refuses(expect.like, torch.zeros(2, device="meta"), torch.ones(3))


def test_expecting_finite_values_says_where_not() -> None:
    expect.finite(torch.zeros(2, 3))
    bad = torch.zeros(2, 3)
    bad[1, 2] = torch.inf
    assert "(1, 2): inf" in refuses(expect.finite, bad)


def test_expecting_rows_that_sum_to_one_names_the_row() -> None:
    weights = torch.full((2, 3, 5), 0.2)
    expect.sums_to_one(weights)
    expect.sums_to_one(torch.full((5, 3), 0.2), dim=0)
    weights[1, 2] = 0.3
    assert "row (1, 2) sums to 1.5" in refuses(expect.sums_to_one, weights)
    expect.sums_to_one(weights, where=(weights.sum(-1) < 1.2))
    assert "not negative" in refuses(expect.sums_to_one, torch.tensor([[1.5, -0.5]]))


def test_expecting_exact_zeros_where_masked() -> None:
    weights, masked = torch.tensor([[0.0, 1.0]]), torch.tensor([[True, False]])
    expect.zero(weights, masked)
    assert "1 at (0, 1)" in refuses(expect.zero, weights, ~masked)


def test_expecting_that_gradients_reach_and_do_not_reach() -> None:
    first, second = (torch.ones(2, 3, requires_grad=True) for _ in range(2))
    weights = (first * torch.tensor([1.0, 2.0, 3.0])).softmax(-1)
    expect.gradient_reaches(weights, first)
    expect.no_gradient_reaches(weights, second)
    expect.no_gradient_reaches(weights[0], first, where=1)
    expect.gradient_reaches(weights[0], first, where=0)
    refuses(expect.gradient_reaches, weights, second)
    refuses(expect.no_gradient_reaches, weights, first)
    refuses(expect.gradient_reaches, weights.detach(), first)


def test_expecting_values_shows_the_worst_place_and_how_many() -> None:
    wanted = torch.arange(6.0).reshape(2, 3)
    expect.close(wanted + 1e-7, wanted)
    came = wanted.clone()
    came[1, 0], came[0, 1] = 30, 1.5
    said = refuses(expect.close, came, wanted, name="logits")
    assert "logits[1, 0] = 3" in said and "30 there; 2 of 6 values are off" in said
    assert "nan there" in refuses(expect.close, torch.tensor([torch.nan]), [1.0])
    assert "0.5" in refuses(expect.close, 0.5, 0.25)
    assert "a str" in refuses(expect.close, "much", 0.25)


def test_fresh_draws_repeat_differ_and_have_different_sizes() -> None:
    one, two = expect.Fresh(3), expect.Fresh(3)
    assert torch.equal(one.normal(2, 3), two.normal(2, 3))
    assert not torch.equal(one.normal(2, 3), expect.Fresh(4).normal(2, 3))
    assert len(set(one.sizes(6))) == 6
    for _ in range(20):
        mask = one.padding_mask(3, 7)
        assert mask[:, 0].all() and mask.all(1).any() and not mask.all()
        order = one.permutation(2)
        assert order.tolist() == [1, 0]


# show


def test_shapes_integers_booleans_and_words_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show("steps", torch.zeros(2, 3).shape, 7, True, rows=torch.tensor([[1, 2], [3, 4]]))
    assert capsys.readouterr().out == "steps (2, 3) 7 True\nrows: [[1, 2],\n [3, 4]]\n"


def test_numbers_are_rounded_and_zero_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    show(1 / 3, -0.00001, torch.tensor([0.25, 2.0]), np.float32(1.1), float("nan"), digits=2)
    assert capsys.readouterr().out == "0.33 0.00 [0.25, 2.00] 1.10 nan\n"


@pytest.mark.parametrize("value", [0.125, 0.1249999, -0.125, torch.tensor([1.0, 0.125])])
def test_a_value_near_a_rounding_edge_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="another machine"):
        show(value, digits=2)
    show(value, digits=4)


def test_the_tolerance_grows_with_the_value_and_can_be_chosen() -> None:
    with pytest.raises(ValueError, match="another machine"):
        show(1000.004, digits=2, tolerance=1e-5)
    show(0.73, digits=2, tolerance=0.004)
    with pytest.raises(ValueError, match="another machine"):
        show(0.73, digits=2, tolerance=0.006)


def test_what_may_print_differently_is_refused() -> None:
    with pytest.raises(ValueError, match="a number of it"):
        show(object())
    with pytest.raises(ValueError, match="too many to read"):
        show(torch.zeros(201))
