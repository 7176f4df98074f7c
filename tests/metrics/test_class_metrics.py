"""Metrics of classes: against hand-worked cases and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from mmlib.metrics import classification_report, confusion_matrix, per_class, top_k_accuracy


def test_confusion_counts_true_classes_in_rows():
    table = confusion_matrix([0, 2, 2, 1], [0, 1, 1, 1], num_classes=4)
    assert table.tolist() == [[1, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


# Ten clips of four classes (calm, sad, angry, happy); nobody is ever taken for happy.
TARGET = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3]
PREDICTION = [0, 0, 0, 1, 2, 1, 1, 0, 2, 1]


def test_ten_clips_by_hand():
    # calm:  5 true, 4 predicted, 3 right: precision 3/4, recall 3/5, F1 2*3/(5+4) = 2/3
    # sad:   3 true, 4 predicted, 2 right: precision 2/4, recall 2/3, F1 2*2/(3+4) = 4/7
    # angry: 1 true, 2 predicted, 1 right: precision 1/2, recall 1,   F1 2*1/(1+2) = 2/3
    # happy: 1 true, 0 predicted, 0 right: precision 0/0 -> 0, recall 0, F1 0
    rows = per_class(PREDICTION, TARGET)
    assert rows["support"].tolist() == [5, 3, 1, 1] and rows["predicted"].tolist() == [4, 4, 2, 0]
    assert rows["precision"].tolist() == pytest.approx([3 / 4, 1 / 2, 1 / 2, 0])
    assert rows["recall"].tolist() == pytest.approx([3 / 5, 2 / 3, 1, 0])
    assert rows["f1"].tolist() == pytest.approx([2 / 3, 4 / 7, 2 / 3, 0])
    assert rows["f1"].dtype == torch.float64
    report = classification_report(PREDICTION, TARGET)
    assert report["accuracy"] == pytest.approx(6 / 10)
    assert report["balanced_accuracy"] == pytest.approx((3 / 5 + 2 / 3 + 1 + 0) / 4)
    assert report["macro_precision"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 4)
    assert report["macro_f1"] == pytest.approx((2 / 3 + 4 / 7 + 2 / 3) / 4)
    assert report["weighted_f1"] == pytest.approx((5 * 2 / 3 + 3 * 4 / 7 + 2 / 3) / 10)
    assert report["weighted_recall"] == pytest.approx(report["accuracy"])


@pytest.mark.parametrize("seed", range(5))
def test_report_agrees_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    target = rng.choice(5, size=83, p=[0.5, 0.3, 0.1, 0.1, 0.0])
    prediction = np.where(rng.random(83) < 0.4, target, rng.integers(0, 4, 83))
    report = classification_report(prediction, target, num_classes=5)
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(target, prediction))
    assert report["balanced_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(target, prediction)
    )
    for average in ("macro", "weighted"):
        expected = sk.precision_recall_fscore_support(
            target, prediction, average=average, zero_division=0.0
        )
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert report[f"{average}_{name}"] == pytest.approx(value)


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_confusion_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    target, prediction = rng.integers(0, 6, 71), rng.integers(1, 7, 71)
    labels = np.arange(7)
    theirs = sk.confusion_matrix(target, prediction, labels=labels)
    assert confusion_matrix(prediction, target, 7).tolist() == theirs.tolist()
    expected = sk.precision_recall_fscore_support(
        target, prediction, labels=labels, zero_division=0.0
    )
    rows = per_class(prediction, target, 7)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert rows[name].numpy() == pytest.approx(values), name
    assert rows["predicted"].tolist() == np.bincount(prediction, minlength=7).tolist()


def test_balanced_accuracy_is_mean_recall_and_for_two_classes_the_papers_formula():
    # E-03: (sensitivity + specificity) / 2 of 3 in 4 and 1 in 2.
    report = classification_report([1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0])
    assert report["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_weighted_f1_is_the_mean_of_class_f1_and_not_the_f1_of_means():
    # E-01, by hand: class 0 has F1 2*2/(3+2) = .8, class 1 has 1, with supports 3 and 1.
    report = classification_report([0, 0, 2, 1], [0, 0, 0, 1])
    assert report["weighted_f1"] == pytest.approx((3 * 0.8 + 1) / 4)
    assert report["macro_f1"] == pytest.approx(1.8 / 3), "class 2 was predicted, so it counts"
    assert report["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2), "but it has no recall"
    precision, recall = report["weighted_precision"], report["weighted_recall"]
    assert 2 * precision * recall / (precision + recall) != pytest.approx(report["weighted_f1"])


def test_naming_the_most_frequent_class_has_its_share_as_accuracy_and_chance_balanced():
    target = [0] * 8 + [1] * 3 + [2] * 2
    report = classification_report([0] * 13, target)
    assert report["accuracy"] == pytest.approx(8 / 13)
    assert report["balanced_accuracy"] == pytest.approx(1 / 3)


def test_logits_count_as_their_largest_class(device):
    logits = torch.tensor([[0.1, 0.7, 0.2], [3.0, -1.0, 0.0]], device=device, requires_grad=True)
    target = torch.tensor([1, 0], device=device)
    assert classification_report(logits, target) == classification_report([1, 0], [1, 0], 3)
    assert classification_report(logits.bfloat16(), target)["accuracy"] == 1.0


def test_classes_may_come_as_whole_floats_and_booleans():
    assert classification_report(np.array([1.0, 0.0]), [1, 1])["accuracy"] == 0.5
    assert classification_report([True, False, True], [1, 1, 1])["accuracy"] == pytest.approx(2 / 3)


def test_top_two_of_four_by_hand():
    logits = torch.tensor([[0.1, 0.9, 0.5, 0.0], [3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 1.0, 2.0]])
    # The two largest are classes 1 and 2, 0 and 1, 3 and 2.
    assert top_k_accuracy(logits, [2, 2, 2], k=2) == pytest.approx(2 / 3)
    assert top_k_accuracy(logits, [2, 2, 2], k=1) == 0.0
    assert top_k_accuracy(logits, [2, 2, 2], k=3) == 1.0
    assert top_k_accuracy(logits, [0, 3, 1], k=4) == 1.0


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_agrees_with_scikit_learn(k):
    rng = np.random.default_rng(k)
    logits, target = rng.normal(size=(67, 6)), rng.integers(0, 6, 67)
    expected = sk.top_k_accuracy_score(target, logits, k=k, labels=np.arange(6))
    assert top_k_accuracy(logits, target, k) == pytest.approx(expected)


def test_the_first_of_the_top_is_accuracy_even_where_logits_tie():
    rng = np.random.default_rng(0)
    logits, target = rng.integers(0, 3, (200, 5)).astype(float), rng.integers(0, 5, 200)
    accuracy = classification_report(torch.from_numpy(logits), target)["accuracy"]
    assert top_k_accuracy(logits, target, 1) == pytest.approx(accuracy)


def test_a_constant_output_earns_no_more_than_its_first_classes():
    target = torch.arange(5).repeat(7)
    assert top_k_accuracy(torch.zeros(35, 5), target, 2) == pytest.approx(2 / 5)


IMPOSSIBLE = {
    "another number": (([0, 1], [0]), "the same number of samples"),
    "none": (([], []), "at least one"),
    "a target outside": (([0, 1, 1], [0, 1, 4], 3), "the target of sample 2 is 4, outside 0 to 2"),
    "a prediction outside": (
        ([0, 2], [0, 1], 2),
        "the prediction of sample 1 is 2, outside 0 to 1",
    ),
    "an ignored label": (([0, 1], [0, -1]), "the target of sample 1 is -1"),
    "beyond the logits": ((np.zeros((3, 4)), [0, 4, 1]), "the target of sample 1 is 4"),
    "no class": (([0.0, 0.5], [0, 1]), "the prediction of sample 1 is 0.5, no class"),
    "not a number": (([0, 1], [float("nan"), 1]), "the target of sample 0 is nan"),
    "NaN logits": (([[0.0, 1.0], [0.0, float("nan")]], [0, 1]), "logits of sample 1 hold NaN"),
    "one logit": ((np.zeros((3, 1)), [0, 1, 0]), "one number a sample"),
    "one-hot targets": (([0, 1], np.eye(2)), "expected the same number of samples in both"),
    "no classes at all": (([0, 1], [0, 2**40]), "if these really are classes"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_compared_is_refused_with_the_sample_named(case):
    arguments, sentence = IMPOSSIBLE[case]
    for metric in (confusion_matrix, per_class, classification_report):
        with pytest.raises(ValueError, match=sentence):
            metric(*arguments)


def test_an_impossible_top_is_refused():
    with pytest.raises(ValueError, match="k is 4, expected 1 to 3"):
        top_k_accuracy(np.zeros((2, 3)), [0, 1], k=4)
    with pytest.raises(ValueError, match=r"expected \(N, C\)"):
        top_k_accuracy([0, 1], [0, 1])
    with pytest.raises(ValueError, match="the target of sample 0 is 3"):
        top_k_accuracy(np.zeros((2, 3)), [3, 1])
