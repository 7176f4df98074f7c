"""Parts for frames: by hand, against torch's own, at any size that can work."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.layers import (
    ChannelAttention,
    ConvBlock,
    InvertedResidual,
    LocalFeatureExtractor,
    Modulator,
    SpatialAttention,
    channel_shuffle,
    lean,
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
    with pytest.raises(ValueError, match="7 channels cannot be dealt out in 2 equal groups"):
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


# --- attention


def test_channel_attention_averages_the_whole_map_by_hand():
    """One channel, weights of 2: mean 2.5, times 2, normalised by 1, rectified, times 2."""
    layer = constant(ChannelAttention(1, reduction=1), 2.0)
    layer.gate_c.gate_c_bn_1.weight.data.fill_(1.0)
    layer.gate_c.gate_c_bn_1.eps = 0.0
    out = layer(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2))
    assert out.shape == (1, 1, 1, 1) and out.item() == pytest.approx(10.0)
    assert layer(-torch.ones(1, 1, 2, 2)).item() == 0.0


def test_channel_attention_of_a_square_map_is_that_of_a_window_as_high_as_the_map():
    """The public code pools with a square window of the map's height."""
    layer = ChannelAttention(32).eval()
    x = torch.randn(3, 32, 7, 7)
    pooled = F.avg_pool2d(x, x.shape[2], stride=x.shape[2])
    torch.testing.assert_close(layer(x)[:, :, 0, 0], layer.gate_c(pooled))


def test_channel_attention_sees_the_right_edge_of_a_wide_map():
    layer = constant(ChannelAttention(32), 0.1)
    x = torch.zeros(2, 32, 3, 11)
    x[1, :, :, -1] = 5.0
    assert (layer(x)[1] > layer(x)[0]).all()


@pytest.mark.parametrize("parts", [ChannelAttention, Modulator])
def test_one_map_in_training_gets_a_sentence(parts):
    layer = parts(32)
    with pytest.raises(ValueError, match=r"1 map.*in training mode.*two or more.*\.eval\(\)"):
        layer(torch.randn(1, 32, 5, 7))
    assert torch.isfinite(layer.eval()(torch.randn(1, 32, 5, 7))).all()


def test_spatial_attention_looks_four_places_away_and_no_nearer_tap_between():
    """One lit place reaches those 0, 4 and 8 away through two convolutions of dilation 4."""
    layer = constant(SpatialAttention(3, reduction=3), 1.0)
    x = torch.zeros(1, 3, 19, 21)
    x[:, :, 9, 10] = 1.0
    rows, columns = layer(x)[0, 0].nonzero(as_tuple=True)
    assert sorted(set(rows.tolist())) == [1, 5, 9, 13, 17]
    assert sorted(set(columns.tolist())) == [2, 6, 10, 14, 18]


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_spatial_attention_gives_one_score_a_place_at_any_size(device, dilation):
    layer = SpatialAttention(32, dilation=dilation).to(device)
    assert layer(torch.randn(2, 32, 3, 11, device=device)).shape == (2, 1, 3, 11)
    assert layer.gate_s.gate_s_conv_reduce0.weight.shape == (2, 32, 1, 1)


def test_gate_is_the_sigmoid_of_the_product_by_hand():
    class Score(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return self.value

    x = torch.tensor([[1.0, -2.0]]).reshape(1, 1, 1, 2)
    scores = torch.tensor(3.0).reshape(1, 1, 1, 1), torch.tensor([[0.5, -1.0]]).reshape(1, 1, 1, 2)
    for combine, raw in (("product", [1.5, -3.0]), ("bam", [3.5, 2.0])):
        layer = Modulator(1, combine=combine)
        layer.channel_att, layer.spatial_att = map(Score, scores)
        out, gate = layer(x, return_gate=True)
        expected = torch.tensor(raw).sigmoid()
        torch.testing.assert_close(gate.flatten(), expected)
        passed = expected if combine == "product" else 1 + expected
        torch.testing.assert_close(out.flatten(), passed * x.flatten())
        torch.testing.assert_close(layer(x), out)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("combine", ["product", "bam"])
def test_modulator_joins_the_raw_scores_and_keeps_the_layout(device, combine, layout):
    layer = Modulator(32, combine=combine).to(device).eval()
    x = torch.randn(2, 32, 5, 7, device=device).contiguous(memory_format=layout)
    channel, place = layer.channel_att(x), layer.spatial_att(x)
    out = layer(x)
    if combine == "product":
        expected = torch.sigmoid(channel * place) * x
    else:
        expected = x * (1 + torch.sigmoid(channel + place))
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=layout)


def test_unknown_combination_is_named():
    with pytest.raises(ValueError, match="'product' or 'bam'"):
        Modulator(32, combine="sum")


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


# --- the memory-saving run of layers


def rows():
    yield ConvBlock(in_channels=3, out_channels=5)
    yield ConvBlock(in_channels=3, out_channels=5, kernel_size=1, stride=1, pool_size=1)
    yield InvertedResidual(in_channels=3, out_channels=10, stride=2).branch1
    yield SpatialAttention(3, reduction=1).gate_s
    yield nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU())
    reflected = nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")
    yield nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), reflected)
    yield nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU())
    yield nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d((3, 2), stride=(1, 2)))
    yield nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, dilation=2, groups=3))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layers", list(rows()), ids=lambda row: str(len(row)))
def test_saving_memory_changes_no_output_gradient_or_statistic(layers, layout):
    torch.manual_seed(0)
    ours, peer = copy.deepcopy(layers).double(), copy.deepcopy(layers).double()
    ours.zero_grad(), peer.zero_grad()
    x = torch.randn(2, 3, 9, 11).double().contiguous(memory_format=layout).requires_grad_()
    y = x.detach().clone().requires_grad_()
    for _ in range(2):
        out, expected = lean.run(ours, x), nn.Sequential.forward(peer, y)
        torch.testing.assert_close(out, expected)
        (out.sin() * out).sum().backward(), (expected.sin() * expected).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)
    for (name, mine), theirs in zip(ours.named_parameters(), peer.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, msg=name)
    for (name, mine), theirs in zip(ours.named_buffers(), peer.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_frozen_layers_stay_without_a_gradient():
    layers = ConvBlock(in_channels=3, out_channels=5, pool_size=1)
    row = nn.Sequential(*layers, nn.Conv2d(5, 2, 1))
    row[3].requires_grad_(False)
    lean.run(row, torch.randn(2, 3, 8, 8)).sum().backward()
    assert row[3].weight.grad is None and row[0].weight.grad is not None


def test_what_is_kept_for_the_backward_pass_is_about_half():
    layers = InvertedResidual(in_channels=8, out_channels=16, stride=2).branch2
    x = torch.randn(4, 8, 16, 16)

    def kept(function):
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
            return tensor

        held = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = function(x)
        assert out.requires_grad
        return sum(sizes.values())

    assert kept(lambda x: lean.run(layers, x)) < 0.7 * kept(lambda x: nn.Sequential(*layers)(x))
