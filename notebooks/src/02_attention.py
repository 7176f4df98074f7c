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
# # 02 Attention
#
# **After this lesson you can**
#
# 1. write attention from nothing but a matrix product and an exponential, and say what each line is for;
# 2. say why scores are divided by $\sqrt{d}$, and show what goes wrong without it;
# 3. split features over heads, mask what is padding, and survive a row in which everything is masked.
#
# **Before you start:** lesson 01 (shapes and padding masks). **Time:** about 75 minutes, 40 of them exercises.

# %%
import matplotlib.pyplot as plt
import torch
from einops import rearrange

from mmlib.checks import check, show, use
from mmlib.data import theatre
from mmlib.layers import MultiHeadAttention, scaled_dot_product_attention
from mmlib.plots import apply_style, attention_map, show_figure
from mmlib.widgets import explore, snapshot

apply_style()

# %% [markdown]
# ## One clip, twelve frames, three that count
#
# Lesson 00 averaged everything, and could not know *where* to look. So back to the theatre, whose clips are all synthetic, and
# to a play in which that is all that counts: the face shows four expressions one after the other, each under another light, and
# the words tell you which light to believe.

# %%
clips = theatre.make("spotlight", n=600, seed=0)
clip = clips[0]
LIGHTS = theatre.LIGHTS
lights = [LIGHTS[i] for i in clip.lights[0].tolist()]
named = LIGHTS[int(clip.light[0])]
pictures = clip.draw(size=72)[0].permute(0, 2, 3, 1).numpy()

figure, axes = plt.subplots(1, 12, figsize=(9.5, 1.35), layout="constrained")
for number, ax in enumerate(axes):
    ax.imshow(pictures[number])
    ax.set(xticks=[], yticks=[], xlabel=lights[number])
    ax.set_title(number, loc="center", size=9)
figure.suptitle(f"“{clip.sentences[0]}”", fontstyle="italic", size=11)
show_figure(
    figure,
    alt="Twelve frames of one face; every three frames the light and the expression change. "
    f"The lights are, in order, {', '.join(lights[::3])}; the sentence names {named}.",
)

# %% [markdown]
# **Predict, then run.** Which frames would you look at, and what does this person feel? (The rest of the sentence is drawn at
# random. The light is not.)

# %% tags=["nbval-check-output"]
counts = [number for number, light in enumerate(lights) if light == named]
show(f"the words name {named}: look at frames {counts}")
show(f"the person feels {clip.class_names[int(clip.labels[0])]}")

# %% [markdown]
# You did three things: you took a **query** out of the words, you compared it with something on every frame (its **key**), and
# you took home what those frames show (their **value**). Attention is these three steps with numbers. Averaging all twelve
# frames would have mixed four expressions into one that nobody ever made.

# %% [markdown]
# ## Asking by dot product
#
# A detector describes the light of each frame by four numbers, one for each colour, and it hesitates a little: these are our keys.
# The query is the light that the words name. Two vectors that point the same way have a large **dot product**, so that is how
# we ask.

# %%
features = clips.features().inputs["vision"]  # (clips, frames, 16 face units + 4 lights)
units, seen_lights = features[..., :16], features[..., 16:]
hesitation = torch.randn(seen_lights.shape, generator=torch.Generator().manual_seed(2))
keys = seen_lights + 0.25 * hesitation  # (600, 12, 4)
queries = torch.eye(4)  # one query a light: red, blue, green, yellow

scores = queries @ keys[0].T  # (4, 12): every query with every key
figure, ax = plt.subplots(figsize=(8, 2.4), layout="constrained")
row = scores[clip.light[0]]
colors = ["#3D3D3D" if number in counts else "white" for number in range(12)]
ax.bar(range(12), row, color=colors, edgecolor="#3D3D3D")
ax.axhline(0, color="black", lw=0.8, ls="-")
ax.set(xticks=range(12), xlabel="frame", ylabel="score", title=f"query · key, query “{named}”")
show_figure(
    figure,
    alt=f"Bars of the twelve scores of the query {named}: frames {counts}, drawn dark, stand out around one; "
    "the others scatter around zero, some below.",
)

# %% [markdown]
# Scores say *who fits better*. They are not shares yet: some are negative, and they add up to nothing in particular.

# %% [markdown]
# ## From scores to shares: softmax and its temperature
#
# The softmax makes shares of them: raise $e$ to each score, so that all are positive, and divide by the sum.
#
# $$w_j = \frac{e^{s_j/\tau}}{\sum_k e^{s_k/\tau}}$$
#
# The **temperature** $\tau$ says how much a difference in scores counts.
#
# **Predict, then run.** What do the twelve weights look like when $\tau$ is tiny? When it is huge?

# %% tags=["nbval-check-output"]
for temperature in (100.0, 1.0, 0.25, 0.01):
    weights = torch.softmax(row / temperature, dim=-1)
    mass = weights[counts].sum()
    label = f"temperature {temperature:6.2f}: largest weight"
    show(label, weights.max(), "mass on the right frames", mass, digits=2)

# %% [markdown]
# Hot is a plain average: the three right frames get a quarter of the mass, as three out of twelve would by chance. Cold is a
# hard choice, and picks one frame out of three that are all right. In between it looks at all three.
#
# Choose a query and a temperature. The frames fade as their weight falls; the outline marks what was planted.


# %%
def draw(query, temperature):
    """Draw what each light's query attends to, and the frames as the chosen query sees them."""
    weights = torch.softmax(scores / temperature, dim=-1)  # (4, 12)
    chosen = LIGHTS.index(query)
    planted = torch.zeros(4, 12, dtype=torch.bool)
    planted[chosen] = clip.lights[0] == chosen
    figure, (film, table) = plt.subplots(
        2, 1, figsize=(8, 3), height_ratios=(1, 2.6), layout="constrained"
    )
    for number, picture in enumerate(pictures):
        alpha = float(0.06 + 0.94 * weights[chosen, number] / weights[chosen].max())
        film.imshow(
            picture, alpha=alpha, extent=(number - 0.47, number + 0.47, 0, 1), aspect="auto"
        )
    film.set(xlim=(-0.5, 11.5))
    film.axis("off")
    names = [f"→ {name}" if name == query else name for name in LIGHTS]
    attention_map(weights, queries=names, planted=planted, ax=table)
    film.set_title(f"query “{query}”, temperature {temperature:.2f}", size=11)
    right = float(weights[chosen, planted[chosen]].sum())
    alt = f"The query {query} at temperature {temperature:.2f} puts {right:.2f} of its weight on the frames in that light."
    return figure, alt


others = [light for light in LIGHTS if light != named]
explore(draw, query=[named, *others], temperature=(0.05, 2.0, 0.05))

# %% [markdown]
# The same drawing at three settings, for a page that cannot move:

# %%
snapshot(
    draw,
    [
        {"query": named, "temperature": 0.1},
        {"query": named, "temperature": 2.0},
        {"query": "blue", "temperature": 0.25},
    ],
)

# %% [markdown]
# In a network nobody turns this knob. The length of the query does the same work: twice the query is half the temperature, and
# how long a query is will be learnt.

# %% [markdown]
# ## A softmax that breaks
#
# Here is the formula typed as it stands. Scores of a hundred are not far-fetched: two vectors of length ten
# that point the same way have one.
#
# **Predict, then run.** What are the three weights?


# %% tags=["nbval-check-output"]
def naive_softmax(scores):
    return scores.exp() / scores.exp().sum(dim=-1, keepdim=True)


show(naive_softmax(torch.tensor([1.0, 2.0, 3.0])))
show(naive_softmax(torch.tensor([101.0, 102.0, 103.0])))

# %% [markdown]
# The second row should equal the first: adding 100 to every score multiplies top and bottom by the same $e^{100}$, which
# cancels. But $e^{101}$ does not fit into 32 bits, so the computer divides infinity by infinity, and one NaN is enough to ruin
# every weight of a network in one step. The cancellation is also the cure: **take away the largest score first.** The
# largest exponent is then 0, and nothing can overflow.

# %% tags=["nbval-check-output"]
scores_of_a_hundred = torch.tensor([101.0, 102.0, 103.0])
show(naive_softmax(scores_of_a_hundred - scores_of_a_hundred.max()))

# %% [markdown]
# Real batches hold padding besides. A padded frame must get exactly no weight, and the real ones must still add up to one. So the
# padding has to go *before* the exponential, not after: a score of $-\infty$ becomes a weight of $e^{-\infty} = 0$.

# %% [markdown] tags=["exercise"]
# ### Exercise 02.1: a softmax that survives
#
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# Write `masked_softmax(scores, mask)`. `scores` is `(..., Tq, Tk)`; `mask` is boolean, broadcasts to it, and is True where a key
# may be seen. Every row has at least one such key (the other case is exercise 02.4). Return weights over the last axis: zero
# where masked, one in sum, and no NaN whatever the scores. `torch.softmax` is what you are building, so it is not allowed.


# %% tags=["exercise"]
def masked_softmax(scores, mask):
    """Turn scores (..., Tq, Tk) into weights over the keys that the mask allows."""
    ### BEGIN SOLUTION
    scores = scores.masked_fill(~mask, float("-inf"))
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.exp()
    return weights / weights.sum(dim=-1, keepdim=True)
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Two things have to be arranged before you may call `exp`: that nothing is large, and that masked scores come out as zero.
# Each *row* has its own largest score.

# %% [markdown] tags=["hint-2"]
# In this order: fill the masked scores with minus infinity, take away each row's maximum, exponentiate, divide by each row's
# sum. Do not write into `scores` itself: it belongs to your caller.

# %% [markdown] tags=["hint-3"]
# `scores.masked_fill(~mask, float("-inf"))` gives a new tensor. `amax(dim=-1, keepdim=True)` is each row's maximum; take it
# after the filling, or a loud padded key will push everyone else down to zero.

# %% tags=["check", "nbval-check-output"]
check("02.1", masked_softmax)

# %% [markdown] tags=["solution-note"]
# The order is the whole exercise. Masking after the softmax leaves rows that sum to less than one; taking the maximum before
# masking lets a padded score of 1000 underflow all real ones; one maximum for the whole tensor does the same to every
# quiet row.

# %%
masked_softmax = use("02.1")

# %% [markdown]
# ## Why divide by the root of d
#
# Our keys had 4 numbers. A transformer's have 64 or more. Draw a query and twelve keys at random, from a standard normal, and
# look at the weights as the vectors grow longer. None of these keys is special; you would like fairly even weights.

# %%
torch.manual_seed(1)
figure, axes = plt.subplots(2, 4, figsize=(9.5, 3.2), sharey=True, layout="constrained")
for column, width in enumerate((4, 16, 64, 256)):
    query, key = torch.randn(width), torch.randn(12, width)
    for line, (label, divide) in enumerate((("as it is", 1.0), ("divided by √d", width**0.5))):
        ax = axes[line, column]
        weights = torch.softmax(key @ query / divide, dim=-1)
        ax.bar(range(12), weights, color="#0072B2", hatch="//" * line, alpha=0.7)
        ax.set(ylim=(0, 1), xticks=[])
        ax.set_ylabel(label if column == 0 else "")
        if line == 0:
            ax.set_title(f"d = {width}")
show_figure(
    figure,
    alt="Weights of twelve random keys for d = 4, 16, 64, 256. As they are, they grow more and more uneven until one key has "
    "nearly everything; divided by the root of d they stay spread over many keys at every width.",
)

# %% [markdown]
# A dot product is a sum of $d$ products. Each product of two independent standard normal numbers has mean 0 and variance 1, and
# variances of independent terms add up:
#
# $$\operatorname{Var}(q \cdot k) = \sum_{i=1}^{d} \operatorname{Var}(q_i k_i) = d, \qquad \text{so the spread is } \sqrt{d}.$$
#
# Longer vectors are a colder softmax. Cold is not only a strange look: a softmax that has made up its mind **cannot learn**.
# How much weight $j$ moves when its own score moves is
#
# $$\frac{\partial w_j}{\partial s_j} = w_j\,(1 - w_j),$$
#
# which is zero when $w_j$ is 0 or 1. Divide by $\sqrt{d}$ and the spread is 1 again, at every width.

# %% [markdown] tags=["exercise"]
# ### Exercise 02.2: why divide by the root of d
#
# Difficulty ★☆☆ · Importance ★★★ · 8 minutes
#
# Write `saturation(query, key, scaled)` for a query `(Tq, d)` and a key `(Tk, d)`. Return two numbers: the **spread** of the
# scores (`.std()` of all of them), and the mean **slope** $w(1-w)$ over all weights of the softmax over the keys. Where
# `scaled` is True, divide the scores by $\sqrt{d}$ first. (`torch.softmax` is welcome again.)


# %% tags=["exercise"]
def saturation(query, key, scaled):
    """Return the spread of the scores, and the mean slope of their softmax."""
    ### BEGIN SOLUTION
    scores = query @ key.T
    if scaled:
        scores = scores / query.shape[-1] ** 0.5
    weights = torch.softmax(scores, dim=-1)
    return scores.std(), (weights * (1 - weights)).mean()
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Scores are one matrix product, `(Tq, Tk)`. Everything else is computed from the (perhaps divided) scores. Return a pair.

# %% [markdown] tags=["hint-2"]
# $d$ is the width of a query, `query.shape[-1]`; not the number of queries or of keys. The spread is the standard deviation, not
# the variance.

# %% [markdown] tags=["hint-3"]
# `weights = torch.softmax(scores, dim=-1)`: each query shares itself out over the keys. Then
# `(weights * (1 - weights)).mean()`.

# %% tags=["check", "nbval-check-output"]
check("02.2", saturation)

# %% [markdown] tags=["solution-note"]
# Dividing by $d$ instead of $\sqrt d$ looks harmless and is not: the spread then falls as $1/\sqrt d$, and wide attention becomes
# a plain average that cannot choose. Dividing by the measured `scores.std()` would let every sample of a batch influence every
# other.

# %%
saturation = use("02.2")

# %%
torch.manual_seed(3)
widths = [4, 16, 64, 256, 1024]
measured = {
    scaled: [saturation(torch.randn(200, d), torch.randn(12, d), scaled) for d in widths]
    for scaled in (False, True)
}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
lines = ((False, "X--", "#D55E00", "as it is"), (True, "o-", "#0072B2", "divided by √d"))
for scaled, line, color, label in lines:
    for ax, which in ((left, 0), (right, 1)):
        heights = [float(pair[which]) for pair in measured[scaled]]
        ax.plot(widths, heights, line, color=color, label=label)
for ax, title in ((left, "spread of the scores"), (right, "mean slope of the softmax")):
    ax.set_xscale("log", base=2)
    ax.set(xlabel="d", title=title, ylim=(0, None))
left.legend()
show_figure(
    figure,
    alt="Left: undivided, the spread of scores grows like the root of d, up to 32 at d = 1024; divided, it stays at one. "
    "Right: undivided, the slope of the softmax falls towards zero; divided, it stays where it was.",
)

# %% tags=["claim"]
assert all(abs(float(spread) - 1) < 0.15 for spread, _ in measured[True])
assert measured[False][-1][0] > 28
assert measured[False][-1][1] < measured[False][0][1] / 2 and measured[True][-1][1] > 0.05

# %% [markdown]
# ## Taking something home
#
# Weights are the means; the **value** is the end. Put the pieces together, with the numbers of this lesson: queries `(B, 1, 4)`,
# keys `(B, 12, 4)`, values `(B, 12, 16)`, the face units of each frame. The query is four times as long as before; with the division
# by $\sqrt 4$, that makes a temperature of one half.
#
# **Predict, then run.** We read the emotion off by the nearest of eight typical faces. Averaging all frames against attending:
# what will they score? (There are four expressions in each clip, and one of them counts.)


# %%
def nearest_typical(faces):
    """Accuracy on other actors of reading the emotion by the nearest mean face of the training clips."""
    train = torch.as_tensor(clips.split == "train")
    typical = torch.stack([faces[train & (clips.labels == k)].mean(dim=0) for k in range(8)])
    return (torch.cdist(faces, typical).argmin(dim=1) == clips.labels)[~train].float().mean()


everything = torch.ones(len(clips), 1, 12, dtype=torch.bool)
query = 4 * queries[clips.light][:, None]  # (600, 1, 4): the light that the words name
weights = masked_softmax(query @ keys.transpose(1, 2) / 4**0.5, everything)  # (600, 1, 12)
attended = (weights @ units).squeeze(1)  # (600, 16)

accuracy = {
    "mean of all frames": nearest_typical(units.mean(dim=1)),
    "attention": nearest_typical(attended),
}
right_frames = clips.lights == clips.light[:, None]
mass = (weights.squeeze(1) * right_frames).sum(dim=1)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9), layout="constrained")
heights = [float(share) for share in accuracy.values()]
left.bar(list(accuracy), heights, color=["#E69F00", "#0072B2"], hatch=["..", "//"], alpha=0.6)
left.set(ylim=(0, 1.05), ylabel="accuracy", title="reading the emotion")
right.hist(mass.numpy(), bins=25, range=(0, 1), color="#0072B2", alpha=0.7)
right.axvline(0.25, color="#B00020", ls="--")
right.text(0.26, right.get_ylim()[1] * 0.9, "chance", color="#B00020")
right.set(xlabel="weight on the planted frames", ylabel="clips", title="where it looked")
show_figure(
    figure,
    alt=f"Left: averaging all frames reads {accuracy['mean of all frames']:.2f} of the emotions, attention "
    f"{accuracy['attention']:.2f}. Right: in most clips more than half of the weight lies on the planted frames, "
    "far above the chance of 0.25.",
)

# %% tags=["claim"]
assert accuracy["attention"] > 0.9 and accuracy["mean of all frames"] < 0.45
assert (mass > 0.5).float().mean() > 0.8

# %% [markdown]
# Two remarks, to be honest. We *gave* attention the right query, since we know where the play hides its answer; lesson 03 lets it
# learn the query from the words. And because the truth is planted, we could measure where it looked, by the right-hand picture.
# With real recordings you will have the accuracy only, and a model can be right while it looks at the wrong place.

# %% [markdown]
# ## Several questions at once: heads
#
# One softmax answers one question. Suppose you want the frames in the right light *and* the moment in which the actor blinks.
# Added up in one score, the two wishes compete for the same weight of 1. So split the features: the first half belongs to head 0,
# the second half to head 1, and each head has a softmax of its own.

# %%
four = ("mouth_curve", "mouth_open", "brow_height", "eye_open")
face = [theatre.FACE_UNITS.index(unit) for unit in four]
key = torch.cat([keys[0], units[0][:, face]], dim=-1)  # (12, 8): four lights, four units
two_wishes = torch.zeros(1, 8)
two_wishes[0, clip.light[0]] = 10.0  # in the light that the words name
two_wishes[0, -1] = -4.0  # with the eyes shut

one_head = masked_softmax(two_wishes @ key.T / 8**0.5, everything[0])
split_query = rearrange(two_wishes, "t (h d) -> h t d", h=2)  # (2 heads, 1 query, 4)
split_key = rearrange(key, "t (h d) -> h t d", h=2)  # (2 heads, 12 keys, 4)
two_heads = masked_softmax(split_query @ split_key.transpose(1, 2) / 4**0.5, everything[0])[:, 0]

figure, ax = plt.subplots(figsize=(8.5, 2.2), layout="constrained")
attention_map(
    torch.cat([one_head, two_heads]),
    queries=["one head", f"head 0: {named}?", "head 1: eyes shut?"],
    values=True,
    ax=ax,
)
show_figure(
    figure,
    alt="Three rows of weights over twelve frames. One head spreads over frames that please neither wish in full; of two heads, "
    f"the first looks at the {named} frames, the second at the one frame in which the eyes are shut.",
)

# %% tags=["claim"]
blink = units[0, :, face[-1]].argmin()
assert two_heads[0, counts].sum() > 0.8 and two_heads[1, blink] > 0.7
assert one_head[0, counts].sum() < 0.2 and one_head[0, blink] < 0.5

# %% [markdown]
# The single head settles for a compromise that nobody asked for: frames in the wrong light whose eyes are merely half open. Two
# heads answer both questions, at the same cost: the features were only divided, not multiplied.

# %% [markdown]
# Shapes carry the idea. With `(batch, time, features)` coming in and $H$ heads, every head gets its own block of $D/H$
# neighbouring features, and the heads become one more axis that a matrix product treats like a batch:
#
# | | shape |
# |---|---|
# | features | `b t (h d)` |
# | what attention wants | `b h t d` |
# | what the next layer wants | `b t (h d)` again |
#
# einops lets you write this table as code. `rearrange` says what each axis is called before and after the arrow; brackets join or
# split; order inside brackets matters.

# %% [markdown] tags=["exercise"]
# ### Exercise 02.3: split and merge heads
#
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# Write `in_heads(query, key, value, num_heads, attend)`. The inputs are `(B, T, D)` (the query's T may differ), `attend` takes
# `(B, H, T, D/H)` tensors and returns `(B, H, Tq, D/H)`. Split all three, call `attend` once, merge, return `(B, Tq, D)`. Head 0
# owns the first `D/H` features, head 1 the next, and so on, in and out.


# %% tags=["exercise"]
def in_heads(query, key, value, num_heads, attend):
    """Let each head attend in its own block of features."""
    ### BEGIN SOLUTION
    inputs = (query, key, value)
    split = [rearrange(x, "b t (h d) -> b h t d", h=num_heads) for x in inputs]
    return rearrange(attend(*split), "b h t d -> b t (h d)")
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# Two `rearrange` patterns do it, one the reverse of the other. The table above is the pattern. `attend` is called once, with all
# heads on an axis of their own.

# %% [markdown] tags=["hint-2"]
# `(h d)` and `(d h)` both run, and both come back after a round trip. Only one gives head 0 the *first* block: the name that
# stands first in the brackets changes slowest.

# %% [markdown] tags=["hint-3"]
# `rearrange(x, "b t (h d) -> b h t d", h=num_heads)` for each of the three; then `"b h t d -> b t (h d)"` for what `attend`
# returns.

# %% tags=["check", "nbval-check-output"]
check("02.3", in_heads)

# %% [markdown] tags=["solution-note"]
# The favourite wrong answer is `x.view(B, H, T, D // H)`: the shape is right and the content is not, since it cuts the *time* axis
# into pieces and calls them heads. Nothing complains, not even in training. `x.view(B, T, H, D // H).transpose(1, 2)` is right.

# %%
in_heads = use("02.3")

# %% [markdown]
# ## The row with nothing to see
#
# Sooner or later a sample comes whose camera was off. Its mask has no True at all.
#
# **Predict, then run.** What does your softmax make of it?

# %% tags=["nbval-check-output"]
nobody = torch.zeros(1, 3, dtype=torch.bool)
show(masked_softmax(torch.tensor([[1.0, 2.0, 3.0]]), nobody))

# %% [markdown]
# Minus infinity minus minus infinity. Two repairs come to mind, and neither is safe.
#
# *Fill with a large negative number instead of* $-\infty$. The row is then uniform: an average over padding, presented as an
# answer.
#
# *Call* `torch.nan_to_num` *afterwards.* The output is clean. But training also runs backwards. Here is one empty row, masked
# by adding $-\infty$, as much published code does it, then wiped, then followed by a loss:

# %% tags=["nbval-check-output"]
scores_of_nobody = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
strength = torch.ones(1, requires_grad=True)  # a weight of the network, in front of the scores
added = torch.where(nobody, 0.0, float("-inf"))
patched = torch.nan_to_num(torch.softmax(strength * scores_of_nobody + added, dim=-1))
(patched * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
show(
    forwards=patched,
    gradient_of_the_scores=scores_of_nobody.grad,
    gradient_of_the_strength=strength.grad,
)

# %% [markdown]
# A clean output, and NaN in every weight of the network after the next step: the slope of the softmax is $w(1-w)$, and $w$ was
# NaN before you wiped it. (Masking by `masked_fill` would have caught it, since it stops the gradient where it filled. It is
# wiser not to depend on that.) A NaN has to be prevented; it cannot be wiped away.
#
# What you want instead: **a query with nothing to attend to brings home zeros, and teaches nothing** (its gradient is zero).

# %% [markdown] tags=["exercise"]
# ### Exercise 02.4: the row with nothing to see
#
# Difficulty ★★★ · Importance ★★☆ · 12 minutes
#
# Write the whole of attention: `attention(query, key, value, mask)` for `(..., T, d)` tensors, with the division by $\sqrt d$.
# `mask` is that of 02.1, and may now leave a row nothing to see. Return the output `(..., Tq, dv)` and the weights `(..., Tq, Tk)`.
# A row with nothing to see gives zeros in both, and no gradient is NaN. (`torch.softmax` is allowed, ready-made attention is not.)


# %% tags=["exercise"]
def attention(query, key, value, mask):
    """Attend to the keys that the mask allows; where it allows none, bring back zeros."""
    ### BEGIN SOLUTION
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=-1).masked_fill(~mask, 0.0)
    return weights @ value, weights
    ### END SOLUTION


# %% [markdown] tags=["hint-1"]
# First write ordinary masked attention: scores, mask, softmax, product with the values. Then ask where the first NaN would be born
# in an empty row. It must never be born; wiping it away later does not help the gradient.

# %% [markdown] tags=["hint-2"]
# A *finite* lowest number keeps the softmax of an empty row finite: it is uniform, which is wrong but harmless. A second mask
# then makes the weights of that row zero, and in every other row changes nothing.

# %% [markdown] tags=["hint-3"]
# `scores.masked_fill(~mask, torch.finfo(scores.dtype).min)`, softmax, and `.masked_fill(~mask, 0.0)` on the weights. The second
# `masked_fill` also stops the gradient.

# %% tags=["check", "nbval-check-output"]
check("02.4", attention)

# %% [markdown] tags=["solution-note"]
# The library does the same in its readable path. In its fast path it lets an empty row see everything and clears the output
# afterwards, for the same reason: no NaN may be born.

# %%
attention = use("02.4")

# %% [markdown]
# ## The library's layer
#
# The four exercises are the four ideas of `mmlib/layers/attention.py`. From here on the course imports it. First let us see that
# it is the same thing: the pieces with the layer's four **projections** (linear layers, for query, key, value and result), against the layer, on three sequences of which one is empty.

# %% tags=["nbval-check-output"]
torch.manual_seed(4)
layer = MultiHeadAttention(query_dim=20, context_dim=12, embed_dim=24, num_heads=3)
asks, answers = torch.randn(3, 5, 20), torch.randn(3, 7, 12)
real = torch.arange(7) < torch.tensor([[7], [4], [0]])

mine = in_heads(
    layer.to_query(asks),
    layer.to_key(answers),
    layer.to_value(answers),
    3,
    lambda q, k, v: attention(q, k, v, real[:, None, None, :])[0],
)
mine = layer.to_output(mine)
theirs = layer(asks, answers, padding_mask=real)
show("shapes", mine.shape, theirs.shape)
show(the_same_numbers=bool(torch.allclose(mine, theirs, atol=1e-5)))

# %% [markdown]
# And the layer is torch's own, with the same weights:

# %% tags=["nbval-check-output"]
torchs = torch.nn.MultiheadAttention(24, 3, batch_first=True)
layer = MultiHeadAttention(query_dim=24, num_heads=3)
with torch.no_grad():
    projections = (layer.to_query, layer.to_key, layer.to_value)
    for ours, weight in zip(projections, torchs.in_proj_weight.chunk(3), strict=True):
        ours.weight.copy_(weight)
    layer.to_output.weight.copy_(torchs.out_proj.weight)
x = torch.randn(2, 5, 24)
expected, _ = torchs(x, x, x)
show(the_same_numbers=bool(torch.allclose(layer(x), expected, atol=1e-5)))

# %% [markdown]
# Why use the library's, if yours gives the same numbers? Because of the weights. They are a matrix of $T_q \times T_k$ numbers a
# head, and long sequences make it large:

# %% tags=["nbval-check-output"]
for length in (128, 1024, 8192):
    megabytes = 8 * length * length * 4 / 2**20
    show(
        f"{length} steps, 8 heads, 32 bits: the weights of a sample take", megabytes, "MB", digits=1
    )

# %% [markdown]
# `scaled_dot_product_attention` never holds that matrix. Torch's fused kernel walks over the keys in blocks and keeps only the
# running sum. You get the matrix when you ask for it, `return_weights=True`, and then the readable path runs that you have written.

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
fused = scaled_dot_product_attention(q, k, v)
readable, seen = scaled_dot_product_attention(q, k, v, return_weights=True)
show("weights", seen.shape, "both paths agree:", bool(torch.allclose(fused, readable, atol=1e-5)))

# %% [markdown]
# ## What the papers print
#
# All four papers of this course stand on this one formula. These three print it, each in its own way.
#
# | paper | printed | in code |
# |---|---|---|
# | CA-MMAAET, section on the encoder | $\mathbf{A} = \operatorname{softmax}\!\left(\mathbf{Q}\mathbf{K}^T / \sqrt{d_k}\right)$, then $\mathbf{A}\mathbf{V}$ | `weights = softmax(q @ k.mT / d**0.5)`, `weights @ v` |
# | Crossmodal transformer, Eq. 6, middle line | $\operatorname{softmax}\!\left(X_A K_B^T / \sqrt{d_k}\right) V_B$ | the same; $X_A$ is a slip for $Q_A$ (E-06), as the line below it shows |
# | JMT, Eq. 2 | a sigmoid in place of the softmax, $K Q^T$, no division | `scaled_dot_product_attention(..., score="sigmoid")` |
#
# The last one deserves a look (J-01 in the ledger). $KQ^T$ is the transposed score matrix, and for sequences of unequal lengths its
# product with $V$ does not exist:

# %% tags=["nbval-check-output"]
q, k, v = torch.randn(5, 8), torch.randn(7, 8), torch.randn(7, 8)
show("Q K^T is", (q @ k.T).shape, "and fits V", v.shape)
show("K Q^T is", (k @ q.T).shape, "and does not")

# %% [markdown]
# So we read it as $\sigma(QK^T/\sqrt d)V$. **Predict, then run.** With a sigmoid each key is judged on its own. What do seven
# weights add up to?

# %%
torch.manual_seed(5)
q, k, v = torch.randn(200, 8), torch.randn(7, 8), torch.randn(7, 8)
sums = {
    score: scaled_dot_product_attention(q, k, v, score=score, return_weights=True)[1].sum(dim=-1)
    for score in ("softmax", "sigmoid")
}
figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
looks = {"color": "#E69F00", "hatch": "..", "alpha": 0.6}
ax.hist(sums["sigmoid"].numpy(), bins=25, range=(0, 7), label="sigmoid", **looks)
ax.axvline(1, color="#0072B2", lw=3, ls="-", label="softmax")
ax.set(xlim=(0, 7), xlabel="sum of the seven weights of a query", ylabel="queries")
ax.legend()
show_figure(
    figure,
    alt="The softmax weights of every query sum to exactly one. The sigmoid weights of 200 queries sum to anything between "
    "two and five, most around three and a half.",
)

# %% tags=["claim"]
assert torch.allclose(sums["softmax"], torch.ones(200))
assert sums["sigmoid"].min() > 2 and sums["sigmoid"].max() < 5
assert abs(float(sums["sigmoid"].mean()) - 3.5) < 0.3

# %% [markdown]
# Neither is wrong. A softmax must look somewhere, even if nothing fits; a sigmoid may look nowhere, or everywhere, and its output
# grows with the number of keys. Lesson 11 tries both inside JMT.

# %% [markdown]
# ## Take-aways
#
# - Attention asks (query), compares (key), takes home (value): $\operatorname{softmax}(QK^T/\sqrt d)\,V$.
# - Take away each row's maximum before you exponentiate, and mask before that.
# - Scores of $d$-wide vectors spread like $\sqrt d$; undivided, the softmax freezes and its gradient dies.
# - A head is a block of neighbouring features with a softmax of its own. The right shape can hold the wrong content.
# - A query with nothing to see gets zeros, and a NaN must never be born: wiping it away leaves it in the gradient.
# - An attention map is an explanation only if it has been checked against something that is known.
#
# ## Where to go next
#
# Open this lesson's [exercises](../exercises/02_attention.ipynb). [Lesson 03](03_cross_attention.ipynb) lets one stream ask another.
#
# ## References
#
# - Vaswani et al. (2017), *Attention is all you need*: Eq. 1 and section 3.2.1 for $\sqrt{d_k}$; section 3.2.2 for heads.
# - CA-MMAAET: the equations of $\mathbf{A}$ and $\mathbf{A}\mathbf{V}$ in the section on the encoder.
# - Crossmodal transformer with EmbraceNet: Eq. 6 (ledger E-05, E-06).
# - JMT: Eq. 2 (ledger J-01).

# %% [markdown] tags=["instructor"]
# For the instructor: the routes, questions and common wrong answers of this lesson are in [docs/instructors/02.md](../docs/instructors/02.md).
