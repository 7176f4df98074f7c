"""What every system keeps to, tested on the day it is added to `mmlib.systems.SYSTEMS`.

The clauses stand in `mmlib.checks.clauses`, where a learner's own fusion is held against the same.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmlib.checks import clauses
from mmlib.checks.clauses import Candidate
from mmlib.checks.contract import contract_report
from mmlib.data import Batch, FeatureSet
from mmlib.systems import SYSTEMS, BaselineConfig, build, find

B, CLASSES = 5, 3
SHAPES = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}  # all sizes differ
PICTURES = {"audio": (13, 2), "vision": (5, 3, 16, 24)}
#: Systems that also take frames, `(B, T, 3, H, W)`, for vision.
OF_FRAMES = ("avt_ca",)
TASKS = ("classification", "regression", "sequence")


def features(task: str, label_step: int | None = None, **shapes: tuple[int, ...]) -> FeatureSet:
    """Make a small set of random streams with masks in which every sample has a real step."""
    draw = torch.Generator().manual_seed(0)
    shapes = shapes or SHAPES
    inputs = {name: torch.randn(B, *shape, generator=draw) for name, shape in shapes.items()}
    masks = {}
    for name, (steps, *_) in shapes.items():
        masks[name] = torch.rand(B, steps, generator=draw) < 0.6
        masks[name][:, 1] = True
        masks[name][:, -1] = False
    labels = {
        "classification": torch.arange(B) % CLASSES,
        "regression": torch.randn(B, 4, generator=draw),
        "sequence": torch.randn(B, 13, 2, generator=draw),
    }[task]
    names = ("a", "b", "c") if task == "classification" else None
    return FeatureSet(inputs, masks, labels, names, label_step=label_step)


def candidate(name: str, task: str, label_step: int | None = None) -> Candidate:
    """Put up a system for such a set, with a batch of it."""
    name, _, frames = name.partition(" of ")
    dataset = features(task, label_step, **(PICTURES if frames else SHAPES))
    try:
        config = find(name).config.for_dataset(dataset)
    except ValueError as refusal:
        pytest.skip(f"{name} does not take this: {refusal}")
    batch = dataset.batch(range(B))
    streams = getattr(config, "streams", tuple(batch.inputs))
    kept = [{n: v for n, v in part.items() if n in streams} for part in batch[:2]]
    return Candidate(
        lambda: build(name, config),
        Batch(*kept, batch.labels),
        CLASSES if task == "classification" else None,
        looks=name != "majority",
    )


@pytest.fixture(params=[*sorted(SYSTEMS), *(f"{name} of frames" for name in OF_FRAMES)])
def name(request) -> str:
    return request.param


@pytest.fixture(params=TASKS)
def task(request) -> str:
    return request.param


def test_first_field_is_logits_or_prediction_of_the_labels_shape(name, task, device):
    clauses.the_first_field_has_the_labels_shape(candidate(name, task), str(device))


def test_samples_do_not_mix_at_evaluation(name, task):
    clauses.samples_do_not_mix(candidate(name, task), "cpu")


def test_every_stream_is_heard(name, task):
    clauses.every_stream_is_heard(candidate(name, task), "cpu")


@pytest.mark.parametrize("label_step", [None, 2])
def test_masked_steps_do_not_matter(name, task, label_step):
    clauses.masked_steps_do_not_matter(candidate(name, task, label_step), "cpu")


def test_longer_padding_does_not_matter(name):
    clauses.longer_padding_does_not_matter(candidate(name, "classification"), "cpu")


@pytest.mark.parametrize("label_step", [None, 1])
def test_every_parameter_gets_a_gradient_in_a_training_step(name, task, label_step, device):
    clauses.every_parameter_gets_a_gradient(candidate(name, task, label_step), str(device))


def test_evaluation_is_deterministic(name, task, device):
    clauses.evaluation_is_deterministic(candidate(name, task), str(device))


def test_saving_and_loading_gives_the_same_outputs(name):
    clauses.saving_and_loading_gives_the_same(candidate(name, "classification"), "cpu")


def test_a_batch_of_one_gives_what_the_sample_gives_among_others(name, task):
    clauses.a_batch_of_one_gives_the_same(candidate(name, task), "cpu")


def test_bfloat16_under_autocast_agrees_with_full_precision(name, task, device):
    clauses.bfloat16_agrees(candidate(name, task), str(device))


def test_masks_may_be_left_out_where_all_is_real(name):
    clauses.masks_may_be_left_out(candidate(name, "classification"), "cpu")


def test_a_missing_modality_is_handled_or_refused_by_name(name):
    clauses.a_missing_modality_is_handled_or_refused(candidate(name, "classification"), "cpu")


def test_a_stream_that_a_sample_lacks_counts_as_missing_for_it(name):
    clauses.a_stream_that_a_sample_lacks_counts_as_missing(candidate(name, "classification"), "cpu")


def test_a_gpu_does_not_round_to_tf32_meanwhile(monkeypatch):
    monkeypatch.setattr(clauses, "CONTRACT", {})
    cudnn, seen = torch.backends.cudnn, []
    probe = clauses.clause("probe")(lambda *_: seen.append(cudnn.allow_tf32))
    for device in ("cpu", "cuda", "cuda:0"):
        probe(candidate("concat", "classification"), device)
    assert seen == [cudnn.allow_tf32, False, False] == [True, False, False]


def test_a_module_may_tie_weights():
    def tied():
        model = tried.make()
        model.decide[4].bias = model.deciders["text"][4].bias
        return model

    config = replace(BaselineConfig.for_dataset(features("classification")), stream_loss=0.5)
    tried = candidate("concat", "classification")._replace(make=lambda: build("concat", config))
    clauses.saving_and_loading_gives_the_same(tried._replace(make=tied), "cpu")


def test_an_error_that_begins_with_an_empty_line_is_told_all_the_same():
    class Wordy(torch.nn.Module):
        def forward(self, masks=None, **streams):
            raise RuntimeError("\n  no such thing\nas that")

    told = set(contract_report(lambda widths, classes: Wordy()).values())
    assert "RuntimeError: no such thing" in told and "RuntimeError: " not in told
