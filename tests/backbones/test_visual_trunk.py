"""AVT-CA's trunk: the public checkpoint's names, strict loading, and the public numbers."""

import pytest
import torch
from golden import Golden, table_of

from mmlib.backbones import VisualTrunk


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
        for (name, shape), (mean, std) in zip(case.stages, case.moments.tolist(), strict=True):
            assert list(kept[name].shape) == shape, name
            assert kept[name].mean().item() == pytest.approx(mean, abs=1e-5 * std), name
            assert kept[name].std().item() == pytest.approx(std, rel=1e-5), name
        for name in ("modulator", "local", "features"):
            assert case.error(name, kept[name]) < 1e-5, name
