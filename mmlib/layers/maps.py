"""What the parts for maps, (N, C, H, W), refuse alike."""

from __future__ import annotations

from torch import Tensor


def check_map(x: Tensor, channels: int, what: str) -> None:
    """Refuse what is no map of so many channels.

    Args:
        x: what came.
        channels: that it should have.
        what: got it, for the message.

    Shape:
        - x: (N, channels, H, W)

    Raises:
        ValueError: it has another number of axes or of channels.
    """
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(
            f"{what} got a tensor of shape {tuple(x.shape)}; expected maps (N, {channels}, height, "
            "width), with the channels that it was built for."
        )


def check_reduction(reduction: int) -> None:
    """Refuse a reduction that would not make anything narrower or as wide.

    Raises:
        ValueError: it is below one.
    """
    if reduction < 1:
        raise ValueError(f"reduction={reduction}: expected 1 (as wide) or more (narrower).")
