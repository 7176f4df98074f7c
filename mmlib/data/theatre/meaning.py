"""What staged clips mean: labels, displays, actors, splits and whatever is planted in them.

Everything here is synthetic, was drawn by `draw_cues`, and costs nothing to look at.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre import motion, traces
from mmlib.data.theatre.displays import Cues
from mmlib.data.theatre.script import Script


class Meaning:
    """The part of `Clips` that is known without rendering anything.

    Emotions are places in `EMOTIONS`. Whatever the script does not plant is None.
    """

    def __init__(self, cues: Cues, index: np.ndarray | None = None) -> None:
        """Hold the clips of `cues`, or those at `index`."""
        self.cues = cues
        self.script: Script = cues.script
        self.seed = cues.seed
        self.index = np.arange(len(cues)) if index is None else index

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.index)

    def __repr__(self) -> str:
        """Say what is here, without rendering it."""
        return f"<{len(self)} synthetic clips of {self.script.name!r}, seed {self.seed}>"

    def rows(self, which: int | str | slice | Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        """Turn "train", "valid", "test", a number, a slice, numbers or a boolean mask into places.

        Raises:
            ValueError: there is no such split.
        """
        if isinstance(which, str):
            if which not in ("train", "valid", "test"):
                raise ValueError(f"a split is 'train', 'valid' or 'test', not {which!r}.")
            return np.flatnonzero(self.split == which)
        if isinstance(which, int | np.integer):
            return np.array([range(len(self))[int(which)]])
        if isinstance(which, slice):
            return np.arange(len(self))[which]
        return np.arange(len(self))[np.asarray(which)]

    @functools.cached_property
    def labels(self) -> Tensor:
        """The class of each clip, (N,) int64; valence and arousal, (N, T, 2), for traces."""
        if self.script.classes is None:
            assert self._traces is not None
            return torch.from_numpy(self._traces.felt[self.index]).float()
        classes = np.array([self.script.class_of(name) for name in self.script.emotions])
        return torch.from_numpy(classes[self.cues.felt[self.index]])

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the labels; None for traces."""
        return self.script.classes

    @property
    def felt(self) -> Tensor | None:
        """The hidden emotion, (N,); None for traces."""
        if self.script.classes is None:
            return None
        return self._take(motion.shown_emotion(self.cues, self.cues.felt))

    @property
    def displays(self) -> dict[str, Tensor]:
        """The emotion that each modality shows at the moment that counts, modality -> (N,).

        Empty for traces.
        """
        if self.script.classes is None:
            return {}
        shown = self.cues.displays.items()
        return {name: self._take(motion.shown_emotion(self.cues, d)) for name, d in shown}

    @property
    def expressions(self) -> Tensor:
        """The emotion that the face shows in each frame, (N, T)."""
        per_moment = self.script.num_frames // self.script.moments
        shown = motion.shown_emotion(self.cues, self.cues.expressions)
        return self._take(shown.repeat(per_moment, axis=1))

    @property
    def irony(self) -> Tensor:
        """Whether the words mean the opposite, (N,) bool."""
        return self._take(self.cues.irony)

    @property
    def tone(self) -> Tensor:
        """Whether the voice sounds ironic, (N,) bool."""
        return self._take(self.cues.tone)

    @property
    def actor(self) -> Tensor:
        """Who plays, (N,), 0 to 23."""
        return self._take(self.cues.actor)

    @property
    def arrives(self) -> dict[str, Tensor]:
        """Whether each modality is there, modality -> (N,) bool."""
        return {name: self._take(there) for name, there in self.cues.arrives.items()}

    @property
    def split(self) -> np.ndarray:
        """The part that each clip belongs to, "train", "valid" or "test", (N,)."""
        return self.cues.split[self.index]

    @property
    def group(self) -> np.ndarray:
        """The actor's name, or the dialogue's in conversations, (N,)."""
        if self.script.turns:
            return np.array([f"dialogue-{d:05d}" for d in self.cues.dialogue[self.index]])
        return np.array([f"actor-{a:02d}" for a in self.cues.actor[self.index]])

    @property
    def ids(self) -> np.ndarray:
        """A name for each clip, (N,)."""
        return np.array([f"{self.script.name}-{self.seed}-{i:05d}" for i in self.index])

    @property
    def dialogue(self) -> Tensor | None:
        """The dialogue that each turn belongs to, (N,)."""
        return self._take(self.cues.dialogue) if self.script.turns else None

    @property
    def turn(self) -> Tensor | None:
        """The place of each turn in its dialogue, (N,)."""
        return self._take(self.cues.turn) if self.script.turns else None

    @property
    def moment(self) -> Tensor | None:
        """Which moment is the planted one, (N,), 0 to J - 1."""
        return self._take(self.cues.moment) if self.script.marker != "none" else None

    @property
    def moment_frames(self) -> Tensor | None:
        """Which frames are the planted moment's, (N, T) bool."""
        return self._take(self.cues.moment_frames) if self.script.marker != "none" else None

    @property
    def beat(self) -> Tensor | None:
        """When the voice is stressed, (N,), as a share of the clip."""
        return self._take(self.cues.beat) if self.script.marker == "beat" else None

    @property
    def lag(self) -> int:
        """How many frames the face comes after the voice."""
        return self.script.lag

    @property
    def light(self) -> Tensor | None:
        """The light that the text names, (N,), a place in `LIGHTS`."""
        if self.script.marker != "light":
            return None
        named = self.cues.light_order[np.arange(len(self.cues)), self.cues.moment]
        return self._take(named)

    @property
    def lights(self) -> Tensor | None:
        """The light on the stage in each frame, (N, T), places in `LIGHTS`."""
        if self.script.marker != "light" and not self.script.random_lights:
            return None
        per_moment = self.script.num_frames // self.script.moments
        return self._take(self.cues.light_order.repeat(per_moment, axis=1))

    @functools.cached_property
    def _traces(self) -> traces.Traces | None:
        if self.script.classes is not None:
            return None
        return traces.draw_traces(self.script, len(self.cues), self.seed)

    def _take(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values[self.index]))
