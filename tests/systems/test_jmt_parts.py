"""JMT between data and attention: who is scaled by what, what absence means, that it learns."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mmlib.data import Batch
from mmlib.metrics import concordance
from mmlib.systems import JMT, JMTConfig

TINY = JMTConfig(
    widths=(5, 3), embed_dim=8, ffn_dim=13, fusion_dim=11, head_dim=6, dropout=0.0, patience=None,
)  # fmt: skip


def tiny(seed: int = 0, **changes) -> JMT:
    torch.manual_seed(seed)
    return JMT(config=replace(TINY, **changes)).eval()


def streams(batch: int = 3, audio: int = 5, vision: int = 3, steps: int = 7) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    widths = {"audio": audio, "vision": vision}
    return {n: torch.randn(batch, steps, width, generator=draw) for n, width in widths.items()}


def given_to(part: torch.nn.Module, call) -> list[Tensor]:
    """Keep what a part is called with."""
    kept: list[Tensor] = []
    handle = part.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    call()
    handle.remove()
    return kept


@pytest.mark.parametrize("normalise", [True, False])
def test_streams_are_projected_then_brought_to_length_one_then_joined_in_order(normalise):
    model, given = tiny(l2_normalise=normalise), streams()
    expected = [model.project[name](x) for name, x in given.items()]
    if normalise:
        expected = [x / x.norm(dim=-1, keepdim=True) for x in expected]
    found = given_to(model.to_joint, lambda: model(**given))[0]
    assert torch.allclose(found, torch.cat(expected, dim=-1), atol=1e-6)


def test_each_steps_own_length_does_not_matter():
    model, given = tiny(widths=(8, 8)), streams(audio=8, vision=8)
    louder = {"audio": given["audio"] * torch.arange(1.0, 8.0)[:, None], "vision": given["vision"]}
    with torch.no_grad():
        assert torch.allclose(model(**given)[0], model(**louder)[0], atol=1e-5)


@pytest.mark.parametrize(("normalise", "scale"), [(True, 8**0.5), (False, 1.0)])
def test_codes_of_positions_do_not_drown_steps_of_length_one(normalise, scale):
    model = tiny(positions="sinusoidal", l2_normalise=normalise)
    plain, given = tiny(l2_normalise=normalise), streams()
    found = given_to(model.positions, lambda: model(**given))
    bare = [given_to(plain.encoders[n][0], lambda: plain(**given))[0] for n in TINY.sources]
    for mine, step in zip(found, bare, strict=True):
        assert torch.allclose(mine, scale * step, atol=1e-5)


def test_steps_that_are_not_there_are_zeros_to_what_is_joint_whatever_stands_in_them():
    model, given = tiny(), streams()
    with torch.no_grad():  # an offset would make something of nothing
        for part in model.project.values():
            part.bias.fill_(3.0)
    masks = {"audio": torch.arange(7) < torch.tensor([[7], [4], [5]])}
    given["audio"][~masks["audio"]] = float("nan")
    found = given_to(model.to_joint, lambda: model(**given, masks=masks))[0]
    assert (found[..., :8][~masks["audio"]] == 0).all() and torch.isfinite(found).all()
    assert torch.isfinite(model(**given, masks=masks)[0]).all()


def test_a_step_that_is_real_in_one_stream_is_real_in_what_is_joint():
    step = torch.arange(7)
    masks = {
        "audio": step < torch.tensor([[7], [4], [5]]),
        "vision": (step > 0) & (step < torch.tensor([[7], [6], [3]])),
    }
    weights = tiny().attention_maps(**streams(), masks=masks)["audio", "joint"][:, 0]
    either = masks["audio"] | masks["vision"]
    assert torch.equal(weights > 0, either[:, None].expand(3, 7, 7))


def test_padding_reaches_no_real_step_through_encoders_or_cross_attentions():
    """More steps that are real in neither stream are more zeros, which only a mask keeps out."""
    given, model = streams(), tiny()
    masks = {name: torch.ones(3, 7, dtype=torch.bool) for name in given}
    longer = {name: F.pad(x, (0, 0, 0, 4)) for name, x in given.items()}
    real = {name: F.pad(mask, (0, 4)) for name, mask in masks.items()}
    with torch.no_grad():
        whole, padded = model(**given, masks=masks)[0], model(**longer, masks=real)[0]
        states, _ = model.encode(longer, real)
        for name, expected in model.encode(given, masks)[0].items():
            assert torch.allclose(states[name][:, :7], expected, atol=1e-5), name
    assert torch.allclose(whole, padded[:, :7], atol=1e-5)


def test_where_the_clock_is_absent_the_other_stream_is_spread_over_all_steps():
    model, given = tiny(clock="vision"), streams()
    given["audio"] = torch.randn(3, 14, 5, generator=torch.Generator().manual_seed(1))
    masks = {"vision": torch.ones(3, 7, dtype=torch.bool)}
    masks["vision"][1] = False
    found = given_to(model.project["audio"], lambda: model(**given, masks=masks))[0]
    assert torch.allclose(found[1], given["audio"][1].unflatten(0, (7, 2)).mean(1), atol=1e-5)


def test_encoders_have_the_layers_and_heads_that_are_asked_for():
    model = tiny(num_layers=3, num_heads=4)
    assert all(len(blocks) == 3 for blocks in model.encoders.values())
    heads = {block.attention.num_heads for blocks in model.encoders.values() for block in blocks}
    assert heads == {4} and model.cross_attention.num_heads == 4
    own = {id(p) for p in model.encoders.parameters()}
    assert len(own) == sum(len(list(b.parameters())) for b in model.encoders.values()), "not shared"


def test_the_rate_of_dropout_is_that_of_the_heads_hidden_layer_in_training():
    for rate in (0.0, 0.6):
        model, given = tiny(dropout=rate).train(), streams(50)
        answers = given_to(model.heads.answer, lambda model=model, given=given: model(**given))[0]
        with torch.no_grad():
            model.heads.dropout.eval()
            whole = given_to(model.heads.answer, lambda m=model, g=given: m(**g))[0]
        lost = (answers[whole != 0] == 0).float().mean().item()
        assert lost == pytest.approx(rate, abs=0.05)


def test_it_learns_what_one_stream_says_about_the_other_at_each_step():
    """Valence is audio's step with the sign that vision shows all along; arousal is vision's."""
    draw = torch.Generator().manual_seed(0)

    def made(count: int) -> Batch:
        audio = torch.randn(count, 7, 5, generator=draw)
        vision = torch.randn(count, 7, 3, generator=draw)
        sign = torch.randint(2, (count, 1), generator=draw) * 2.0 - 1.0
        vision[..., 0] = 2.0 * sign
        real = torch.arange(7) < torch.randint(4, 8, (count, 1), generator=draw)
        labels = torch.stack([audio[..., 0] * sign, vision[..., 1]], -1).tanh()
        return Batch(
            {"audio": audio, "vision": vision}, {"audio": real, "vision": real.clone()}, labels
        )

    model, train, test = (
        tiny(embed_dim=16, fusion_dim=32, head_dim=16).train(),
        made(512),
        made(200),
    )
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        rows = torch.randint(512, (64,), generator=draw)
        inputs, masks = ({n: x[rows] for n, x in part.items()} for part in train[:2])
        batch = Batch(inputs, masks, train.labels[rows])
        optimizer.zero_grad()
        model.loss(model(**inputs, masks=masks), batch).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()(**test.inputs, masks=test.masks).prediction
    for target in (0, 1):
        score = concordance(found[..., target], test.labels[..., target], test.masks["audio"])
        assert score > 0.9, target
