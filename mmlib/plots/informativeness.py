"""How informative each channel is, and what each fusion makes of it: exact bars for every subset.

Nothing is sampled and no recording is looked at. Every number is a sum over the probability tables of
a synthetic play: what anyone could reach, what decisions that are put together can reach, and what a
network with one hidden layer reaches when it is trained on the tables themselves, that is, with endless
data.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from mmlib.data import theatre
from mmlib.data.theatre.late import combine_posteriors
from mmlib.data.theatre.tables import SUBSETS, by_class, channel_table, combine
from mmlib.data.threads import one_thread
from mmlib.plots.looks import CEILING, LOOKS, OTHERS, new_figure, styled

HIDDEN = 24
STEPS = 60
SHORT = {"text": "T", "audio": "A", "vision": "V"}


class Reach(NamedTuple):
    """What is reached with one subset of the modalities, as accuracies."""

    ceiling: float
    late: float
    concat: float


def hidden_layer_accuracy(joint: np.ndarray, *, steps: int = STEPS) -> float:
    """Train one hidden layer on joined one-hot observations, each cell weighted by its probability.

    Shape:
        joint: `(C, observations 1, observations 2, ...)`, one in sum.
    """
    table = torch.from_numpy(joint)
    draws = torch.Generator().manual_seed(0)
    shapes = [
        [HIDDEN, *[size if axis == own else 1 for axis in range(1, joint.ndim)]]
        for own, size in enumerate(joint.shape[1:], start=1)
    ]
    parts = [torch.randn(shape, generator=draws, dtype=torch.float64) for shape in shapes]
    out = 0.3 * torch.randn(len(joint), HIDDEN, generator=draws, dtype=torch.float64)
    bias = torch.log(table.flatten(1).sum(1).clamp(min=1e-12)).clone()
    weights = [weight.requires_grad_() for weight in (*parts, out, bias)]

    def logits() -> torch.Tensor:
        hidden = torch.tanh(functools.reduce(torch.add, parts))  # one-hot times matrix: a row
        return torch.tensordot(out, hidden, 1) + bias.reshape(-1, *[1] * (joint.ndim - 1))

    solver = torch.optim.LBFGS(
        weights, max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = -(table * torch.log_softmax(logits(), 0)).sum()
        value.backward()
        return value

    solver.step(loss)
    with torch.no_grad():
        chosen = logits().argmax(0, keepdim=True)
    return float(table.gather(0, chosen).sum())


def _product_accuracy(joint: np.ndarray) -> float:
    """How often the product of the posteriors of each modality alone names the right class."""
    axes = range(1, joint.ndim)
    alone = [joint.sum(tuple(a for a in axes if a != own), keepdims=True) for own in axes]
    posteriors = [each / np.maximum(each.sum(0), 1e-300) for each in alone]
    prior = joint.sum(tuple(axes), keepdims=True)
    scores = np.broadcast_to(combine_posteriors(posteriors, prior, "product"), joint.shape)
    chosen = np.round(scores, 10).argmax(0)  # equal but for the last digit is a tie everywhere
    return float(np.take_along_axis(joint, chosen[None], 0).sum())


@functools.lru_cache(maxsize=256)
@one_thread()
def reach(
    text_clarity: float, audio_clarity: float, vision_clarity: float, irony: float
) -> dict[str, Reach]:
    """What is reached with each subset of the modalities, ``"text"`` to ``"text+audio+vision"``."""
    script = theatre.PRESETS["masks"].changed(
        text_clarity=text_clarity,
        audio_clarity=audio_clarity,
        vision_clarity=vision_clarity,
        irony=irony,
    )
    prior = np.array(script.emotion_prior)
    found = {}
    for subset in SUBSETS:
        tables = [channel_table(script, name) for name in subset]
        joint = by_class(script, combine(script, tables, prior))
        best = float(joint.max(0).sum())
        alone = len(subset) == 1  # with one modality there is nothing to fuse
        late = best if alone else _product_accuracy(joint)
        concat = best if alone else hidden_layer_accuracy(joint)
        found["+".join(subset)] = Reach(best, late, concat)
    return found


@styled
def draw_informativeness(
    text_clarity: float = 4.0,
    audio_clarity: float = 3.5,
    vision_clarity: float = 4.5,
    irony: float = 0.0,
) -> tuple[Figure, str]:
    """Draw the bars of every subset at four settings; return the figure and its alt text.

    Args:
        text_clarity: how seldom the words err, 0 (they tell nothing) to 20.
        audio_clarity: the same of the voice.
        vision_clarity: the same of the face.
        irony: the share of clips in which the words say the opposite, 0 to .5.
    """
    found = reach(text_clarity, audio_clarity, vision_clarity, irony)
    figure = new_figure(8.0, 3.7)
    ax = figure.subplots()
    kinds = {"late": OTHERS[1], "concat": LOOKS["fusion"]}
    labels = {"late": "late (product of decisions)", "concat": "concat and a hidden layer"}
    for place, (subset, scores) in enumerate(found.items()):
        names = subset.split("+")
        bars = {"alone": scores.ceiling} if len(names) == 1 else scores._asdict()
        bars.pop("ceiling", None)
        for order, (kind, height) in enumerate(bars.items()):
            seen = kinds.get(kind, LOOKS.get(subset, LOOKS["fusion"]))
            x = place + (order - (len(bars) - 1) / 2) * 0.38
            ax.bar(
                x,
                height,
                0.36,
                color=seen.color,
                alpha=0.45,
                hatch=seen.hatch,
                edgecolor=seen.color,
                label=labels.get(kind) if place == 3 else None,
            )
            words = f"{height:.2f}".lstrip("0")
            ax.annotate(
                words, (x, 0), xytext=(0, 3), textcoords="offset points", ha="center", size=9,
                bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.0},
            )  # fmt: skip
        ax.plot(
            [place - 0.42, place + 0.42],
            [scores.ceiling] * 2,
            color=CEILING,
            ls="-",
            lw=2.2,
            label="ceiling" if place == 3 else None,
        )
    ax.axhline(1 / 8, color="#6E6E6E", ls=":", lw=1.3)
    ax.set_xticks(range(len(found)), [_written(subset) for subset in found])
    ax.set(ylim=(0, 1.02), ylabel="accuracy", title=_heading(irony))
    figure.legend(loc="outside lower center", ncol=3, columnspacing=1.2)
    return figure, _alt(found, irony)


def _written(subset: str) -> str:
    names = subset.split("+")
    return names[0] if len(names) == 1 else " + ".join(SHORT[name] for name in names)


def _heading(irony: float) -> str:
    return f"Each channel and each team, {100 * irony:.0f} % of the words ironic (exact)"


def _alt(found: dict[str, Reach], irony: float) -> str:
    told = "; ".join(
        f"{subset} {scores.ceiling:.2f}"
        + (f" (late {scores.late:.2f}, concat {scores.concat:.2f})" if "+" in subset else "")
        for subset, scores in found.items()
    )
    return f"Bars of exact accuracy with {100 * irony:.0f} % irony, ceiling of each subset: {told}."
