"""What a data set and a name make of AVT-CA's settings."""

from dataclasses import replace

import pytest
import torch

from mmlib.data import FeatureSet
from mmlib.systems import AVTCAConfig, build


def dataset(steps: int) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    inputs = {
        "audio": torch.randn(7, steps, 4, generator=draw),
        "vision": torch.randn(7, 5, 6, generator=draw),
    }
    return FeatureSet(inputs, {}, torch.arange(7) % 3, ("a", "b", "c"))


@pytest.mark.parametrize("scale", ["paper", "official", "small"])
def test_each_scale_is_its_own_preset_with_the_datas_sizes(scale):
    expected = getattr(AVTCAConfig, scale)()
    expected = replace(expected, audio_dim=4, vision_dim=6, num_classes=3)
    assert AVTCAConfig.for_dataset(dataset(156), scale=scale) == expected
    with pytest.raises(ValueError, match="scale is 'large', expected small, paper or official"):
        AVTCAConfig.for_dataset(dataset(156), scale="large")


def test_pooling_that_halves_needs_a_longer_stream():
    """At stride 2 two steps are left of 62: 62, 60, 30, 28, 14, 12, 6, 4, 2."""
    assert AVTCAConfig.small().pool_stride == 2
    for steps, padding in ((61, "same"), (62, "valid")):
        config = AVTCAConfig.for_dataset(dataset(steps))
        assert config.padding == padding
        model, seen = build("avt_ca", config).eval(), []
        model.audio_stage2.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out[0]))
        model(**dataset(steps).batch(range(2)).inputs)
        assert seen[0].shape[1] == (2 if padding == "valid" else steps)


@pytest.mark.parametrize("late", ["shared", "cross"])
@pytest.mark.parametrize("heads", [1, 4])
def test_the_ablation_that_keeps_the_end_keeps_its_reading(late, heads):
    config = replace(AVTCAConfig.small(), vision_dim=6, late=late)
    assert build(f"avt_ca_ct{heads}", config).config.late == late
    assert build(f"avt_ca_it{heads}", config).config.late is None
