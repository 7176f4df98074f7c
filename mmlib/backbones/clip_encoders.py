"""JMT's backbones, frozen, as encoders: clips of pictures by R(2+1)D-18, their sound by ResNet-18.

Both cut a recording at the same instants, a clip after the other, and give 512 numbers a clip. The
weights come from a file; random ones only where they are asked for in so many words.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from mmlib.backbones.loading import PretrainedError, identity
from mmlib.backbones.pretrained import Encoder, Prepared
from mmlib.backbones.r2plus1d import R2Plus1D, r2plus1d_18
from mmlib.backbones.resnet import ResNet18, resnet18
from mmlib.data.faces import centre_squares
from mmlib.data.media import MediaError, centred_window, extent, read_frames, read_sound
from mmlib.data.spectrogram import SpectrogramGeometry, clip_spectrograms

Network = TypeVar("Network", R2Plus1D, ResNet18)
#: Clips that go through a network at once, where nothing else is said; a GPU takes more.
CLIPS_AT_ONCE = 32


class Pieces(NamedTuple):
    """A recording's clips, and how many the whole of it has, also those that were not taken."""

    values: Tensor
    whole: int


class ClipEncoder(Encoder):
    """What both share: a frozen network over the clips of a recording.

    Attributes:
        geometry: pictures, dilation and rates of a clip.
        device: where the network stands.
        at_once: how many clips go through it at once.
        feature_dim: how many numbers it gives for a clip.
    """

    feature_dim: ClassVar[int] = 512
    geometry: SpectrogramGeometry
    device: torch.device
    at_once: int

    @property
    def seconds(self) -> float:
        """How long a clip is."""
        return self.geometry.frames * self.geometry.dilation / self.geometry.frame_rate

    @abc.abstractmethod
    def read(self, path: Path, length: int) -> Pieces:
        """Take up to `length` clips from the middle of a recording, one after the other."""

    @torch.no_grad()
    def run(self, prepared: Sequence[Prepared]) -> list[Tensor]:
        """Encode the clips of several recordings together, some at a time; those of one agree."""
        clips = torch.cat([one.values for one in prepared])
        parts = [
            self._encode(some.to(self.device, non_blocking=True))
            for some in clips.split(self.at_once)
        ]
        return list(torch.cat(parts).split([len(one.values) for one in prepared]))

    @abc.abstractmethod
    def _encode(self, clips: Tensor) -> Tensor:
        """(B, ...) -> (B, 512), on the device."""

    def _window(self, path: Path, length: int) -> tuple[float, int, int]:
        """Say where the clips begin, how many are taken, and how many the recording has."""
        start, stop = centred_window(path, length * self.seconds)
        # A clip that lacks less than a hundredth of itself is whole: clocks of tracks are rounded.
        count = max(1, min(length, int((stop - start) / self.seconds + 0.01)))
        sound, picture = extent(path)
        spans = [one for one in (sound, picture) if one is not None]
        lasts = min(one[1] for one in spans) - max(one[0] for one in spans)
        return start, count, max(count, int(lasts / self.seconds + 0.01))


class ClipVision(ClipEncoder):
    """R(2+1)D-18 over clips of pictures.

    Args:
        weights: the public Kinetics-400 file, or one of the same names without or with another last
            layer.
        random: build it with random weights instead, to try things out; the same ones each time.
        geometry: of a clip.
        size: the side of the square that pictures are brought to.
        device: where the network stands and the features come out.
        at_once: how many clips go through the network at once.

    Shape:
        items: `Pieces` of uint8 RGB (T, frames, 3, H, W); returns features (B, T, 512)

    Source:
        JMT, sections 3 and 4.2.

    Choices:
        J-16: 112 pixels as in the released code and for the public weights; the paper says 224.
        J-27: pooled features.

    Raises:
        PretrainedError: no weights, weights that do not fit, or both weights and random.
    """

    stream = "vision"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        random: bool = False,
        geometry: SpectrogramGeometry | None = None,
        size: int = 112,
        device: torch.device | str = "cpu",
        at_once: int = CLIPS_AT_ONCE,
    ) -> None:
        """Load the network."""
        if size < 1:
            raise PretrainedError(f"the pictures' size is {size}, expected at least 1.")
        self.geometry, self.size = geometry or SpectrogramGeometry(), size
        model = _frozen(r2plus1d_18, weights, random, "r2plus1d_18, vision", at_once)
        self.identity = identity(model, "clip vision", size, vars(self.geometry))
        self.device, self.at_once = torch.device(device), at_once
        self._model = model.to(self.device)

    def read(self, path: Path, length: int) -> Pieces:
        """Take the pictures on screen in the middles of each clip's equal parts."""
        frames = self.geometry.frames
        start, count, whole = self._window(path, length)
        window = start, start + count * self.seconds
        pictures = read_frames(path, count * frames, window=window)
        if len(pictures) == count * frames:
            clips = pictures.unflatten(0, (count, frames))
        else:  # it shows some picture at several of the moments, or ends before the last
            clips = torch.stack([self._stills(path, start, number) for number in range(count)])
        return Pieces(clips, whole)

    def _stills(self, path: Path, start: float, number: int) -> Tensor:
        """Take one clip of a recording that has fewer pictures: they are spread over its time."""
        frames = self.geometry.frames
        window = start + number * self.seconds, start + (number + 1) * self.seconds
        few = read_frames(path, frames, window=window)
        return few[torch.arange(frames) * len(few) // frames]

    def prepare(self, item: Pieces) -> Prepared:
        """Check the pictures, and bring them to the size."""
        shape = tuple(item.values.shape)
        if len(shape) != 5 or shape[2] != 3 or item.values.dtype != torch.uint8 or not shape[0]:
            raise PretrainedError(
                f"the clips are {item.values.dtype} of shape {shape}, expected uint8 of (clips, "
                "frames, 3, height, width)."
            )
        values = item.values
        if shape[3:] != (self.size, self.size):
            values = centre_squares(values.flatten(0, 1), size=self.size).unflatten(0, shape[:2])
        return Prepared(values, item.whole)

    def _encode(self, clips: Tensor) -> Tensor:
        return self._model.features(R2Plus1D.normalise(clips.float() / 255))


class ClipSound(ClipEncoder):
    """ResNet-18 with one input channel over the log-power spectrogram of each clip's sound.

    Args:
        weights: the public ImageNet file, whose first weights are averaged over the colours, or one
            of the same names with one channel.
        random: build it with random weights instead, to try things out; the same ones each time.
        geometry: of a clip: what its sound is.
        device: where the network stands and the features come out.
        at_once: how many clips go through the network at once.

    Shape:
        items: `Pieces` of waveforms (T, samples); returns features (B, T, 512)

    Source:
        JMT, sections 3 and 4.2: 64 bands, 107 columns.

    Choices:
        J-17: the columns follow from frames and rate. J-18: no GRU.

    Raises:
        PretrainedError: no weights, weights that do not fit, or both weights and random.
    """

    stream = "audio"

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        random: bool = False,
        geometry: SpectrogramGeometry | None = None,
        device: torch.device | str = "cpu",
        at_once: int = CLIPS_AT_ONCE,
    ) -> None:
        """Load the network."""
        self.geometry = geometry or SpectrogramGeometry()
        model = _frozen(
            lambda: resnet18(in_channels=1), weights, random, "resnet18, audio", at_once
        )
        self.identity = identity(model, "clip sound", vars(self.geometry))
        self.device, self.at_once = torch.device(device), at_once
        self._model = model.to(self.device)

    def read(self, path: Path, length: int) -> Pieces:
        """Take the sound of the same seconds."""
        start, count, whole = self._window(path, length)
        rate, samples = self.geometry.sample_rate, self.geometry.samples
        # A sample more than the clips have, for rounding.
        window = start, start + count * self.seconds + 1 / rate
        sound = read_sound(path, sample_rate=rate, window=window)
        if not bool(sound.any()):
            raise MediaError("its sound is silent throughout.")
        return Pieces(sound[: count * samples].reshape(count, samples), whole)

    def prepare(self, item: Pieces) -> Prepared:
        """Make the spectrogram of each clip."""
        try:
            return Prepared(clip_spectrograms(item.values, self.geometry), item.whole)
        except ValueError as error:
            raise PretrainedError(str(error)) from None

    def _encode(self, clips: Tensor) -> Tensor:
        return self._model.features(clips)


def _frozen(
    make: Callable[[], Network], weights: str | Path | None, random: bool, what: str, at_once: int
) -> Network:
    """Build a network for looking only, with the weights of a file or, if so asked, random ones."""
    if at_once < 1:
        raise PretrainedError(f"{at_once} clips are to be encoded at once, expected at least 1.")
    if (weights is None) is not random:
        raise PretrainedError(
            f"there are weights and random ones asked for ({what}); choose one."
            if random
            else f"there are no weights ({what}); give the public file, or ask for random ones to try "
            "things out, which see nothing of a face."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    if weights is not None:
        model.load_public(weights, head=False)
    return model.eval().requires_grad_(False)
