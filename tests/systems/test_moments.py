"""The small models of lesson 03: masks, samples, gradients, and where they say that they looked."""

import pytest
import torch

from mmlib.systems.moments import (
    BIAS_SCALE,
    ConcatWithAttention,
    FramewiseConcat,
    MomentAttention,
    RecurrentConcat,
)

WIDTHS = {"audio": 5, "vision": 7}
BUILDERS = {
    "framewise": lambda: FramewiseConcat(widths=WIDTHS, num_classes=3, hidden_dim=13),
    "beside": lambda: ConcatWithAttention(
        query="audio", context="vision", widths=WIDTHS, num_classes=3, embed_dim=11
    ),
    "recurrent": lambda: RecurrentConcat(widths=WIDTHS, num_classes=3, hidden_dim=11),
    "attention": lambda: MomentAttention(
        query="audio", context="vision", widths=WIDTHS, num_classes=3, embed_dim=11, offsets=(6, 6)
    ),
}


def draw(batch, steps=6, device="cpu"):
    torch.manual_seed(batch)
    streams = {
        name: torch.randn(batch, steps, width, device=device) for name, width in WIDTHS.items()
    }
    real = torch.arange(steps, device=device)[None] < torch.tensor(
        [steps, steps - 2, 1, steps - 1][:batch], device=device
    ).unsqueeze(1)
    return streams, {"audio": real, "vision": real.clone()}


@pytest.fixture(params=BUILDERS)
def model(request):
    torch.manual_seed(0)
    return BUILDERS[request.param]().eval()


def test_a_batch_of_one_gets_what_the_batch_got(model, device):
    streams, masks = draw(4, device=device)
    model.to(device)
    together = model(**streams, masks=masks).logits
    assert together.shape == (4, 3)
    for i in range(4):
        one = {name: stream[i : i + 1] for name, stream in streams.items()}
        alone = model(**one, masks={name: mask[i : i + 1] for name, mask in masks.items()}).logits
        torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=1e-4)


def test_padded_steps_do_not_matter(model):
    streams, masks = draw(4)
    before = model(**streams, masks=masks)
    loud = {n: s.masked_fill(~masks[n][..., None], 1e3) for n, s in streams.items()}
    after = model(**loud, masks=masks)
    torch.testing.assert_close(after.logits, before.logits)
    if before.frame_weights is not None:
        assert (after.frame_weights[~masks["vision"]] == 0).all()


def test_without_masks_all_steps_are_real(model):
    streams, masks = draw(3)
    whole = {name: torch.ones_like(mask) for name, mask in masks.items()}
    torch.testing.assert_close(model(**streams).logits, model(**streams, masks=whole).logits)


def test_every_parameter_gets_a_gradient(model):
    streams, masks = draw(4)
    output = model(**streams, masks=masks)
    (output.logits * torch.randn_like(output.logits)).sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A softmax does not notice a number that is added to all of its scores.
    unnoticed = {"score.bias", "gate.bias", "to_key.bias"}
    assert set(missing) <= unnoticed


def test_frame_weights_sum_to_one(model):
    streams, masks = draw(4)
    weights = model(**streams, masks=masks).frame_weights
    if weights is not None:
        torch.testing.assert_close(weights.sum(1), torch.ones(4))


def test_streams_of_different_lengths_cannot_stand_side_by_side():
    streams, _ = draw(2)
    streams["audio"] = streams["audio"][:, :4]
    with pytest.raises(ValueError, match="one length.*'audio': 4, 'vision': 6"):
        BUILDERS["framewise"]()(**streams)


def test_attention_takes_streams_of_different_lengths():
    model = MomentAttention(
        query="audio", context="vision", widths=WIDTHS, num_classes=3, offsets=(4, 6)
    )
    streams, _ = draw(2)
    output = model(audio=streams["audio"][:, :4], vision=streams["vision"])
    assert output.attention.shape == (2, 4, 6)
    assert output.gate.shape == (2, 4)
    assert output.frame_weights.shape == (2, 6)


def test_the_bias_is_the_same_along_each_diagonal():
    model = MomentAttention(
        query="audio", context="vision", widths=WIDTHS, num_classes=3, offsets=(3, 5)
    )
    with torch.no_grad():
        model.bias.copy_(torch.arange(7.0) / BIAS_SCALE)
    offsets, heights = model.offset_profile()
    assert offsets.tolist() == [-2, -1, 0, 1, 2, 3, 4]
    for offset, height in zip(offsets.tolist(), heights.tolist(), strict=True):
        assert model.offset_scores().diagonal(offset).unique().tolist() == [height]


def test_a_bias_on_one_offset_looks_there_and_nowhere_else():
    model = BUILDERS["attention"]()
    with torch.no_grad():
        model.bias.fill_(-5.0)
        model.bias[5 + 2] = 5.0  # two steps later
    streams, _ = draw(2)
    attention = model(**streams).attention
    assert attention[:, :4].argmax(-1).tolist() == [[2, 3, 4, 5]] * 2


def test_without_offsets_the_order_of_the_frames_does_not_matter():
    model = MomentAttention(query="audio", context="vision", widths=WIDTHS, num_classes=3)
    streams, _ = draw(2)
    turned = {**streams, "vision": streams["vision"].flip(1)}
    torch.testing.assert_close(model(**turned).logits, model(**streams).logits)
    with pytest.raises(ValueError, match="no bias over offsets"):
        model.offset_profile()


def test_the_shortcut_shows_where_the_deciding_step_looked():
    model = BUILDERS["beside"]()
    streams, _ = draw(3)
    output = model(**streams)
    rows = [
        torch.isclose(row, chosen).all(-1).any()
        for row, chosen in zip(output.attention, output.frame_weights[:, None], strict=True)
    ]
    assert all(rows)
