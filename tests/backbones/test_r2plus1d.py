"""R(2+1)D-18: the public checkpoint's names, strict loading, and the public numbers."""

import random

import pytest
import torch
import torch.nn.functional as F
from golden import Golden, table_of

from mmlib.backbones import R2Plus1D, r2plus1d_18
from mmlib.backbones.loading import PretrainedError
from mmlib.backbones.r2plus1d import MEAN, STD, Block, FactorisedConv, inner_width


@pytest.fixture(scope="module")
def golden(shared_facts) -> Golden:
    return Golden(shared_facts, "r2plus1d_18")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return r2plus1d_18().eval()


def count(module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def clip(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_names_shapes_and_types_are_the_public_ones(golden, model):
    assert table_of(model) == golden.table()
    assert count(model) == golden.facts["parameter_count"]


def test_parameters_number_as_many_as_the_public_ones(model):
    assert count(model) == 31_505_325
    assert len(model.state_dict()) == 224


def test_numbers_are_the_public_ones(golden, model):
    kept = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(name, out)
        )
        for name in ("stem", "layer1", "layer2", "layer3", "layer4")
    ]
    for case in golden.cases(model):
        model.load_state_dict(case.weights, strict=True)
        video = case.inputs["x"].transpose(1, 2)  # ours has time before channels
        with torch.no_grad():
            kept["logits"] = model(video)
        kept["feature_map"] = kept["layer4"]
        kept["features"] = kept["layer4"].mean((2, 3, 4))
        case.compare(kept)
    for hook in hooks:
        hook.remove()


def factorised(conv, x, stride):
    x = F.conv3d(x, conv[0].weight, None, (1, stride, stride), (0, 1, 1))
    return F.conv3d(conv[1](x).relu(), conv[3].weight, None, (stride, 1, 1), (1, 0, 0))


@pytest.mark.parametrize(("stride", "out"), [(2, 7), (1, 5)])
def test_a_block_by_hand_filters_places_then_time_and_rectifies_behind_the_sum(stride, out):
    torch.manual_seed(2)
    block = Block(in_channels=5, out_channels=out, stride=stride).eval()
    for part in block.modules():  # statistics of zero and one would hide a norm that is left out
        if isinstance(part, torch.nn.BatchNorm3d):
            part.running_mean.normal_(), part.running_var.uniform_(0.5, 2.0)
            part.weight.data.uniform_(0.5, 2.0), part.bias.data.normal_()
    x = clip(2, 5, 4, 9, 11)  # channels before time, as inside
    inside = block.conv1[1](factorised(block.conv1[0], x, stride)).relu()
    around = x
    if stride == 2:
        around = block.downsample[1](F.conv3d(x, block.downsample[0].weight, None, 2))
    expected = (block.conv2[1](factorised(block.conv2[0], inside, 1)) + around).relu()
    assert torch.allclose(block(x), expected, atol=1e-5)
    assert (block.downsample is None) == (stride == 1)


def test_the_stem_filters_places_at_half_the_size_then_time(model):
    x, stem = clip(1, 3, 5, 22, 15), model.stem
    out = stem[1](F.conv3d(x, stem[0].weight, None, (1, 2, 2), (0, 3, 3))).relu()
    out = stem[4](F.conv3d(out, stem[3].weight, None, 1, (1, 0, 0))).relu()
    assert torch.allclose(stem(x), out, atol=1e-4)


def test_old_files_without_batch_counters_load_strictly_in_any_order(model):
    weights = {n: v for n, v in model.state_dict().items() if "num_batches_tracked" not in n}
    assert len(weights) < len(model.state_dict())
    names = list(weights)
    random.Random(0).shuffle(names)
    model.load_state_dict({name: weights[name] for name in names}, strict=True)


def test_inner_width_is_that_of_the_block_in_both_of_its_convolutions(model):
    widths = []
    for number in (1, 2, 3, 4):
        for block in model.get_submodule(f"layer{number}"):
            first, second = block.conv1[0][0], block.conv2[0][0]
            assert first.out_channels == second.out_channels
            widths.append(first.out_channels)
    assert widths == [144, 144, 230, 288, 460, 576, 921, 1152]


@pytest.mark.parametrize(("inside", "outside"), [(64, 64), (64, 128), (13, 29)])
def test_a_factorised_convolution_costs_no_more_than_the_one_it_replaces(inside, outside):
    inner = inner_width(inside, outside)
    conv = FactorisedConv(in_channels=inside, out_channels=outside, inner_channels=inner)
    spent = conv[0].weight.numel() + conv[3].weight.numel()
    whole = 27 * inside * outside
    assert whole - (9 * inside + 3 * outside) < spent <= whole


@pytest.mark.parametrize(
    ("shape", "mapped"), [((2, 3, 3, 21, 37), (1, 2, 3)), ((1, 9, 3, 16, 16), (2, 1, 1))]
)
def test_called_features_and_map_belong_together(model, device, shape, mapped):
    model = model.to(device)
    video = clip(*shape).to(device)
    with torch.no_grad():
        features, places = model.features(video), model.feature_map(video)
        logits = model(video)
    assert tuple(places.shape) == (shape[0], 512, *mapped)
    assert torch.allclose(features, places.mean((2, 3, 4)), atol=1e-5)
    assert torch.allclose(logits, model.fc(features), atol=1e-5)
    model.to("cpu")


def test_several_clips_of_a_recording_go_through_at_once(model):
    clips = clip(2, 3, 2, 3, 16, 20)
    with torch.no_grad():
        together = model.features(clips)
        apart = torch.stack([model.features(one) for one in clips])
    assert together.shape == (2, 3, 512)
    assert torch.allclose(together, apart, atol=1e-5)


def test_time_and_the_two_directions_are_told_apart(model):
    video = clip(1, 5, 3, 20, 20)
    with torch.no_grad():
        as_is = model.features(video)
        for changed in (video.flip(1), video.mT, video.flip(2)):
            assert not torch.allclose(as_is, model.features(changed), atol=1e-3)


def test_normalise_gives_the_public_mean_and_deviation():
    grey = torch.tensor(MEAN)[:, None, None].expand(2, 3, 5, 7)
    assert torch.allclose(R2Plus1D.normalise(grey), torch.zeros(2, 3, 5, 7))
    bright = R2Plus1D.normalise(grey + torch.tensor(STD)[:, None, None])
    assert torch.allclose(bright, torch.ones(2, 3, 5, 7), atol=1e-5)


def test_a_public_file_loads_whole_or_without_its_last_layer(model, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {f"module.{n}": v for n, v in model.state_dict().items()}}, path)
    other = r2plus1d_18().load_public(path)
    assert torch.equal(other.layer3[0].conv2[0][3].weight, model.layer3[0].conv2[0][3].weight)
    assert torch.equal(other.fc.weight, model.fc.weight)
    seven = r2plus1d_18(num_classes=7)
    before = seven.fc.weight.clone()
    with pytest.raises(PretrainedError, match=r"fc.*expected \(7.*head=False"):
        seven.load_public(path)
    assert not torch.equal(seven.stem[0].weight, model.stem[0].weight), "nothing was loaded"
    seven.load_public(path, head=False)
    assert torch.equal(seven.stem[0].weight, model.stem[0].weight)
    assert torch.equal(seven.fc.weight, before)


def test_an_affwild2_file_has_another_last_layer_and_says_so(model, tmp_path):
    weights = {n: v for n, v in model.state_dict().items() if not n.startswith("fc.")}
    weights |= {"fc.1.weight": torch.zeros(17, 512), "fc.1.bias": torch.zeros(17)}
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(PretrainedError, match="head=False"):
        r2plus1d_18().load_public(tmp_path / "weights.pth")
    other = r2plus1d_18().load_public(tmp_path / "weights.pth", head=False)
    assert torch.equal(other.stem[3].weight, model.stem[3].weight)


def test_a_file_that_lacks_something_is_refused_and_nothing_is_loaded(model, tmp_path):
    weights = dict(model.state_dict())
    del weights["layer2.0.downsample.0.weight"]
    torch.save(weights, tmp_path / "weights.pth")
    other = r2plus1d_18()
    before = other.stem[0].weight.clone()
    with pytest.raises(PretrainedError, match=r"missing.*layer2\.0\.downsample\.0\.weight"):
        other.load_public(tmp_path / "weights.pth")
    assert torch.equal(other.stem[0].weight, before)
    with pytest.raises(PretrainedError, match="cannot be read"):
        other.load_public(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    "start",
    [b"", b"hello", b"no weights", b"<!DOCTYPE html>", b"version https://", b"PK\x03\x04", b"\x8c"],
)
def test_what_is_no_file_of_weights_is_refused_and_not_said_to_hold_code(start, tmp_path):
    (tmp_path / "weights.pth").write_bytes(start)
    with pytest.raises(PretrainedError, match="is no file of weights, or a damaged one"):
        r2plus1d_18().load_public(tmp_path / "weights.pth")


@pytest.mark.parametrize("archive", [True, False])
def test_a_file_that_would_run_code_is_refused_and_said_so(archive, tmp_path):
    saved = {"state_dict": {}, "made_by": tmp_path}
    torch.save(saved, tmp_path / "weights.pth", _use_new_zipfile_serialization=archive)
    with pytest.raises(PretrainedError, match="holds more than tensors"):
        r2plus1d_18().load_public(tmp_path / "weights.pth")


def test_clips_of_another_layout_are_refused(model):
    with pytest.raises(ValueError, match=r"transpose\(1, 2\)"):
        model(torch.zeros(1, 3, 8, 16, 16))
    with pytest.raises(ValueError, match="divide by 255"):
        model(torch.zeros(1, 8, 3, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match="expected"):
        model.features(torch.zeros(8, 3, 16, 16))
