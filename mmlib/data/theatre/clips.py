"""The container of staged clips: what they mean at once, what they look and sound like on request.

Everything in it is synthetic. Frames, sound and spectrograms are rendered when they are first asked
for, and kept.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmlib.data import sound
from mmlib.data.features import FeatureSet
from mmlib.data.theatre import faces, motion, traces
from mmlib.data.theatre.cast import Cast, cast
from mmlib.data.theatre.displays import stream
from mmlib.data.theatre.embedding import clip_features
from mmlib.data.theatre.meaning import Meaning
from mmlib.data.theatre.sentences import spell, write_sentences
from mmlib.data.theatre.voices import synthesise

_RENDERED = ("frames", "log_mel", "mfcc", "face_units", "tokens", "voice_units")


@functools.lru_cache(maxsize=1)
def company() -> Cast:
    """The 24 actors of the theatre, always the same."""
    return cast()


class Clips(Meaning):
    """N synthetic clips of one script; see `make` for how to get them.

    Emotions are places in `EMOTIONS`. Whatever the script does not plant is None.

    Attributes:
        script, seed: where the clips come from.
        cues: everything that carries meaning, as drawn, for all clips of the seed.
        index: which of those clips are here, (N,).

    Shape:
        labels (N,) int64, or (N, T, 2) valence and arousal for traces; displays modality -> (N,);
        tokens, token_mask (N, words); frames (N, T, 3, S, S) uint8; face_units (N, T, 16);
        waveform (N, L); energy (N, F); log_mel (N, L / hop, 40); mfcc (N, L / hop, 13);
        voice_units (N, 10), or (N, T, 10) for traces.
    """

    def __getitem__(self, which: int | slice | Sequence[int] | np.ndarray | Tensor) -> "Clips":
        """Some of the clips; for a single number a `Clips` of length one."""
        return self.subset(which)

    def subset(self, which: int | str | slice | Sequence[int] | np.ndarray | Tensor) -> "Clips":
        """Some of the clips: "train", "valid" or "test", a slice, numbers or a boolean mask.

        What is rendered already is taken along.
        """
        rows = self.rows(which)
        part, here = Clips(self.cues, self.index[rows]), torch.from_numpy(rows)
        for name in _RENDERED:
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name][here]
        if "_sound" in self.__dict__:
            part.__dict__["_sound"] = tuple(track[here] for track in self._sound)
        return part

    # What is said.

    @functools.cached_property
    def tokens(self) -> Tensor:
        """The words as places in `VOCABULARY`, 0 behind the last one, (N, words).

        Traces say nothing.
        """
        if self.class_names is None:
            return torch.zeros(len(self), self.script.max_words, dtype=torch.int64)
        named = None
        if self.script.marker == "light":
            named = self.cues.light_order[np.arange(len(self.cues)), self.cues.moment]
        tokens, _ = write_sentences(
            motion.shown_emotion(self.cues, self.cues.displays["text"]),
            stream(self.seed, "words"),
            max_length=self.script.max_words,
            lengths=self.script.sentence_length,
            eta=self.script.word_noise,
            light=named,
        )
        return self._take(np.asarray(tokens))

    @property
    def token_mask(self) -> Tensor:
        """Where there is a word, (N, words) bool."""
        return self.tokens > 0

    @property
    def sentences(self) -> list[str]:
        """What is said, N strings."""
        return spell(self.tokens)

    # What is heard.

    @functools.cached_property
    def voice_units(self) -> Tensor:
        """The numbers behind the voice, (N, 10); (N, T, 10) for traces."""
        if self._traces is not None:
            return traces.trace_voice_units(self._traces)[torch.from_numpy(self.index)]
        return motion.voice_units(self.cues)[torch.from_numpy(self.index)]

    @property
    def sample_rate(self) -> int:
        """Samples of the waveform in a second."""
        return self.script.sample_rate

    @functools.cached_property
    def _sound(self) -> tuple[Tensor, Tensor]:
        """Waveform and energy; each clip has a seed of its own, so that a part sounds like the whole."""
        script, actor, seeds = self.script, self.actor, self._voice_seeds
        units, parts = self.voice_units, 1
        if units.dim() == 3:  # a trace: one second of sound for each few steps, at their mean
            parts = max(1, script.num_frames // traces.STEPS_PER_CLIP)
            units = torch.stack([part.mean(1) for part in units.tensor_split(parts, dim=1)], 1)
            units, actor = units.flatten(0, 1), actor.repeat_interleave(parts)
            seeds = (seeds[:, None] + np.arange(parts)).ravel()
        waveform, energy = synthesise(
            units,
            actor,
            generator_seed=seeds,
            sample_rate=script.sample_rate,
            samples=script.num_samples,
            tone=self.tone.float() if script.irony else None,
            beat=None if self.beat is None else self.beat.float(),
            cast=company(),
        )
        return waveform.reshape(len(self), -1), energy.reshape(len(self), -1)

    @property
    def _voice_seeds(self) -> np.ndarray:
        return stream(self.seed, "voice").integers(2**40, size=len(self.cues))[self.index]

    @property
    def waveform(self) -> Tensor:
        """The sound, (N, L) in [-1, 1]."""
        return self._sound[0]

    @property
    def energy(self) -> Tensor:
        """How loud the voice was meant to be, (N, F)."""
        return self._sound[1]

    @functools.cached_property
    def log_mel(self) -> Tensor:
        """The logarithm of 40 mel bands in 125 steps a second, (N, steps, 40)."""
        return sound.log_mel(self.waveform, sample_rate=self.sample_rate, **self._windows)

    @functools.cached_property
    def mfcc(self) -> Tensor:
        """Thirteen cepstral coefficients in 125 steps a second, (N, steps, 13)."""
        return sound.mfcc(self.waveform, sample_rate=self.sample_rate, **self._windows)

    @property
    def _windows(self) -> dict[str, Any]:
        hop = self.sample_rate // 125
        return {"n_fft": 4 * hop, "hop": hop, "n_mels": 40}

    # What is seen.

    @functools.cached_property
    def face_units(self) -> Tensor:
        """The numbers behind the face in each frame, (N, T, 16)."""
        rows = torch.from_numpy(self.index)
        if self._traces is not None:
            return traces.trace_face_units(self._traces)[rows]
        units = motion.face_units(self.cues)[rows]
        if self.script.lip_sync == 0:
            return units
        return motion.move_lips(
            units, self.energy, amplitude=self.script.lip_sync, lag=self.script.lag
        )

    @functools.cached_property
    def frames(self) -> Tensor:
        """The pictures, (N, T, 3, S, S) uint8."""
        return self.draw()

    def draw(self, *, size: int | None = None) -> Tensor:
        """The pictures at another size, drawn anew, (N, T, 3, S, S) uint8."""
        size = self.script.size if size is None else size
        frames = self.script.num_frames
        flat = faces.draw_faces(
            self.face_units.flatten(0, 1),
            self.actor.repeat_interleave(frames),
            size=size,
            light=None if self.lights is None else self.lights.flatten(),
            cast=company(),
        )
        return flat.unflatten(0, (len(self), frames))

    # What a model is given.

    def features(
        self,
        *,
        modalities: Sequence[str] | None = None,
        audio: str | None = None,
        vision: str = "units",
    ) -> FeatureSet:
        """The clips as features, each of about unit size; nothing is learned from the data.

        Text is fixed word vectors. Audio is the log-mel spectrogram. Vision is the face units of each
        frame, relative to a neutral face, a stand-in for a detector of action units; where lights
        are on, four more numbers say which. A missing modality has a mask of False and zeros.

        Args:
            modalities: which ones; None for those that the script is about.
            audio: "log_mel", "mfcc" or "units" (the numbers behind the voice: one step, or one per
                step of a trace); None for "log_mel", and for "units" where there are traces.
            vision: "units", or "frames" for the pictures themselves, as bytes; a batch has
                them from 0 to 1.

        Shape:
            text (N, words, 32); audio (N, 128, 40), (N, 128, 13) or (N, T, 10); vision (N, T, 16),
            (N, T, 20) with lights, or (N, T, 3, S, S).

        Raises:
            ValueError: a name that does not exist, or text of traces.
        """
        return clip_features(self, modalities=modalities, audio=audio, vision=vision)
