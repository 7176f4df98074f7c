"""Modality dropout: what is lost, in which form, and that evaluation loses nothing."""

import pytest
import torch

from mmlib.layers import ModalityDropout

SHAPES = {"audio": (7, 2), "vision": (3, 3, 4, 4)}


def streams(batch: int = 5, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(batch, *shape, generator=draw).add(0.1).to(device)
        for name, shape in SHAPES.items()
    }


def full(batch: int = 5) -> dict[str, torch.Tensor]:
    return {name: torch.ones(batch, shape[0], dtype=torch.bool) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("form", ["drop", "copies"])
def test_at_evaluation_everything_passes_as_it_is(form, device):
    given = streams(device=device)
    out, masks = ModalityDropout(form=form, rate=0.9).eval()(given)
    assert all(torch.equal(out[name], given[name]) for name in given)
    assert all(masks[name].all() and masks[name].device == given[name].device for name in given)


def test_dropped_streams_are_zero_and_absent_and_the_others_untouched(device):
    given = streams(200, device)
    torch.manual_seed(0)
    out, masks = ModalityDropout(rate=0.4)(given)
    kept = torch.stack([masks[name].any(1) for name in SHAPES], 1)
    for place, name in enumerate(SHAPES):
        there = kept[:, place]
        assert torch.equal(out[name][there], given[name][there])
        assert (out[name][~there] == 0).all() and masks[name][there].all()
    assert kept.any(1).all(), "no sample loses both"
    lost = (~kept).float().mean(0)
    # One stream alone is lost with .4 * .6, or both would be, and this one drew the lower number.
    assert torch.allclose(lost, torch.full_like(lost, 0.4 * 0.6 + 0.4**2 / 2), atol=0.1)


def test_a_sample_keeps_the_only_stream_that_it_has():
    masks = full(300)
    masks["audio"][:] = False
    _, left = ModalityDropout(rate=0.9)(streams(300), masks)
    assert left["vision"].all() and not left["audio"].any()


def test_a_stream_with_gaps_is_there_all_the_same():
    """Or a sample whose streams all have padding would be said to have none, and lose them all."""
    masks = full(300)
    masks["audio"][:, 4:] = False
    masks["vision"][:] = False
    given = streams(300)
    out, left = ModalityDropout(rate=0.9)(given, masks)
    assert torch.equal(left["audio"], masks["audio"]) and not left["vision"].any()
    assert torch.equal(out["audio"], given["audio"])


def test_copies_keep_the_type_of_what_came():
    given = {name: value.bfloat16() for name, value in streams().items()}
    out, _ = ModalityDropout(form="copies")(given)
    assert all(value.dtype == torch.bfloat16 for value in out.values())


def test_masks_keep_their_gaps():
    masks = full()
    masks["audio"][:, 4:] = False
    _, left = ModalityDropout(rate=0.0)(streams(), masks)
    assert torch.equal(left["audio"], masks["audio"]) and left["vision"].all()


def test_copies_are_the_original_a_share_of_each_and_one_stream_at_a_time(device):
    given = streams(device=device)
    out, masks = ModalityDropout(form="copies")(given)
    parts = {name: value.chunk(4) for name, value in out.items()}
    for name, value in given.items():
        assert len(out[name]) == 20 and masks[name].shape == (20, SHAPES[name][0])
        assert torch.equal(parts[name][0], value)
    shares = {}
    for name, value in given.items():
        ratio = (parts[name][1] / value).flatten(1)
        assert torch.allclose(ratio, ratio[:, :1].expand_as(ratio), atol=1e-5), "one a sample"
        shares[name] = ratio[:, 0]
    assert torch.allclose(shares["audio"] + shares["vision"], torch.ones(5, device=device))
    assert len(shares["audio"].unique()) == 5 and 0 <= shares["audio"].min()
    for silent, heard, part in (("audio", "vision", 2), ("vision", "audio", 3)):
        assert (parts[silent][part] == 0).all()
        assert torch.equal(parts[heard][part], given[heard])


def test_copies_repeat_the_masks_in_the_same_order():
    masks = full()
    masks["audio"][3, 2:] = False
    _, left = ModalityDropout(form="copies")(streams(), masks)
    assert torch.equal(left["audio"], torch.cat([masks["audio"]] * 4))


@pytest.mark.parametrize("form", ["drop", "copies"])
def test_the_callers_tensors_are_left_alone(form):
    given, masks = streams(), full()
    ModalityDropout(form=form, rate=0.9)(given, masks)
    fresh = streams()
    assert all(torch.equal(given[name], fresh[name]) and masks[name].all() for name in fresh)


def test_what_cannot_work_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="form='mask' is unknown; expected 'drop' or 'copies'"):
        ModalityDropout(form="mask")
    with pytest.raises(ValueError, match=r"rate=1\.0; expected a probability from 0 to below 1"):
        ModalityDropout(rate=1.0)
    three = streams() | {"text": torch.zeros(5, 2, 2)}
    with pytest.raises(ValueError, match=r"but 3 came \(audio, vision, text\)"):
        ModalityDropout(form="copies")(three)
