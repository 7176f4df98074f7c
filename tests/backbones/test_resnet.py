"""ResNet-18 with three channels and with one, and the GRU over what it says of clips."""

import random

import pytest
import torch
import torch.nn.functional as F
from golden import Golden, table_of

from mmlib.backbones import ResNet18, TemporalGRU, resnet18
from mmlib.backbones.loading import PretrainedError
from mmlib.backbones.resnet import Block, average_channels

NAMES = {"resnet18": 3, "resnet18_1ch": 1}


@pytest.fixture(scope="module", params=NAMES)
def golden(request, shared_facts) -> Golden:
    return Golden(shared_facts, request.param)


@pytest.fixture(scope="module")
def colour():
    torch.manual_seed(0)
    return resnet18().eval()


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_names_shapes_and_types_are_the_public_ones(golden):
    model = resnet18(in_channels=NAMES[golden.name])
    assert table_of(model) == golden.table()
    assert count(model) == golden.facts["parameter_count"]


def test_parameters_number_as_many_as_the_public_ones(colour):
    assert count(colour) == 11_689_512
    assert count(resnet18(in_channels=1)) == 11_683_240
    assert len(colour.state_dict()) == 122


def test_numbers_are_the_public_ones(golden):
    model, kept = resnet18(in_channels=NAMES[golden.name]).eval(), {}
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(name, out.clone())
        )
    for case in golden.cases(model):
        model.load_state_dict(case.weights, strict=True)
        with torch.no_grad():
            kept["logits"] = model(case.inputs["x"])
        kept["feature_map"] = kept["layer4"]
        kept["features"] = kept["layer4"].mean((2, 3))
        case.compare(kept)


def lively(module):
    """Draw the statistics and factors of batch norms, so that none can be left out unseen."""
    torch.manual_seed(2)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(), part.running_var.uniform_(0.5, 2.0)
            part.weight.data.uniform_(0.5, 2.0), part.bias.data.normal_()
    return module.eval()


@pytest.mark.parametrize(("stride", "out"), [(2, 7), (1, 5)])
def test_a_block_by_hand_rectifies_inside_and_behind_the_sum(stride, out):
    block, x = lively(Block(in_channels=5, out_channels=out, stride=stride)), noise(2, 5, 9, 11)
    inside = block.bn1(F.conv2d(x, block.conv1.weight, None, stride, 1)).relu()
    around = x
    if stride == 2:
        around = block.downsample[1](F.conv2d(x, block.downsample[0].weight, None, 2))
    expected = (block.bn2(F.conv2d(inside, block.conv2.weight, None, 1, 1)) + around).relu()
    assert torch.allclose(block(x), expected, atol=1e-5)
    assert (block.downsample is None) == (stride == 1)


def test_the_stem_convolves_normalises_rectifies_and_pools():
    model, x, kept = lively(resnet18(in_channels=1)), noise(1, 1, 37, 22), []
    model.layer1.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    model.feature_map(x)
    expected = model.bn1(F.conv2d(x, model.conv1.weight, None, 2, 3)).relu()
    assert torch.allclose(kept[0], F.max_pool2d(expected, 3, 2, 1), atol=1e-5)


def test_old_files_without_batch_counters_load_strictly_in_any_order(colour):
    weights = {n: v for n, v in colour.state_dict().items() if "num_batches_tracked" not in n}
    names = list(weights)
    random.Random(0).shuffle(names)
    colour.load_state_dict({name: weights[name] for name in names}, strict=True)


def test_a_file_for_three_channels_does_not_fit_one_until_it_is_averaged(colour, tmp_path):
    mono = resnet18(in_channels=1).eval()
    with pytest.raises(RuntimeError, match=r"conv1\.weight"):
        mono.load_state_dict(colour.state_dict(), strict=True)
    mono.load_state_dict(average_channels(colour.state_dict()), strict=True)
    torch.save(colour.state_dict(), tmp_path / "weights.pth")
    loaded = resnet18(in_channels=1).eval().load_public(tmp_path / "weights.pth")
    for one, other in zip(mono.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)


def test_averaged_weights_say_of_x_what_all_three_say_of_thirds_of_it(colour):
    mono = resnet18(in_channels=1).eval()
    mono.load_state_dict(average_channels(colour.state_dict()))
    x = noise(2, 1, 64, 107)
    with torch.no_grad():
        assert torch.allclose(mono(x), colour(x.expand(-1, 3, -1, -1) / 3), atol=1e-4)


def test_averaging_leaves_the_given_weights_alone(colour):
    before = colour.conv1.weight.clone()
    averaged = average_channels(colour.state_dict())
    assert averaged["conv1.weight"].shape == (64, 1, 7, 7)
    assert torch.allclose(averaged["conv1.weight"][:, 0], before.sum(1) / 3, atol=1e-6)
    assert torch.equal(colour.conv1.weight, before)


@pytest.mark.parametrize(("height", "width", "mapped"), [(64, 107, (2, 4)), (33, 50, (2, 2))])
def test_called_features_and_map_belong_together(colour, device, height, width, mapped):
    model = colour.to(device)
    x = noise(2, 3, height, width).to(device)
    with torch.no_grad():
        features, places, logits = model.features(x), model.feature_map(x), model(x)
    assert tuple(places.shape) == (2, 512, *mapped)
    assert torch.allclose(features, places.mean((2, 3)), atol=1e-5)
    assert torch.allclose(logits, model.fc(features), atol=1e-5)
    model.to("cpu")


def test_a_recordings_spectrograms_go_through_at_once():
    model = resnet18(in_channels=1).eval()
    x = noise(2, 3, 1, 40, 50)
    with torch.no_grad():
        together = model.features(x)
        assert together.shape == (2, 3, 512)
        assert torch.allclose(together[1], model.features(x[1]), atol=1e-5)


def test_the_jmt_files_last_layer_is_left_out_on_demand(colour, tmp_path):
    weights = {n: v for n, v in colour.state_dict().items() if not n.startswith("fc.")}
    weights |= {"fc.1.weight": torch.zeros(17, 512), "fc.1.bias": torch.zeros(17)}
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(PretrainedError, match="head=False"):
        resnet18(in_channels=1).load_public(tmp_path / "weights.pth")
    mono = resnet18(in_channels=1).load_public(tmp_path / "weights.pth", head=False)
    assert torch.equal(mono.layer4[1].conv2.weight, colour.layer4[1].conv2.weight)


def test_normalised_pictures_have_zero_mean_where_the_public_ones_have():
    grey = torch.tensor((0.485, 0.456, 0.406))[:, None, None].expand(3, 5, 7)
    assert torch.allclose(ResNet18.normalise(grey), torch.zeros(3, 5, 7))


def test_pictures_of_another_shape_are_refused(colour):
    with pytest.raises(ValueError, match=r"expected \(batch, 3, height, width\)"):
        colour(torch.zeros(2, 1, 40, 40))
    with pytest.raises(ValueError, match="divide by 255"):
        colour(torch.zeros(2, 3, 40, 40, dtype=torch.uint8))


def test_a_gru_looks_back_and_never_ahead():
    torch.manual_seed(0)
    gru = TemporalGRU(in_dim=5, hidden_dim=7)
    x = noise(3, 6, 5)
    changed = x.clone()
    changed[:, 4] += 1.0
    before, after = gru(x), gru(changed)
    assert before.shape == (3, 6, 7)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 5], after[:, 5], atol=1e-4)


def test_a_grus_state_passes_by_what_is_not_real():
    torch.manual_seed(0)
    gru = TemporalGRU(in_dim=5, hidden_dim=7)
    x = noise(2, 6, 5)
    mask = torch.tensor([[False, True, True, False, True, False], [True] * 6])
    states = gru(x.masked_fill(~mask[..., None], 50.0), mask)
    alone = gru(x[:1, mask[0]])
    assert torch.allclose(states[0, mask[0]], alone[0], atol=1e-6)
    assert torch.equal(states[0, ~mask[0]], torch.zeros(3, 7))
    assert torch.allclose(states[1:], gru(x[1:]), atol=1e-6)
    with pytest.raises(ValueError, match="expected torch.bool of"):
        gru(x, mask[:, :5])
