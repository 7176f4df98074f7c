"""Checks of lesson 01: means over what is real, and scores that are what their name says."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from mmlib import metrics
from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.layers import masked_mean as library_mean
from mmlib.layers import pool

Batches = Iterable[tuple[Tensor, Tensor]]
NAN = float("nan")


def masked_mean(stream: Tensor, mask: Tensor) -> Tensor:
    """Average each feature over the steps that are real; nothing real gives zeros."""
    kept = stream.masked_fill(~mask[..., None], 0.0)
    steps = mask.sum(dim=1).clamp(min=1)
    return kept.sum(dim=1) / steps[:, None]


@exercise(
    "01.1",
    title="a mean over what is real",
    reference=masked_mean,
    forbidden=(library_mean, pool),
)
def check_masked_mean(answer: Any) -> None:
    """Try a case by hand, then padding that is loud, NaN, longer, or all there is."""
    expect.is_callable(answer, name="masked_mean")
    stream = torch.tensor([[[2.0, -1.0], [4.0, -3.0], [0.0, 0.0]]])
    mask = torch.tensor([[True, True, False]])
    tried = "one clip, steps [2, -1], [4, -3] and one of padding: by hand [3, -2]"
    with expect.inputs_left_alone(hint=2, stream=stream, mask=mask):
        came = answer(stream, mask)
    expect.shape(came, (1, 2), tried=tried, hint=1)
    expect.close(came, torch.tensor([[3.0, -2.0]]), name="the mean", tried=tried, hint=1)

    fresh = expect.Fresh(1)
    for device in expect.devices():
        stream = fresh.normal(5, 11, 3).to(device)
        mask = fresh.padding_mask(5, 11).to(device)
        tried = "stream (5, 11, 3) of five lengths, with values in the padding that are not zero"
        right = masked_mean(stream, mask)
        with expect.inputs_left_alone(hint=2, stream=stream, mask=mask):
            came = answer(stream, mask)
        expect.shape(came, (5, 3), tried=tried, hint=1)
        expect.like(came, stream, tried=tried, hint=2)
        expect.close(came, right, name="the mean", tried=tried, hint=2)

        longer = torch.cat([stream, 100 + fresh.normal(5, 7, 3).to(device)], dim=1)
        more = torch.cat([mask, torch.zeros(5, 7, dtype=torch.bool, device=device)], dim=1)
        tried = "the same clips, padded with seven more steps"
        expect.close(answer(longer, more), right, name="the mean", tried=tried, hint=2)

    gaps = torch.tensor([[False, True, False, True, True], [True, False, False, False, True]])
    stream = fresh.normal(2, 5, 7)
    tried = "real steps that do not stand together, and do not begin the clip"
    expect.close(
        answer(stream, gaps), masked_mean(stream, gaps), name="the mean", tried=tried, hint=2
    )
    stream = stream.masked_fill(~gaps[..., None], NAN)
    tried = "the same, with NaN at the steps that are not real"
    came = answer(stream, gaps)
    expect.finite(came, name="the mean", tried=tried, hint=3)
    expect.close(came, masked_mean(stream, gaps), name="the mean", tried=tried, hint=3)
    gaps = gaps.clone()
    gaps[1] = False
    tried = "the same, where the second clip has no real step at all"
    came = answer(stream, gaps)
    expect.finite(came, name="the mean", tried=tried, hint=3)
    expect.close(came, masked_mean(stream, gaps), name="the mean", tried=tried, hint=3)

    stream = fresh.normal(3, 5, 2).requires_grad_()
    mask = torch.tensor([[True] * 5, [True, True, False, False, False], [True] + [False] * 4])
    came = answer(stream, mask)
    tried = "stream (3, 5, 2), and the gradient"
    expect.gradient_reaches(came, stream, where=(0, 4), name="a real step", tried=tried, hint=2)
    expect.no_gradient_reaches(came, stream, where=~mask, name="padding", tried=tried, hint=3)


def balanced_and_macro(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Compute balanced accuracy and macro F1 from a confusion matrix, rows the true classes."""
    counts = counts.double()
    right, support, named = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    recall = right / support.clamp(min=1)
    f1 = 2 * right / (support + named).clamp(min=1)
    return recall[support > 0].mean(), f1[support + named > 0].mean()


@exercise(
    "01.2",
    title="each class one vote",
    reference=balanced_and_macro,
    forbidden=(metrics.classification_report,),
)
def check_balanced_and_macro(answer: Any) -> None:
    """Try a case by hand, fresh tables, a class never named, a class that does not occur."""
    expect.is_callable(answer, name="balanced_and_macro")
    counts = torch.tensor([[6, 2], [1, 1]])
    tried = "counts [[6, 2], [1, 1]]: recalls 6/8 and 1/2, F1 12/15 and 2/5"
    _compare(answer, counts, (0.625, 0.6), tried=tried, hints=(1, 2))
    fresh = expect.Fresh(2)
    for classes, most in ((3, 11), (7, 50), (5, 2000)):
        counts = fresh.integers(classes, classes, low=1, high=most)
        tried = f"a table of {classes} classes with counts up to {most}"
        _compare(answer, counts, balanced_and_macro(counts), tried=tried, hints=(1, 2))
    counts = fresh.integers(5, 5, low=1, high=11)
    counts[:, 3] = 0
    tried = "a class that occurs but is never named: its precision is 0/0, its F1 counts as 0"
    _compare(answer, counts, balanced_and_macro(counts), tried=tried, hints=(3, 3))
    counts = fresh.integers(5, 5, low=1, high=11)
    counts[2] = 0
    tried = "a class that does not occur but is named: it has no recall, but an F1 of 0"
    _compare(answer, counts, balanced_and_macro(counts), tried=tried, hints=(3, 3))
    counts[:, 2] = 0
    tried = "a class that neither occurs nor is named: it has no vote"
    _compare(answer, counts, balanced_and_macro(counts), tried=tried, hints=(3, 3))
    counts = torch.tensor([[0, 0, 5], [0, 0, 2], [4, 1, 0]])
    tried = "a model that is wrong about every clip"
    _compare(answer, counts, (0.0, 0.0), tried=tried, hints=(3, 3))


def _compare(
    answer: Any, counts: Tensor, right: tuple[Any, Any], *, tried: str, hints: tuple[int, int]
) -> None:
    with expect.inputs_left_alone(hint=2, counts=counts):
        came = expect.pair(
            answer(counts), "balanced accuracy and macro F1, in this order", tried=tried
        )
    for value, wanted, name, hint in zip(
        came, right, ("balanced accuracy", "macro F1"), hints, strict=True
    ):
        expect.close(value, float(wanted), name=name, tried=tried, hint=hint)


def two_f1s(precision: Tensor, recall: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the weighted mean of the classes' F1, and the F1 of the weighted means."""

    def harmonic(p: Tensor, r: Tensor) -> Tensor:
        return 2 * p * r / torch.where(p + r > 0, p + r, 1.0)

    weight = support / support.sum()
    return (
        (weight * harmonic(precision, recall)).sum(),
        harmonic((weight * precision).sum(), (weight * recall).sum()),
    )


@exercise("01.3", title="two scores of one name", reference=two_f1s)
def check_two_f1s(answer: Any) -> None:
    """Try a case by hand, a class without any hit, uneven supports, classes that are all alike."""
    expect.is_callable(answer, name="two_f1s")
    precision, recall = torch.tensor([1.0, 0.5]), torch.tensor([0.5, 1.0])
    support = torch.tensor([3, 1])
    tried = (
        "precision [1, 1/2], recall [1/2, 1], support [3, 1]: F1 2/3 twice, averages 7/8 and 5/8"
    )
    _two(answer, (precision, recall, support), (2 / 3, 35 / 48), tried=tried)
    fresh = expect.Fresh(3)
    for classes in (2, 7, 11):
        precision, recall = fresh.uniform(classes, low=0.1), fresh.uniform(classes, low=0.1)
        support = fresh.integers(classes, low=1, high=500)
        tried = f"{classes} classes with supports from {int(support.min())} to {int(support.max())}"
        given = (precision, recall, support)
        _two(answer, given, two_f1s(*given), tried=tried)
    precision, recall = torch.tensor([0.5, 0.0, 0.25]), torch.tensor([0.75, 0.0, 0.5])
    given = (precision, recall, torch.tensor([7, 5, 3]))
    tried = "a class with precision 0 and recall 0, whose F1 counts as 0"
    _two(answer, given, two_f1s(*given), tried=tried, hints=(3, 2))
    nothing = torch.zeros(3)
    given = (nothing, nothing, torch.tensor([2, 3, 5]))
    tried = "a model without a single hit"
    _two(answer, given, (0.0, 0.0), tried=tried, hints=(3, 3))
    given = (torch.full((5,), 0.4), torch.full((5,), 0.6), torch.tensor([2, 3, 5, 7, 11]))
    tried = "classes that are all alike, where the two scores agree"
    _two(answer, given, (0.48, 0.48), tried=tried)


def _two(
    answer: Any,
    given: tuple[Tensor, Tensor, Tensor],
    right: tuple[Any, Any],
    *,
    tried: str,
    hints: tuple[int, int] = (1, 2),
) -> None:
    named = dict(zip(("precision", "recall", "support"), given, strict=True))
    with expect.inputs_left_alone(hint=1, **named):
        came = expect.pair(
            answer(*given), "the mean of the F1s, and the F1 of the means", tried=tried
        )
    names = ("the weighted mean of the F1s", "the F1 of the weighted means")
    for value, wanted, name, hint in zip(came, right, names, hints, strict=True):
        expect.close(value, float(wanted), name=name, tried=tried, hint=hint)


def macro_f1_of_batches(batches: Batches, num_classes: int) -> Tensor:
    """Compute the macro F1 of a whole set that comes in batches, once through."""
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for prediction, target in batches:
        counts += metrics.confusion_matrix(prediction, target, num_classes)
    return balanced_and_macro(counts)[1]


@exercise("01.4", title="add counts, not scores", reference=macro_f1_of_batches)
def check_macro_f1_of_batches(answer: Any) -> None:
    """Try one batch, then the same clips cut and ordered otherwise, and a stream read once."""
    expect.is_callable(answer, name="macro_f1_of_batches")
    prediction, target = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    tried = "one batch of four clips: F1 2/3 and 4/5"
    came = answer([(prediction, target)], 2)
    expect.close(came, 11 / 15, name="macro F1", tried=tried, hint=1)
    halves = [(prediction[:2], target[:2]), (prediction[2:], target[2:])]
    tried = "the same four clips as two batches of two"
    expect.close(answer(halves, 2), 11 / 15, name="macro F1", tried=tried, hint=1)
    fresh = expect.Fresh(4)
    for clips, classes, size in ((101, 5, 16), (53, 3, 7), (29, 7, 1)):
        target = fresh.integers(clips, high=classes)
        target[::2] = 0
        said = torch.where(fresh.uniform(clips) < 0.6, target, fresh.integers(clips, high=classes))
        right = metrics.classification_report(said, target, classes)["macro_f1"]
        order = target.argsort()  # the classes one after the other: most batches hold one
        for name, rows in (("as they come", torch.arange(clips)), ("sorted by class", order)):
            tried = f"{clips} clips, {classes} classes, batches of {size}, {name}"
            came = answer(list(_batches(said[rows], target[rows], size)), classes)
            expect.close(came, right, name="macro F1", tried=tried, hint=2)
    tried = "batches from a generator, which can be read once only, as from a loader"
    came = answer(_batches(said, target, 11), classes)
    expect.close(came, right, name="macro F1", tried=tried, hint=2)
    tried = "the same with num_classes two larger: classes that never come up have no vote"
    came = answer(_batches(said, target, 11), classes + 2)
    expect.close(came, right, name="macro F1", tried=tried, hint=3)


def _batches(prediction: Tensor, target: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(target), size):
        yield prediction[start : start + size], target[start : start + size]
