"""Sliders over a drawing function, and the still picture that says the same without a kernel.

A lesson writes one function, `draw(**values) -> (figure, alt)`. `explore` puts controls above it,
`snapshot` draws it at a few settings side by side: one function, so the two can never disagree.
"""

import asyncio
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from mmlib.data.sound import log_mel
from mmlib.data.theatre.emotions import EMOTIONS, FACE, IRONY_MAP, VOICE
from mmlib.data.theatre.faces import draw_faces
from mmlib.data.theatre.sentences import spell, write_sentences
from mmlib.data.theatre.voices import synthesise
from mmlib.plots.looks import new_figure, styled
from mmlib.plots.page import (
    DPI,
    audio_html,
    image_html,
    is_static,
    picture_bundle,
    pixels,
    png_bytes,
    show_figure,
)
from mmlib.plots.stage import show_face, show_mel, show_wave

DELAY = 0.05  # seconds in which further changes join the one picture that is due


class Scene(NamedTuple):
    """What a drawing function gives back: a figure, its alt text, and perhaps a sound."""

    figure: Figure
    alt: str
    sound: torch.Tensor | None = None
    sample_rate: int = 16000


Draw = Callable[..., Scene | tuple[Figure, str]]


def staged(draw: Draw, values: Mapping[str, Any]) -> Scene:
    """Draw at these values.

    Raises:
        TypeError: the drawing function gave back no figure with its alt text.
    """
    came = draw(**values)
    if not isinstance(came, tuple):
        raise TypeError(
            f"the drawing function returned {type(came).__name__}, expected a figure and its alt "
            "text, `return figure, alt`, or a Scene"
        )
    return Scene(*came)


class Explorer(ipywidgets.VBox):
    """Controls above a picture that follows them.

    Changes that arrive faster than pictures can be drawn are joined: one picture is due at a time, and
    it shows the latest values. A drawing function that fails shows its message in place of the picture.
    """

    def __init__(self, draw: Draw, controls: Mapping[str, ipywidgets.Widget]) -> None:
        """Build the controls' row and draw the first picture."""
        self.draw = draw
        self.controls = dict(controls)
        self.output = ipywidgets.HTML()
        self.alt = ""
        self._due: asyncio.TimerHandle | None = None
        for control in self.controls.values():
            control.observe(self._changed, names="value")
        row = ipywidgets.HBox(
            list(self.controls.values()),
            layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="0 2em"),
        )
        super().__init__([row, self.output])
        self.refresh()

    @property
    def values(self) -> dict[str, Any]:
        """The value of every control, by name."""
        return {name: control.value for name, control in self.controls.items()}

    def _changed(self, _: object) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel is listening: a script, or a test
            self.refresh()
            return
        if self._due is None:
            self._due = loop.call_later(DELAY, self.refresh)

    def refresh(self) -> None:
        """Draw the picture at the present values."""
        self._due = None
        try:
            scene = staged(self.draw, self.values)
        except Exception as error:  # noqa: BLE001  a callback's traceback would go to a log, unseen
            message = html.escape(f"{type(error).__name__}: {error}")
            self.alt = ""
            self.output.value = f'<pre role="alert">The drawing function failed.\n{message}</pre>'
            return
        png = png_bytes(scene.figure)
        plt.close(scene.figure)
        self.alt = scene.alt
        body = image_html(png, scene.alt)
        if scene.sound is not None:
            body += "<br>" + audio_html(scene.sound, scene.sample_rate, "Listen to this setting")
        self.output.value = f'<div aria-live="polite">{body}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if not is_static():
            return super()._repr_mimebundle_(**kwargs)
        scene = staged(self.draw, self.values)
        png = png_bytes(scene.figure)
        plt.close(scene.figure)
        return picture_bundle(png, f"{scene.alt} (Run this cell to move the controls.)")


def explore(draw: Draw, **controls: Any) -> Explorer:
    """Return controls above the picture that `draw` makes of their values.

    Args:
        draw: called with one value for each control; returns a figure and its alt text, or a `Scene`.
        controls: name -> a widget, or ipywidgets' short forms: `(low, high, step)` for a slider, a
            list for a choice of one, True or False for a box to tick.

    Raises:
        ValueError: if a control is neither a widget nor a short form.
    """
    made = {}
    for name, control in controls.items():
        if isinstance(control, list):
            # Not a drop-down list: the notebook takes its arrow keys and letters for commands.
            control = ipywidgets.ToggleButtons(options=control)
            control.style.button_width = "auto"
        elif not isinstance(control, ipywidgets.Widget):
            control = ipywidgets.interactive.widget_from_abbrev(control)
        if control is None:
            raise ValueError(
                f"the control {name!r} is {controls[name]!r}; give a widget, (low, high, step), "
                "a list of choices, True or False"
            )
        if not control.description:
            control.description = name.replace("_", " ")
        tooltip = (
            "tooltip" if control.has_trait("tooltip") else "description_tooltip"
        )  # Colab's 7.7
        if not getattr(control, tooltip):  # else a pointer reads "null"
            setattr(control, tooltip, control.description)
        control.style.description_width = "initial"
        if isinstance(control, ipywidgets.Checkbox):
            control.indent = False
            control.layout.width = "max-content"  # else as wide as a slider
        made[name] = control
    return Explorer(draw, made)


def small_multiples(
    draw: Draw, settings: Sequence[Mapping[str, Any]], *, columns: int | None = None
) -> Scene:
    """Draw one picture for each setting, side by side as far as a page is wide, into one figure.

    Raises:
        ValueError: there is no setting.
    """
    if not settings:
        raise ValueError("small_multiples needs at least one setting, for example [{'lag': 0}]")
    tiles, alts = [], []
    for values in settings:
        scene = staged(draw, values)
        tiles.append(pixels(png_bytes(scene.figure)))
        alts.append(scene.alt)
        plt.close(scene.figure)
    width = max(tile.shape[1] for tile in tiles)
    columns = columns or max(1, min(len(tiles), 1000 // width))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    sheet = Figure(figsize=(columns * width / DPI, sum(heights) / DPI), dpi=DPI)
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            below = sum(heights[number:]) - tile.shape[0]
            sheet.figimage(tile, xo=column * width, yo=below, origin="upper")
    return Scene(sheet, " ".join(alts))


def snapshot(
    draw: Draw,
    settings: Sequence[Mapping[str, Any]],
    *,
    alt: str | None = None,
    columns: int | None = None,
) -> None:
    """Display the still twin of an explorer: the same drawing at a few settings.

    Args:
        draw: the function that `explore` was given.
        settings: the values of every control, once for each picture.
        alt: what the pictures show together; without it, their own alt texts one after the other.
        columns: pictures in a row; by default as many as fit on a page.
    """
    scene = small_multiples(draw, settings, columns=columns)
    show_figure(scene.figure, alt=alt or scene.alt)


@styled
def draw_actor(
    emotion: str = "happy", actor: int = 0, clarity: float = 1.0, irony: bool = False
) -> Scene:
    """Let one actor show one emotion: a face, a voice, a sentence. All three are synthetic.

    Args:
        emotion: what the actor feels.
        actor: which of the 24.
        clarity: 0 shows a neutral face and voice, 1 the emotion in full.
        irony: the words then say the opposite, and the voice swoops.
    """
    felt = EMOTIONS.index(emotion)
    said = int(IRONY_MAP[felt]) if irony else felt
    rng = np.random.default_rng([felt, actor])
    tokens, _ = write_sentences(np.array([said]), rng)
    sentence = spell(tokens)[0]
    who = torch.tensor([actor])
    face = torch.tensor(FACE[:1] + clarity * (FACE[felt] - FACE[0]))
    voice = torch.tensor(VOICE[:1] + clarity * (VOICE[felt] - VOICE[0]))
    picture = draw_faces(face, who, size=256)[0]
    sound, _ = synthesise(
        voice,
        who,
        generator_seed=1000 * felt + actor,
        sample_rate=16000,
        samples=32768,
        tone=torch.tensor([float(irony)]),
    )
    mel = log_mel(sound, sample_rate=16000, n_fft=512, hop=128, n_mels=40)
    figure = new_figure(8.0, 3.2)
    panels: Any = figure.subplot_mosaic("FW;FM", width_ratios=(1, 1.7))
    show_face(panels["F"], picture)
    seconds = sound.shape[-1] / 16000
    show_wave(panels["W"], sound[0], seconds)
    show_mel(panels["M"], mel[0], seconds)
    figure.suptitle(f"“{sentence}”", x=0.01, ha="left", fontsize=13, fontstyle="italic")
    how = f"feels {emotion}" + (f", and says it with irony: the words are {EMOTIONS[said]}" * irony)
    alt = f"Actor {actor} {how}; clarity {clarity:.1f}. The sentence: “{sentence}”."
    return Scene(figure, alt, sound[0], 16000)


def play_an_actor() -> Explorer:
    """Return sliders over `draw_actor`: choose an emotion, an actor, how clear and how ironic."""
    return explore(
        draw_actor,
        emotion=ipywidgets.SelectionSlider(options=EMOTIONS, value="happy"),
        actor=ipywidgets.IntSlider(value=0, min=0, max=23),
        clarity=ipywidgets.FloatSlider(value=1.0, min=0.0, max=1.0, step=0.1),
        irony=ipywidgets.Checkbox(value=False),
    )
