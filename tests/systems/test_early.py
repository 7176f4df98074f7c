"""What is particular to early fusion: one clock for all streams, side by side at every step."""

import pytest
import torch
from three_streams import B, call, features, made

from mmlib.data import Batch, FeatureSet
from mmlib.systems import BaselineConfig, build


class Recorded:
    """What early fusion's encoder is given."""

    def __init__(self, model: torch.nn.Module, batch: Batch) -> None:
        seen = []
        handle = model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given))
        call(model, batch)
        handle.remove()
        self.joined, self.mask = seen[0]


def test_early_fusion_puts_side_by_side_what_happens_at_the_same_time():
    """Three clocks, all telling the time of one stretch, two of them padded."""
    count, real = 2, {"text": 5, "audio": 24, "vision": 8}
    size = {"text": 9, "audio": 32, "vision": 8}
    inputs, masks = {}, {}
    for key, steps in real.items():
        time = (torch.arange(steps) + 0.5) / steps
        inputs[key] = torch.full((count, size[key], 1), torch.nan)
        inputs[key][:, :steps, 0] = time
        masks[key] = (torch.arange(size[key]) < steps).expand(count, -1)
    data = FeatureSet(inputs, masks, torch.arange(count), ("a", "b"))
    given = Recorded(made("early", data), Batch(inputs, masks, data.labels))
    assert given.joined.shape == (count, 32, 3 + 3)
    assert torch.equal(given.mask, masks["audio"])
    time = (torch.arange(24) + 0.5) / 24
    for column, steps in enumerate(real.values()):
        expected = time.clamp(0.5 / steps, 1 - 0.5 / steps)
        assert torch.allclose(given.joined[0, :24, column], expected, atol=1e-6)
    assert (given.joined[:, 24:] == 0).all() and (given.joined[:, :24, 3:] == 1).all()


def test_early_fusion_keeps_the_steps_of_streams_that_tick_with_the_labels():
    labels = torch.randn(B, 13, 2)
    data = features(labels=labels)
    batch = data.batch(range(B))
    given = Recorded(made("early", data), batch)
    audio = batch.inputs["audio"].masked_fill(~batch.masks["audio"][..., None], 0.0)
    assert torch.equal(given.joined[..., 11:13], audio)
    assert torch.equal(given.joined[..., -2].bool(), batch.masks["audio"])


def test_early_fusion_keeps_every_step_of_a_long_stream_in_patches():
    draw = torch.Generator().manual_seed(0)
    audio = torch.randn(3, 131, 2, generator=draw)
    vision = torch.randn(3, 8, 5, generator=draw)
    data = FeatureSet({"audio": audio, "vision": vision}, {}, torch.arange(3), ("a", "b", "c"))
    model = made("early", data)
    given = Recorded(model, data.batch(range(3)))
    assert given.joined.shape == (3, 33, 4 * 2 + 5 + 2) and given.mask.all()
    assert torch.equal(given.joined[..., :8].unflatten(2, (4, 2)).flatten(1, 2)[:, :131], audio)


def test_early_fusion_says_that_it_needs_the_lengths():
    with pytest.raises(ValueError, match=r"has none; give lengths=.*for_dataset"):
        build("early", BaselineConfig(streams=("audio",), widths=(3,)))
