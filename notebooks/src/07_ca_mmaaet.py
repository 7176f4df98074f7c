# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 07 CA-MMAAET
#
# **After this lesson you can**
#
# 1. build the whole CA-MMAAET from parts that you know, and say for each part which sentence of the paper asked for it, and which did not;
# 2. run a four-way ablation so that its verdict means something: one protocol, several seeds, the effect of each switch with its interval;
# 3. audit a printed table with whole numbers: which test sizes can have produced it, and which row cannot be right.
#
# **Before you start:** lesson 03 (who asks, who answers), lesson 05 (seeds, actors, intervals) and lesson 06 (the adversarial autoencoder). **Time:** about 90 minutes, in two halves: building and
# running, up to the verdict; auditing, from there on.

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from mmlib.checks import check, show, use
from mmlib.data import split_by_group, theatre
from mmlib.layers import masked_mean
from mmlib.metrics import per_class
from mmlib.plots import accuracy_curves, apply_style, bars_with_seeds, differences, show_figure
from mmlib.plots.ablation import (
    NAMES,
    confusions_of,
    draw_model,
    encoder_map,
    losses_of,
    size_sieve,
)
from mmlib.reporting import in_words
from mmlib.systems import CAMMAAETConfig, build
from mmlib.training import seed_everything
from mmlib.training.comparing import compare_systems
from mmlib.widgets import explore, snapshot

apply_style()
MODELS = ("mmaae", "mmaaet", "ca_mmaae", "ca_mmaaet")

# %% [markdown]
# ## A table to believe, or not
#
# Here is the paper's Table I, with the accuracies that its text gives. This is an **ablation**: parts of a model are left out, to see what each is worth. Four models, nested: a plain adversarial autoencoder, one with a **T**ransformer block over the text, one with **C**ross-**A**ttention between the streams, and one with both.
#
# | model | accuracy | F1 negative | F1 "Neural" | F1 positive | average |
# |---|---|---|---|---|---|
# | MMAAE | 0.593 | 0.6985 | 0.5318 | 0.2764 | 0.5022 |
# | CA-MMAAE | 0.641 | 0.7637 | 0.5191 | 0.1895 | 0.4907 |
# | MMAAET | 0.649 | 0.7698 | 0.5844 | 0.3121 | 0.5554 |
# | CA-MMAAET | 0.676 | 0.7699 | 0.6400 | 0.3271 | 0.5790 |
#
# The paper concludes that each part helps, and both together most. One run a model, no interval, and a data set without a name.
#
# **Predict, and write it down.** Does the table show what the paper concludes from it? How many samples may the test have had? By the end of the lesson you will have an answer to both, and you need nothing but the twenty numbers above for the second.
#
# ## The whole model
#
# Nothing in it is new to you. Lesson 04 built its transformer block, lesson 03 its cross-attention, lesson 06 everything above the latent. So the picture first:

# %%
show_figure(
    encoder_map().figure,
    alt="From below to above: vision goes through three convolutions and an LSTM, audio through a "
    "convolution and an LSTM, text through a convolution and a transformer block. Six ordered "
    "pairs of streams attend to each other. What they hear and each stream's own summary are put "
    "side by side; one linear layer makes the latent h, from which decoder, discriminator and "
    "classifier read. The transformer block and the cross-attention have dashed frames: a switch "
    "can take each of them out.",
)

# %% [markdown]
# The two dashed frames are the whole ablation. Now the paper's Section IV beside the code, with what the paper leaves open in the last column:
#
# | the paper | in `mmlib/systems/ca_mmaaet/encoder.py` | left open, and our choice |
# |---|---|---|
# | vision and audio go "through convolutional and LSTM layers" | `RecurrentStream` | all states or the last one? Attention needs all; the stream's own summary is the last (C-16) |
# | $\mathbf{C}_\text{tex} \leftarrow \text{Conv}(\mathbf{H}_\text{tex})$, then $\mathbf{O}_1$, $\mathbf{O}_2$ | `TextStream`, with `TransformerBlock` | $\mathbf{H}_\text{tex}$ is both what goes in and what comes out: features, convolution, block (C-17) |
# | $\text{softmax}\left(\mathbf{Q}\mathbf{K}^T / \sqrt{d_k}\right)\mathbf{V}$, "for instance, between visual and audio" | `MultiHeadAttention`, one for each pair | one example of a pair: we take all six (C-15). No word of a residual path: none |
# | "concatenated and passed through dense layers" | `to_latent` | from sequences to one vector? The mean over real steps (C-16). How many layers? One |
#
# Each line of the last column is a place where two honest readers of one paper build two models.

# %% [markdown] tags=["exercise"]
# ### Exercise 07.1: the cross-attentive encoder
# Difficulty ★★☆ · Importance ★★★ · 12 minutes
#
# `states` gives each stream's states by name, `(B, T, H)`, each stream with its own `T`; `masks` its padding mask `(B, T)`, True where a step is real. `attentions` maps ordered pairs `(query, context)` of names to layers; a layer is called as
# `layer(query_states, context_states, padding_mask=...)` and returns `(B, T of the query, H)`.
#
# Let every pair attend, average what was heard over the **real** steps, and put the results side by side in the order of `attentions`: `(B, pairs · H)`. A stream of which a sample has no real step asks nothing: zeros.


# %% tags=["exercise"]
def cross_attentive_features(states, masks, attentions):
    """Let each pair's query stream ask its context stream; average what it hears, join the pairs."""
    ### BEGIN SOLUTION
    found = []
    for (query, context), attend in attentions.items():
        heard = attend(states[query], states[context], padding_mask=masks[context])
        found.append(masked_mean(heard, masks[query]))
    return torch.cat(found, dim=-1)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("07.1", cross_attentive_features)

# %% [markdown] tags=["hint-1"]
# A loop over `attentions.items()`; each turn gives one `(B, H)`. `torch.cat(..., dim=-1)` puts them side by side.

# %% [markdown] tags=["hint-2"]
# Two masks, two jobs. While attending, the mask is that of the one who *answers*. What comes back is as long as the one who *asks*.

# %% [markdown] tags=["hint-3"]
# `masked_mean(heard, masks[query])` from `mmlib.layers` averages over the real steps, and gives zeros where there is none. `heard.mean(1)` would count the padding.

# %% [markdown] tags=["solution-note"]
# A loop over six pairs is no loop over the batch, the heads or the samples: each turn is one large matrix product. Whoever adds a residual path here (`states[query] + heard`) builds a fine model, but not that of the paper's text, and the four models would then differ in more than
# the part under test.

# %% [markdown]
# ## Is it the same model?
#
# Take the library's CA-MMAAET, with its weights, and put your function into its middle. If the latent comes out the same, there is nothing in the encoder that you have not understood. The clips are the theatre's play *ca_mmaaet* (synthetic, as always): three classes, and for speed eight mel frames of the voice become one.

# %% tags=["nbval-check-output"]
played = theatre.make("ca_mmaaet", n=1400, seed=0).features()
voice, real = played.inputs["audio"], played.masks["audio"]
play = replace(
    played,
    inputs=played.inputs | {"audio": voice.unflatten(1, (-1, 8)).mean(2)},
    masks=played.masks | {"audio": real[:, ::8]},
)
for name, stream in play.inputs.items():
    show(name, stream.shape)

seed_everything(0)
model = build("ca_mmaaet", CAMMAAETConfig.for_dataset(play)).eval()
encoder, batch = model.encoder, play.batch(range(50))
with torch.no_grad():
    streams = {n: getattr(encoder, n)(batch.inputs[n], batch.masks[n]) for n in play.modalities}
    heard = use("07.1")(
        {name: stream.states for name, stream in streams.items()},
        {name: stream.mask for name, stream in streams.items()},
        {pair: encoder.cross_attention["_from_".join(pair)] for pair in encoder.pairs},
    )
    own = torch.cat([stream.summary for stream in streams.values()], dim=-1)
    mine = encoder.to_latent(torch.cat([own, heard], dim=-1))
    theirs = model(**batch.inputs, masks=batch.masks).latent
show("own summaries", own.shape, "heard from each other", heard.shape, "latent", mine.shape)
show("the same latent as the library's:", torch.allclose(mine, theirs, atol=1e-5))

# %% [markdown]
# A second proof, with bookkeeping: count parameters. At the paper's widths (our choice where it gives none: $H = 128$, $Z = 256$, C-14) the plain model's parts must come out at numbers that you can work out by hand, such as $256 \cdot 512 + 512 + 512 \cdot 2560 + 2560$ for the decoder.
#
# **Predict.** Which switch makes the model larger, and which smaller?

# %% tags=["nbval-check-output"]
for name in MODELS:
    full = build(name, CAMMAAETConfig.paper())
    sizes = {part: sum(p.numel() for p in m.parameters()) for part, m in full.named_children()}
    show(f"{NAMES[name]:10}", *(f"{part} {size:,}" for part, size in sizes.items()))

# %% [markdown]
# Cross-attention adds six times four projections, $6 \cdot 4 \cdot (128^2 + 128)$, and widens the way to the latent by $6 \cdot 128 \cdot 256$. The transformer makes the model *smaller*: without it, the text has two convolutions over 768 features (the baseline of the public code), with it one
# convolution and a block of width 128. So if the T helps, it is not by size. That encoder and decoder of the plain model have equally many parameters is a coincidence.
#
# ## What a switch can buy
#
# Before you train anything, ask what each switch *could* change. Look at the picture again with both switches off: three summaries, side by side, one linear layer, one linear classifier. A linear map of things side by side is a **sum** of one score for each stream. You have met that machine in lesson 05: it is a late fusion, and it
# cannot hear that glad words in an ironic tone mean the opposite.
#
# **Predict, then run.** Take two clips and swap their voices. For a sum, $f(t, a) - f(t', a) - f(t, a') + f(t', a') = 0$ whatever the weights are. For which of the four is it zero?


# %% tags=["nbval-check-output"]
def togetherness(model, one, other):
    """How far the logits are from a sum of a score of the words and a score of the voice."""

    def logits(words, tone):
        pieces = {"text": words, "audio": tone, "vision": one}
        inputs = {name: clip.inputs[name] for name, clip in pieces.items()}
        return model(**inputs, masks={n: clip.masks[n] for n, clip in pieces.items()}).logits

    with torch.no_grad():
        crossed = logits(one, one) - logits(other, one) - logits(one, other) + logits(other, other)
    return crossed.abs().max().item()


one, other = play.batch(range(40)), play.batch(range(40, 80))
for name in MODELS:
    seed_everything(0)
    model = build(name, CAMMAAETConfig.for_dataset(play)).eval()
    show(f"{NAMES[name]:10} words and voice only add up:", togetherness(model, one, other) < 1e-5)

# %% [markdown]
# The T looks at the text alone; it can read better, and hear nothing more. Only the CA lets one stream change what another one says, because the *weights* with which a stream answers depend on who asks. That is a difference in kind, and no amount of training removes it.
#
# How much is it worth on this play? The theatre knows exactly:

# %% tags=["nbval-check-output"]
everything = "text+audio+vision"
best = theatre.ceilings("ca_mmaaet")
show("the best possible:", best[everything])
show("the best possible without the voice:", best["text+vision"])
added = theatre.late_ceilings("ca_mmaaet")["additive"][everything]
show("a sum of one score a stream, trained with endless data:", added)

# %% [markdown]
# Three points. So even a perfect training could not show a larger gain of the CA here than that, from .731 to .764. Keep the two numbers: an ablation that reports ten points on such data would have found something else.
#
# ## The protocol
#
# An ablation is an experiment, and an experiment is decided before it is run. Ours: the same clips, the same split **by actor**, the same epochs, batches and learning rate for all; the epoch is chosen on the validation actors; **three seeds**; and three more lines in every table: the majority class (what one scores by always naming the most frequent one), a plain concatenation (lesson
# 05) and the ceiling. `compare_systems` does just that, one folder a run, and `python -m mmlib compare --systems mmaae,mmaaet,ca_mmaae,ca_mmaaet --data theatre:ca_mmaaet --out DIR` does it from the shell, at the paper's scale if you ask for it.
#
# At the scale of a laptop: a third of the actors to learn from, half of them to be judged on, six epochs.

# %%
split = split_by_group(play.group, labels=play.labels, shares=(0.36, 0.12, 0.52), seed=0)
play = play.with_split(split)
RECIPE = {"epochs": 6, "batch_size": 64, "learning_rate": 3e-3}
folder = tempfile.TemporaryDirectory()


def compared(*systems, seeds):
    """Train each system with each seed, unless the folder has it already; print the accuracies."""
    place = Path(folder.name)
    found = compare_systems(play, systems, place, seeds=seeds, progress=False, recipe=RECIPE)
    for system in systems:
        print(f"{system:10}", *(f"{run.scores['accuracy']:.3f}" for run in found.of(system)))
    return found


for part in ("train", "valid", "test"):
    clips = play.subset(part)
    print(f"{part}: {len(clips)} clips of {len(np.unique(clips.group))} actors")
_ = compared("majority", "concat", seeds=1)

# %% [markdown]
# **Predict.** You have two lines to beat, by one seed each. Write down the accuracy of the plain model, and what each switch will add. Then a rehearsal, with one seed each: does everything run, and does everybody learn something?

# %%
results = compared("majority", "concat", *MODELS, seeds=1)

# %% tags=["claim"]
floor = results.of("majority")[0].scores["accuracy"]
assert all(results.of(name)[0].scores["accuracy"] > floor + 0.05 for name in MODELS)

# %% [markdown] tags=["guided"]
# Everybody does. A rehearsal is not the experiment: look at the four numbers, say which part helps, and see what two more seeds make of it. What is trained already is not trained again.

# %% tags=["guided"]
_ = compared("majority", "concat", "mmaae", seeds=3)

# %% tags=["guided"]
_ = compared("mmaaet", seeds=3)

# %% tags=["guided"]
_ = compared("ca_mmaae", seeds=3)

# %% tags=["guided"]
results = compared("majority", "concat", *MODELS, seeds=3)  # two trainings are left

# %% [markdown]
# ## What the paper shows, redrawn
#
# **The losses** (the paper's Figure 3 and Appendices B, C, F), one seed of each. The adversarial loss has two sides, the discriminator's and the encoder's, for the reason that lesson 06 gave.

# %%
show_figure(
    losses_of(results, MODELS),
    alt="Four panels, one a model: the losses of reconstruction, classification, discriminator "
    "and generator over six epochs. In each panel classification and reconstruction fall; "
    "discriminator and generator stay of the same order.",
)

# %% [markdown]
# Whether a game goes well these curves cannot say (lesson 06); that nothing runs away, they can.

# %% [markdown] tags=["guided"]
# **The accuracy of the four models per epoch** (Figure 5). The paper draws one line for each model. Here is the same figure with three, and a band.

# %% tags=["guided"]
histories = {NAMES[name]: [run.history for run in results.of(name)] for name in MODELS}
everybody = [NAMES.get(name, name) for name in results.systems]  # each looks alike in all figures
show_figure(
    accuracy_curves(histories, among=everybody, title="Validation accuracy, four models").figure,
    alt="Validation accuracy over six epochs for the four models, a mean line and a band from the "
    "lowest to the highest seed for each. The bands overlap.",
)

# %% [markdown] tags=["guided"]
# Cover all bands with your hand, look at the four lines alone, and tell a story about them. It is easy. Take the hand away.

# %% [markdown]
# **What is taken for what** (Figure 4, Appendices A, D, E), on the test, all seeds together:

# %%
show_figure(
    confusions_of(results, MODELS),
    alt="Four confusion matrices, one a model, rows are the true classes negative, neutral, "
    "positive. All four name negative most often, find a good part of the positive clips, and "
    "hardly ever find a neutral one.",
)

# %% [markdown] tags=["guided"]
# And **Table I**, in the paper's form, with what the paper's lacks: a spread, the majority class, and a baseline without any adversary.

# %% tags=["guided"]
table = results.class_table()
accuracy = results.table().set_index("system")
table.insert(1, "accuracy", [accuracy.loc[name, "accuracy"] for name in table["system"]])
table.insert(2, "accuracy_sd", [accuracy.loc[name, "accuracy_sd"] for name in table["system"]])
table["system"] = [NAMES.get(name, name) for name in table["system"]]
print(in_words(table))

# %% tags=["guided"]
scores = {name: [run.scores["accuracy"] for run in results.of(name)] for name in results.systems}
show_figure(
    bars_with_seeds(
        {NAMES.get(name, name): each for name, each in scores.items()},
        ceilings=best[everything],
        title="Test accuracy, new actors, three seeds",
    ).figure,
    alt="Six bars with a dot for each seed, and the ceiling as a line far above. The majority "
    "class is lowest; concatenation and the four models stand above it, all at about the same "
    "height.",
)

# %% tags=["guided", "claim"]
means = {name: float(np.mean(each)) for name, each in scores.items()}
for name in MODELS:
    assert means["majority"] + 0.05 < means[name] < best[everything] - 0.03
assert max(means[name] for name in MODELS) - min(means[name] for name in MODELS) < 0.05

# %% [markdown] tags=["guided"]
# Read it with the lesson's three lines. All four have learnt something: they are well above the majority class. None is near the ceiling: five hundred clips and six epochs do not teach a model to read a face, a voice and a sentence. And whatever they lack, here the switches do not add it.

# %% [markdown]
# Choose a model and a seed, and look at it more closely. **Predict** before you move: does the seed change a picture as much as the model does? (The exercises and their answers train one seed; the lesson has three.)


# %%
def picked(model="ca_mmaaet", seed="all"):
    """One model's losses, its accuracy among all runs, and its confusion matrix."""
    return draw_model(results, model, None if seed == "all" else int(seed))


seeds = ["all", *(str(run.seed) for run in results.of("ca_mmaaet"))]
explore(picked, model=list(reversed(MODELS)), seed=seeds)

# %% [markdown]
# Two settings of it, for a page that cannot move:

# %%
snapshot(picked, [{"model": "mmaae", "seed": "0"}, {"model": "ca_mmaaet", "seed": "0"}], columns=1)

# %% [markdown]
# ## From runs to a verdict
#
# "Each part helps" is two claims about *effects*. With two switches there are four models, and the effect of a switch is measured twice, with the other switch off and with it on. Use both: half of their sum is the **main effect**. And their difference is the **interaction**: does the T bring more where the CA is on? Each comes with a **t interval** over the seeds: mean and spread of a few runs, and the fewer they are, the wider it is, since few values say little about their own spread.

# %% [markdown] tags=["exercise"]
# ### Exercise 07.2: a four-way ablation, judged
# Difficulty ★★☆ · Importance ★★★ · 15 minutes
#
# `runs` is a list of dictionaries, in any order, each with `"transformer"` and `"cross_attention"` (True or False), `"seed"` and `"score"`. Write $y_{TC}$ for the score of one seed with the switches $T$ and $C$. Compute **for each seed**
#
# - `"transformer"`: $\tfrac12\left[(y_{10} - y_{00}) + (y_{11} - y_{01})\right]$
# - `"cross_attention"`: $\tfrac12\left[(y_{01} - y_{00}) + (y_{11} - y_{10})\right]$
# - `"interaction"`: $(y_{11} - y_{01}) - (y_{10} - y_{00})$
#
# and return for each of the three `(effect, low, high, holds)`: the mean over the seeds; its 95 % t interval, mean $\pm\, t_{.975,\,n-1} \cdot s / \sqrt{n}$ with the sample deviation $s$ of the seeds' values; and whether the claim "it helps" holds, that is, whether `low` is above zero. A seed that
# lacks one of its four runs does not count. With a single seed there is no interval: `low` is minus infinity, `high` is plus infinity.


# %% tags=["exercise"]
def ablation_effects(runs):
    """Effects of the two switches and their interaction, paired by seed, with 95 % t intervals."""
    ### BEGIN SOLUTION
    from scipy.stats import t

    score = {(r["transformer"], r["cross_attention"], r["seed"]): r["score"] for r in runs}
    cells = [(False, False), (True, False), (False, True), (True, True)]
    seeds = {seed for _, _, seed in score}
    whole = [seed for seed in seeds if all((*cell, seed) in score for cell in cells)]
    y00, y10, y01, y11 = (np.array([score[(*cell, s)] for s in whole]) for cell in cells)
    per_seed = {
        "transformer": ((y10 - y00) + (y11 - y01)) / 2,
        "cross_attention": ((y01 - y00) + (y11 - y10)) / 2,
        "interaction": (y11 - y01) - (y10 - y00),
    }
    effects = {}
    for name, values in per_seed.items():
        n, mean, reach = len(values), values.mean(), np.inf
        if n > 1:
            reach = t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5
        effects[name] = (mean, mean - reach, mean + reach, mean - reach > 0)
    return effects
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("07.2", ablation_effects)

# %% [markdown] tags=["hint-1"]
# First a dictionary from `(transformer, cross_attention, seed)` to the score; then the order of the runs does not matter. An entry of the result has four values, and the mean comes first.

# %% [markdown] tags=["hint-2"]
# Pair *before* you average: one number for each seed, then the mean and the deviation of these numbers. The deviation is the sample's (`ddof=1`), and with three seeds the factor is `scipy.stats.t.ppf(0.975, 2)`, which is 4.30 and not 1.96.

# %% [markdown] tags=["hint-3"]
# Keep the seeds for which all four keys are there. If one seed is left, the reach of the interval is `float("inf")`: `values.std(ddof=1)` would be NaN, and NaN is not above zero either, but it says nothing.

# %% [markdown] tags=["solution-note"]
# Does a seed pair anything across models? It fixes the order of the clips and not much else, since the weights differ in number. Pairing costs nothing here, and with folds in the place of seeds it is worth a lot: a hard fold is hard for all four. With three seeds an effect has to be 2.5 times its own deviation to hold. That is the
# price of three seeds, and the reason why "three seeds" is not the end of honesty but its beginning. (With the one seed that is trained here, the intervals below are infinite. That, too, is an answer.)


# %%
def as_runs(metric):
    """The runs of the four models as rows, with their switches."""
    return [
        {
            "transformer": name.endswith("t"),
            "cross_attention": name.startswith("ca_"),
            "seed": run.seed,
            "score": run.scores[metric],
        }
        for name in MODELS
        for run in results.of(name)
    ]


effects = {}
for metric in ("accuracy", "macro_f1"):
    for name, (effect, low, high, holds) in use("07.2")(as_runs(metric)).items():
        verdict = "helps" if holds else "hurts" if high < 0 else "open"
        print(
            f"{metric:9} {name:16} {effect:+.3f}  95 % from {low:+.3f} to {high:+.3f}  -> {verdict}"
        )
        words = {"accuracy": "accuracy", "macro_f1": "macro F1"}[metric]
        effects[f"{name.replace('_', '-')}, {words}"] = effect, low, high

# %% tags=["guided"]
ax = differences(effects, xlabel="effect, 95 % t interval over 3 seeds")
ax.locator_params(axis="x", nbins=5)
show_figure(
    ax.figure,
    alt="Six effects with their intervals over the seeds: transformer, cross-attention and "
    "interaction, on accuracy and on macro F1. All lie within a few hundredths of zero.",
)

# %% tags=["guided", "claim"]
found = use("07.2")(as_runs("accuracy"))
assert all(abs(found[name][0]) < 0.04 for name in ("transformer", "cross_attention"))

# %% [markdown] tags=["guided"]
# That is one kind of luck: other seeds. The other kind is other *actors*. The same answers, compared with the plain model's clip by clip, with whole actors drawn (lesson 05):

# %% tags=["guided"]
gains = {
    f"{NAMES[name]} − MMAAE": gain
    for name, gain in results.differences("mmaae").items()
    if name in MODELS
}
ax = differences(gains, title="Against the plain model, by actor")
ax.locator_params(axis="x", nbins=5)
show_figure(
    ax.figure,
    alt="Three differences in accuracy against MMAAE with intervals by actor: MMAAET, CA-MMAAE "
    "and CA-MMAAET, all within a few hundredths of zero.",
)

# %% [markdown] tags=["guided"]
# **The verdict, as found.** At this scale, on this play, neither switch moves the accuracy by as much as four hundredths, and the figures above say what the intervals leave of the rest. That is *not* "the parts do not work". You saw that the CA can express something that the plain model cannot, that it is worth three points
# at most here, and that all four models end ten points below the ceiling. What they lack first is probably to hear each single stream better: a guess, which more clips would test. An ablation answers one question: on these data, trained like this, does it pay? To learn more, change one thing and run it again: more clips, the paper's widths, a play with more irony. The command is above.

# %% [markdown]
# What does the same function say about the paper? It has one run a model.

# %% tags=["nbval-check-output"]
PRINTED = {
    "MMAAE": ("0.593", ("0.6985", "0.5318", "0.2764"), "0.5022"),
    "CA-MMAAE": ("0.641", ("0.7637", "0.5191", "0.1895"), "0.4907"),
    "MMAAET": ("0.649", ("0.7698", "0.5844", "0.3121"), "0.5554"),
    "CA-MMAAET": ("0.676", ("0.7699", "0.6400", "0.3271"), "0.5790"),
}
for place, metric in ((0, "accuracy"), (2, "average F1")):
    papers = [
        {
            "transformer": name.endswith("T"),
            "cross_attention": name.startswith("CA"),
            "seed": 0,
            "score": float(row[place]),
        }
        for name, row in PRINTED.items()
    ]
    for name, (effect, low, high, _) in use("07.2")(papers).items():
        show(f"{metric}: {name}", effect, "from", low, "to", high, digits=5, tolerance=1e-9)

# %% [markdown]
# Sizeable effects, and no interval at all: with one run, everything between minus and plus infinity is possible (C-22). And look at the average F1: there the CA adds six thousandths in the mean, and *without* the T it takes away: .4907 against the plain model's .5022, although the accuracy rises. The
# paper's text says that both modifications are higher than the original; it says so of the accuracy, and there it is true.

# %% [markdown] tags=["instructor"]
# For the instructor: the routes, questions and common wrong answers of this lesson are in [docs/instructors/07.md](../docs/instructors/07.md).

# %% [markdown]
# ## Names by position
#
# A slip that costs nothing to make. The file says 0, 1 and 2, the paper says negative, neutral and positive, so: zip. Assume that the file's author had written 0 for negative, **1 for positive and 2 for neutral**. The next cell is broken on purpose.

# %%
codes = {"negative": 0, "positive": 1, "neutral": 2}  # how the file was written
judged, run = results.judged, results.of("mmaae")[0]
recode = torch.tensor([codes[name] for name in judged.class_names])
in_file, answered = recode[judged.labels], recode[run.outputs.argmax(1)]
f1 = per_class(answered, in_file, 3)["f1"].tolist()
by_position = dict(zip(("negative", "neutral", "positive"), f1, strict=True))
print("by position:", {name: round(value, 3) for name, value in by_position.items()})
print(
    "accuracy",
    round((answered == in_file).float().mean().item(), 3),
    "average F1",
    round(np.mean(f1), 3),
)

# %% [markdown]
# No error, no warning, and a remarkable result: the model hears neutral clips well, and positive ones hardly. Accuracy and average are right, whatever the names. Mended, with names that travel with the codes:

# %%
by_name = {name: f1[code] for name, code in codes.items()}
print("by name:", {name: round(value, 3) for name, value in by_name.items()})

# %% tags=["claim"]
assert by_position["neutral"] == by_name["positive"] > by_name["neutral"] + 0.1
assert by_position["negative"] == by_name["negative"]
assert abs(np.mean(list(by_position.values())) - np.mean(list(by_name.values()))) < 1e-12

# %% [markdown]
# How could a reader have noticed? Only by the sizes of the classes, which a table of F1 scores does not show. Or does it? In this library, class names are part of the data, and `python -m mmlib convert --class-names negative,positive,neutral` says them aloud (C-02). Keep this cell in mind.
#
# ## A printed row is a sieve
#
# Now the second question. An accuracy is a fraction, $k / n$: $k$ whole hits of $n$ whole samples. There are not many fractions with a small denominator. With ten samples, no accuracy can print as 0.593. With 27 one can: 16/27.
#
# The F1 of a class is a fraction, too. With $h$ hits in the class, and $s$ the sum of its row and its column (how many there are plus how many were named),
#
# $$F_1 = \frac{2h}{s}, \qquad \text{since} \quad \frac{1}{F_1} = \frac12\left(\frac{\text{row}}{h} + \frac{\text{column}}{h}\right).$$
#
# And the three classes share one table: their hits sum to $k$, and their $s$ to $2n$, as every sample stands in one row and in one column. Four printed numbers, each a coarse sieve; together a fine one.
#
# Printed digits are an interval. 0.593 rounded is anything from 0.5925 to 0.5935. Some programs cut digits off in the place of rounding, and then it is anything up to 0.594. We allow **both**, ends included, so that nobody is accused for a habit of printing. All in whole numbers, so that nothing hangs on the last bit of a float: in units of 1/20,000.

# %% tags=["nbval-check-output"]
UNIT = 20_000  # half a unit of the fourth decimal is a whole number of these


def ends(printed, cut=True):
    """The interval behind a printed number, rounded (or cut off), in units of 1/20,000."""
    digits = printed.partition(".")[2]
    unit = UNIT // 10 ** len(digits)
    middle = int(digits) * unit
    return max(0, middle - unit // 2), middle + (unit if cut else unit // 2)


low, high = ends("0.593")
show("0.593 is", low, "to", high, "of", UNIT)
alone = [n for n in range(1, 701) if any(low * n <= UNIT * k <= high * n for k in range(n + 1))]
show("smallest test sizes that can print it:", alone[:5])
show("of 100 to 700, sizes that can:", sum(n >= 100 for n in alone))

# %% [markdown]
# One number is a wide mesh: 361 of 601 sizes pass. So use all four.

# %% [markdown] tags=["exercise"]
# ### Exercise 07.3: which test sizes can have produced this row?
# Difficulty ★★★ · Importance ★★☆ · 20 minutes
#
# Write the sieve for one size. `accuracy` is `(low, high)` and `f1` three such pairs, whole numbers in units of 1/20,000 (`UNIT`), ends included; `n` is the number of samples. Return the sorted list of all `((h1, s1), (h2, s2), (h3, s3))`, whole numbers, hits and row-plus-column of each class, such that
#
# 1. the accuracy is inside its ends: $\text{low} \cdot n \le \text{UNIT} \cdot k \le \text{high} \cdot n$ for $k = h_1 + h_2 + h_3$;
# 2. each F1 is inside its ends: $\text{low} \cdot s \le 2 \cdot \text{UNIT} \cdot h \le \text{high} \cdot s$, with $s \ge 1$;
# 3. $s_1 + s_2 + s_3 = 2n$;
# 4. there is such a table: for each class $s \ge 2h$, and its errors $s - 2h$ (missed, or named wrongly) are at most all errors, $n - k$.
#
# No entry: no confusion matrix of $n$ samples prints this row. Two classes leave no choice for the third.


# %% tags=["exercise"]
def fitting_counts(accuracy, f1, n):
    """List all (hits, row + column) of three classes that n samples and the printed row allow."""

    ### BEGIN SOLUTION
    def pairs(low, high):
        """All (h, s) of one class: for each h, the s between two bounds."""
        return [
            (h, s)
            for h in range(n + 1)
            for s in range(
                max(1, 2 * h, -(-2 * UNIT * h // high)),
                min(n + h, 2 * UNIT * h // low if low else 2 * n) + 1,
            )
        ]

    hits = [k for k in range(n + 1) if accuracy[0] * n <= UNIT * k <= accuracy[1] * n]
    low, high = f1[2]
    second = pairs(*f1[1])
    fits = []
    for h1, s1 in pairs(*f1[0]):
        for h2, s2 in second:
            s3 = 2 * n - s1 - s2
            for k in hits:
                h3 = k - h1 - h2
                if h3 < 0 or s3 < 1 or not low * s3 <= 2 * UNIT * h3 <= high * s3:
                    continue
                errors = [s1 - 2 * h1, s2 - 2 * h2, s3 - 2 * h3]
                if min(errors) >= 0 and max(errors) <= n - k:
                    fits.append(((h1, s1), (h2, s2), (h3, s3)))
    return sorted(fits)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("07.3", fitting_counts)

# %% [markdown] tags=["hint-1"]
# First list all `(h, s)` that one class's F1 allows, a small list. Then two nested loops over the lists of the first two classes, and a third over the few possible `k`.

# %% [markdown] tags=["hint-2"]
# The third class is what is left: `h3 = k - h1 - h2` and `s3 = 2 * n - s1 - s2`. Test its F1 by condition 2, and all three classes by condition 4. For a class, `h` runs from 0 to `n`, and `s` from `2 * h` to `n + h`.

# %% [markdown] tags=["hint-3"]
# For speed, do not try every `s`: from condition 2, `s` lies between `2 * UNIT * h / high` (rounded up: `-(-a // b)`) and `2 * UNIT * h / low` (rounded down; if `low` is 0, there is no upper bound but `n + h`). Condition 4 at the end:
# `max(s1 - 2*h1, s2 - 2*h2, s3 - 2*h3) <= n - k`, and none of them negative.

# %% [markdown] tags=["solution-note"]
# Why is condition 4 enough? Every error is one class's miss and another's false name, so the three error counts $d = s - 2h$ sum to twice the number of errors $E$, and none can exceed $E$. If they do not, put $E - d_3$ errors between the classes 1 and 2, $E - d_2$ between 1 and 3, $E - d_1$ between 2 and 3: three whole
# numbers, none negative, and each class gets its $d$. That is a table. The library's version joins the two lists as arrays.

# %% [markdown]
# Never trust a detector that has not found a plant. So first our own runs: print them like the paper, four and three digits, and ask which sizes fit. The true one must always be among them.

# %%
fitting, true_size = use("07.3"), len(results.judged)
for name in MODELS:
    run = results.of(name)[0]
    f1 = per_class(run.outputs, results.judged.labels, 3)["f1"].tolist()
    row = ends(f"{run.scores['accuracy']:.3f}"), [ends(f"{each:.4f}") for each in f1]
    near = [n for n in range(true_size - 60, true_size + 61) if fitting(*row, n)]
    print(
        f"{NAMES[name]:10} of 121 sizes {len(near):3} fit, {true_size} among them: {true_size in near}"
    )
    assert true_size in near

# %% [markdown]
# It always finds the plant, and sometimes much beside it: a class without any hit prints an F1 of 0, which says nothing about its size, and with more than seven hundred samples the mesh is wide. The more a row knows, the finer it sieves. Now the paper's table. **Predict**: how many of the 601 sizes from 100 to 700 are left for each row?

# %% tags=["nbval-check-output"]
rows = {name: (ends(a), [ends(f) for f in f1]) for name, (a, f1, _) in PRINTED.items()}
fits = {name: [n for n in range(100, 701) if fitting(*row, n)] for name, row in rows.items()}
for name, sizes in fits.items():
    show(f"{name:10}", sizes)

# %%
show_figure(
    size_sieve(
        fits, sizes=(100, 700), mark=457, title="Test sizes that can print each row of Table I"
    ).figure,
    alt="Four lines, one a row of Table I, with a mark for each test size from 100 to 700 that "
    "fits: MMAAE seven, CA-MMAAE six, MMAAET eight, CA-MMAAET five. One size, 457, fits the first "
    "three rows and is pointed out; the row of CA-MMAAET does not fit it.",
)

# %% tags=["nbval-check-output"]
together = {n: sum(n in sizes for sizes in fits.values()) for n in range(100, 701)}
show("sizes that fit three rows or more:", [n for n, count in together.items() if count >= 3])
for name, row in rows.items():
    show(f"{name:10} with 457:", fitting(*row, 457))

# %% [markdown]
# **One size of 601 fits three rows: 457**, and it fits each of them in exactly one way (a pair for each class: its hits $h$, and its $s$). You can read the hits of a confusion matrix that the paper shows only as a picture: MMAAE had 183 + 71 + 17 = 271 right answers.
#
# How much luck is in that? Ask the sieve about rows that nobody has measured. Take the paper's rows and move each F1 by up to two hundredths, a thousand times:

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
by_luck = 0
for _ in range(1000):
    accuracy, f1, _ = PRINTED[list(PRINTED)[rng.integers(4)]]
    moved = [f"0.{int(f[2:]) + rng.integers(-200, 201):04d}" for f in f1]
    by_luck += bool(fitting(ends(accuracy), [ends(f) for f in moved], 457))
show("of 1000 made-up rows,", by_luck, "fit 457")

# %% [markdown]
# Eight in a thousand for one row. Three printed rows that agree on one size are hardly an accident. Two honest limits. First, the digits: if all numbers are *rounded*, only two of the rows fit 457; MMAAET has 297/457 = 0.6499, which the paper gives as 0.649, cut. (Its average for CA-MMAAE, 0.4907, looks cut as well: the three F1 give .49077, C-21.) Second, the mesh:
# for larger tests there are more fractions, and agreement means less. (One of the sizes below says nothing new: 914 is twice 457.)

# %% tags=["nbval-check-output"]
strict = {
    name: (ends(a, cut=False), [ends(f, cut=False) for f in f1])
    for name, (a, f1, _) in PRINTED.items()
}
show("rows that fit 457 if all is rounded:", [n for n, row in strict.items() if fitting(*row, 457)])
larger = [n for n in range(701, 1001) if sum(bool(fitting(*row, n)) for row in rows.values()) >= 3]
show("sizes from 701 to 1000 that fit three rows:", larger)

# %% [markdown]
# ## What the counts suggest
#
# From here on we **infer**, and say so. 457 is the size of the test split of CH-SIMS, a public set of Chinese film scenes (1,368 to learn from, 456, 457). The public code nearest to this paper reads four files of the same names and shapes, and its logged accuracies are multiples of 1/457 and 1/456 (C-01). So the data set is very probably CH-SIMS. Nobody has confirmed it.
#
# Now the names. A class cannot be smaller than its hits, nor larger than $s - h$ (the model named it at least $h$ times). Each row bounds the same three class sizes:

# %% tags=["nbval-check-output"]
bounds = [(0, 457)] * 3
for name in ("MMAAE", "CA-MMAAE", "MMAAET"):
    ((counts),) = fitting(*rows[name], 457)
    bounds = [
        (max(low, h), min(high, s - h)) for (low, high), (h, s) in zip(bounds, counts, strict=True)
    ]
for column, (low, high) in zip(("Negative", '"Neural"', "Positive"), bounds, strict=True):
    show(f"the column {column}: between", low, "and", high, "of 457")

# %% [markdown]
# By its published counts (which we quote and have not counted in the files), CH-SIMS's test has 248 negative, 140 positive and 69 neutral scenes. **140 does not fit the third column**, whose class has 86 samples at most, and 69 does not fit the second, which has 71 hits already. In the order negative, *positive*, *neutral* all three fit: 248, 140, 69. A public script that prepares these features
# codes the classes in just that order (C-02).
#
# So if the data are CH-SIMS, the columns "Neural" and "Positive" of Table I are swapped: names by position, the cell that you mended above. An inference, with every step of it in this notebook; the authors could settle it in a sentence. Until then, the library reads such files with the names that *you* give.
#
# ## The row in bold
#
# And CA-MMAAET, the row that the abstract quotes? It fits 457 in no way, cut or rounded. Whatever the class sizes are, no confusion matrix of 457 samples has accuracy 0.676 and these three F1 scores. How near does it come? Change one F1 at a time, by as little as possible:

# %% tags=["nbval-check-output"]
accuracy, f1, _ = PRINTED["CA-MMAAET"]
for place, column in enumerate(("Negative", "Neural", "Positive")):
    near = []
    for step in sorted(range(-60, 61), key=abs):
        other = [f"0.{int(f[2:]) + step * (k == place):04d}" for k, f in enumerate(f1)]
        if found := fitting(ends(accuracy), [ends(f) for f in other], 457):
            near.append((other[place], found[0]))
    show(f"{column}: {f1[place]}", "->", *(near[0] if near else ("nothing within 0.0060",)))

# %% [markdown]
# One slip of the pen would explain it: 0.3271 in the place of 0.3265, with 309 right answers. So would an accuracy from one run, or one epoch, and F1 scores from another. We cannot know (C-23). What follows is modest: the number 0.676 is *unverified*, nobody should use it as a target, and no test of this library does.
#
# Is the difference large, if we take it as it stands? For one model with accuracy $p$ on $n$ samples, the standard error is $\sqrt{p(1-p)/n}$:

# %% tags=["nbval-check-output"]
error = {name: (float(row[0]) * (1 - float(row[0])) / 457) ** 0.5 for name, row in PRINTED.items()}
for name in ("CA-MMAAE", "MMAAET", "CA-MMAAET"):
    gain = float(PRINTED[name][0]) - float(PRINTED["MMAAE"][0])
    apart = (error[name] ** 2 + error["MMAAE"] ** 2) ** 0.5
    show(f"{name} - MMAAE:", gain, "standard error", apart, "ratio", gain / apart)

# %% [markdown]
# One to three standard errors, as if the models had met different samples; a paired comparison may be sharper, but for that one needs the answers, clip by clip. And this counts neither the seeds nor the tries. "Significantly", says the abstract, without a test. What such a test takes, you have written, in lesson 05 and here.
#
# None of this says that the model is bad, or that somebody cheated. It says what can be known from twenty printed numbers, which is more than most readers would think, and it is why this course prints counts: **a confusion matrix with its numbers, the number of samples, and every seed** would have made all of it unnecessary.
#
# ## From the paper
#
# | the paper | ledger | what you did |
# |---|---|---|
# | Section IV, encoder; Figure 1 | C-15, C-16, C-17 | built it, and got the library's latent to the last digits |
# | Figure 3, Appendices B, C, F: three losses | C-08 | redrawn, with both sides of the game |
# | Figure 4, Appendices A, D, E: confusion | C-02 | redrawn, with counts and named classes |
# | Figure 5: four accuracies per epoch (its caption repeats Figure 4's) | C-22 | redrawn, with bands |
# | Table I: F1 of each class | C-21, C-23 | redrawn with spread and baselines; audited |
# | that each change helps, and "significantly" | C-22 | effects with intervals; as found |
#
# ## Take-aways
#
# - Between a paper's sentence and a model lie choices. Write each of them down; two readers will differ in them.
# - Ask what a part *can* change before you train: three summaries and linear layers are a sum, attention between streams is not. Ask what that is worth on your data, at most.
# - An ablation is an effect with an interval, not a ranking of four numbers. One run has no interval.
# - Names travel with codes. By position, a swap is invisible to every average.
# - Printed scores are fractions, and fractions are a sieve. Plant a truth before you trust a detector, count what luck would give, and call an inference an inference.
#
# ## Where to go next
#
# [Lesson 08](08_attention_over_faces.ipynb) turns to what a stream is made of before it is fused: attention over the channels and the places of a face, the first half of AVT-CA.
#
# ## References
#
# - CA-MMAAET: Section IV (encoder; O1, O2; attention), Algorithm 1, Table I, Figures 1 and 3 to 5; ledger C-01, C-02, C-08, C-14 to C-17, C-21 to C-23.
# - Yu et al., *CH-SIMS: a Chinese multimodal sentiment analysis dataset with fine-grained annotation of modality* (2020): the splits.
# - Brown and Heathers, *The GRIM test* (2017): what whole numbers say about printed means. The sieve of this lesson is its cousin for confusion matrices.
# - Box, Hunter and Hunter, *Statistics for experimenters* (2005): Chapter 5, factorial designs at two levels.
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, preset `ca_mmaaet`.
