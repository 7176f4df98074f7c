"""GPT with three heads: which sentence comes next, which word comes next, and what the speaker feels.

Needs the extra `pretrained` (transformers) where a model is built.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.backbones.dialogues import (
    DialogueError,
    EncodedDialogues,
    SpecialTokens,
    WordTokenizer,
    encode_dialogues,
    special_tokens,
)
from mmlib.backbones.loading import PretrainedError, load_model, load_part, transformers
from mmlib.data.batch import Batch
from mmlib.losses import cross_entropy

__all__ = [
    "GPT",
    "DialogueError",
    "EmotionGPT",
    "EncodedDialogues",
    "GPTOutput",
    "GPTShape",
    "SpecialTokens",
    "WordTokenizer",
    "encode_dialogues",
    "load_tokenizer",
    "published_shape",
    "special_tokens",
]

GPT = "openai-community/openai-gpt"
# The head of the next-sentence task is in no published file: it starts anew.
_ANEW = ("multiple_choice_head",)
# Numbers that are held at once for the next word's probabilities: 256 MB of them.
_AT_ONCE = 2**26
# Rows that go through the network at once where no gradient is needed.
_ROWS = 64


class GPTOutput(NamedTuple):
    """What the model says of a batch.

    Shape:
        logits (B, C): emotions; choice (B, 2): how well the true candidate and the distractor
        continue the dialogue; states (B, T, D): of the true candidate's tokens
    """

    logits: Tensor
    choice: Tensor
    states: Tensor


class GPTShape(NamedTuple):
    """How large a GPT is: entries of its tokenizer, positions, width, layers and heads."""

    entries: int
    positions: int
    embed_dim: int
    layers: int
    num_heads: int


class EmotionGPT(nn.Module):
    """A GPT with the double heads of `transformers`, five tokens more, and an emotion head.

    A step's embedding is the sum of its token's, its position's and its segment's; segments are the
    speakers' tokens, of the same table. Positions count real steps, and only those are looked at. The
    state at the last real step of the true candidate goes into the emotion head, that of each
    candidate into the next-sentence head.

    Args:
        shape: of a model that starts from random weights.
        num_classes: emotions.
        dropout: everywhere.

    Shape:
        - text: (B, T, 4) of whole numbers, as `encode_dialogues` writes them; mask (B, T) bool, True
          where a step of either candidate is real. A candidate's own steps are those at which its
          token is not `special.pad`.
        - returns: `GPTOutput`

    Source:
        Crossmodal transformer with EmbraceNet, section 4.1.1 and Eq. 1.

    Choices:
        E-21: the last position is classified, that of `eos`. The "multi-layers classifier" has one
        hidden layer of the model's width, with ReLU. The words of the last sentence are predicted, as
        in the public recipe, not those of the history. A sample without a real step has a row of
        padding in its place. Tokens of another vocabulary are known by its size; of two tokenizers
        with as many entries nothing tells which one wrote a file.

    Raises:
        DialogueError: tokens of another vocabulary. NotInstalled: transformers is not there.
    """

    def __init__(self, *, shape: GPTShape, num_classes: int, dropout: float = 0.1) -> None:
        """Build a network with random weights; `load` puts published ones in their place."""
        super().__init__()
        package = transformers()
        self.shape, self.special = shape, SpecialTokens.after(shape.entries)
        self.gpt = package.OpenAIGPTDoubleHeadsModel(
            package.OpenAIGPTConfig(
                vocab_size=self.special.total,
                n_positions=shape.positions,
                n_embd=shape.embed_dim,
                n_layer=shape.layers,
                n_head=shape.num_heads,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                resid_pdrop=dropout,
                summary_first_dropout=dropout,
            )
        )
        self.emotion_head = nn.Sequential(
            nn.Linear(shape.embed_dim, shape.embed_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(shape.embed_dim, num_classes),
        )

    def load(self, name: str) -> Self:
        """Take the weights of a published model: a folder or a hub name.

        Raises:
            PretrainedError: there is no such model, or it is of another size.
        """
        package = transformers()
        found = load_model(
            package.OpenAIGPTDoubleHeadsModel,
            name,
            "GPT",
            ignore=_ANEW,
            use_safetensors=True,
        )
        theirs = _shape_of(found.config)
        if theirs != self.shape:
            raise PretrainedError(f"'{name}' is {theirs}, but the model here is {self.shape}.")
        # The special tokens start as random numbers of the table's own spread.
        found.resize_token_embeddings(self.special.total, mean_resizing=False)
        self.gpt.load_state_dict(found.state_dict())
        return self

    def forward(self, text: Tensor, mask: Tensor) -> GPTOutput:
        """Read both candidates; see the class."""
        self._check(text, mask)
        # One after the other: in several processes noise is drawn for rows that are samples.
        true, other = self._candidate(text[..., :2], mask), self._candidate(text[..., 2:], mask)
        states = torch.stack([self._states(*true), self._states(*other)], 1)  # (B, 2, T, D)
        ends = torch.stack([_last(true[2]), _last(other[2])], 1)
        choice = self.gpt.multiple_choice_head(states, ends).squeeze(-1)
        return GPTOutput(self._emotion(states[:, 0], ends[:, 0]), choice, states[:, 0])

    def features(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give the states of the true candidate, zero where it has no step.

        The last real one is what the emotion head takes.

        Shape:
            returns: states (B, T, D), mask (B, T)
        """
        self._check(text, mask)
        tokens, segments, real = self._candidate(text[..., :2], mask)
        return self._states(tokens, segments, real).masked_fill(~real[..., None], 0.0), real

    def losses(self, output: GPTOutput, batch: Batch) -> dict[str, Tensor]:
        """Compute the three losses of Eq. 1, each a mean over samples: choice, language, emotion.

        Only emotions are classes, so only the last heeds the weights of the samples' classes.
        """
        right = torch.zeros(batch.size, dtype=torch.long, device=output.choice.device)
        text, mask = batch.inputs["text"], batch.masks["text"]
        return {
            "choice": F.cross_entropy(output.choice.float(), right),
            "language": self._language(output.states, text, mask).mean(),
            "emotion": cross_entropy(output.logits, batch),
        }

    def _language(self, states: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """Compute how surprising the words of the true candidate's last sentence are, in nats a word.

        They are those behind the row's last speaker token, `eos` among them: neither the history, nor
        padding, nor the distractor counts.

        Shape:
            returns: (B,)
        """
        tokens, _, real = self._candidate(text[..., :2], mask)
        speaks = (tokens == self.special.speaker1) | (tokens == self.special.speaker2)
        counted = (speaks.flip(1).cumsum(1).flip(1) == 0) & real  # no speaker from here on
        counted = counted[:, 1:]
        at_once = max(1, _AT_ONCE // (tokens.shape[1] * self.special.total))
        surprise = [
            F.cross_entropy(self.gpt.lm_head(some).float().transpose(1, 2), words, reduction="none")
            for some, words in zip(
                states[:, :-1].split(at_once), tokens[:, 1:].split(at_once), strict=True
            )
        ]
        return (torch.cat(surprise) * counted).sum(1) / counted.sum(1).clamp(min=1)

    def _candidate(self, rows: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give a candidate's tokens and segments, padding where it has none, and its own mask.

        Shape:
            rows (B, T, 2); mask (B, T); returns three of (B, T)
        """
        tokens, segments = rows.unbind(-1)
        real = mask & (tokens != self.special.pad)
        pad = self.special.pad
        return tokens.masked_fill(~real, pad), segments.masked_fill(~real, pad), real

    def _states(self, tokens: Tensor, segments: Tensor, real: Tensor) -> Tensor:
        """Run the network: (B, T) to (B, T, D)."""
        positions = (real.cumsum(1) - 1).clamp(min=0)
        at_once = len(tokens) if torch.is_grad_enabled() else _ROWS
        parts = [
            self.gpt.transformer(
                token, token_type_ids=segment, position_ids=position, attention_mask=there
            ).last_hidden_state
            for token, segment, position, there in zip(
                *(part.split(at_once) for part in (tokens, segments, positions, real)), strict=True
            )
        ]
        return torch.cat(parts)

    def _emotion(self, states: Tensor, ends: Tensor) -> Tensor:
        """Classify the state at the end: (B, T, D) and (B,) to (B, C)."""
        at = ends[:, None, None].expand(-1, 1, states.shape[-1])
        return self.emotion_head(states.gather(1, at).squeeze(1))

    def _check(self, text: Tensor, mask: Tensor) -> None:
        """Refuse another vocabulary; in training on a GPU, which would have to wait, it is skipped."""
        if text.ndim != 3 or text.shape[2] != 4 or text.is_floating_point():
            raise DialogueError(
                f"text is {text.dtype} of shape {tuple(text.shape)}, expected whole numbers (samples, "
                "steps, 4): token and segment of the true candidate and of the distractor."
            )
        if text.shape[1] > self.shape.positions:
            raise DialogueError(
                f"text has {text.shape[1]} steps, but the model {self.shape.positions} positions; "
                "encode the dialogues again with a smaller max_length."
            )
        if self.training and text.is_cuda:
            return
        first = mask.int().argmax(1)
        opening = text[torch.arange(len(text), device=text.device), first, 0]
        other = mask.any(1) & (opening != self.special.bos)
        above = (text > self.special.pad) | (text < 0)
        if bool(other.any()) or bool((above & mask[..., None]).any()):
            raise DialogueError(
                f"text is of another vocabulary: the model knows {self.special.entries} entries and "
                f"a row's first token must be {self.special.bos}, but there is "
                f"{int(opening[other][0]) if bool(other.any()) else int(text.max())}; encode the "
                "dialogues with the tokenizer that belongs to the model."
            )


def load_tokenizer(name: str = GPT) -> Any:
    """Load a published tokenizer from a folder or the hub, for `encode_dialogues`.

    Raises:
        PretrainedError: there is none; NotInstalled: transformers is not there.
    """
    return load_part(transformers().AutoTokenizer.from_pretrained, name, "tokenizer")


def published_shape(name: str = GPT) -> GPTShape:
    """Say how large a published GPT is, from its description alone.

    Raises:
        PretrainedError: there is no such model, or it is none that this library builds.
    """
    config = load_part(transformers().AutoConfig.from_pretrained, name, "GPT")
    if config.model_type != "openai-gpt":
        raise PretrainedError(
            f"'{name}' is a {config.model_type}, expected a GPT (openai-gpt) such as {GPT}."
        )
    if config.afn != "gelu" or config.layer_norm_epsilon != 1e-5:
        raise PretrainedError(
            f"'{name}' has the activation {config.afn} and the epsilon {config.layer_norm_epsilon}, "
            "expected those of the published GPT, gelu and 1e-05."
        )
    return _shape_of(config)


def _shape_of(config: Any) -> GPTShape:
    return GPTShape(
        config.vocab_size, config.n_positions, config.n_embd, config.n_layer, config.n_head
    )


def _last(real: Tensor) -> Tensor:
    """Find the last real step of each row, 0 where there is none: (B, T) to (B,)."""
    return (torch.arange(real.shape[1], device=real.device) * real).amax(1)
