"""Pictures of a latent: rings that hold what they say, a judge's map, floors, and who moves when."""

import pytest
import torch
from matplotlib import colors
from matplotlib.patches import Circle
from torch import nn

from mmlib.plots import png_bytes
from mmlib.plots.latent import STEPS, floor_curves, latent_scatter, who_moves
from mmlib.widgets import explore

NAMES = ("low", "middle", "high")


def cloud(count: int = 60, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    points = scale * torch.randn(count, 2, generator=generator)
    return points, torch.randint(0, 3, (count,), generator=generator)


def test_the_rings_hold_a_third_two_thirds_and_nine_tenths_of_the_prior():
    ax = latent_scatter(*cloud(), NAMES)
    radii = [patch.radius for patch in ax.patches if isinstance(patch, Circle)]
    draws = torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0)).norm(dim=1)
    inside = [float((draws < radius).double().mean()) for radius in radii]
    assert inside == pytest.approx([1 / 3, 2 / 3, 0.9], abs=0.005)


def test_each_class_has_its_latents_a_colour_and_a_marker_of_its_own():
    points, labels = cloud()
    ax = latent_scatter(points, labels, NAMES)
    groups = {group.get_label(): group for group in ax.collections}
    assert set(groups) == set(NAMES)
    for number, name in enumerate(NAMES):
        drawn = torch.tensor(groups[name].get_offsets().tolist())
        torch.testing.assert_close(drawn, points[labels == number], atol=1e-5, rtol=0)
    assert len({colors.to_hex(group.get_facecolor()[0]) for group in groups.values()}) == 3
    assert len({group.get_paths()[0].vertices.tobytes() for group in groups.values()}) == 3


def test_the_line_of_one_half_is_where_the_judge_cannot_say():
    judge = nn.Linear(2, 1)
    with torch.no_grad():
        judge.weight.copy_(torch.tensor([[2.0, 0.0]]))
        judge.bias.fill_(-3.0)  # one half at x = 1.5
    ax = latent_scatter(*cloud(), NAMES, judge=judge)
    (half,) = [c for c in ax.collections if list(getattr(c, "levels", [])) == [0.5]]
    x = torch.tensor(half.get_paths()[0].vertices[:, 0])
    assert torch.allclose(x, torch.full_like(x, 1.5), atol=0.02)


def test_a_wide_cloud_fits_and_a_judge_who_always_says_one_half_draws_no_line():
    judge = nn.Linear(2, 1)
    nn.init.zeros_(judge.weight)
    nn.init.zeros_(judge.bias)
    points, labels = cloud(scale=10.0)
    ax = latent_scatter(points, labels, NAMES, judge=judge)
    low, high = ax.get_xlim()
    assert low == -high and (points.abs() < high).all(dim=1).double().mean() > 0.95
    assert not [c for c in ax.collections if list(getattr(c, "levels", [])) == [0.5]]


def test_a_latent_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\), expected \(N, 2\)"):
        latent_scatter(torch.zeros(5, 3), torch.zeros(5), NAMES)


def test_a_floor_stands_where_it_is_said_to_and_once_for_two_losses_that_share_it():
    losses = {"one": [3.0, 2.0, 1.5], "two": [2.5, 2.0, 1.3], "other": [2.0, 1.0, 0.5]}
    floors = {"one": 1.25, "two": 1.25, "other": 0.4}
    ax = floor_curves({name: (losses[name], floors[name]) for name in losses})
    assert [list(line.get_ydata()) for line in ax.lines[:3]] == list(losses.values())
    assert [line.get_ydata()[0] for line in ax.lines[3:]] == [1.25, 0.4]
    assert [text.get_text() for text in ax.texts] == ["floor 1.250", "floor 0.400"]
    assert len({line.get_linestyle() for line in ax.lines[:3]}) == 3


def test_in_each_step_the_picture_says_in_words_who_moves_and_who_holds_still():
    figure = who_moves()
    for ax, (title, (moving, idle)) in zip(figure.axes, STEPS.items(), strict=True):
        assert ax.get_title(loc="left") == title
        words = [text.get_text() for text in ax.texts]
        for name in ("encoder", "decoder", "classifier", "discriminator"):
            wanted = name if name in idle else f"{name}\nholds still"
            assert (f"{name}\nmoves" if name in moving else wanted) in words
    assert png_bytes(figure) == png_bytes(who_moves())


def test_the_widget_of_lesson_06_redraws_the_latents_when_a_weight_changes():
    points, labels = cloud()

    def draw(adversarial: float = 1.0):
        ax = latent_scatter(points * (2 - adversarial), labels, NAMES)
        return ax.figure, f"latents at weight {adversarial:g}"

    explorer = explore(draw, adversarial=(0.0, 2.0, 0.5))
    explorer.controls["adversarial"].value = 0.0
    first = explorer.output.value
    explorer.controls["adversarial"].value = 1.5
    assert "latents at weight 1.5" in explorer.output.value
    assert explorer.output.value.split("src=")[1] != first.split("src=")[1]
