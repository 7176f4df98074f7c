# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 00 Start here
#
# A friend says *“what a lovely evening”*. The voice is flat, the eyes are wet. You know at once how
# your friend feels, and you know it from no single channel: the words alone would have fooled you.
#
# This course is about machines that do the same. You will build four published architectures from
# their papers, find the places where a paper is silent or wrong, train them, and say honestly
# whether the fusion helped. It starts here, with a small theatre and a first fusion.
#
# **After this lesson you can**
#
# 1. work a lesson: predict, run, practise, check your answer, open a hint;
# 2. say what words, a voice and a face are to a model, and find a clip that disagrees with itself;
# 3. train a first fusion, and judge it against each channel alone and against the best score that
#    anyone could reach.
#
# **You need** Python, a little PyTorch (a tensor, a `Module`, a loss), and 45 minutes. No GPU, no
# download.

# %%
from typing import NamedTuple

import numpy as np
import torch

from mmlib import plots, widgets
from mmlib.checks import CheckFailed, check, show, use
from mmlib.data import theatre
from mmlib.data.theatre.displays import confusion
from mmlib.training import evaluate, fit, seed_everything

# %% [markdown]
# ## How a lesson works
#
# Click on a cell and press **Shift+Enter**: the cell runs, the next one is chosen. Where the text
# asks you to **predict**, stop and say your guess aloud before you run. A wrong guess that you
# noticed teaches more than a right one that you read.
#
# There are three folders with the same lessons:
#
# | folder | what it is for |
# |---|---|
# | `notebooks/` | the lesson, to read and run, with a few longer demonstrations that stand only there |
# | `exercises/` | the same lesson with gaps for your code, a check below each gap, and three hints |
# | `solutions/` | the same with answers and a remark on each; come here last |
#
# Nothing you break here stays broken: *Kernel > Restart* gives you a fresh start, and an exercise
# that you skip never stops a later cell. A word that you have forgotten stands in the
# [glossary](../docs/glossary.md), with the lesson that explains it.

# %% [markdown]
# ## Meet the company
#
# Real recordings of emotion are hard to share, and harder to judge: nobody knows what the actor
# *really* felt, so nobody knows how good a model could be. We therefore open with a **theatre**:
# drawn faces, synthesised voices and written sentences, made by the generator in
# `mmlib.data.theatre`. It is synthetic through and through, and no person appears in it. In exchange,
# we know every truth behind it.

# %%
plots.show_figure(
    plots.gallery(),
    alt="Six drawn actors in rows, eight emotions in columns: neutral, calm, happy, sad with two "
    "tears, angry and red, fearful and pale with a drop of sweat, disgusted with a wrinkled nose, "
    "surprised with a round mouth.",
)

# %% [markdown]
# Cover the names above the columns with your hand. Which two would you mix up?
#
# Now let them act. Move the sliders, press play, and listen for what changes in the voice: the
# pitch, the pace, the breath. Then tick *irony*, and watch which channel turns round.

# %%
widgets.play_an_actor()

# %% [markdown]
# The same standing still, for a page without a running kernel: one actor, once afraid and once a
# little sad.

# %%
widgets.snapshot(
    widgets.draw_actor,
    [
        {"emotion": "fearful", "actor": 4, "clarity": 1.0, "irony": False},
        {"emotion": "sad", "actor": 4, "clarity": 0.5, "irony": False},
    ],
)

# %% [markdown]
# ## One clip, three streams
#
# A data set is one line: the name of a **play**, as we call a preset of the theatre, and a **seed**, the
# number from which all its random draws start. This play is called *masks*; you will see why in a
# moment.

# %%
clips = theatre.make("masks", n=2000, seed=0)
print(clips)
plots.show_figure(
    plots.filmstrip(clips, 5),
    alt="One clip as a model gets it: eight frames of a face, a waveform, its log-mel spectrogram, "
    "the sentence above and the displayed emotions below.",
)

# %% [markdown]
# Watch it, and listen to it:

# %%
plots.play(clips, 5)

# %% [markdown]
# A model gets none of these pictures, only tensors: one **stream** for each **modality**. Each is
# `(batch, time, features)`, and this course always writes the axes in that order.
#
# **Predict:** text, voice and face of the same second. Which stream has the most time steps, and
# which has the fewest?

# %% tags=["nbval-check-output"]
features = clips.features()
for name, stream in features.inputs.items():
    show(name, stream.shape)

# %% [markdown]
# The voice ticks 125 times a second, the camera eight times, and words come when they come.
# Sentences differ in length too, so each stream has a **mask** that says which steps are real. Three
# clocks: this is the first problem of every fusion. Watch the obvious attempt run into it. The next
# cell is broken on purpose.

# %%
try:
    torch.cat([features.inputs["audio"], features.inputs["vision"]], dim=-1)
except RuntimeError as error:
    print(f"RuntimeError: {error}")

# %% [markdown]
# Read a message like this slowly; it nearly always says what is wrong. *Sizes must match except in
# dimension 2*: we glue features side by side, along dimension 2, so the other axes must agree. In
# dimension 1, time, one stream has 128 steps and the other has 8.
#
# The plainest remedy: let each stream forget its clock. Average it over its real steps, then put
# the averages side by side.


# %% tags=["nbval-check-output"]
def average(stream, mask):
    """(B, T, D) -> (B, D): the mean over the steps that are real."""
    weight = mask[..., None].float()
    return (stream * weight).sum(1) / weight.sum(1).clamp(min=1)


pooled = [average(features.inputs[name], features.masks[name]) for name in features.modalities]
show(torch.cat(pooled, dim=-1).shape)

# %% [markdown]
# That is a fusion! A crude one, called **concatenation**. It cannot know that the voice rose *when*
# the eyes widened, and lessons 02 and 03 are about exactly that. But it is the one to beat.
#
# ## A clip that disagrees with itself
#
# Now the idea behind *masks*. Somebody feels an emotion, but each channel puts on a mask of its own,
# more or less like the feeling underneath. Below is one table for each channel: a row is what is felt,
# a column is what is shown, and the darker a cell, the more often it happens. On the diagonal the mask
# is honest.

# %%
plots.show_figure(
    plots.confusions(clips.script),
    alt="Three tables of what is felt against what is shown, for words, voice and face. All are "
    "darkest on the diagonal; each has grey cells of its own beside it.",
)

# %% [markdown]
# Look for the grey cells off the diagonal, and you see how each channel lies:

# %% tags=["nbval-check-output"]
tables = {
    name: confusion(name, getattr(clips.script, f"{name}_clarity"))
    for name in ("text", "audio", "vision")
}
for name, table in tables.items():
    felt, worn = np.unravel_index(np.argmax(table - np.diag(np.diag(table))), table.shape)
    show(f"{name}: {theatre.EMOTIONS[felt]} is most often taken for {theatre.EMOTIONS[worn]}")

# %% [markdown]
# Each channel has its own blind spot, and that is good news: where one is blind, another may see. But
# it also means that a clip may contradict itself, as your friend did. Here is one. **Predict** from
# face, sound and words what this actor feels, then read the last line.

# %%
words, voice, face = (clips.displays[name] for name in ("text", "audio", "vision"))
odd = int(((words != voice) & (voice != face) & (words != face)).nonzero()[0])
plots.show_figure(
    plots.filmstrip(clips, odd),
    alt="A clip whose words, voice and face show three different emotions.",
)

# %% [markdown] tags=["exercise"]
# ### Exercise 00.1: clips that disagree with themselves
# Difficulty ★☆☆ · Importance ★★☆ · 5 minutes
#
# How often does this happen? Write `disagree`. It gets three tensors of shape `(N,)`: the emotions
# that the words, the voice and the face of N clips show. It returns a boolean tensor `(N,)`, True
# where the three show more than one emotion.
#
# Run the check below before you write anything. It fails, and it is meant to: a failing check is
# how this course says *your turn*. Then make it pass.


# %% tags=["exercise"]
def disagree(words, voice, face):
    """Say for each clip whether its three channels show more than one emotion."""
    ### BEGIN SOLUTION
    return (words != voice) | (voice != face)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("00.1", disagree)

# %% [markdown] tags=["hint-1"]
# `words != voice` compares clip by clip and gives a boolean tensor of shape `(N,)`. No loop is
# needed, and no `if`.

# %% [markdown] tags=["hint-2"]
# Turn the question round: when do all three agree? When the words are like the voice *and* the
# voice is like the face. Every other clip disagrees.

# %% [markdown] tags=["hint-3"]
# Between tensors, *and* is `&`, *or* is `|` and *not* is `~`, and each comparison needs brackets:
# `(a != b) | (b != c)`. One odd channel is enough. Comparing only the words with the face would
# miss a voice that stands alone.

# %% [markdown] tags=["solution-note"]
# Two comparisons do it: where the words equal the voice and the voice equals the face, the words
# equal the face as well. The tempting `words != voice != face` fails: Python reads it as
# `(words != voice) and (voice != face)`, and `and` asks a whole tensor for a single truth.

# %% [markdown]
# Now count, with your function, or with ours until yours has passed its check: that is what `use`
# does, so an open exercise never stands in your way. **Predict:** a tenth of the clips? A half?

# %% tags=["nbval-check-output"]
disagreeing = use("00.1")(words, voice, face)
show(f"{int(disagreeing.sum())} of {len(clips)} clips disagree with themselves")

# %% tags=["claim"]
assert disagreeing.float().mean() > 0.6  # "most clips"

# %% [markdown]
# Most clips do! In this theatre disagreement is the rule, and that is why it takes more than one
# channel to understand a scene.
#
# ## The best that anyone could do
#
# Here is the luxury of a theatre. We know how the masks were drawn, so we can build a **perfect
# observer**, who knows the three tables by heart and has only bad luck to blame. For each emotion it
# asks: *how likely are these masks if that is the feeling?* It multiplies the answers of the channels
# and names the likeliest. (All eight feelings are equally frequent here, so there is nothing else to
# weigh.) Three lines of Bayes:

# %%
test_clips = clips.subset("test")


def perfect_observer(clips, channels):
    """The likeliest emotion of each clip, from what the channels show and the tables alone."""
    likelihood = np.ones((len(clips), len(theatre.EMOTIONS)))
    for name in channels:
        likelihood *= tables[name][:, clips.displays[name]].T
    return torch.from_numpy(likelihood.argmax(1))


# %% [markdown]
# **Predict:** which single channel tells most? And how far do all three get together, if one
# channel alone gets two clips in three?

# %% tags=["nbval-check-output"]
subsets = [("text",), ("audio",), ("vision",), ("text", "audio", "vision")]
in_theory = theatre.ceilings("masks")
ceiling = {}
for channels in subsets:
    name = "+".join(channels)
    guess = perfect_observer(test_clips, channels)
    ceiling[name] = (guess == test_clips.felt).double().mean().item()
    show(name, "on our test clips:", ceiling[name], "over all clips:", in_theory[name])

# %% [markdown]
# These numbers are **ceilings**. No network, however deep, gets above the right-hand column in the
# long run, since the masks really do hide the truth. (The left-hand column is the same observer on
# the few hundred clips that we test on, with the luck of that draw.) Guessing would get 1 in 8,
# .125. The best single channel stays wrong in every third clip; together, three half-blind
# channels see far more than any one of them. *That* is why anyone fuses.
#
# ## Your first fusion, in a minute
#
# Can a model learn what the perfect observer knows, from nothing but streams and labels? Here is the
# concatenation from above, with a small classifier on top. It is all there is to a first fusion:


# %%
class Output(NamedTuple):
    """What a model of this course returns; the first field is always the logits."""

    logits: torch.Tensor  # (B, C)


class Concat(torch.nn.Module):
    """Average each stream over its real steps, put the averages side by side, classify."""

    def __init__(self, widths, num_classes):
        super().__init__()
        self.classify = torch.nn.Sequential(
            torch.nn.Linear(sum(widths.values()), 64),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.2),
            torch.nn.Linear(64, num_classes),
        )

    def forward(self, *, masks, **streams):
        averages = [average(stream, masks[name]) for name, stream in streams.items()]
        return Output(self.classify(torch.cat(averages, dim=-1)))


# %% [markdown]
# Two habits, from the first day. **New actors:** we test on actors that the model has never met.
# **Several seeds:** a network starts from random weights, so one training is one throw of the dice. We
# train each model three times and show every result.
#
# A bar moves while `fit` learns (for the first seed of each); watch `valid_loss` fall, the loss on
# **validation** clips, from which it does not learn.

# %%
accuracies, histories = {}, {}
for channels in subsets:
    name = "+".join(channels)
    streams = clips.features(modalities=channels)
    train, valid, test = (streams.subset(part) for part in ("train", "valid", "test"))
    accuracies[name] = []
    for seed in (0, 1, 2):
        seed_everything(seed)
        model = Concat(streams.widths, streams.num_outputs)
        histories[name] = fit(
            model,
            train,
            valid,
            epochs=10,
            batch_size=64,
            learning_rate=1e-2,
            seed=seed,
            progress=seed == 0,
        )
        accuracies[name].append(evaluate(model, test)["accuracy"])

# %% [markdown]
# **Predict** before you run: does the fusion beat the best single channel, and by how much? Which
# channel comes closest to its ceiling?

# %%
plots.show_figure(
    plots.bars_with_seeds(
        accuracies, ceilings=ceiling, chance=1 / 8, title="New actors, three seeds each"
    ).figure,
    alt="Bars of test accuracy for text, audio, vision and all three, a dot for each seed, and the "
    "perfect observer's score as a line above each. The fusion's bar is the highest by far. The "
    "vision bar touches its line; the others stay below theirs.",
)

# %% tags=["claim"]
singles = ("text", "audio", "vision")
left_unused = {name: ceiling[name] - np.mean(scores) for name, scores in accuracies.items()}
noise = (0.25 / len(test_clips)) ** 0.5  # of an accuracy, at most, by the draw of the test clips
assert min(accuracies["text+audio+vision"]) > max(max(accuracies[name]) for name in singles) + 0.05
assert left_unused["vision"] < 0.02
assert min(left_unused["text"], left_unused["audio"]) > 0.05
assert all(max(accuracies[name]) < ceiling[name] + 3 * noise for name in ceiling)  # no leak

# %% [markdown]
# The fusion wins with every seed, by a margin that no seed explains. You have trained your first one.
#
# Now look at what is left unused. The face is read to the end: an expression survives being averaged
# over a second. Words and voice leave something on the table. An average of word vectors blurs the few
# words that tell among the many that do not, and a melody averaged over time is no melody any more. A model
# that knows *where* to look would do better, and that is what attention is for.
#
# The cell above asserts what this text says. You will find such a cell wherever the course makes a claim,
# so that the claim is tested each time the course is built. Its last line is a leak alarm: if a model
# ever stood far *above* its ceiling, we would not celebrate. We would look for the mistake.

# %%
plots.show_figure(
    plots.training_curves(
        histories, ceiling=ceiling["text+audio+vision"], title="While it learns (last seed)"
    ).figure,
    alt="Validation accuracy over ten epochs for the four models: all rise quickly and then "
    "level off; the fusion ends highest.",
)

# %% [markdown]
# ## Reading a failing message
#
# One tool you will need all the time is `accuracy`. A model returns **logits** `(N, C)`, one row for
# each clip, one column for each class; the largest wins. Here is a hasty version, on eight clips:


# %% tags=["nbval-check-output"]
def hasty_accuracy(logits, labels):
    winners = logits.argmax(dim=0)
    return (winners == labels).float().mean()


generator = torch.Generator().manual_seed(0)
show(hasty_accuracy(torch.randn(8, 8, generator=generator), torch.arange(8)))

# %% [markdown]
# A number, and no complaint. Would you have trusted it? Now hand it to its check. We catch the failure
# here, so that you can read it in peace:

# %% tags=["nbval-check-output"]
try:
    check("00.2", hasty_accuracy)
except CheckFailed as failure:
    print(failure)

# %% [markdown]
# Read it in order. **Tried**: what the check called, so that you can do it yourself. **Expected**: what a
# right answer does. **Got**: what yours did, and in which line. **Next**: the hint that fits.
#
# The sizes give the bug away: 4 clips, 3 classes, and 3 winners for 4 labels. With eight clips and eight classes both axes had
# the same length, and picking along the wrong one went unnoticed. *That is why every check of this
# course uses sizes that all differ*, and why your own tests should.

# %% [markdown] tags=["exercise"]
# ### Exercise 00.2: the share of clips that a model gets right
# Difficulty ★☆☆ · Importance ★★★ · 5 minutes
#
# Mend the bug. `accuracy` gets logits `(N, C)` and labels `(N,)`, and returns one number between
# 0 and 1: the share of clips whose largest logit is that of the true class. Copy the hasty version
# if you like; the message above says which shapes to think about.


# %% tags=["exercise"]
def accuracy(logits, labels):
    """The share of clips whose largest logit is that of the true class."""
    ### BEGIN SOLUTION
    winners = logits.argmax(dim=-1)  # (N,): one winner for each clip
    return (winners == labels).float().mean()
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("00.2", accuracy)

# %% [markdown] tags=["hint-1"]
# `logits.argmax(dim=0)` compares along axis 0, from clip to clip, and returns one winner for each
# *class*. Which axis holds the classes?

# %% [markdown] tags=["hint-2"]
# Work the first try out by hand: four rows, three columns, and the largest number of each row. Rows
# one and two are right, three and four are wrong, so the answer is 0.5.

# %% [markdown] tags=["hint-3"]
# The winners must have the shape of the labels, `(N,)`. `dim=-1` is the last axis, the classes. Then
# `(winners == labels)` is True for each right clip, and the mean of True and False, taken as
# numbers, is the share. Hand the logits back as you found them.

# %% [markdown] tags=["solution-note"]
# `dim=-1` rather than `dim=1`: it says *the last axis*, and stays right for logits `(B, T, C)`. If
# you returned a percentage or a count, the check told you so: a number without its unit is the
# most ordinary bug there is.

# %% tags=["nbval-check-output"]
logits = torch.tensor([[0.1, 2.0, 0.3], [1.5, 0.2, 0.1], [0.0, 0.4, 0.9], [3.0, 1.0, 2.0]])
show(accuracy=use("00.2")(logits, torch.tensor([1, 0, 1, 2])))

# %% [markdown]
# ## What you take away
#
# - A clip is several **streams**, `(batch, time, features)`, each with its own clock and a mask of
#   the steps that are real.
# - Channels may **contradict** each other. Fusion pays because their blind spots differ.
# - A score stands beside three others: chance, each channel alone, and the **ceiling**; with every
#   seed shown, and on people the model has never met.
# - A failing check is a message. Read it from *Tried* to *Next*; test with sizes that all differ.
#
# ## Where to go next
#
# **Practise now:** open this lesson's [exercises](../exercises/00_start_here.ipynb). Then go on with
# [signals and metrics](01_signals_and_metrics.ipynb): what goes into a model, and what a score is worth.
# After it come [attention](02_attention.ipynb), how a model chooses what to look at,
# [cross-attention](03_cross_attention.ipynb), how one stream asks another,
# [transformer blocks](04_transformer_blocks.ipynb), which stack them, and
# [fusing and judging](05_fusing_and_judging.ipynb), which weighs all of it against the ceiling. The
# README has the whole map.
#
# **On Colab:** the first code cell of each notebook fetches the course by itself. This lesson needs
# no GPU; where you want one, choose *Runtime > Change runtime type*, and everything moves there.
#
# **In a terminal:** `make course` runs all lessons without a browser, and
# `pytest --nbval-lax exercises/00_start_here.ipynb` checks your exercises.
#
# ## References
#
# 1. The theatre's emotions stand on three axes, valence, arousal and dominance: A. Mehrabian and
#    J. A. Russell, *An Approach to Environmental Psychology*, MIT Press, 1974.
# 2. Its eight emotions and 24 actors follow the plan of a real set of recordings, RAVDESS:
#    S. R. Livingstone and F. A. Russo, PLOS ONE 13(5), 2018, e0196391.
# 3. The colours of all figures: M. Okabe and K. Ito, *Color Universal Design*, 2008.
