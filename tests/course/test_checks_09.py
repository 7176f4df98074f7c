"""The checks of lesson 09, tried on what learners get wrong, on other right answers, on cheats."""

import numpy as np
import pandas as pd
import pytest
import torch
from checking import Answers, Misconception, surroundings, trials

from mmlib import widgets
from mmlib.checks.lesson_09 import pool_with_credit
from mmlib.data.sound import cepstrum
from mmlib.plots import png_bytes
from mmlib.plots.avt_ca import (
    READINGS,
    credit_strips,
    draw_reading,
    learning_panels,
    reading,
    sizes,
)
from mmlib.plots.cepstra import from_cepstrum, likeness, voice_to_cepstra, what_is_kept
from mmlib.systems import AVTCA, AVTCAConfig

FUSION = Answers(
    "09.1",
    misconceptions=(
        Misconception(
            "the one who is asked is updated",
            "An attention's output has a row for each query: the stream that is updated asks (A-15).",
            edit=(
                "part.norm_query(streams[own]),\n            part.norm_context(streams[other]),",
                "part.norm_query(streams[other]),\n            part.norm_context(streams[own]),",
            ),
        ),
        Misconception(
            "each stream asks itself",
            "Then nothing is fused; with equal widths and lengths no shape complains.",
            edit=(
                "part.norm_context(streams[other]),\n            padding_mask=masks[other],",
                "part.norm_query(streams[own]),\n            padding_mask=masks[own],",
            ),
        ),
        Misconception(
            "the mask of the one who asks",
            "While attending, the mask says which answers are real.",
            edit=("padding_mask=masks[other]", "padding_mask=masks[own]"),
        ),
        Misconception(
            "no mask",
            "Padding then answers like a real step.",
            edit=("padding_mask=masks[other]", "padding_mask=None"),
        ),
        Misconception(
            "one after the other",
            "The vision then hears an audio that has already heard the vision.",
            edit=(
                "updated[own] = streams[own] + told",
                "updated[own] = streams[own] = streams[own] + told",
            ),
        ),
        Misconception(
            "the block alone",
            "Algorithm 6 has no way round its attention; the stream is added outside (A-12).",
            edit=("streams[own] + told + part.mlp", "told + part.mlp"),
        ),
        Misconception(
            "the MLP without a way round it",
            "What was told is added to what the MLP makes of it.",
            edit=("streams[own] + told + part.mlp", "streams[own] + part.mlp"),
        ),
        Misconception(
            "the MLP of the sum",
            "A usual transformer block does so; this one works on what was told alone.",
            edit=("part.norm_attended(told)", "part.norm_attended(streams[own] + told)"),
        ),
        Misconception(
            "the MLP without its norm",
            "Norm(a) goes into the MLP.",
            edit=("part.mlp(part.norm_attended(told))", "part.mlp(told)"),
        ),
        Misconception(
            "the norm in the place of the stream",
            "What is added is the stream as it came.",
            edit=(
                "updated[own] = streams[own] +",
                "updated[own] = part.norm_query(streams[own]) +",
            ),
        ),
        Misconception(
            "the streams come back swapped",
            "Audio first, then vision.",
            edit=('updated["audio"], updated["vision"]', 'updated["vision"], updated["audio"]'),
        ),
    ),
    alternatives=(
        """
def intermediate_fusion(audio, vision, masks, parts):
    def told(part, query, context, mask):
        a = part.attention(part.norm_query(query), part.norm_context(context), padding_mask=mask)
        return a + part.mlp(part.norm_attended(a))
    return (
        audio + told(parts["audio"], audio, vision, masks["vision"]),
        vision + told(parts["vision"], vision, audio, masks["audio"]),
    )
""",
        """
def intermediate_fusion(audio, vision, masks, parts):
    a, v = parts["audio"], parts["vision"]
    heard = a.attention(a.norm_query(audio), a.norm_context(vision), padding_mask=masks["vision"])
    seen = v.attention(v.norm_query(vision), v.norm_context(audio), padding_mask=masks["audio"])
    new_audio = torch.stack([audio, heard, a.mlp(a.norm_attended(heard))]).sum(0)
    new_vision = torch.stack([vision, seen, v.mlp(v.norm_attended(seen))]).sum(0)
    return [new_audio, new_vision]
""",
    ),
    constant="(torch.zeros(7, 11, 6), torch.zeros(7, 3, 4))",
)

FINAL = Answers(
    "09.2",
    misconceptions=(
        Misconception(
            "self-attention by the name of cross-attention",
            "That is what the code does; the text says that the two are integrated (A-18).",
            edit=('late["audio"](audio, vision).amax(1)', 'late["audio"](audio).amax(1)'),
        ),
        Misconception(
            "the layers swapped",
            "The layer named audio is the one in which the audio asks.",
            edit=(
                'late["audio"](audio, vision).amax(1) + late["vision"](vision, audio).amax(1)',
                'late["vision"](audio, vision).amax(1) + late["audio"](vision, audio).amax(1)',
            ),
        ),
        Misconception(
            "the mean in the text's reading",
            "The text pools by the maximum, the code by the mean (A-20).",
            edit=('late["audio"](audio, vision).amax(1)', 'late["audio"](audio, vision).mean(1)'),
        ),
        Misconception(
            "the maximum in the code's reading",
            "The code pools by the mean.",
            edit=('late["shared"](stream).mean(1)', 'late["shared"](stream).amax(1)'),
        ),
        Misconception(
            "logits for the text",
            "The text ends in a softmax.",
            edit=("head(heard).softmax(-1)", "head(heard)"),
        ),
        Misconception(
            "probabilities for the code",
            "A library's cross-entropy wants logits; two softmaxes learn slowly (A-22).",
            edit=(
                "head(torch.cat(pooled, dim=-1))",
                "head(torch.cat(pooled, dim=-1)).softmax(-1)",
            ),
        ),
        Misconception(
            "softmax over the batch",
            "The classes share one, not the samples.",
            edit=("softmax(-1)", "softmax(0)"),
        ),
        Misconception(
            "softmax before the dense layer",
            "Then it is over the features, and what comes out sums to nothing (A-21).",
            edit=("head(heard).softmax(-1)", "head(heard.softmax(-1))"),
        ),
        Misconception(
            "joined in the other order",
            "The head's first half belongs to the audio.",
            edit=("in (audio, vision)]", "in (vision, audio)]"),
        ),
        Misconception(
            "the other stream as context in the code",
            "The released layer gets one stream as query, key and value.",
            edit=(
                '[late["shared"](stream).mean(1) for stream in (audio, vision)]',
                '[late["shared"](audio, vision).mean(1), late["shared"](vision, audio).mean(1)]',
            ),
        ),
        Misconception(
            "the maximum over the features",
            "Time is axis 1; the features are what the head reads.",
            edit=('late["vision"](vision, audio).amax(1)', 'late["vision"](vision, audio).amax(2)'),
        ),
        Misconception(
            "both streams pooled as one sequence",
            "One maximum over both is not the sum of two.",
            edit=(
                'late["audio"](audio, vision).amax(1) + late["vision"](vision, audio).amax(1)',
                'torch.cat([late["audio"](audio, vision), late["vision"](vision, audio)], 1).amax(1)',
            ),
        ),
    ),
    alternatives=(
        """
def final_stage(audio, vision, late, head, reading):
    if reading == "code":
        layer = late["shared"]
        both = torch.hstack([layer(audio).sum(1) / audio.shape[1], layer(vision).mean(dim=1)])
        return both @ head.weight.T + head.bias
    a, v = late["audio"](audio, vision), late["vision"](vision, audio)
    scores = head(a.max(dim=1).values + v.max(dim=1).values)
    return torch.nn.functional.softmax(scores, dim=1)
""",
        """
def final_stage(audio, vision, late, head, reading):
    text = reading == "text"
    streams = {"audio": audio, "vision": vision}
    other = {"audio": vision, "vision": audio}
    pooled = []
    for name, x in streams.items():
        y = late[name](x, other[name]) if text else late["shared"](x, x)
        pooled.append(torch.amax(y, dim=1) if text else torch.mean(y, dim=1))
    logits = head(sum(pooled) if text else torch.cat(pooled, 1))
    return logits.exp() / logits.exp().sum(1, keepdim=True) if text else logits
""",
    ),
    constant="torch.full((7, 5), 0.2)",
)

POOL = Answers(
    "09.3",
    misconceptions=(
        Misconception(
            "zeros for what is not real",
            "Where all values are negative, the zero wins the maximum.",
            edit=('float("-inf")', "0.0"),
        ),
        Misconception(
            "all steps in the mean",
            "Padding then waters the mean down.",
            edit=(
                "mask / mask.sum(1, keepdim=True).clamp(min=1)",
                "torch.ones_like(x[..., 0]) / x.shape[1]",
            ),
        ),
        Misconception(
            "the largest step takes all",
            "Each feature has a winner of its own; the credit is their share.",
            edit=(
                "return pooled.masked_fill(~some, 0.0), votes.mean(1) * some",
                (
                    "best = nn.functional.one_hot(votes.sum(1).argmax(1), x.shape[1]).to(x.dtype)\n"
                    "    return pooled.masked_fill(~some, 0.0), best * some"
                ),
            ),
        ),
        Misconception(
            "votes are counted, not shared",
            "Shares sum to one, whatever the number of features.",
            edit=("votes.mean(1) * some", "votes.sum(1) * some"),
        ),
        Misconception(
            "minus infinity where nothing is real",
            "A row without a real step has zeros, or the next layer makes NaN of it.",
            edit=("pooled.masked_fill(~some, 0.0)", "pooled"),
        ),
        Misconception(
            "credit where nothing is real",
            "Nobody is listened to in an absent stream.",
            edit=("votes.mean(1) * some", "votes.mean(1)"),
        ),
        Misconception(
            "soft credit under the maximum",
            "The gradient of a maximum goes to the winner alone, not by a softmax to all.",
            edit=(
                "votes.mean(1) * some",
                "x.masked_fill(~real, -1e9).softmax(1).mean(2) * mask",
            ),
        ),
        Misconception(
            "equal credit under the maximum",
            "That is the mean's.",
            edit=(
                "votes.mean(1) * some",
                "mask / mask.sum(1, keepdim=True).clamp(min=1)",
            ),
        ),
        Misconception(
            "the pools confused",
            "how says which.",
            edit=('if how == "mean":', 'if how == "max":'),
        ),
        Misconception(
            "winners among all steps",
            "The maximum is over the real steps, and so are its winners.",
            edit=(
                "nn.functional.one_hot(where, x.shape[1])",
                "nn.functional.one_hot(x.argmax(1), x.shape[1])",
            ),
        ),
        Misconception(
            "the sum for the mean",
            "Then a long clip speaks louder.",
            edit=("pooled = (x * credit.unsqueeze(-1)).sum(1)", "pooled = (x * real).sum(1)"),
        ),
    ),
    alternatives=(
        """
def pool_with_credit(x, mask, how):
    batch, steps, width = x.shape
    if how == "mean":
        count = mask.sum(1, keepdim=True).clamp(min=1).to(x.dtype)
        return x.masked_fill(~mask[..., None], 0.0).sum(1) / count, mask.to(x.dtype) / count
    low = torch.where(mask[..., None], x, torch.full_like(x, -1e30))
    where = low.argmax(1)
    pooled = low.gather(1, where[:, None]).squeeze(1) * mask.any(1, keepdim=True)
    credit = torch.zeros(batch, steps, dtype=x.dtype, device=x.device)
    credit.scatter_add_(1, where, torch.full((batch, width), 1 / width, device=x.device))
    return pooled, credit * mask.any(1, keepdim=True)
""",
        """
def pool_with_credit(x, mask, how):
    from mmlib.layers import pool
    source = x.detach().clone().requires_grad_(True)
    filled = source.masked_fill(~mask[..., None], -torch.inf if how == "max" else 0.0)
    if how == "max":
        told = filled.max(1).values.masked_fill(~mask.any(1, keepdim=True), 0.0)
    else:
        told = filled.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
    (slope,) = torch.autograd.grad(told.sum(), source)
    return pool(x, mask, how), slope.mean(-1)
""",
    ),
    constant="(torch.tensor([[5.0, -1.0]]), torch.tensor([[0.5, 0.5, 0.0]]))",
)


@pytest.mark.parametrize("trial", trials([FUSION, FINAL, POOL]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


def test_the_switch_draws_the_reading_that_is_chosen():
    drawn = surroundings("09.1")["draw_reading"]
    explorer = widgets.explore(drawn, name=list(READINGS), heads=["4", "1", "8"])
    first = explorer.output.value
    assert "late: each attends to the other; max over time, added" in explorer.alt
    explorer.controls["name"].value = "released code"
    explorer.controls["heads"].value = "8"
    assert "2,002,398 parameters; without a second pair" in explorer.alt
    assert "one set of weights for both; mean over time, side by side" in explorer.alt
    assert explorer.output.value != first


@pytest.mark.parametrize("name", READINGS)
def test_the_graph_tells_the_parameters_that_the_model_has(name):
    config = reading(name, heads=1)
    count = sum(p.numel() for p in AVTCA(config=config).parameters())
    assert sum(sizes(config).values()) == count
    assert f"1 head: {count:,} parameters" in draw_reading(name, "1")[1].replace(
        "1 heads", "1 head"
    )
    assert sizes(config) == sizes(reading(name, heads=8))


def test_the_released_reading_is_the_official_model_and_algorithm_10_the_papers():
    official, paper = AVTCAConfig.official(), AVTCAConfig.paper()
    assert sizes(reading("released code", heads=8)) == sizes(official)
    assert reading("Algorithm 10") == paper


def test_a_reading_that_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match="no reading 'figure'; there are text, Algorithm 10"):
        reading("figure")


def test_all_coefficients_know_the_whole_spectrum_and_the_first_its_mean():
    bands = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(from_cepstrum(cepstrum(bands, 7), 7), bands, atol=1e-5)
    mean = bands.mean(1, keepdim=True).expand(-1, 7)
    assert torch.allclose(from_cepstrum(cepstrum(bands, 1), 7), mean, atol=1e-5)


def test_columns_that_say_the_same_are_alike_and_independent_ones_are_not():
    draws = torch.randn(5, 400, 3, generator=torch.Generator().manual_seed(0))
    one = draws[..., :1]
    assert likeness(torch.cat([one, -2 * one, one + 5], -1)) == pytest.approx(1.0, abs=1e-5)
    assert likeness(draws) < 0.1


def test_the_figures_of_the_lesson_can_be_drawn():
    columns = ("epoch", "valid_accuracy", "valid_macro_f1", "valid_loss")
    runs = [pd.DataFrame({c: np.linspace(1, 2, 5) + s for c in columns}) for s in range(2)]
    figures = [
        voice_to_cepstra(torch.randn(800), torch.randn(11, 13), torch.randn(11, 5), rate=400),
        what_is_kept(torch.randn(13)),
        learning_panels(runs, runs, ceiling=0.9),
        credit_strips({"max": torch.rand(7), "mean": torch.rand(7)}),
    ]
    assert [len(figure.axes) for figure in figures] == [3, 2, 3, 2]
    for figure in figures:
        assert len(png_bytes(figure)) > 2000
    learnt = figures[2].axes[0]
    assert [line.get_label() for line in learnt.lines[:2]] == ["training", "validation"]
    with pytest.raises(ValueError, match="a history for each seed"):
        learning_panels([], runs)
    with pytest.raises(ValueError, match="at least one row"):
        credit_strips({})


def test_the_credit_of_a_pool_is_what_its_gradient_says():
    x = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1), requires_grad=True)
    mask = torch.arange(7) < torch.tensor([[7], [4], [2]])
    for how in ("max", "mean"):
        pooled, credit = pool_with_credit(x, mask, how)
        (slope,) = torch.autograd.grad(pooled.sum(), x)
        assert torch.allclose(slope.mean(-1), credit, atol=1e-6)
