"""The actors: who they are to the eye and to the ear, and nothing about what they feel.

A trait is drawn once from a seed and stays with its actor. No trait depends on an emotion, so an
actor's looks and pitch carry no label; whoever finds one in them has found a leak.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: The hair styles, in the order of `Cast.style`.
STYLES: tuple[str, ...] = ("crop", "long", "curls", "bob", "bun")

SKINS = np.array(
    [
        [0.99, 0.86, 0.76],
        [0.96, 0.78, 0.64],
        [0.90, 0.69, 0.52],
        [0.79, 0.57, 0.41],
        [0.64, 0.44, 0.31],
        [0.48, 0.32, 0.23],
    ]
)
BLACK, BROWN, CHESTNUT, BLOND, AUBURN, GREY = range(6)
HAIRS = np.array(
    [
        [0.23, 0.19, 0.22],
        [0.36, 0.22, 0.13],
        [0.57, 0.34, 0.17],
        [0.93, 0.75, 0.38],
        [0.74, 0.31, 0.16],
        [0.74, 0.74, 0.78],
    ]
)
# Four hair colours for each skin, so that face and hair stay apart at 32 pixels.
HAIR_OF_SKIN = np.array(
    [
        [AUBURN, BROWN, BLOND, BLACK],
        [CHESTNUT, BLOND, BLACK, GREY],
        [BLACK, AUBURN, BROWN, GREY],
        [BROWN, BLACK, GREY, BLACK],
        [BLACK, GREY, BLACK, BROWN],
        [BLACK, BROWN, BLACK, GREY],
    ]
)
SHIRTS = np.array(
    [
        [0.83, 0.32, 0.33],
        [0.25, 0.47, 0.75],
        [0.27, 0.60, 0.47],
        [0.93, 0.69, 0.26],
        [0.55, 0.40, 0.70],
        [0.20, 0.29, 0.42],
        [0.94, 0.55, 0.38],
        [0.36, 0.66, 0.74],
    ]
)
BACKDROPS = np.array(
    [
        [0.79, 0.88, 0.94],
        [0.94, 0.88, 0.78],
        [0.84, 0.92, 0.83],
        [0.93, 0.84, 0.89],
        [0.86, 0.85, 0.94],
        [0.95, 0.92, 0.80],
    ]
)
IRISES = np.array([[0.33, 0.20, 0.12], [0.20, 0.42, 0.66], [0.20, 0.50, 0.34]])
# Low voices (even columns of the cycle below) and high voices wear every style, not equally often.
LOW_STYLES = ("crop", "curls", "crop", "bun", "curls", "long")
HIGH_STYLES = ("long", "bob", "bun", "curls", "bob", "crop")


@dataclass(frozen=True)
class Cast:
    """The traits of `n` actors, one tensor a trait, actor first.

    *Shape*: `skin`, `hair`, `shirt`, `backdrop` and `iris` are (n, 3), red, green and blue in
    [0, 1]; every other field is (n,). Lengths are in half canvases, pitch in Hz; `tract` scales the
    formants (above 1: a shorter vocal tract); `style` indexes `STYLES`; `glasses` and `stripes` are 0 or 1.
    """

    skin: Tensor
    hair: Tensor
    shirt: Tensor
    backdrop: Tensor
    iris: Tensor
    style: Tensor
    glasses: Tensor
    stripes: Tensor
    head_width: Tensor
    head_height: Tensor
    eye_size: Tensor
    eye_gap: Tensor
    brow_thickness: Tensor
    nose_size: Tensor
    pitch: Tensor
    tract: Tensor

    def __len__(self) -> int:
        """The number of actors."""
        return len(self.style)

    def pick(self, actor: Tensor) -> "Cast":
        """The same traits with one row for each entry of `actor`, on its device.

        *Shape*: `actor` (B,) int64; every trait of the result has B rows.

        *Raises*: ValueError where an index names no actor.
        """
        if actor.numel() and not 0 <= int(actor.min()) <= int(actor.max()) < len(self):
            raise ValueError(
                f"actors {int(actor.min())} to {int(actor.max())} were asked for, but the cast has "
                f"{len(self)}; use indices from 0 to {len(self) - 1}"
            )
        traits = {
            field.name: getattr(self, field.name).to(actor.device)[actor]
            for field in dataclasses.fields(self)
        }
        return Cast(**traits)


def cast(n: int = 24, seed: int = 7) -> Cast:
    """Draw a cast of `n` actors who differ in skin, hair, build, clothes and voice.

    Half of them have a low voice (95 to 135 Hz), half a high one (170 to 230 Hz). The more visible
    traits are dealt out in turn rather than drawn, so that a small cast already looks mixed.
    """
    if n < 1:
        raise ValueError(f"a cast needs at least one actor, got n={n}")
    rng = np.random.default_rng(seed)
    index = np.arange(n)
    high = (index + index // 6) % 2 == 1
    skin = index % 6
    turn = index // 2
    style_names = [
        (HIGH_STYLES if h else LOW_STYLES)[t % 6] for h, t in zip(high, turn, strict=True)
    ]
    tone = 1 + 0.025 * rng.standard_normal((n, 1))
    traits = {
        "skin": np.clip(SKINS[skin] * tone, 0, 1),
        "hair": HAIRS[HAIR_OF_SKIN[skin, (index // 6) % 4]],
        "shirt": SHIRTS[rng.permutation(n) % len(SHIRTS)],
        "backdrop": BACKDROPS[rng.permutation(n) % len(BACKDROPS)],
        "iris": IRISES[np.where(skin < 3, rng.permutation(n) % 3, 0)],
        "style": np.array([STYLES.index(name) for name in style_names]),
        "glasses": (rng.permutation(n) % 4 == 0).astype(float),
        "stripes": (rng.permutation(n) % 3 == 0).astype(float),
        "head_width": rng.uniform(0.54, 0.63, n),
        "head_height": rng.uniform(0.69, 0.75, n),
        "eye_size": rng.uniform(0.145, 0.172, n),
        "eye_gap": rng.uniform(0.225, 0.265, n),
        "brow_thickness": rng.uniform(0.034, 0.048, n),
        "nose_size": rng.uniform(0.055, 0.085, n),
        "pitch": np.where(high, rng.uniform(170, 230, n), rng.uniform(95, 135, n)),
        "tract": np.where(high, rng.uniform(1.08, 1.20, n), rng.uniform(0.92, 1.00, n)),
    }
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in traits.items()}
    tensors["style"] = tensors["style"].long()
    return Cast(**tensors)
