"""What all fusions do alike: streams that are not there, interactions, each stream's own loss."""

from dataclasses import replace

import pytest
import torch
from three_streams import LABELS, SHAPES, B, call, features, made, without

from mmlib.data import FeatureSet
from mmlib.losses import default_loss
from mmlib.systems import BaselineConfig, build, find
from mmlib.systems.baselines import Classified
from mmlib.training import evaluate, fit, seed_everything

FUSIONS = ("early", "concat", "late", "gated", "tensor")
JOINT = ("concat", "gated", "tensor")  # those with a summary of each stream


@pytest.fixture(params=FUSIONS)
def name(request) -> str:
    return request.param


@pytest.fixture(params=LABELS)
def data(request) -> FeatureSet:
    return features(**LABELS[request.param])


def test_what_an_absent_stream_holds_never_reaches_the_output(name, data):
    model, batch = made(name, data), data.batch(range(B))
    model.zero_grad()
    for absent in SHAPES:
        clean = call(model, without(batch, absent))
        assert torch.isfinite(clean).all()
        for fill in (torch.nan, torch.inf, 1e30):
            assert torch.equal(call(model, without(batch, absent, fill=fill)), clean), absent
        assert not torch.allclose(clean, call(model, batch), atol=1e-4), f"{absent} counts"


def test_a_stream_that_is_left_out_is_one_whose_masks_are_all_false(name, data):
    model, batch = made(name, data), data.batch(range(B))
    for absent in (("text",), ("audio",), ("audio", "vision")):
        masked = without(batch, *absent)
        left = {key: x for key, x in batch.inputs.items() if key not in absent}
        assert torch.allclose(call(model, batch._replace(inputs=left)), call(model, masked))


def test_a_stream_may_be_absent_for_one_sample_and_there_for_the_next(name, data):
    model, batch = made(name, data), data.batch(range(B))
    masks = {key: mask.clone() for key, mask in batch.masks.items()}
    masks["audio"][2] = False
    mixed = call(model, batch._replace(masks=masks))
    rows = torch.arange(B) == 2
    assert torch.allclose(mixed[rows], call(model, without(batch, "audio"))[rows], atol=1e-6)
    assert torch.allclose(mixed[~rows], call(model, batch)[~rows], atol=1e-6)


def test_the_streams_that_are_left_still_count(name, data):
    """Also where the one is absent by whose clock early fusion goes."""
    model, batch = made(name, data), data.batch(range(B))
    for absent, left in (("audio", "text"), ("audio", "vision"), ("text", "audio")):
        before = without(batch, absent)
        changed = {**before.inputs, left: before.inputs[left] + 2.0}
        after = call(model, before._replace(inputs=changed))
        assert not torch.allclose(call(model, before), after, atol=1e-3), (absent, left)


def test_a_step_that_is_not_real_has_no_state_beside_its_label():
    data = features(**LABELS["numbers of every step"])
    batch = data.batch(range(B))
    joined, _ = made("concat", data).encode(batch.inputs, batch.masks)
    audio = joined[:, :, 1, 12:]  # (B, steps, E): the states, after the summary's twelve
    assert torch.equal(audio.abs().sum(-1) > 0, batch.masks["audio"])


def test_where_nothing_is_there_the_output_depends_on_nothing(name, data):
    model, batch = made(name, data), data.batch(range(B))
    nothing = call(model, without(batch, *SHAPES, fill=torch.nan))
    assert torch.isfinite(nothing).all()
    assert torch.allclose(nothing, nothing.reshape(-1, nothing.shape[-1])[0].expand_as(nothing))
    if name == "late":
        assert (nothing == 0).all()


def test_the_order_of_the_samples_does_not_matter(name, data):
    model, order = made(name, data), torch.tensor([4, 2, 0, 5, 1, 3])
    there = call(model, data.batch(range(B)))
    assert torch.allclose(call(model, data.batch(order)), there[order], atol=1e-6)


@pytest.mark.parametrize("stream_loss", [0.0, 0.7])
def test_gradients_reach_every_parameter_and_are_finite_with_absent_streams(
    name, data, stream_loss, device
):
    model = made(name, data, stream_loss=stream_loss).to(device).train()
    batch = without(data.batch(range(B)), fill=0.0)
    batch.masks["audio"][2] = False
    batch.inputs["audio"][2] = torch.nan
    for mask in batch.masks.values():
        mask[4] = False
    batch = batch.to(device)
    output = model(**batch.inputs, masks=batch.masks)
    getattr(model, "loss", default_loss)(output, batch).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
        assert torch.isfinite(parameter.grad).all(), key


def test_frames_are_taken_as_features(name):
    frames = torch.randn(4, 2, 3, 5, 7)
    whole = FeatureSet({"vision": frames}, {}, torch.arange(4) % 2, ("a", "b"))
    model = made(name, whole)
    assert torch.equal(
        model(vision=frames)[0].detach(), model(vision=frames.flatten(2))[0].detach()
    )


def test_what_does_not_fit_is_refused_by_name(name):
    model = made(name, features())
    text, audio = torch.zeros(2, 7, 11), torch.zeros(2, 13, 2)
    cases = {
        r"takes text, audio, vision .*but smell came": {"smell": text},
        r"but nothing came": {},
        r"audio has 3 features a step, the model was built for 2": {"audio": torch.zeros(2, 4, 3)},
        r"text has shape \(2, 11\), expected \(2 samples, steps, features\)": {"text": text[:, 0]},
        r"audio has shape \(1, 13, 2\), expected \(2 samples": {"text": text, "audio": audio[:1]},
        r"the mask of text is torch.float32 .*expected torch.bool of \(2, 7\)": {
            "text": text,
            "masks": {"text": torch.ones(2, 7)},
        },
        r"the mask of text is torch.bool of shape \(2, 6\)": {
            "text": text,
            "masks": {"text": torch.ones(2, 6, dtype=torch.bool)},
        },
    }
    for message, words in cases.items():
        with pytest.raises(ValueError, match=message):
            model(**words)


# Two streams, each of which alone says nothing of the label: the exclusive or of a bit in each.


def bits(count: int, seed: int) -> FeatureSet:
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randint(0, 2, (2, count), generator=draw)
    audio = (2.0 * a - 1)[:, None, None] * torch.ones(count, 4, 2)
    vision = (2.0 * b - 1)[:, None, None] * torch.ones(count, 1, 3)
    return FeatureSet({"audio": audio, "vision": vision}, {}, a ^ b, ("same", "other"))


def test_late_fusion_cannot_hold_an_interaction_and_the_others_can(name):
    """In four cells of two bits, sums of streams have no interaction, whatever the weights are."""
    audio = torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None, None].expand(4, 4, 2)
    vision = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None].expand(4, 1, 3)
    for seed in range(3):
        torch.manual_seed(seed)
        model = build(name, BaselineConfig.for_dataset(bits(9, 0))).double().eval()
        logits = model(audio=audio.double(), vision=vision.double())[0]
        margin = logits[:, 1] - logits[:, 0]
        interaction = (margin * torch.tensor([1.0, -1.0, -1.0, 1.0])).sum().abs()
        assert interaction < 1e-12 if name == "late" else interaction > 1e-4


def test_only_joint_fusion_learns_what_no_stream_says_alone(name):
    seed_everything(0)
    train, fresh = bits(128, 1), bits(400, 2)
    model = build(name, replace(BaselineConfig.for_dataset(train), embed_dim=24))
    fit(model, train, epochs=20, learning_rate=5e-3, progress=False)
    accuracy = evaluate(model, fresh)["accuracy"]
    # Two wrong cells of four leave a half; a sum of streams can be right in three by chance.
    assert accuracy < 0.8 if name == "late" else accuracy > 0.95, accuracy


# Each stream's own loss.


@pytest.mark.parametrize("name", JOINT)
def test_with_a_stream_loss_each_stream_also_answers_for_itself(name):
    data = features()
    batch = data.batch(range(B))
    plain, model = made(name, data), made(name, data, stream_loss=0.5)
    assert plain(**batch.inputs, masks=batch.masks)[1] is None
    output = model(**batch.inputs, masks=batch.masks)
    assert output.stream_logits.shape == (B, 3, 3)
    own = [default_loss((output.stream_logits[:, m],), batch) for m in range(3)]
    expected = default_loss(output, batch) + 0.5 * sum(own) / 3
    assert torch.allclose(model.loss(output, batch), expected)
    unheard = model(**batch.inputs, masks=without(batch, "audio").masks)
    assert (unheard.stream_logits[:, 1] == 0).all() and (unheard.stream_logits[:, 2] != 0).all()


# The majority.


def test_the_majority_is_trained_for_one_epoch_and_takes_the_common_config():
    for data in (features(), features(label_step=1)):
        assert find("majority").config.for_dataset(data).epochs == 1
        assert find("majority").config.for_dataset(data, "paper").epochs == 1
    assert find("majority").config.paper().epochs == 1
    assert isinstance(
        build("majority", BaselineConfig.for_dataset(features()))(text=torch.zeros(2, 7, 11)),
        Classified,
    )
