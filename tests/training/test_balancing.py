"""Classes of unequal size: weights in every system's loss, orders that take as many of each."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmlib.data import Batch, FeatureSet, Standardised
from mmlib.losses import Phase, cross_entropy, default_loss
from mmlib.systems import SYSTEMS, build, find
from mmlib.training import TrainingError, fit, seed_everything
from mmlib.training.balancing import balanced_order, weights_by_class
from mmlib.training.processes import epoch_batches
from tests.training.test_training import Small, dataset, numbers, trained, weights

COUNTS = (13, 2, 5)


def uneven() -> FeatureSet:
    """Thirteen samples of a, two of b, five of c, and none of d."""
    labels = torch.repeat_interleave(torch.arange(3), torch.tensor(COUNTS))
    draw = torch.Generator().manual_seed(0)
    audio = torch.randn(20, 2, 5, generator=draw)
    return FeatureSet({"audio": audio}, {}, labels, ("a", "b", "c", "d"))


# Weights


def test_balanced_weights_let_every_class_that_occurs_count_as_much_and_average_to_one():
    found = weights_by_class("balanced", uneven())
    assert found.dtype == torch.float32
    shares = found[:3] * torch.tensor(COUNTS)
    assert shares.tolist() == pytest.approx([20 / 3] * 3)
    assert found[uneven().labels].mean() == pytest.approx(1.0) and found[3] == 0


def test_given_weights_keep_their_proportions_and_average_to_one_over_the_samples():
    found = weights_by_class([1.0, 10.0, 4.0, 7.0], uneven())
    assert (found / found[0]).tolist() == pytest.approx([1, 10, 4, 7])
    assert found[uneven().labels].mean() == pytest.approx(1.0)
    assert weights_by_class(None, uneven()) is None


def test_the_weighted_loss_is_the_mean_over_samples_and_so_that_of_its_parts():
    labels, logits = torch.tensor([0, 2, 1, 1, 0, 2, 2]), torch.randn(7, 3)
    count = torch.tensor([0.5, 2.0, 1.5])[labels]
    batch = Batch({}, {}, labels, count)
    each = F.cross_entropy(logits, labels, reduction="none")
    assert cross_entropy(logits, batch) == pytest.approx(float((count * each).mean()))
    parts = [Batch({}, {}, labels[rows], count[rows]) for rows in (slice(0, 3), slice(3, 7))]
    one, other = cross_entropy(logits[:3], parts[0]), cross_entropy(logits[3:], parts[1])
    assert cross_entropy(logits, batch) == pytest.approx(float(3 * one + 4 * other) / 7)
    assert default_loss((logits,), batch) == cross_entropy(logits, batch)


def test_copies_of_a_batch_are_weighted_like_the_batch():
    labels, logits = torch.tensor([0, 1, 1]), torch.randn(12, 2)
    count = torch.tensor([3.0, 0.5, 0.5])
    batch = Batch({}, {}, labels, count)
    apart = [cross_entropy(some, batch) for some in logits.split(3)]
    assert cross_entropy(logits, batch) == pytest.approx(float(torch.stack(apart).mean()))


def test_a_batch_takes_its_weights_along_to_a_device(device):
    batch = Batch({}, {}, torch.tensor([0, 1]), torch.tensor([0.5, 2.0]))
    assert batch.to(device).weights.device.type == device.type
    assert batch.to(device).weights.tolist() == [0.5, 2.0]
    assert batch._replace(weights=None).to(device).weights is None


def test_equal_weights_train_as_none_do():
    one, history = trained(data=dataset())
    other, weighted = trained(data=dataset(), class_weights=[3, 3, 3])
    assert torch.allclose(weights(one), weights(other), atol=1e-6)
    assert np.allclose(history["train_loss"], weighted["train_loss"], atol=1e-6)


def test_a_class_with_all_the_weight_is_the_only_one_that_is_learnt():
    data = dataset()
    model, _ = trained(data=data, class_weights=[0, 1, 0], epochs=30, learning_rate=0.1)
    said = model(audio=data.inputs["audio"])[0].argmax(1)
    assert (said == 1).float().mean() > 0.9  # the labels have it a third of the time


def test_a_step_with_weights_is_that_of_the_weighted_loss():
    data, weighted = uneven(), weights_by_class("balanced", uneven())
    steps = []
    for how in ("fit", "by hand"):
        seed_everything(0)
        model = Small(outputs=4)
        if how == "fit":
            settings = {"epochs": 1, "batch_size": 20, "optimizer": "sgd", "learning_rate": 0.3}
            settings |= {"schedule": "constant", "warmup_steps": 0, "clip_norm": None}
            history = fit(
                model, data, weight_decay=0.0, class_weights="balanced", progress=False, **settings
            )
        else:
            each = F.cross_entropy(
                model(audio=data.inputs["audio"])[0], data.labels, reduction="none"
            )
            loss = (weighted[data.labels] * each).mean()
            assert history["train_loss"][0] == pytest.approx(loss.item(), abs=1e-6)
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.3 * parameter.grad
        steps.append(weights(model))
    assert torch.allclose(*steps, atol=1e-6)


def test_parts_of_a_batch_train_to_the_weights_of_the_whole():
    results = [
        trained(data=dataset(), dropout=0.0, class_weights=[1, 5, 2], accumulate=parts)
        for parts in (1, 3)
    ]
    (one, history), (other, again) = results
    assert torch.allclose(weights(one), weights(other), atol=1e-6)
    assert np.allclose(history["train_loss"], again["train_loss"], atol=1e-6)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_weights_reach_the_loss_of_every_system(name):
    draw = torch.Generator().manual_seed(0)
    shapes = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}
    inputs = {key: torch.randn(12, *shape, generator=draw) for key, shape in shapes.items()}
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 2)
    data = FeatureSet(inputs, {}, labels, ("a", "b", "c"))
    config = find(name).config.for_dataset(data)
    data = data.select(getattr(config, "streams", data.modalities))
    changes = []
    for chosen in (None, [1.0, 1.0, 1.0], [1.0, 8.0, 2.0]):
        seed_everything(1)
        model = Standardised(model=build(name, config), widths=data.widths)
        history = fit(
            model, data, epochs=1, batch_size=12, class_weights=chosen, progress=False, device="cpu"
        )
        changes.append(history["train_loss"][0])
    assert changes[1] == pytest.approx(changes[0], abs=1e-5)
    assert abs(changes[2] - changes[0]) > 1e-4


class Own(Small):
    """A model with a loss of its own, which is blind to weights or is not."""

    blind = True

    def loss(self, output, batch):
        if self.blind:
            return F.cross_entropy(output.logits, batch.labels)
        return cross_entropy(output.logits, batch)


class Turns(Small):
    """A model whose loss over classes has its turn in every third batch only."""

    def phases(self):
        def small(output, batch):
            return (output.logits**2).mean()

        return [
            Phase("small", self.parameters(), small),
            Phase("class", self.parameters(), default_loss, every=3, first=2),
        ]


def test_a_loss_that_does_not_heed_the_weights_is_refused_and_one_that_does_is_not():
    settings = {"epochs": 1, "batch_size": 8, "progress": False}
    with pytest.raises(TrainingError, match="takes no notice of class_weights"):
        fit(Own(), dataset(), class_weights="balanced", **settings)
    fit(Own(), dataset(), **settings)
    heeding = Own()
    heeding.blind = False
    fit(heeding, dataset(), class_weights="balanced", **settings)
    with pytest.raises(TrainingError, match="takes no notice"):
        fit(
            Small(),
            dataset(),
            class_weights="balanced",
            loss=lambda output, batch: F.cross_entropy(output[0], batch.labels),
            **settings,
        )


def test_a_loss_whose_turn_comes_later_is_waited_for():
    fit(Turns(), dataset(), epochs=1, batch_size=8, class_weights="balanced", progress=False)


# Sampling


def test_a_balanced_order_has_as_many_samples_of_each_class():
    labels = uneven().labels.numpy()
    for seed in range(7):
        order = balanced_order(labels, np.random.default_rng(seed))
        taken = np.bincount(labels[order], minlength=3)
        assert len(order) == 20 and sorted(taken) == [6, 7, 7]


def test_of_a_rare_class_each_comes_equally_often_of_a_frequent_one_none_twice():
    labels = uneven().labels.numpy()
    order = balanced_order(labels, np.random.default_rng(3))
    often = np.bincount(order, minlength=20)
    assert often[labels == 0].max() == 1
    rare = often[labels == 1]
    assert rare.min() >= 3 and rare.max() - rare.min() <= 1


def test_every_sample_comes_in_some_epoch_and_the_odd_places_go_round():
    labels = uneven().labels.numpy()
    epochs = [np.concatenate(epoch_batches(20, 7, 5, e, labels=labels)) for e in range(30)]
    assert set(np.concatenate(epochs)) == set(range(20))
    fewest = {int(np.bincount(labels[order], minlength=3).argmin()) for order in epochs}
    assert fewest == {0, 1, 2}


def test_classes_are_mixed_within_batches():
    labels = np.repeat([0, 1], 50)
    batches = epoch_batches(100, 10, 0, 0, labels=labels)
    assert all(len(np.unique(labels[batch])) == 2 for batch in batches)


def test_a_balanced_epoch_depends_on_seed_and_epoch_alone():
    labels = uneven().labels.numpy()
    one = np.concatenate(epoch_batches(20, 6, 3, 1, labels=labels))
    assert np.array_equal(one, np.concatenate(epoch_batches(20, 6, 3, 1, labels=labels)))
    for seed, epoch in ((3, 2), (4, 1)):
        other = np.concatenate(epoch_batches(20, 6, seed, epoch, labels=labels))
        assert not np.array_equal(one, other)


class Seen(Small):
    """A model that counts the classes it is trained on."""

    def loss(self, output, batch):
        self.counts = getattr(self, "counts", 0) + torch.bincount(batch.labels, minlength=4)
        return default_loss(output, batch)


def test_fit_shows_as_many_samples_of_each_class():
    model = Seen(outputs=4)
    fit(model, uneven(), epochs=9, batch_size=7, sampling="balanced", progress=False)
    assert model.counts.sum() == 180 and model.counts[3] == 0
    assert (model.counts[:3] - 60).abs().max() <= 9


# What belongs to both


@pytest.mark.parametrize("chosen", [{"class_weights": [1, 4, 2]}, {"sampling": "balanced"}])
def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path, chosen):
    valid = dataset(17, seed=1)

    def train(folder, epochs: int, resume: bool = False) -> nn.Module:
        seed_everything(0)
        model = Small(dropout=0.3)
        settings = {"batch_size": 8, "schedule": "constant", "warmup_steps": 0, **chosen}
        settings |= {"epochs": epochs, "out": folder, "resume": resume, "progress": False}
        fit(model, dataset(), valid, **settings)
        return model

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "parts", 2)
    # The number of epochs is one of the settings: what is resumed here asks for four.
    state = tmp_path / "parts" / "last.safetensors"
    change_epochs(state, 4)
    again = train(tmp_path / "parts", 4, resume=True)
    assert torch.equal(weights(whole), weights(again))


def change_epochs(path, epochs: int) -> None:
    from mmlib.training import checkpoints

    tensors, about = checkpoints.load_tensors(path)
    about["settings"]["epochs"] = epochs
    checkpoints.save_tensors(path, tensors, about)


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({}, {"class_weights": "balanced"}, "with class_weights=None, not balanced"),
        ({"sampling": "balanced"}, {}, "with sampling=balanced, not None"),
        ({"class_weights": [1, 2, 1]}, {"class_weights": [1, 2, 3]}, "class_weights=.*resume it"),
    ],
)
def test_a_run_is_not_resumed_with_another_balance(tmp_path, first, then, words):
    trained(out=tmp_path, **first)
    with pytest.raises(TrainingError, match=words):
        trained(out=tmp_path, resume=True, **then)
    trained(out=tmp_path, resume=True, **first)


def test_balanced_classes_are_chosen_by_balanced_accuracy(tmp_path):
    from mmlib.training import checkpoints

    told = []
    for place, chosen in enumerate(
        (
            {},
            {"class_weights": "balanced"},
            {"sampling": "balanced"},
            {"class_weights": [1, 2, 3]},
            {"sampling": "balanced", "monitor": "valid_loss"},
        )
    ):
        folder = tmp_path / str(place)
        seed_everything(0)
        settings = {"epochs": 1, "progress": False, "out": folder, **chosen}
        fit(Small(), dataset(), dataset(11, seed=1), **settings)
        told.append(checkpoints.load_tensors(folder / "best.safetensors")[1]["settings"]["monitor"])
    balanced = "valid_balanced_accuracy"
    assert told == ["valid_accuracy", balanced, balanced, "valid_accuracy", "valid_loss"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"class_weights": "equal"}, "class_weights is 'equal', expected 'balanced' or numbers"),
        ({"class_weights": [1, 2]}, "a number from 0 on for each of the 3 classes"),
        ({"class_weights": [1, -2, 1]}, "a number from 0 on"),
        ({"class_weights": [1, math.nan, 1]}, "a number from 0 on"),
        ({"class_weights": [0, 0, 0]}, "0 for every class"),
        ({"sampling": "even"}, "sampling is 'even', expected 'balanced' or None"),
        ({"class_weights": "balanced", "sampling": "balanced"}, "count too much; choose one"),
    ],
)
def test_what_would_not_balance_classes_is_refused(chosen, words):
    with pytest.raises(TrainingError, match=words):
        trained(**chosen)


@pytest.mark.parametrize("chosen", [{"class_weights": [1, 2]}, {"sampling": "balanced"}])
def test_numbers_have_no_classes_to_balance(chosen):
    with pytest.raises(TrainingError, match="the labels of .* are numbers; leave both out"):
        fit(Small(outputs=2), numbers(), epochs=1, progress=False, **chosen)
