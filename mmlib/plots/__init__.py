"""Every figure of the course, in one look, described in words, and reproducible to the byte.

Functions that fill one panel take `ax=` and return it; functions that arrange several panels return
the figure. `show_figure(figure, alt="...")` puts a figure on the page.
"""

from mmlib.plots.charts import attention_map, bars_with_seeds, training_curves
from mmlib.plots.looks import LOOKS, Look, apply_style, look
from mmlib.plots.page import png_bytes, save_figure, show_figure
from mmlib.plots.stage import confusions, filmstrip, gallery, play

__all__ = [
    "LOOKS",
    "Look",
    "apply_style",
    "attention_map",
    "bars_with_seeds",
    "confusions",
    "filmstrip",
    "gallery",
    "look",
    "play",
    "png_bytes",
    "save_figure",
    "show_figure",
    "training_curves",
]
