"""AVT-CA as a whole: two branches that ask each other in the middle, once more, and at the end."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmlib.backbones.visual_trunk import VisualTrunk
from mmlib.layers import ModalityDropout, MultiHeadAttention, TwoStreamBlock, check_mask, pool
from mmlib.losses import cross_entropy
from mmlib.systems.asked import needed_streams
from mmlib.systems.avt_ca.config import AVTCAConfig
from mmlib.systems.avt_ca.parts import Late, Maps, Pair, Stage, attend


class AVTCAOutput(NamedTuple):
    """What the model says of a batch.

    Shape:
        logits (B, C); audio, vision: what each branch gives, pooled over time, (B, D); copies: in
        training with ``modality_dropout="copies"`` the logits of all copies, (4 B, C), else None
    """

    logits: Tensor
    audio: Tensor
    vision: Tensor
    copies: Tensor | None = None


class AVTCA(nn.Module):
    """The whole model: convolutions, intermediate fusion, convolutions, two attentions, a head.

    Shape:
        - audio: (B, Ta, audio_dim); vision: (B, Tv, 3, H, W) in [0, 1], or (B, Tv, vision_dim);
          masks: name -> (B, T) bool, True where a step is real (a name left out is all real).
          Another modality may be given as to every system; it is not looked at.
        - returns: an `AVTCAOutput`: logits (B, C), audio (B, D), vision (B, D), copies

    Source:
        AVT-CA, section 3 and Algorithm 10.

    Choices:
        A-11: frames of all samples go through the trunk at once. A-15: the stream that is updated
        asks. A-16: the second pair of attentions is there. A-21: a dense layer makes the classes.
        A-22: logits. A-23: ``num_heads`` counts in every attention. A-25: the trunk's batch norm
        needs two frames in training. A sample with no real step of a stream counts with zeros
        there; the paper says nothing of it. In several processes, or parts of a batch, batch norm
        sees each part by itself.

    Raises:
        ValueError: a stream is missing, or a stream or mask has the wrong shape or too few steps.
    """

    def __init__(self, *, config: AVTCAConfig) -> None:
        """Build the parts in the order in which the data meets them; see the class."""
        super().__init__()
        self.config = config
        audio, vision = config.audio_channels, config.vision_channels
        self.modality_dropout: ModalityDropout | None = None
        if config.modality_dropout is not None:
            self.modality_dropout = ModalityDropout(
                form=config.modality_dropout, rate=config.modality_rate
            )
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.visual: nn.Module
        if config.vision_dim is None:
            self.visual = VisualTrunk(repeats=config.trunk_repeats, channels=config.trunk_channels)
            seen = config.trunk_channels[-1]
        else:
            self.visual = nn.Linear(config.vision_dim, config.projection_dim)
            seen = config.projection_dim
        pooling = {
            "padding": config.padding,
            "pool_size": config.pool_size,
            "pool_stride": config.pool_stride,
        }
        self.audio_stage1 = Stage(dims=(config.audio_dim, audio[0], audio[1]), **pooling)
        self.vision_stage1 = Stage(dims=(seen, vision[0], vision[1]))
        self.intermediate = nn.ModuleList()
        if config.intermediate:
            widths = audio[1], vision[1]
            self.intermediate.extend(
                TwoStreamBlock(
                    query_dim=query,
                    context_dim=context,
                    num_heads=config.num_heads,
                    dropout=config.dropout,
                    norm=config.norm,
                )
                for query, context in (widths, widths[::-1])
            )
        self.audio_stage2 = Stage(dims=(audio[1], audio[2], audio[3]), **pooling)
        self.vision_stage2 = Stage(dims=(vision[1], vision[2], vision[3]))
        self.least_steps = self.audio_stage1.steps_needed(self.audio_stage2.steps_needed())
        self.second = nn.ModuleList()
        if config.second_attention:
            widths = audio[3], vision[3]
            self.second.extend(
                MultiHeadAttention(
                    query_dim=query,
                    context_dim=context,
                    num_heads=config.num_heads,
                    dropout=config.dropout,
                    bias="output",
                )
                for query, context in (widths, widths[::-1])
            )
        self.late = None if config.late is None else Late(config=config)
        self.fusion_dropout = nn.Dropout(config.fusion_dropout)
        joined = audio[3] + vision[3] if config.merge == "concat" else audio[3]
        self.classifier = nn.Linear(
            joined * (1 if config.label_step is None else 2), config.num_classes
        )

    def forward(
        self,
        *,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        vision: Tensor | None = None,
        masks: dict[str, Tensor] | None = None,
    ) -> AVTCAOutput:
        """Run Algorithm 10; see the class."""
        return self._run({"text": text, "audio": audio, "vision": vision}, masks or {}, None)

    @torch.no_grad()
    def attention_maps(self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor) -> Maps:
        """Give the weights of every attention, as at evaluation, by stage and who asks whom.

        Shape:
            returns: ``"intermediate/audio_from_vision"``, ``"second/vision_from_audio"``,
            ``"late/audio_from_audio"``, ... -> (B, num_heads, Tq, Tk), those that the model has
        """
        maps: Maps = {}
        training = self.training
        self.eval()
        try:
            self._run(dict(inputs), masks or {}, maps)
        finally:
            self.train(training)
        return maps

    @torch.no_grad()
    def predict_proba(self, **inputs: Any) -> Tensor:
        """Say how probable each emotion is: the softmax at the end of Algorithm 10, (B, C)."""
        return self(**inputs).logits.float().softmax(-1)

    def loss(self, output: AVTCAOutput, batch: Any) -> Tensor:
        """Take the cross-entropy of Eq. 1, over all copies where there are some."""
        return cross_entropy(output.logits if output.copies is None else output.copies, batch)

    def _run(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor], maps: Maps | None
    ) -> AVTCAOutput:
        names = self.config.streams
        given = self._checked(inputs, masks)
        count = len(given[names[0]])
        masks = {name: masks[name] for name in names if name in masks}
        if self.modality_dropout is not None and self.training:
            given, masks = self.modality_dropout(given, masks)
        streams = self._front(given, masks)
        if self.config.intermediate:
            streams = self._added(streams, self.intermediate, "intermediate", maps)
        streams = self._convolved(streams, self.audio_stage2, self.vision_stage2)
        if self.config.second_attention:
            streams = self._added(streams, self.second, "second", maps)
        if self.late is not None:
            streams = self.late(streams, maps)
        audio, vision = (
            pool(states, mask, self.config.pool)
            for states, mask in zip(streams.states, streams.masks, strict=True)
        )
        logits = self.classifier(self.fusion_dropout(self._merged(audio, vision, streams)))
        copies = logits if len(logits) > count else None
        return AVTCAOutput(logits[:count], audio[:count], vision[:count], copies)

    def _front(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Pair:
        """What each branch does before it meets the other."""
        names = self.config.streams
        audio, vision = (inputs[name] for name in names)
        heard, watched = masks.get(names[0]), masks.get(names[1])
        if self.config.vision_dim is None:
            seen = self.visual(vision, watched)  # (B, Tv, 1024)
        else:
            # Cleared before the weights see it: NaN times zero is NaN in their gradient.
            if watched is not None:
                vision = vision.masked_fill(~watched[..., None], 0.0)
            seen = self.visual(self.input_dropout(vision))
        streams = Pair(names, (self.input_dropout(audio), seen), (heard, watched))
        return self._convolved(streams, self.audio_stage1, self.vision_stage1)

    @staticmethod
    def _convolved(streams: Pair, audio: nn.Module, vision: nn.Module) -> Pair:
        heard, heard_mask = audio(streams.states[0], streams.masks[0])
        seen, seen_mask = vision(streams.states[1], streams.masks[1])
        return streams._replace(states=(heard, seen), masks=(heard_mask, seen_mask))

    @staticmethod
    def _added(streams: Pair, modules: nn.ModuleList, stage: str, maps: Maps | None) -> Pair:
        """Let the streams ask each other, and add to each what it was told."""
        told = attend(streams, (modules[0], modules[1]), stage, maps).states
        own = streams.states
        return streams._replace(states=(own[0] + told[0], own[1] + told[1]))

    def _merged(self, audio: Tensor, vision: Tensor, streams: Pair) -> Tensor:
        """Join the pooled streams, and the states of the step that has the label."""
        parts = [(audio, vision)]
        if self.config.label_step is not None:
            here = [
                _at(states, mask, self.config.label_step)
                for states, mask in zip(streams.states, streams.masks, strict=True)
            ]
            parts.append((here[0], here[1]))
        add = self.config.merge == "add"
        return torch.cat([x for a, v in parts for x in ((a + v,) if add else (a, v))], dim=-1)

    def _checked(
        self, inputs: dict[str, Tensor | None], masks: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Refuse what the branches cannot take, by name."""
        given = needed_streams("AVT-CA", inputs, self.config.streams)
        for place, (name, x) in enumerate(given.items()):
            shape = tuple(x.shape)
            width = self.config.vision_dim if place else self.config.audio_dim
            if width is None:
                if x.ndim != 5:
                    raise ValueError(
                        f"{name} has shape {shape}, expected frames (batch, steps, 3, height, "
                        "width); for features build the model with vision_dim=their width."
                    )
            elif x.ndim != 3 or shape[2] != width:
                raise ValueError(
                    f"{name} has shape {shape}, expected (batch, steps, {width}) as the model was "
                    "built for."
                )
            check_mask(x, masks.get(name), name)
            if not place and x.shape[1] < self.least_steps:
                raise ValueError(
                    f"{name} has {x.shape[1]} steps, but the convolutions of its branch need at least "
                    f"{self.least_steps}; give longer sequences, or build the model with "
                    "padding='same' and pool_size=1, as for_dataset does where a set's are short."
                )
        return given


def _at(states: Tensor, mask: Tensor | None, step: int) -> Tensor:
    """Take one step's state; a shorter stream gives its last."""
    step = min(step, states.shape[1] - 1)
    return states[:, step] if mask is None else states[:, step] * mask[:, step, None]
