"""`theatre.make`: a preset, a number of clips, a seed, and any knob."""

from typing import Any

import numpy as np

from mmlib.data.theatre.clips import Clips
from mmlib.data.theatre.displays import draw_cues
from mmlib.data.theatre.presets import find_script
from mmlib.data.theatre.script import Script


def make(preset: str | Script = "masks", *, n: int = 1000, seed: int = 0, **knobs: Any) -> Clips:
    """Stage n synthetic clips.

    The same preset, knobs and seed give the same labels, displays, numbers and words on every
    machine, and the same bytes on the same one. Each part has a stream of random numbers of its own:
    turning one knob leaves the draws of the others alone, and asking for more clips leaves the first
    ones as they were.

    Presets:
        masks: each modality shows an emotion of its own choice, clearly; fusing posteriors is optimal.
        flagship, irony, irony_clear: 8 emotions with ironic words, told by the tone of the voice.
        irony_square: two classes; words alone and voice alone are worth nothing, both are all.
        spotlight: four expressions under four lights; the words name the light that counts.
        beat: four expressions; the voice stresses the moment, the face follows `lag` frames later.
        missing: masks, of which three in ten of each modality never arrive.
        habit: masks of actors who each have an emotion that they feel too often.
        portraits: single frames under random lights, labelled by what they show (a face school).
        voices: voices labelled by what they show, half of them in an ironic tone (a voice school).
        ca_mmaaet, avt_ca, jmt, conversations: the settings of the four systems. `jmt` is traces of
            valence and arousal; a sample of `conversations` is one turn of a dialogue.

    Args:
        preset: a name out of `PRESETS`, or a `Script`.
        n: how many clips; in conversations, how many turns.
        seed: a whole number from 0.
        **knobs: what to set otherwise than the preset does:

            | knob | values | default | what it does |
            |---|---|---|---|
            | text_clarity, audio_clarity, vision_clarity | 0 to 20, inf | 4, 3.5, 4.5 | how seldom \
a display errs: 0 tells nothing, inf never errs |
            | irony | 0 to .5 | 0 | share of clips whose words mean the opposite |
            | tone_fidelity | .5 to 1 | 1 | how often the tone of the voice tells irony rightly |
            | face_blur, voice_blur | 0 to 2.5, 0 to 2 | 0 | noise on the numbers behind face and \
voice, in units of their spread over the emotions |
            | word_noise | 0 to .5 | 0 | share of emotion words taken from any emotion |
            | pitch_offset | 0 to 3 | 0 | how differently high the actors speak |
            | habit | 0 to .7 | 0 | share of clips in which an actor feels a favourite emotion |
            | jitter | 0 to .3 | .1 | trembling of the face, without meaning |
            | lip_sync | 0 to .2 | 0 | how far the mouth follows the voice; lips then tell what the \
voice shows |
            | lag | 0 to 6 frames | 0 | how much later than the voice the face comes |
            | marker | none, light, beat | none | what says which moment counts |
            | moments | 1 to 4 | 1 | how many expressions a clip holds, one of which counts |
            | random_lights | True, False | False | light each clip by one of four lights at random |
            | text_missing, audio_missing, vision_missing | 0 to .6 | 0 | share that never arrives |
            | missing_bias | 0 to 1 | 0 | how much more often aroused displays go missing |
            | prior | one number per emotion | uniform | how often each emotion is felt |
            | emotions | names | all eight | the emotions of the play |
            | labels | emotion, sentiment, valence, trace | emotion | what is to be told |
            | turns, stick | 0 to 50, 0 to .8 | 0, 0 | turns of a dialogue; how often a turn repeats \
the last one's emotion |
            | split | actor, random | actor | whether the test has actors of its own |
            | modalities | names | all three | what `features()` gives by default |
            | num_frames, size | 1 to 64, 16 to 224 | 8, 32 | frames of a clip, pixels of a side |
            | sample_rate, samples | 8000 or 16000, 4096 to 49152 | 8000, 1.024 s | the sound |
            | max_words, sentence_length | 8 to 36, (from, to) | 16, (6, 14) | the text |
            | correlation_time | 1 to 60 steps | 12 | how slowly a trace drifts |
            | voice_noise, face_noise | (valence, arousal) | (.9, .35), (.3, .7) | noise of traces |

    Raises:
        ValueError: no such preset or knob, or a value out of range; the message lists what there is.
    """
    script = find_script(preset, **knobs)
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be a whole number from {least}, not {value!r}.")
    return Clips(draw_cues(script, int(n), int(seed)))
