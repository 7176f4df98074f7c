# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 06 Adversarial autoencoder
#
# **After this lesson you can**
#
# 1. compute, before any training, how far a decoder's loss can fall, and so tell a floor from a failure;
# 2. write an adversarial game between an encoder and a discriminator: two losses, one order, and who holds still when;
# 3. see from the latent, not from the losses, whether such a game was played at all, and judge whether it was worth it.
#
# **Before you start:** lesson 05 (seeds, intervals, comparing on the same clips). **Time:** about 80 minutes, half of it exercises.

# %%
import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.checks import check, show, use
from mmlib.data import theatre
from mmlib.layers import masked_mean
from mmlib.metrics import compare
from mmlib.plots import apply_style, bars_with_seeds, show_figure, training_curves
from mmlib.plots.latent import floor_curves, latent_scatter, who_moves
from mmlib.plots.looks import OTHERS, new_figure
from mmlib.systems import CAMMAAETConfig, build
from mmlib.training import evaluate, fit, predict, seed_everything
from mmlib.training.schooling import in_ticks
from mmlib.widgets import explore, snapshot

apply_style()
SEEDS = (0, 1, 2)

# %% [markdown]
# ## One vector, three readers
#
# The fusions of lesson 05 ended in a decision. This one ends in a **latent**, one vector for each clip, and three readers who each want something else of it. A *classifier* wants the feeling. A *decoder* wants to draw the face again, frame by frame. A *discriminator* wants to know
# whether the vector could as well have been drawn from a plain normal distribution, the **prior** $N(0, I)$. Encoder and decoder by themselves are an **autoencoder**: two networks that must give back what they were given, through a narrow middle; the discriminator's game makes it **adversarial**. The paper that you rebuild in this lesson and the next calls the model **MMAAE**, multimodal adversarial autoencoder. (All clips are synthetic.)

# %% tags=["nbval-check-output"]
play = theatre.make("ca_mmaaet", n=1000, seed=0)
features = play.features()
config = CAMMAAETConfig.for_dataset(features)
seed_everything(0)
model = build("mmaae", config)
batch = features.batch(range(5))
for name, stream in batch.inputs.items():
    show(f"{name:<14}", stream.shape)
for name, value in model(**batch.inputs, masks=batch.masks)._asdict().items():
    show(f"{name:<14}", value.shape)

# %% [markdown]
# `logits` are the classifier's, `validity` is the discriminator's logit of *this came from the prior*. Only the face is rebuilt; the paper does not say so, but one output of ten frames leaves no other choice (C-03 in the course's ledger).
#
# The classifier and the discriminator are a single layer each. **Predict, then run.** Which part is the largest, at the size of the paper?

# %% tags=["nbval-check-output"]
large = build("mmaae", CAMMAAETConfig.paper())
for name, part in large.named_children():
    show(f"{name:<14}", sum(p.numel() for p in part.parameters()), "parameters")

# %% [markdown]
# Encoder and decoder have equally many, to the last one. It is a coincidence, and a trap for whoever tests a count. The discriminator has 257: it is **one linear layer**. Keep that in mind; it will matter more than anything else here.

# %% [markdown]
# ## What the decoder cannot say
#
# Start with the reader that looks harmless. The paper's decoder is
#
# $$h \to \text{Dense}(512, \text{ReLU}) \to \text{Dense}(2560, \text{ReLU}) \to \text{Reshape}(5, 512) \to \text{UpSampling1D}(2)$$
#
# and its loss the mean squared error against the ten frames. **Predict, then run.** Give it an easy life: sixteen clips, and latents that are free parameters, so that it can learn everything by heart. Where does the loss end?

# %%
frames = features.inputs["vision"][:16].float()


def by_heart(out_activation, bias=0.0, steps=200):
    """The loss of a decoder that learns sixteen clips by heart, step by step."""
    seed_everything(0)
    decoder = build("mmaae", replace(config, out_activation=out_activation)).decoder
    last = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.constant_(last.bias, bias)
    latent = nn.Parameter(torch.randn(16, config.latent_dim))
    optimizer = torch.optim.Adam([latent, *decoder.parameters()], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = ((decoder(latent) - frames) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


learned = {
    "as printed": by_heart("relu"),
    "all ReLUs open at first": by_heart("relu", bias=1.0),
    "without the last ReLU": by_heart(None),
}
for name, losses in learned.items():
    print(f"{name:24} after 100 steps {losses[99]:.3f}   after 200 {losses[-1]:.3f}")

# %% [markdown]
# All three stop, with all the freedom in the world, and further training buys nothing. The second has the printed layers, but the biases before its last ReLU start at 1, so that no unit is born shut. It ends lower, but far from zero all the same. Before you reach for the learning rate, look at what the decoder *can say*. Up-sampling repeats each frame, so frames come in **equal pairs**. The last ReLU makes every number **positive or zero**, and much of what it has to match is negative. Whatever the weights are, it cannot say anything else.
#
# Take one feature of one pair, with the values $a$ and $b$. The best single number for both is their mean $m$, and if $m$ is negative, the best that a ReLU can say is 0. So the best answer is $\max(m, 0)$, and what is left over is a **floor** that no training goes through.

# %% [markdown] tags=["exercise"]
# ### Exercise 06.1: the decoder's floor
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# Write `decoder_floor(frames, repeat, relu)`: the smallest mean squared error that any decoder of this kind can have on `frames` `(N, T, D)`, the mean going over all elements. Each of its frames stands `repeat` times in a row; with `relu` it says nothing below zero. Where `repeat` does not divide `T`, the last group is cut off and holds fewer frames.


# %% tags=["exercise"]
def decoder_floor(frames, repeat, relu):
    """The least mean squared error of frames in equal groups, perhaps not negative."""
    ### BEGIN SOLUTION
    error = 0.0
    for group in frames.split(repeat, dim=1):  # (N, repeat or fewer, D)
        best = group.mean(dim=1, keepdim=True)
        if relu:
            best = best.clamp(min=0)
        error = error + ((group - best) ** 2).sum()
    return error / frames.numel()
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("06.1", decoder_floor)

# %% [markdown] tags=["hint-1"]
# Frames 0 and 1 share one answer, frames 2 and 3 the next. Every feature of every clip is a problem of its own: find the best number for it, then measure the error.

# %% [markdown] tags=["hint-2"]
# The best number is the mean of the group, and with the ReLU the larger of that mean and 0. First the mean, then the clamp: the mean of clamped frames is something else.

# %% [markdown] tags=["hint-3"]
# `frames.split(repeat, dim=1)` gives the groups, the last one shorter if need be. Add up the squared errors of all groups and divide once, by `frames.numel()`; a mean of means would weigh the short group too much.

# %% [markdown] tags=["solution-note"]
# Why max(m, 0)? The error $(a-c)^2 + (b-c)^2$ is a parabola in $c$ with its lowest point at $m$. Where only $c \geq 0$ is allowed and $m$ is negative, it rises from 0 on, so 0 is best. For frames drawn from $N(0,1)$, a group of $r$ loses $1 - 1/r$ by being equal, and the ReLU adds half the variance of its mean, $1/(2r)$: the floor is $1 - 1/(2r)$, for pairs .75, and .5 without the ReLU.

# %%
decoder_floor = use("06.1")
curves = {
    name: (losses, float(decoder_floor(frames, 2, relu)))
    for (name, losses), relu in zip(learned.items(), (True, True, False), strict=True)
}
show_figure(
    floor_curves(curves, title="Sixteen clips by heart").figure,
    alt="Three loss curves against the step; all fall quickly and then run flat. Thin black lines "
    "are the floors. With the ReLU the floor is far above zero; the decoder as printed stays "
    "above it, with all ReLUs open at first it comes close. Without the ReLU floor and loss are "
    "near zero.",
)

# %% tags=["claim"]
gaps = [losses[-1] - floor for losses, floor in curves.values()]
assert min(gaps) > -1e-5  # nobody goes through
assert gaps[1] < 0.08 and gaps[1] < gaps[0] and gaps[2] < 0.01

# %% [markdown]
# None goes through the line that you computed without a single step of training, and the third lies on it. The first stays above it for a reason of its own: a ReLU that is shut for all clips gets no gradient, and never opens again. So of what is left of its loss, most is the floor, and the rest is training's fault. Now you can tell the two apart. Put numbers to the floor, for frames of pure noise and for the theatre:

# %% tags=["nbval-check-output"]
noise = torch.randn(4000, 10, 16, generator=torch.Generator().manual_seed(0))
for repeat in (1, 2, 5):
    both = [float(decoder_floor(noise, repeat, relu)) for relu in (True, False)]
    show(f"N(0, 1) frames, {repeat} times: with ReLU, without", both, digits=2)
everyone = features.inputs["vision"].float()
show("theatre, always zero:", (everyone**2).mean(), digits=2)
for relu in (True, False):
    show(f"theatre, pairs, relu={relu}:", float(decoder_floor(everyone, 2, relu)), digits=2)

# %% tags=["claim"]
for repeat in (1, 2, 5):
    for relu, wanted in ((True, 1 - 1 / (2 * repeat)), (False, 1 - 1 / repeat)):
        assert abs(float(decoder_floor(noise, repeat, relu)) - wanted) < 0.01

# %% [markdown]
# On noise the printed decoder keeps three quarters of the error for good; for $r$ repetitions it is $1 - 1/(2r)$, and $1 - 1/r$ without the ReLU. Faces move slowly, so in the theatre the pairs cost next to nothing and the ReLU nearly all. `out_activation=None` lifts it; the default stays with the paper (C-05). **A loss that stops falling is not always the training's fault: ask first what the model can say.**

# %% [markdown]
# ## A cloud without a shape
#
# Now to the game. It is best *seen*, so give the latent two numbers. And it is best played twenty times, so replace the encoder by a quick one: the mean and the deviation of each stream over time, and two layers. Decoder, classifier and discriminator stay as they are, but the discriminator comes in two kinds: the paper's, one linear layer (`straight`), and one with a hidden layer (`curved`).


# %%
class Clips(NamedTuple):
    """Clips in brief: vectors (N, 176), frames (N, 10, 16), labels (N,)."""

    vectors: torch.Tensor
    frames: torch.Tensor
    labels: torch.Tensor


def summaries(features):
    """Mean and deviation of each stream over its real steps, side by side, (N, 176)."""
    vectors = []
    for name in features.modalities:
        steps, real = features.inputs[name].float(), features.masks[name]
        mean = masked_mean(steps, real)
        vectors += [mean, (masked_mean((steps - mean[:, None]) ** 2, real) + 1e-5).sqrt()]
    return torch.cat(vectors, dim=-1)


is_train = torch.as_tensor(features.split != "test")
vectors = summaries(features)
known = vectors[is_train]
vectors = (vectors - known.mean(0)) / (known.std(0) + 1e-3)
train, test = (
    Clips(vectors[rows], everyone[rows], features.labels[rows]) for rows in (is_train, ~is_train)
)


def miniature(judge="curved", seed=0):
    """An MMAAE with a latent of two numbers and a quick encoder."""
    seed_everything(seed)
    model = build("mmaae", replace(config, latent_dim=2))
    model.encoder = nn.Sequential(nn.Linear(176, 32), nn.ReLU(), nn.Linear(32, 2))
    if judge == "curved":
        model.discriminator = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))
    return model


# %% [markdown]
# First without any game: the encoder, the decoder and the classifier reduce the reconstruction and the classification loss together. **Predict.** What will the cloud of latents look like, next to $N(0, I)$?


# %%
def adam(*parts, rate=1.0):
    """An optimiser for some parts of the model."""
    parameters = [parameter for part in parts for parameter in part.parameters()]
    return torch.optim.Adam(parameters, lr=3e-3 * rate, betas=(0.5, 0.99))


def batches(clips, rounds, seed):
    """Random batches of 128 clips, and as many draws of the prior."""
    draw = torch.Generator().manual_seed(seed)
    for _ in range(rounds):
        rows = torch.randint(len(clips.labels), (128,), generator=draw)
        yield Clips(*(part[rows] for part in clips)), torch.randn(128, 2, generator=draw)


def two_losses(model, latent, clips):
    """What decoder and classifier make of the latents: reconstruction and classification loss."""
    rebuilt = ((model.decoder(latent) - clips.frames) ** 2).mean()
    return rebuilt, F.cross_entropy(model.classifier(latent), clips.labels)


def descend(loss, optimizer):
    """One step of an optimiser down a loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def autoencode_only(model, clips, rounds=400, seed=0):
    """Train encoder, decoder and classifier; the discriminator watches and learns, and is not heard."""
    ours, theirs = adam(model.encoder, model.decoder, model.classifier), adam(model.discriminator)
    for part, prior in batches(clips, rounds, seed):
        descend(sum(two_losses(model, model.encoder(part.vectors), part)), ours)
        latent = model.encoder(part.vectors).detach()
        told = F.softplus(model.discriminator(latent)) + F.softplus(-model.discriminator(prior))
        descend(told.mean() / 2, theirs)
    return model


alone = [autoencode_only(miniature(seed=seed), train, seed=seed) for seed in SEEDS]


# %%
def latents(model):
    """The latents of the test clips."""
    with torch.no_grad():
        return model.encoder(test.vectors)


names = features.class_names
show_figure(
    latent_scatter(
        latents(alone[0]), test.labels, names, judge=alone[0].discriminator, title="Without a game"
    ).figure,
    alt="Latents of the test clips in the plane, three classes with a marker each, far more "
    "widely spread than the three dashed rings of the prior. The background is light about the "
    "rings, where the discriminator expects the prior, and dark elsewhere.",
)

# %% [markdown]
# The dashed rings hold a third, two thirds and nine tenths of $N(0, I)$. The cloud could not care less. Nothing in the two losses says where latents should lie or how far apart, so they lie anywhere. The grey map is what a discriminator sees that has watched all along: light where it expects the prior, dark where it expects a latent, ½ on the red line.
#
# If you want to *draw* from the model, a random latent in, a face out (the paper: "the model can generate samples in adversarial learning"), the cloud has to have a shape that you can draw from. One can punish its mean and its covariance, as a variational autoencoder does, more or less. Or one can let somebody learn to tell the two apart, and train the encoder until they cannot.

# %% [markdown]
# ## Two losses of one game
#
# Each batch takes three steps:

# %%
show_figure(
    who_moves(),
    alt="Three panels. Step 1, autoencode: encoder, decoder and classifier move. Step 2, "
    "discriminate: the encoder holds still, the path is cut by detach, the discriminator moves, "
    "with label 0 for latents and 1 for the prior. Step 3, generate: the encoder moves, the "
    "discriminator holds still, and latents have the inverted label 1.",
)

# %% [markdown]
# With $v$ the logit and $\sigma(v)$ the probability of *this is the prior*, step 2 reduces $L_D$, and step 3 reduces $L_G$ (a bar is a mean over the batch):
#
# $$L_D = \tfrac12\Big[\underbrace{-\overline{\log \sigma(v(z))}}_{\text{draws } z \text{ of the prior are 1}} \underbrace{-\ \overline{\log(1 - \sigma(v(h)))}}_{\text{latents } h \text{ are 0}}\Big] \qquad L_G = -\overline{\log \sigma(v(h))}$$
#
# The second says: *take my latents for the prior*. That is the inverted label, and it is the whole trick.

# %% [markdown] tags=["exercise"]
# ### Exercise 06.2: two losses of one game
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# Write `game_losses(discriminator, latent, prior)`. `discriminator` maps `(B, Z)` to logits `(B, 1)`; `latent` and `prior` are `(B, Z)`, perhaps of different `B`. Return two scalars:
#
# 1. the discriminator's loss: prior 1, latents 0; the mean over each, and half of their sum. **No gradient may reach the latents.**
# 2. the encoder's loss: the latents with label 1. Here the gradient must reach them.
#
# Logits may be large: ±300 must not give infinity, and not stop at 100 either.


# %% tags=["exercise"]
def game_losses(discriminator, latent, prior):
    """The loss of telling latents from the prior, and that of being taken for it."""
    ### BEGIN SOLUTION
    encoded, drawn = discriminator(latent.detach()), discriminator(prior)
    judged = (
        F.binary_cross_entropy_with_logits(drawn, torch.ones_like(drawn))
        + F.binary_cross_entropy_with_logits(encoded, torch.zeros_like(encoded))
    ) / 2
    hoped = discriminator(latent)
    fooled = F.binary_cross_entropy_with_logits(hoped, torch.ones_like(hoped))
    return judged, fooled
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("06.2", game_losses)

# %% [markdown] tags=["hint-1"]
# In the discriminator's loss the latents are data and nothing else: `latent.detach()`. The two halves have means of their own, since there may be more of one than of the other.

# %% [markdown] tags=["hint-2"]
# The encoder's loss uses the latents as they come, undetached, and label **1**. It is not minus the discriminator's loss: that one is flat just where the encoder is caught.

# %% [markdown] tags=["hint-3"]
# `F.binary_cross_entropy_with_logits(v, torch.ones_like(v))` takes logits and stays finite; `F.softplus(-v)` is the same thing. With `torch.sigmoid` and `torch.log` one after the other, a logit of −300 is log 0.

# %% [markdown] tags=["solution-note"]
# $-\log\sigma(v) = \text{softplus}(-v)$ and $-\log(1-\sigma(v)) = \text{softplus}(v)$, which is how the library writes it (C-11, C-12). Goodfellow et al. (2014) already replaced $-L_D$ by $L_G$ for the second player: both pull $v$ upwards, but $-L_D$ with the slope $\sigma(v)$, which dies where the encoder is caught, and $L_G$ with $1 - \sigma(v)$, which is largest there.

# %%
game_losses = use("06.2")

# %% [markdown]
# **Where does it end?** Let both play as well as they can. If latents and prior are the same distribution, the best that the discriminator can say is ½, always, and both losses are $\log 2 \approx .693$. So in this game **a loss that does not fall is no failure**, and a loss near zero is none either, nor a success: it is the other one's trouble.
#
# The next cell is broken on purpose, in a way that this very number hides. It is a hand-me-down: somebody put a sigmoid into the discriminator, as the paper's figure has it, and kept the loss *with logits*. Here are latents that are better and better recognised, from a fair coin to certainty.
#
# **Predict, then run.** Which column looks like a healthy game?

# %% tags=["nbval-check-output"]
doubled = nn.Sequential(nn.Identity(), nn.Sigmoid())
for logit in (0.0, -2.0, -6.0, -12.0):
    caught = torch.full((1, 1), logit, requires_grad=True)
    row = []
    for judge in (nn.Identity(), doubled):
        loss = game_losses(judge, caught, torch.zeros(1, 1))[1]
        (slope,) = torch.autograd.grad(loss, caught)
        row += [loss.item(), slope.item()]
    show("logit", int(logit), " right:", row[:2], " sigmoid twice:", row[2:], digits=2)

# %% [markdown]
# The broken one. Its loss climbs to .693, *exactly where equilibrium should be*, when the encoder is caught for certain, and there its slope is nothing, so the encoder never learns better. The right loss climbs to 12, and its slope to −1. Mended by leaving the sigmoid out: **models return logits**, and here you see what the rule is for.

# %% tags=["claim"]
assert row[0] > 11.9 and row[1] < -0.99 and abs(row[2] - np.log(2)) < 1e-3 and abs(row[3]) < 1e-4

# %% [markdown]
# ## One round, in the right order
#
# Two losses are no game yet. Somebody has to say who moves when.

# %% [markdown] tags=["exercise"]
# ### Exercise 06.3: one round, in the right order
# Difficulty ★★★ · Importance ★★★ · 12 minutes
#
# Write `play_round(...)`, steps 2 and 3 of a batch. First the discriminator takes one step, with the encoder standing still; then the encoder takes one step **against the discriminator that has just learned**, which stands still. Each has its own optimiser. Old gradients may lie around in both networks. Return the two losses that were reduced, as two Python floats, the discriminator's first. `game_losses` is yours to use.


# %% tags=["exercise"]
def play_round(encoder, discriminator, encoder_optimizer, discriminator_optimizer, clips, prior):
    """One step of the discriminator, then one of the encoder against it; both losses."""
    ### BEGIN SOLUTION
    judged, _ = game_losses(discriminator, encoder(clips), prior)
    discriminator_optimizer.zero_grad()
    judged.backward()
    discriminator_optimizer.step()

    _, fooled = game_losses(discriminator, encoder(clips), prior)
    encoder_optimizer.zero_grad()
    fooled.backward()
    encoder_optimizer.step()
    return judged.item(), fooled.item()
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("06.3", play_round)

# %% [markdown] tags=["hint-1"]
# An optimiser only moves the parameters it was given. So *who holds still* is decided by which `step()` you call, not by `requires_grad`. If you do switch that off, switch it on again.

# %% [markdown] tags=["hint-2"]
# The encoder's loss leaves a gradient in the discriminator as well. Do not step on it, and clear it before the discriminator's next step: `zero_grad()` stands *between* the old gradient and `backward()`.

# %% [markdown] tags=["hint-3"]
# Twice the same four lines: loss, `zero_grad`, `backward`, `step`. Compute the losses anew for the second half: those of the first are of a discriminator that is no more.

# %% [markdown] tags=["solution-note"]
# The second forward pass through the encoder is not necessary, since it has not moved; one through the discriminator is. Separate optimisers and `detach` do what toggling `trainable` does in the public code, where it is set after the model is compiled and its effect is not promised (C-10). The library holds the other parts still by phases, `mmlib.losses.Phase`, and puts back buffers too.

# %%
play_round = use("06.3")


# %%
def learn(
    model, clips, *, reconstruction=1.0, classification=1.0, adversarial=1.0, rounds=400, seed=0
):
    """Train by the three steps, and return the losses of each round."""
    ours = adam(model.encoder, model.decoder, model.classifier)
    game = adam(model.encoder, rate=adversarial), adam(model.discriminator)
    history = []
    for part, prior in batches(clips, rounds, seed):
        rebuilt, classified = two_losses(model, model.encoder(part.vectors), part)
        descend(reconstruction * rebuilt + classification * classified, ours)
        told = play_round(model.encoder, model.discriminator, *game, part.vectors, prior)
        history.append((rebuilt.item(), classified.item(), *told))
    return history


played = [miniature(seed=seed) for seed in SEEDS]
histories = [learn(each, train, seed=seed) for seed, each in zip(SEEDS, played, strict=True)]

# %% [markdown]
# **Predict.** What do the four losses do? What does the cloud?

# %%
figure = new_figure(9.6, 4.0)
left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
smooth = np.stack([np.convolve(x, np.ones(20) / 20, "valid") for x in np.array(histories[0]).T])
losses = ("reconstruction", "classification", "discriminator", "encoder")
for values, name, look in zip(smooth, losses, OTHERS, strict=True):
    left.plot(values, color=look.color, ls=look.linestyle, lw=1.8, label=name)
left.axhline(np.log(2), color="black", lw=0.8, ls="-")
left.set(xlabel="round", ylabel="loss, mean of 20 rounds", title="Four losses", ylim=(0, None))
left.text(len(smooth[0]), np.log(2) + 0.02, "log 2", ha="right", va="bottom")
left.legend(fontsize=9, ncols=2, loc="upper right")
latent_scatter(
    latents(played[0]), test.labels, names, judge=played[0].discriminator, title="With the game",
    ax=right,
)  # fmt: skip
show_figure(
    figure,
    alt="Left: the reconstruction loss falls at once, the classification loss slowly, the two losses "
    "of the game settle about log 2. Right: the latents now fill the three rings of the prior, the "
    "classes still lie in different parts, and the discriminator's map is nearly one grey.",
)

# %% [markdown]
# The cloud has taken the shape of the rings, and the classes still have their places in it. The two losses of the game wander about $\log 2$ and tell you nothing of the success. To see *that*, measure the cloud: its mean, its spread along its narrow and its wide axis, and a distance between the two distributions as a whole. The **energy distance** compares how far latents are from draws with how far latents are from each other, and draws from each other,
#
# $$E = 2\,\overline{|h - z|} - \overline{|h - h'|} - \overline{|z - z'|},$$
#
# and is 0 only if both are the same distribution.


# %%
def measure(model):
    """Mean, spreads, energy distance of the test latents; what discriminator and classifier get right."""
    cloud, draw = latents(model), torch.Generator().manual_seed(0)
    prior, others = (torch.randn(2000, 2, generator=draw) for _ in range(2))
    count = len(cloud)
    own = torch.cdist(cloud, cloud).sum() / (count * (count - 1))
    distance = 2 * torch.cdist(cloud, prior).mean() - own - torch.cdist(prior, others).mean()
    with torch.no_grad():
        right = (model.discriminator(prior) > 0).float().mean()
        right = (right + (model.discriminator(cloud) < 0).float().mean()) / 2
        accuracy = (model.classifier(cloud).argmax(1) == test.labels).float().mean()
    spread = torch.linalg.eigvalsh(torch.cov(cloud.T)).clamp(min=0).sqrt().tolist()
    return [cloud.mean(0).norm().item(), *spread, distance.item(), right.item(), accuracy.item()]


def table(models_by_name):
    """Print the measures of each model: a column a name, the mean of the seeds and their range."""
    print(" " * 13 + "".join(f"{name:>21}" for name in models_by_name))
    values = [[measure(model) for model in models] for models in models_by_name.values()]
    words = ("mean", "narrow", "wide", "energy dist.", "discr. right", "classes right")
    for head, found in zip(words, np.transpose(values, (2, 0, 1)), strict=True):  # (names, seeds)
        cells = (f"{each.mean():.2f} ({each.min():.2f}-{each.max():.2f})" for each in found)
        print(f"{head:<13}" + "".join(f"{cell:>21}" for cell in cells))


table({"without a game": alone, "three steps": played})

# %% tags=["claim"]
far, near = (np.array([measure(each)[3] for each in models]) for models in (alone, played))
assert near.max() < 0.25 and far.min() > 3 * near.max()

# %% [markdown]
# (An estimate of a distance near zero may fall a little below it. $N(0, I)$ itself would read 0, 1, 1, 0, and .5 for a discriminator that can only guess; in brackets the three seeds' lowest and highest.)

# %% [markdown]
# ## What a straight line can see
#
# This discriminator had a hidden layer. The paper's has none: $V = \sigma(\text{Dense}(h))$, a straight line through the plane. **Predict.** Same game, same three steps, with a straight judge. Which of the measures above will be good, and which not?

# %%
straight = [miniature("straight", seed=seed) for seed in SEEDS]
for seed, each in zip(SEEDS, straight, strict=True):
    learn(each, train, seed=seed)
table({"curved discriminator": played, "straight, as printed": straight})
figure = new_figure(9.6, 4.4)
for ax, (title, each) in zip(
    figure.subplots(1, 2), {"curved": played[0], "straight, as printed": straight[0]}.items(),
    strict=True,
):  # fmt: skip
    latent_scatter(latents(each), test.labels, names, judge=each.discriminator, title=title, ax=ax)
show_figure(
    figure,
    alt="Two clouds over the rings of the prior. Curved: the cloud fills the rings. Straight: the "
    "cloud lies around the centre but is several times as wide as the rings; the discriminator's "
    "map changes along one direction only.",
)

# %% tags=["claim"]
wide = np.array([measure(each)[2] for each in straight])
guess = np.array([measure(each)[4] for each in straight])
assert wide.min() > 1.5 and guess.max() < 0.65

# %% [markdown]
# The straight discriminator is right about half of the time: a perfect equilibrium, going by the losses. And the cloud is several times too wide. A line cannot say *too far out in every direction*. One can prove how little it sees: at weights 0 and bias 0, where it always says ½, the gradient of its loss is
#
# $$\nabla_w L_D = \tfrac14\,(\overline{h} - \overline{z}),$$
#
# a quarter of the difference of the two **means**, and the loss is convex in the weights. So if the means agree, saying ½ is the best that it can do, whatever the rest of the clouds looks like. **The printed game can pull the mean to zero and nothing else.** A test, with clouds that nobody could mistake:

# %% tags=["nbval-check-output"]
draw = torch.Generator().manual_seed(1)
prior = torch.randn(5000, 2, generator=draw)
for scale in (0.01, 1.0, 9.0):
    cloud = scale * torch.randn(5000, 2, generator=draw)
    cloud = cloud - cloud.mean(0) + prior.mean(0)  # means that agree exactly
    line = nn.Linear(2, 1)
    nn.init.zeros_(line.weight)
    nn.init.zeros_(line.bias)
    loss = game_losses(line, cloud, prior)[0]
    slopes = torch.autograd.grad(loss, line.parameters())
    flat = all(slope.abs().max().item() < 1e-5 for slope in slopes)
    show("cloud of spread", scale, "loss", loss, "nothing left to learn:", flat)

# %% [markdown]
# ## The encoder that helps
#
# So far we followed the ledger, not the letter. Algorithm 1 prints no third step. Its lines 8 to 14 compute three losses of one latent, $L_{rec}$, $L_{adv}$, $L_{cla}$, and line 15 says: *update the model with their respective losses*. Taken literally, one update of everything, the encoder **reduces the discriminator's loss as well** (C-08). Is that so bad? Both losses are functions of the logit $v$ of a latent. Ask for their slopes:

# %% tags=["nbval-check-output"]
for logit in (-3.0, 0.0, 3.0):
    v = torch.tensor(logit, requires_grad=True)
    (literal,) = torch.autograd.grad(F.softplus(v), v)  # the latent has label 0
    (inverted,) = torch.autograd.grad(F.softplus(-v), v)  # the latent has label 1
    show("logit", int(logit), " slope of the literal loss", literal, " of the encoder's", inverted)

# %% [markdown]
# One is $\sigma(v) > 0$, the other $\sigma(v) - 1 < 0$: **opposite directions, for every latent, always**. The chain rule carries both through the same discriminator and the same encoder. An encoder that descends the literal loss lowers $v$: it makes its latents *easier* to tell from the prior. There is no game; the two work hand in hand.
#
# And the public code? It goes round in a cycle of three batches: one for the reconstruction, one for the discriminator (on latents that come out of `predict`, so no gradient reaches the encoder), one for the classification. A model for the third step is compiled, and never trained. So the encoder neither helps nor fools; nobody plays against the discriminator. The library has all three as `schedule="aae"` (the default), `"joint"` and `"alternate"`. Here they are in small:


# %%
def told_apart(discriminator, latent, prior):
    """The discriminator's loss, with latents that are not detached."""
    encoded, drawn = discriminator(latent), discriminator(prior)
    return (F.softplus(encoded).mean() + F.softplus(-drawn).mean()) / 2


def learn_jointly(model, clips, rounds=400, seed=0):
    """The literal Algorithm 1: one update of everything by the sum of three losses."""
    everything = adam(model)
    for part, prior in batches(clips, rounds, seed):
        latent = model.encoder(part.vectors)
        adversarial = told_apart(model.discriminator, latent, prior)
        descend(sum(two_losses(model, latent, part)) + adversarial, everything)
    return model


def learn_in_turns(model, clips, rounds=1200, seed=0):
    """The public code's cycle; a batch serves one loss, so it gets three times as many."""
    optimizers = (
        adam(model.encoder, model.decoder),
        adam(model.discriminator),
        adam(model.encoder, model.classifier),
    )
    for number, (part, prior) in enumerate(batches(clips, rounds, seed)):
        latent = model.encoder(part.vectors)
        rebuilt, classified = two_losses(model, latent, part)
        judged = told_apart(model.discriminator, latent.detach(), prior)
        descend((rebuilt, judged, classified)[number % 3], optimizers[number % 3])
    return model


# %% [markdown]
# **Predict, then run.** Two of the three clouds will not look like the prior. Which one runs away from it?

# %%
joint = [learn_jointly(miniature(seed=seed), train, seed=seed) for seed in SEEDS]
turns = [learn_in_turns(miniature(seed=seed), train, seed=seed) for seed in SEEDS]
schedules = {"aae": played, "joint": joint, "alternate": turns}
figure = new_figure(11.4, 4.0)
for ax, (title, models) in zip(figure.subplots(1, 3), schedules.items(), strict=True):
    each = models[0]
    latent_scatter(
        latents(each), test.labels, names, judge=each.discriminator, title=title,
        legend=title == "aae", ax=ax,
    )  # fmt: skip
show_figure(
    figure,
    alt="Three clouds. aae: the latents fill the rings of the prior. joint: the latents lie far "
    "away from the rings, on the dark side of a sharp line. alternate: the latents overlap the "
    "rings but are several times as wide.",
)
table({"no game": alone} | schedules)

# %% tags=["claim"]
apart = {name: np.array([measure(each) for each in models]) for name, models in schedules.items()}
assert apart["joint"][:, 0].min() > 4 and apart["joint"][:, 4].min() > 0.9
assert apart["joint"][:, 3].min() > 2 * apart["alternate"][:, 3].max()
assert apart["alternate"][:, 3].min() > 2 * apart["aae"][:, 3].max()

# %% [markdown]
# The literal update is **worse for the latent than no game at all**: the encoder carries its latents away from the prior, and so helps a discriminator that is right nearly always. The cycle leaves the cloud about where no game leaves it.
#
# Look at the last line as well, and at its brackets: which schedule classifies best, this table cannot say.
#
# The labels, on the other hand, do *not* matter. The public code calls latents 1 and the prior 0, the other way round than most (C-07). Turn both round and turn the discriminator's last sign, and every loss is the same number:

# %% tags=["nbval-check-output"]
some = torch.randn(7, 2, generator=draw) + 1
judge = miniature(seed=3).discriminator
flipped = lambda x: -judge(x)
usual = told_apart(judge, some, prior[:7])
other = (F.softplus(-flipped(some)).mean() + F.softplus(flipped(prior[:7])).mean()) / 2
show("the same loss with both labels turned round:", bool(torch.allclose(usual, other)))

# %% [markdown]
# Turning round *one* label is what makes a game, or breaks it. Such slips do not show in shapes, and hardly in losses. They show in **what moved**.

# %% [markdown] tags=["exercise"]
# ### Exercise 06.4: a referee
# Difficulty ★★★ · Importance ★★☆ · 12 minutes
#
# Write `referee(discriminate, generate, encoder, discriminator, clips)`. The first two are functions without arguments: each takes one training step, whatever it does inside. Call `discriminate()` once, then `generate()` once, and return the **set** of the rules that were broken, in these words:
#
# - `"step 2 moves the encoder"`: after `discriminate()` anything in the encoder's state has changed, weights *or buffers*;
# - `"step 3 moves the discriminator"`: the same for `generate()` and the discriminator;
# - `"step 3 helps the discriminator"`: the discriminator, **as it stood before step 3**, gives the clips a *lower* mean logit after the step.
#
# `encoder(clips)` gives latents, `discriminator(latents)` logits; higher means *more like the prior*. A fair game returns an empty set.


# %% tags=["exercise"]
def referee(discriminate, generate, encoder, discriminator, clips):
    """Take both steps and name the rules that they broke."""

    ### BEGIN SOLUTION
    def state(module):
        return {name: value.clone() for name, value in module.state_dict().items()}

    def moved(module, before):
        return any(not torch.equal(v, before[name]) for name, v in module.state_dict().items())

    broken = set()
    before = state(encoder)
    discriminate()
    if moved(encoder, before):
        broken.add("step 2 moves the encoder")

    judge, before = copy.deepcopy(discriminator), state(discriminator)
    with torch.no_grad():
        earlier = judge(encoder(clips)).mean()
    generate()
    if moved(discriminator, before):
        broken.add("step 3 moves the discriminator")
    with torch.no_grad():
        if judge(encoder(clips)).mean() < earlier:
            broken.add("step 3 helps the discriminator")
    return broken
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("06.4", referee)

# %% [markdown] tags=["hint-1"]
# Take a photograph, let the step happen, compare. `state_dict()` holds weights and buffers; its tensors are the living ones, so a photograph needs `.clone()`.

# %% [markdown] tags=["hint-2"]
# Compare tensor by tensor with `torch.equal`. A sum over all weights can hide two changes that cancel. And take the second photograph *after* step 2, in which the discriminator may well move.

# %% [markdown] tags=["hint-3"]
# For the third rule a copy of the discriminator, `copy.deepcopy(discriminator)`, made between the two steps, judges the clips before and after `generate()`. With the living one a discriminator that moved would blur the picture.

# %% [markdown] tags=["solution-note"]
# This is how the library's own tests look at `phases()`. It also finds what no gradient shows: batch norm moves its running statistics in every forward pass in training mode, so a discriminator with batch norm would change in step 3 without a single optimiser step.

# %%
referee = use("06.4")


# %% [markdown]
# A referee takes both steps, and says what moved that should have held still, and whether step 3 helped the discriminator. Let it judge three ways to take step 3, each with a label for the latents and an optimiser that holds the encoder alone or both networks. **Predict** its verdicts.


# %% tags=["nbval-check-output"]
def verdict(everything_moves, label):
    """What the referee says of a step 3 that moves one or both networks, with this label."""
    model = miniature(seed=1)
    who = [model] if everything_moves else [model.encoder]
    judge, generator = adam(model.discriminator), adam(*who, rate=0.1)
    draws = torch.randn(64, 2, generator=torch.Generator().manual_seed(5))

    def discriminate():
        descend(
            game_losses(model.discriminator, model.encoder(train.vectors[:64]), draws)[0], judge
        )

    def generate():
        v = model.discriminator(model.encoder(train.vectors[:64]))
        loss = F.binary_cross_entropy_with_logits(v, torch.full_like(v, label))
        descend(loss, generator)

    found = referee(discriminate, generate, model.encoder, model.discriminator, train.vectors[:64])
    return sorted(found) or "fair"


show("label 1, the encoder's optimiser:", verdict(False, 1.0))
show("label 1, one optimiser for all:  ", verdict(True, 1.0))
show("label 0, one optimiser for all:  ", verdict(True, 0.0))

# %% [markdown]
# The last one is what the literal Algorithm 1 does. The middle one is worth a thought: with one optimiser for all, the discriminator learns *to be fooled*.

# %% [markdown]
# ## Three weights, one cloud
#
# Each loss pulls the same cloud. What does each of them do to it, and what happens without? Move the sliders; every picture is a training of 150 rounds from the same start. (`adversarial` is a factor on the step of the encoder in the game. With Adam a factor on the *loss* would change nothing, since Adam divides by the size of the gradient.)


# %%
def draw_game(reconstruction=1.0, classification=1.0, adversarial=1.0):
    """Train a miniature with these weights and draw its latents."""
    model = miniature(seed=0)
    weights = {"reconstruction": reconstruction, "classification": classification}
    learn(model, train, **weights, adversarial=adversarial, rounds=150)
    mean, narrow, widest, distance, _, accuracy = measure(model)
    title = f"energy distance {distance:.2f}, classes right {accuracy:.2f}"
    figure = latent_scatter(
        latents(model), test.labels, names, judge=model.discriminator, title=title
    ).figure
    alt = (
        f"Latents after 150 rounds with weights {reconstruction:g} for reconstruction, "
        f"{classification:g} for classification, {adversarial:g} for the game: mean {mean:.1f} "
        f"from the centre, spread {narrow:.1f} by {widest:.1f}, {title}."
    )
    return figure, alt


explore(
    draw_game,
    reconstruction=(0.0, 2.0, 0.5),
    classification=(0.0, 2.0, 0.5),
    adversarial=(0.0, 2.0, 0.5),
)

# %% [markdown]
# Four settings for a page that cannot move: all three, without the game, without the classification, and the game alone.

# %%
settings = [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 0, 1)]
controls = ("reconstruction", "classification", "adversarial")
snapshot(draw_game, [dict(zip(controls, map(float, each), strict=True)) for each in settings])

# %% [markdown]
# Without the classification the cloud may fit just as well, and the classes are lost in it; a match with the prior is no merit in itself.

# %% [markdown] tags=["guided"]
# ## Does it help?
#
# The paper trains for *emotion*. So the question to put to the game is not whether its cloud is pretty. Here is the real MMAAE, with its convolutions, its LSTMs (recurrent layers, cousins of lesson 03's GRU) and its straight discriminator, trained by the library: 64 numbers in the latent, three seeds, and three lengths of the encoder's step in the game. At 0 there is none; .1 is the setting of the library's small scale; 1 makes it as long as all the others. (Its voice is averaged into 16 ticks, to save your time.)

# %% tags=["guided"]
short = in_ticks(features, "audio", 16)
learning, judging = short.subset(short.split != "test"), short.subset("test")


def full_model(weight, seed):
    """An MMAAE trained by the library, and its history."""
    seed_everything(seed)
    settings = replace(CAMMAAETConfig.for_dataset(learning), adversarial_weight=weight)
    model = build("mmaae", settings)
    history = fit(
        model, learning, epochs=6, batch_size=64, learning_rate=3e-3, seed=seed, progress=False
    )
    return model, history


runs = {weight: [full_model(weight, seed) for seed in SEEDS] for weight in (0.0, 0.1, 1.0)}
majority = float((judging.labels == learning.labels.mode().values).float().mean())
scores = {
    f"game × {weight:g}": [evaluate(model, judging)["accuracy"] for model, _ in trained]
    for weight, trained in runs.items()
}
for (name, values), trained in zip(scores.items(), runs.values(), strict=True):
    batch = judging.batch(range(len(judging)))
    with torch.no_grad():
        clouds = [m.eval()(**batch.inputs, masks=batch.masks).latent for m, _ in trained]
    drift = " ".join(f"{cloud.mean(0).norm():6.2f}" for cloud in clouds)
    print(f"{name:12} accuracy", *(f"{v:.3f}" for v in values), "  mean of the latents", drift)
show_figure(
    bars_with_seeds(
        scores,
        chance=majority,
        ceilings=theatre.ceilings("ca_mmaaet")["text+audio+vision"],
        title="MMAAE, accuracy on new actors",
    ).figure,
    alt="Three bars with a mark for each of three seeds, the ceiling and the majority class as "
    "lines. Without the game and with a small one the bars are nearly equal; with the full one it "
    "is not higher.",
)

# %% [markdown] tags=["guided"]
# Compare the small game with none, on the same clips, drawn by actor, as in lesson 05:

# %% tags=["guided"]
told = {
    w: [predict(model, judging).argmax(1) for model, _ in trained] for w, trained in runs.items()
}
for seed in SEEDS:
    gain = compare(
        lambda prediction, target: float((prediction == target).float().mean()),
        told[0.1][seed], told[0.0][seed], judging.labels, groups=judging.group,
    )  # fmt: skip
    interval = f"[{gain.low:+.3f}, {gain.high:+.3f}]"
    print(f"seed {seed}: game × 0.1 minus none {gain.difference:+.3f}  {interval}")

# %% tags=["guided", "claim"]
assert np.mean(scores["game × 0.1"]) < np.mean(scores["game × 0"]) + 0.03
assert np.mean(scores["game × 1"]) < np.mean(scores["game × 0"]) - 0.02

# %% [markdown] tags=["guided"]
# Not here. (The line called *chance* is what you get by always saying *negative*.) The small game changes next to nothing: not the accuracy, and in so few epochs hardly the mean of the latents. The full game, with weights 1, 1, 1, costs accuracy, and something else happens. Look at the means in its row. The game was meant to pull them to zero, and they are many times farther off than without it. **Predict**: what do its losses look like? Who is winning?

# %% tags=["guided"]
_, history = runs[1.0][0]
show_figure(
    training_curves(history, column="loss_*", title="Game × 1, seed 0").figure,
    alt="Four losses over six epochs of the run with the full game. At the end the encoder's loss "
    "is far below log 2 and the discriminator's above it.",
)

# %% tags=["guided", "claim"]
assert np.mean([float(x) for x in drift.split()]) > 5  # the last row: game × 1
last = [trained.iloc[-1] for _, trained in runs[1.0]]
assert np.mean([row["loss_generator"] for row in last]) < 0.6
assert np.mean([row["loss_discriminator"] for row in last]) > 0.75

# %% [markdown] tags=["guided"]
# The encoder. Its loss (in the legend, as in the library, the *generator's*) is small, so its latents are taken for the prior with confidence, and the discriminator's is above $\log 2$: worse than a coin. *Fooled* and *alike* are not the same. A straight line pushes all latents to the side that it calls the prior's, and the encoder runs on along that side, far past the prior itself, faster than the line can turn. That is why the library's small scale makes the encoder's steps in the game a tenth of the others.
#
# Three seeds, six epochs and one play are no proof that an adversarial term *never* helps. They are a reason to print the row without it. The paper has no such row: each of its four models plays the game, so its tables cannot say what the game is worth. Nor do they have seeds (C-22).

# %% [markdown]
# ## From the paper
#
# Section IV and Algorithm 1 of CA-MMAAET, beside what you have written:
#
# | Algorithm 1 | in your code | what had to be settled |
# |---|---|---|
# | 8: $h \leftarrow encoder(v, a, t)$ | `model.encoder(...)` | |
# | 10: $L_{rec} = \frac1N \sum \|R_i - \hat R_i\|^2$ | `((decoder(latent) - frames) ** 2).mean()` | $R$ and $\hat R$ are both called outputs; the target is the face (C-03, C-04) |
# | 11: $V \leftarrow discriminator(h)$ | `discriminator(latent)` | logits, not probabilities (C-12) |
# | 12: $L_{adv} = -\frac1N \sum V \log \hat V + (1 - V) \log(1 - \hat V)$ | `game_losses` | the bracket behind the sum (C-11), the prior, and who has which label (C-07) |
# | 14: $L_{cla}$ | `F.cross_entropy` | |
# | 15: *update the model with their respective losses* | `play_round`, `descend` | who moves when (C-08, C-10) |
#
# None of these gaps is unusual. What makes them costly is that each of the readings runs, its losses look reasonable, and its accuracy is about the same. The latent was the only witness.
#
# ## Take-aways
#
# - **Ask what a model can say before you ask why it does not learn.** Equal pairs and a ReLU have a floor in closed form.
# - An adversarial game is two losses and an order: the discriminator on detached latents, then the encoder, with the label inverted, against the discriminator that has just learned. An optimiser each.
# - Equilibrium is log 2, and a sigmoid too many looks just like it. Losses do not say how a game goes: **measure the cloud.**
# - A discriminator of one layer sees the mean and nothing else.
# - One literal update makes the encoder help. The schedule is part of the method: write it down.
# - Print the row *without* your favourite term.
#
# ## Where to go next
#
# Open this lesson's [exercises](../exercises/06_adversarial_autoencoder.ipynb). [Lesson 07](07_ca_mmaaet.ipynb) gives the encoder its transformer block and its cross-attention, runs the four-way ablation, and audits the paper's Table I with integers.
#
# ## References
#
# - CA-MMAAET: section IV, Figure 2, Algorithm 1 (ledger C-03 to C-13, C-22).
# - I. Goodfellow et al., *Generative adversarial nets*, 2014: Eq. 1, Proposition 1 and Theorem 1 (the best discriminator, and log 2), and the inverted label.
# - A. Makhzani et al., *Adversarial autoencoders*, 2015: a latent that is matched to a prior by a game.
# - G. Székely and M. Rizzo, *Energy statistics*, 2013: the energy distance.

# %% [markdown] tags=["instructor"]
# For the instructor: the routes, questions and common wrong answers of this lesson are in [docs/instructors/06.md](../docs/instructors/06.md).
