"""The encoder of CA-MMAAET: three streams, what they ask each other, and one latent vector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmlib.layers import (
    MultiHeadAttention,
    SinusoidalPositions,
    TemporalConv,
    TransformerBlock,
    last_real,
    masked_mean,
    scaled_dot_product_attention,
)
from mmlib.systems.ca_mmaaet.config import PAIRS, STREAMS, CAMMAAETConfig


class Stream(NamedTuple):
    """A stream on its way through the encoder: states (B, T, H), mask (B, T), summary (B, S)."""

    states: Tensor
    mask: Tensor | None
    summary: Tensor


class RecurrentStream(nn.Module):
    """Vision and audio: convolutions, then an LSTM, summed up by its last real state.

    Shape:
        - x: (B, T, in_dim); mask: (B, T) bool or None -> a `Stream` with a summary (B, H)

    Source:
        CA-MMAAET, section IV, Encoder.

    Choices:
        C-16: all states are kept for cross-attention, the last one is the summary. C-19: padding is
        masked. C-26: tanh in the LSTM.
    """

    def __init__(self, *, convolutions: list[TemporalConv], hidden_dim: int) -> None:
        """Put the LSTM behind the convolutions."""
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.lstm = nn.LSTM(hidden_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None) -> Stream:
        """Convolve and read from left to right."""
        for convolve in self.convolutions:
            x, mask = convolve(x, mask)
        # In one piece, or every product that reads these states makes a copy of them first.
        states = self.lstm(x)[0].contiguous()  # (B, T', H)
        return Stream(states, mask, last_real(states, mask))


class TextStream(nn.Module):
    """Text: a convolution, then the transformer block; without it, attention of one over another.

    Shape:
        - x: (B, T, text_dim); mask: (B, T) bool or None -> a `Stream` with a summary (B, H), without
          the transformer block (B, 2H)

    Source:
        CA-MMAAET, section IV, the equations of O1 and O2.

    Choices:
        C-17: features, convolution, block, in this order. Without the block two convolutions give
        query and value of a dot-product attention, and the means of both are joined.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build one convolution and the block, or two convolutions."""
        super().__init__()
        width = config.hidden_dim

        def convolution() -> TemporalConv:
            return TemporalConv(in_dim=config.text_dim, out_dim=width, padding=config.padding)

        self.convolve = convolution()
        self.value = None if config.transformer else convolution()
        self.positions = SinusoidalPositions() if config.positions else nn.Identity()
        self.block = None
        if config.transformer:
            self.block = TransformerBlock(
                embed_dim=width,
                num_heads=config.num_heads,
                ffn_dim=config.ffn_dim,
                dropout=config.dropout,
            )

    def forward(self, x: Tensor, mask: Tensor | None) -> Stream:
        """Convolve, then let the steps see each other."""
        convolved, after = self.convolve(x, mask)
        query = self.positions(convolved).contiguous()  # (B, T', H), in one piece as above
        if self.block is not None:
            states = self.block(query, padding_mask=after)  # O2
            return Stream(states, after, masked_mean(states, after))
        assert self.value is not None
        value = self.positions(self.value(x, mask)[0])
        keys = None if after is None else after[:, None, :]
        states = scaled_dot_product_attention(query, value, value, mask=keys)
        means = masked_mean(query, after), masked_mean(states, after)
        return Stream(states, after, torch.cat(means, dim=-1))


class Encoder(nn.Module):
    """Three streams to one latent vector.

    Shape:
        - text, audio, vision: (B, T, D) each, masks name -> (B, T) -> (B, Z)

    Source:
        CA-MMAAET, section IV, Encoder, and figure 1.

    Choices:
        C-14: widths. C-15: who asks whom. C-16: every model joins the streams' summaries; those with
        cross-attention also join the mean of each attention's output, so that the four models
        differ in nothing but the part under test.
    """

    def __init__(self, *, config: CAMMAAETConfig) -> None:
        """Build the streams, the attentions between them, and the way to the latent."""
        super().__init__()
        self.config, width = config, config.hidden_dim
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.text = TextStream(config=config)
        self.audio = RecurrentStream(
            convolutions=[
                TemporalConv(
                    in_dim=config.audio_dim,
                    out_dim=width,
                    stride=config.audio_stride,
                    padding=config.padding,
                )
            ],
            hidden_dim=width,
        )
        self.vision = RecurrentStream(
            convolutions=[
                TemporalConv(in_dim=config.vision_dim, out_dim=width),
                TemporalConv(in_dim=width, out_dim=width, kernel_size=1),
                TemporalConv(in_dim=width, out_dim=width),
            ],
            hidden_dim=width,
        )
        self.pairs = PAIRS[config.pairs] if config.cross_attention else ()
        self.cross_attention = nn.ModuleDict(
            {
                # Without dropout of the weights, which the paper does not have: the fused kernel.
                f"{query}_from_{context}": MultiHeadAttention(
                    query_dim=width, num_heads=config.num_heads
                )
                for query, context in self.pairs
            }
        )
        self.positions = SinusoidalPositions() if config.positions else nn.Identity()
        joined = (3 if config.transformer else 4) + len(self.pairs)
        if config.label_step is not None:
            joined += 3 + len(self.pairs)
        self.fusion_dropout = nn.Dropout(config.fusion_dropout)
        self.to_latent = nn.Linear(joined * width, config.latent_dim)

    def forward(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        """Encode each stream, let them ask each other, join what was found."""
        streams: dict[str, Stream] = {
            name: getattr(self, name)(self.input_dropout(inputs[name]), masks.get(name))
            for name in STREAMS
        }
        found = [stream.summary for stream in streams.values()]
        found += [here for s in streams.values() for here in self._here(s.states, s.mask)]
        states = {name: self.positions(stream.states) for name, stream in streams.items()}
        for query, context in self.pairs:
            attention = self.cross_attention[f"{query}_from_{context}"]
            mask = streams[query].mask
            attended = attention(
                states[query], states[context], padding_mask=streams[context].mask
            )  # (B, T of the query, H)
            found += [masked_mean(attended, mask), *self._here(attended, mask)]
        return self.to_latent(self.fusion_dropout(torch.cat(found, dim=-1)))

    def _here(self, states: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Take the labelled step's state, where there is one; a shorter stream gives its last."""
        if self.config.label_step is None:
            return []
        step = min(self.config.label_step, states.shape[1] - 1)
        return [states[:, step] if mask is None else states[:, step] * mask[:, step, None]]
