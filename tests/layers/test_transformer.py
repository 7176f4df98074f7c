"""Transformer blocks: the order of the parts, who sees whom, and what the residual carries."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.layers import (
    CrossModalTransformer,
    SinusoidalPositions,
    TransformerBlock,
    sinusoidal_codes,
)


def padding(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


# ---- positions -------------------------------------------------------------------------------


def test_codes_by_hand():
    codes = sinusoidal_codes(3, 4)
    slow = 10000 ** -(2 / 4)
    expected = [
        [math.sin(t), math.cos(t), math.sin(t * slow), math.cos(t * slow)] for t in range(3)
    ]
    torch.testing.assert_close(codes, torch.tensor(expected))


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_codes_differ_from_step_to_step_for_every_width(width):
    codes = sinusoidal_codes(7, width)
    assert codes.shape == (7, width)
    assert torch.cdist(codes, codes).fill_diagonal_(1).min() > 1e-2


def test_codes_follow_length_device_and_dtype(device):
    x = torch.zeros(2, 5, 6, device=device, dtype=torch.bfloat16)
    out = SinusoidalPositions()(x)
    assert out.device == x.device and out.dtype == torch.bfloat16
    torch.testing.assert_close(out[1].float().cpu(), sinusoidal_codes(5, 6), atol=5e-3, rtol=0)
    assert not list(SinusoidalPositions().parameters())


# ---- the block of O1 and O2 ------------------------------------------------------------------


def test_post_norm_block_is_o1_and_o2():
    block = TransformerBlock(embed_dim=12, num_heads=3, ffn_dim=20).eval()
    x, mask = torch.randn(2, 7, 12), padding([7, 4], 7)
    o1 = block.norm1(x + block.attention(x, padding_mask=mask))
    dense1, _, dense2 = block.ffn
    o2 = block.norm2(o1 + dense2(F.relu(dense1(o1))))
    torch.testing.assert_close(block(x, padding_mask=mask), o2)
    torch.testing.assert_close(o2.mean(-1), torch.zeros(2, 7), atol=1e-5, rtol=0)


def test_pre_norm_block_leaves_the_way_around_untouched():
    block = TransformerBlock(embed_dim=12, num_heads=3, norm="pre").eval()
    x = torch.randn(2, 7, 12)
    o1 = x + block.attention(block.norm1(x))
    torch.testing.assert_close(block(x), o1 + block.ffn(block.norm2(o1)))
    for part in (block.attention.to_output, block.ffn[-1]):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    torch.testing.assert_close(block(x), x)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_block_equals_torchs_encoder_layer_with_the_same_weights(device, norm, activation):
    torch.manual_seed(0)
    ours = TransformerBlock(embed_dim=12, num_heads=3, ffn_dim=20, activation=activation, norm=norm)
    peer = nn.TransformerEncoderLayer(
        12, 3, 20, activation=activation, batch_first=True, norm_first=norm == "pre"
    )
    mine = ours.state_dict()
    inputs = [f"attention.to_{name}" for name in ("query", "key", "value")]
    theirs = {
        "self_attn.in_proj_weight": torch.cat([mine[f"{name}.weight"] for name in inputs]),
        "self_attn.in_proj_bias": torch.cat([mine[f"{name}.bias"] for name in inputs]),
    }
    names = {
        "self_attn.out_proj": "attention.to_output",
        "linear1": "ffn.0",
        "linear2": "ffn.2",
        "norm1": "norm1",
        "norm2": "norm2",
    }
    for their, our in names.items():
        for kind in ("weight", "bias"):
            theirs[f"{their}.{kind}"] = mine[f"{our}.{kind}"]
    peer.load_state_dict(theirs)
    ours, peer = ours.to(device).eval(), peer.to(device).eval()
    x = torch.randn(2, 7, 12, device=device, requires_grad=True)
    mask = padding([7, 4], 7).to(device)
    expected = peer(x, src_key_padding_mask=~mask)
    out = ours(x, padding_mask=mask)
    torch.testing.assert_close(out[mask], expected[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_block_hides_padding_and_keeps_samples_apart(device, norm):
    block = TransformerBlock(embed_dim=12, num_heads=3, norm=norm).to(device).eval()
    x, mask = torch.randn(3, 7, 12, device=device), padding([7, 4, 0], 7).to(device)
    before = block(x, padding_mask=mask)
    after = block(x.masked_fill(~mask[..., None], 99.0), padding_mask=mask)
    torch.testing.assert_close(after[mask], before[mask], atol=1e-5, rtol=1e-5)
    assert torch.isfinite(before).all()
    alone = block(x[1:2, :4])
    torch.testing.assert_close(before[1, :4], alone[0], atol=1e-5, rtol=1e-5)


def test_block_without_positions_commutes_with_a_shuffle():
    block = TransformerBlock(embed_dim=12, num_heads=3).eval()
    x, order = torch.randn(2, 7, 12), torch.randperm(7)
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order], atol=1e-5, rtol=1e-5)
    coded = SinusoidalPositions()
    assert not torch.allclose(block(coded(x[:, order])), block(coded(x))[:, order], atol=1e-2)


def test_block_gives_weights_on_request():
    block = TransformerBlock(embed_dim=12, num_heads=3).eval()
    x = torch.randn(2, 7, 12)
    out, weights = block(x, return_weights=True)
    assert weights.shape == (2, 3, 7, 7)
    torch.testing.assert_close(out, block(x), atol=1e-5, rtol=1e-5)


def test_every_parameter_of_the_block_gets_a_gradient_under_bfloat16(device):
    block = TransformerBlock(embed_dim=12, num_heads=3).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        out = block(torch.randn(2, 5, 12, device=device))
    out.float().pow(3).sum().backward()
    for name, parameter in block.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert name == "attention.to_key.bias" or (parameter.grad != 0).any(), name


def test_block_refuses_names_it_does_not_know():
    with pytest.raises(ValueError, match="'post' or 'pre'"):
        TransformerBlock(embed_dim=12, num_heads=3, norm="middle")
    with pytest.raises(ValueError, match="relu, gelu"):
        TransformerBlock(embed_dim=12, num_heads=3, activation="selu")


# ---- the crossmodal transformer, Eqs. 6 to 11 ------------------------------------------------


def crossmodal(**changes):
    arguments = {"target_dim": 10, "source_dim": 6, "embed_dim": 12, "num_heads": 3}
    return CrossModalTransformer(**(arguments | changes)).eval()


def test_crossmodal_transformer_is_equations_6_to_11():
    model = crossmodal(num_heads=1)
    (layer,) = model.layers
    target, source = torch.randn(2, 5, 10), torch.randn(2, 7, 6)
    attention = layer.attention
    q, k, v = attention.to_query(target), attention.to_key(source), attention.to_value(source)
    y = attention.to_output(torch.softmax(q @ k.mT / math.sqrt(12), -1) @ v)  # 6
    x = layer.norm1(y + q)  # 7
    f = F.linear(x, layer.ffn[0].weight, layer.ffn[0].bias)  # 8
    assert f.shape[-1] == 24
    fx = F.linear(F.relu(f), layer.ffn[2].weight, layer.ffn[2].bias)  # 9, 10
    torch.testing.assert_close(model(target, source), layer.norm2(fx + x), atol=1e-5, rtol=1e-5)


def test_residual_from_the_input_adds_the_target_itself():
    model = crossmodal(target_dim=12, residual="input")
    (layer,) = model.layers
    target, source = torch.randn(2, 5, 12), torch.randn(2, 7, 6)
    x = layer.norm1(layer.attention(target, source) + target)
    torch.testing.assert_close(model(target, source), layer.norm2(layer.ffn(x) + x))


def test_output_has_the_targets_length_and_the_inner_width():
    out, weights = crossmodal(layers=2)(
        torch.randn(2, 5, 10), torch.randn(2, 7, 6), return_weights=True
    )
    assert out.shape == (2, 5, 12) and weights.shape == (2, 3, 5, 7)
    assert crossmodal(embed_dim=None, num_heads=5)(
        torch.randn(2, 5, 10), torch.randn(2, 7, 6)
    ).shape == (2, 5, 10)


def test_every_layer_asks_the_same_source_again():
    model = crossmodal(layers=3)
    target, source = torch.randn(2, 5, 10), torch.randn(2, 7, 6)
    x = target
    for layer in model.layers:
        x, _ = layer(x, source, None, False)
    torch.testing.assert_close(model(target, source), x)
    for layer in model.layers:
        assert layer.attention.to_key.in_features == 6


def test_each_target_step_is_answered_by_itself():
    model = crossmodal(layers=2)
    target, source = torch.randn(2, 5, 10), torch.randn(2, 7, 6)
    before = model(target, source)
    moved = target.clone()
    moved[0, 3] += 1
    after = model(moved, source)
    changed = (after - before).abs().amax(-1) > 1e-6
    assert changed.nonzero().tolist() == [[0, 3]]


def test_padding_of_the_source_is_never_seen(device):
    model = crossmodal(layers=2).to(device)
    target = torch.randn(3, 5, 10, device=device)
    source = torch.randn(3, 7, 6, device=device, requires_grad=True)
    mask = padding([7, 3, 0], 7).to(device)
    out = model(target, source, padding_mask=mask)
    junk = source.masked_fill(~mask[..., None], 99.0)
    torch.testing.assert_close(model(target, junk, padding_mask=mask), out, atol=1e-5, rtol=0)
    torch.testing.assert_close(model(target[1:2], source[1:2, :3])[0], out[1], atol=1e-5, rtol=0)
    out.square().sum().backward()
    assert torch.isfinite(source.grad).all() and (source.grad[~mask] == 0).all()


def test_order_of_the_source_matters_only_with_positions():
    target, source, order = torch.randn(2, 5, 10), torch.randn(2, 7, 6), torch.randperm(7).roll(1)
    plain, coded = crossmodal(), crossmodal(positions="sinusoidal")
    torch.testing.assert_close(plain(target, source[:, order]), plain(target, source))
    assert not torch.allclose(coded(target, source[:, order]), coded(target, source), atol=1e-3)


def test_one_source_step_makes_attention_a_linear_map_of_it():
    model = crossmodal(target_dim=12, residual="input")
    (layer,) = model.layers
    target, source = torch.randn(2, 5, 12), torch.randn(2, 1, 6)
    out, weights = model(target, source, return_weights=True)
    assert (weights == 1).all()
    out.pow(3).sum().backward()
    assert layer.attention.to_key.weight.grad.abs().max() == 0
    assert layer.attention.to_query.weight.grad.abs().max() == 0
    assert layer.attention.to_value.weight.grad.abs().max() > 0


def test_every_parameter_of_the_crossmodal_transformer_gets_a_gradient(device):
    model = crossmodal(layers=2, positions="sinusoidal").to(device).train()
    with torch.autocast(device.type, torch.bfloat16):
        out = model(torch.randn(2, 5, 10, device=device), torch.randn(2, 7, 6, device=device))
    out.float().pow(3).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert name.endswith("to_key.bias") or (parameter.grad != 0).any(), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"residual": "input"}, r"10 features.*12 features"),
        ({"residual": "output"}, "'query' or 'input'"),
        ({"positions": "learned"}, "'sinusoidal' or None"),
        ({"num_heads": 5}, "num_heads=5"),
        ({"layers": 0}, "at least one"),
    ],
)
def test_crossmodal_transformer_refuses_impossible_arguments(changes, words):
    with pytest.raises(ValueError, match=words):
        crossmodal(**changes)
