"""From what is displayed to the numbers that a face and a voice are made of.

Noise acts here (`face_blur`, `voice_blur`, `pitch_offset`); what draws and synthesises after this is
deterministic but for cosmetic noise that carries no label. Hence the exact posterior of the felt
emotion given these numbers (`posteriors`) bounds what can be learned from pixels and sound.
"""

import numpy as np
import torch
from torch import Tensor

from mmlib.data.theatre.displays import NUM_ACTORS, Cues, stream
from mmlib.data.theatre.emotions import EMOTIONS, FACE, FACE_UNITS, VOICE
from mmlib.data.theatre.faces import FACE_LIMITS
from mmlib.data.theatre.voices import VOICE_LIMITS

#: The spread of each unit over the emotions: the unit in which noise is measured.
FACE_SPREAD: np.ndarray = FACE.astype(np.float64).std(0)
VOICE_SPREAD: np.ndarray = VOICE.astype(np.float64).std(0)

BLINKS = 0.04
JITTER_MEMORY = 0.7


def drawable(units: np.ndarray) -> np.ndarray:
    """Face units clipped to what can be drawn; (..., 16)."""
    return units.clip(FACE_LIMITS[:, 0], FACE_LIMITS[:, 1])


def shown_emotion(cues: Cues, places: np.ndarray) -> np.ndarray:
    """Places in the script's emotions -> places in `EMOTIONS`."""
    return np.array([EMOTIONS.index(name) for name in cues.script.emotions])[places]


def face_signals(cues: Cues) -> np.ndarray:
    """What the face shows at each moment, noise included and nothing clipped; (N, J, 16)."""
    shown = FACE.astype(np.float64)[shown_emotion(cues, cues.expressions)]
    noise = stream(cues.seed, "face blur").standard_normal(shown.shape)
    return shown + cues.script.face_blur * FACE_SPREAD * noise


def actor_offsets(cues: Cues) -> np.ndarray:
    """How much higher each clip's actor always speaks, in semitones; (N,)."""
    offsets = stream(cues.seed, "pitch offset").standard_normal(NUM_ACTORS)
    return cues.script.pitch_offset * VOICE_SPREAD[0] * offsets[cues.actor]


def voice_signals(cues: Cues) -> np.ndarray:
    """What the voice shows, noise included, without the actor's offset; (N, 10)."""
    shown = VOICE.astype(np.float64)[shown_emotion(cues, cues.displays["audio"])]
    noise = stream(cues.seed, "voice blur").standard_normal(shown.shape)
    return shown + cues.script.voice_blur * VOICE_SPREAD * noise


def voice_units(cues: Cues) -> Tensor:
    """The ten numbers of each clip's voice; (N, 10)."""
    units = voice_signals(cues)
    units[:, 0] += actor_offsets(cues)
    return torch.from_numpy(units.clip(VOICE_LIMITS[:, 0], VOICE_LIMITS[:, 1])).float()


def _trembling(cues: Cues) -> np.ndarray:
    """Slow noise of unit variance that makes a face live and carries no label; (N, T, 16)."""
    n, frames = len(cues), cues.script.num_frames
    noise = stream(cues.seed, "jitter").standard_normal((n, frames, len(FACE_UNITS)))
    for t in range(1, frames):
        noise[:, t] = JITTER_MEMORY * noise[:, t - 1] + (1 - JITTER_MEMORY**2) ** 0.5 * noise[:, t]
    return noise


def _onset(cues: Cues) -> np.ndarray:
    """How far the expression has come up from neutral in each frame, 0 to 1; (N, T)."""
    frames = cues.script.num_frames
    if cues.script.moments > 1:
        return np.ones((len(cues), frames))
    start = 0.3 * stream(cues.seed, "onset").random((len(cues), 1))
    rise = np.clip(((np.arange(frames) + 0.5) / frames - start + 0.12) / 0.24, 0.0, 1.0)
    return rise * rise * (3 - 2 * rise)


def face_units(cues: Cues) -> Tensor:
    """The sixteen numbers of the face in every frame, before the lips move; (N, T, 16)."""
    script, neutral = cues.script, FACE[0].astype(np.float64)
    per_moment = script.num_frames // script.moments
    track = np.repeat(face_signals(cues), per_moment, axis=1)
    track = neutral + _onset(cues)[..., None] * (track - neutral)
    track += script.jitter * FACE_SPREAD * _trembling(cues)
    track = drawable(track)
    blinks = stream(cues.seed, "blinks").random(track.shape[:2]) < BLINKS
    track[..., FACE_UNITS.index("eye_open")][blinks] = 0.3
    return torch.from_numpy(track).float()


def move_lips(units: Tensor, energy: Tensor, *, amplitude: float, lag: int) -> Tensor:
    """Open the mouth by the energy of the voice, ``lag`` frames later.

    Shape:
        units (N, T, 16), energy (N, F) at any rate -> (N, T, 16)
    """
    frames = units.shape[1]
    speech = torch.nn.functional.adaptive_avg_pool1d(energy[:, None], frames)[:, 0]  # (N, T)
    speech = speech / speech.amax(1, keepdim=True).clamp(min=1e-6)
    late = torch.zeros_like(speech)
    late[:, lag:] = speech[:, : frames - lag]
    mouth = FACE_UNITS.index("mouth_open")
    moved = units.clone()
    low, high = FACE_LIMITS[mouth].tolist()
    moved[..., mouth] = (moved[..., mouth] + amplitude * late).clamp(low, high)
    return moved
