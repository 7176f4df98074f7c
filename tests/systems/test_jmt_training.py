"""JMT from data to score: what a data set decides, the command line, the loss, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmlib.cli import main
from mmlib.data import Batch, FeatureSet
from mmlib.losses import concordance_loss
from mmlib.metrics import concordance
from mmlib.systems import JMT, JMTConfig, build
from mmlib.training import jobs

TINY = JMTConfig(
    widths=(5, 3), embed_dim=8, ffn_dim=13, fusion_dim=11, head_dim=6, dropout=0.0, patience=None,
)  # fmt: skip


def tiny(**changes) -> JMT:
    torch.manual_seed(0)
    return JMT(config=replace(TINY, **changes)).eval()


def streams(batch: int = 3, steps: int = 7, **widths: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    widths = widths or {"audio": 5, "vision": 3}
    return {n: torch.randn(batch, steps, width, generator=draw) for n, width in widths.items()}


def holes() -> dict[str, torch.Tensor]:
    step = torch.arange(7)
    return {
        "audio": step < torch.tensor([[7], [4], [5]]),
        "vision": (step > 0) & (step < torch.tensor([[7], [6], [3]])),
    }


# From data


def dataset(labels: torch.Tensor, **shapes: tuple[int, int]) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    shapes = shapes or {"audio": (7, 5), "vision": (7, 3)}
    inputs = {n: torch.randn(len(labels), *shape, generator=draw) for n, shape in shapes.items()}
    names = None if labels.is_floating_point() else tuple("abcd")
    return FeatureSet(inputs, {}, labels, names)


def test_a_data_set_says_what_is_predicted_and_where():
    steps = JMTConfig.for_dataset(dataset(torch.randn(11, 7, 2)))
    assert (steps.task, steps.num_outputs, steps.every_step) == ("regression", 2, True)
    assert steps.widths == (5, 3) and steps.clock is None
    whole = JMTConfig.for_dataset(dataset(torch.randn(11, 17)), scale="paper")
    assert (whole.num_outputs, whole.every_step, whole.embed_dim) == (17, False, 512)
    classes = JMTConfig.for_dataset(dataset(torch.arange(11) % 4))
    assert (classes.task, classes.num_outputs) == ("classification", 4)
    assert build("jmt", classes)(**streams())._fields == ("logits",)
    own_step = replace(dataset(torch.arange(11) % 4), label_step=3)
    assert (classes.label_step, JMTConfig.for_dataset(own_step).label_step) == (None, 3)


def test_streams_are_audio_and_vision_or_the_two_there_are():
    labels = torch.arange(11) % 4
    three = dataset(labels, audio=(7, 5), text=(7, 4), vision=(7, 3))
    config = JMTConfig.for_dataset(three)
    assert config.streams == ("audio", "vision")
    model, given = build("jmt", config).eval(), streams(text=4, audio=5, vision=3)
    others = {**given, "text": given["text"] + 1.0}
    assert torch.equal(model(**given).logits, model(**others).logits)
    two = JMTConfig.for_dataset(dataset(labels, audio=(7, 5), text=(7, 4)))
    assert set(two.streams) == {"text", "audio"}
    with pytest.raises(ValueError, match="only audio"):
        JMTConfig.for_dataset(dataset(labels, audio=(7, 5)))


def test_the_clock_is_the_labels_or_the_longer_stream():
    shapes = {"audio": (13, 5), "vision": (7, 3)}
    assert JMTConfig.for_dataset(dataset(torch.randn(11, 17), **shapes)).clock == "audio"
    assert JMTConfig.for_dataset(dataset(torch.randn(11, 7, 2), **shapes)).clock == "vision"
    with pytest.raises(ValueError, match="9 steps.*one must have as many"):
        JMTConfig.for_dataset(dataset(torch.randn(11, 9, 2), **shapes))


def test_the_papers_training_is_what_the_loop_is_asked_for(monkeypatch, tmp_path):
    asked = {}

    def fit(*_, **settings):
        asked.update(settings)

    monkeypatch.setattr(jobs, "fit", fit)
    features = dataset(torch.randn(11, 7, 2), audio=(7, 512), vision=(7, 512))
    split = np.array(["train"] * 8 + ["valid"] * 3)
    jobs.train_system("jmt", replace(features, split=split), tmp_path, scale="paper")
    recipe = {name: asked[name] for name in ("epochs", "batch_size", "learning_rate", "optimizer")}
    assert recipe == {"epochs": 5, "batch_size": 2, "learning_rate": 5e-4, "optimizer": "sgd"}
    assert asked["patience"] == JMTConfig.paper().patience
    everything = replace(features, split=np.array(["train"] * 11))
    jobs.train_system("jmt", everything, tmp_path / "other", scale="paper")
    assert asked["patience"] is None  # nothing tells which epoch was better


@pytest.mark.parametrize("data", ["theatre:jmt", "theatre"])
def test_the_command_line_trains_and_evaluates_it(data, tmp_path):
    run = str(tmp_path / "run")
    words = ["--system", "jmt", "--n", "60", "--epochs", "1", "--quiet", "--device", "cpu"]
    assert main(["train", "--data", data, "--out", run, *words]) == 0
    result = tmp_path / "result.json"
    told = ["evaluate", "--run", run, "--data", data, "--n", "60", "--device", "cpu"]
    assert main([*told, "--json", str(result)]) == 0
    report = json.loads(result.read_text())
    assert ("mean_ccc" if data == "theatre:jmt" else "accuracy") in report


# The loss


def test_loss_sums_one_minus_concordance_over_both_targets():
    model, given = tiny(), streams()
    labels = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(2))
    output = model(**given)
    expected = sum(1 - concordance(output[0][..., k].detach(), labels[..., k]) for k in (0, 1))
    found = model.loss(output, Batch(given, {}, labels))
    assert found.item() == pytest.approx(expected, abs=1e-5)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(3))  # batch and time alike
    flat = [x.flatten(0, 1)[order] for x in (output[0], labels)]
    assert 2 * concordance_loss(*flat, per_target=True).item() == pytest.approx(found.item(), 1e-5)


def test_loss_leaves_out_steps_that_are_real_in_neither_stream():
    model, given, real = tiny(), streams(), holes()
    labels = torch.randn(3, 7, 2)
    batch = Batch(given, real, labels)
    output = model(**given, masks=real)
    absent = ~(real["audio"] | real["vision"])
    assert absent.any()
    wild = batch._replace(labels=labels.masked_fill(absent[..., None], 1e3))
    assert torch.equal(model.loss(output, batch), model.loss(output, wild))


def test_invalid_annotations_are_left_out_by_a_mask_and_would_ruin_the_score_if_not():
    """Where a frame could not be rated the public annotations say -5."""
    draw = torch.Generator().manual_seed(4)
    truth = torch.rand(3, 7, 2, generator=draw) * 2 - 1
    prediction = 0.9 * truth
    labels = truth.clone()
    labels[0, :3], labels[2, 5] = -5.0, -5.0
    valid = (labels != -5.0).all(-1)
    assert concordance(prediction, labels, valid) == pytest.approx(
        concordance(prediction[valid], truth[valid])
    )
    assert concordance(prediction, labels, valid) > 0.98
    assert concordance(prediction, labels) < 0.3
    prediction.requires_grad_()
    concordance_loss(prediction, labels, valid, per_target=True).backward()
    assert not prediction.grad[~valid].any() and prediction.grad[valid].any()


# Refusals


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"share": "key"}, "share='key' is unknown; expected one of 'none', 'query'"),
        ({"score": "tanh"}, "score='tanh' is unknown"),
        ({"positions": "learnt"}, "positions='learnt' is unknown"),
        ({"streams": ("audio", "audio")}, "expected two different streams"),
        ({"clock": "text"}, "clock='text' is none of the streams audio, vision"),
        ({"streams": ("audio", "vision", "audio")}, "expected two different streams"),
        ({"num_heads": 3}, "embed_dim=8 cannot be split over num_heads=3"),
        ({"num_heads": 0}, "over num_heads=0; expected .*1, 2, 4, 8"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        tiny(**changes)


def test_inputs_that_do_not_fit_are_refused_by_name():
    model, given = tiny(), streams()
    with pytest.raises(ValueError, match="audio and vision, but vision is missing"):
        model(audio=given["audio"])
    with pytest.raises(ValueError, match=r"vision has shape \(3, 7, 5\), expected"):
        model(audio=given["audio"], vision=given["audio"])
    empty = {name: x[:0] for name, x in given.items()}
    with pytest.raises(ValueError, match=r"vision has shape \(0, 7, 5\), expected"):
        model(audio=empty["audio"], vision=empty["audio"])
    with pytest.raises(ValueError, match="mask of audio is torch.float32"):
        model(**given, masks={"audio": torch.ones(3, 7)})
