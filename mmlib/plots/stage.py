"""The theatre on the page: the company, one clip as a film strip, and one clip to watch and hear."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmlib.data.theatre import Clips
from mmlib.data.theatre.displays import confusion
from mmlib.data.theatre.emotions import EMOTIONS, FACE
from mmlib.data.theatre.faces import draw_faces
from mmlib.data.theatre.script import Script
from mmlib.plots.looks import as_array, ink, look, new_figure, styled
from mmlib.plots.matrices import attention_map
from mmlib.plots.page import animated_png, audio_html, picture_bundle

WORDS = {"text": "words", "audio": "voice", "vision": "face"}


def show_face(ax: Axes, face: torch.Tensor) -> None:
    """Put one picture `(3, S, S)` on a panel without a frame."""
    ax.imshow(face.permute(1, 2, 0).cpu().numpy(), interpolation="lanczos")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def show_wave(ax: Axes, waveform: Any, seconds: float) -> None:
    """Draw a waveform on a panel whose axis is seconds."""
    wave = as_array(waveform)
    ax.plot(np.linspace(0, seconds, len(wave)), wave, color=look("audio").color, lw=0.5, ls="-")
    ax.set(xlim=(0, seconds), ylim=(-0.7, 0.7), xticks=[], yticks=[], ylabel="wave")
    ax.spines[:].set_visible(False)


def show_mel(ax: Axes, log_mel: Any, seconds: float) -> None:
    """Draw a log-mel spectrogram `(T, mels)` on a panel whose axis is seconds."""
    picture = as_array(log_mel).T
    ax.imshow(picture, origin="lower", aspect="auto", extent=(0, seconds, 0, len(picture)))
    ax.set(yticks=[], ylabel="log-mel", xlabel="seconds")


@styled
def gallery(
    *,
    actors: Sequence[int] = (0, 1, 2, 3, 4, 5),
    emotions: Sequence[str] = EMOTIONS,
    size: int = 96,
) -> Figure:
    """Draw the company: one row an actor, one column an emotion."""
    rows = torch.tensor(actors).repeat_interleave(len(emotions))
    units = torch.tensor(FACE)[[EMOTIONS.index(name) for name in emotions]]
    faces = draw_faces(units.repeat(len(actors), 1), rows, size=size)
    figure = new_figure(len(emotions) * 1.1, len(actors) * 1.1 + 0.3, tight=True)
    panels = figure.subplots(len(actors), len(emotions), squeeze=False)
    for ax, face in zip(panels.flat, faces, strict=True):
        show_face(ax, face)
    for ax, name in zip(panels[0], emotions, strict=True):
        ax.set_title(name, loc="center", fontsize=11, fontweight="normal")
    for ax, actor in zip(panels[:, 0], actors, strict=True):
        ax.set_ylabel(f"actor {actor}", fontsize=9)
    return figure


@styled
def filmstrip(clips: Clips, index: int, *, frames: int = 8, size: int = 96) -> Figure:
    """Draw one clip as a machine gets it: frames, waveform, log-mel spectrogram, and the sentence.

    Below stands what is felt and what each channel displays.
    """
    clip = clips[index]
    pictures = clip.draw(size=size)[0]
    steps = np.linspace(0, len(pictures) - 1, min(frames, len(pictures))).round().astype(int)
    seconds = clip.waveform.shape[-1] / clip.sample_rate
    figure = new_figure(9.0, 3.9)
    strips: Any = figure.subfigures(3, 1, height_ratios=(1.35, 0.65, 1.15))
    film, sound, mel = strips
    figure.suptitle(said(clip), x=0.01, ha="left", fontsize=13, fontstyle="italic")
    for ax, step in zip(film.subplots(1, len(steps), squeeze=False)[0], steps, strict=True):
        show_face(ax, pictures[step])
    show_wave(sound.subplots(), clip.waveform[0], seconds)
    show_mel(mel.subplots(), clip.log_mel[0], seconds)
    felt = "" if clip.felt is None else f"felt: {EMOTIONS[int(clip.felt[0])]}      shown: "
    figure.supxlabel(felt + shown(clip), fontsize=11, fontweight="bold")
    return figure


def said(clip: Clips) -> str:
    """Return the sentence of the first clip in quotation marks; traces say nothing."""
    return "" if clip.felt is None else f"“{clip.sentences[0]}”"


def shown(clip: Clips) -> str:
    """Say what each channel of the first clip displays."""
    if clip.felt is None:
        return "a trace of valence and arousal"
    return ", ".join(
        f"{WORDS[name]} {EMOTIONS[int(clip.displays[name][0])]}" for name in clip.script.modalities
    )


@styled
def confusions(script: Script) -> Figure:
    """Draw what each channel shows (columns) of what is felt (rows): the masks of a script."""
    names = script.emotions
    clarity = {
        "text": script.text_clarity,
        "audio": script.audio_clarity,
        "vision": script.vision_clarity,
    }
    figure = new_figure(9.6, 3.7)
    panels = figure.subplots(1, len(script.modalities), squeeze=False)[0]
    for ax, name in zip(panels, script.modalities, strict=True):
        table = confusion(name, clarity[name], names)
        attention_map(table, queries=names, keys=names, values=False, title=WORDS[name], ax=ax)
        ax.set(xlabel="shown", ylabel="felt" if ax is panels[0] else "", aspect="equal")
        for place, share in enumerate(table.diagonal()):
            shade = ink(ax.images[0].to_rgba(share)[:3])
            number = f"{share:.2f}".lstrip("0")
            ax.text(place, place, number, ha="center", va="center", size=8, color=shade)
        if ax is not panels[0]:
            ax.set_yticks([])
    return figure


def play(clips: Clips, index: int, *, size: int = 128) -> None:
    """Show one clip of the theatre as it was meant: a moving face, and a voice to listen to.

    The face is drawn anew at `size` pixels; the page gets at most 300 kB of picture.
    """
    clip = clips[index]
    frames = clip.draw(size=size)[0].permute(0, 2, 3, 1).cpu().numpy()
    seconds = clip.waveform.shape[-1] / clip.sample_rate
    alt = f"Actor {int(clip.actor[0])} on the stage. {said(clip)} {shown(clip)}.".replace("  ", " ")
    data, metadata = picture_bundle(animated_png(frames, seconds=seconds), alt)
    display(data, metadata=metadata, raw=True)
    player = audio_html(clip.waveform[0], clip.sample_rate, f"The voice of clip {index}")
    display({"text/html": player, "text/plain": "a voice to play in a live notebook"}, raw=True)
