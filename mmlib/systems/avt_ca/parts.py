"""What AVT-CA repeats: convolutions over time in pairs, and two streams that ask each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from mmlib.layers import MultiHeadAttention, TemporalConv, TwoStreamBlock
from mmlib.systems.avt_ca.config import AVTCAConfig

Maps = dict[str, Tensor]


class Stage(nn.Module):
    """Two temporal convolutions, each with batch norm and ReLU; over audio each pools as well.

    Shape:
        - x: (B, T, in); mask: (B, T) bool or None -> (B, T', out) and its mask

    Source:
        AVT-CA, Algorithm 1.

    Choices:
        A-01: one-dimensional. A-03: ``pool_stride=1`` takes three steps away a convolution. A-17:
        (B, T, D) outside.
    """

    def __init__(self, *, dims: tuple[int, int, int], **settings: Any) -> None:
        """Build the two convolutions."""
        super().__init__()
        self.first = TemporalConv(in_dim=dims[0], out_dim=dims[1], norm="batch", **settings)
        self.second = TemporalConv(in_dim=dims[1], out_dim=dims[2], norm="batch", **settings)

    def steps_needed(self, steps: int = 1) -> int:
        """Say how long a sequence must be at least, so that so many steps come out."""
        return self.first.steps_needed(self.second.steps_needed(steps))

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Convolve twice."""
        return self.second(*self.first(x, mask))


class Pair(NamedTuple):
    """Both streams on their way: names, states (B, T, D), masks (B, T) or None."""

    names: tuple[str, str]
    states: tuple[Tensor, Tensor]
    masks: tuple[Tensor | None, Tensor | None]


def attend(
    streams: Pair,
    modules: tuple[nn.Module, nn.Module],
    stage: str,
    maps: Maps | None,
    *,
    cross: bool = True,
) -> Pair:
    """Let each stream ask the other, or itself; keep the weights where they are wanted."""
    found = []
    for own, ask in enumerate(modules):
        other = 1 - own if cross else own
        given: dict[str, Any] = {"padding_mask": streams.masks[other]}
        if isinstance(ask, TwoStreamBlock):
            given["query_mask"] = streams.masks[own]
        out = ask(
            streams.states[own], streams.states[other], return_weights=maps is not None, **given
        )
        if maps is not None:
            out, maps[f"{stage}/{streams.names[own]}_from_{streams.names[other]}"] = out
        found.append(out)
    return streams._replace(states=(found[0], found[1]))


class Late(nn.Module):
    """The attention at the end, in its three readings.

    Shape:
        - audio (B, Ta, Da), vision (B, Tv, Dv) and their masks -> the same shapes

    Source:
        AVT-CA, Algorithm 9 and its calls in Algorithm 10, where it is named cross attention and each
        stream is given to it alone.

    Choices:
        A-18: ``"self"`` follows Algorithm 10; ``"shared"`` the released code, with one set of
        weights for both; ``"cross"`` the name. A-19: a head has width / heads features.
    """

    def __init__(self, *, config: AVTCAConfig) -> None:
        """Build one attention, or one a stream."""
        super().__init__()
        widths = config.audio_channels[-1], config.vision_channels[-1]
        self.cross, self.shared = config.late == "cross", config.late == "shared"

        def attention(query: int, context: int) -> MultiHeadAttention:
            return MultiHeadAttention(
                query_dim=query,
                context_dim=context,
                num_heads=config.num_heads,
                dropout=config.dropout,
            )

        self.audio = attention(widths[0], widths[self.cross])
        self.vision = None if self.shared else attention(widths[1], widths[not self.cross])

    def forward(self, streams: Pair, maps: Maps | None) -> Pair:
        """Let each stream attend to itself, or to the other."""
        modules = self.audio, self.audio if self.vision is None else self.vision
        return attend(streams, modules, "late", maps, cross=self.cross)
