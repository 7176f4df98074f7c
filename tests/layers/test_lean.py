"""Running layers with little memory changes no number."""

import copy

import pytest
import torch
from torch import nn

from mmlib.layers import ConvBlock, InvertedResidual, SpatialAttention, lean


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
    yield nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d(2, ceil_mode=True))
    for settings in ({"momentum": 0.3}, {"momentum": None}, {"affine": False}, {"eps": 0.5}):
        yield nn.Sequential(nn.BatchNorm2d(3, **settings), nn.ReLU(), nn.Conv2d(3, 4, 3))
    yield nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 3))


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


def test_autocast_is_left_to_torch():
    torch.manual_seed(0)
    ours = InvertedResidual(in_channels=3, out_channels=10, stride=2).branch2
    peer, x = copy.deepcopy(ours), torch.randn(2, 3, 9, 11)
    with torch.autocast("cpu", torch.bfloat16):
        out, expected = lean.run(ours, x), nn.Sequential.forward(peer, x)
    assert out.dtype == expected.dtype == torch.bfloat16
    assert torch.equal(out, expected)
    out.float().sin().sum().backward(), expected.float().sin().sum().backward()
    for mine, theirs in zip(ours.parameters(), peer.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_a_single_value_a_channel_is_refused_in_torchs_own_words():
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        lean.run(layers, torch.randn(1, 3, 1, 1))


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
