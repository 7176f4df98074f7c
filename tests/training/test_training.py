"""The training loop: what it learns, promises and refuses."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmlib.data import FeatureSet
from mmlib.losses import Phase, default_loss
from mmlib.training import TrainingError, evaluate, fit, predict, seed_everything
from mmlib.training.processes import DrawAsOne, epoch_batches, shares
from mmlib.training.trainer import Trainer, best_epoch


class Output(NamedTuple):
    logits: torch.Tensor


class Small(nn.Module):
    """A linear model of the mean, with dropout."""

    def __init__(self, outputs: int = 3, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.linear = nn.Dropout(dropout), nn.Linear(5, outputs)

    def forward(self, masks=None, audio=None):
        return Output(self.linear(self.dropout(audio.mean(1))))


def dataset(count: int = 47, seed: int = 0) -> FeatureSet:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    audio = torch.randn(count, 2, 5, generator=draw)
    audio[..., 0] += 2 * (labels == 0)[:, None]
    audio[..., 1] += 2 * (labels == 1)[:, None]
    return FeatureSet({"audio": audio}, {}, labels, ("a", "b", "c"))


def numbers(count: int = 47) -> FeatureSet:
    data = dataset(count)
    labels = data.inputs["audio"].mean(1)[:, :2] + 3.0
    return FeatureSet(data.inputs, {}, labels, None)


def trained(seed: int = 0, data: FeatureSet | None = None, dropout: float = 0.3, **settings):
    """Train a small model; returns it and its history."""
    seed_everything(seed)
    model = Small(dropout=dropout)
    settings = {"epochs": 2, "batch_size": 8, "progress": False, **settings}
    history = fit(model, data or dataset(), seed=seed, **settings)
    return model, history


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_training_learns_and_tells_how(device):
    fresh = dataset(90, seed=1)
    seed_everything(0)
    model = Small().to(device)
    history = fit(
        model, dataset(), fresh, epochs=20, learning_rate=0.05, device=device.type, progress=False
    )
    assert evaluate(model, fresh)["accuracy"] > 0.8
    assert list(history["epoch"]) == list(range(1, 21))
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert {"valid_loss", "valid_accuracy", "train_accuracy", "learning_rate"} <= set(history)
    assert not hasattr(model, "_original_forward"), "the model comes back as it was called"


def test_the_model_comes_back_to_where_it_was(monkeypatch):
    done = []

    class Told(Small):
        def forward(self, *args, **kwargs):
            done.append("called")
            return super().forward(*args, **kwargs)

        def to(self, *args, **kwargs):
            done.append(args)
            return super().to(*args, **kwargs)

    cpu = torch.device("cpu")
    fit(Told(), dataset(), epochs=1, device="cpu", progress=False)
    assert done[0] == (cpu,) and done[-1] == (cpu,) and "called" in done, "there and back again"
    done.clear()
    monkeypatch.setattr(Trainer, "keep", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(Told(), dataset(), epochs=1, device="cpu", progress=False)
    assert done[-1] == (cpu,), "also when it is interrupted"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("home", ["cpu", "cuda"])
def test_after_training_on_a_gpu_the_model_is_called_as_before(home):
    model, data = Small().to(home), dataset()
    fit(model, data, data, epochs=1, device="cuda", progress=False)
    batch = data.batch(range(3)).to(torch.device(home))
    assert model(**batch.inputs, masks=batch.masks)[0].device.type == home


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    one, other, third = trained(0)[0], trained(0)[0], trained(1)[0]
    assert torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), weights(third))


def test_a_training_does_not_depend_on_what_was_drawn_before():
    model = Small(dropout=0.3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    results = []
    for _ in range(2):
        model.load_state_dict(start)
        torch.rand(17)
        fit(model, dataset(), epochs=2, batch_size=8, seed=4, progress=False)
        results.append(weights(model).clone())
    assert torch.equal(*results)


def test_every_sample_is_seen_once_an_epoch_in_an_order_of_its_own():
    first, second = epoch_batches(11, 4, seed=3, epoch=0), epoch_batches(11, 4, seed=3, epoch=1)
    assert [len(batch) for batch in first] == [4, 4, 3]
    assert sorted(np.concatenate(first)) == list(range(11))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    again = epoch_batches(11, 4, seed=3, epoch=0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_gives_the_whole_batchs_step(parts):
    whole, divided = (trained(dropout=0.0, accumulate=accumulate)[0] for accumulate in (1, parts))
    assert torch.allclose(weights(whole), weights(divided), atol=1e-5)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_shares_cover_a_batch_once_and_no_process_is_idle(world, parts):
    batch = np.arange(100, 107)
    taken = []
    for rank in range(world):
        for share in shares(batch, parts, rank, world):
            assert len(share.samples) > 0 and len(share.counts) == world
            taken.extend(share.samples[: share.counts[rank]])
    assert sorted(taken) == batch.tolist()


def test_noise_of_a_share_is_that_of_the_whole_batch():
    x = torch.randn(7, 3, 5).transpose(1, 2)
    layers = (
        nn.Dropout(0.4),
        torch.rand_like,
        torch.randn_like,
        lambda v: torch.bernoulli(v.abs() % 1),
    )
    for layer in layers:
        torch.manual_seed(2)
        whole = layer(x)
        for rank in range(3):
            share = shares(np.arange(7), 1, rank, 3)[0]
            rows = slice(share.start, share.start + len(share.samples))
            torch.manual_seed(2)
            with DrawAsOne(share):
                assert torch.equal(layer(x[rows]), whole[rows])


@pytest.mark.parametrize("masked", [False, True])
def test_dropped_attention_weights_are_those_of_one_process(masked):
    """Torch's kernel drops weights inside, where no draw can be seen."""
    query, value = torch.randn(7, 2, 5, 3), torch.randn(7, 2, 4, 3)
    mask = torch.ones(7, 1, 1, 4, dtype=torch.bool)
    mask[2:5, ..., 1] = False
    add = mask if masked else None
    torch.manual_seed(3)
    whole = F.scaled_dot_product_attention(query, value, value, attn_mask=add, dropout_p=0.4)
    for rank in range(3):
        (share,) = shares(np.arange(7), 1, rank, 3)
        rows = torch.from_numpy(share.samples)
        torch.manual_seed(3)
        with DrawAsOne(share):
            part = F.scaled_dot_product_attention(
                query[rows],
                value[rows],
                value[rows],
                attn_mask=None if add is None else add[rows],
                dropout_p=0.4,
            )
        assert torch.allclose(part, whole[rows], atol=1e-6)


def test_best_weights_come_back_with_a_valid_set_and_the_last_without():
    data, other = dataset(), dataset(29, seed=5)
    model, history = trained(data=data, valid_set=other, epochs=6, learning_rate=0.5)
    assert evaluate(model, other)["accuracy"] == pytest.approx(history["valid_accuracy"].max())


def test_of_equally_accurate_epochs_the_one_with_the_lowest_loss_is_best():
    accuracies, losses = (0.5, 0.8, 0.8, 0.8, 0.7), (1.0, 0.6, 0.4, 0.5, 0.1)
    pairs = zip(accuracies, losses, strict=True)
    history = [{"valid_accuracy": accuracy, "valid_loss": loss} for accuracy, loss in pairs]
    assert best_epoch(history, "valid_accuracy") == 2
    assert best_epoch(history, "valid_loss") == 4


def test_training_stops_when_the_monitor_no_longer_gets_better():
    data = dataset(9)
    hopeless = FeatureSet(data.inputs, {}, (data.labels + 1) % 3, data.class_names)
    _, history = trained(
        data=data,
        valid_set=hopeless,
        epochs=30,
        patience=2,
        learning_rate=0.1,
        dropout=0.0,
        monitor="valid_loss",
    )
    assert len(history) == int(history["valid_loss"].idxmin()) + 3


def test_numbers_are_learnt_by_concordance():
    seed_everything(0)
    model = Small(outputs=2)
    data = numbers()
    history = fit(model, data, data, epochs=60, learning_rate=0.1, progress=False)
    result = evaluate(model, data)
    assert set(result) == {"mean_ccc", "mean_pearson", "mean_rmse", "n"}
    assert result["mean_ccc"] > 0.9
    assert "valid_mean_ccc" in history and "train_accuracy" not in history


def test_a_model_may_bring_its_own_loss_or_the_caller_one():
    class Own(Small):
        def loss(self, output, batch):
            return default_loss(output, batch) + 100.0

    own = fit(Own(), dataset(), epochs=1, progress=False)
    given = fit(
        Own(), dataset(), epochs=1, progress=False, loss=lambda o, b: default_loss(o, b) + 50.0
    )
    assert own["train_loss"][0] > 100 and 50 < given["train_loss"][0] < 60


def test_each_phase_changes_its_own_parameters_only():
    class Adversary(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (nn.Linear(5, 3) for _ in range(3))

        def forward(self, masks=None, audio=None):
            return Output(self.one(audio.mean(1)) + self.two(audio.mean(1)))

        def phases(self):
            return [
                Phase("one", self.one.parameters(), default_loss),
                Phase("two", self.two.parameters(), lambda o, b: 0 * o.logits.sum() + 7.0),
            ]

    model = Adversary()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = fit(model, dataset(), epochs=1, weight_decay=0.0, progress=False)
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed == {"one.weight", "one.bias"}
    assert history["loss_two"][0] == pytest.approx(7.0) and "loss_one" in history


def test_only_matrices_decay():
    class Still(Small):
        def forward(self, masks=None, audio=None):
            return Output(super().forward(masks, audio).logits * 0.0)

    model = Still()
    nn.init.ones_(model.linear.bias)
    before = weights(model).clone()
    fit(model, dataset(), epochs=1, learning_rate=0.1, weight_decay=0.5, progress=False)
    assert torch.equal(model.linear.bias, torch.ones(3))
    assert model.linear.weight.abs().sum() < before[:15].abs().sum()


def test_bfloat16_trains_and_leaves_full_precision_weights():
    model, history = trained(precision="bf16", epochs=5, learning_rate=0.05)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert model.linear.weight.dtype == torch.float32
    assert predict(model, dataset()).dtype == torch.float32


def test_learning_rate_rises_and_falls_or_stays():
    rates = trained(epochs=4, learning_rate=1.0, warmup_steps=6)[1]["learning_rate"]
    assert rates.iloc[0] == 1.0 and rates.is_monotonic_decreasing and rates.iloc[-1] < 0.02
    assert set(trained(schedule="constant", warmup_steps=0)[1]["learning_rate"]) == {1e-3}


def test_prediction_keeps_order_and_mode():
    model, data = Small(dropout=0.9), dataset(11)
    model.train()
    whole, pieces = predict(model, data), predict(model, data, batch_size=4)
    assert model.training and torch.allclose(whole, pieces, atol=1e-6)
    assert torch.allclose(whole[7], model.eval()(audio=data.inputs["audio"][7:8])[0][0], atol=1e-6)


def test_evaluation_reports_the_numbers_of_the_contract():
    report = evaluate(Small(), dataset(11))
    assert {"accuracy", "balanced_accuracy", "weighted_f1", "macro_f1"} <= set(report)
    assert report["n"] == 11 and np.sum(report["confusion"]) == 11


def test_a_progress_bar_shows_loss_and_metric_unless_silenced(capsys):
    trained(progress=True, valid_set=dataset(9))
    shown = capsys.readouterr().err
    assert "train_loss" in shown and "valid_loss" in shown
    trained(progress=False)
    assert capsys.readouterr().err == ""


REFUSALS = {
    "no epochs": ({"epochs": 0}, "epochs is 0, expected at least 1"),
    "no batch": ({"batch_size": 0}, "batch_size is 0"),
    "no rate": ({"learning_rate": float("nan")}, "learning_rate is nan"),
    "no clipping": ({"clip_norm": 0.0}, "clip_norm is 0.0, expected more than 0, or None"),
    "no patience": ({"patience": 0}, "patience is 0, expected at least 1 epoch, or None"),
    "schedule": ({"schedule": "linear"}, "expected cosine or constant"),
    "device": ({"device": "gpu"}, "expected auto, cpu, cuda or mps"),
    "precision": ({"device": "cpu", "precision": "fp16"}, "on a GPU only"),
    "patience": ({"patience": 3}, "patience needs a valid_set"),
    "monitor": ({"monitor": "accuracy", "valid_set": dataset(5)}, "expected one of epoch"),
    "outputs": ({"data": numbers()}, r"shape \(8, 3\), expected \(8, 2\)"),
    "diverged": (
        {"loss": lambda output, batch: output.logits.mean() * float("nan")},
        "the loss became nan in epoch 1; lower the learning rate",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_trained_is_refused_with_one_sentence(case):
    settings, sentence = REFUSALS[case]
    with pytest.raises(TrainingError, match=sentence) as refusal:
        trained(**settings)
    assert "\n" not in str(refusal.value)


def test_classes_of_train_and_valid_must_be_the_same():
    other = FeatureSet(dataset().inputs, {}, dataset().labels, ("a", "c", "b"))
    with pytest.raises(TrainingError, match="take both from the same file"):
        trained(valid_set=other)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(TrainingError, match="nothing to train"):
        fit(nn.Identity(), dataset(), epochs=1)
