"""Attention over channels and places of a map: by hand, and as the public code has it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.layers import ChannelAttention, Modulator, SpatialAttention


def constant(module, value):
    """Set every weight of a module to a value, every offset to none."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(value if parameter.dim() > 1 or name.endswith("weight") else 0.0)
    return module.eval()


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


def test_spatial_attention_by_hand_normalises_and_rectifies_between_its_convolutions():
    layer = SpatialAttention(6, reduction=3, dilation=2).eval()
    parts, x = list(layer.gate_s), torch.randn(2, 6, 9, 11)
    with torch.no_grad():
        for norm in parts[1::3]:  # statistics of zero and one would hide a norm that is left out
            for value in (norm.running_mean, norm.weight, norm.bias):
                value.uniform_(-2.0, 2.0)
            norm.running_var.uniform_(0.5, 2.0)
    out = x
    for place, reach in ((0, 0), (3, 2), (6, 2)):
        convolution, norm = parts[place], parts[place + 1]
        out = F.conv2d(out, convolution.weight, convolution.bias, 1, reach, max(1, reach))
        mean, spread = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        out = (out - mean[:, None, None]) / spread[:, None, None]
        out = (out * norm.weight[:, None, None] + norm.bias[:, None, None]).relu()
    torch.testing.assert_close(layer(x), F.conv2d(out, parts[9].weight, parts[9].bias))


@pytest.mark.parametrize(("reduction", "narrow"), [(4, 8), (16, 2), (64, 1)])
def test_both_attentions_of_a_modulator_are_as_narrow_as_is_asked(reduction, narrow):
    layer = Modulator(32, reduction=reduction)
    assert layer.channel_att.gate_c.gate_c_fc_0.out_features == narrow
    assert layer.spatial_att.gate_s.gate_s_conv_reduce0.out_channels == narrow
