"""AVT-CA in training: what is dropped where, that padding stays padding, that it learns to join."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmlib.layers import MultiHeadAttention, TwoStreamBlock
from mmlib.systems import AVTCA, AVTCAConfig

FRAMES = AVTCAConfig(
    audio_dim=5, num_classes=2, trunk_repeats=(1, 1, 1), trunk_channels=(4, 8, 8, 16, 11),
    audio_channels=(6, 8, 10, 12), vision_channels=(7, 4, 9, 12), num_heads=4,
)  # fmt: skip
FEATURES = replace(FRAMES, vision_dim=6, projection_dim=9)


def tiny(seed: int = 0, config: AVTCAConfig = FEATURES, **changes) -> AVTCA:
    torch.manual_seed(seed)
    return AVTCA(config=replace(config, **changes)).train()


def streams(batch: int = 3, config: AVTCAConfig = FEATURES) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    seen = (7, 3, 16, 24) if config.vision_dim is None else (7, 6)
    audio = torch.randn(batch, 31, 5, generator=draw)
    return {"audio": audio, "vision": torch.rand(batch, *seen, generator=draw) + 0.1}


def share_of_zeros(model: AVTCA, name: str, config: AVTCAConfig = FEATURES) -> float:
    """Say how much of what a part is given is zero."""
    given: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, x: given.append(x[0]))
    model(**streams(config=config))
    handle.remove()
    return (given[0] == 0).float().mean().item()


def test_each_rate_reaches_its_place_and_no_other():
    parts = ("visual", "audio_stage1", "classifier")
    for name, reached in (
        ("input_dropout", (True, True, False)),
        ("fusion_dropout", (False, False, True)),
        ("dropout", (False, False, False)),
    ):
        model = tiny(**{name: 0.5})
        found = [share_of_zeros(model, part) for part in parts]
        assert [0.3 < share < 0.7 for share in found] == list(reached), (name, found)
        inside = 0.5 if name == "dropout" else 0.0
        attentions = [part for part in model.modules() if isinstance(part, MultiHeadAttention)]
        blocks = [part for part in model.modules() if isinstance(part, TwoStreamBlock)]
        assert len(attentions) == 6 and {part.dropout for part in attentions} == {inside}
        assert len(blocks) == 2 and {part.dropout.p for part in blocks} == {inside}


def test_frames_reach_the_trunk_whole_whatever_is_dropped_of_inputs():
    model = tiny(config=FRAMES, input_dropout=0.5)
    assert share_of_zeros(model, "visual", FRAMES) == 0.0
    assert share_of_zeros(model, "audio_stage1", FRAMES) > 0.3


def test_the_share_of_samples_that_lose_a_stream_is_the_one_asked_for():
    for rate in (0.0, 0.6):
        model = tiny(modality_dropout="drop", modality_rate=rate, late=None)
        lost = (model(**streams(200)).vision == 0).all(1).float().mean()
        # Alone, or with the other one, where this one drew the lower number.
        assert lost.item() == pytest.approx(rate * (1 - rate) + rate**2 / 2, abs=0.12)


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("late", ["self", "cross"])
def test_longer_padding_changes_nothing_in_training_either(norm, late):
    """A norm over the batch that counted padding would see how much there is of it."""
    given, outputs = streams(), []
    masks = {
        "audio": torch.arange(31) < torch.tensor([[31], [22], [26]]),
        "vision": torch.arange(7) < torch.tensor([[7], [4], [5]]),
    }
    for more in (0, 4):
        longer = {name: F.pad(x, (0, 0, 0, more), value=9.0) for name, x in given.items()}
        real = {name: F.pad(mask, (0, more)) for name, mask in masks.items()}
        outputs.append(tiny(norm=norm, late=late)(**longer, masks=real))
    assert torch.allclose(outputs[0].logits, outputs[1].logits, atol=1e-4)


def test_streams_of_two_widths_may_ask_each_other_at_the_end():
    model = tiny(late="cross", vision_channels=(7, 4, 9, 16)).eval()
    output = model(**streams())
    assert (output.audio.shape, output.vision.shape) == ((3, 12), (3, 16))


def test_it_learns_what_neither_stream_says_alone():
    """Each stream has one event, up or down, somewhere; the class is whether the two agree."""
    draw = torch.Generator().manual_seed(0)

    def made(count: int) -> tuple[dict[str, Tensor], Tensor]:
        heard, seen = (torch.randint(2, (count,), generator=draw) for _ in range(2))
        audio = 0.5 * torch.randn(count, 18, 5, generator=draw)
        vision = 0.5 * torch.randn(count, 7, 6, generator=draw)
        row = torch.arange(count)
        at = torch.randint(2, 14, (count,), generator=draw)
        audio[row, at, 0] += 6.0 * heard - 3.0
        audio[row, at + 1, 0] += 6.0 * heard - 3.0
        vision[row, torch.randint(7, (count,), generator=draw), 0] += 6.0 * seen - 3.0
        return {"audio": audio, "vision": vision}, (heard == seen).long()

    model, (inputs, labels), (others, truth) = tiny(), made(512), made(300)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(120):
        rows = torch.randint(512, (64,), generator=draw)
        output = model(**{name: x[rows] for name, x in inputs.items()})
        optimizer.zero_grad()
        nn.functional.cross_entropy(output.logits, labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(**others).logits.argmax(1)
    assert (found == truth).float().mean() > 0.85  # by chance 0.5
