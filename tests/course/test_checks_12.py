"""The checks of lesson 12, tried on what learners get wrong, on other right answers, on cheats."""

import ast

import numpy as np
import pytest
import torch
from builder.rules import parse
from checking import Answers, Misconception, lesson_of, surroundings, trials

from mmlib import widgets
from mmlib.checks.lesson_12 import embrace, expected_embracement, shares_of
from mmlib.layers import EmbraceNet
from mmlib.plots import png_bytes
from mmlib.plots.embrace import one_draw, patterns, settling, trust, winners

SELECTION = Answers(
    "12.1",
    misconceptions=(
        Misconception(
            "one draw a sample",
            "Then a whole stream is taken or left: that is modality dropout, not embracement.",
            edit=(
                "torch.multinomial(probabilities, docked.shape[1], replacement=True)",
                "torch.multinomial(probabilities, 1).expand(-1, docked.shape[1])",
            ),
        ),
        Misconception(
            "one draw a feature for the whole batch",
            "Each sample has lots of its own; else a batch of one is another layer than one of many.",
            edit=(
                "torch.multinomial(probabilities, docked.shape[1], replacement=True)",
                (
                    "torch.multinomial(probabilities[:1], docked.shape[1], replacement=True)"
                    ".expand(len(probabilities), -1)"
                ),
            ),
        ),
        Misconception(
            "the first sample's shares for all",
            "`probabilities` has a row for each sample: their gaps differ.",
            edit=(
                "torch.multinomial(probabilities, docked",
                "torch.multinomial(probabilities[:1].expand(len(probabilities), -1), docked",
            ),
        ),
        Misconception(
            "the order of the dictionary",
            "Shares are in sorted order; a dictionary's order is anybody's guess.",
            edit=("for name in sorted(inputs)", "for name in inputs"),
        ),
        Misconception(
            "no ReLU",
            "Docking is a fully connected layer followed by a ReLU (4.2.3).",
            edit=(".relu()", ""),
        ),
        Misconception(
            "uniform, whatever is asked",
            "The shares are an argument: an absent stream has none.",
            edit=(
                "torch.multinomial(probabilities, docked",
                "torch.multinomial(torch.ones_like(probabilities), docked",
            ),
        ),
        Misconception(
            "a softmax over shares",
            "They are probabilities already; a softmax gives the absent a share.",
            edit=("multinomial(probabilities,", "multinomial(probabilities.softmax(-1),"),
        ),
        Misconception(
            "the largest share wins everything",
            "That is no draw: one stream would give all features.",
            edit=(
                "torch.multinomial(probabilities, docked.shape[1], replacement=True)",
                "probabilities.argmax(-1, keepdim=True).expand(-1, docked.shape[1])",
            ),
        ),
        Misconception(
            "without replacement",
            "A stream may win many features.",
            edit=(", replacement=True", ""),
        ),
        Misconception(
            "the mean of the docks",
            "That is the expected value, for evaluation; here each feature comes from one stream.",
            edit=(
                "return docked.gather(-1, chosen[..., None]).squeeze(-1), chosen",
                "return docked.mean(-1), chosen",
            ),
        ),
        Misconception(
            "two draws",
            "What is reported must be the draw that was taken.",
            edit=(
                "return docked.gather",
                (
                    "again = torch.multinomial(probabilities, docked.shape[1], replacement=True)\n"
                    "    return again * 0 + docked.gather(-1, again[..., None]).squeeze(-1), chosen\n"
                    "    return docked.gather"
                ),
            ),
        ),
        Misconception(
            "detached",
            "Only what was drawn learns, but that must.",
            edit=("docked.gather", "docked.detach().gather"),
        ),
        Misconception(
            "shares as blocks of features",
            "A third each in a fixed order: then place 3 is always audio's, and nothing must agree.",
            edit="""
def embrace(inputs, docks, probabilities):
    docked = torch.stack([docks[name](inputs[name]).relu() for name in sorted(inputs)], dim=-1)
    place = (torch.arange(docked.shape[1]) + 0.5) / docked.shape[1]
    chosen = (place[None, :, None] >= probabilities.cumsum(-1)[:, None]).sum(-1)
    chosen = chosen.clamp(max=docked.shape[-1] - 1)
    return docked.gather(-1, chosen[..., None]).squeeze(-1), chosen
""",
        ),
    ),
    alternatives=(
        """
def embrace(inputs, docks, probabilities):
    names = sorted(inputs)
    docked = torch.stack([torch.relu(docks[n](inputs[n])) for n in names])  # (M, B, c)
    lots = torch.rand(docked.shape[1:], device=docked.device)
    chosen = (lots[..., None] >= probabilities.cumsum(-1)[:, None, :-1]).sum(-1)
    onehot = torch.nn.functional.one_hot(chosen, len(names)).permute(2, 0, 1)
    return (docked * onehot).sum(0), chosen
""",
        """
def embrace(inputs, docks, probabilities):
    names = list(inputs)
    names.sort()
    docked = [docks[n](inputs[n]).clamp(min=0) for n in names]
    width = docked[0].shape[-1]
    lottery = torch.distributions.Categorical(probs=probabilities[:, None].expand(-1, width, -1))
    chosen = lottery.sample()
    fused = docked[0]
    for k in range(1, len(names)):
        fused = torch.where(chosen == k, docked[k], fused)
    return fused, chosen
""",
    ),
    constant="(torch.zeros(3, 13), torch.zeros(3, 13, dtype=torch.int64))",
)

EXPECTED = Answers(
    "12.2",
    misconceptions=(
        Misconception(
            "the plain mean",
            "Shares need not be equal.",
            edit=("mean = (share * docked).sum(-1)", "mean = docked.mean(-1)"),
        ),
        Misconception(
            "the mean of the weighted docks",
            "The shares sum to one already; a mean divides by M once more.",
            edit=("mean = (share * docked).sum(-1)", "mean = (share * docked).mean(-1)"),
        ),
        Misconception(
            "the variance",
            "The deviation is its root; only that is in the units of the features.",
            edit=("spread.sqrt()", "spread"),
        ),
        Misconception(
            "the deviation over the streams, without shares",
            "A stream with a small share seldom comes, and adds little to the spread.",
            edit=("return mean, spread.sqrt()", "return mean, docked.std(-1, correction=0)"),
        ),
        Misconception(
            "the deviation over the samples",
            "The lot is what varies, not the clips.",
            edit=(
                "return mean, spread.sqrt()",
                "return mean, mean.std(0, correction=0).expand_as(mean)",
            ),
        ),
        Misconception(
            "mean of squares minus square of mean",
            "Rounding takes it below zero where all streams say the same, and the root is NaN.",
            edit=(
                "spread = (share * (docked - mean[..., None]).square()).sum(-1)",
                "spread = (share * docked.square()).sum(-1) - mean.square()",
            ),
        ),
        Misconception(
            "times zero is gone",
            "NaN times zero is NaN: what has no share must be replaced, not multiplied.",
            edit=("docked = docked.masked_fill(share == 0, 0.0)", "pass"),
        ),
        Misconception(
            "every NaN is an absent stream",
            "Only the share says who is there: another stream's dead value is taken as well.",
            edit=(
                "docked = docked.masked_fill(share == 0, 0.0)",
                "docked = docked.nan_to_num() * (share > 0.25)",
            ),
        ),
        Misconception(
            "shares along the features",
            "Where B equals c nothing complains: the samples' axis is the first one.",
            edit=("share = share[:, None, :]", "share = share[None]"),
        ),
        Misconception(
            "one row of shares for all",
            "Samples may have shares of their own.",
            edit=("share = share[:, None, :]", "share = share[:1, None, :]"),
        ),
        Misconception(
            "a float32 of its own",
            "In half precision the next layer then stops: follow the input (E-29).",
            edit=("return mean, spread.sqrt()", "return mean.float(), spread.sqrt().float()"),
        ),
        Misconception(
            "the sample's correction",
            "Nothing is estimated here: the shares are known, and M - 1 has no part in it.",
            edit=(
                "return mean, spread.sqrt()",
                "return mean, (spread * share.shape[-1] / (share.shape[-1] - 1)).sqrt()",
            ),
        ),
        Misconception(
            "a draw, once more",
            "The mean over all draws is a formula; nothing is drawn at evaluation.",
            edit=(
                "return mean, spread.sqrt()",
                (
                    "flat = share.expand_as(docked).flatten(0, 1).float()\n"
                    "    seen = docked.flatten(0, 1).gather(-1, torch.multinomial(flat, 100, True))\n"
                    "    seen = seen.unflatten(0, docked.shape[:2])\n"
                    "    return seen.mean(-1), seen.std(-1)"
                ),
            ),
        ),
    ),
    alternatives=(
        """
def expected_embracement(docked, probabilities):
    batch, width, streams = docked.shape
    share = probabilities.expand(batch, streams)[:, None].expand_as(docked)
    docked = torch.where(share > 0, docked, torch.zeros_like(docked))
    mean = torch.einsum("bcm,bcm->bc", share, docked)
    away = docked - mean.unsqueeze(-1)
    return mean, torch.einsum("bcm,bcm,bcm->bc", share, away, away).clamp(min=0) ** 0.5
""",
        """
def expected_embracement(docked, probabilities):
    share = probabilities.reshape(-1, 1, probabilities.shape[-1])
    parts = [(share[..., k], docked[..., k].masked_fill(share[..., k] == 0, 0)) for k in range(docked.shape[-1])]
    mean = sum(p * d for p, d in parts)
    variance = sum(p * (d - mean) ** 2 for p, d in parts)
    return mean, torch.sqrt(variance)
""",
    ),
    constant="(torch.zeros(1, 2), torch.zeros(1, 2))",
)

SHARES = Answers(
    "12.3",
    misconceptions=(
        Misconception(
            "not scaled again",
            "The shares of those that are there must sum to one, or a gap makes everything smaller.",
            edit=("return left / total.masked_fill(total == 0, 1.0)", "return left"),
        ),
        Misconception(
            "equal parts for all that are there",
            "Who had twice another's share keeps twice its share.",
            edit=("left = probabilities * availability", "left = availability.to(probabilities)"),
        ),
        Misconception(
            "a softmax",
            "It changes the proportions, and gives the absent a share.",
            edit=(
                "return left / total.masked_fill(total == 0, 1.0)",
                "return left.softmax(-1)",
            ),
        ),
        Misconception(
            "divided by how many are there",
            "Right for uniform shares only.",
            edit=(
                "total = left.sum(-1, keepdim=True)",
                "total = availability.sum(-1, keepdim=True).to(left)",
            ),
        ),
        Misconception(
            "an eps in the divisor",
            "Every row then sums to a little less than one, and small shares to much less.",
            edit=("total.masked_fill(total == 0, 1.0)", "(total + 1e-3)"),
        ),
        Misconception(
            "zero by zero",
            "An empty row is NaN, and the largest of eight NaNs is some class.",
            edit=("total.masked_fill(total == 0, 1.0)", "total"),
        ),
        Misconception(
            "an empty row gets equal shares",
            "Then features are taken from streams that are not there.",
            edit=(
                "return left / total.masked_fill(total == 0, 1.0)",
                "return torch.where(total == 0, 1.0 / left.shape[-1], left / total)",
            ),
        ),
        Misconception(
            "always zeros",
            "`raise` is there to find the mistake in a training set.",
            edit=('on_empty == "raise" and empty.any()', "False"),
        ),
        Misconception(
            "always refuses",
            "A robot may not stop.",
            edit=('on_empty == "raise" and empty.any()', "empty.any()"),
        ),
        Misconception(
            "empty only if nothing is there",
            "A stream that is there with a share of zero cannot give a feature.",
            edit=("empty = (total == 0).squeeze(-1)", "empty = ~availability.any(-1)"),
        ),
        Misconception(
            "a message without numbers",
            "Who has ten thousand clips must know which.",
            edit=("samples {rows} have", "some samples have"),
        ),
        Misconception(
            "only the first one is named",
            "Then ten thousand runs find ten thousand empty clips, one at a time.",
            edit=("samples {rows} have", "sample {rows[0]} has"),
        ),
        Misconception(
            "counted from 1",
            "Samples are counted from 0, as everywhere in the course.",
            edit=("samples {rows} have", "samples {[row + 1 for row in rows]} have"),
        ),
        Misconception(
            "an IndexError",
            "A value that cannot be used is a ValueError.",
            edit=("raise ValueError", "raise IndexError"),
        ),
        Misconception(
            "all samples or none",
            "The sum runs over the streams of each sample, not over the batch.",
            edit=("left.sum(-1, keepdim=True)", "left.sum().expand(len(left), 1)"),
        ),
        Misconception(
            "a float32 of its own",
            "Shares follow the dtype of the probabilities (E-29).",
            edit=(
                "left = probabilities * availability",
                "left = probabilities * availability.float()",
            ),
        ),
    ),
    alternatives=(
        """
def shares_of(probabilities, availability, on_empty):
    left = torch.where(availability, probabilities, torch.zeros_like(probabilities))
    total = left.sum(1)
    empty = [i for i, value in enumerate(total.tolist()) if value <= 0]
    if empty and on_empty == "raise":
        raise ValueError("nothing to draw from in " + ", ".join(map(str, empty)))
    return torch.nan_to_num(left / total[:, None])
""",
        """
def shares_of(probabilities, availability, on_empty):
    left = probabilities.expand(availability.shape).masked_fill(~availability, 0)
    if on_empty == "raise":
        rows = (~(left > 0).any(1)).nonzero().squeeze(1).tolist()
        if rows:
            raise ValueError(f"no stream: {rows}")
    return torch.nn.functional.normalize(left, p=1, dim=-1)
""",
    ),
    constant="torch.full((3, 3), 1 / 3)",
)


@pytest.mark.parametrize("trial", trials([SELECTION, EXPECTED, SHARES]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return EmbraceNet(input_dims={"vision": 5, "text": 7, "audio": 3}, embracement_dim=11)


def test_the_three_exercises_together_are_the_librarys_layer(layer):
    there = torch.tensor([[True, True, True], [False, True, False], [True, False, True]])
    trust_in = torch.tensor([0.2, 0.3, 0.5])
    inputs = {name: torch.randn(3, layer.docking[name].in_features) for name in layer.names}
    shares = shares_of(trust_in, there, "raise")
    docked = torch.stack([layer.docking[n](inputs[n]).relu() for n in layer.names], dim=-1)
    theirs = layer.eval()(inputs, availability=there, probabilities=trust_in)
    assert torch.allclose(expected_embracement(docked, shares)[0], theirs, atol=1e-6)
    fused, choice = layer.train()(
        inputs, availability=there, probabilities=trust_in, return_choice=True
    )
    assert torch.allclose((docked * choice).sum(-1), fused, atol=1e-6)


def test_draws_have_the_mean_and_the_deviation_of_the_formula(layer):
    inputs = {name: torch.randn(1, layer.docking[name].in_features) for name in layer.names}
    shares = torch.tensor([[0.2, 0.5, 0.3]])
    docked = torch.stack([layer.docking[n](inputs[n]).relu() for n in layer.names], dim=-1)
    mean, deviation = expected_embracement(docked, shares)
    many = {name: x.expand(20_000, -1) for name, x in inputs.items()}
    with torch.no_grad():
        drawn, _ = embrace(many, layer.docking, shares.expand(20_000, 3))
    assert torch.allclose(drawn.mean(0), mean[0], atol=5 * deviation.max().item() / 20_000**0.5)
    assert torch.allclose(drawn.std(0), deviation[0], atol=0.02)


def test_the_squares_follow_every_control():
    explorer = widgets.explore(
        _drawing(), trust_in_vision=(0.0, 2.0, 0.25), audio=True, text=True, vision=True
    )
    assert explorer.controls["trust_in_vision"].value == 1.0
    assert "Available: audio, text, vision" in explorer.alt
    seen = {explorer.output.value}
    for name, value in (
        ("trust_in_vision", 1.25),
        ("audio", False),
        ("text", False),
        ("vision", False),
    ):
        explorer.controls[name].value = value
        seen.add(explorer.output.value)
    assert len(seen) == 5 and "Available: nothing" in explorer.alt
    assert "audio 0, text 0, vision 0" in explorer.alt


def test_a_gap_hands_over_only_the_squares_of_the_stream_that_left(monkeypatch):
    draw, seen = _drawing(), []
    monkeypatch.setitem(
        draw.__globals__,
        "winners",
        lambda chosen, names, shares: seen.append((chosen, shares)),
    )
    draw(1.0, True, True, True)
    draw(1.0, True, True, False)
    (full, thirds), (rest, halves) = seen
    vision = full == 2
    assert vision.any() and torch.equal(rest[~vision], full[~vision])
    assert not (rest == 2).any() and len(rest[vision].unique()) == 2
    assert thirds == pytest.approx([1 / 3] * 3) and halves == pytest.approx([0.5, 0.5, 0.0])


def test_the_lots_of_the_sliders_meet_their_shares():
    """The largest of log p plus a Gumbel number is stream k with probability p_k."""
    shares = torch.tensor([0.2, 0.5, 0.3])
    luck = -(-torch.rand(40_000, 3, generator=torch.Generator().manual_seed(0)).log()).log()
    won = torch.bincount((shares.log() + luck).argmax(-1), minlength=3) / 40_000
    assert torch.allclose(won, shares, atol=0.015)


NAMES = ("audio", "text", "vision")


def _drawing():
    """The lesson's own drawing function, which stands behind its last exercise."""
    namespace = dict(surroundings("12.3"))
    for cell in lesson_of("12.3").cells:
        for node in parse(cell.source).body if cell.kind == "code" else ():
            if isinstance(node, ast.FunctionDef) and node.name == "draw_embracement":
                exec(compile(ast.Module([node], []), "<lesson 12>", "exec"), namespace)  # noqa: S102
    return namespace["draw_embracement"]


def words_of(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_one_draw_fills_one_square_a_column_and_repeats_it_below():
    docked = torch.arange(15.0).reshape(5, 3)
    chosen = torch.tensor([0, 2, 1, 1, 0])
    ax = one_draw(docked, chosen, NAMES)
    below = [f"{NAMES[k][0].upper()} {docked[i, k]:.1f}" for i, k in enumerate(chosen)]
    assert [word for word in words_of(ax.figure) if word in below] == below
    solid = [patch for patch in ax.patches if not patch.get_hatch()]
    assert len(ax.patches) == 20 and len(solid) == 10
    with pytest.raises(ValueError, match="do not fit"):
        one_draw(docked, chosen[:4], NAMES)


def test_winners_are_told_by_letter_and_by_count():
    figure = winners(torch.tensor([0, 1, 1, 2, 1]), NAMES, (0.2, 0.5, 0.3), columns=3)
    words = words_of(figure)
    assert words[:5] == list("ATTVT")
    assert words[5:] == ["p = 0.20, won 1", "p = 0.50, won 3", "p = 0.30, won 1"]
    nobody = winners(torch.full((5,), -1), NAMES, (0.0, 0.0, 0.0), columns=3)
    assert words_of(nobody)[0] == "p = 0.00, won 0"
    assert "nobody" in nobody.axes[0].get_title(loc="left")


def test_the_settling_line_starts_at_the_exact_deviation_and_falls_with_the_root():
    line, points = settling([1, 4, 100], [2.1, 0.9, 0.2], 2.0).lines
    assert np.allclose(line.get_ydata(), [2.0, 1.0, 0.2])
    assert np.allclose(points.get_ydata(), [2.1, 0.9, 0.2])


def test_a_system_keeps_its_look_in_every_panel():
    runs = np.array([[0.3, 0.5], [0.4, 0.6]])
    figure = patterns(
        {"one": {"a": runs, "b": runs}, "two": {"b": runs}}, ["text", "text+audio"], [0.5, 0.7]
    )
    above, below = (
        {line.get_label(): line for line in ax.lines if line.get_label() in "ab"}
        for ax in figure.axes
    )
    assert set(above) == {"a", "b"} and set(below) == {"b"}
    assert above["b"].get_marker() == below["b"].get_marker() != above["a"].get_marker()
    assert above["b"].get_color() == below["b"].get_color()
    assert np.allclose(above["a"].get_ydata(), [0.35, 0.55])


def test_trust_draws_a_line_a_condition_and_marks_the_share():
    ax = trust([0, 0.5, 1], {"own": [1, 2, 3], "strange": [3, 2, 1]}, {"even": 0.3}, xlabel="p")
    mark, own, strange = ax.lines
    assert mark.get_xdata()[0] == 0.3 and own.get_label() == "own"
    assert own.get_marker() != strange.get_marker() and " even" in words_of(ax.figure)
    assert png_bytes(ax.figure)
