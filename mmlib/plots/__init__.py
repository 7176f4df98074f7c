"""Every figure of the course, in one look, described in words, and reproducible to the byte.

Functions that fill one panel take `ax=` and return it; functions that arrange several panels return
the figure. `show_figure(figure, alt="...")` puts a figure on the page.

While it learns:
    training_curves: a column of one or several runs, or the parts of a loss, over the epochs.
    accuracy_curves: several models with several seeds each, as means and bands.

How good it is:
    confusion_map: what was taken for what, with counts and shares of the true class.
    per_class_bars: precision, recall and F1 of each class.
    bars_with_seeds: a score for each seed, against the ceiling and chance.
    bars_with_intervals: a score with its interval, against the ceiling and chance.
    differences: paired comparisons and their intervals, against zero.

What is inside:
    attention_map: who looks at whom.
    tsne_map: which samples are neighbours in an embedding.
    valence_arousal_plane: points or trajectories of valence and arousal.
    label_histogram: how many samples each class has, in each split.

The theatre:
    gallery: the company, every actor in every emotion.
    filmstrip: one clip as a machine gets it.
    confusions: what each channel shows of what is felt.
    play: one clip to watch and to hear.

On the page:
    show_figure, save_figure, png_bytes: display a figure with its alt text, write it, or return its bytes.
    apply_style, look, LOOKS, Look: the course's look for figures drawn by hand.
"""

from mmlib.plots.bars import (
    bars_with_intervals,
    bars_with_seeds,
    label_histogram,
    per_class_bars,
)
from mmlib.plots.curves import accuracy_curves, training_curves
from mmlib.plots.forest import differences
from mmlib.plots.looks import LOOKS, Look, apply_style, look
from mmlib.plots.matrices import attention_map, confusion_map
from mmlib.plots.page import png_bytes, save_figure, show_figure
from mmlib.plots.points import tsne_map, valence_arousal_plane
from mmlib.plots.stage import confusions, filmstrip, gallery, play

__all__ = [
    "LOOKS",
    "Look",
    "accuracy_curves",
    "apply_style",
    "attention_map",
    "bars_with_intervals",
    "bars_with_seeds",
    "confusion_map",
    "confusions",
    "differences",
    "filmstrip",
    "gallery",
    "label_histogram",
    "look",
    "per_class_bars",
    "play",
    "png_bytes",
    "save_figure",
    "show_figure",
    "training_curves",
    "tsne_map",
    "valence_arousal_plane",
]
