"""The eight emotions of the theatre: where they lie, and how a face and a voice show them.

Everything here is a small table that we made up. The theatre is synthetic: these numbers drive drawn
faces and synthesised voices and describe no person and no recording.
"""

import numpy as np

#: The emotions, in the order of every table, label and logit of the theatre.
EMOTIONS: tuple[str, ...] = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
)

#: One row per emotion: valence, arousal, dominance, each in [-1, 1].
COORDINATES: np.ndarray = np.array(
    [
        [0.00, 0.00, 0.00],
        [0.45, -0.70, 0.15],
        [0.85, 0.45, 0.40],
        [-0.70, -0.60, -0.50],
        [-0.65, 0.75, 0.70],
        [-0.60, 0.70, -0.75],
        [-0.75, 0.10, 0.35],
        [0.25, 0.85, -0.25],
    ]
)

#: How clearly each modality shows valence, arousal and dominance: the words show valence and
#: dominance, the voice arousal and dominance, the face valence. The larger, the clearer.
PRECISIONS: dict[str, np.ndarray] = {
    "text": np.array([1.60, 0.10, 1.00]),
    "audio": np.array([0.25, 2.20, 0.90]),
    "vision": np.array([2.40, 0.50, 0.35]),
}

#: What an ironic speaker's words show, by felt emotion: happy and disgust change places, so do calm
#: and angry, surprised and sad; neutral and fearful stay. Irony therefore flips the valence.
IRONY_MAP: np.ndarray = np.array([0, 4, 6, 7, 1, 5, 2, 3])

#: The sixteen numbers from which a face is drawn, on a canvas of [-1, 1] x [-1, 1], y pointing down.
#: A brow angle above zero raises the inner end (worry), below zero lowers it (anger); slant above
#: zero drops the outer end of the eyelid; tint above zero reddens the skin, below zero pales it.
FACE_UNITS: tuple[str, ...] = (
    "mouth_curve",
    "mouth_open",
    "mouth_width",
    "mouth_asymmetry",
    "brow_angle",
    "brow_height",
    "eye_open",
    "squint",
    "slant",
    "pupil",
    "blush",
    "tilt",
    "tear",
    "sweat",
    "wrinkle",
    "tint",
)

#: One row per emotion, one column per face unit.
FACE: np.ndarray = np.array(
    [
        [0.00, 0.00, 0.26, 0.00, 0.00, 0.00, 0.72, 0.10, 0.00, 0.50, 0.10, 0.00, 0, 0, 0.0, 0.0],
        [0.11, 0.00, 0.24, 0.00, 0.10, 0.05, 0.58, 0.35, 0.10, 0.60, 0.35, 0.07, 0, 0, 0.0, 0.0],
        [0.17, 0.24, 0.31, 0.00, 0.03, 0.08, 0.95, 0.55, 0.00, 0.60, 0.80, -0.05, 0, 0, 0.0, 0.0],
        [-0.14, 0.00, 0.20, 0.00, 0.40, 0.01, 0.62, 0.05, 0.30, 0.65, 0.05, 0.10, 1, 0, 0.0, -0.3],
        [-0.10, 0.15, 0.28, 0.0, -0.45, -0.05, 0.78, 0.25, -0.40, 0.4, 0.3, -0.03, 0, 0, 0.5, 1.0],
        [-0.10, 0.11, 0.27, 0.02, 0.40, 0.09, 1.00, 0.00, 0.15, 0.10, 0.00, 0.03, 0, 1, 0.0, -0.9],
        [-0.09, 0.05, 0.22, 0.06, -0.25, -0.02, 0.55, 0.45, -0.12, 0.35, 0, -0.1, 0, 0, 1.0, -0.5],
        [0.00, 0.24, 0.13, 0.00, 0.12, 0.15, 1.10, 0.00, 0.00, 0.35, 0.15, 0.00, 0, 0, 0.0, 0.1],
    ],
    dtype=np.float32,
)

#: The ten numbers from which a voice is synthesised: pitch in semitones above the actor's own, its
#: range and its slope over the clip, energy in dB, syllables a second, spectral tilt in dB an
#: octave, jitter, breathiness, tremor in semitones, and the share of a syllable that is silent.
VOICE_UNITS: tuple[str, ...] = (
    "pitch",
    "range",
    "slope",
    "energy",
    "rate",
    "tilt",
    "jitter",
    "breath",
    "tremor",
    "pause",
)

#: One row per emotion, one column per voice unit.
VOICE: np.ndarray = np.array(
    [
        [0.0, 2.0, -1.0, 0.0, 4.2, -9.0, 0.05, 0.05, 0.0, 0.10],
        [-2.0, 1.5, -1.5, -5.0, 3.2, -12.0, 0.03, 0.15, 0.0, 0.20],
        [5.0, 5.0, 2.0, 4.0, 5.4, -6.0, 0.05, 0.05, 0.0, 0.05],
        [-3.0, 1.0, -4.0, -7.0, 2.6, -13.0, 0.10, 0.25, 0.4, 0.35],
        [2.5, 4.0, -3.0, 8.0, 5.0, -3.0, 0.35, 0.05, 0.0, 0.05],
        [7.0, 1.5, 1.0, -1.0, 6.2, -8.0, 0.15, 0.20, 1.6, 0.20],
        [-2.5, 3.0, -5.0, 2.0, 3.2, -5.0, 0.45, 0.10, 0.0, 0.15],
        [6.0, 7.0, 7.0, 5.0, 3.8, -7.0, 0.05, 0.10, 0.0, 0.05],
    ],
    dtype=np.float32,
)
