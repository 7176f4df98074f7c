"""The checks of lesson 13, tried on what learners get wrong, on other right answers, on cheats."""

import numpy as np
import pytest
import torch
from checking import Answers, Misconception, surroundings, trials
from torch import nn

from mmlib import widgets
from mmlib.backbones.face_sequence import PlainGRUCell
from mmlib.checks.expect import Fresh
from mmlib.checks.lesson_13 import assemble_target, gru_weights, paper_gru, robustness_curve
from mmlib.checks.scripted import Said, Scripted, six_blocks
from mmlib.data import Batch, FeatureSet, theatre
from mmlib.plots.conversations import (
    describe_dialogue,
    dialogue_panel,
    fusion_map,
    next_sample,
    share_bars,
)
from mmlib.plots.page import png_bytes
from mmlib.training.availability import falling_availability, patterns_of, subset_probabilities

GRU = Answers(
    "13.1",
    misconceptions=(
        Misconception(
            "torch's GRU",
            "Eq. 4 resets the state before the product; torch resets the product.",
            edit=('(h * r) @ w["Uh"]', 'r * (h @ w["Uh"])'),
        ),
        Misconception(
            "z and 1 - z swapped",
            "z says how much of the old state is kept; some books have it the other way round.",
            edit=("(1 - z) * candidate + z * h", "z * candidate + (1 - z) * h"),
        ),
        Misconception(
            "the candidate sees the whole state",
            "Then there is no reset gate at all.",
            edit=("(h * r)", "h"),
        ),
        Misconception(
            "the reset gate on the input",
            "It is the memory that is reset, not what is new.",
            edit=('now @ w["Wh"] + (h * r) @ w["Uh"]', '(now @ w["Wh"]) * r + h @ w["Uh"]'),
        ),
        Misconception(
            "the gates look at the input only",
            "Both gates also look at the state: U h.",
            edit=('(now @ w["Wz"] + h @ w["Uz"])', '(now @ w["Wz"])'),
        ),
        Misconception(
            "a sigmoid for the candidate",
            "The candidate is a state, from -1 to 1; only the gates are shares.",
            edit=(".tanh()", ".sigmoid()"),
        ),
        Misconception(
            "the state after the padding",
            "Padding is read as if it were faces: the last state is another one's.",
            edit=(
                "torch.where(mask[:, t, None], (1 - z) * candidate + z * h, h)",
                "(1 - z) * candidate + z * h",
            ),
        ),
        Misconception(
            "padding set to zero and read on",
            "An empty face is an input like any other: the gates still move the state.",
            edit=(
                "now = x[:, t]",
                "now = x[:, t].masked_fill(~mask[:, t, None], 0.0)\n        mask = mask | True",
            ),
        ),
        Misconception(
            "the mask multiplied",
            "NaN times zero is NaN, and a state times zero is forgotten.",
            edit=(
                "torch.where(mask[:, t, None], (1 - z) * candidate + z * h, h)",
                "((1 - z) * candidate + z * h) * mask[:, t, None]",
            ),
        ),
        Misconception(
            "the gates of the step before",
            "Each step has gates of its own, made of its own input.",
            edit=("r = (now", "r = (x[:, max(t - 1, 0)]"),
        ),
        Misconception(
            "matrices transposed",
            "They are (from, to), to be multiplied from the right.",
            edit=('h @ w["Uz"]', 'h @ w["Uz"].T'),
        ),
        Misconception(
            "states stacked in front",
            "The batch comes first.",
            edit=("torch.stack(states, dim=1)", "torch.stack(states)"),
        ),
    ),
    alternatives=(
        """
def paper_gru(x, mask, weights):
    W = torch.cat([weights[n] for n in ("Wz", "Wr", "Wh")], dim=1)
    hidden = weights["Uz"].shape[0]
    clean = x.masked_fill(~mask[..., None], 0.0)
    ahead = (clean @ W).split(hidden, dim=-1)
    h = torch.zeros(x.shape[0], hidden, dtype=x.dtype, device=x.device)
    out = []
    for zx, rx, hx, real in zip(*(part.unbind(1) for part in ahead), mask.unbind(1)):
        z = torch.sigmoid(zx + h @ weights["Uz"])
        r = torch.sigmoid(rx + h @ weights["Ur"])
        new = torch.tanh(hx + torch.mm(h.mul(r), weights["Uh"]))
        step = new + z * (h - new)
        h = h + (step - h) * real[:, None].to(h.dtype)
        out.append(h)
    return torch.stack(out, 1), out[-1]
""",
        """
def paper_gru(x, mask, weights):
    def sigma(v):
        return 1 / (1 + torch.exp(-v))
    samples, lasts = [], []
    width = weights["Uz"].shape[1]
    for one, real in zip(x, mask):
        h, row = one.new_zeros(width), []
        for step, there in zip(one, real.tolist()):
            if there:
                z = sigma(weights["Wz"].T @ step + weights["Uz"].T @ h)
                r = sigma(weights["Wr"].T @ step + weights["Ur"].T @ h)
                h = z * h + (1 - z) * torch.tanh(weights["Wh"].T @ step + weights["Uh"].T @ (h * r))
            row.append(h)
        samples.append(torch.stack(row))
        lasts.append(h)
    return torch.stack(samples), torch.stack(lasts)
""",
    ),
    constant="(torch.zeros(1, 2, 1), torch.zeros(1, 1))",
    cheats={
        "torch's layer": """
def paper_gru(x, mask, weights):
    layer = torch.nn.GRU(x.shape[-1], len(weights["Uz"]), batch_first=True)
    states, last = layer(x)
    return states, last[0]
""",
    },
)

TARGET = Answers(
    "13.2",
    misconceptions=(
        Misconception(
            "the source asks",
            "The literal Eq. 6: then the result is as long as the source, and cannot be multiplied.",
            edit=(
                "block(states[target], states[source], padding_mask=masks[source])",
                "block(states[source], states[target], padding_mask=masks[target])",
            ),
        ),
        Misconception(
            "the pairs that it answers in",
            "A pair is (source, target): the target is its second name.",
            edit=(
                "for (source, asks), block in blocks.items():",
                "for (asks, source), block in blocks.items():",
            ),
        ),
        Misconception(
            "a sum",
            "Eq. 12 is a product: the small factor decides, and not the large one.",
            edit="""
def assemble_target(target, states, masks, blocks):
    total = 0.0
    for (source, asks), block in blocks.items():
        if asks == target:
            heard = block(states[target], states[source], padding_mask=masks[source])
            there = masks[source].any(1)[:, None, None]
            total = total + torch.where(there, heard, 0.0)
    real = masks[target][..., None]
    return (total * real).sum(1) / real.sum(1).clamp(min=1)
""",
        ),
        Misconception(
            "the mean before the product",
            "A product of means is no mean of products: what agrees at a step is lost.",
            edit="""
def assemble_target(target, states, masks, blocks):
    real = masks[target][..., None]
    product = 1.0
    for (source, asks), block in blocks.items():
        if asks == target:
            heard = block(states[target], states[source], padding_mask=masks[source])
            heard = (heard * real).sum(1) / real.sum(1).clamp(min=1)
            there = masks[source].any(1)[:, None]
            product = product * torch.where(there, heard, 1.0)
    return product * real.any(1)
""",
        ),
        Misconception(
            "the mask of the one who asks",
            "What must not be looked at is the padding of the source.",
            edit=(
                "padding_mask=masks[source])",
                "padding_mask=masks[target] if masks[target].shape == masks[source].shape else masks[source])",
            ),
        ),
        Misconception(
            "no padding mask",
            "Attention then listens to padding.",
            edit=(", padding_mask=masks[source]", ""),
        ),
        Misconception(
            "the mean over all steps",
            "The target's padding is counted in.",
            edit=(
                "(product * real).sum(1) / real.sum(1).clamp(min=1)",
                "product.mean(1)",
            ),
        ),
        Misconception(
            "padding summed, real steps counted",
            "Both, the sum and the count, are over real steps.",
            edit=("(product * real).sum(1)", "product.sum(1)"),
        ),
        Misconception(
            "an absent source multiplies on",
            "Its attention brings zero home, so that the target's own way round is squared in.",
            edit=("torch.where(there, heard, 1.0)", "heard"),
        ),
        Misconception(
            "an absent source gives zeros",
            "A product with zero is zero: one missing camera silences the others.",
            edit=("torch.where(there, heard, 1.0)", "torch.where(there, heard, 0.0)"),
        ),
        Misconception(
            "the last source only",
            "The product runs over all of them.",
            edit=("product = product * torch", "product = torch"),
        ),
        Misconception(
            "the target as it came, multiplied in",
            "Eq. 12 has one factor a source; the target is in each of them already.",
            edit=("product = 1.0", "product = states[target].mean(-1, keepdim=True)"),
        ),
    ),
    alternatives=(
        """
from functools import reduce
from mmlib.layers import masked_mean

def assemble_target(target, states, masks, blocks):
    sources = [name for name in states if name != target]
    parts = []
    for name in sources:
        made = blocks[name, target](states[target], states[name], padding_mask=masks[name])
        gone = ~masks[name].any(dim=1)
        parts.append(made.masked_fill(gone[:, None, None], 1.0))
    return masked_mean(reduce(torch.mul, parts), masks[target])
""",
        """
def assemble_target(target, states, masks, blocks):
    asks = states[target]
    made = torch.stack([
        block(asks, states[s], padding_mask=masks[s]) for (s, t), block in blocks.items() if t == target
    ])
    there = torch.stack([masks[s].any(1) for (s, t) in blocks if t == target])[..., None, None].float()
    product = (made * there + (1 - there)).prod(dim=0)
    weight = masks[target].float()
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1.0)
    return torch.einsum("bte,bt->be", product, weight)
""",
    ),
    constant="torch.zeros(3, 6)",
)

CURVE = Answers(
    "13.3",
    misconceptions=(
        Misconception(
            "the rate is what stays",
            "It is the probability that a stream is lost.",
            edit=(
                "(1 - rate) ** kept * rate ** (len(names) - kept)",
                "rate ** kept * (1 - rate) ** (len(names) - kept)",
            ),
        ),
        Misconception(
            "patterns weigh alike",
            "At small rates nearly nothing is lost: the full pattern is the commonest.",
            edit=(
                "chance = (1 - rate) ** kept * rate ** (len(names) - kept)",
                "chance = 1 / len(patterns)",
            ),
        ),
        Misconception(
            "one chance for each number of streams",
            "There are three ways to keep two of three, and each has this chance.",
            edit=(
                "expected += chance * share",
                "expected += chance * share / [sum(p) for p in patterns].count(kept)",
            ),
        ),
        Misconception(
            "who loses all is forgotten",
            "Then the chances do not sum to one, and at rate 1 nothing is left.",
            edit=("chance += rate ** len(names) / len(names)", "pass"),
        ),
        Misconception(
            "who loses all keeps each stream",
            "The rest is shared by the single streams, in equal parts.",
            edit=("chance += rate ** len(names) / len(names)", "chance += rate ** len(names)"),
        ),
        Misconception(
            "draws of nothing thrown away",
            "Dividing by what is left gives a small pattern other weight than keeping one does.",
            edit=(
                "if kept == 1:\n                chance += rate ** len(names) / len(names)",
                "chance /= max(1 - rate ** len(names), 1e-9)",
            ),
        ),
        Misconception(
            "zeros in the place of a mask",
            "Zeros with a mask that says real are something seen, not something missing.",
            edit=(
                "logits = model(**batch.inputs, masks=masks).logits",
                """zeroed = {n: x * masks[n][..., None] for n, x in batch.inputs.items()}
            logits = model(**zeroed, masks=batch.masks).logits""",
            ),
        ),
        Misconception(
            "the batch's own masks written over",
            "The next pattern, and whoever uses the batch next, finds streams gone.",
            edit=(
                "masks = {n: batch.masks[n] & there for n, there in zip(names, pattern, strict=True)}",
                """masks = batch.masks
        for n, there in zip(names, pattern, strict=True):
            masks[n] &= there""",
            ),
        ),
        Misconception(
            "the mask read backwards",
            "True is what is there.",
            edit=("batch.masks[n] & there", "batch.masks[n] & (not there or all(pattern))"),
        ),
        Misconception(
            "every rate asks the model anew",
            "The patterns' accuracies do not depend on the rate: seven calls serve all of them.",
            edit="""
def robustness_curve(model, batch, rates):
    from itertools import product
    names, curve = list(batch.inputs), []
    for rate in rates:
        total = 0.0
        for p in product((True, False), repeat=len(names)):
            k = sum(p)
            if k:
                masks = {n: batch.masks[n] & t for n, t in zip(names, p)}
                hits = model(**batch.inputs, masks=masks).logits.argmax(-1) == batch.labels
                chance = (1 - rate) ** k * rate ** (len(names) - k)
                chance += (k == 1) * rate ** len(names) / len(names)
                total += chance * hits.double().mean().item()
        curve.append(total)
    return curve
""",
        ),
        Misconception(
            "dice",
            "A draw has luck in it; the expectation has none.",
            edit="""
def robustness_curve(model, batch, rates):
    names, curve = list(batch.inputs), []
    for rate in rates:
        left = torch.rand(len(names)) >= rate
        left[0] |= not left.any()
        masks = {n: batch.masks[n] & t for n, t in zip(names, left.tolist())}
        logits = model(**batch.inputs, masks=masks).logits
        curve.append((logits.argmax(-1) == batch.labels).double().mean().item())
    return curve
""",
        ),
        Misconception(
            "the largest logit, not its place",
            "`max` gives the value, `argmax` the class.",
            edit=("logits.argmax(-1)", "logits.max(-1).values"),
        ),
    ),
    alternatives=(
        """
import itertools, math

def robustness_curve(model, batch, rates):
    names = tuple(batch.inputs)
    nothing = {n: torch.zeros_like(m) for n, m in batch.masks.items()}
    score = {}
    for size in range(1, len(names) + 1):
        for kept in itertools.combinations(names, size):
            masks = {n: batch.masks[n] if n in kept else nothing[n] for n in names}
            guess = model(masks=masks, **batch.inputs).logits.max(dim=1).indices
            score[kept] = float(torch.eq(guess, batch.labels).float().mean())
    out = []
    for q in rates:
        usual = sum(a * math.prod(1 - q if n in kept else q for n in names) for kept, a in score.items())
        saved = q ** len(names) * sum(a for kept, a in score.items() if len(kept) == 1) / len(names)
        out.append(usual + saved)
    return out
""",
        """
def robustness_curve(model, batch, rates):
    count = len(batch.inputs)
    codes = torch.arange(1, 2 ** count)
    kept = (codes[:, None] >> torch.arange(count)) % 2 == 1  # (patterns, streams)
    right = []
    for row in kept:
        some = [n for n, there in zip(batch.inputs, row.tolist()) if there]
        output = model(**{n: batch.inputs[n] for n in some}, masks={n: batch.masks[n] for n in some})
        right.append((output.logits.argmax(1) == batch.labels).double().mean())
    right, size = torch.stack(right), kept.sum(1).double()
    q = torch.tensor(rates, dtype=torch.double)[:, None]
    chance = (1 - q) ** size * q ** (count - size) + (size == 1) * q ** count / count
    return (chance @ right).tolist()
""",
    ),
    constant="[0.9] * 4",
)


@pytest.mark.parametrize("trial", trials([GRU, TARGET, CURVE]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The references, against what the library and torch have.


def test_the_reference_gru_is_the_librarys_cell_of_the_paper():
    fresh = Fresh(1)
    weights = gru_weights(fresh, 5, 3)
    cell = PlainGRUCell(input_dim=5, hidden_dim=3)
    with torch.no_grad():
        cell.weight.copy_(torch.cat([weights[f"W{gate}"].T for gate in "rzh"]))
        cell.recurrent.copy_(torch.cat([weights[f"U{gate}"].T for gate in "rzh"]))
    x = fresh.normal(2, 7, 5)
    state = None
    for t in range(7):
        state = cell(x[:, t], state)
    torch.testing.assert_close(paper_gru(x, torch.ones(2, 7).bool(), weights)[1], state)


def test_the_papers_gru_is_torchs_only_where_nothing_is_reset():
    torch_gru = surroundings("13.2")["torch_gru"]
    fresh = Fresh(2)
    weights, x = gru_weights(fresh, 3, 4), fresh.normal(2, 5, 3)
    x[..., 0] = 1.0
    every = torch.ones(2, 5).bool()
    gap = (paper_gru(x, every, weights)[0] - torch_gru(x, weights)).abs().max()
    assert gap > 0.01
    opened = weights | {
        "Wr": torch.zeros(3, 4).index_fill(0, torch.tensor(0), 100.0),
        "Ur": torch.zeros(4, 4),
    }
    torch.testing.assert_close(paper_gru(x, every, opened)[0], torch_gru(x, opened))


def test_the_reference_target_is_the_papers_product_averaged_over_time():
    names, fresh = ("text", "audio", "vision"), Fresh(3)
    blocks = six_blocks(fresh, dict.fromkeys(names, 8), 8)
    states = {name: fresh.normal(2, steps, 8) for name, steps in zip(names, (3, 5, 2), strict=True)}
    masks = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in states.items()}
    with torch.no_grad():
        for target in names:
            mine = assemble_target(target, states, masks, blocks)
            one, other = (
                blocks[source, target](states[target], states[source])
                for source in names
                if source != target
            )
            torch.testing.assert_close(mine, (one * other).mean(1))


class Counting(nn.Module):
    """Is right wherever its streams weigh enough; the text alone does, or the two others together."""

    def forward(self, masks, **inputs):
        weigh = {"text": 3, "audio": 2, "vision": 1}
        total = sum(weight * masks[name].any(1) for name, weight in weigh.items())
        return Said(nn.functional.one_hot((total >= 3).long(), 2).float())


def test_the_exact_curve_is_the_mean_of_the_librarys_dice():
    inputs = {name: torch.zeros(300, 2, 1) for name in ("text", "audio", "vision")}
    features = FeatureSet(inputs, {}, torch.ones(300, dtype=torch.long), ("wrong", "right"))
    rates = (0.0, 0.3, 0.7, 1.0)
    exact = robustness_curve(Counting(), features.batch(range(300)), rates)
    assert exact == pytest.approx(
        [1.0, 0.7 + 0.3 * 0.7**2 + 0.3**3 / 3, 0.3 + 0.7 * 0.3**2 + 0.7**3 / 3, 1 / 3]
    )
    thrown = falling_availability(Counting(), features, rates, draws=60)
    np.testing.assert_allclose(exact, thrown.groupby("rate")["accuracy"].mean(), atol=0.015)


def test_the_curves_weights_are_those_of_the_ceilings():
    names = ("text", "audio", "vision")
    labels = torch.zeros(8, dtype=torch.long)
    streams = {name: torch.zeros(8, 1, 1) for name in names}
    masks = {name: torch.ones(8, 1, dtype=torch.bool) for name in names}
    for some in patterns_of(names):
        only = tuple(name in some for name in names)
        every = [tuple(n in p for n in names) for p in patterns_of(names)]
        model = Scripted(names, {p: 8 * (p == only) for p in every}, labels, 3)
        chance = robustness_curve(model, Batch(streams, masks, labels), [0.35])[0]
        assert chance == pytest.approx(subset_probabilities(names, 0.35)["+".join(some)])


# The widget and the figures.


@pytest.fixture(scope="module")
def talk():
    clips = theatre.make("conversations", n=30, seed=3)
    return clips, theatre.window_posterior(clips, before=3, after=0)


def test_a_dialogue_is_drawn_with_a_tick_for_each_turn_that_is_right(talk):
    clips, belief = talk
    figure = dialogue_panel(clips[10:20], belief[10:20], title="the second")
    words = [text.get_text() for text in figure.axes[0].texts]
    right = int((belief[10:20].argmax(1) == clips.labels[10:20]).sum())
    assert sum(word.startswith("✓") for word in words) == right
    assert sum(word.startswith("✗") for word in words) == 10 - right
    assert f"{right} of 10 turns right" in describe_dialogue(clips[10:20], belief[10:20], "it")
    assert len(png_bytes(figure)) > 5000


def test_a_dialogue_panel_refuses_what_is_not_one_dialogue(talk):
    clips, belief = talk
    with pytest.raises(ValueError, match="one dialogue"):
        dialogue_panel(clips[5:15], belief[5:15])
    with pytest.raises(ValueError, match="one row a turn"):
        dialogue_panel(clips[:10], belief[:9])


def test_the_browser_shows_the_chosen_dialogue_model_and_streams(talk, monkeypatch):
    clips, _ = talk

    class Heard:
        outputs = torch.randn(7, 30, 7, generator=torch.Generator().manual_seed(0))

    lesson = surroundings("13.3")
    browse = lesson["browse"]
    stage = {
        "test": theatre.dialogue_windows(clips, before=3, after=0),
        "STAGE": clips,
        "answers": {("EmbraceNet", 0.0): [Heard], ("concat", 0.0): [Heard]},
        "PATTERNS": {
            " + ".join(some): place
            for place, some in enumerate(patterns_of(("text", "audio", "vision")))
        },
    }
    for name, value in stage.items():
        monkeypatch.setitem(browse.__globals__, name, value)
    explorer = widgets.explore(
        browse,
        dialogue=(1, 3),
        who=["EmbraceNet", "concat", "perfect observer"],
        streams=["text + audio + vision", "text", "vision"],
    )
    assert explorer.alt.startswith("Dialogue 2, EmbraceNet, text + audio + vision")
    seen = {explorer.output.value}
    for name, value in (("dialogue", 3), ("who", "perfect observer"), ("streams", "vision")):
        explorer.controls[name].value = value
        seen.add(explorer.output.value)
    assert len(seen) == 4
    assert explorer.alt.startswith("Dialogue 3, perfect observer, vision")
    right = (
        theatre.window_posterior(clips, ("vision",), before=3, after=0).argmax(1) == clips.labels
    )
    assert f"{int(right[20:].sum())} of 10 turns right" in explorer.alt


def test_the_figures_of_the_lesson_can_be_drawn():
    bars = share_bars({"one": [2, 1, 1], "other": [10, 30, 60]}, ("a", "b", "c"))
    assert sorted({round(patch.get_height(), 3) for patch in bars.patches}) == [
        0.1,
        0.25,
        0.3,
        0.5,
        0.6,
    ]
    wave = np.sin(np.arange(400) / 9)
    figure = next_sample(wave, wave + 1, start=100, length=50, rate=8000)
    truth, guess = (line.get_ydata() for line in figure.axes[0].lines)
    np.testing.assert_array_equal(truth, wave[100:150])
    np.testing.assert_array_equal(guess, truth + 1)
    with pytest.raises(ValueError, match="one for each"):
        next_sample(wave, wave[1:], start=0, length=5, rate=8000)
    for each in (bars.figure, figure, fusion_map().figure):
        assert len(png_bytes(each)) > 2000
    with pytest.raises(ValueError, match="one number a class"):
        share_bars({"one": [2, 1]}, ("a", "b", "c"))
