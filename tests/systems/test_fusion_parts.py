"""What is particular to late, gated and tensor fusion: the mean, the gates, the products."""

import pytest
import torch
from three_streams import LABELS, SHAPES, B, call, features, made, without

from mmlib.data import FeatureSet
from mmlib.systems.baselines import GatedUnit, outer_with_one


@pytest.fixture(params=LABELS)
def data(request) -> FeatureSet:
    return features(**LABELS[request.param])


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
