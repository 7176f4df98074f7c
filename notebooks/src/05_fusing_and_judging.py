# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 05 Fusing and judging
#
# **After this lesson you can**
#
# 1. fuse streams in five plain ways, say where in the pipeline they meet, and what each way can and cannot learn;
# 2. say how sure a score is: grouped splits, seeds, bootstrap intervals, comparisons on the same clips;
# 3. smell a result that is too good, find the leak behind it, and mend it.
#
# **Before you start:** lesson 00 (streams, ceilings) and lesson 01 (masks, accuracy). **Time:** about 90 minutes, in two halves: fusing, up
# to *A witness stays away*; judging, from *How sure is a number* on.

# %%
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.checks import check, show, use
from mmlib.data import Standardised, find_leaks, grouped_folds, real_features, theatre
from mmlib.layers import masked_max, masked_mean
from mmlib.metrics import bootstrap_interval, compare
from mmlib.plots import apply_style, bars_with_intervals, bars_with_seeds, differences, show_figure
from mmlib.plots.fusions import irony_square, meeting_points
from mmlib.plots.informativeness import draw_informativeness
from mmlib.systems import BaselineConfig, build
from mmlib.training import fit, predict, seed_everything
from mmlib.widgets import explore, snapshot

apply_style()
SEEDS = (0, 1, 2)

# %% [markdown]
# ## Three witnesses
#
# A court hears three witnesses. One read the letter, one heard the voice, one saw the face, and none of them tells everything. How
# should the court make up its mind? It can read all three statements together. It can let each witness name a verdict, and count votes. It can
# decide whom to believe, case by case. Those are fusions, and this lesson is about what each of them can and cannot find out, and about a
# question that decides more papers than any architecture: **is it really better, or does it only look so?**
#
# You know the play from lesson 00: in *masks*, each channel shows an emotion of its own, near to the one that is felt. (All clips of this
# lesson are synthetic, but for its last section.) Here attention shall have nothing to do, so every stream forgets its clock at once: **one vector for each stream**, its mean, its
# deviation and its maximum over the real steps.


# %%
def summaries(streams, melodies=None):
    """One vector a stream: mean, deviation and maximum over the real steps, (N, T, D) -> (N, 1, 3 D)."""
    vectors = {}
    for name in streams.modalities:
        steps, real = streams.inputs[name].float(), streams.masks[name]
        mean = masked_mean(steps, real)
        deviation = (masked_mean((steps - mean[:, None]) ** 2, real) + 1e-5).sqrt()
        vectors[name] = torch.cat([mean, deviation, masked_max(steps, real)], dim=-1)
    if melodies is not None:
        vectors["audio"] = torch.cat([vectors["audio"], melodies], dim=-1)
    there = {name: streams.masks[name].any(1, keepdim=True) for name in vectors}
    return replace(streams, inputs={n: v[:, None] for n, v in vectors.items()}, masks=there)


# %% [markdown]
# An average forgets the tune, and the tune is half of what a voice says. So the voice also gets its **melody**: the pitch in fifteen short pieces. A voiced sound repeats itself; the lag
# at which it is most like itself is one period of the vocal folds.


# %%
def melody(waveform, rate=8000, window=1024, hop=512):
    """The pitch, in semitones round its median, and how voiced each piece is: (N, L) -> (N, 30)."""
    pieces = waveform.unfold(-1, window, hop) * torch.hann_window(window)
    alike = torch.fft.irfft(torch.fft.rfft(pieces, 2 * window).abs() ** 2)  # autocorrelation
    shortest, longest = rate // 500, rate // 70  # the periods of 500 Hz and of 70 Hz
    alike = alike[..., shortest:longest] / alike[..., :1].clamp(min=1e-9)
    voiced, lag = alike.max(-1)
    pitch = 12 * torch.log2(rate / (lag + shortest).float())
    pitch = pitch - pitch.median(1, keepdim=True).values
    return torch.cat([pitch.clamp(-10, 10), voiced], dim=-1)


masks = theatre.make("masks", n=2400, seed=0)
witnesses = summaries(masks.features(), melody(masks.waveform))

# %% tags=["nbval-check-output"]
for name, vector in witnesses.inputs.items():
    show(name, vector.shape)
show("actors:", len(np.unique(witnesses.group)))

# %% [markdown]
# ## Where do they meet?
#
# Before any formula, one picture. Each fusion is the same pipeline, and the only question is **where three lines become one**:

# %%
show_figure(
    meeting_points(),
    alt="Five pipelines from three streams below to a decision above. Early: the streams are put side by side before one encoder. "
    "Concat: each has an encoder, then side by side. Gated: each has an encoder, then weighed by gates. Tensor: each has an "
    "encoder, then all products. Late: each has an encoder and decides alone, then the mean of the logits.",
)

# %% [markdown]
# **Predict.** Which of them can discover that glad words in a certain tone of voice mean the opposite? Which of them needs no retraining when the camera fails? Note your guesses; both will be tested.
#
# What four of them share, an encoder for each stream, is written once. A stream that is absent for a clip enters as zeros, and `present`, `(B, M)`, says so.


# %%
class Output(NamedTuple):
    """The decision, and for late fusion those of each stream."""

    logits: torch.Tensor  # (B, C)
    each: torch.Tensor | None = None  # (B, M, C)


def decider(width, num_classes):
    """A hidden layer and a decision."""
    hidden = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Dropout(0.2))
    return nn.Sequential(hidden, nn.Linear(32, num_classes))


class Fusion(nn.Module):
    """An encoder for each stream; `meet` is what the fusions differ in.

    In training, whole streams are hidden with probability `hide`.
    """

    def __init__(self, widths, num_classes, hide=0.0):
        super().__init__()
        self.hide = hide
        self.encode = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Dropout(0.2))
                for name, width in widths.items()
            }
        )
        self.prepare(len(widths), num_classes)

    def forward(self, *, masks, **streams):
        present = torch.stack([masks[name].any(1) for name in streams], dim=1)  # (B, M)
        if self.training and self.hide:
            present = present & (torch.rand(present.shape, device=present.device) >= self.hide)
        encoded = [self.encode[name](stream[:, 0]) for name, stream in streams.items()]
        return self.meet(torch.stack(encoded, dim=1) * present[..., None], present)


# %% [markdown]
# And now the five, each in a few lines. **Early** joins the vectors before anything has looked at them; **concat** joins what the encoders made of
# them.


# %%
class Early(nn.Module):
    """Side by side before any layer."""

    def __init__(self, widths, num_classes):
        super().__init__()
        self.decide = decider(sum(widths.values()), num_classes)

    def forward(self, *, masks, **streams):
        return Output(self.decide(torch.cat([stream[:, 0] for stream in streams.values()], -1)))


class Concat(Fusion):
    """Side by side behind the encoders."""

    def prepare(self, streams, num_classes):
        self.decide = decider(32 * streams, num_classes)

    def meet(self, encoded, present):  # (B, M, 32), (B, M)
        return Output(self.decide(encoded.flatten(1)))


# %% [markdown]
# **Gated** lets all streams together decide, for every feature, whom to hear: the gates are a softmax over the streams, and an absent stream has none. **Tensor** multiplies every feature of one
# stream with every feature of the others. The appended 1 is the trick: products with it keep each stream alone, and each pair.


# %%
class Gated(Fusion):
    """A weighted mean, whose weights all streams decide together, feature by feature."""

    def prepare(self, streams, num_classes):
        self.gate, self.decide = nn.Linear(32 * streams, 32 * streams), decider(32, num_classes)

    def meet(self, encoded, present):
        scores = self.gate(encoded.flatten(1)).view_as(encoded)
        gates = scores.masked_fill(~present[..., None], -1e9).softmax(dim=1)  # over the streams
        return Output(self.decide((gates * encoded).sum(1)))


class Tensor(Fusion):
    """All products of six features of each stream, with a 1 appended to each."""

    def prepare(self, streams, num_classes):
        self.narrow = nn.ModuleList([nn.Linear(32, 6) for _ in range(streams)])
        self.decide = decider(7**streams, num_classes)

    def meet(self, encoded, present):
        product = torch.ones_like(encoded[:, 0, :1])
        for k, narrow in enumerate(self.narrow):
            few = narrow(encoded[:, k]) * present[:, k, None]
            product = torch.einsum("bi,bj->bij", product, F.pad(few, (0, 1), value=1.0)).flatten(1)
        return Output(self.decide(product))


# %% [markdown]
# **Late** lets every stream decide alone, and then takes the mean of their logits. That mean is yours.

# %% [markdown] tags=["exercise"]
# ### Exercise 05.1: late fusion with a missing stream
# Difficulty ★★☆ · Importance ★★★ · 8 minutes
#
# `logits` is `(B, M, C)`: what each of M streams says of each sample. `present` is `(B, M)` boolean: which streams a sample has. Return `(B, C)`, the mean of the logits of **those that are there**. A
# sample without any stream gets zeros. What stands in `logits` where a stream is absent must not matter, whatever it is: a decoder that was fed an empty file may well say NaN.


# %% tags=["exercise"]
def late_fusion(logits, present):
    """Average the logits of the streams that are there; zeros where none is."""
    ### BEGIN SOLUTION
    heard = logits.masked_fill(~present[..., None], 0.0)  # (B, M, C)
    return heard.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("05.1", late_fusion)

# %% [markdown] tags=["hint-1"]
# Sum over the streams, axis 1, and divide by how many there are, which differs from sample to sample. `logits.mean(1)` divides by M.

# %% [markdown] tags=["hint-2"]
# Zero what is absent *before* the sum. Multiplying by the mask is not enough: `nan * 0` is `nan`. `masked_fill` (or `torch.where`) replaces.

# %% [markdown] tags=["hint-3"]
# `present` needs a class axis to match: `present[..., None]`. The count `(B, 1)` is zero for a sample without streams, and `0 / 0` is NaN: `.clamp(min=1)` makes
# it `0 / 1`.

# %% [markdown] tags=["solution-note"]
# Why logits, and not probabilities? The next section has numbers for it. Why the mean, and not the sum? For the winner it makes no difference; but the sum of three is three
# times as sure of itself as one, and a loss, or a threshold, would notice.


# %%
class Late(Fusion):
    """Each stream decides alone, and the mean of their logits decides for all."""

    together = False  # train each stream on its own decision, not the mean

    def prepare(self, streams, num_classes):
        self.decide = nn.ModuleList([decider(32, num_classes) for _ in range(streams)])

    def meet(self, encoded, present):
        each = [decide(encoded[:, k]) for k, decide in enumerate(self.decide)]
        each = torch.stack(each, dim=1)  # (B, M, C)
        return Output(use("05.1")(each, present), each)

    def loss(self, output, batch):
        if self.together:
            return F.cross_entropy(output.logits, batch.labels)
        apart = [F.cross_entropy(one, batch.labels) for one in output.each.unbind(1)]
        return torch.stack(apart).mean()


# %% [markdown]
# The library has all five, for whole sequences: `build("early" | "concat" | "gated" | "tensor" | "late", config)`. Its encoders are larger, and its *early* brings the streams to one clock and joins them **step by step**, as lesson 03 did, where that won. The hearts are the
# same, which you need not take on trust. Here is the library's late fusion, untrained, on clips that lack streams, beside yours:

# %% tags=["nbval-check-output"]
gaps = theatre.make("missing", n=40, seed=1).features()
seed_everything(0)
model = build("late", BaselineConfig.for_dataset(gaps)).eval()
batch = gaps.batch(range(len(gaps)))
with torch.no_grad():
    output = model(**batch.inputs, masks=batch.masks)
present = torch.stack([batch.masks[name].any(1) for name in gaps.modalities], dim=1)
mine = use("05.1")(output.stream_logits, present)
show("clips that lack a stream:", int((~present).any(1).sum()), "of", len(gaps))
show("the same logits:", torch.allclose(mine, output.logits, atol=1e-5))

# %% [markdown]
# ## Who is in the test
#
# There are 24 actors. Whoever wants to know how a model will do with *new people* must test it on new people: **all clips of one actor go to the same side.** Half of
# the company is to learn from, half to be judged on.

# %% [markdown] tags=["exercise"]
# ### Exercise 05.2: a split that no speaker crosses
# Difficulty ★☆☆ · Importance ★★★ · 8 minutes
#
# `group` is a NumPy array `(N,)` with the speaker of each sample. Return a boolean NumPy array
# `(N,)`: True for **all** samples of `count` speakers, drawn at random. The same `seed` gives the same speakers, in whatever order the samples come; another seed gives others. Do not
# touch anybody's global random state.


# %% tags=["exercise"]
def speakers_for_test(group, count, seed):
    """Say which samples are for the test: all those of `count` speakers drawn at random."""
    ### BEGIN SOLUTION
    speakers = np.unique(group)  # sorted: the order of the samples has no say
    chosen = np.random.default_rng(seed).choice(speakers, size=count, replace=False)
    return np.isin(group, chosen)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("05.2", speakers_for_test)

# %% [markdown] tags=["hint-1"]
# Draw speakers, not samples. First you need each speaker once; at the end, every sample whose speaker was drawn.

# %% [markdown] tags=["hint-2"]
# `rng = np.random.default_rng(seed)` is a random stream of your own, and `rng.choice` draws from an array. By default it may draw the same
# speaker twice.

# %% [markdown] tags=["hint-3"]
# `np.unique(group)` gives the speakers sorted, so the order of the samples does not matter. Then `rng.choice(speakers, size=count, replace=False)` and
# `np.isin(group, chosen)`.

# %% [markdown] tags=["solution-note"]
# The library's `split_by_group` does the same for three parts, and tries many draws to keep classes and sizes even; `grouped_folds` makes folds for cross-validation. Both stand on scikit-learn's group
# splitters. A `set` in the place of `np.unique` works today and gives another split tomorrow: Python orders strings in a set anew in each process.

# %% tags=["nbval-check-output"]
judged = use("05.2")(witnesses.group, 12, 0)
split = witnesses.with_split(np.where(judged, "test", "train"))
learn, test = split.subset("train"), split.subset("test")
test_clips = masks[judged]
show("clips to learn from:", len(learn), "clips to be judged on:", len(test))
show("actors on both sides:", len(set(learn.group) & set(test.group)))

# %% [markdown]
# ## How near to the best possible
#
# One training of one model is one throw of the dice, so each model gets three seeds. Its inputs are standardised **by what the training clips say**, and that is carried with the model.


# %%
def train(kind, data, seed, *, epochs=12, **settings):
    """Train one model: the seed draws the weights and the order of the clips."""
    seed_everything(seed)
    model = kind(data.widths, data.num_outputs, **settings)
    model = Standardised(model=model, widths=data.widths).learn(data)
    fit(model, data, epochs=epochs, batch_size=256, learning_rate=2e-2, seed=seed, progress=False)
    return model


def decisions(models, data):
    """The class that each model names for each sample, (models, N)."""
    return torch.stack([predict(model, data, batch_size=1024).argmax(1) for model in models])


def accuracies(said, labels):
    """The share of right answers of each model."""
    return (said == labels).float().mean(1).tolist()


def by_actor(said, data):
    """The accuracy over all models, with its interval: other actors might have been tested."""
    count = len(said)
    return bootstrap_interval(
        "accuracy", said.flatten(), data.labels.repeat(count), groups=np.tile(data.group, count)
    )


FUSIONS = {"early": Early, "concat": Concat, "gated": Gated, "tensor": Tensor, "late": Late}
ALL = ("text", "audio", "vision")
PAIRS = (("text", "audio"), ("text", "vision"), ("audio", "vision"))
models, said = {}, {}
for modalities in ((name,) for name in ALL):
    data = learn.select(modalities)
    models[modalities, "alone"] = [train(Concat, data, seed) for seed in SEEDS]
for modalities in PAIRS:
    for name in ("concat", "late"):
        data = learn.select(modalities)
        models[modalities, name] = [train(FUSIONS[name], data, seed) for seed in SEEDS]
for name, kind in FUSIONS.items():
    models[ALL, name] = [train(kind, learn, seed) for seed in SEEDS]
for (modalities, name), trained in models.items():
    said[modalities, name] = decisions(trained, test.select(modalities))

# %% [markdown]
# What to hold them against? The **perfect observer** of lesson 00, who knows how the masks are drawn. Let it see *the very clips of our test*, so that the luck of the draw is the same for both.


# %%
def observer(modalities):
    """The share of our test clips that the perfect observer gets right."""
    guess = theatre.posterior(test_clips, modalities).argmax(1)
    return (guess == test_clips.labels).double().mean().item()


subsets = [(name,) for name in ALL] + list(PAIRS) + [ALL]
best = {modalities: observer(modalities) for modalities in subsets}
bars = {
    name if name != "alone" else modalities[0]: by_actor(said[modalities, name], test)
    for modalities, name in models
    if modalities not in PAIRS
}
lines = {
    name if name != "alone" else modalities[0]: best[modalities] for modalities, name in models
}
show_figure(
    bars_with_intervals(
        bars, ceilings=lines, chance=1 / 8, title="New actors: three seeds, intervals by actor"
    ).figure,
    alt="Bars of test accuracy with intervals for text, audio and vision alone and for five fusions of all three, each under the "
    "line of the perfect observer. Every fusion is far above every single stream, and all five are close to each other, some "
    "hundredths below their line.",
)

# %% [markdown]
# And every pair, since a fusion is only as good as what it adds:

# %%
print("streams             observer      late                  concat")
for modalities in (*PAIRS, ALL):
    cells = []
    for name in ("late", "concat"):
        value, low, high, _ = by_actor(said[modalities, name], test)
        cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
    print(f"{'+'.join(modalities):18} {best[modalities]:9.3f}  ", "  ".join(cells))

# %% tags=["claim"]
means = {key: np.mean(accuracies(each, test.labels)) for key, each in said.items()}
noise = (0.25 / len(test)) ** 0.5  # of one accuracy, at most, by the draw of the test clips
single = max(means[(name,), "alone"] for name in ALL)
assert min(means[ALL, name] for name in FUSIONS) > single + 0.05
assert max(means[ALL, name] - best[ALL] for name in FUSIONS) < 0
spread = [means[ALL, name] for name in FUSIONS]
assert max(spread) - min(spread) < 0.08
assert all(means[key] < best[key[0]] + 3 * noise for key in means)  # no leak

# %% [markdown]
# Three things to take from it. **Fusing pays**: the worst of the five is far above the best single stream. **How they fuse matters much less than that they fuse**: five architectures, a
# few hundredths. And nobody is above the line of the observer.
#
# Here *late* has no reason to be ashamed. In *masks* the channels err independently, once the feeling is given, and then Bayes' rule says: multiply what each channel makes likely, that is, **add the logs**. Nothing better exists. The theatre can add up its
# tables to the last digit, so you can see it without any training. **Predict**: is there a difference between *multiplying* the witnesses' probabilities and *averaging* them?

# %% tags=["nbval-check-output"]
exact, rules = theatre.ceilings("masks"), theatre.late_ceilings("masks")
for name in ("text+audio", "audio+vision", "text+audio+vision"):
    product, mean = rules["product"][name], rules["mean"][name]
    show(name, "best possible:", exact[name], "product:", product, "mean of probabilities:", mean)

# %% [markdown]
# The product **is** the best possible, to the last digit. The mean of probabilities gives away seven points: it lets a hesitant witness water down a certain one. Adding logits is multiplying, so average logits. (Strictly, the product is to be divided by the prior, how frequent each class is, once for
# each stream beyond the first; here all emotions are equally frequent, and nothing changes.)
#
# ## What late fusion cannot know
#
# So is late fusion always the best? Take a play of two classes, *irony square*: somebody means well, or ill. The words are glad or sad. The tone is plain, or ironic, and irony turns the words round.

# %%
show_figure(
    irony_square().figure,
    alt="A square of four cells. Glad words in a plain tone mean well, glad words in an ironic tone mean ill, sad words in a plain "
    "tone mean ill, sad words in an ironic tone mean well: equal cells lie on the diagonals.",
)

# %% [markdown]
# Look along a row: half the cells are plus. Along a column: the same. **Each channel alone tells nothing, and both tell everything.** That is *synergy*.
#
# Late fusion adds a score of the words, $s$, to a score of the tone, $u$, and says plus where the sum is positive. To get all four cells right it would need
#
# $$s_\text{glad} + u_\text{plain} > 0 \qquad s_\text{sad} + u_\text{ironic} > 0 \qquad s_\text{glad} + u_\text{ironic} < 0 \qquad s_\text{sad} + u_\text{plain} < 0$$
#
# Add the first two, then the last two: the same four terms, once above zero and once below. It cannot be done. At most three cells of four can be right, whatever the scores, whatever the networks that give
# them, however long they are trained. **Predict**: so late fusion gets .75?

# %% tags=["nbval-check-output"]
exact, rules = theatre.ceilings("irony_square"), theatre.late_ceilings("irony_square", search=True)
both = "text+audio"
show("words alone:", exact["text"], " tone alone:", exact["audio"], " both:", exact[both])
show("late, product of perfect posteriors:    ", rules["product"][both])
show("late, scores with least cross-entropy:  ", rules["additive"][both])
show("late, best scores that a search can find:", rules["additive_search"][both])

# %% [markdown]
# Read it slowly. Three right cells are *possible*. But the posterior of each channel alone (how probable a plus is, given what it shows) is one half, whatever it saw, and a product of halves prefers neither side. Even scores that are trained *together* do no better: cross-entropy is
# least where all of them are zero, since every gain in one cell is paid in another. So expect late fusion to guess, and whatever has a **hidden layer after the meeting point** to solve it. A training shows it:

# %% tags=["guided"]
square = theatre.make("irony_square", n=2000, seed=0)
two = summaries(square.features(), melody(square.waveform))
two = two.with_split(np.where(use("05.2")(two.group, 12, 0), "test", "train"))
learn_two, test_two = two.subset("train"), two.subset("test")


class LateTogether(Late):
    """Late fusion whose mean is trained, not each decision."""

    together = True


solvers = {"late": Late, "late, trained together": LateTogether}
solvers |= {name: FUSIONS[name] for name in ("early", "concat", "gated", "tensor")}
scores = {
    name: accuracies(
        decisions([train(kind, learn_two, seed, epochs=24) for seed in SEEDS], test_two),
        test_two.labels,
    )
    for name, kind in solvers.items()
}
axes = bars_with_seeds(scores, ceilings=1.0, chance=0.5, title="Irony square: words and tone")
axes.axhline(0.75, color="#3D3D3D", ls="--", lw=1.3)
axes.annotate("no late fusion\nabove this", (-0.5, 0.76), ha="left", va="bottom", size=9)
show_figure(
    axes.figure,
    alt="Bars of accuracy with a dot for each of three seeds. Both kinds of late fusion stand at one half, which is guessing, below a "
    "dashed line at three quarters. Early, concat, gated and tensor fusion stand far above that line.",
)

# %% tags=["guided", "claim"]
assert max(scores["late"] + scores["late, trained together"]) < 0.62
assert min(np.mean(scores[name]) for name in ("concat", "gated", "tensor", "early")) > 0.8

# %% [markdown] tags=["guided"]
# No attention was needed, only a layer that sees both. And yet neither play is "the right one". *Masks* is where the channels repeat and correct each other; there independence helps, and late fusion, which assumes it, has less to learn. The square is where they explain each
# other. Real conversations have some of both, and nobody tells you how much.

# %% [markdown]
# ## How much of each
#
# Now you are the director. Each slider says how clearly a channel speaks, the last how many of the words are ironic. The bars move at once, since nothing is sampled: late fusion and the ceilings are sums over the tables, and the concatenation with its hidden layer is trained on the tables themselves.
#
# **Predict, then move.** Where must irony stand for late fusion to fall behind? Does a clear face hide the gap? Can you find a setting where two channels together are no better than the better one?

# %%
explore(
    draw_informativeness,
    text_clarity=(0.0, 10.0, 0.5),
    audio_clarity=(0.0, 10.0, 0.5),
    vision_clarity=(0.0, 10.0, 0.5),
    irony=(0.0, 0.5, 0.1),
)

# %% [markdown]
# Two of its settings, for a page that cannot move: no irony, and a play in which every second sentence is ironic.

# %%
snapshot(
    draw_informativeness,
    [
        {"text_clarity": 4.0, "audio_clarity": 3.5, "vision_clarity": 4.5, "irony": 0.0},
        {"text_clarity": 8.0, "audio_clarity": 2.5, "vision_clarity": 2.5, "irony": 0.5},
    ],
    columns=1,
)

# %% [markdown]
# Without irony every pair of bars is level. With it, words and voice (T + A) open a gap, and the face beside them (T + A + V) hides most of it again. Whether late fusion suffices is no property of late fusion. It is one of your data.
#
# ## A witness stays away
#
# The camera is covered, and the models were trained with all three streams. **Predict**: which one falls furthest? Remember that an absent stream enters *concat* as zeros, which it has never met. The third model has: in
# its training every stream was hidden three times in ten, which is called **modality dropout**.


# %%
def without(data, absent):
    """The same clips, from which one stream has gone."""
    masks = {n: torch.zeros_like(m) if n == absent else m for n, m in data.masks.items()}
    inputs = {n: torch.zeros_like(x) if n == absent else x for n, x in data.inputs.items()}
    return replace(data, inputs=inputs, masks=masks)


models[ALL, "concat, streams hidden"] = [train(Concat, learn, seed, hide=0.3) for seed in SEEDS]
fallen = {}
for absent in ALL:
    left = tuple(name for name in ALL if name != absent)
    print(f"without {absent:7} observer {best[left]:.3f}  ", end="")
    for name in ("concat", "gated", "concat, streams hidden", "late"):
        fallen[absent, name] = decisions(models[ALL, name], without(test, absent))
        print(f"{name} {np.mean(accuracies(fallen[absent, name], test.labels)):.3f}   ", end="")
    print()
kinds = ("concat", "gated", "concat, streams hidden", "late")
show_figure(
    bars_with_intervals(
        {name: by_actor(fallen["vision", name], test) for name in kinds},
        ceilings=best["text", "audio"],
        chance=1 / 8,
        title="Trained with three streams, judged without the face",
    ).figure,
    alt="Four bars of accuracy without the face. Concat and gated fusion fall well below the line of the observer of words and voice; "
    "concat that was trained with hidden streams, and late fusion, stay nearer to it.",
)

# %% tags=["claim"]
kept = {key: np.mean(accuracies(each, test.labels)) for key, each in fallen.items()}
assert kept["vision", "late"] > kept["vision", "concat"] + 0.03
assert kept["vision", "concat, streams hidden"] > kept["vision", "concat"] + 0.02

# %% [markdown]
# Late fusion loses a vote and goes on. A joint model can be taught the same, by hiding streams in training, at no cost in architecture. If streams may go missing where your model will work, **let them go missing where it learns**, and report both. (EmbraceNet, lesson 12, builds a whole
# architecture on this.)

# %% [markdown] tags=["instructor"]
# For the instructor: the routes, questions and common wrong answers of this lesson are in [docs/instructors/05.md](../docs/instructors/05.md).

# %% [markdown]
# ## How sure is a number
#
# From here on we judge. The bars above have intervals *by actor*, and you should not trust them before you know what they do.
#
# A test is a sample: other clips, other score. The **bootstrap** asks the sample itself how much: draw a test of the same size from your test, with replacement, score it, and do that two thousand times. The middle 95 % of the scores is the interval. But *what* do you draw? Clips of one
# person are alike. Someone mumbles, and twenty-five clips go wrong together.
#
# **Predict.** Below, an imaginary model is right in 70 % of cases, but for some people in 90 % and for others in 50 %. We test it on 20 speakers with 25 clips each, four hundred times. How many of the four hundred
# intervals, at 95 %, hold the true .70, if you draw clips? And if you draw speakers? And with five speakers?


# %%
def coverage(speakers, clips=25, tests=400, resamples=400):
    """How often an interval by clip and one by speaker hold the truth, and how wide they are."""
    rng = np.random.default_rng(0)
    own = rng.beta(7, 3, size=(tests, speakers))  # each speaker's own accuracy: .7 on average
    right = (
        rng.binomial(clips, own) / clips
    )  # what is found in the clips of each, (tests, speakers)
    found = right.mean(1)
    total = clips * speakers
    by_clip = rng.binomial(total, found, size=(resamples, tests)).T / total
    drawn = rng.integers(speakers, size=(resamples, speakers))
    by_speaker = right[:, drawn].mean(2)
    shares = []
    for values in (by_clip, by_speaker):
        low, high = np.quantile(values, [0.025, 0.975], axis=1)
        shares.append(((low <= 0.7) & (0.7 <= high)).mean())
    return shares


hold = {speakers: coverage(speakers) for speakers in (5, 20, 80)}
for speakers, (by_clip, by_speaker) in hold.items():
    print(f"{speakers:2} speakers: drawing clips {by_clip:.2f}, drawing speakers {by_speaker:.2f}")

# %% tags=["claim"]
assert hold[20][0] < 0.85 and hold[20][1] > 0.88
assert hold[5][1] < hold[80][1]

# %% [markdown]
# Draw clips, and a "95 %" interval misses far more often than it should: it believes in five hundred witnesses where there are twenty. Draw speakers, and it keeps its word, nearly. With five speakers nothing does: five people are too few to say how people differ, and no formula changes that.

# %% [markdown] tags=["exercise"]
# ### Exercise 05.3: an interval that knows its speakers
# Difficulty ★★☆ · Importance ★★★ · 12 minutes
#
# `correct` is a NumPy array `(N,)` of ones and zeros: which samples a model got right. `group` is `(N,)`, the speaker of each. Draw as many **speakers** as there are, with replacement, `resamples` times; each brings all their samples, and one who is drawn twice brings them
# twice. The accuracy of a draw is that of *all its samples together*. Return the 2.5 % and the 97.5 % quantile, two numbers. Draw from `np.random.default_rng(seed)`.


# %% tags=["exercise"]
def interval_by_speaker(correct, group, resamples=2000, seed=0):
    """A 95 % interval for the accuracy: draw whole speakers with replacement, again and again."""
    ### BEGIN SOLUTION
    speakers, of = np.unique(group, return_inverse=True)
    right, said = np.bincount(of, weights=correct), np.bincount(of)  # of each speaker
    draws = np.random.default_rng(seed).integers(len(speakers), size=(resamples, len(speakers)))
    accuracy = right[draws].sum(1) / said[draws].sum(1)
    low, high = np.quantile(accuracy, [0.025, 0.975])
    return float(low), float(high)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("05.3", interval_by_speaker)

# %% [markdown] tags=["hint-1"]
# Number the speakers: `speakers, of = np.unique(group, return_inverse=True)`. A draw is then a row of whole numbers below `len(speakers)`.

# %% [markdown] tags=["hint-2"]
# You need two numbers of each speaker: how many samples, and how many right. The accuracy of a draw is the sum of the right ones over the sum of the samples. The mean of the speakers' accuracies is another number, as soon as some
# speak more than others.

# %% [markdown] tags=["hint-3"]
# `np.bincount(of, weights=correct)` and `np.bincount(of)` are those two. With `draws` of shape `(resamples, speakers)`, `right[draws].sum(1)` is one sum for each draw, without a loop. `np.quantile(accuracy, [0.025, 0.975])`.

# %% [markdown] tags=["solution-note"]
# The library's `bootstrap_interval(metric, prediction, target, groups=...)` does this for any metric. The percentile interval is the simplest of several; with a dozen speakers it is still a little too narrow. If `groups` is left out, samples are drawn, and then you should be able to say why they are
# independent.

# %%
right = (said[ALL, "late"][0] == test.labels).numpy().astype(float)
low, high = use("05.3")(right, test.group)
print(f"late fusion, seed 0: {right.mean():.3f}, interval by actor [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## Is the gain real
#
# An interval of each bar is not an answer yet. Two models that are judged on **the same clips** fail on the same hard ones, and that part of the luck cancels out. So compare them *paired*: in each draw, the difference. `compare` does that, and adds a permutation test: if the models were alike, you could swap their answers for any
# actor, and lose nothing. Its **p-value** is the share of such swaps that make a difference at least as large as the one that was found.
#
# **Predict.** Which of these differences leave out zero?


# %%
def paired(first, second, data):
    """The difference of two lists of decisions on the same samples, by actor, over all models."""
    count = len(first)
    return compare(
        "accuracy",
        first.flatten(),
        second.flatten(),
        data.labels.repeat(count),
        groups=np.tile(data.group, count),
    )


concat, late, face = said[ALL, "concat"], said[ALL, "late"], said[("vision",), "alone"]
gains = {
    "concat − face alone": paired(concat, face, test),
    "late − concat, one seed": paired(late[:1], concat[:1], test),
    "late − concat, three seeds": paired(late, concat, test),
    "concat, seed 1 − concat, seed 0": paired(concat[1:2], concat[:1], test),
    "late − concat, no face": paired(fallen["vision", "late"], fallen["vision", "concat"], test),
}
show_figure(
    differences(gains, title="The same clips, drawn by actor").figure,
    alt="Five differences with intervals. Concat against the face alone is far to the right of zero; late against concat without the "
    "face is to the right as well; late against concat with all streams, and two seeds of one model, are close to zero.",
)

# %% tags=["claim"]
assert gains["concat − face alone"].low > 0.05
assert gains["late − concat, no face"].low > 0
nothing = gains["concat, seed 1 − concat, seed 0"]
assert nothing.low < 0.02 and nothing.high > -0.02

# %% [markdown]
# The fourth row is the ruler. It compares **a model with itself**, two seeds apart: no idea, no architecture, nothing but the dice. A gain no larger than that row may be the work of the dice. Hold the second and the third against it (a single seed and three of them need not agree; nor, where a row is close, an interval and a p-value), and say aloud whether you would publish "late fusion beats concatenation".
#
# ## The best of twelve
#
# Everyone tries more than one thing. Here is the mildest case: one model, twelve seeds, and we keep the best. To see what that does, we pretend that the test has only 200 clips, choose on them, and look at the other thousand afterwards. Two hundred times, with another 200 clips each time.

# %% tags=["guided"]
twelve = [train(Concat, learn, seed) for seed in range(3, 12)]
right = torch.cat([concat, decisions(twelve, test)]) == test.labels  # (12, N)
rng = np.random.default_rng(0)
promised, kept_later = [], []
for _ in range(200):
    order = rng.permutation(len(test))
    chosen_on, others = right[:, order[:200]].float(), right[:, order[200:]].float()
    winner = int(chosen_on.mean(1).argmax())
    promised.append((chosen_on.mean(1)[winner] - chosen_on.mean()).item())
    kept_later.append((others.mean(1)[winner] - others.mean()).item())
print(f"the best of twelve promises {np.mean(promised):+.3f} over their mean")
print(f"on the other clips it keeps {np.mean(kept_later):+.3f}")

# %% tags=["guided", "claim"]
assert np.mean(promised) > 0.008 and np.mean(kept_later) < np.mean(promised) / 2

# %% [markdown] tags=["guided"]
# The promise is made of luck. It grows with everything you try: seeds, layers, learning rates, *ideas*. So choose on a validation split, look at the test once, and say how many things you tried. If a paper reports its best run, it reports a promise.

# %% [markdown]
# ## Too good to be true
#
# A colleague has a better idea. Clips are few, so cut each into four **windows**: four times the data! Shuffle, split, train. The same `Concat`, the same training. This pipeline is broken on purpose.


# %%
def windows(streams, count=4):
    """Cut each clip into windows of equal length; every window keeps the whole sentence."""
    inputs, real = {}, {}
    for name in streams.modalities:
        for parts, values in ((inputs, streams.inputs[name]), (real, streams.masks[name])):
            if name == "text":
                parts[name] = values.repeat_interleave(count, dim=0)
            else:
                parts[name] = values.unflatten(1, (count, -1)).flatten(0, 1)
    return replace(
        streams,
        inputs=inputs,
        masks=real,
        labels=streams.labels.repeat_interleave(count),
        split=streams.split.repeat(count),
        group=streams.group.repeat(count),
        ids=np.array([f"{name}/{k}" for name in streams.ids for k in range(count)]),
    )


cut = summaries(windows(theatre.make("masks", n=600, seed=7).features()))
clip_of = np.array([name.split("/")[0] for name in cut.ids])


def at_random(units, seed):
    """Put a quarter of the units into the test, whatever they are."""
    return np.where(use("05.2")(units, len(np.unique(units)) // 4, seed), "test", "train")


def trained_on(make_split):
    """The test accuracy of a concat fusion, once for each of three splits."""
    scores = []
    for seed in SEEDS:
        parts = cut.with_split(make_split(seed))
        model = train(Concat, parts.subset("train"), seed, epochs=24)
        scores += accuracies(decisions([model], parts.subset("test")), parts.subset("test").labels)
    return scores


ladder = {"windows shuffled": trained_on(lambda seed: at_random(cut.ids, seed))}
print("test accuracy:", *(f"{value:.3f}" for value in ladder["windows shuffled"]))

# %% [markdown]
# More than nine in ten, with a plain concatenation! Would you have written the abstract already? The leak alarm of lesson 00 rings:

# %% tags=["claim"]
most = theatre.ceilings("masks")["text+audio+vision"]
assert min(ladder["windows shuffled"]) > max(most + 0.02, 0.9)  # nobody can be this good

# %%
print(f"no model, however clever, gets above {most:.3f} with new clips")

# %% [markdown]
# On real data there is no such line. What there is: a column that says where each sample comes from.

# %% [markdown] tags=["exercise"]
# ### Exercise 05.4: catch the leak
# Difficulty ★☆☆ · Importance ★★★ · 8 minutes
#
# `group` and `split` are NumPy arrays `(N,)` of strings: what each sample comes from (a speaker, a video, a clip), and the part it is in, `"train"`, `"valid"` or `"test"`. Return a sorted list of the names of all groups that stand in **more than one** part, each
# once. No leak: an empty list.


# %% tags=["exercise"]
def leaking_groups(group, split):
    """Name the groups that stand in more than one split, sorted."""
    ### BEGIN SOLUTION
    seen = {}
    for name, part in zip(group, split, strict=True):
        seen.setdefault(str(name), set()).add(str(part))
    return sorted(name for name, parts in seen.items() if len(parts) > 1)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("05.4", leaking_groups)

# %% [markdown] tags=["hint-1"]
# For each group, collect the *different* parts in which its samples stand. Many samples in one part are no leak.

# %% [markdown] tags=["hint-2"]
# There are three parts, so do not look for train and test only: between train and valid a leak spoils every choice that you make on valid, between valid and test the final number.

# %% [markdown] tags=["hint-3"]
# A dictionary from names to sets: `seen.setdefault(name, set()).add(part)`. Then the names whose set has more than one element, `sorted(...)`.

# %% [markdown] tags=["solution-note"]
# In one line of pandas: `frame.groupby("group")["split"].nunique() > 1`. The library's `find_leaks` also counts, and finds identical samples whatever they are called. Put such a line after every split that you make or download; it takes a second.

# %% tags=["nbval-check-output"]
leaky = at_random(cut.ids, 0)
torn = use("05.4")(clip_of, leaky)
show(len(torn), "of", len(np.unique(clip_of)), "clips have windows on both sides, such as", torn[0])

# %% [markdown]
# Caught. The four windows of a clip share a sentence, a face, a voice and the *label*, so the model has only to recognise the clip. Mend it: keep the windows of a clip together. **Predict**: are we honest then?

# %% tags=["nbval-check-output"]
mended = cut.with_split(at_random(clip_of, 0))
show("clips on both sides:", len(use("05.4")(clip_of, mended.split)))
print(find_leaks(mended).sentence())

# %% [markdown]
# Not if we care for new people. **A detector sees only the groups that you name.** Name the clip, and the clips are clean; name the actor, and all of them leak. Whether that matters is a question about your use: who will stand before the camera?

# %% tags=["guided"]
ladder["clips shuffled"] = trained_on(lambda seed: at_random(clip_of, seed))
ladder["by actor"] = trained_on(lambda seed: at_random(cut.group, seed))
show_figure(
    bars_with_seeds(
        ladder, ceilings=most, chance=1 / 8, title="One model, one data set, three ways to split"
    ).figure,
    alt="Three bars with a dot for each of three splits, and the ceiling as a line. With windows shuffled the bar stands above the "
    "ceiling. With clips shuffled, and with the actors split, it stands far below it.",
)

# %% tags=["guided", "claim"]
assert np.mean(ladder["clips shuffled"]) < most
assert np.mean(ladder["by actor"]) < np.mean(ladder["windows shuffled"]) - 0.08
assert not use("05.4")(cut.group, at_random(cut.group, 0))

# %% [markdown] tags=["guided"]
# Nothing changed but the split. The score that you would have published and the one that a new clip meets are worlds apart, and the model is the same.
#
# Between the second bar and the third there is little to see: twenty-four names leaked, and it cost next to nothing. Do not count on that.

# %% [markdown]
# What is it worth to have met an actor? In *masks* next to nothing, since its actors have no habits. In the play *habit*, each actor has a favourite emotion and feels it more than half of the time. Whoever has met an actor can bet on it.
# The theatre knows what that is worth, exactly:

# %% tags=["nbval-check-output"]
for name in ("text", "vision", "text+audio+vision"):
    met, new = (theatre.ceilings("habit", known_actor=known)[name] for known in (True, False))
    show(name, "actors met in training:", met, " new actors:", new)

# %% [markdown]
# Four points for the fusion, nine for the face, eighteen for the words, if the actor can be recognised (faces and voices can; words, where a name is said). None of it is about emotion, all of it is gone with the first new actor, and no number rings an alarm.
#
# ## From the papers
#
# | paper | says | in your code |
# |---|---|---|
# | Tensor fusion network | $\mathbf{z} = [\mathbf{z}_l; 1] \otimes [\mathbf{z}_v; 1] \otimes [\mathbf{z}_a; 1]$ | `F.pad(few, (0, 1), value=1.0)` and `einsum("bi,bj->bij")`, once a stream |
# | Gated multimodal unit | $h = z * h_v + (1 - z) * h_t$ with $z = \sigma(W_z [x_v, x_t])$ | `softmax(dim=1)` over the streams; for two streams that is the sigmoid of their scores' difference |
# | AVT-CA, Algorithm 10 | concatenates what its attention has made of audio and video; its text adds them (ledger A-21) | `Concat.meet` |
#
# And what do the four papers of this course do about judging? CA-MMAAET compares its variants by a single run each, without a test, though its text speaks of significance (C-22). AVT-CA splits 80 to 20 and mentions no test set; its released list splits by actor, and pairs each sound file with two video files, so that it
# stands there twice: 2,878 rows, 1,440 different sounds. With a split by actor that costs nothing but time. **Predict** what it would do with a split at random. You have just seen it.
#
# None of this is ill will. It is what happens when nobody makes the checks easy, and they are four functions.

# %% [markdown]
# ## On real recordings
#
# Everything above was a theatre. The same functions run on [RAVDESS](https://zenodo.org/record/1188976), 24 actors who speak two sentences in eight emotions, judged by folds: every clip by a model that has never met its actor.


# %%
def judged_by_folds(features, kinds, *, folds=5, seed=0):
    """Judge fusions by actor: name -> what is said of each sample by a model that never met its actor.

    `kinds` gives for each name a fusion and the streams that it gets.
    """
    streams = summaries(features)
    told = {name: torch.zeros(len(streams), dtype=torch.long) for name in kinds}
    for rows, held_out in grouped_folds(streams.group, labels=streams.labels, folds=folds):
        for name, (kind, modalities) in kinds.items():
            data = streams.select(modalities)
            model = train(kind, data.subset(rows), seed, epochs=30)
            told[name][held_out] = decisions([model], data.subset(held_out))[0]
    return told


def report(features):
    """Draw what audio, vision and their fusions reach on real clips, and the differences."""
    kinds: dict = {name: (Concat, (name,)) for name in ("audio", "vision")}
    kinds |= {name: (kind, ("audio", "vision")) for name, kind in FUSIONS.items()}
    told = judged_by_folds(features, kinds)
    bars = {name: by_actor(each[None], features) for name, each in told.items()}
    gains = {
        f"{name} − concat": paired(told[name][None], told["concat"][None], features)
        for name in told
        if name != "concat"
    }
    words = ", ".join(f"{name} {bar.value:.3f}" for name, bar in bars.items())
    title = f"{features.name}, {len(np.unique(features.group))} actors, each judged as a new one"
    show_figure(bars_with_intervals(bars, chance=1 / 8, title=title).figure, alt=f"Bars: {words}.")
    words = ", ".join(f"{name} {gain.difference:+.3f}" for name, gain in gains.items())
    show_figure(differences(gains, title="Against concat, by actor").figure, alt=f"Rows: {words}.")
    return told


ravdess = real_features("ravdess")
if ravdess is None:
    print("No real recordings here, and the course needs none. To run this section:")
    print("1. Get RAVDESS, record 1188976 on Zenodo (CC BY-NC-SA 4.0, not for profit).")
    print("2. Make ravdess.npz of it: audio (N, T, D), vision (N, T, D), labels, class_names,")
    print("   split, and group with the actor of each clip; see mmlib.data.load_features.")
    print("3. Set MMLIB_DATA to its folder before you start Jupyter, and run this lesson again.")
else:
    report(ravdess)

# %% [markdown]
# If you run it, keep three questions beside you. Do the intervals of your best two fusions leave any room for a headline? Would two other seeds turn them round? And how many of the differences would survive if you had tried twelve?
#
# ## Take-aways
#
# - A fusion is a **meeting point**: before the encoders, after them, or after the decisions. That it is there matters more than which it is, until the streams explain each other.
# - If streams err independently, the sum of logits is the best there is. If they have synergy, no late fusion can follow; a hidden layer after the meeting point can, once its inputs show both sides (here, the melody).
# - Average logits, not probabilities. Let streams go missing in training if they may go missing in use.
# - **Split by speaker**, draw by speaker, compare on the same clips, show every seed, and hold each gain against the ruler: a model against itself.
# - The best of many is a promise. Too good is a symptom. A detector sees only the groups that you name.
#
# ## Where to go next
#
# [Lesson 06](06_adversarial_autoencoder.ipynb) lets two networks play against each other: the adversarial autoencoder in the heart of CA-MMAAET. Its ablation, in lesson 07, you will judge with what you have built here.
#
# ## References
#
# - Zadeh et al., *Tensor fusion network for multimodal sentiment analysis* (2017), arXiv:1707.07250.
# - Arevalo et al., *Gated multimodal units for information fusion* (2017), arXiv:1702.01992.
# - Efron and Tibshirani, *An introduction to the bootstrap* (1993): the percentile interval.
# - Livingstone and Russo, *The Ryerson audio-visual database of emotional speech and song (RAVDESS)* (2018).
# - AVT-CA: Algorithm 10; ledger. CA-MMAAET: ledger C-22. You build both, in lessons 09 and 07.
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, presets `masks`, `missing`, `irony_square`, `habit`.
