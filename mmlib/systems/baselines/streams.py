"""What the fusions share: the streams that came, an encoder for each, and the decision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmlib.data.batch import Batch
from mmlib.layers import check_mask
from mmlib.losses import default_loss
from mmlib.systems.asked import given_streams
from mmlib.systems.baselines.config import BaselineConfig, Classified, Predicted
from mmlib.systems.baselines.encoder import StreamEncoder


class Fusion(nn.Module):
    """A configuration, the streams that it takes, and the layers that decide."""

    def __init__(self, *, config: BaselineConfig) -> None:
        """Keep the config."""
        super().__init__()
        self.config = config

    def received(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor] | None
    ) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Take the streams that came, each as `(B, T, D)` with frames flattened, and its mask.

        Raises:
            ValueError: no stream came, an unknown one, one of another width or number of samples,
                or a mask that does not fit.
        """
        given = given_streams(inputs, self.config.streams)
        count = len(next(iter(given.values())))
        ready: dict[str, tuple[Tensor, Tensor | None]] = {}
        for name, width in zip(self.config.streams, self.config.widths, strict=True):
            if name not in given:
                continue
            x, mask = given[name], None if masks is None else masks.get(name)
            shape = tuple(x.shape)
            if len(shape) < 3 or shape[0] != count or shape[1] < 1:
                raise ValueError(
                    f"{name} has shape {shape}, expected ({count} samples, steps, features) as of "
                    f"{next(iter(given))}; leave out a stream without steps."
                )
            x = x.flatten(2)
            if x.shape[2] != width:
                raise ValueError(
                    f"{name} has {x.shape[2]} features a step, the model was built for {width}."
                )
            check_mask(x, mask, name)
            ready[name] = x, mask
        return ready

    def kept(self, present: Tensor) -> Tensor:
        """Say which streams count: those that are there, less the ones dropped in training.

        A sample may lose all of them: that teaches what to say of nothing.

        Shape:
            present: `(B, M)` bool; returns the same.
        """
        rate = self.config.modality_dropout
        if not self.training or rate == 0 or len(self.config.streams) == 1:
            return present
        return present & (torch.rand_like(present, dtype=torch.float32) >= rate)

    def beside_each_step(self, states: Tensor, summary: Tensor, mask: Tensor | None) -> Tensor:
        """Give the summary; where every step has a label, beside each step's own state.

        Shape:
            states: `(B, T, E)`; summary: `(B, E)`; mask: `(B, T)` bool or None.
            returns: `(B, E)`, or `(B, output_steps, 2 E)`.
        """
        steps = self.config.output_steps
        if steps is None:
            return summary
        wide = summary[:, None].expand(-1, steps, -1)
        if states.shape[1] != steps:  # a stream with its own clock has no state for a step
            return torch.cat([wide, torch.zeros_like(wide)], dim=-1)
        if mask is not None:
            states = states * mask[..., None]
        return torch.cat([wide, states], dim=-1)

    @property
    def fused_dim(self) -> int:
        """The number of features of one stream's entry."""
        return self.config.embed_dim * (1 if self.config.output_steps is None else 2)

    def head(self, in_dim: int) -> nn.Sequential:
        """Make the layers from features to outputs."""
        return decision(in_dim, self.config)

    def wrap(
        self, outputs: Tensor, by_stream: Tensor | None = None, gates: Tensor | None = None
    ) -> Classified | Predicted:
        """Name the outputs by what they are."""
        kind = Predicted if self.config.task == "regression" else Classified
        return kind(outputs, by_stream, gates)


class Streams(Fusion):
    """The encoders of all streams, which streams a sample has, and what each would say alone."""

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build an encoder for each stream of the config, and deciders where they have a loss."""
        super().__init__(config=config)
        sizes = zip(config.streams, config.widths, config.patches, config.depths, strict=True)
        self.encoders = nn.ModuleDict(
            {
                name: StreamEncoder(in_dim=width, patch=patch, depth=depth, config=config)
                for name, width, patch, depth in sizes
            }
        )
        self.deciders = Deciders(in_dim=self.fused_dim, config=config) if self.apart else None

    @property
    def apart(self) -> bool:
        """Say whether each stream also decides alone."""
        return self.config.stream_loss > 0

    def encode(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Encode the streams that came.

        Shape:
            returns: `(B, M, F)`, or `(B, T, M, F)` where every step has a label; and which streams a
            sample has, `(B, M)` bool. What is absent is zero.
        """
        given = self.received(inputs, masks)
        some = next(iter(given.values()))[0]
        summaries: list[Tensor | None] = []
        present = []
        for name in self.config.streams:
            if name not in given:
                summaries.append(None)
                present.append(torch.zeros(len(some), dtype=torch.bool, device=some.device))
                continue
            x, mask = given[name]
            states, summary = self.encoders[name](x, mask)
            summaries.append(self.beside_each_step(states, summary, mask))
            everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
            present.append(everyone if mask is None else mask.any(1))
        like = next(value for value in summaries if value is not None)
        filled = [torch.zeros_like(like) if value is None else value for value in summaries]
        return torch.stack(filled, dim=-2), torch.stack(present, dim=1)

    def alone(self, joined: Tensor, present: Tensor) -> Tensor | None:
        """Let each stream decide alone, where that is wanted; see `Deciders`."""
        return None if self.deciders is None else self.deciders(joined, present)

    def loss(self, output: Classified | Predicted, batch: Batch) -> Tensor:
        """Take the usual loss, and the streams' own by `stream_loss`."""
        together = default_loss(output, batch)
        if output[1] is None:
            return together
        return together + self.config.stream_loss * stream_losses(output[1], batch)


class Deciders(nn.ModuleDict):
    """A small network for each stream, that decides from this stream's summary alone.

    Shape:
        joined: `(B, M, F)` or `(B, T, M, F)`; present: `(B, M)` bool.
        returns: `(B, M, C)` or `(B, T, M, C)`, zero where a stream is absent.
    """

    def __init__(self, *, in_dim: int, config: BaselineConfig) -> None:
        """Build one network for each stream of the config."""
        super().__init__({name: decision(in_dim, config) for name in config.streams})

    def forward(self, joined: Tensor, present: Tensor) -> Tensor:
        """Decide; see the class."""
        apart = zip(self.values(), joined.unbind(-2), strict=True)
        single = torch.stack([decide(summary) for decide, summary in apart], dim=-2)
        return single * spread(present, single)


def decision(in_dim: int, config: BaselineConfig) -> nn.Sequential:
    """Make the layers from features to outputs."""
    width, dropout = config.embed_dim, config.dropout
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(in_dim, width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(width, config.num_outputs),
    )


def stream_losses(by_stream: Tensor, batch: Batch) -> Tensor:
    """Average the streams' own losses; an absent stream's constant outputs teach nothing.

    Shape:
        by_stream: `(B, M, C)`, `(B, M, K)` or `(B, T, M, K)`; returns a scalar.
    """
    each = [default_loss((single,), batch) for single in by_stream.unbind(-2)]
    return torch.stack(each).mean()


def spread(present: Tensor, like: Tensor) -> Tensor:
    """Shape `(B, M)` so that it multiplies `(B, M, F)` or `(B, T, M, F)`."""
    return present.reshape(len(present), *[1] * (like.ndim - 3), -1, 1)
