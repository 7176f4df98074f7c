"""Early fusion: the streams side by side at every step, then one encoder for all."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mmlib.layers import all_real
from mmlib.systems.baselines.align import align
from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.encoder import StreamEncoder, join_patches, play
from mmlib.systems.baselines.streams import Fusion


class Early(Fusion):
    """Early fusion: bring all streams to one clock, join them step by step, and encode the whole.

    The clock is that of the longest stream (in the train split), in its patches; where each step has
    a label, the labels'. Streams as long as that tick with it, step by step; any other is spread
    evenly over the clock's real steps (`align`). It is assumed that the streams of a sample span the
    same stretch of time; a stream of one step holds for all of it.

    Beside the features stands, for each stream, whether it is real at that step. An absent stream is
    all zeros; in training whole streams are dropped now and then. Where all are absent, the output
    is one that depends on nothing, and that training with dropped streams brings near the prior.
    There is one encoder, so `stream_loss` does not apply.

    Shape:
        text, audio, vision: `(B, T, D)`, those of the config; masks: name -> `(B, T)` bool.
        returns: logits `(B, C)`, or prediction `(B, K)` or `(B, T, K)`.

    Raises:
        ValueError: no stream came, an unknown one, or one of another width; a config without
            `lengths`.
    """

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build the encoder of the joined streams, and the network that decides."""
        super().__init__(config=config)
        if not config.lengths:
            raise ValueError(
                "early fusion takes its clock from the streams' numbers of steps, and the config "
                "has none; give lengths=(...), one a stream, or use BaselineConfig.for_dataset."
            )
        self.steps = config.output_steps or max(config.lengths)
        lengths = zip(config.streams, config.lengths, strict=True)
        self.leads = [name for name, length in lengths if length == self.steps]
        self.patches = dict(zip(config.streams, config.patches, strict=True))
        patch = self.patches[self.leads[0]] if self.leads else 1
        self.ticks = -(-self.steps // patch)
        joined = sum(w * p for w, p in zip(config.widths, config.patches, strict=True))
        # What is played louder or higher is each stream, before they are joined.
        self.encoder = StreamEncoder(
            in_dim=joined + len(config.streams),
            patch=1,
            depth=max(config.depths),
            config=replace(config, noise=0.0, gain=0.0),
        )
        self.decide = self.head(self.fused_dim)

    def forward(
        self, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> Classified | Predicted:
        """Align, join, encode, decide."""
        joined, mask = self.side_by_side(self.received(inputs, masks))
        states, summary = self.encoder(joined, mask)
        return self.wrap(self.decide(self.beside_each_step(states, summary, mask)))

    def side_by_side(self, given: dict[str, tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
        """Join the streams on one clock.

        Shape:
            returns: `(B, S, sum of patch * width + M)`, and `(B, S)` bool, real where any stream is.
        """
        ready = {name: self._patched(name, *stream) for name, stream in given.items()}
        some = next(iter(ready.values()))[0]
        leading = [name for name in ready if name in self.leads]
        ticks = max([self.ticks, *(ready[name][0].shape[1] for name in leading)])
        step = torch.arange(ticks, device=some.device)
        clock = torch.zeros(len(some), ticks, dtype=torch.bool, device=some.device)
        for name in leading:
            x, mask = ready[name]
            missing = ticks - x.shape[1]
            ready[name] = F.pad(x, (0, 0, 0, missing)), F.pad(mask, (0, missing))
            clock = clock | ready[name][1]
        # Where no leading stream is there, the others are spread over the whole clock.
        clock = clock | (~clock.any(1, keepdim=True) & (step < self.ticks))
        for name in ready.keys() - set(leading):
            ready[name] = align(*ready[name], clock)
        columns = []
        for name, width in zip(self.config.streams, self.config.widths, strict=True):
            empty = some.new_zeros(len(some), ticks, self.patches[name] * width)
            columns.append(ready.get(name, (empty, torch.zeros_like(clock))))
        there = torch.stack([mask for _, mask in columns], dim=-1)  # (B, S, M)
        kept = there & self.kept(there.any(1))[:, None]
        heard = [x * keep[..., None] for (x, _), keep in zip(columns, kept.unbind(-1), strict=True)]
        return torch.cat([*heard, kept.to(some.dtype)], dim=-1), kept.any(-1)

    def _patched(self, name: str, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Make a stream's steps ready: varied in training, zero where not real, in patches."""
        if self.training:
            louder, higher = (self.config.gain * torch.randn_like(x[:, :1, :1]) for _ in range(2))
            x = play(x, louder, higher, self.config.noise)
        if mask is None:
            mask = all_real(x)
        x, patched = join_patches(x.masked_fill(~mask[..., None], 0.0), mask, self.patches[name])
        assert patched is not None
        return x, patched
