"""The latent of an adversarial autoencoder: its cloud against the prior, its judge, its floor, its game."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from torch import Tensor

from mmlib.plots.looks import CEILING, LOOKS, OTHERS, as_array, new_figure, panel, styled

CLASSES = (OTHERS[2], LOOKS["audio"], LOOKS["text"], *OTHERS[:2], OTHERS[3])
#: The parts of the model -> where their box stands: column, row.
PARTS = {"encoder": (0, 0), "decoder": (1.7, 1), "classifier": (1.7, 0), "discriminator": (1.7, -1)}
#: The steps of a batch -> the parts that move, and those that are not asked.
STEPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "1  autoencode": (("encoder", "decoder", "classifier"), ("discriminator",)),
    "2  discriminate": (("discriminator",), ("decoder", "classifier")),
    "3  generate": (("encoder",), ("decoder", "classifier")),
}


@styled
def who_moves() -> Figure:
    """Draw the three steps of a batch: which parts move, which hold still, and which are not asked."""
    figure = new_figure(9.6, 2.9)
    panels: Any = figure.subplots(1, 3)
    for ax, (title, (moving, idle)) in zip(panels, STEPS.items(), strict=True):
        for name, (x, y) in PARTS.items():
            _part(ax, name, x, y, moves=name in moving, idle=name in idle)
            if name != "encoder" and name not in idle:
                ax.annotate(
                    "", (x - 0.68, y * 0.97), (0.68 if y == 0 else 0.56, y * 0.3),
                    arrowprops={"arrowstyle": "-|>", "color": "#3D3D3D", "lw": 1.2},
                )  # fmt: skip
        if title.startswith("2"):
            ax.plot([0.86, 1.0], [-0.72, -0.44], color=CEILING, lw=3, ls="-")
            ax.text(0.72, -0.98, "detach", color=CEILING, size=10, ha="right", va="center")
        if not title.startswith("1"):
            label = "latent: 0, prior: 1" if title.startswith("2") else "latent: 1 (inverted)"
            ax.text(1.7, -1.52, label, ha="center", va="center", size=9.5)
        ax.set(xlim=(-0.72, 2.45), ylim=(-1.75, 1.42), xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(False)
    return figure


def _part(ax: Axes, name: str, x: float, y: float, *, moves: bool, idle: bool) -> None:
    box = FancyBboxPatch((x - 0.66, y - 0.3), 1.32, 0.6, boxstyle="round,pad=0,rounding_size=0.12")
    if idle:
        box.set(facecolor="white", edgecolor="#C8C8C8", linestyle=":")
    elif moves:
        box.set(facecolor=OTHERS[1].color, edgecolor="#3D3D3D", linewidth=2.2)
    else:
        box.set(facecolor="#E6E6E6", edgecolor="#7A7A7A", linewidth=1.0)
    ax.add_patch(box)
    says = "" if idle else ("\nmoves" if moves else "\nholds still")
    ax.text(
        x, y - 0.01, name + says, ha="center", va="center", size=9.5,
        weight="bold" if moves else "normal", color="#8C8C8C" if idle else "black",
    )  # fmt: skip


@styled
def latent_scatter(
    latent: Any,
    labels: Any,
    names: Sequence[str],
    *,
    judge: Callable[[Tensor], Tensor] | None = None,
    title: str = "",
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw latents of two numbers over the rings of N(0, I), and how its judge divides the plane.

    A third, two thirds and nine tenths of what N(0, I) draws fall inside of the three rings. Some
    of the farthest latents may lie outside of the picture.

    Args:
        latent: (N, 2).
        labels: the class of each, (N,).
        names: of the classes.
        judge: a discriminator, (M, 2) -> logits (M, 1) of being a draw of the prior; without it, no map.
        title: what is shown.
        legend: whether the classes are explained.
        ax: the panel to draw on; a new figure without it.

    Raises:
        ValueError: latents of another width.
    """
    points, classes = as_array(latent), as_array(labels)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(
            f"the latents have shape {points.shape}, expected (N, 2): a plane is drawn."
        )
    ax = panel(ax, 4.6, 4.2)
    reach = float(max(3.0, np.quantile(np.abs(points), 0.985) * 1.12))
    if judge is not None:
        _map_of(ax, judge, reach)
    for radius in (0.9, 1.482, 2.146):
        ring = Circle((0, 0), radius, fill=False, edgecolor="black", lw=1.1, ls="--", zorder=3)
        ax.add_patch(ring)
    for number, name in enumerate(names):
        kind, mine = CLASSES[number % len(CLASSES)], points[classes == number]
        ax.scatter(
            mine[:, 0], mine[:, 1], s=20, marker=kind.marker, color=kind.color, alpha=0.8,
            linewidth=0.3, edgecolor="white", label=name, zorder=2,
        )  # fmt: skip
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
    if legend:
        ax.legend(fontsize=8, loc="upper right", frameon=True, framealpha=0.8, handletextpad=0.2)
    return ax


def _map_of(ax: Axes, judge: Callable[[Tensor], Tensor], reach: float) -> None:
    """Shade how probably the judge takes each place for the prior's; a line where it cannot say."""
    line = torch.linspace(-reach, reach, 81)
    plane = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    with torch.no_grad():
        says = judge(plane.flatten(0, 1)).sigmoid().reshape(81, 81).numpy()
    ax.contourf(line, line, says, levels=np.linspace(0, 1, 11), cmap="Greys_r", alpha=0.45)
    if says.min() < 0.5 < says.max():
        half = ax.contour(line, line, says, levels=[0.5], colors=[CEILING], linewidths=1.8)
        ax.clabel(half, fmt={0.5: "½"}, fontsize=10)


@styled
def floor_curves(
    curves: Mapping[str, tuple[Any, float]], *, title: str = "", ax: Axes | None = None
) -> Axes:
    """Draw losses that fall, and the floor that each of them cannot fall below.

    Args:
        curves: a name for each -> its losses, one a step, and its floor.
        title: what is shown.
        ax: the panel to draw on; a new figure without it.
    """
    ax = panel(ax, 7.0, 3.0)
    for order, (name, (losses, _)) in enumerate(curves.items()):
        kind = OTHERS[(order + 1) % len(OTHERS)]
        values = as_array(losses)
        ax.plot(values, color=kind.color, ls=kind.linestyle, lw=2, label=name)
    for floor in dict.fromkeys(floor for _, floor in curves.values()):
        ax.axhline(floor, color="black", ls="-", lw=0.8)
        ax.annotate(
            f"floor {floor:.3f}",
            (1.0, floor),
            xytext=(4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            size=9.5,
        )
    ax.set(xlabel="step", ylabel="mean squared error", title=title, ylim=(0, None))
    ax.set_xlim(0, None)
    ax.legend(fontsize=9)
    return ax
