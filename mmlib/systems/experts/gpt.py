"""The text expert: GPT on history and sentence, trained on three losses at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from mmlib.backbones.gpt import (
    GPT,
    EmotionGPT,
    GPTOutput,
    GPTShape,
    published_shape,
    special_tokens,
)
from mmlib.data.batch import Batch
from mmlib.data.feature_set import FeatureSet
from mmlib.layers.attention import check_heads
from mmlib.losses import Phase
from mmlib.systems.experts.output import only_stream, refuse_misfit
from mmlib.systems.scales import at_scale


@dataclass(frozen=True)
class GPTExpertConfig:
    """What the text expert is made of and how it is trained.

    Attributes:
        streams: the one stream that it reads.
        weights: a folder or a hub name of a published GPT; None starts from random weights.
        entries: of the tokenizer with which the dialogues were encoded, without the five special
            tokens; positions: the longest row.
        embed_dim, layers, num_heads: of the network.
        num_classes: emotions.
        coefficients: of the losses: next sentence, language, emotion (E-23).
        dropout: everywhere.
        epochs, batch_size, learning_rate, weight_decay: how it is trained by default.
    """

    streams: tuple[str] = ("text",)
    weights: str | None = GPT
    entries: int = 40_478
    positions: int = 512
    embed_dim: int = 768
    layers: int = 12
    num_heads: int = 12
    num_classes: int = 7
    coefficients: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dropout: float = 0.1
    epochs: int = 3
    batch_size: int = 32
    learning_rate: float = 6.25e-5
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_heads(self.embed_dim, self.num_heads)
        if len(self.coefficients) != 3 or min(self.coefficients) < 0:
            raise ValueError(
                f"coefficients={self.coefficients}; expected three numbers from 0 on, of the "
                "next sentence, the language and the emotion."
            )

    @classmethod
    def paper(cls) -> Self:
        """Give the published GPT, and the numbers of the public recipe where the paper gives none.

        That recipe (E-21) trains three epochs at 6.25e-5 in batches of 4 times 8; its fall of the
        learning rate is linear, here it is the training loop's cosine.
        """
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Give the same architecture from random weights, narrow enough to train on a CPU."""
        return cls(
            weights=None,
            embed_dim=64,
            layers=2,
            num_heads=4,
            epochs=15,
            learning_rate=1e-3,
            weight_decay=1e-2,
        )

    @classmethod
    def for_dataset(
        cls, dataset: FeatureSet, scale: str = "small", *, weights: str | None = None
    ) -> Self:
        """Take vocabulary and classes from the data, and sizes from the published model.

        Args:
            dataset: with tokens, as `prepare --dataset meld --streams text` writes them.
            scale: "small" or "paper".
            weights: a folder or a hub name to start from, at either scale.

        Raises:
            ValueError: there are no tokens, they are of another tokenizer than the published
                model's, a row is too long for it, or the labels are no classes.
            PretrainedError: there is no such model.
        """
        config = at_scale(cls, scale)
        refuse_misfit("gpt", "text", dataset)
        config = replace(config, num_classes=dataset.num_outputs)
        config = config if weights is None else replace(config, weights=weights)
        special = special_tokens(dataset.inputs["text"][:], dataset.masks["text"])
        config = replace(config, entries=special.entries)
        if config.weights is not None:
            shape = published_shape(config.weights)
            if shape.entries != special.entries:
                raise ValueError(
                    f"the text of {dataset.name} was encoded with a tokenizer of {special.entries:,} "
                    f"entries, but '{config.weights}' has {shape.entries:,}; prepare it with that "
                    f"model's own (--tokenizer {config.weights}), or start from random weights "
                    "(--scale small)."
                )
            config = replace(config, **shape._asdict())
        if dataset.lengths["text"] > config.positions:
            raise ValueError(
                f"the text of {dataset.name} has {dataset.lengths['text']} steps, but the model "
                f"{config.positions} positions; prepare it again with a smaller --max-length."
            )
        return config

    @property
    def shape(self) -> GPTShape:
        """Give the network's size."""
        return GPTShape(self.entries, self.positions, self.embed_dim, self.layers, self.num_heads)


class GPTExpert(nn.Module):
    """The text expert: emotions of sentences in a dialogue.

    Shape:
        - text: (B, T, 4) int64, tokens and segments of the true candidate and of a distractor
          (`encode_dialogues`); masks["text"]: (B, T) bool. Another modality may be given as to every
          system; it is not looked at.
        - returns: a `GPTOutput`: logits (B, C), choice (B, 2), states (B, T, D)

    Source:
        Crossmodal transformer with EmbraceNet, section 4.1.1.

    Choices:
        E-12: `features` gives a sequence; its last real step is the vector that the paper may mean.
        E-23: the coefficients of the three losses are an argument, 1 each as in Eq. 1.

    Raises:
        ValueError: text is missing, or of another vocabulary.
    """

    raw_streams = ("text",)

    def __init__(self, *, config: GPTExpertConfig) -> None:
        """Build the network, and load published weights where the config names any."""
        super().__init__()
        self.config = config
        self.network = EmotionGPT(
            shape=config.shape, num_classes=config.num_classes, dropout=config.dropout
        )
        if config.weights is not None:
            self.network.load(config.weights)

    def forward(
        self,
        *,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        vision: Tensor | None = None,
        masks: dict[str, Tensor] | None = None,
    ) -> GPTOutput:
        """Read the dialogues; see the class."""
        given = {"text": text, "audio": audio, "vision": vision}
        return self.network(*only_stream("gpt", "text", given, masks))

    def features(
        self, *, masks: dict[str, Tensor] | None = None, **inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Give what stands before the emotion head.

        Shape:
            returns: the states of the true candidate's tokens (B, T, D), zero where it has none, and
            their mask (B, T); `mmlib.layers.last_real` of them is what the head takes
        """
        return self.network.features(*only_stream("gpt", "text", inputs, masks))

    def losses(self, output: GPTOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the three losses by name: choice, language, emotion."""
        return self.network.losses(output, batch)

    def loss(self, output: GPTOutput, batch: Batch) -> Tensor:
        """Sum the losses with their coefficients (Eq. 1)."""
        return self._phase().losses(output, batch)[0]

    def phases(self) -> list[Phase]:
        """Train all at once; as a phase, each loss has a column in the history."""
        return [self._phase()]

    def _phase(self) -> Phase:
        names = ("choice", "language", "emotion")
        weights = dict(zip(names, self.config.coefficients, strict=True))
        return Phase("", self.parameters(), self.losses, weights=weights)
