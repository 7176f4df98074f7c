"""What the baselines share: their configuration and an encoder for each stream.

They take any subset of the modalities, with masks, streams that are absent for some samples, classes
or numbers, labels for a whole sequence, for one step of it, or for every step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.data.feature_set import FeatureSet
from mmlib.layers import TemporalConv, masked_max, masked_mean


class Classified(NamedTuple):
    """Logits `(B, C)`, and for late fusion those of each stream `(B, M, C)`."""

    logits: Tensor
    stream_logits: Tensor | None = None


class Predicted(NamedTuple):
    """Predictions `(B, K)` or `(B, T, K)`, and for late fusion those of each stream."""

    prediction: Tensor
    stream_predictions: Tensor | None = None


@dataclass(frozen=True)
class BaselineConfig:
    """What a baseline is made of.

    Attributes:
        streams: the modalities it takes; widths: their numbers of features.
        num_outputs: classes, or targets of a regression.
        task: what the outputs are.
        label_step: the step that the label belongs to, None where it is the sequence's.
        output_steps: the number of steps that have a label each, None where samples have one.
        prior: the log frequencies of the classes, or the mean targets, of the train split.
        patches: steps joined to one before the convolutions; empty: 1 for each stream.
        depths: convolutions of each stream; empty: 3 for each.
        embed_dim, kernel_size: of the convolutions.
        dropout: on states and summaries; input_dropout: on inputs; modality_dropout: of whole
            streams in training.
        noise: deviation of the noise on (standardised) inputs in training; gain: of a whole
            sample's scale and shift; hide: the share of a sample's steps that is hidden in one
            span, where no single step is asked for.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
    """

    streams: tuple[str, ...] = ("text", "audio", "vision")
    widths: tuple[int, ...] = (768, 512, 512)
    patches: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    num_outputs: int = 8
    task: Literal["classification", "regression"] = "classification"
    label_step: int | None = None
    output_steps: int | None = None
    prior: tuple[float, ...] | None = None
    embed_dim: int = 256
    kernel_size: int = 5
    dropout: float = 0.2
    input_dropout: float = 0.1
    modality_dropout: float = 0.2
    noise: float = 0.1
    gain: float = 0.2
    hide: float = 0.2
    epochs: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        """Fill in what is the same for each stream and refuse what cannot be built."""
        for name, usual in (("patches", 1), ("depths", 3)):
            if not getattr(self, name):
                object.__setattr__(self, name, (usual,) * len(self.streams))
        for name in ("widths", "patches", "depths"):
            if not self.streams or len(getattr(self, name)) != len(self.streams):
                raise ValueError(
                    f"streams={self.streams} and {name}={getattr(self, name)}: expected as many "
                    "of one as of the other, at least one."
                )

    @classmethod
    def paper(cls) -> Self:
        """Give the wide setting."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the setting that trains on two CPU cores in under a minute."""
        return cls(embed_dim=64)

    @classmethod
    def for_dataset(cls, dataset: FeatureSet, scale: str = "small") -> Self:
        """Take streams, widths, outputs and labels' place from the data."""
        scales = {"small": cls.small, "paper": cls.paper}
        if scale not in scales:
            raise ValueError(f"scale is {scale!r}, expected small or paper.")
        labels = dataset.labels
        if dataset.class_names is None:
            prior = labels.flatten(0, -2).mean(0)
        else:
            count = torch.bincount(labels, minlength=dataset.num_outputs).double()
            prior = ((count + 0.5) / (count + 0.5).sum()).log()
        whole = labels.ndim == 2 or dataset.class_names is not None
        free = whole and dataset.label_step is None
        lengths = [dataset.lengths[name] for name in dataset.modalities]
        patches = tuple(max(1, length // 32) if free else 1 for length in lengths)
        chosen = scales[scale]()
        if dataset.label_step is not None:
            # Such steps are whole utterances, described by an encoder that learnt elsewhere: wide
            # vectors, few of them, learnt by heart within a few epochs.
            chosen = replace(chosen, dropout=0.3, input_dropout=0.3, epochs=20)
        return replace(
            chosen,
            streams=dataset.modalities,
            widths=tuple(dataset.widths[name] for name in dataset.modalities),
            patches=patches,
            depths=tuple(0 if length == 1 else 3 for length in lengths),
            num_outputs=dataset.num_outputs,
            task=dataset.task,
            label_step=dataset.label_step,
            output_steps=labels.shape[1] if labels.ndim == 3 else None,
            prior=tuple(prior.tolist()),
        )


class StreamEncoder(nn.Module):
    """Make states and one summary of a stream by residual temporal convolutions.

    The summary joins the states' mean, maximum and deviation over the real steps with mean and
    deviation of the inputs themselves: with a thousand samples, what is known without learning is
    worth as much as what is learnt. Where the label belongs to one step, that step's state and input
    join too. A stream that is absent for a sample has the summary zero.

    Shape:
        x: `(B, T, D)` (or frames, flattened); mask: `(B, T)` bool or None.
        returns: states `(B, T', E)` with T' = T without patches, summary `(B, E)`.
    """

    def __init__(self, *, in_dim: int, patch: int, depth: int, config: BaselineConfig) -> None:
        """Build `depth` convolutions over steps of `patch` joined inputs."""
        super().__init__()
        width = config.embed_dim
        self.patch, self.label_step = patch, config.label_step
        self.noise, self.gain, self.hide = config.noise, config.gain, config.hide
        self.every_step_counts = config.label_step is not None or config.output_steps is not None
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Sequential(
            nn.Linear(patch * in_dim, width), nn.LayerNorm(width), nn.GELU()
        )
        self.blocks = nn.ModuleList(
            TemporalConv(
                in_dim=width,
                out_dim=width,
                kernel_size=config.kernel_size,
                norm="layer",
                activation="gelu",
            )
            for _ in range(depth)
        )
        here = 0 if config.label_step is None else 1
        parts = (3 + here) * width + (2 + here) * in_dim
        self.summarise = nn.Sequential(nn.Linear(parts, width), nn.LayerNorm(width), nn.GELU())

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Encode one stream."""
        x = x.flatten(2)
        if self.training:
            x, mask = self._vary(x, mask)
        if mask is not None:  # a patch may hold steps that are not real
            x = x.masked_fill(~mask.unsqueeze(-1), 0.0)
        joined, joined_mask = self._patches(x, mask)
        states = self.project(self.input_dropout(joined))
        for block in self.blocks:
            states = states + self.dropout(block(states, joined_mask)[0])
        parts = [masked_mean(x, mask), _deviation(x, mask), masked_mean(states, joined_mask)]
        parts += [masked_max(states, joined_mask), _deviation(states, joined_mask)]
        if self.label_step is not None:
            parts += [self._here(x, mask), self._here(states, joined_mask)]
        summary = self.summarise(self.dropout(torch.cat(parts, dim=-1)))
        if mask is not None:
            summary = summary * mask.any(1, keepdim=True)
        return states, summary

    def _vary(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Play a sample a little louder or softer, higher or lower, and hide a span of it."""
        louder, higher, start = (torch.randn_like(x[:, :1, :1]) for _ in range(3))
        x = x * (1 + self.gain * louder) + self.gain * higher + self.noise * torch.randn_like(x)
        span = int(self.hide * x.shape[1])
        if span > 0 and not self.every_step_counts:
            first = torch.special.ndtr(start[..., 0]) * (x.shape[1] - span + 1)  # (B, 1), uniform
            step = torch.arange(x.shape[1], device=x.device)
            seen = (step < first.floor()) | (step >= first.floor() + span)  # (B, T)
            left = seen if mask is None else seen & mask
            # Where nothing real would be left, the sample is shown whole.
            whole = ~left.any(1, keepdim=True)
            mask = left | whole if mask is None else left | (whole & mask)
        return x, mask

    def _here(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Take the labelled step, zero where it is not real."""
        assert self.label_step is not None
        step = min(self.label_step, x.shape[1] - 1)
        return x[:, step] if mask is None else x[:, step] * mask[:, step, None]

    def _patches(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Join every `patch` steps of a long stream to one, which is real if any of them is."""
        if self.patch == 1:
            return x, mask
        missing = -x.shape[1] % self.patch
        if missing and mask is None:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        x = F.pad(x, (0, 0, 0, missing)).unflatten(1, (-1, self.patch)).flatten(2)
        if mask is not None:
            mask = F.pad(mask, (0, missing)).unflatten(1, (-1, self.patch)).any(-1)
        return x, mask


def _deviation(x: Tensor, mask: Tensor | None) -> Tensor:
    """Measure each feature's deviation over the real steps; the addend keeps its gradient finite."""
    apart = (x - masked_mean(x, mask).unsqueeze(1)) ** 2
    return (masked_mean(apart, mask) + 1e-5).sqrt()


class Streams(nn.Module):
    """The encoders of all streams, and which streams a sample has."""

    def __init__(self, *, config: BaselineConfig) -> None:
        """Build an encoder for each stream of the config."""
        super().__init__()
        self.config = config
        sizes = zip(config.streams, config.widths, config.patches, config.depths, strict=True)
        self.encoders = nn.ModuleDict(
            {
                name: StreamEncoder(in_dim=width, patch=patch, depth=depth, config=config)
                for name, width, patch, depth in sizes
            }
        )

    def encode(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Encode the streams that came.

        Shape:
            returns: `(B, M, F)`, or `(B, T, M, F)` where every step has a label; and which streams a
            sample has, `(B, M)` bool. What is absent is zero.
        """
        given = {name: x for name, x in inputs.items() if x is not None}
        strange = sorted(given.keys() - set(self.config.streams))
        if strange or not given:
            raise ValueError(
                f"the model takes {', '.join(self.config.streams)} (one of them at least), but "
                f"{', '.join(given) or 'nothing'} came."
            )
        some = next(iter(given.values()))
        summaries: list[Tensor | None] = []
        present = []
        for name, width in zip(self.config.streams, self.config.widths, strict=True):
            if name not in given:
                summaries.append(None)
                present.append(torch.zeros(len(some), dtype=torch.bool, device=some.device))
                continue
            x, mask = given[name], None if masks is None else masks.get(name)
            if x.flatten(2).shape[2] != width:
                raise ValueError(
                    f"{name} has {x.flatten(2).shape[2]} features a step, the model was built for "
                    f"{width}."
                )
            summaries.append(self._of(name, x, mask))
            everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
            present.append(everyone if mask is None else mask.any(1))
        like = next(value for value in summaries if value is not None)
        filled = [torch.zeros_like(like) if value is None else value for value in summaries]
        return torch.stack(filled, dim=-2), torch.stack(present, dim=1)

    def _of(self, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
        """Take a stream's summary; where steps have labels, beside each step's own state."""
        states, summary = self.encoders[name](x, mask)
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
        width, dropout = self.config.embed_dim, self.config.dropout
        return nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(in_dim, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, self.config.num_outputs),
        )

    def wrap(self, outputs: Tensor, by_stream: Tensor | None = None) -> Classified | Predicted:
        """Name the outputs by what they are."""
        kind = Predicted if self.config.task == "regression" else Classified
        return kind(outputs, by_stream)
