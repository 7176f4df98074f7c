"""Published encoders as they come: BERT's token states, wav2vec 2.0's front end, CLIP's image embeddings.

Needs the extra `pretrained` (transformers). A model is a folder that `save_pretrained` wrote, or a
name on the Hugging Face hub; nothing here trains one. Each encoder has one shape of call:
`encode(items) -> (features (B, T, D), mask (B, T))`, on the encoder's device, in float32.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmlib.backbones.loading import (
    PretrainedError,
    identity,
    load_model,
    load_part,
    transformers,
)

__all__ = [
    "AudioEncoder",
    "Encoded",
    "Encoder",
    "Prepared",
    "PretrainedError",
    "TextEncoder",
    "VisionEncoder",
    "language_model",
]

CHINESE, ENGLISH = "google-bert/bert-base-chinese", "google-bert/bert-base-uncased"


class Prepared(NamedTuple):
    """One item at a model's door, and how many steps the whole of it has, also those cut away."""

    values: Tensor
    steps: int


class Encoded(NamedTuple):
    """Features with their mask.

    Shape:
        features (B, T, D) float32, zero where a step is not real; mask (B, T) bool
    """

    features: Tensor
    mask: Tensor


class Encoder(abc.ABC):
    """What the three encoders share: prepare each item by itself, run many at a time.

    Attributes:
        stream: `text`, `audio` or `vision`.
        identity: a digest of weights, preprocessing and settings: two encoders with the same one
            give the same features.
    """

    stream: ClassVar[str]
    identity: str

    @abc.abstractmethod
    def prepare(self, item: Any) -> Prepared:
        """Make the model's input of one item, on the CPU."""

    @abc.abstractmethod
    def run(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        """Encode prepared items together; each gets its own (T, D) on the encoder's device."""

    def encode(self, items: Sequence[Any]) -> Encoded:
        """Encode items together, padded to the longest.

        Raises:
            PretrainedError: there is nothing in an item that could be encoded.
        """
        if not items:
            raise PretrainedError(f"there are no items to encode; give at least one {self.stream}.")
        parts = self.run([self.prepare(item) for item in items])
        lengths = torch.tensor([len(part) for part in parts], device=parts[0].device)
        features = pad_sequence(parts, batch_first=True)
        steps = torch.arange(features.shape[1], device=features.device)
        return Encoded(features, steps < lengths[:, None])


class TextEncoder(Encoder):
    """The last hidden state of each token, the opening and the closing one among them.

    Args:
        name: a folder or a hub name of BERT or a relative of it.
        steps: tokens at most; a longer text is cut before its closing token. None: as many as the
            model has positions.
        device: where the model stands and the features come out.

    Shape:
        items: B texts; returns features (B, T, D), D the model's width (BERT base: 768)

    Source:
        CA-MMAAET, section III: textual features of BERT, (36, 768).

    Choices:
        C-19: padded positions have states of their own in BERT; the mask leaves them out.

    Raises:
        PretrainedError: the model cannot be loaded; NotInstalled: transformers is not there.
    """

    stream = "text"

    def __init__(
        self, name: str = CHINESE, *, steps: int | None = 36, device: torch.device | str = "cpu"
    ) -> None:
        """Load tokenizer and model."""
        package = transformers()
        model = load_model(package.AutoModel, name, "text encoder", ignore=("pooler",))
        self._tokenizer = load_part(package.AutoTokenizer.from_pretrained, name, "tokenizer")
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is None or model.config.is_encoder_decoder:
            raise PretrainedError(
                f"'{name}' is a {type(model).__name__}, expected BERT or a relative of it."
            )
        room = (self._tokenizer.model_max_length, positions)
        self._most = min(*room, room[0] if steps is None else steps)
        if self._most < 3:
            raise PretrainedError(
                f"steps is {steps}, expected 3 or more: a word and both its ends."
            )
        self._pad = self._tokenizer.pad_token_id or 0
        # Read before the first use, which leaves its settings in the tokenizer.
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        vocabulary = backend.to_str() if backend else self._tokenizer.get_vocab()
        self.identity = identity(model, type(self._tokenizer).__name__, vocabulary, self._most)
        self._model = model.to(device)

    def prepare(self, item: str) -> Prepared:
        """Cut a text into the numbers of its tokens."""
        if not item.strip():
            raise PretrainedError("the text is empty.")
        whole = self._tokenizer(item, verbose=False)["input_ids"]
        cut = self._tokenizer(item, truncation=True, max_length=self._most)["input_ids"]
        return Prepared(torch.tensor(cut), len(whole))

    @torch.no_grad()
    def run(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        """Encode texts together; the attention mask keeps padding out of every state."""
        device = self._model.device
        tokens = [one.values for one in prepared]
        lengths = torch.tensor([len(one) for one in tokens])
        padded = pad_sequence(tokens, batch_first=True, padding_value=self._pad)
        real = torch.arange(padded.shape[1]) < lengths[:, None]
        states = self._model(padded.to(device), attention_mask=real.long().to(device))
        return _each(states.last_hidden_state, lengths)

    def unknown(self, texts: Sequence[str]) -> float:
        """The share of tokens that the model has no entry for: a wrong language shows in it."""
        numbers = [n for text in texts for n in self._tokenizer(text, verbose=False)["input_ids"]]
        return numbers.count(self._tokenizer.unk_token_id) / max(1, len(numbers))


class AudioEncoder(Encoder):
    """The convolutional front end of wav2vec 2.0 and the layer norm after it: 512 numbers each 20 ms.

    Equal to `Wav2Vec2Model(...).extract_features`, on which the transformer layers have no bearing;
    so they are not loaded. A front end with layer norm (XLSR) looks at a step's own surroundings
    only, so clips are padded and run together. One with group norm (wav2vec2-base) norms over the
    whole clip, and padding would change it: there, clips are run one by one.

    Args:
        name: a folder or a hub name of a wav2vec 2.0 model.
        steps: at most so many; the rest of the clip is cut. None: all.
        device: where the model stands and the features come out.

    Attributes:
        sample_rate: what the model was trained on, 16,000 Hz for all published ones.

    Shape:
        items: B waveforms (samples,) float; returns features (B, T, D), D 512, with
        floor((samples - 400) / 320) + 1 real steps: 128 steps are 2.565 seconds

    Source:
        CA-MMAAET, section III: audio features of wav2vec, (128, 512).

    Choices:
        C-24: 512 is the width of the front end, not of the transformer; XLSR-53 is what the public
        script for CH-SIMS uses.

    Raises:
        PretrainedError: the model cannot be loaded; NotInstalled: transformers is not there.
    """

    stream = "audio"

    def __init__(
        self,
        name: str = "facebook/wav2vec2-large-xlsr-53",
        *,
        steps: int | None = 128,
        device: torch.device | str = "cpu",
    ) -> None:
        """Load the feature extractor and the model's front end."""
        package = transformers()
        model = load_model(
            package.Wav2Vec2Model,
            name,
            "wav2vec 2.0 model",
            needed=("feature_extractor.", "feature_projection.layer_norm."),
            num_hidden_layers=0,
        )
        load = package.Wav2Vec2FeatureExtractor.from_pretrained
        self._normalise = load_part(load, name, "wav2vec 2.0 feature extractor")
        self.sample_rate: int = self._normalise.sampling_rate
        if steps is not None and steps < 1:
            raise PretrainedError(f"steps is {steps}, expected at least 1.")
        self._steps = steps
        self._kernels, self._strides = model.config.conv_kernel, model.config.conv_stride
        self._alone = model.config.feat_extract_norm == "group"
        self._convolve: nn.Module = model.feature_extractor.to(device)
        self._norm: nn.LayerNorm = model.feature_projection.layer_norm.to(device)
        front = nn.ModuleList([self._convolve, self._norm])
        self.identity = identity(front, self._normalise.to_dict(), self._alone, steps)

    def num_steps(self, samples: int) -> int:
        """How many steps a waveform of so many samples has."""
        for kernel, stride in zip(self._kernels, self._strides, strict=True):
            samples = max(0, (samples - kernel) // stride + 1)
        return samples

    def num_samples(self, steps: int) -> int:
        """How few samples have so many steps."""
        for kernel, stride in zip(reversed(self._kernels), reversed(self._strides), strict=True):
            steps = (steps - 1) * stride + kernel
        return steps

    def prepare(self, item: Tensor) -> Prepared:
        """Norm a waveform; cut it where that changes no step that stays."""
        steps = self.num_steps(len(item))
        if item.ndim != 1 or not steps:
            raise PretrainedError(
                f"the sound has shape {tuple(item.shape)}, expected (samples,) with at least "
                f"{self.num_samples(1)} samples at {self.sample_rate} Hz."
            )
        raw = item.detach().cpu().float().numpy()
        made = self._normalise(raw, sampling_rate=self.sample_rate, return_tensors="pt")
        values = made["input_values"][0]
        if self._steps is not None and not self._alone:
            values = values[: self.num_samples(self._steps)]
        return Prepared(values, steps)

    @torch.no_grad()
    def run(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        """Encode waveforms: together where padding changes nothing, else one by one."""
        waves = [one.values for one in prepared]
        lengths = torch.tensor([self.num_steps(len(wave)) for wave in waves])
        if self._alone:
            parts = [self._front(wave[None])[0] for wave in waves]
        else:
            parts = _each(self._front(pad_sequence(waves, batch_first=True)), lengths)
        return [part[: self._steps] for part in parts]

    def _front(self, waves: Tensor) -> Tensor:
        """(B, samples) -> (B, T, D)."""
        return self._norm(self._convolve(waves.to(self._norm.weight.device)).transpose(1, 2))


class VisionEncoder(Encoder):
    """CLIP's embedding of each frame, before it is scaled to unit length.

    Args:
        name: a folder or a hub name of a CLIP model, whole or its vision part.
        device: where the model stands and the features come out.

    Shape:
        items: B stacks of frames (T, 3, H, W) uint8, RGB, T and size free; returns features
        (B, T, D), D the width of the projection (ViT-B/32: 512)

    Source:
        CA-MMAAET, section III: visual features of CLIP, (10, 512).

    Raises:
        PretrainedError: the model cannot be loaded; NotInstalled: transformers is not there.
    """

    stream = "vision"

    def __init__(
        self, name: str = "openai/clip-vit-base-patch32", *, device: torch.device | str = "cpu"
    ) -> None:
        """Load the image processor and the vision part."""
        package = transformers()
        model = load_model(package.CLIPVisionModelWithProjection, name, "CLIP model")
        # Version 5 has two processors that differ in the last digits; the one on Pillow is
        # everywhere. Version 4's only one is on Pillow.
        kind = getattr(package, "CLIPImageProcessorPil", None) or package.CLIPImageProcessor
        self._process = load_part(kind.from_pretrained, name, "CLIP image processor")
        self.identity = identity(model, kind.__name__, self._process.to_dict())
        self._model = model.to(device)

    def prepare(self, item: Tensor) -> Prepared:
        """Resize, crop and norm the frames of a clip."""
        if item.ndim != 4 or item.shape[1] != 3 or item.dtype != torch.uint8 or not len(item):
            raise PretrainedError(
                f"the frames are {item.dtype} of shape {tuple(item.shape)}, expected uint8 of "
                "(frames, 3, height, width)."
            )
        made = self._process(
            list(item.cpu().numpy()), input_data_format="channels_first", return_tensors="pt"
        )
        return Prepared(made["pixel_values"], len(item))

    @torch.no_grad()
    def run(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        """Encode the frames of several clips as one batch of images."""
        pixels = torch.cat([one.values for one in prepared]).to(self._model.device)
        embedded = self._model(pixel_values=pixels).image_embeds
        return list(embedded.split([len(one.values) for one in prepared]))


def language_model(texts: Sequence[str]) -> str:
    """Name the BERT for these texts: the Chinese one where most of their letters are Chinese."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    chinese = sum("\u3400" <= letter <= "\u9fff" for letter in letters)
    return CHINESE if 2 * chinese > len(letters) else ENGLISH


def _each(batch: Tensor, lengths: Tensor) -> list[Tensor]:
    return [one[:length] for one, length in zip(batch, lengths.tolist(), strict=True)]
