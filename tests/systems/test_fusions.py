"""What is particular to each fusion, and what all five do with streams that are not there."""

from dataclasses import replace

import pytest
import torch

from mmlib.data import Batch, FeatureSet
from mmlib.losses import default_loss
from mmlib.systems import BaselineConfig, build, find
from mmlib.systems.baselines import Classified, GatedUnit, outer_with_one
from mmlib.training import evaluate, fit, seed_everything

FUSIONS = ("early", "concat", "late", "gated", "tensor")
JOINT = ("concat", "gated", "tensor")  # those with a summary of each stream
B = 6
SHAPES = {"text": (7, 11), "audio": (13, 2), "vision": (3, 5)}  # all sizes differ


@pytest.fixture(params=FUSIONS)
def name(request) -> str:
    return request.param


def features(labels: torch.Tensor | None = None, label_step: int | None = None) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    inputs = {key: torch.randn(B, *shape, generator=draw) for key, shape in SHAPES.items()}
    masks = {key: torch.rand(x.shape[:2], generator=draw) < 0.8 for key, x in inputs.items()}
    for mask in masks.values():
        mask[:, 1] = True
    labels = torch.arange(B) % 3 if labels is None else labels
    names = None if labels.is_floating_point() else ("a", "b", "c")
    return FeatureSet(inputs, masks, labels, names, label_step=label_step)


LABELS = {
    "class": {},
    "class of a step": {"label_step": 2},
    "numbers": {"labels": torch.randn(B, 4, generator=torch.Generator().manual_seed(1))},
    "numbers of every step": {
        "labels": torch.randn(B, 13, 2, generator=torch.Generator().manual_seed(1))
    },
}


@pytest.fixture(params=LABELS)
def data(request) -> FeatureSet:
    return features(**LABELS[request.param])


def made(name: str, data: FeatureSet, **changes) -> torch.nn.Module:
    torch.manual_seed(1)
    config = replace(find(name).config.for_dataset(data), embed_dim=12, **changes)
    return build(name, config).eval()


def call(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch.inputs, masks=batch.masks)[0]


def without(batch: Batch, *absent: str, fill: float = 0.0) -> Batch:
    """The same batch with some streams absent for all samples, by their masks."""
    inputs, masks = dict(batch.inputs), dict(batch.masks)
    for key in absent:
        masks[key] = torch.zeros_like(masks[key])
        inputs[key] = torch.full_like(inputs[key], fill)
    return batch._replace(inputs=inputs, masks=masks)


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


# Late.


def test_late_fusion_is_the_mean_of_the_logits_of_the_streams_that_are_there():
    data = features()
    model, batch = made("late", data), data.batch(range(B))
    here = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1], [0, 0, 0]])
    for m, key in enumerate(SHAPES):
        batch.masks[key] &= here[:, m, None].bool()
    output = model(**batch.inputs, masks=batch.masks)
    for row in range(B):
        votes = output.stream_logits[row, here[row].bool()]
        expected = votes.mean(0) if len(votes) else torch.zeros(3)
        assert torch.allclose(output.logits[row], expected, atol=1e-6)
    assert torch.equal(output.stream_logits == 0, (here == 0)[..., None].expand(-1, -1, 3))


# Gated.


def test_two_gates_are_the_sigmoid_of_the_bimodal_unit():
    torch.manual_seed(0)
    unit = GatedUnit(in_dim=3, out_dim=5, streams=2)
    x = torch.randn(7, 2, 3)
    mixed, gates = unit(x, torch.ones(7, 2, dtype=torch.bool))
    scores = unit.gate(x.flatten(1))  # (7, 10): the first vector's five, then the second's
    z = torch.sigmoid(scores[:, :5] - scores[:, 5:])
    first, second = (torch.tanh(unit.values[m](x[:, m])) for m in range(2))
    assert torch.allclose(mixed, z * first + (1 - z) * second, atol=1e-6)
    assert torch.allclose(gates[:, 0], z, atol=1e-6)


def test_gates_sum_to_one_over_the_streams_that_are_there_and_the_rest_have_none(data):
    model, batch = made("gated", data), data.batch(range(B))
    batch.masks["audio"][2] = False
    for key in ("text", "vision"):
        batch.masks[key][3] = False
    for mask in batch.masks.values():
        mask[4] = False
    gates = model(**batch.inputs, masks=batch.masks).gates
    assert gates.shape == (B, *gates.shape[1:-2], 3, 12)
    total = gates.sum(-2)
    assert torch.allclose(total[[0, 1, 2, 3, 5]], torch.ones(()), atol=1e-6)
    assert (total[4] == 0).all()
    assert (gates[2].select(-2, 1) == 0).all() and (gates[2].select(-2, 0) > 0).all()
    assert (gates[3].select(-2, 1) == 1).all(), "the only stream there has all the weight"
    assert (gates[0] > 0).all()


def test_gates_are_computed_from_all_streams():
    data = features()
    model, batch = made("gated", data), data.batch(range(B))
    before = model(**batch.inputs, masks=batch.masks).gates
    batch.inputs["vision"] += 2.0
    after = model(**batch.inputs, masks=batch.masks).gates
    scores = [g[:, 0].log() - g[:, 1].log() for g in (before, after)]  # text against audio
    assert not torch.allclose(*scores, atol=1e-3)


def test_an_absent_vector_may_hold_anything():
    torch.manual_seed(0)
    unit = GatedUnit(in_dim=3, out_dim=5, streams=3)
    x, present = torch.randn(2, 4, 3, 3), torch.tensor([[True, False, True]]).expand(2, 4, 3)
    mixed, _ = unit(x, present)
    x[..., 1, :] = torch.nan
    assert torch.equal(unit(x, present)[0], mixed) and torch.isfinite(mixed).all()


# Tensor.


def test_the_product_of_two_and_three_features_is_the_outer_product_with_ones():
    a, b = torch.tensor([2.0, 3.0]), torch.tensor([5.0, 7.0, 11.0])
    expected = torch.tensor(
        [
            [10.0, 14.0, 22.0, 2.0],
            [15.0, 21.0, 33.0, 3.0],
            [5.0, 7.0, 11.0, 1.0],
        ]
    )
    assert torch.equal(outer_with_one([a, b]), expected.flatten())
    assert torch.equal(outer_with_one([a]), torch.tensor([2.0, 3.0, 1.0]))


def test_the_product_of_three_is_that_of_an_einsum_for_every_sample_and_step(device):
    draws = [torch.randn(4, 6, width, device=device) for width in (2, 3, 5)]
    longer = [torch.cat([x, torch.ones_like(x[..., :1])], -1) for x in draws]
    expected = torch.einsum("bti,btj,btk->btijk", *longer).flatten(2)
    assert torch.allclose(outer_with_one(draws), expected)


def test_a_vector_of_zeros_leaves_the_product_of_the_others():
    a, b, c = (torch.randn(4, width) for width in (2, 3, 5))
    whole = outer_with_one([a, torch.zeros_like(b), c]).unflatten(1, (3, 4, 6))
    assert torch.equal(whole[:, :, -1].flatten(1), outer_with_one([a, c]))
    assert (whole[:, :, :-1] == 0).all()


def test_an_absent_stream_leaves_the_lower_orders_to_decide():
    data = features()
    model, batch = made("tensor", data), data.batch(range(B))
    seen = []
    model.decide.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    call(model, without(batch, "audio"))
    product = seen[0].unflatten(1, (9, 9, 9))  # text, audio, vision, a one at the end of each
    assert (product[:, :, :-1] == 0).all() and (product[:, :, -1] != 0).all()
    assert torch.allclose(product[:, -1, -1, -1], torch.ones(B))


# Early.


class Recorded:
    """What early fusion's encoder is given."""

    def __init__(self, model: torch.nn.Module, batch: Batch) -> None:
        seen = []
        handle = model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given))
        call(model, batch)
        handle.remove()
        self.joined, self.mask = seen[0]


def test_early_fusion_puts_side_by_side_what_happens_at_the_same_time():
    """Three clocks, all telling the time of one stretch, two of them padded."""
    count, real = 2, {"text": 5, "audio": 24, "vision": 8}
    size = {"text": 9, "audio": 32, "vision": 8}
    inputs, masks = {}, {}
    for key, steps in real.items():
        time = (torch.arange(steps) + 0.5) / steps
        inputs[key] = torch.full((count, size[key], 1), torch.nan)
        inputs[key][:, :steps, 0] = time
        masks[key] = (torch.arange(size[key]) < steps).expand(count, -1)
    data = FeatureSet(inputs, masks, torch.arange(count), ("a", "b"))
    given = Recorded(made("early", data), Batch(inputs, masks, data.labels))
    assert given.joined.shape == (count, 32, 3 + 3)
    assert torch.equal(given.mask, masks["audio"])
    time = (torch.arange(24) + 0.5) / 24
    for column, steps in enumerate(real.values()):
        expected = time.clamp(0.5 / steps, 1 - 0.5 / steps)
        assert torch.allclose(given.joined[0, :24, column], expected, atol=1e-6)
    assert (given.joined[:, 24:] == 0).all() and (given.joined[:, :24, 3:] == 1).all()


def test_early_fusion_keeps_the_steps_of_streams_that_tick_with_the_labels():
    labels = torch.randn(B, 13, 2)
    data = features(labels=labels)
    batch = data.batch(range(B))
    given = Recorded(made("early", data), batch)
    audio = batch.inputs["audio"].masked_fill(~batch.masks["audio"][..., None], 0.0)
    assert torch.equal(given.joined[..., 11:13], audio)
    assert torch.equal(given.joined[..., -2].bool(), batch.masks["audio"])


def test_early_fusion_keeps_every_step_of_a_long_stream_in_patches():
    draw = torch.Generator().manual_seed(0)
    audio = torch.randn(3, 131, 2, generator=draw)
    vision = torch.randn(3, 8, 5, generator=draw)
    data = FeatureSet({"audio": audio, "vision": vision}, {}, torch.arange(3), ("a", "b", "c"))
    model = made("early", data)
    given = Recorded(model, data.batch(range(3)))
    assert given.joined.shape == (3, 33, 4 * 2 + 5 + 2) and given.mask.all()
    assert torch.equal(given.joined[..., :8].unflatten(2, (4, 2)).flatten(1, 2)[:, :131], audio)


def test_early_fusion_says_that_it_needs_the_lengths():
    with pytest.raises(ValueError, match=r"has none; give lengths=.*for_dataset"):
        build("early", BaselineConfig(streams=("audio",), widths=(3,)))


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
