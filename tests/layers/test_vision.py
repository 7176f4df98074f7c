"""Parts for frames: by hand, against torch's own, at any size that can work."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.layers import (
    ChannelAttention,
    ConvBlock,
    InvertedResidual,
    LocalFeatureExtractor,
    SpatialAttention,
    channel_shuffle,
)


def constant(module, value):
    """Set every weight of a module to a value, every offset to none."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(value if parameter.dim() > 1 or name.endswith("weight") else 0.0)
    return module.eval()


# --- shuffle and unit


def test_shuffle_deals_the_channels_out_by_hand():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(x, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert channel_shuffle(x, 3).flatten().tolist() == [0, 2, 4, 1, 3, 5]
    assert channel_shuffle(x, 1).flatten().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shuffle_is_a_reshape_in_any_layout_and_undone_by_the_other_count(device, layout):
    x = torch.randn(2, 15, 5, 7, device=device).contiguous(memory_format=layout)
    out = channel_shuffle(x, 3)
    torch.testing.assert_close(out, x.reshape(2, 3, 5, 5, 7).transpose(1, 2).reshape(x.shape))
    torch.testing.assert_close(channel_shuffle(out, 5), x)


def test_shuffle_that_does_not_divide_is_named():
    with pytest.raises(
        ValueError, match="7 channels cannot be dealt out in 2 equal groups; take .* divides 7"
    ):
        channel_shuffle(torch.zeros(1, 7, 2, 2), 2)


def test_unit_of_stride_one_keeps_the_first_half_and_works_on_the_second():
    unit = InvertedResidual(in_channels=6, out_channels=6, stride=1).eval()
    x = torch.randn(2, 6, 5, 7)
    out = unit(x)
    torch.testing.assert_close(out[:, 0::2], x[:, :3])
    torch.testing.assert_close(out[:, 1::2], unit.branch2(x[:, 3:]))
    assert not list(unit.branch1)


@pytest.mark.parametrize(("size", "half"), [((7, 10), (4, 5)), ((2, 1), (1, 1))])
def test_unit_of_stride_two_sends_all_channels_both_ways(size, half):
    unit = InvertedResidual(in_channels=5, out_channels=14, stride=2).eval()
    x = torch.randn(3, 5, *size)
    out = unit(x)
    assert out.shape == (3, 14, *half)
    torch.testing.assert_close(out[:, 0::2], unit.branch1(x))
    torch.testing.assert_close(out[:, 1::2], unit.branch2(x))


def test_units_branches_by_hand_rectify_behind_the_1x1_convolutions_only():
    unit = InvertedResidual(in_channels=5, out_channels=14, stride=2).eval()

    def bring(branch, at, x, stride=1, rectified=True):
        weight, norm = branch[at].weight, branch[at + 1]
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = norm(F.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups))
        return x.relu() if rectified else x

    x = torch.randn(3, 5, 7, 10)
    one = bring(unit.branch1, 0, x, 2, rectified=False)
    torch.testing.assert_close(unit(x)[:, 0::2], bring(unit.branch1, 2, one))
    two = bring(unit.branch2, 3, bring(unit.branch2, 0, x), 2, rectified=False)
    torch.testing.assert_close(unit(x)[:, 1::2], bring(unit.branch2, 5, two))


def test_depthwise_filters_of_a_unit_are_one_a_channel():
    unit = InvertedResidual(in_channels=5, out_channels=14, stride=2)
    assert unit.branch1[0].weight.shape == (5, 1, 3, 3)
    assert unit.branch2[3].weight.shape == (7, 1, 3, 3)
    # branch 1: 5 x 9 + 5 x 7; branch 2: 5 x 7 + 7 x 9 + 7 x 7; and norms of 5, 7 and 7, 7, 7.
    assert sum(p.numel() for p in unit.parameters()) == 45 + 35 + 35 + 63 + 49 + 2 * 33


@pytest.mark.parametrize(
    ("channels", "stride", "words"),
    [((6, 6), 3, "stride=3"), ((6, 7), 2, "even"), ((6, 8), 1, "as many as")],
)
def test_units_that_cannot_be_are_named(channels, stride, words):
    with pytest.raises(ValueError, match=words):
        InvertedResidual(in_channels=channels[0], out_channels=channels[1], stride=stride)


# --- local features


def test_quarters_go_to_their_own_filters_and_back_to_their_places():
    """Filter k multiplies by k: upper left 1, lower left 2, upper right 3, lower right 4."""
    layer = LocalFeatureExtractor(in_channels=1, out_channels=1).eval()
    with torch.no_grad():
        for k in (1, 2, 3, 4):
            for step in (1, 2):
                weight = layer.get_submodule(f"conv{k}_{step}").weight
                weight.zero_()[..., 1, 1] = k if step == 1 else 1.0
                layer.get_submodule(f"bn{k}_{step}").eps = 0.0
    out = layer(torch.ones(1, 1, 8, 8))[0, 0]
    assert out.tolist() == [[1, 1, 3, 3], [1, 1, 3, 3], [2, 2, 4, 4], [2, 2, 4, 4]]


@pytest.mark.parametrize("step", [1, 2])
def test_both_filters_of_a_quarter_are_its_own_and_both_are_rectified(step):
    layer = LocalFeatureExtractor(in_channels=1, out_channels=1).eval()
    with torch.no_grad():
        for k, value in zip((1, 2, 3, 4), (2.0, -3.0, 5.0, 7.0), strict=True):
            for other in (1, 2):
                weight = layer.get_submodule(f"conv{k}_{other}").weight
                weight.zero_()[..., 1, 1] = value if other == step else 1.0
                layer.get_submodule(f"bn{k}_{other}").eps = 0.0
    out = layer(torch.ones(1, 1, 8, 8))[0, 0]
    assert out.tolist() == [[2, 2, 5, 5], [2, 2, 5, 5], [0, 0, 7, 7], [0, 0, 7, 7]]


def test_where_half_a_map_is_odd_the_cut_is_at_the_next_even_place():
    layer = LocalFeatureExtractor(in_channels=3, out_channels=6).eval()
    x = torch.randn(2, 3, 10, 14)  # cut at 6 and at 8
    other = x.clone()
    other[:, :, 6:] += 1.0
    other[:, :, :, 8:] += 1.0
    assert torch.equal(layer(x)[:, :, :3, :4], layer(other)[:, :, :3, :4])
    other = x.clone()
    other[:, :, 5, 7] += 1.0  # the last place of the upper left quarter
    assert not torch.equal(layer(x)[:, :, :3, :4], layer(other)[:, :, :3, :4])
    assert torch.equal(layer(x)[:, :, 3:], layer(other)[:, :, 3:])


def test_quarter_does_not_see_its_neighbours():
    layer = LocalFeatureExtractor(in_channels=3, out_channels=6).eval()
    x = torch.randn(2, 3, 8, 12)
    other = x.clone()
    other[:, :, 4:] += 1.0
    other[:, :, :, 6:] += 1.0
    assert torch.equal(layer(x)[:, :, :2, :3], layer(other)[:, :, :2, :3])
    assert not torch.equal(layer(x)[:, :, 2:, :3], layer(other)[:, :, 2:, :3])


def test_each_channel_is_filtered_by_itself():
    layer = LocalFeatureExtractor(in_channels=3, out_channels=12).eval()
    x = torch.randn(1, 3, 8, 8)
    other = x.clone()
    other[:, 1] += 1.0
    changed = (layer(x) != layer(other)).flatten(2).any(2)[0]
    assert changed.nonzero().flatten().tolist() == [4, 5, 6, 7]
    assert sum(p.numel() for p in layer.parameters()) == 4 * (12 * 9 + 12 * 9 + 4 * 12)


@pytest.mark.parametrize("size", [(4, 6), (6, 4), (8, 10), (50, 14), (56, 56)])
def test_any_even_map_is_halved(device, size):
    layer = LocalFeatureExtractor(in_channels=3, out_channels=6).to(device)
    out = layer(torch.randn(2, 3, *size, device=device))
    assert out.shape == (2, 6, size[0] // 2, size[1] // 2)


@pytest.mark.parametrize("size", [(7, 8), (8, 7), (2, 8), (57, 57)])
def test_map_that_cannot_be_quartered_is_named(size):
    layer = LocalFeatureExtractor(in_channels=3, out_channels=6)
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]}.*must be even, 4 or more"):
        layer(torch.randn(2, 3, *size))


@pytest.mark.parametrize(
    "layer",
    [
        ChannelAttention(6),
        SpatialAttention(6),
        LocalFeatureExtractor(in_channels=6, out_channels=12),
        InvertedResidual(in_channels=6, out_channels=6, stride=1),
        InvertedResidual(in_channels=6, out_channels=8, stride=2),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (6, 8, 8), (2, 8, 8, 6)])
def test_what_is_no_map_of_the_right_channels_is_named(layer, shape):
    said = rf"shape \({', '.join(map(str, shape))}\); expected maps \(N, 6, height, width\)"
    with pytest.raises(ValueError, match=said):
        layer(torch.randn(*shape))


@pytest.mark.parametrize("part", [ChannelAttention, SpatialAttention])
def test_reduction_below_one_is_named(part):
    with pytest.raises(ValueError, match="reduction=0: expected 1"):
        part(6, reduction=0)


def test_channels_that_do_not_divide_are_named():
    with pytest.raises(ValueError, match="out_channels=7 is no multiple of in_channels=3"):
        LocalFeatureExtractor(in_channels=3, out_channels=7)


# --- convolution block


def test_block_is_torchs_own_layers_in_order():
    block = ConvBlock(in_channels=3, out_channels=5).eval()
    x = torch.randn(2, 3, 22, 15)
    out = F.conv2d(x, block[0].weight, stride=2, padding=1)
    out = F.max_pool2d(block[1](out).relu(), 3, 2, padding=1)
    torch.testing.assert_close(block(x), out)
    assert out.shape == (2, 5, 6, 4)


def test_block_word_for_word_is_a_convolution_and_a_pooling():
    block = ConvBlock(in_channels=3, out_channels=5, norm=None, activation=None)
    assert [type(layer) for layer in block] == [nn.Conv2d, nn.MaxPool2d]
    assert block[0].bias is not None
    assert (constant(block, 1.0)(-torch.ones(1, 3, 9, 8)) < 0).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kernel_size": 4}, "kernel_size=4.*odd"),
        ({"pool_size": 2}, "pool_size=2.*odd"),
        ({"norm": "layer"}, "'batch' or None"),
        ({"activation": "gelu"}, "'relu' or None"),
    ],
)
def test_blocks_that_cannot_be_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ConvBlock(in_channels=3, out_channels=5, **arguments)
