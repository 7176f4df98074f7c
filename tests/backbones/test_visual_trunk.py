"""AVT-CA's trunk: the public checkpoint's names, strict loading, and the public numbers."""

import pytest
import torch
from golden import Golden, table_of

from mmlib.backbones import VisualTrunk
from mmlib.backbones.loading import PretrainedError


@pytest.fixture(scope="module")
def golden(shared_facts) -> Golden:
    return Golden(shared_facts, "avt_ca_visual_trunk")


def test_names_shapes_and_types_are_the_public_ones(golden):
    trunk = VisualTrunk()
    assert table_of(trunk) == golden.table()
    assert sum(p.numel() for p in trunk.parameters()) == golden.facts["parameter_count"]


def watched(trunk):
    """Keep what the named parts give; the public conv1 ends before the pooling."""
    kept = {}
    parts = {name: trunk.get_submodule(name) for name in ("stage2", "modulator", "local")}
    parts |= {name: trunk.get_submodule(name) for name in ("stage3", "stage4", "conv5")}
    parts["conv1"] = trunk.conv1[2]
    for name, part in parts.items():
        part.register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(name, out.clone())
        )
    return kept


def test_numbers_are_the_public_ones(golden):
    trunk = VisualTrunk().eval()
    kept = watched(trunk)
    for case in golden.cases(trunk):
        trunk.load_state_dict(case.weights, strict=True)
        with torch.no_grad():
            kept["features"] = trunk(case.inputs["x"])
        case.compare(kept)


# --- strict loading


@pytest.fixture(scope="module")
def weights(golden):
    return golden.filled(VisualTrunk(), 3)


def public(weights, tmp_path, *, prefix="module.", fc=7, change=lambda state: state, wrap=True):
    """Write a file as EfficientFace's training script does, with weights that anyone can compute."""
    state = {prefix + name: v for name, v in weights.items()}
    if fc:
        state |= {f"{prefix}fc.weight": torch.ones(fc, 1024), f"{prefix}fc.bias": torch.ones(fc)}
    state = change(state)
    path = tmp_path / "EfficientFace_Trained_on_AffectNet7.pth"
    torch.save({"epoch": 7, "state_dict": state} if wrap else state, path)
    return path


def without_counters(state):
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"fc": 8},
        {"fc": 12666},
        {"fc": None},
        {"prefix": ""},
        {"wrap": False},
        {"change": without_counters},
        {"change": lambda state: dict(reversed(state.items()))},
    ],
    ids=["7", "8", "12666", "no fc", "no prefix", "state alone", "no counters", "other order"],
)
def test_public_file_is_loaded_whole(weights, tmp_path, how):
    trunk = VisualTrunk()
    assert trunk.load_public(public(weights, tmp_path, **how)) is trunk
    for name, value in weights.items():
        assert torch.equal(trunk.state_dict()[name], value), name


def renamed(old, new):
    return lambda state: {k.replace(old, new): v for k, v in state.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            renamed("conv1.0.weight", "conv1.7.weight"),
            "1 of the entries needed are missing and 1 are unk",
        ),
        (renamed("module.conv1.0", "module.module.conv1.0"), "missing"),
        (renamed("module.fc.bias", "module.last.bias"), "1 are unknown, the first is last.bias"),
        (renamed("module.", "module.visual_model."), "whole AVT-CA, .* named visual_model"),
        (lambda s: {**s, "module.conv1.0.weight": torch.ones(24, 3, 3, 3)}, r"conv1.0.weight is"),
        (lambda s: {**s, "conv1.0.weight": torch.ones(29, 3, 3, 3)}, "both with and without"),
        (lambda s: {**s, "epoch": 3}, "holds no state dict"),
        (
            lambda s: {k: v for k, v in s.items() if ".local." not in k},
            "40 of the entries needed are missing",
        ),
    ],
)
def test_other_weights_are_refused_and_leave_the_trunk_as_it_was(weights, tmp_path, change, words):
    trunk = VisualTrunk()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with pytest.raises(PretrainedError, match=words):
        trunk.load_public(public(weights, tmp_path, change=change))
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, before[name]), name


class RecorderMeter:
    """Some public files hold an object of a class of this name."""


def test_file_that_would_run_code_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "face.pth"
    torch.save({"state_dict": {}, "recorder": RecorderMeter()}, path)
    with pytest.raises(PretrainedError, match="more than tensors.*Re-save its state dict alone"):
        VisualTrunk().load_public(path)


def test_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(PretrainedError, match="absent.pth cannot be read"):
        VisualTrunk().load_public(tmp_path / "absent.pth")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(PretrainedError, match="page.pth"):
        VisualTrunk().load_public(tmp_path / "page.pth")


# --- as a part of a system


def small(**arguments):
    return VisualTrunk(repeats=(1, 1, 1), channels=(4, 16, 24, 32, 40), **arguments)


def test_the_parts_are_arranged_as_the_public_code_has_them():
    trunk = small().eval()
    x = torch.rand(2, 3, 32, 40)
    stem = trunk.conv1(x)
    out = trunk.modulator(trunk.stage2(stem)) + trunk.local(stem)
    out = trunk.stage4(trunk.stage3(out))
    weight, norm = trunk.conv5[0].weight, trunk.conv5[1]
    out = norm(torch.nn.functional.conv2d(out, weight)).relu()
    torch.testing.assert_close(trunk(x), out.mean((2, 3)))
    assert [len(VisualTrunk().get_submodule(f"stage{n}")) for n in (2, 3, 4)] == [4, 8, 4]


def test_frames_of_a_batch_go_through_as_pictures_do(device):
    trunk = small().to(device).eval()
    frames = torch.rand(2, 3, 3, 32, 40, device=device)
    out = trunk(frames)
    assert out.shape == (2, 3, 40)
    torch.testing.assert_close(out, trunk(frames.flatten(0, 1)).unflatten(0, (2, 3)))
    torch.testing.assert_close(out[1, 2], trunk(frames[1, 2:])[0], atol=1e-6, rtol=1e-5)


def test_shuffled_samples_give_shuffled_vectors():
    trunk, order = small().eval(), torch.tensor([2, 0, 1])
    frames = torch.rand(3, 2, 3, 16, 24)
    torch.testing.assert_close(trunk(frames[order]), trunk(frames)[order])
    torch.testing.assert_close(trunk(frames.flip(1)), trunk(frames).flip(1))


def test_padded_frames_give_zeros_and_touch_nothing():
    trunk, same = small(), small()
    same.load_state_dict(trunk.state_dict())
    frames, mask = torch.rand(2, 3, 3, 16, 16), torch.tensor([[True] * 3, [True, False, False]])
    frames[~mask] = float("nan")
    out = trunk(frames, mask)
    assert (out[~mask] == 0).all()
    torch.testing.assert_close(out[mask], same(frames[mask]))
    for mine, other in zip(trunk.buffers(), same.buffers(), strict=True):
        assert torch.equal(mine, other)
    out.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in trunk.parameters())
    assert (trunk(frames, torch.zeros_like(mask)) == 0).all()


def test_without_a_real_frame_every_gradient_is_zero_and_none_is_left_out():
    """In several processes, each waits for the gradient of every parameter."""
    trunk = small().train()
    trunk(torch.rand(2, 3, 3, 16, 16), torch.zeros(2, 3, dtype=torch.bool)).sum().backward()
    assert all((p.grad == 0).all() for p in trunk.parameters())
    trunk.requires_grad_(False)
    assert not trunk(torch.rand(1, 3, 3, 16, 16), torch.zeros(1, 3).bool()).requires_grad


def test_sizes_that_work_are_those_that_the_sentence_names():
    trunk = small().eval()
    for size in range(8, 42):
        frames = torch.rand(1, 3, size, 16)
        if size >= 13 and size % 8 in (0, 5, 6, 7):
            assert trunk(frames).shape == trunk(frames.mT).shape == (1, 40), size
            continue
        for turned, name in ((frames, "height"), (frames.mT, "width")):
            with pytest.raises(ValueError, match=f"{name} {size} .*resize to"):
                trunk(turned)


@pytest.mark.parametrize(("size", "near"), [(225, "224 or 232"), (9, "to 16"), (28, "24 or 32")])
def test_nearest_sizes_are_named(size, near):
    with pytest.raises(ValueError, match=near):
        small()(torch.rand(2, 3, 224, size))


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.rand(3, 16, 16), "expected"),
        (torch.rand(2, 1, 16, 16), r"\(2, 1, 16, 16\)"),
        (torch.rand(2, 16, 16, 3), "come last.*permute"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "uint8.*divide by 255"),
    ],
)
def test_frames_that_cannot_work_are_named(frames, words):
    with pytest.raises(ValueError, match=words):
        small()(frames)


@pytest.mark.parametrize("mask", [torch.ones(2, 3), torch.ones(2, 4, dtype=torch.bool)])
def test_mask_that_does_not_fit_is_named(mask):
    with pytest.raises(ValueError, match=r"expected \(B, T\), torch.bool, True where"):
        small()(torch.rand(2, 3, 3, 16, 16), mask)


def test_single_frame_works_at_evaluation_and_gets_a_sentence_in_training():
    trunk = small()
    with pytest.raises(ValueError, match=r"in training mode.*two or more"):
        trunk(torch.rand(1, 1, 3, 16, 16))
    assert trunk.eval()(torch.rand(1, 1, 3, 16, 16)).shape == (1, 1, 40)


def test_every_parameter_gets_a_gradient(device):
    trunk = small().to(device)
    trunk(torch.rand(5, 3, 32, 24, device=device)).square().sum().backward()
    for name, parameter in trunk.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # Batch norm takes the mean away, and with it the offset of what stands before it.
        before_norm = name.endswith("bias") and ("conv_" in name or "fc_0" in name)
        before_norm &= "final" not in name
        assert before_norm or (parameter.grad != 0).any(), name


def test_bfloat16_is_near(device):
    trunk = small().to(device)
    frames = torch.rand(4, 3, 32, 32, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        out = trunk(frames)
        out.float().sum().backward()
    trunk.eval()
    wide = trunk(frames)
    with torch.autocast(device.type, torch.bfloat16):
        near = trunk(frames).float()
    torch.testing.assert_close(near, wide, atol=0.05 * wide.abs().max().item(), rtol=0)


def test_unknown_arrangements_are_named():
    with pytest.raises(ValueError, match="stages 2, 3 and 4"):
        VisualTrunk(repeats=(1, 1))
