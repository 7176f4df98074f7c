"""The theatre on the page: the company, one clip as a film strip, and one clip to watch and hear."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from IPython.display import display
from matplotlib.figure import Figure

from mmlib.data.theatre.emotions import EMOTIONS, FACE
from mmlib.plots.looks import as_array, look, new_figure, styled
from mmlib.plots.page import animated_png, audio_html, picture_bundle

if TYPE_CHECKING:
    from mmlib.data.theatre import Clips

WORDS = {"text": "words", "audio": "voice", "vision": "face"}


@styled
def gallery(
    *,
    actors: Sequence[int] = (0, 1, 2, 3, 4, 5),
    emotions: Sequence[str] = EMOTIONS,
    size: int = 96,
) -> Figure:
    """Draw the company: one row an actor, one column an emotion."""
    from mmlib.data.theatre.faces import draw_faces

    rows = torch.tensor(actors).repeat_interleave(len(emotions))
    units = torch.tensor(FACE)[[EMOTIONS.index(name) for name in emotions]]
    faces = draw_faces(units.repeat(len(actors), 1), rows, size=size)
    figure = new_figure(len(emotions) * 1.1, len(actors) * 1.1 + 0.3, tight=True)
    panels = figure.subplots(len(actors), len(emotions), squeeze=False)
    for ax, face in zip(panels.flat, faces, strict=True):
        ax.imshow(face.permute(1, 2, 0).cpu().numpy(), interpolation="lanczos")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, name in zip(panels[0], emotions, strict=True):
        ax.set_title(name, loc="center", fontsize=11, fontweight="normal")
    for ax, actor in zip(panels[:, 0], actors, strict=True):
        ax.set_ylabel(f"actor {actor}", fontsize=9)
    return figure


@styled
def filmstrip(clips: "Clips", index: int, *, frames: int = 8) -> Figure:
    """Draw one clip as a machine gets it: frames, waveform, log-mel spectrogram, and the sentence.

    The title says what is felt; each row says what its channel displays.
    """
    names = clips.class_names
    shown = {name: names[int(each[index])] for name, each in clips.displays.items()}
    steps = np.linspace(0, clips.frames.shape[1] - 1, frames).round().astype(int)
    figure = new_figure(9.0, 4.3)
    strips: Any = figure.subfigures(3, 1, height_ratios=(1.6, 0.75, 1.15))
    film, sound, mel = strips
    figure.suptitle(
        f"“{clips.sentences[index]}”", x=0.01, ha="left", fontsize=13, fontstyle="italic"
    )
    for ax, step in zip(film.subplots(1, frames, squeeze=False)[0], steps, strict=True):
        picture = as_array(clips.frames[index, step].permute(1, 2, 0)).astype(np.uint8)
        ax.imshow(picture, interpolation="lanczos")
        ax.set_axis_off()
    seconds = clips.waveform.shape[-1] / clips.sample_rate
    wave = as_array(clips.waveform[index])
    ax = sound.subplots()
    ax.plot(np.linspace(0, seconds, len(wave)), wave, color=look("audio").color, lw=0.5, ls="-")
    ax.set(xlim=(0, seconds), xticks=[], yticks=[], ylabel="wave")
    ax = mel.subplots()
    picture = as_array(clips.log_mel[index]).T
    ax.imshow(picture, origin="lower", aspect="auto", extent=(0, seconds, 0, len(picture)))
    ax.set(yticks=[], ylabel="log-mel", xlabel="seconds")
    felt = names[int(clips.labels[index])]
    says = ", ".join(f"{WORDS[name]} {emotion}" for name, emotion in shown.items())
    figure.supxlabel(f"felt: {felt}      shown: {says}", fontsize=11, fontweight="bold")
    return figure


def describe_clip(clips: "Clips", index: int) -> str:
    """Return one sentence that says who is shown, what is said, and what each channel displays."""
    names = clips.class_names
    words = {"text": "words", "audio": "voice", "vision": "face"}
    shown = ", ".join(
        f"{words[name]} {names[int(display_[index])]}" for name, display_ in clips.displays.items()
    )
    return f"Actor {int(clips.actor[index])} says “{clips.sentences[index]}”: {shown}."


def play(clips: "Clips", index: int, *, size: int = 128) -> None:
    """Show one clip of the theatre as it was meant: a moving face, and a voice to listen to.

    The face is drawn anew at `size` pixels; the page gets at most 300 kB of picture.
    """
    from mmlib.data.theatre.faces import draw_faces

    units = clips.face_units[index]  # (T, 16)
    actor = torch.full((len(units),), int(clips.actor[index]))
    frames = draw_faces(units, actor, size=size).permute(0, 2, 3, 1).cpu().numpy()
    seconds = clips.waveform.shape[-1] / clips.sample_rate
    alt = describe_clip(clips, index)
    data, metadata = picture_bundle(animated_png(frames, seconds=seconds), alt)
    display(data, metadata=metadata, raw=True)
    player = audio_html(clips.waveform[index], clips.sample_rate, f"The voice of clip {index}")
    display({"text/html": player, "text/plain": "a sound to play in a live notebook"}, raw=True)
