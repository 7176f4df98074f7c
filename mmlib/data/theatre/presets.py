"""The scripts of the course, by name: the settings that its lessons and systems use.

All data made from them is synthetic.
"""

import math
from typing import Any

from mmlib.data.theatre.script import Script

_MELD = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_PAIRS = ("calm", "happy", "sad", "angry", "disgust", "surprised")


def _preset(name: str, **knobs: Any) -> Script:
    return Script(name=name, **knobs)


#: The scripts of the course, by name.
PRESETS: dict[str, Script] = {
    script.name: script
    for script in (
        _preset("masks"),
        _preset(
            "flagship",
            text_clarity=6.0,
            audio_clarity=3.0,
            vision_clarity=3.2,
            irony=0.4,
            tone_fidelity=0.95,
        ),
        _preset("irony", text_clarity=8.0, audio_clarity=2.5, vision_clarity=2.5, irony=0.5),
        _preset("irony_clear", text_clarity=20.0, audio_clarity=1.5, vision_clarity=1.5, irony=0.5),
        _preset(
            "irony_square",
            labels="valence",
            emotions=_PAIRS,
            modalities=("text", "audio"),
            text_clarity=math.inf,
            audio_clarity=0.0,
            vision_clarity=0.0,
            irony=0.5,
        ),
        _preset(
            "spotlight",
            modalities=("text", "vision"),
            text_clarity=0.0,
            audio_clarity=0.0,
            vision_clarity=math.inf,
            marker="light",
            moments=4,
            num_frames=12,
            sentence_length=(6, 16),
        ),
        _preset(
            "beat",
            modalities=("audio", "vision"),
            text_clarity=0.0,
            audio_clarity=0.0,
            vision_clarity=math.inf,
            marker="beat",
            moments=4,
            num_frames=12,
            lag=4,
        ),
        _preset("missing", text_missing=0.3, audio_missing=0.3, vision_missing=0.3),
        _preset("habit", habit=0.5),
        _preset(
            "portraits",
            modalities=("vision",),
            text_clarity=0.0,
            audio_clarity=0.0,
            vision_clarity=math.inf,
            random_lights=True,
            num_frames=1,
        ),
        _preset(
            "voices",
            modalities=("audio",),
            text_clarity=0.0,
            audio_clarity=math.inf,
            vision_clarity=0.0,
            irony=0.5,
        ),
        _preset(
            "ca_mmaaet",
            labels="sentiment",
            prior=(0.075, 0.155, 0.155, 0.135, 0.135, 0.135, 0.135, 0.075),
            text_clarity=2.0,
            audio_clarity=1.5,
            vision_clarity=0.8,
            irony=0.15,
            tone_fidelity=0.95,
            num_frames=10,
            size=48,
            max_words=36,
            sentence_length=(12, 36),
        ),
        _preset("avt_ca", modalities=("audio", "vision"), num_frames=15, size=48, lip_sync=0.12),
        _preset(
            "jmt",
            labels="trace",
            modalities=("audio", "vision"),
            num_frames=64,
            lag=4,
            jitter=0.0,
        ),
        _preset(
            "conversations",
            emotions=_MELD,
            prior=(0.472, 0.174, 0.068, 0.111, 0.027, 0.027, 0.121),
            text_clarity=3.0,
            audio_clarity=1.6,
            vision_clarity=1.6,
            turns=10,
            stick=0.45,
        ),
    )
}


def find_script(preset: "str | Script", **knobs: Any) -> Script:
    """The script of that name, with some knobs set anew.

    Raises:
        ValueError: no preset of that name, no such knob, or a value that cannot be.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(
                f"the theatre has no preset {preset!r}; it has {', '.join(sorted(PRESETS))}."
            )
        preset = PRESETS[preset]
    return preset.changed(**knobs)
