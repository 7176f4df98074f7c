"""The theatre: synthetic clips in which words, a voice and a face show a hidden emotion.

The data of the course is generated: nothing is downloaded, a seed is a data set, and the best
accuracy that any model can reach is known. No person appears in it and none is described.

    clips = theatre.make("masks", n=1000, seed=0)
    clips.frames, clips.waveform, clips.sentences   # rendered when asked for
    clips.features()                                # a FeatureSet to train on
    theatre.ceilings("masks")                       # what a perfect model would reach
"""

from mmlib.data.theatre.ceilings import Ceilings, ceilings
from mmlib.data.theatre.clips import Clips, company
from mmlib.data.theatre.embedding import word_vectors
from mmlib.data.theatre.emotions import (
    COORDINATES,
    EMOTIONS,
    FACE,
    FACE_UNITS,
    IRONY_MAP,
    VOICE,
    VOICE_UNITS,
)
from mmlib.data.theatre.faces import LIGHTS, draw_faces
from mmlib.data.theatre.late import late_ceilings
from mmlib.data.theatre.making import make
from mmlib.data.theatre.posteriors import posterior
from mmlib.data.theatre.presets import PRESETS
from mmlib.data.theatre.script import MODALITIES, Script
from mmlib.data.theatre.sentences import LEXICON, VOCABULARY, spell, write_sentences
from mmlib.data.theatre.traces import trace_concordances
from mmlib.data.theatre.voices import synthesise
from mmlib.data.theatre.windows import dialogue_windows, window_posterior, window_rows

__all__ = [
    "COORDINATES",
    "EMOTIONS",
    "FACE",
    "FACE_UNITS",
    "IRONY_MAP",
    "LEXICON",
    "LIGHTS",
    "MODALITIES",
    "PRESETS",
    "VOCABULARY",
    "VOICE",
    "VOICE_UNITS",
    "Ceilings",
    "Clips",
    "Script",
    "ceilings",
    "company",
    "dialogue_windows",
    "draw_faces",
    "late_ceilings",
    "make",
    "posterior",
    "spell",
    "synthesise",
    "trace_concordances",
    "window_posterior",
    "window_rows",
    "word_vectors",
    "write_sentences",
]
