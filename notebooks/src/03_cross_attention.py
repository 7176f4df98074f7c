# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 Cross-attention
#
# **After this lesson you can**
#
# 1. let one stream ask another, with unequal lengths and the right mask, and tell from shapes and gradients who asks;
# 2. say when cross-attention wins, when plain concatenation wins, and when a recurrent layer does as well;
# 3. judge an attention map by something better than its looks.
#
# **Before you start:** lesson 02 (scores, softmax, masks). **Time:** about 80 minutes, half of it exercises.

# %%
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import nn

from mmlib.checks import check, show, use
from mmlib.data import theatre
from mmlib.layers import MultiHeadAttention, masked_mean
from mmlib.plots import apply_style, bars_with_seeds, show_figure
from mmlib.plots.moments import lag_map, moment_strip, offset_lines
from mmlib.systems.moments import (
    ConcatWithAttention,
    FramewiseConcat,
    MomentAttention,
    RecurrentConcat,
)
from mmlib.training import evaluate, fit, seed_everything
from mmlib.training.schooling import in_ticks, portrait_set, train_face_school, with_face_features
from mmlib.widgets import explore, snapshot

apply_style()

# %% [markdown]
# ## Who asks, and who answers
#
# Somebody tells you about last night: *“…and you should have seen her, over there in the yellow light”*. The words do not say
# how she felt. They say **where to look**. The answer is in another stream.
#
# You know this play from lesson 02 (all its clips are synthetic). There you gave the query by hand. From now on the words ask
# by themselves.

# %%
spotlight = theatre.make("spotlight", n=1000, seed=0)
example = 3
named = theatre.LIGHTS[int(spotlight.light[example])]
print(spotlight.sentences[example])
show_figure(
    moment_strip(spotlight, example),
    alt="Twelve frames of one face under four lights, three frames each, with four expressions. The three frames under "
    f"the light that the sentence names, {named}, are outlined.",
)

# %% [markdown]
# Two streams, two roles. The stream that asks gives the **queries**; here each word is one. The stream that answers gives the
# **keys** and the **values**; here each frame is one. That is all that *cross* means: in lesson 02 both roles could be played by one
# sequence (that is **self-attention**), now there are two, and you have to say who is who.

# %% [markdown]
# ## Unequal lengths
#
# A sentence has up to sixteen words of 32 numbers each, the film has twelve frames of twenty. Nothing fits, and nothing needs
# to: each stream gets its own projection into a common width $d$, and only there do they meet.
#
# $$\text{softmax}\!\left(\frac{X_A W_Q\,(X_B W_K)^\top}{\sqrt{d}}\right) X_B W_V$$
#
# **Predict, then run.** Let $A$ be the words and $B$ the frames. What is the shape of the scores? How many rows does the
# result have?

# %% tags=["nbval-check-output"]
streams = spotlight.features()
words, frames = streams.inputs["text"][:5], streams.inputs["vision"][:5]
seed_everything(0)
w_query, w_key, w_value = torch.randn(32, 8), torch.randn(20, 8), torch.randn(20, 10)

scores = (words @ w_query) @ (frames @ w_key).mT / 8**0.5
show("words ", words.shape)
show("frames", frames.shape)
show("scores", scores.shape, "one row a word, one column a frame")
show("result", (scores.softmax(-1) @ (frames @ w_value)).shape, "one row a word")

# %% [markdown]
# Read the last line again: **the result is as long as the stream that asks, and it is made of the stream that answers.** Twelve
# frames went in, and every word brought one summary of them home.

# %% [markdown] tags=["exercise"]
# ### Exercise 03.1: cross-attend
# Difficulty ★★☆ · Importance ★★★ · 12 minutes
#
# Write it whole, with the mask. `query` is `(B, Tq, Dq)`, `context` is `(B, Tk, Dc)`; `to_query` `(Dq, D)`, `to_key`
# `(Dc, D)` and `to_value` `(Dc, Dv)` are the three projections, plain matrices. `mask` is the padding mask **of the context**,
# `(B, Tk)`, True where a step is real. Return the output `(B, Tq, Dv)` and the weights `(B, Tq, Tk)`.
#
# A stream that is missing from a sample has a mask that is False throughout. Its weights and its output are zeros.


# %% tags=["exercise"]
def cross_attend(query, context, to_query, to_key, to_value, mask):
    """Let each step of the query stream attend to the real steps of the context stream."""
    ### BEGIN SOLUTION
    asked, keys, values = query @ to_query, context @ to_key, context @ to_value
    scores = asked @ keys.transpose(-2, -1) / asked.shape[-1] ** 0.5  # (B, Tq, Tk)
    absent = ~mask[:, None, :]  # (B, 1, Tk): the same keys are missing for every query
    scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
    weights = scores.softmax(dim=-1).masked_fill(absent, 0.0)
    return weights @ values, weights
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Project first: three matrix products, one from `query` and two from `context`. The scores then have one row for each query and one
# column for each step of the context, so the keys have to be transposed.

# %% [markdown] tags=["hint-2"]
# Scale by the root of the *projected* width. The mask is `(B, Tk)` and the scores are `(B, Tq, Tk)`: an axis of length one is
# missing in the middle. Masked scores become very low *before* the softmax, which runs over the keys.

# %% [markdown] tags=["hint-3"]
# `absent = ~mask[:, None, :]`, then `scores.masked_fill(absent, torch.finfo(scores.dtype).min)`. With `-inf` in its place a row
# without any key would be NaN. After the softmax fill `absent` with zeros once more: that settles the missing stream.

# %% tags=["check", "nbval-check-output"]
check("03.1", cross_attend)

# %% [markdown] tags=["solution-note"]
# Compared with 02.4 two things are new: the projections start from streams of different widths, and the mask has lost its query
# axis. Both follow from the roles. The context owns keys, values and the mask; the query owns nothing but its questions, and the number of
# rows.

# %% tags=["nbval-check-output"]
attend = use("03.1")
everything = torch.ones(5, 12, dtype=torch.bool)
out, weights = attend(words, frames, w_query, w_key, w_value, everything)
show("words ask frames:", out.shape, "weights", weights.shape)

# %% [markdown]
# ## Direction
#
# Now swap the roles and let the frames ask the words.
#
# **Predict, then run.** What is the new shape? Which stream is the result made of?

# %% tags=["nbval-check-output"]
word_mask = streams.masks["text"][:5]
back, weights = attend(frames, words, w_key, w_query, torch.randn(32, 10), word_mask)
show("frames ask words:", back.shape, "weights", weights.shape)

# %% [markdown]
# Twelve rows of words. The two directions are different models, and a paper's arrow, *text → vision*, may mean either. The length of the
# output gives it away, unless both streams are equally long. Then you need another test, and gradients give one. Look at
# the output for **one** step, and ask which inputs could have moved it.

# %% tags=["nbval-check-output"]
seed_everything(1)
first, second = torch.randn(2, 6, 4, requires_grad=True), torch.randn(2, 6, 4, requires_grad=True)
layer = MultiHeadAttention(query_dim=4, num_heads=1)  # the first argument asks
one_step = layer(first, second)[:, 2]  # the output for step 2 only
reached = torch.autograd.grad((one_step * torch.randn(2, 4)).sum(), (first, second))
for name, gradient in zip(("first ", "second"), reached, strict=True):
    show(
        f"{name}: a gradient reaches steps", gradient[0].abs().sum(-1).nonzero().flatten().tolist()
    )

# %% [markdown]
# Step 2 of the output hangs on step 2 of the one who asks, and on **every** step of the one who answers.

# %% [markdown] tags=["exercise"]
# ### Exercise 03.2: who asks?
# Difficulty ★★☆ · Importance ★★☆ · 12 minutes
#
# You are given a `layer` that takes two streams of equal shape, `layer(first, second)`, each `(B, T, D)` with T of at least 3, and returns
# `(B, T, D)`. One of the streams asks, the other answers, and you cannot look inside. There may be a residual path (the input is added to the output), a layer norm (it brings the features of each step to mean 0 and deviation 1), several heads,
# and one stream may be much louder than the other. They may even be one and the same tensor, and must stay as they were. Return `"first"` or `"second"`: the name of the stream that asks.


# %% tags=["exercise"]
def who_asks(layer, first, second):
    """Say which of two streams is the query of a layer: "first" or "second"."""
    ### BEGIN SOLUTION
    first = first.detach().clone().requires_grad_()
    second = second.detach().clone().requires_grad_()
    step = layer(first, second)[:, 0]  # what the layer gives out for step 0
    gradients = torch.autograd.grad((step * torch.randn_like(step)).sum(), (first, second))
    elsewhere = [gradient[:, 1:].abs().sum() for gradient in gradients]
    return "first" if elsewhere[0] < elsewhere[1] else "second"
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# You need gradients with respect to both inputs. Copy them first (`.detach().clone().requires_grad_()`), so that the caller's tensors
# stay as they were.

# %% [markdown] tags=["hint-2"]
# Do not compare how *large* the gradients are: a loud stream or a residual path makes them anything. Compare *which steps* they
# reach, when you look at one step of the output.

# %% [markdown] tags=["hint-3"]
# Take `layer(first, second)[:, 0]` and weigh it by random numbers before you sum, since a layer norm makes a plain sum constant.
# `torch.autograd.grad(..., (first, second))` gives both gradients. The query has none in `[:, 1:]`. Two copies also keep the streams apart when
# both are the same tensor.

# %% tags=["check", "nbval-check-output"]
check("03.2", who_asks)

# %% [markdown] tags=["solution-note"]
# The same test without gradients: change step 1 of one stream and see whether step 0 of the output moves. If it does, that stream answers.
# It is worth keeping: it works on any layer, from any library, whatever its arguments are called.

# %% [markdown]
# ## Key masks
#
# The mask belongs to the one who **answers**. Padding in the query only makes rows that nobody will read; padding in the context is
# an answer that nobody gave. So when frames ask words, the words' mask goes in. When words ask frames, the frames'.
#
# The next cell is broken on purpose. Words ask frames, and it hands over the mask that was lying around.

# %% tags=["nbval-check-output"]
seed_everything(2)
layer = MultiHeadAttention(query_dim=32, context_dim=20, embed_dim=24, num_heads=4)
try:
    layer(words, frames, padding_mask=word_mask)
except ValueError as error:
    print(f"ValueError: {error}")

# %% [markdown]
# Mended:

# %% tags=["nbval-check-output"]
frame_mask = streams.masks["vision"][:5]
show(layer(words, frames, padding_mask=frame_mask).shape)

# %% [markdown]
# You were lucky: the lengths differed, so the shapes complained. With equal lengths the wrong mask runs, and you never hear of it. Here is a
# test that does not need luck. Shout into the padding of the context, and listen.

# %% tags=["nbval-check-output"]
asks_words = MultiHeadAttention(query_dim=20, context_dim=32, embed_dim=24, num_heads=4)
loud = words.masked_fill(~word_mask[..., None], 100.0)
for name, mask in (("with the words' mask", word_mask), ("without a mask", None)):
    moved = not torch.allclose(
        asks_words(frames, words, padding_mask=mask),
        asks_words(frames, loud, padding_mask=mask),
        atol=1e-4,
    )
    show(f"{name}: shouting into the padding moves the output:", moved)

# %% [markdown]
# ## Eyes that are already open
#
# So far the frames were described by numbers from behind the stage. Now the models get pixels. To keep the lesson short they
# share one pair of eyes: a small convolutional network that goes to school first. It sees single portraits of the *training* actors, learns to name
# the expression and the light, and is then **frozen**: its weights stay as they are. Nothing about time, words or sound is taught there.

# %%
portraits = portrait_set(n=2000, seed=100)
school = train_face_school(portraits)
unseen = evaluate(school, portraits.subset("test"))["accuracy"]
print(f"portraits of actors it has never seen, expression and light both right: {unseen:.3f}")

# %% tags=["claim"]
assert unseen > 0.9  # the eyes are not what the models below fail by


# %%
class Stage(NamedTuple):
    """A play's features to train on, those to test on (other actors), and the test clips."""

    train: object
    test: object
    clips: theatre.Clips


def stage(clips, ticks=None):
    """Look at each frame once, with the frozen eyes; average the sound into ticks, if there is any."""
    features = with_face_features(clips, school)
    if ticks:
        features = in_ticks(features, "audio", ticks)
    return Stage(
        features.subset(features.split != "test"), features.subset("test"), clips.subset("test")
    )


SEEDS = (0, 1, 2)


def train(build, play, seeds=SEEDS):
    """Train one model a seed, all alike: the seed draws the weights and the order of the clips."""
    models = []
    for seed in seeds:
        seed_everything(seed)
        models.append(build())
        fit(
            models[-1],
            play.train,
            epochs=12,
            batch_size=64,
            learning_rate=1e-2,
            seed=seed,
            progress=False,
        )
    return models


def accuracies(models, play):
    """The test accuracy of each model."""
    return [evaluate(model, play.test)["accuracy"] for model in models]


@torch.no_grad()
def look(model, play):
    """What a model says of the test clips, and where it looked."""
    batch = play.test.batch(range(len(play.test))).to(next(model.parameters()).device)
    output = model.eval()(**batch.inputs, masks=batch.masks)
    return type(output)(*(None if part is None else part.cpu() for part in output))


def against_the_plant(models, play):
    """For each model: how much of its weight, and how often its peak, is in the planted moment."""
    planted = play.clips.moment_frames
    mass, hits = [], []
    for model in models:
        weights = look(model, play).frame_weights
        mass.append((weights * planted).sum(1).mean().item())
        hits.append(planted.gather(1, weights.argmax(1, keepdim=True)).float().mean().item())
    return mass, hits


def in_full(values):
    """Every seed's number, for a line of print."""
    return "  ".join(f"{value:.3f}" for value in values)


# %% [markdown]
# ## The words point, the frames answer
#
# Two models, the same eyes, the same words. The first is the fusion of lesson 00: each stream forgets its clock, and the averages stand side by
# side. The second is yours: every word asks the frames, and a **gate**, one softmax over the words, decides whose answer is heard.


# %%
class PooledConcat(nn.Module):
    """Average each stream over its real steps, put the averages side by side, classify."""

    def __init__(self, widths, num_classes=8):
        super().__init__()
        self.names = tuple(widths)
        self.classify = nn.Sequential(
            nn.Linear(sum(widths.values()), 96), nn.ReLU(), nn.Linear(96, num_classes)
        )

    def forward(self, *, masks, **streams):
        averages = [masked_mean(streams[name], masks[name]) for name in self.names]
        return (self.classify(torch.cat(averages, dim=-1)),)


play = stage(spotlight)
widths = play.train.widths
tested = len(play.test)
print(f"{len(play.train)} clips to learn from, {tested} clips of other actors to be judged on")
print(
    f"a model that guesses one in four scores 0.25, give or take {2 * (0.25 * 0.75 / tested) ** 0.5:.2f}"
)

# %% [markdown]
# **Predict, then run.** There are eight emotions, and each clip shows four of them, once each. What will the average get? Is a
# wider network going to help it?

# %%
words_ask = train(
    lambda: MomentAttention(query="text", context="vision", widths=widths, num_classes=8), play
)
pooled = train(lambda: PooledConcat(widths), play)
scores = {"pooled concat": accuracies(pooled, play), "cross-attention": accuracies(words_ask, play)}
for name, values in scores.items():
    print(f"{name:16} {in_full(values)}   (one number a seed)")

figure = bars_with_seeds(
    scores, chance=0.25, ceilings=1.0, title="Spotlight: the words name a light"
).figure
show_figure(
    figure,
    alt="Two bars with a dot for every seed. Pooled concatenation stands at chance, one in four; cross-attention touches the "
    "ceiling of one with every seed.",
)

# %% tags=["claim"]
assert max(scores["pooled concat"]) < 0.4 and min(scores["cross-attention"]) > 0.9

# %% [markdown]
# The average knows *which four* expressions occurred, and *which* light was named. Which expression stood in which light is lost in the sum, and
# one in four is what is left. Attention reads the pairing while it still exists.
#
# ### Score the map, do not admire it
#
# The bars do not say that the model looks where we think. But the generator planted the moment, so we can **score** the map: how
# much of the weight lies in it (chance is .25), and how often the highest weight does.

# %%
mass, hits = against_the_plant(words_ask, play)
print(f"weight in the planted moment  {in_full(mass)}")
print(f"peak in the planted moment    {in_full(hits)}")
shown = int((play.clips.moment == 2).nonzero()[0])
print(play.clips.sentences[shown])
show_figure(
    moment_strip(
        play.clips,
        shown,
        {
            f"seed {seed}": look(model, play).frame_weights[shown]
            for seed, model in zip(SEEDS, words_ask, strict=True)
        },
    ),
    alt="A film strip of twelve frames with three rows of bars below, one a seed. In each row nearly all the weight stands on "
    "the three frames that are outlined as the planted moment.",
)

# %% tags=["claim"]
assert min(hits) > 0.9 and min(mass) > 0.8

# %% [markdown] tags=["guided"]
# ## When nobody needs to ask
#
# Next play: *beat*. Four expressions again, no lights. The **voice** stresses one instant, and the face in that
# instant counts. The sound is averaged into twelve ticks, one for each frame, so frame 5 and tick 5 happened together.
#
# The models: concatenation **frame by frame** (tick 5 beside frame 5, one small network for all steps, the surest step wins), and cross-attention, in
# which each tick of the voice asks all frames.
#
# One addition. Content alone cannot solve this: a tick does not know *when* it is, and attention treats the frames as a
# set. So a score gets a learned **bias for each offset**, frame minus tick: 23 numbers, zero at the start.
#
# **Predict, then run.** Which model wins when both streams are perfectly aligned?

# %% tags=["guided"]
together = stage(theatre.make("beat", n=1400, seed=0, lag=0), ticks=12)
beat_widths = together.train.widths
FIVE = (0, 1, 2, 3, 4)


def frame_by_frame():
    """Tick t and frame t side by side."""
    return FramewiseConcat(widths=beat_widths, num_classes=8)


def voice_asks():
    """Each tick asks the frames: content, and a bias for each offset."""
    return MomentAttention(
        query="audio", context="vision", widths=beat_widths, num_classes=8, offsets=(12, 12)
    )


side_by_side = train(frame_by_frame, together)
voice_asked = train(voice_asks, together, FIVE)
scores = {
    "frame-wise concat": accuracies(side_by_side, together),
    "cross-attention": accuracies(voice_asked, together),
}
for name, values in scores.items():
    print(f"{name:18} {in_full(values)}")
figure = bars_with_seeds(
    scores, chance=0.25, ceilings=1.0, title="Lag 0: voice and face are aligned"
).figure
show_figure(
    figure,
    alt="Two bars with a dot for every seed. All dots of frame-wise concatenation lie close to one. Those of cross-attention fall "
    "into two groups, some near one and some below a half.",
)

# %% tags=["guided", "claim"]
assert min(scores["frame-wise concat"]) > 0.9

# %% [markdown] tags=["guided"]
# **Aligned streams need no attention.** The frame-wise model gets the pairing for nothing. Attention first has to discover that "now" means "now", and it
# is not sure to. Count the seeds that failed. Had we run one seed, we might have shown you a success, or written off the method.
#
# We leave the failures in, because they are instructive. Let us open them up. **Predict:** a failed seed is still right far more often than chance. Which tick does it listen to, and what has it learned about the offset 0?

# %% tags=["guided"]
order = sorted(FIVE, key=lambda seed: scores["cross-attention"][seed])
beat_tick = (12 * together.clips.beat).long()[:, None]
for seed in order:
    output = look(voice_asked[seed], together)
    on_beat = output.gate.gather(1, beat_tick).mean().item()
    at_beat = output.frame_weights.gather(1, beat_tick).mean().item()
    offsets, bias = voice_asked[seed].offset_profile()
    print(
        f"seed {seed}: accuracy {scores['cross-attention'][seed]:.3f}, gate on the beat's tick {on_beat:.3f}, "
        f"bias at offset 0 {bias[11].item():+.1f}, weight on the beat's frame {at_beat:.3f} (all alike: {1 / 12:.3f})"
    )

profiles = {f"seed {seed}": voice_asked[seed].offset_profile()[1].cpu() for seed in FIVE}
show_figure(
    offset_lines(
        offsets.cpu(), profiles, planted=0, title="What each seed learned about the offset"
    ).figure,
    alt="Learned bias against offset, a line a seed. Seeds that succeeded have a sharp peak at offset 0; seeds that failed have a "
    "valley there, five offsets wide.",
)

# %% [markdown] tags=["guided"]
# A failed seed has learned the **photographic negative**: it listens to every tick *except* the beat's, and each tick looks everywhere *except* at its own
# frame and the frames beside it. All that is left of the moment is a faint extra share for the frames around the beat, since the one tick that looks away from all of them is not heard: the last
# number of each line. Training settled there and stayed.

# %% [markdown]
# ## When the face comes late
#
# Faces do follow voices late. Move the slider: here, in another play, the mouth follows the energy of the voice by some frames. The map correlates each
# frame of the voice with each frame of the mouth, over 120 clips; the bars are its mean along each diagonal.


# %%
def correlate(lag):
    """(N, 16, 16): voice against mouth, each without its clip's mean and in units of its spread."""
    clips = theatre.make("avt_ca", n=120, seed=4, num_frames=16, lag=lag)
    voice = nn.functional.adaptive_avg_pool1d(clips.energy[:, None], 16)[:, 0]
    mouth = clips.face_units[..., theatre.FACE_UNITS.index("mouth_open")]
    voice, mouth = (x - x.mean(1, keepdim=True) for x in (voice, mouth))
    voice, mouth = ((x - x.mean(0)) / x.std(0) for x in (voice, mouth))
    return voice[:, :, None] * mouth[:, None, :]


def draw(lag):
    """Draw the correlation of voice and mouth for a planted lag."""
    maps = correlate(lag)
    alt = (
        f"At a planted lag of {lag} frames the correlation map of voice and mouth is bright along the diagonal that is shifted by {lag}, "
        f"and the bar of offset {lag} is marked."
    )
    return lag_map(maps, lag=lag, max_lag=6), alt


explore(draw, lag=(0, 6))

# %% [markdown]
# The same drawing at two settings, for a page that cannot move:

# %%
snapshot(draw, [{"lag": 0}, {"lag": 4}])

# %% [markdown]
# A lag moves the diagonal. So it can be read off any map of *question against answer*, be it a correlation or a model's attention.

# %% [markdown] tags=["exercise"]
# ### Exercise 03.3: recover the planted lag
# Difficulty ★★☆ · Importance ★★☆ · 10 minutes
#
# `maps` is `(N, Tq, Tk)`: one map for each clip, rows are questions, columns are answers; it may be attention or correlation, so entries may be negative.
# Return the offset, *column minus row*, between `-max_lag` and `max_lag`, along which the maps are largest **on average**, as a whole number. The number
# of rows and columns may differ.


# %% tags=["exercise"]
def recover_lag(maps, max_lag):
    """Find the offset, key minus query, on whose diagonal the maps are largest on average."""
    ### BEGIN SOLUTION
    mean = maps.mean(dim=0)  # (Tq, Tk)
    offsets = list(range(-max_lag, max_lag + 1))
    heights = torch.stack([mean.diagonal(offset).mean() for offset in offsets])
    return offsets[int(heights.argmax())]
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Average over the clips first. `matrix.diagonal(k)` gives the entries whose column minus row is `k`; negative numbers lie below
# the main diagonal.

# %% [markdown] tags=["hint-2"]
# Diagonals differ in length: at offset 6 a 12 x 12 map has six entries, at offset 0 twelve. A sum would favour small lags whatever the map
# says.

# %% [markdown] tags=["hint-3"]
# Try the offsets in `range(-max_lag, max_lag + 1)`, take `.mean()` of each diagonal, and return the offset (not its place in the list) of the
# largest. Do not roll the map round its edge, and do not take absolute values: an anti-correlation is no agreement.

# %% tags=["check", "nbval-check-output"]
check("03.3", recover_lag)

# %% [markdown] tags=["solution-note"]
# This is cross-correlation: the mean of `voice[t] * mouth[t + k]` over all `t` for which both exist. On attention weights the same lines read off what a
# model has learned. Without `max_lag` a single tall corner could win, being a diagonal of one.

# %% tags=["nbval-check-output"]
for planted in (0, 3, 5):
    show(f"planted {planted}, recovered", use("03.3")(correlate(planted), 6))

# %% [markdown] tags=["guided"]
# Now *beat* again, with the face four frames behind the voice. A moment lasts three frames, so at the instant of the beat the face still shows
# **another** expression.
#
# **Predict, then run.** What becomes of the frame-wise model? And of cross-attention, with the same 23 numbers? The third model is frame-wise too, but a
# **recurrent layer** (a GRU) reads the frames from left to right and can remember that it heard a beat.

# %% tags=["guided"]
late = stage(theatre.make("beat", n=1600, seed=0, lag=4), ticks=12)
frame_late = train(frame_by_frame, late)
voice_late = train(voice_asks, late)
gru_late = train(lambda: RecurrentConcat(widths=beat_widths, num_classes=8), late)
scores = {
    "frame-wise concat": accuracies(frame_late, late),
    "cross-attention": accuracies(voice_late, late),
    "recurrent (GRU)": accuracies(gru_late, late),
}
for name, values in scores.items():
    print(f"{name:18} {in_full(values)}")
figure = bars_with_seeds(
    scores, chance=0.375, ceilings=1.0, title="Lag 4: the face follows the voice"
).figure
show_figure(
    figure,
    alt="Three bars with a dot for every seed. Frame-wise concatenation falls to the level of guessing; cross-attention and the "
    "recurrent layer both stand close to one.",
)

# %% tags=["guided", "claim"]
assert max(scores["frame-wise concat"]) < 0.5
assert min(scores["recurrent (GRU)"]) > 0.85

# %% [markdown] tags=["guided"]
# The frame-wise model breaks: the frame beside the beat is the wrong one. (The dotted line is not 1/4 here: a beat needs four frames after it, so the
# answer lies in a late moment more often, and whoever knows only that can reach 3/8.) Cross-attention repairs it. **So does the GRU**, to within a few hundredths. Please do not leave with
# "only attention can do this". Attention does it with 23 numbers that you can *read*:

# %% tags=["guided"]
profiles = {
    f"seed {seed}": model.offset_profile()[1].cpu()
    for seed, model in zip(SEEDS, voice_late, strict=True)
}
show_figure(
    offset_lines(offsets.cpu(), profiles, planted=4, title="Lag 4: what each seed learned").figure,
    alt="Learned bias against offset, a line for each of three seeds; all peak at the planted lag of four frames.",
)
recovered = [use("03.3")(look(model, late).attention, 6) for model in voice_late]
mass, hits = against_the_plant(voice_late, late)
print("lag recovered from the attention of each seed:", *recovered)
print(f"weight in the planted moment  {in_full(mass)}")
print(f"peak in the planted moment    {in_full(hits)}")

# %% [markdown] tags=["guided"]
# Two witnesses that never met, the correlation of mouth and energy in one play and the attention of a trained model in another, are read by the same
# few lines of yours.

# %% [markdown] tags=["guided"]
# ## A map that nobody reads
#
# Now a warning. Most published blocks put a **shortcut** around the attention: a residual path, or a concatenation after it. Here is the smallest
# such model, at lag 0: the frame-wise model that did so well, with attention *beside* it. Each tick of the voice asks the frames, and what it
# brings home joins the tick and its frame.
#
# **Predict, then run.** What is its accuracy? How often does the peak of its attention lie in the planted moment?

# %% tags=["guided"]
beside = train(
    lambda: ConcatWithAttention(query="audio", context="vision", widths=beat_widths, num_classes=8),
    together,
)
right = accuracies(beside, together)
mass, hits = against_the_plant(beside, together)
print(f"accuracy                      {in_full(right)}")
print(f"weight in the planted moment  {in_full(mass)}")
print(f"peak in the planted moment    {in_full(hits)}   (chance is 0.25)")
shown = int((together.clips.moment == 1).nonzero()[0])
show_figure(
    moment_strip(
        together.clips,
        shown,
        {
            f"seed {seed}, accuracy {score:.2f}": look(model, together).frame_weights[shown]
            for seed, model, score in zip(SEEDS, beside, right, strict=True)
        },
    ),
    alt="A film strip of twelve frames with three rows of bars, one a seed. The planted moment is outlined; the seeds look at "
    "different places, and not all of them, or none, at the moment.",
)

# %% tags=["guided", "claim"]
assert min(right) > 0.6 and max(hits) < 0.6

# %% [markdown] tags=["guided"]
# A model that is right on most clips or nearly all, with an attention map that is little or no better than chance. Nothing is wrong with it: the pairing came in through the
# shortcut, so the attention was free to do anything. **Accuracy does not certify an attention map.**
#
# In the theatre you can ask the plant. On real recordings there is none, but you can **intervene**: make the attention look at everything alike, and see
# whether the model minds. (All that takes is a query of zeros, and a bias of zeros where there is one.)


# %% tags=["guided"]
def blindfolded(model):
    """The same model, all of whose attention weights are equal."""
    twin = deepcopy(model)
    with torch.no_grad():
        for parameter in twin.to_query.parameters():
            parameter.zero_()
        if hasattr(twin, "bias"):
            twin.bias.zero_()
    return twin


for name, models, stage_of in (
    ("attention beside concat, lag 0", beside, together),
    ("cross-attention, lag 4", voice_late, late),
):
    blind = accuracies([blindfolded(model) for model in models], stage_of)
    print(f"{name:31} {in_full(accuracies(models, stage_of))}   blindfolded {in_full(blind)}")

# %% [markdown] tags=["guided"]
# The first minds little: its answers do not rest on its map. The second falls to one in four: where it looks is all that it has.

# %% [markdown]
# ## From the papers
#
# **Eq. 6 of the crossmodal transformer paper** is what you wrote in 03.1:
#
# $$Y = \text{softmax}\!\left(\frac{X_A W_{Q_A} W_{K_B}^\top X_B^\top}{\sqrt{d_k}}\right) X_B W_{V_B} \qquad (6)$$
#
# | in the equation | in your code |
# |---|---|
# | $X_A W_{Q_A}$ | `query @ to_query` |
# | $X_B W_{K_B}$, $X_B W_{V_B}$ | `context @ to_key`, `context @ to_value` |
# | $\sqrt{d_k}$ | `asked.shape[-1] ** 0.5` |
#
# The paper calls this *passing modality A to modality B*, "$A \rightarrow B$". Now you can check such a sentence. The queries come from $A$, so the result has
# $A$'s length and is made of $B$'s values: what flows, flows from $B$ to $A$. The text under the figure describes the source as keys and values and the target as the query, which
# is the other reading (ledger E-05). We therefore never write arrows in code. Our arguments are called `query` and `context`. (The equation's middle line writes $X_A$
# where $Q_A$ is meant: E-06.)
#
# **A sequence of one (E-12).** Some systems hand cross-attention a single vector, the last state of an encoder, say. **Predict, then run.** What are the weights
# when the context has one step? What does the query learn?

# %% tags=["nbval-check-output"]
seed_everything(3)
query, context = torch.randn(2, 5, 8, requires_grad=True), torch.randn(2, 1, 8)
out, weights = MultiHeadAttention(query_dim=8, num_heads=2)(query, context, return_weights=True)
(gradient,) = torch.autograd.grad((out * torch.randn_like(out)).sum(), query)
show("every weight is one:", bool((weights == 1).all()))
show("largest gradient that reaches the query:", gradient.abs().max().item())

# %% [markdown]
# With one step to choose from there is no choice. The softmax is 1 whatever the query says, and cross-attention is a linear map of the
# context. If a paper attends to "the feature" of a modality, ask how many steps it has.
#
# **A batch that talks to itself (J-10).** Torch's own `nn.MultiheadAttention` expects **time first**, `(T, B, D)`, unless you say `batch_first=True`. Hand it `(B, T, D)`, and it
# takes your batch for time: step 3 of your sample attends to step 3 of *other people's samples*. All shapes fit. The loss goes down. Nothing complains.


# %%
class TimeFirst(nn.Module):
    """Our reconstruction of the fault: batch-first streams in a module that reads time first."""

    def __init__(self, batch_first=False):
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=batch_first)

    def forward(self, query, context):
        return self.attend(query, context, context, need_weights=False)[0]


# %% [markdown]
# In JMT's public code (PoloWlg/Joint-Multimodal-Transformer-6th-ABAW, commit 691e278) the variant *without* the joint representation is built this way (`mm_transformers.py`, lines 119 to
# 122). Measured for our ledger: changing sample 1 changes the output for sample 0. That variant is the baseline of an ablation (what is the model worth without that part?), so the comparison with it cannot be
# read. It is an easy slip, and one test finds it.

# %% [markdown] tags=["exercise"]
# ### Exercise 03.4: do samples mix?
# Difficulty ★★☆ · Importance ★★★ · 12 minutes
#
# Write that test. `layer(query, context)` takes two streams `(B, T, D)` and returns `(B, T, D)`; `layer` is a `Module`. Return True if what any sample gets out depends
# on any *other* sample of the batch, else False. A layer may leak through either stream, from one sample into one other only, and it may come to you
# in training mode, with dropout, which is no leak.


# %% tags=["exercise"]
def mixes_samples(layer, query, context):
    """Say whether what one sample gets out depends on any other sample of the batch."""
    ### BEGIN SOLUTION
    layer.eval()
    with torch.no_grad():
        together = layer(query, context)
        for i in range(len(query)):
            others = torch.arange(len(query)) != i
            changed_query, changed_context = query.clone(), context.clone()
            changed_query[i] = torch.randn_like(query[i])
            changed_context[i] = torch.randn_like(context[i])
            after = layer(changed_query, changed_context)
            if not torch.allclose(after[others], together[others], atol=1e-5):
                return True
    return False
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Change one sample, run the layer again, and compare what the *other* samples get. Work on copies.

# %% [markdown] tags=["hint-2"]
# Change both streams of that sample: a leak may run through the query or through the context. Draw new random values instead of adding a constant: a layer
# norm swallows a constant whole.

# %% [markdown] tags=["hint-3"]
# Call `layer.eval()` first, or dropout makes every layer look leaky. Loop over *all* samples as the one that changes, since a leak may come from a single one.
# `torch.arange(B) != i` picks the others. Compare with a tolerance of about `1e-5`.

# %% tags=["check", "nbval-check-output"]
check("03.4", mixes_samples)

# %% [markdown] tags=["solution-note"]
# Shorter, and as right: run each sample alone and compare with the batch, `layer(query[i:i+1], context[i:i+1])`. That is how the course's contract tests say it:
# a batch of one gives what the batch gave. Both need evaluation mode; batch norm in training mode mixes samples by design: it takes off the mean of the whole batch.

# %% tags=["nbval-check-output"]
seed_everything(4)
query, context = torch.randn(5, 6, 8), torch.randn(5, 6, 8)
show("as published, samples mix:", use("03.4")(TimeFirst(), query, context))
show("with batch_first=True:", use("03.4")(TimeFirst(batch_first=True), query, context))

# %% [markdown]
# ## Take-aways
#
# - **The query asks, the context answers.** The output has the query's length and the context's content; the mask is the context's.
# - Direction shows in shapes, and where shapes are silent, in gradients. Do not trust arrows.
# - Cross-attention wins where **another stream says which moment counts**. Aligned streams want frame-wise concatenation. A lag breaks that; a learned bias for each offset mends it, and
#   so does a recurrent layer.
# - Run several seeds and show them all. The failed ones have something to say.
# - **Accuracy does not certify an attention map.** Score it against a plant, or intervene.
# - One test that finds mixed samples is worth more than a falling loss.
#
# ## Where to go next
#
# Attention seldom comes alone. [Lesson 04](04_transformer_blocks.ipynb) puts it into a block, with a small network after it and a way round each of the two.
#
# ## References
#
# - Vaswani et al., *Attention is all you need* (2017): Eq. 1.
# - Tsai et al., *Multimodal transformer for unaligned multimodal language sequences* (2019): crossmodal attention.
# - The crossmodal transformer with EmbraceNet: Eq. 6 (ledger E-05, E-06), Section 4.2.1 (E-12). You build it in lesson 13.
# - JMT: the joint multimodal transformer; ledger J-10. You build it in lesson 11.
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, presets `spotlight`, `beat`, `portraits`, `avt_ca`.
