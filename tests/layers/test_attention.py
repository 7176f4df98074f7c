"""Attention: what the weights may depend on, by hand, by law, and against torch."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from mmlib.layers import MultiHeadAttention, scaled_dot_product_attention

B, H, TQ, TK, D, DV = 2, 3, 5, 11, 7, 13
few = settings(deadline=None, max_examples=25)


def tensors(device="cpu", dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    shapes = ((B, H, TQ, D), (B, H, TK, D), (B, H, TK, DV))
    return tuple(torch.randn(shape).to(device, dtype) for shape in shapes)


def test_two_keys_by_hand():
    # Scores 2 ln 3 / sqrt(4) = ln 3 and 0: weights 3/4 and 1/4.
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    key = torch.tensor([[math.log(3.0), 0.0, 0.0, 0.0], [0.0, 5.0, 0.0, 0.0]])
    value = torch.tensor([[4.0, 8.0], [0.0, 20.0]])
    out, weights = scaled_dot_product_attention(query, key, value, return_weights=True)
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]]))
    torch.testing.assert_close(out, torch.tensor([[3.0, 11.0]]))
    torch.testing.assert_close(scaled_dot_product_attention(query, key, value), out)


def test_sigmoid_scores_by_hand():
    # Each key is weighed by itself: sigmoid(ln 3) = 3/4 and sigmoid(0) = 1/2.
    query = torch.tensor([[1.0]])
    key = torch.tensor([[math.log(3.0)], [0.0]])
    value = torch.tensor([[4.0], [10.0]])
    out, weights = scaled_dot_product_attention(
        query, key, value, score="sigmoid", return_weights=True
    )
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.5]]))
    torch.testing.assert_close(out, torch.tensor([[8.0]]))


def test_bias_is_added_before_the_softmax_by_hand():
    zeros, value = torch.zeros(1, 2), torch.tensor([[4.0], [8.0], [0.0]])
    bias = torch.tensor([0.0, math.log(2.0), 0.0])
    keys = torch.zeros(3, 2)
    out, weights = scaled_dot_product_attention(zeros, keys, value, bias=bias, return_weights=True)
    torch.testing.assert_close(weights, torch.tensor([[0.25, 0.5, 0.25]]))
    torch.testing.assert_close(out, torch.tensor([[5.0]]))
    torch.testing.assert_close(scaled_dot_product_attention(zeros, keys, value, bias=bias), out)


def test_softmax_weights_sum_to_one_and_sigmoid_weights_need_not(device):
    q, k, v = tensors(device)
    _, soft = scaled_dot_product_attention(q, k, v, return_weights=True)
    _, sigmoid = scaled_dot_product_attention(q, k, v, score="sigmoid", return_weights=True)
    assert soft.shape == sigmoid.shape == (B, H, TQ, TK)
    torch.testing.assert_close(soft.sum(-1), torch.ones(B, H, TQ, device=device))
    assert (sigmoid.sum(-1) > 1).any() and (sigmoid > 0).all() and (sigmoid < 1).all()


MASKS = {
    "none": None,
    "padding": (B, 1, 1, TK),
    "per query": (TQ, TK),
    "per head": (H, TQ, TK),
    "queries only": (B, 1, TQ, 1),
    "all axes": (B, H, TQ, TK),
}


@pytest.mark.parametrize("shape", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_fused_and_explicit_paths_agree_in_value_and_gradient(device, shape, with_bias):
    mask = None if shape is None else (torch.rand(shape) > 0.4).to(device)
    bias = torch.randn(H, TQ, TK, device=device) if with_bias else None
    results = []
    for weights in (False, True):
        q, k, v = (t.requires_grad_() for t in tensors(device))
        out = scaled_dot_product_attention(q, k, v, mask=mask, bias=bias, return_weights=weights)
        out = out[0] if weights else out
        out.sin().sum().backward()
        results.append((out, q.grad, k.grad, v.grad))
    for fused, explicit in zip(*results, strict=True):
        assert torch.isfinite(fused).all()
        torch.testing.assert_close(fused, explicit, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_both_paths_are_right_to_the_last_places_of_half_precision(device, dtype):
    q, k, v = tensors(device, dtype)
    mask = (torch.rand(B, 1, TQ, TK) > 0.3).to(device)
    mask[0, 0, 2] = False
    exact = scaled_dot_product_attention(
        q.double(), k.double(), v.double(), mask=mask, return_weights=True
    )[0]
    for weights in (False, True):
        out = scaled_dot_product_attention(q, k, v, mask=mask, return_weights=weights)
        out = out[0] if weights else out
        assert out.dtype == dtype
        error = (out.double() - exact).abs().max()
        assert error < 4 * torch.finfo(dtype).eps, error


def test_explicit_path_stays_exact_under_autocast(device):
    q, k, v = (t * 3 for t in tensors(device, torch.bfloat16))
    with torch.autocast(device.type, torch.bfloat16):
        fused = scaled_dot_product_attention(q, k, v)
        explicit = scaled_dot_product_attention(q, k, v, return_weights=True)[0]
    assert explicit.dtype == fused.dtype == torch.bfloat16
    torch.testing.assert_close(fused, explicit, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_any_number_of_leading_axes_gives_the_same_numbers(rank):
    lead = (2, 3, 5)[: rank - 2]
    q, k, v = torch.randn(*lead, TQ, D), torch.randn(*lead, TK, D), torch.randn(*lead, TK, DV)
    mask = torch.rand(TQ, TK) > 0.3
    out = scaled_dot_product_attention(q, k, v, mask=mask)
    assert out.shape == (*lead, TQ, DV)
    for index in itertools.product(*map(range, lead)):
        one = scaled_dot_product_attention(q[index], k[index], v[index], mask=mask)
        torch.testing.assert_close(out[index], one)


def test_one_query_is_shared_by_a_whole_batch():
    _, k, v = tensors()
    query = torch.randn(1, TQ, D)
    mask = torch.rand(B, 1, 1, TK) > 0.3
    shared = scaled_dot_product_attention(query, k, v, mask=mask)
    written_out = scaled_dot_product_attention(query.expand(B, H, TQ, D), k, v, mask=mask)
    torch.testing.assert_close(shared, written_out)
    explicit, _ = scaled_dot_product_attention(query, k, v, mask=mask, return_weights=True)
    torch.testing.assert_close(explicit, shared, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_masked_keys_receive_no_weight_and_change_nothing(device, score):
    q, k, v = tensors(device)
    mask = torch.ones(B, 1, 1, TK, dtype=torch.bool, device=device)
    mask[1, ..., 4:] = False
    out, weights = scaled_dot_product_attention(
        q, k, v, mask=mask, score=score, return_weights=True
    )
    assert (weights[1, ..., 4:] == 0).all()
    other_k, other_v = k.clone(), v.clone()
    other_k[1, :, 4:], other_v[1, :, 4:] = 99.0, -99.0
    again = scaled_dot_product_attention(q, other_k, other_v, mask=mask, score=score)
    torch.testing.assert_close(again, out, atol=1e-5, rtol=1e-5)
    short = scaled_dot_product_attention(q[1], k[1, :, :4], v[1, :, :4], score=score)
    torch.testing.assert_close(out[1], short, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_query_with_nothing_to_attend_to_gets_zeros_and_zero_gradients(
    device, score, weights, dtype
):
    q, k, v = (t.requires_grad_() for t in tensors(device, dtype))
    mask = torch.ones(B, 1, TQ, TK, dtype=torch.bool, device=device)
    mask[0, 0, 2] = False
    mask[1] = False
    out = scaled_dot_product_attention(q, k, v, mask=mask, score=score, return_weights=weights)
    if weights:
        out, table = out
        assert (table[1] == 0).all() and (table[0, :, 2] == 0).all()
    assert (out[1] == 0).all() and (out[0, :, 2] == 0).all()
    assert (out[0, :, 1].abs().sum(-1) > 0).all()
    out.square().sum().backward()
    for tensor in (q, k, v):
        assert torch.isfinite(tensor.grad).all()
        assert (tensor.grad[1] == 0).all()
        assert (tensor.grad[0] != 0).any()
    assert (q.grad[0, :, 2] == 0).all()


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9), st.integers(1, 7)),
    st.sampled_from(["softmax", "sigmoid"]),
    st.integers(0, 10_000),
)
@few
def test_laws_hold_for_every_shape_and_mask(sizes, score, seed):
    batch, queries, keys, width = sizes
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, queries, width, generator=generator)
    k = torch.randn(batch, keys, width, generator=generator)
    v = torch.randn(batch, keys, 3, generator=generator)
    mask = torch.rand(batch, queries, keys, generator=generator) > 0.5
    out, weights = scaled_dot_product_attention(
        q, k, v, mask=mask, score=score, return_weights=True
    )
    torch.testing.assert_close(out, weights @ v)
    assert (weights >= 0).all() and (weights[~mask] == 0).all()
    if score == "softmax":
        torch.testing.assert_close(weights.sum(-1), mask.any(-1).float())
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v, mask=mask, score=score), out, atol=1e-5, rtol=1e-5
    )
    # The keys are a set: shuffling them together with their values changes nothing.
    order = torch.randperm(keys, generator=generator)
    shuffled = scaled_dot_product_attention(
        q, k[:, order], v[:, order], mask=mask[..., order], score=score
    )
    torch.testing.assert_close(shuffled, out, atol=1e-5, rtol=1e-5)


def test_dropout_acts_on_the_weights_and_keeps_their_mean():
    torch.manual_seed(0)
    q, k = torch.zeros(1, 4000, 2), torch.zeros(1, 4, 2)
    v = torch.eye(4)[None]
    for weights in (False, True):
        out = scaled_dot_product_attention(q, k, v, dropout=0.25, return_weights=weights)
        out = out[0] if weights else out
        # What remains of a weight of 1/4 is 0 or 1/4 divided by 3/4.
        torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / 3]))
        assert (out == 0).float().mean() == pytest.approx(0.25, abs=0.02)


def test_gradients_agree_with_finite_differences():
    q, k, v = (t[:1, :1, :4, :3].double().requires_grad_() for t in tensors())
    mask = torch.rand(4, 4) > 0.4
    mask[1] = False
    for score in ("softmax", "sigmoid"):

        def attend(q, k, v, score=score):
            return scaled_dot_product_attention(
                q, k, v, mask=mask, score=score, return_weights=True
            )

        assert torch.autograd.gradcheck(attend, (q, k, v))


BAD = [
    ({"mask": torch.ones(TQ, TK)}, TypeError, "torch.bool"),
    ({"mask": torch.ones(B, TK, dtype=torch.bool)}, ValueError, r"mask\[:, None, None, :\]"),
    ({"bias": torch.zeros(TK, TQ)}, ValueError, "The bias has shape"),
    ({"score": "tanh"}, ValueError, "softmax, sigmoid"),
]


@pytest.mark.parametrize(("arguments", "error", "words"), BAD)
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        scaled_dot_product_attention(*tensors(), **arguments)


def test_sizes_that_do_not_fit_are_named():
    q, k, v = tensors()
    with pytest.raises(ValueError, match="7 features and keys 6"):
        scaled_dot_product_attention(q, k[..., :6], v)
    with pytest.raises(ValueError, match=r"\(2, 3\), \(2,\), \(2, 3\); expected axes that"):
        scaled_dot_product_attention(q, k[:, 0], v)
    with pytest.raises(ValueError, match="11 keys and 10 values"):
        scaled_dot_product_attention(q, k, v[..., :10, :])


# ---- several heads ---------------------------------------------------------------------------


def twin_of(peer: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    """Give ours the weights of torch's module, stacked or separate."""
    if peer.in_proj_weight is not None:
        stacked = peer.in_proj_weight.chunk(3)
    else:
        stacked = (peer.q_proj_weight, peer.k_proj_weight, peer.v_proj_weight)
    inputs = (ours.to_query, ours.to_key, ours.to_value)
    nn.init.normal_(peer.in_proj_bias)
    nn.init.normal_(peer.out_proj.bias)
    with torch.no_grad():
        for layer, weight, bias in zip(inputs, stacked, peer.in_proj_bias.chunk(3), strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        ours.to_output.load_state_dict(peer.out_proj.state_dict())


def padding(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_equals_torchs_module_with_the_same_weights(device, padded):
    torch.manual_seed(0)
    peer = nn.MultiheadAttention(24, 4, batch_first=True).to(device)
    ours = MultiHeadAttention(query_dim=24, num_heads=4).to(device)
    twin_of(peer, ours)
    x = torch.randn(3, 11, 24, device=device)
    mask = padding([11, 5, 2], 11).to(device) if padded else None
    expected, weights = peer(
        x, x, x, key_padding_mask=None if mask is None else ~mask, average_attn_weights=False
    )
    out, table = ours(x, padding_mask=mask, return_weights=True)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(table, weights, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours(x, padding_mask=mask), expected, atol=1e-5, rtol=1e-5)


def test_cross_attention_equals_torchs_module_with_other_widths(device):
    torch.manual_seed(0)
    peer = nn.MultiheadAttention(20, 5, kdim=14, vdim=14, batch_first=True).to(device)
    ours = MultiHeadAttention(query_dim=20, context_dim=14, num_heads=5).to(device)
    twin_of(peer, ours)
    query = torch.randn(3, 7, 20, device=device)
    context = torch.randn(3, 11, 14, device=device)
    mask = padding([4, 11, 1], 11).to(device)
    expected, _ = peer(query, context, context, key_padding_mask=~mask)
    torch.testing.assert_close(
        ours(query, context, padding_mask=mask), expected, atol=1e-5, rtol=1e-5
    )


def test_gradients_equal_those_of_torchs_module():
    peer = nn.MultiheadAttention(12, 3, batch_first=True)
    ours = MultiHeadAttention(query_dim=12, num_heads=3)
    twin_of(peer, ours)
    x = torch.randn(2, 5, 12)
    peer(x, x, x)[0].sin().sum().backward()
    ours(x).sin().sum().backward()
    stacked = torch.cat([p.weight.grad for p in (ours.to_query, ours.to_key, ours.to_value)])
    torch.testing.assert_close(stacked, peer.in_proj_weight.grad, atol=1e-5, rtol=1e-5)


def test_widths_lengths_and_heads_come_out_as_asked():
    layer = MultiHeadAttention(query_dim=10, context_dim=6, embed_dim=21, num_heads=3)
    out, weights = layer(torch.randn(2, 5, 10), torch.randn(2, 7, 6), return_weights=True)
    assert out.shape == (2, 5, 21) and weights.shape == (2, 3, 5, 7)


def test_without_bias_there_is_none():
    layer = MultiHeadAttention(query_dim=10, num_heads=2, bias=False)
    assert not [name for name, _ in layer.named_parameters() if name.endswith("bias")]
    assert (layer(torch.zeros(2, 3, 10)) == 0).all()


def test_parameter_shapes_do_not_depend_on_the_heads():
    one, four = (MultiHeadAttention(query_dim=24, num_heads=heads) for heads in (1, 4))
    four.load_state_dict(one.state_dict())
    x = torch.randn(2, 5, 24)
    assert not torch.allclose(one(x), four(x), atol=1e-3)


def test_samples_do_not_mix_and_padding_does_not_leak(device):
    layer = MultiHeadAttention(query_dim=24, context_dim=10, num_heads=4).to(device)
    query, context = torch.randn(3, 5, 24, device=device), torch.randn(3, 9, 10, device=device)
    mask = padding([9, 4, 7], 9).to(device)
    before = layer(query, context, padding_mask=mask)
    junk = context.masked_fill(~mask[..., None], 99.0)
    torch.testing.assert_close(layer(query, junk, padding_mask=mask), before, atol=1e-5, rtol=0)
    moved = context.clone()
    moved[0] += 1
    after = layer(query, moved, padding_mask=mask)
    torch.testing.assert_close(after[1:], before[1:])
    assert (after[0] - before[0]).abs().max() > 1e-3


def test_context_without_a_real_step_adds_nothing_and_breaks_nothing(device):
    layer = MultiHeadAttention(query_dim=8, num_heads=2).to(device)
    x = torch.randn(2, 3, 8, device=device, requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]], device=device)
    out = layer(x, padding_mask=mask)
    torch.testing.assert_close(out[1], layer.to_output.bias.expand(3, 8))
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in (x, *layer.parameters()))


def test_dropout_is_silent_at_evaluation_and_active_in_training():
    layer = MultiHeadAttention(query_dim=12, num_heads=3, dropout=0.5)
    x = torch.randn(2, 7, 12)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_sigmoid_scores_reach_the_module():
    layer = MultiHeadAttention(query_dim=12, num_heads=3, score="sigmoid")
    _, weights = layer(torch.randn(2, 7, 12), return_weights=True)
    assert (weights.sum(-1) > 1.5).all()


def test_every_parameter_gets_a_gradient_under_bfloat16(device):
    layer = MultiHeadAttention(query_dim=12, context_dim=10, num_heads=3).to(device)
    mask = padding([5, 2], 5).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        out = layer(
            torch.randn(2, 3, 12, device=device),
            torch.randn(2, 5, 10, device=device),
            padding_mask=mask,
        )
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # A constant added to every key shifts all scores of a row alike: softmax cannot see it.
        assert name == "to_key.bias" or (parameter.grad != 0).any(), name


def test_single_key_gets_all_the_weight_and_no_score_is_learnt():
    layer = MultiHeadAttention(query_dim=8, num_heads=2)
    out, weights = layer(torch.randn(3, 5, 8), torch.randn(3, 1, 8), return_weights=True)
    assert (weights == 1).all()
    out.square().sum().backward()
    assert layer.to_query.weight.grad.abs().max() == layer.to_key.weight.grad.abs().max() == 0
    assert layer.to_value.weight.grad.abs().max() > 0


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match=r"embed_dim=24 .* num_heads=5.*1, 2, 3, 4, 6, 8, 12, 24"):
        MultiHeadAttention(query_dim=24, num_heads=5)
    with pytest.raises(ValueError, match="num_heads=0"):
        MultiHeadAttention(query_dim=24, num_heads=0)


def test_padding_mask_of_the_query_instead_of_the_context_is_refused():
    layer = MultiHeadAttention(query_dim=8, num_heads=2)
    with pytest.raises(ValueError, match=r"\(2, 3\); expected .* \(2, 5\)"):
        layer(
            torch.randn(2, 3, 8),
            torch.randn(2, 5, 8),
            padding_mask=torch.ones(2, 3, dtype=torch.bool),
        )


def test_self_attention_commutes_with_a_shuffle_of_the_steps():
    layer = MultiHeadAttention(query_dim=12, num_heads=3)
    x, order = torch.randn(2, 7, 12), torch.randperm(7)
    torch.testing.assert_close(layer(x[:, order]), layer(x)[:, order], atol=1e-5, rtol=1e-5)


def test_no_square_matrix_is_held_with_a_padding_mask():
    """The fused path must not build what it is there to avoid: no tensor of Tq x Tk elements."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, torch.Tensor):
                    self.largest = max(self.largest, leaf.untyped_storage().nbytes())
            return out

    long = 512
    for shape in ((2, 4, long, 8), (2, long, 8)):
        x = torch.randn(shape, requires_grad=True)
        mask = torch.ones(2, *(1,) * (len(shape) - 2), long, dtype=torch.bool)
        with Largest() as seen:
            scaled_dot_product_attention(x, x, x, mask=mask).sum().backward()
        assert seen.largest <= x.untyped_storage().nbytes()
    with Largest() as seen:
        F.softmax(x @ x.mT, -1)
    assert seen.largest >= 2 * long * long * 4
