# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 08 Attention over faces
#
# **After this lesson you can**
#
# 1. say what a convolution, a gate over channels and a gate over places each do to a picture of a face;
# 2. build the parts of AVT-CA's visual trunk, find where the printed algorithms cannot be followed, and count what each part costs;
# 3. judge a gate three ways: by the score with and without it, by a planted truth, and by hiding parts of the face.
#
# **Before you start:** lesson 02 (attention) and lesson 05 (seeds, new actors). A convolution should not be news to you. **Time:** about 60 minutes.

# %%
import time
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.backbones.visual_trunk import VisualTrunk
from mmlib.checks import check, show, use
from mmlib.data import theatre
from mmlib.layers import ConvBlock, InvertedResidual, Modulator, SpatialAttention
from mmlib.metrics import seed_spread
from mmlib.plots import apply_style, bars_with_seeds, differences, show_figure
from mmlib.plots.gates import (
    dots_by_part,
    gate_over_faces,
    gate_planes,
    picture_row,
    reach_maps,
    trunk_map,
)
from mmlib.training import evaluate, fit, seed_everything
from mmlib.widgets import explore, snapshot

apply_style()
SIZE, SEEDS = 96, (0, 1, 2)

# %% [markdown]
# ## What a filter sees
#
# So far faces came to you as numbers from behind the stage, or through eyes that were trained already. Now you build the eyes of **AVT-CA** (*audio-video transformer fusion with cross attention*), the second of the four systems: its visual **trunk**, the network that makes a vector of each frame. Lesson 09 adds the voice. The question of this lesson: when a network "attends to the mouth", **how would you know?**
#
# A convolution slides one small window of weights over the picture and asks everywhere the same question. Here are four windows that nobody trained, on a face that nobody took (all faces here are synthetic).

# %%
portraits = theatre.make("portraits", n=1200, seed=0, size=SIZE, face_blur=0.8)
face = portraits.frames[5, 0]
windows = {
    "bright, not dark": torch.full((3, 3), 1 / 9),
    "edges below": torch.tensor([[1.0, 2, 1], [0, 0, 0], [-1, -2, -1]]),
    "edges beside": torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]),
    "spots and lines": torch.tensor([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]]),
}
grey = face.float().mean(0)[None, None] / 255
maps = {
    name: F.conv2d(grey, window[None, None], padding=1)[0, 0] for name, window in windows.items()
}
show_figure(
    picture_row({"the face": face, **maps}),
    alt="A drawn face and four maps made of it: a smoothed one; one in which brows, lids and lips "
    "stand out, which run across; one in which the sides of the face and of the nose stand out; "
    "and one with thin outlines of everything.",
)

# %% [markdown]
# One map a question. *Edges below* lights up where the picture turns from bright to dark on the way down: brows, lids, lips. A network learns its own questions, 29 of them in AVT-CA's first layer, and its next layer asks questions about the answers.
#
# Its first block, the **stem** (Algorithm 1), also makes the picture small: the convolution takes every second place, and a pooling keeps the largest of each neighbourhood. **Predict, then run:** what is left of a frame of 224 by 224? And of our 96?

# %% tags=["nbval-check-output"]
seed_everything(0)
stem = ConvBlock(in_channels=3, out_channels=29)
for side in (224, SIZE):
    picture = torch.rand(2, 3, side, side)
    show("frames", picture.shape, "->", stem[0](picture).shape, "->", stem(picture).shape)

# %% [markdown]
# ## Which question matters: the channel gate
#
# Not every question is worth asking of every picture. A **channel gate** reads a summary of the whole picture, one number for each channel, and decides for each channel how much of it to let through:
#
# $$g = \sigma\big(W_2\,\mathrm{ReLU}(W_1\,\bar{x})\big), \qquad \bar{x}_c = \frac{1}{HW}\sum_{h,w} x_{chw}, \qquad \text{out}_{chw} = g_c\, x_{chw}.$$
#
# $W_1$ makes fewer numbers of the summary $\bar{x}$, $W_2$ as many as there are channels, and the sigmoid $\sigma$ puts each between 0 and 1. It is attention without a query: nobody asks, the picture itself says what counts. And it has no softmax: channels do not compete.

# %% [markdown] tags=["exercise"]
# ### Exercise 08.1: the channel gate
# Difficulty ★☆☆ · Importance ★★★ · 8 minutes
#
# `x` is `(N, C, H, W)`; `narrow` and `widen` are layers, `(N, C) -> (N, R)` and `(N, R) -> (N, C)`. Return the gated map `(N, C, H, W)` and the gate `(N, C, 1, 1)`: the mean over all places, `narrow`, ReLU, `widen`, sigmoid. Any height and any width.


# %% tags=["exercise"]
def channel_gate(x, narrow, widen):
    """Weigh each channel of a map by what the whole map holds of it."""
    ### BEGIN SOLUTION
    seen = x.mean(dim=(2, 3))  # (N, C)
    gate = widen(narrow(seen).relu()).sigmoid()[:, :, None, None]
    return gate * x, gate
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("08.1", channel_gate)

# %% [markdown] tags=["hint-1"]
# `x.mean(dim=(2, 3))` averages over both axes of places at once and leaves `(N, C)`.

# %% [markdown] tags=["hint-2"]
# Follow the formula from the inside: mean, `narrow`, `.relu()`, `widen`, `.sigmoid()`. A sigmoid, not a softmax: each channel is judged by itself.

# %% [markdown] tags=["hint-3"]
# The gate is `(N, C)` and has to be multiplied with `(N, C, H, W)`: two axes of length one at its end, `gate[:, :, None, None]`. Return the gated map first.

# %% [markdown] tags=["solution-note"]
# The public code pools with a window as wide as the map is *high*. On squares that is the same; on a wide map it reads the left part only, on a high one it fails. A mean over two axes has no such opinion.

# %% [markdown]
# ## Which place matters: the spatial gate
#
# Turned by ninety degrees: one score for each *place*, the same for all channels. To judge a place one must look around it, so between two 1x1 convolutions stand two 3x3 ones whose nine weights lie **four steps apart** (a *dilation* of 4). **Predict:** on how many places does one score hang, and how far apart are the outermost?


# %% tags=["nbval-check-output"]
def reach(dilation, size=21):
    """Where the score in the middle of a map gets its evidence from, (size, size)."""
    layer = SpatialAttention(16, dilation=dilation).eval()
    for weight in layer.parameters():
        weight.data.abs_()  # nothing cancels, and no ReLU is shut
    x = torch.ones(1, 16, size, size, requires_grad=True)
    layer(x)[0, 0, size // 2, size // 2].backward()
    return x.grad[0].sum(0)


reaches = {f"dilation {dilation}": reach(dilation) for dilation in (1, 4)}
for name, seen in reaches.items():
    rows = seen.sum(1).nonzero().flatten()
    show(name, "places:", int((seen > 0).sum()), "over a side of", int(rows[-1] - rows[0]) + 1)

# %%
show_figure(
    reach_maps(reaches),
    alt="Two grids of 21 by 21 places with a cross in the middle. With dilation 1 a solid block "
    "of 5 by 5 places round the cross is marked; with dilation 4 there are 25 single places, four "
    "steps apart, over 17 by 17.",
)

# %% [markdown]
# As many weights, more than three times the view. The paper's gate will read a map of 28 by 28, and there 17 is more than half a face: a place beside the mouth can know that it is beside a mouth.
#
# ## Two scores, one gate
#
# Now there is a score for each channel and one for each place, and the paper joins them by "dot product multiplication". There is nothing to sum over in it. What the public code does, and what BAM does (*bottleneck attention module*, the older one from which both attentions come), are these two (A-06 in the course's ledger), with $c$ the score of the channel and $s$ that of the place:
#
# $$\text{AVT-CA's code: } x \cdot \sigma(c \cdot s), \qquad\qquad \text{BAM: } x \cdot \big(1 + \sigma(c + s)\big).$$
#
# They look like a matter of taste. **Predict** before you look: a channel that is to be shut has $c = -3$. What does the product rule do with it at the place that matters *most*, and at the place that matters *least*?

# %%
show_figure(
    gate_planes(),
    alt="Two planes over the score of a channel and that of a place, with contour lines of what "
    "is let through. The product's is a saddle: half along both axes, near one in two opposite "
    "corners, near zero in the other two. BAM's is a slope from 1 to 2.",
)

# %% [markdown]
# The product is a **saddle**. Two low scores make a high gate: an unimportant channel is let through at unimportant places. And in the middle, where an untrained network stands (the white dot), it is flat:

# %% tags=["nbval-check-output"]
for name, join in {"product": torch.mul, "BAM": torch.add}.items():
    channel, place = torch.zeros(2, requires_grad=True).unbind()
    channel.retain_grad(), place.retain_grad()
    join(channel, place).sigmoid().backward()
    show(f"{name:8} pull on the channel's score", channel.grad, "on the place's", place.grad)

# %% [markdown]
# Each of the two scores can only learn as far as the other one is already away from zero. BAM's two scores learn from the first step, and its gate has a floor: it never lets *less* through than came, so nothing can be lost. Keep that in mind for the pictures below: under both rules they draw $\sigma$ alone.
#
# ## Four quarters
#
# The second special part of the trunk looks at the stem's map in four **quarters**, each with filters of its own: in a face that stands upright, the upper left is always an eye, and the lower ones share a mouth.

# %% [markdown] tags=["exercise"]
# ### Exercise 08.2: quarters, put back in place
# Difficulty ★★☆ · Importance ★★☆ · 10 minutes
#
# `x` is `(N, C, H, W)`. `looks` are four layers, for the **upper left, lower left, upper right and lower right** quarter, in this order (that of the public code); all four change the size of a quarter alike, or leave it. Cut at half the height and half the width, look, and join the results as *one map*, every quarter in its place. An odd height or width: raise a `ValueError`.


# %% tags=["exercise"]
def quarter_by_quarter(x, looks):
    """Cut maps into four, look at each quarter by itself, put the results back in place."""
    ### BEGIN SOLUTION
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(f"a map of {height} x {width} cannot be cut into four equal quarters")
    h, w = height // 2, width // 2
    upper_left, lower_left = looks[0](x[..., :h, :w]), looks[1](x[..., h:, :w])
    upper_right, lower_right = looks[2](x[..., :h, w:]), looks[3](x[..., h:, w:])
    upper = torch.cat([upper_left, upper_right], dim=-1)
    lower = torch.cat([lower_left, lower_right], dim=-1)
    return torch.cat([upper, lower], dim=-2)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("08.2", quarter_by_quarter)

# %% [markdown] tags=["hint-1"]
# Ask `x.shape[-2:]` for height and width, test both with `% 2`, and raise before you cut. Nothing else may be a number that you know by heart.

# %% [markdown] tags=["hint-2"]
# `x[..., :h, :w]` is the upper left quarter: rows first, then columns. So the lower left is `x[..., h:, :w]`, and it belongs to `looks[1]`.

# %% [markdown] tags=["hint-3"]
# Two joins along the last axis make the upper and the lower half; one join along the last but one puts them on top of each other. Do not join along the channels: `dim=1` makes a map of four times the channels.

# %% [markdown] tags=["solution-note"]
# Algorithm 4 says `concatenate(o1, o2, o3, o4)` and names no axis. Along the channels it would be 464 channels at 14 by 14, and the sum with the gated map (116 at 28 by 28) would fail: the sizes settle it. Whoever uses `chunk(2, dim)` writes it shorter, and must test for odd sizes all the same: `chunk` cuts 7 into 4 and 3 and says nothing.

# %% [markdown]
# Why does the order of the filters matter? They are learned, so any order would do, until somebody *loads* weights that were learned in another one. Algorithm 4's second patch is the upper right; the public code's second filters are the lower left's. The next cell is broken on purpose: it looks in the order of the paper, and glues in that of the code.

# %%
nothing = nn.Identity()
h = w = SIZE // 2
paper = [face[:, :h, :w], face[:, :h, w:], face[:, h:, :w], face[:, h:, w:]]  # o1 to o4
upper, lower = torch.cat([paper[0], paper[2]], -1), torch.cat([paper[1], paper[3]], -1)
scrambled = torch.cat([upper, lower], -2)

# %% [markdown]
# No error: all four quarters have one size. Look at it. Mended, with your function:

# %%
whole = use("08.2")(face[None], [nothing] * 4)[0]
show_figure(
    picture_row({"the face": face, "broken": scrambled, "mended": whole}),
    alt="Three pictures: a face; the same with its upper right and lower left quarters exchanged, "
    "so that an eye is where the mouth should be; and the face again.",
)

# %% tags=["claim"]
assert torch.equal(whole, face) and not torch.equal(scrambled, face)

# %% [markdown]
# The filters would not complain either: an eye's filters run over a cheek as well. **Glue something that you can see before you glue something that you cannot.**
#
# ## The whole trunk
#
# Both parts stand side by side, and their maps are added:

# %%
show_figure(
    trunk_map(),
    alt="From left to right: a stem makes 29 channels. From there two ways: stage 2 to 116 "
    "channels and then the gate of channels and places; and the four quarters, to 116 channels. "
    "Their sum goes through stage 3 with 232 and stage 4 with 464 channels, a 1 by 1 convolution "
    "to 1024, and a mean over all places to one vector.",
)

# %% [markdown]
# The stages are made of a unit that you will meet below. Follow one frame through. **Predict:** why can the gate not read the stem's map, as the paper's text has it?

# %% tags=["nbval-check-output"]
seed_everything(0)
trunk = VisualTrunk().eval()
x = torch.rand(2, 3, 224, 224)
with torch.no_grad():
    stem_map = trunk.conv1(x)
    second = trunk.stage2(stem_map)
    local = trunk.local(stem_map)
    joined = trunk.modulator(second) + local
    show("stem", stem_map.shape, "stage 2", second.shape, "quarters", local.shape)
    show("stage 3", trunk.stage3(joined).shape, "a vector for each frame", trunk(x).shape)

    gate = trunk.modulator.channel_att.gate_c
    mine = use("08.1")(
        second, nn.Sequential(gate.gate_c_fc_0, gate.gate_c_bn_1), gate.gate_c_fc_final
    )
    theirs = trunk.modulator.channel_att(second).sigmoid()
    show("your channel gate is the library's:", torch.allclose(mine[1], theirs, atol=1e-6))

    def quarter(k):
        """The filters of the k-th quarter, as one layer."""
        steps = [
            trunk.local.get_submodule(f"{kind}{k}_{n}") for n in (1, 2) for kind in ("conv", "bn")
        ]
        return nn.Sequential(*steps[:2], nn.ReLU(), *steps[2:], nn.ReLU())

    pieced = use("08.2")(stem_map, [quarter(k) for k in (1, 2, 3, 4)])
    show("your quarters are the library's:", torch.allclose(pieced, local, atol=1e-5))

sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in trunk.named_children()}
show("parameters:", sum(sizes.values()), sizes)

# %% [markdown]
# The stem's map is 56 by 56, the quarters' 28 by 28: gated at the stem, the sum would fail. So the gate reads stage 2, as in the public code (A-07). And see how small the two special parts are: 0.3 and 0.8 per cent of the parameters. What can they be worth?
#
# ## Are the gates worth anything?
#
# An experiment. A small trunk of the same make (maps of 12 by 12 at the gate), portraits of actors, judged on new ones. The play blurs what the faces show a little, so that there is room for a difference. Three rules for the gate: none at all, the product, BAM's. **Three seeds**, everything else alike.


# %%
class Reader(nn.Module):
    """A small visual trunk that names the emotion of a portrait; `rule` says how its gate works."""

    def __init__(self, rule):
        super().__init__()
        self.trunk = VisualTrunk(repeats=(1, 1, 1), channels=(8, 32, 64, 64, 64))
        self.trunk.modulator = (
            Modulator(32, reduction=4, combine=rule) if rule != "none" else nn.Identity()
        )
        self.name = nn.Linear(64, len(theatre.EMOTIONS))

    def forward(self, *, vision, masks=None):  # (N, 1, 3, S, S) in [0, 1]
        return (self.name(self.trunk(2 * vision[:, 0] - 1)),)

    def gate(self, pictures):
        """The gate's sigmoid for pictures (N, 3, S, S) in bytes: (N, C, h, w)."""
        with torch.no_grad():
            stem_map = self.trunk.conv1(2 * pictures.float() / 255 - 1)
            return self.trunk.modulator(self.trunk.stage2(stem_map), return_gate=True)[1]


streams = portraits.features(vision="frames")
learn, test = streams.subset("train").subset(range(320)), streams.subset("test")
stage = portraits.subset("test")  # the same clips, from behind the stage
print(f"{len(learn)} portraits to learn from, {len(test)} of other actors")
knows = theatre.posterior(stage, modalities=("vision",)).argmax(1)
print(f"who knows the play by heart gets {(knows == test.labels).float().mean():.3f} of them")


def trained(rule, seed):
    """A reader after eight epochs."""
    seed_everything(seed)
    reader = Reader(rule)
    settings = {"batch_size": 32, "learning_rate": 1e-2, "progress": False}
    fit(reader, learn, epochs=8, seed=seed, **settings)
    return reader.eval()


# %% [markdown]
# **Predict.** Which rule wins, and by how much? Write down a number for the distance between two *seeds* of one rule as well. (The exercises and their answers train the first seed alone, and one seed names no winner.)

# %%
RULES = {"none": "no gate", "product": "product", "bam": "BAM"}
readers = {rule: [] for rule in RULES}


def with_seeds(seeds):
    """Train a reader for each rule and each seed that is not there yet; the accuracies of all."""
    for rule, mine in readers.items():
        mine += [trained(rule, seed) for seed in seeds[len(mine) :]]
    found = {
        name: [evaluate(reader, test)["accuracy"] for reader in readers[rule]]
        for rule, name in RULES.items()
    }
    for name, each in found.items():
        print(f"{name:8}", *(f"{value:.3f}" for value in each))
    return found


scores = with_seeds(SEEDS[:1])

# %% tags=["claim"]
assert min(each[0] for each in scores.values()) > 0.6

# %% tags=["guided"]
scores = with_seeds(SEEDS)

# %% tags=["guided"]
show_figure(
    bars_with_seeds(scores, chance=1 / 8, title="Accuracy on new actors, three seeds").figure,
    alt="Three bars with a dot for each seed: no gate, product, BAM. All three stand at about the "
    "same height, far above chance, and the dots of one bar lie about as far apart as the bars.",
)
gains = {}
for name in ("product", "BAM"):
    by_seed = np.subtract(scores[name], scores["no gate"])
    spread = seed_spread(by_seed)
    gains[f"{name} − no gate"] = spread.mean, spread.low, spread.high
ax = differences(gains, xlabel="gain in accuracy, 95 % t interval over 3 seeds")
ax.locator_params(axis="x", nbins=5)
show_figure(
    ax.figure,
    alt="Two rows with intervals, the gain of the product rule and of BAM's over no gate. Both "
    "intervals are wide against their gain.",
)

# %% tags=["guided", "claim"]
means = {name: np.mean(each) for name, each in scores.items()}
assert min(means.values()) > 0.6
assert max(means.values()) - min(means.values()) < 0.1

# %% [markdown] tags=["guided"]
# As found: at this scale, on this play, whatever the gates bring or cost is not to be told from the dice. That is no verdict on AVT-CA, whose trunk is larger and whose faces are real. But the paper has no row without its gates, so it cannot say more; its ablation (lesson 09) takes out other parts.

# %% [markdown]
# A gate multiplies. So do the weights of the next convolution, and a ReLU can shut a place as well. A gate adds something only where the *whole picture* must decide what *one* place or channel is worth.
#
# ## Where does it look?
#
# "The spatial attention block emphasizes specific regions within each frame, like the eyes or mouth", says the paper. The theatre can check that sentence, since it knows where it has drawn them: **redraw the same portrait with another emotion's mouth, and see which pixels change.**


# %%
PARTS = {
    "mouth": ("mouth_curve", "mouth_open", "mouth_width", "mouth_asymmetry"),
    "eyes": ("eye_open", "squint", "slant", "pupil"),
    "brows": ("brow_angle", "brow_height"),
    "cheeks": ("blush",),
}


def redrawn(clips, part, emotion):
    """The same portraits, but for one part, which shows the given emotion: (N, 3, S, S)."""
    columns = [theatre.FACE_UNITS.index(name) for name in PARTS[part]]
    units = clips.face_units[:, 0].clone()
    shown = torch.tensor(theatre.FACE)[theatre.EMOTIONS.index(emotion)]
    units[:, columns] = shown[columns]
    return theatre.draw_faces(units, clips.actor, size=SIZE, light=clips.lights[:, 0])


def where_drawn(clips, part):
    """Which pixels change when one part shows other emotions: (N, S, S), boolean."""
    before = clips.frames[:, 0].int()
    changes = [(redrawn(clips, part, e).int() - before).abs().amax(1) for e in theatre.EMOTIONS]
    return torch.stack(changes).amax(0) > 8


few = stage[:32]
places = {part: where_drawn(few, part) for part in PARTS}
for part, where in places.items():
    print(f"{part:7} {where.float().mean():.1%} of the picture")

# %% [markdown] tags=["guided"]
# Now the gates. One rule, three seeds, the same five faces. **Predict**: will three networks of about the same accuracy look at the same places?

# %% tags=["guided"]
outlined, faces = ("mouth", "eyes"), few.frames[:5, 0]
show_figure(
    gate_over_faces(
        faces.repeat(3, 1, 1, 1),
        torch.cat([reader.gate(faces).mean(1) for reader in readers["bam"]]),
        parts={part: places[part][:5].repeat(3, 1, 1) for part in outlined},
        names=[f"seed {seed}" if k == 0 else "" for seed in SEEDS for k in range(5)],
        words="gate, mean of the channels",
        columns=5,
        side=1.75,
    ),
    alt="Three rows of the same five faces under BAM's gates, one row a seed, with the outlines "
    "of mouth and eyes. The bright places are not the same in the three rows, and some lie "
    "outside of both outlines.",
)

# %% [markdown] tags=["guided"]
# Each row could stand in a paper, and each tells another story. So do not admire it; **score** it. How much of the gate's weight lies in a part, against the part's share of the picture? At 1 the gate does not care; at 2 the part gets twice its share.
#
# For BAM the weight is the gate itself. The product's gate says "raise this channel" and "lower that one" by the same score of the place, so we ask how *decided* it is there: how far from one half.


# %% tags=["guided"]
def weight(rule, gate):
    """How much a gate (N, C, h, w) makes of each place of the picture: (N, S, S)."""
    each = (2 * gate - 1).abs() if rule == "product" else gate
    return F.interpolate(each.mean(1, keepdim=True), size=(SIZE, SIZE), mode="bilinear")[:, 0]


def lean(rule, reader, part):
    """A part's share of the weight, over its share of the picture."""
    made_of_it, where = weight(rule, reader.gate(few.frames[:, 0])), places[part]
    share = (made_of_it * where).sum((1, 2)) / made_of_it.sum((1, 2))
    return (share.mean() / where.float().mean()).item()


leans = {
    RULES[rule]: {part: [lean(rule, reader, part) for reader in readers[rule]] for part in PARTS}
    for rule in ("product", "bam")
}
for name, by_part in leans.items():
    for part, each in by_part.items():
        print(f"{name:8} {part:7}", *(f"{value:.2f}" for value in each))
show_figure(
    dots_by_part(
        leans,
        among=list(RULES.values()),
        level=1,
        level_words="its share",
        ylabel="share of the weight / of the picture",
        title="How much the gate leans on each part",
    ).figure,
    alt="For mouth, eyes, brows and cheeks a dot for each of three seeds of the product and of "
    "BAM, against a line at one, a part's fair share. Most dots lie between three quarters and "
    "twice the share, and the seeds of one rule disagree.",
)

# %% tags=["guided", "claim"]
every = [value for by_part in leans.values() for each in by_part.values() for value in each]
assert 0.4 < min(every) and max(every) < 2.5  # nowhere a spotlight, nowhere blind
assert max(max(each) - min(each) for each in leans["BAM"].values()) > 0.1  # the seeds disagree

# %% [markdown] tags=["guided"]
# A lean, and no spotlight. In the stored run no part gets twice its share of the weight; BAM leans to the mouth, the product to eyes and brows, and but for the mouth, the seeds of one rule lie about as far apart as the rules do. Yet all of these readers read. How decided are the gates at all, and does the *channel's* gate depend on the face?

# %% tags=["guided"]
between = []
for rule in ("product", "bam"):
    for seed, reader in zip(SEEDS, readers[rule], strict=True):
        gate = reader.gate(few.frames[:, 0])
        with torch.no_grad():
            seen = reader.trunk.stage2(reader.trunk.conv1(2 * few.frames[:, 0].float() / 255 - 1))
            channel = reader.trunk.modulator.channel_att(seen)[:, :, 0, 0]  # (N, C)
        between.append(channel.std(0).mean().item())
        print(
            f"{RULES[rule]:8} seed {seed}: the gate is {gate.mean():.2f} ± {gate.std():.2f}; the channels' "
            f"scores differ by {channel.std(1).mean():.2f} in a face, by {between[-1]:.2f} between faces"
        )

# %% tags=["guided", "claim"]
assert min(between) > 0.05

# %% [markdown] tags=["guided"]
# Most of a gate is far from open and far from shut. But it does look at the face: the score of one channel differs from face to face, in the stored run about two thirds as much as the channels differ within one face. Here is what it raises and lowers, for one of them. Above each map stands $\sigma(c)$ of its channel, the gate at a place whose own score is zero:

# %% tags=["guided"]
reader = readers["bam"][0]
with torch.no_grad():
    seen = reader.trunk.stage2(reader.trunk.conv1(2 * few.frames[:1, 0].float() / 255 - 1))
    channel = reader.trunk.modulator.channel_att(seen)[0, :, 0, 0].sigmoid()
order = channel.argsort(descending=True).tolist()
rows = {"the face": few.frames[0, 0]}
for words, some in (("raised", order[:3]), ("lowered", order[-3:])):
    rows |= {f"channel {k}\n{words}, {channel[k]:.2f}": seen[0, k] for k in some}
show_figure(
    picture_row(rows, height=1.55),
    alt="A face and six maps of 12 by 12 places from the second stage: the three channels that "
    "the gate raises most and the three that it lowers most, each with its gate. The maps are "
    "coarse patterns of the face, its edges and its ground.",
)

# %% [markdown] tags=["guided"]
# Twelve by twelve places: you may guess an eye or a rim, and you should not.

# %% [markdown]
# Choose an emotion, a rule and an actor. On the left the gate before training; in the middle after it, the mean of the channels; on the right the one channel whose gate differs most from place to place. **Predict** before you move: will the bright places follow the emotion? What will the mean be under the product rule, which raises some channels by what it lowers others?


# %%
untrained = {}
for rule in ("product", "bam"):
    seed_everything(0)
    untrained[rule] = Reader(rule).eval()


def under_the_gate(emotion="happy", rule="bam", actor=3):
    """A drawn face under a gate before and after training."""
    units = torch.tensor(theatre.FACE)[[theatre.EMOTIONS.index(emotion)]]
    who, blue = torch.tensor([actor]), torch.tensor([theatre.LIGHTS.index("blue")])
    picture = theatre.draw_faces(units, who, size=SIZE, light=blue)
    reader = readers[rule][0]
    before, after = untrained[rule].gate(picture)[0], reader.gate(picture)[0]  # (C, h, w)
    widest = int(after.flatten(1).std(1).argmax())
    with torch.no_grad():
        says = theatre.EMOTIONS[int(reader(vision=picture[:, None] / 255)[0].argmax())]
    figure = gate_over_faces(
        picture.repeat(3, 1, 1, 1),
        torch.stack([before.mean(0), after.mean(0), after[widest]]),
        limits=(0, 1),
        words="gate",
        names=["before training", "after, mean", f"after, channel {widest}"],
        side=1.9,
    )
    ends = [f"from {each.min():.2f} to {each.max():.2f}" for each in (after.mean(0), after[widest])]
    return figure, (
        f"Actor {actor}, {emotion}, {RULES[rule]}, seed 0. Before training the gate is even. "
        f"After it, its mean over the channels runs {ends[0]}, and channel {widest} {ends[1]}. "
        f"The reader says {says}."
    )


explore(
    under_the_gate,
    emotion=list(theatre.EMOTIONS),
    rule=["bam", "product"],
    actor=(0, 23, 1),
)

# %% [markdown]
# Three settings of it, for a page that cannot move:

# %%
snapshot(
    under_the_gate,
    [
        {"emotion": "happy", "rule": "bam", "actor": 3},
        {"emotion": "surprised", "rule": "bam", "actor": 3},
        {"emotion": "happy", "rule": "product", "actor": 3},
    ],
    columns=1,
)

# %% tags=["claim"]
far = {  # of the mean over the channels from one half, at a place, for each seed
    rule: [(r.gate(few.frames[:, 0]).mean(1) - 0.5).abs().mean().item() for r in readers[rule]]
    for rule in ("product", "bam")
}
assert max(far["product"]) < 0.05 < min(far["bam"])

# %% [markdown]
# Some of BAM's bright places follow the mouth, and others stay at the rim of the picture, where no emotion is. And under the product rule the mean over the channels stays near one half everywhere, since a place that raises one channel lowers another: whoever draws that mean draws next to nothing.
#
# ## The hiding test
#
# A gate shows where a network *lets through*. What it *needs* is another question, and there is a better way to ask: take a part away, and see whether it misses it. With real pictures you put a grey patch over the part, and the network sees a face such as it has never seen. The theatre can do it cleanly: redraw the part **neutral**, and leave everything else.

# %%
patches = {part: where.float().mean(0) > 0.3 for part, where in places.items()}
hidden = {part: redrawn(stage, part, "neutral") for part in PARTS}
covered = {
    part: torch.where(patch, torch.tensor(128, dtype=torch.uint8), stage.frames[:, 0])
    for part, patch in patches.items()
}
show_figure(
    picture_row(
        {
            "as it is": stage.frames[1, 0],
            **{f"{part}\nneutral": hidden[part][1] for part in ("mouth", "eyes")},
            **{f"{part}\ncovered": covered[part][1] for part in ("mouth", "eyes", "cheeks")},
        },
        height=1.6,
    ),
    alt="One portrait six times: as it is; with a neutral mouth; with neutral eyes; and with grey "
    "patches over the mouth, the eyes, and the cheeks.",
)


# %%
def accuracy_on(reader, pictures):
    """The accuracy of a reader on pictures of the test clips."""
    with torch.no_grad():
        told = reader(vision=pictures[:, None] / 255)[0].argmax(1)
    return (told == test.labels).float().mean().item()


def fallen(rule, pictures):
    """How much accuracy each reader with one rule loses on changed pictures."""
    after = [accuracy_on(reader, pictures) for reader in readers[rule]]
    return np.subtract(scores[RULES[rule]], after).tolist()


falls = {name: {part: fallen(rule, hidden[part]) for part in PARTS} for rule, name in RULES.items()}
show_figure(
    dots_by_part(
        falls,
        level=0,
        level_words="not missed",
        ylabel="fall in accuracy",
        title="What a reader misses when a part is drawn neutral",
    ).figure,
    alt="For mouth, eyes, brows and cheeks the fall in accuracy of the readers without a gate, with "
    "the product and with BAM, a mark for each seed. Mouth and eyes cost much in all of them, brows "
    "and cheeks little.",
)
patch_cost = {}
for part in PARTS:
    patch_cost[part] = np.mean([fallen(rule, covered[part]) for rule in RULES])
    print(f"a grey patch over the {part:7} costs {patch_cost[part]:.2f} in the mean")

# %% tags=["claim"]
mean_fall = {
    part: np.mean([value for by_part in falls.values() for value in by_part[part]])
    for part in PARTS
}
assert min(mean_fall["mouth"], mean_fall["eyes"]) > 0.08
assert max(mean_fall["brows"], mean_fall["cheeks"]) < min(mean_fall["mouth"], mean_fall["eyes"])
assert abs(mean_fall["cheeks"]) < 0.03 and patch_cost["cheeks"] > mean_fall["cheeks"] + 0.02

# %% [markdown]
# Here is a clear answer, the same for all three rules: **mouth and eyes**, the brows a little, the cheeks not at all. The readers without a gate need the same parts as the others. So the paper's sentence about eyes and mouth is true of the *readers*, and we could not have told it from their *gates*.
#
# And look at the printed lines. A patch over the cheeks costs something, though nothing is to be read from a cheek: it covers a tear as well, and makes a face that nobody has. Whoever hides with grey measures the part *and* the patch.

# %% [markdown] tags=["instructor"]
# For the instructor: the routes, questions and common wrong answers of this lesson are in [docs/instructors/08.md](../docs/instructors/08.md).

# %% [markdown]
# ## What it costs
#
# The third idea of the trunk is to be cheap. A plain 3x3 convolution does two jobs at once: it looks around, and it mixes channels. A **depthwise-separable** one does them one after the other: one 3x3 filter for each channel, which looks (*depthwise*), then a 1x1 convolution that mixes (*pointwise*).

# %% [markdown] tags=["exercise"]
# ### Exercise 08.3: what a convolution costs
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# A map has `in_channels` and `size = (H, W)`; the window is `kernel_size` squared (odd, padded by half a window), the `stride` as given, no biases. Return two pairs of whole numbers, each (parameters, multiply-adds): of the plain convolution to `out_channels`, and of the separable one, whose depthwise filter has the stride. One multiply-add is one weight times one value; count them for one picture.


# %% tags=["exercise"]
def separable_cost(in_channels, out_channels, kernel_size, size, stride=1):
    """Count (parameters, multiply-adds): a plain convolution, and a depthwise one with a 1x1."""
    ### BEGIN SOLUTION
    places = -(-size[0] // stride) * -(-size[1] // stride)
    window = kernel_size**2
    plain = window * in_channels * out_channels
    separable = window * in_channels + in_channels * out_channels
    return (plain, plain * places), (separable, separable * places)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("08.3", separable_cost)

# %% [markdown] tags=["hint-1"]
# A plain convolution has one window for each *pair* of channels: $k^2 \cdot C_\text{in} \cdot C_\text{out}$ weights. Each weight is used once for every place that comes out.

# %% [markdown] tags=["hint-2"]
# Depthwise: one window for each channel, $k^2 \cdot C_\text{in}$. Pointwise: one weight for each pair, $C_\text{in} \cdot C_\text{out}$. Add the two.

# %% [markdown] tags=["hint-3"]
# Padded by half a window, a stride $s$ leaves $\lceil H / s \rceil$ rows: `-(-H // s)` rounds up in whole numbers. Both layers of the separable one end on the small map, since the depthwise layer comes first and has the stride.

# %% [markdown] tags=["solution-note"]
# Divide one by the other: $\frac{1}{C_\text{out}} + \frac{1}{k^2}$. With many channels a 3x3 window cannot save more than a factor of nine, and nearly all that is left is the 1x1. That is why ShuffleNetV2 goes on and spares half of the 1x1 as well.

# %% [markdown]
# Count a real layer of the trunk, 116 channels on 28 by 28, and the trunk's own unit. That one leaves half of the channels alone and works on the other half: 1x1, depthwise 3x3, 1x1. **Predict** the unit's share of the plain convolution's cost.

# %% tags=["nbval-check-output"]
plain, separable = use("08.3")(116, 116, 3, (28, 28))
point, half = use("08.3")(58, 58, 1, (28, 28))[0], use("08.3")(58, 58, 3, (28, 28))[1]
unit = tuple(a + b for a, b in zip(point, half, strict=True))
costs = {"plain": plain, "separable": separable, "shuffle unit": unit}
for name, (parameters, products) in costs.items():
    show(
        f"{name:13} parameters {parameters:7,}  multiply-adds {products:11,}  share",
        parameters / plain[0],
    )

layers = {
    "plain": nn.Conv2d(116, 116, 3, padding=1, bias=False),
    "separable": nn.Sequential(
        nn.Conv2d(116, 116, 3, padding=1, groups=116, bias=False),
        nn.Conv2d(116, 116, 1, bias=False),
    ),
    "shuffle unit": InvertedResidual(in_channels=116, out_channels=116, stride=1).eval(),
}
counted = {
    name: sum(each.weight.numel() for each in layer.modules() if isinstance(each, nn.Conv2d))
    for name, layer in layers.items()
}
show("weights of the convolutions, counted:", counted)

# %% [markdown]
# The formula holds to the last weight. Whether the *clock* agrees is another matter:


# %%
def fastest(layer, x, tries=12):
    """The shortest of some runs, in seconds."""
    times = []
    for _ in range(tries):
        start = time.perf_counter()
        with torch.no_grad():
            layer(x)
        times.append(time.perf_counter() - start)
    return min(times)


x = torch.rand(8, 116, 28, 28)
clock = {name: fastest(layer, x) for name, layer in layers.items()}
for name in ("separable", "shuffle unit"):
    by_count = counted["plain"] / counted[name]
    by_clock = clock["plain"] / clock[name]
    print(f"{name:13} {by_count:4.1f} times cheaper by count, {by_clock:4.1f} times by this clock")

# %% [markdown]
# The two numbers of a line need not agree, and on your machine they will be others. Multiply-adds are a promise of the arithmetic. A machine also has to fetch the numbers, and a depthwise layer does little with each number that it fetches; the shuffle unit has batch norms on top (they bring each channel to mean 0 and deviation 1 over the batch). So report both, and say on which machine.
#
# ## Deal the cards anew
#
# The unit leaves half of the channels alone, so there must be something that brings the halves together.

# %% [markdown] tags=["exercise"]
# ### Exercise 08.4: the channel shuffle
# Difficulty ★☆☆ · Importance ★★☆ · 6 minutes
#
# `x` is `(N, C, H, W)`, its channels lie in `groups` equal groups, one after the other. Deal them anew: first the first of each group, then the second of each, and so on. Six channels in two groups, 0 1 2 | 3 4 5, become 0 3 1 4 2 5. Nothing moves in height and width.


# %% tags=["exercise"]
def shuffle_channels(x, groups):
    """Deal the channels out anew: one of each group in turn."""
    ### BEGIN SOLUTION
    n, channels, height, width = x.shape
    dealt = x.reshape(n, groups, channels // groups, height, width).transpose(1, 2)
    return dealt.reshape(n, channels, height, width)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("08.4", shuffle_channels)

# %% [markdown] tags=["hint-1"]
# Write the channels as a table: one row for each group, one column for each place in it. You want to read it column by column.

# %% [markdown] tags=["hint-2"]
# Reading a table by columns is a transposition: split the channel axis in two, exchange the two, join them again.

# %% [markdown] tags=["hint-3"]
# `x.reshape(n, groups, channels // groups, height, width).transpose(1, 2)`, then reshape to the old shape. Keep height and width as axes of their own.

# %% [markdown] tags=["solution-note"]
# No weights, no arithmetic: a shuffle only moves. In einops it is `rearrange(x, "n (g c) h w -> n (c g) h w", g=groups)`.

# %% [markdown]
# What is it for? Follow eight channels through several units. We keep only one bit for each pair: *does this channel know of that one?* **Predict** how many of the 64 bits are True without the shuffle, after one unit and after five.


# %% tags=["nbval-check-output"]
def known_pairs(units, deal):
    """How many of the 64 pairs of eight channels have met after some units."""
    knows = torch.eye(8)[None, :, :, None]  # (1, channel, knows of channel, 1)
    for _ in range(units):
        kept, worked = knows.chunk(2, dim=1)
        worked = worked.sum(1, keepdim=True).expand_as(worked)  # a 1x1 convolution mixes all
        knows = torch.cat([kept, worked], dim=1)
        knows = use("08.4")(knows, 2) if deal else knows
    return int((knows > 0).sum())


for name, deal in (("without the shuffle", False), ("with it", True)):
    show(name, "of 64 pairs:", *[known_pairs(units, deal) for units in (1, 2, 3, 4, 5)])

# %% [markdown]
# Without it, the first half goes through the whole stage *untouched*: a stage of four units would be a bypass with a little network beside it. With it, what one unit has made the next one can use. (Not all 64: the first channel stays the first, whatever is dealt, until a unit of stride 2 works on all.) Algorithm 5 prints neither the split nor the shuffle nor the stride, and its text calls the block an inverted residual with shortcuts, MobileNet's name for something else (A-10). The public code has ShuffleNetV2's unit, and so has our library.
#
# ## The algorithms as printed
#
# Nobody builds from pseudocode without filling gaps, and these lines can be run. Here are Algorithms 2 and 3, line by line. Look at what each `forward` returns:


# %%
class ChannelAttentionAsPrinted(nn.Module):
    """Algorithm 2, line by line, with one layer between (n = 1)."""

    def __init__(self, g=116, r=16, n=1):
        super().__init__()
        widths = [g, *[g // r] * n, g]
        self.loop = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 1), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in pairwise(widths)  # two steps; the printed loop takes a third
        )
        self.fully_connected = nn.Linear(g, g)

    def forward(self, input):
        x = F.adaptive_avg_pool2d(input, 1)
        for layer in self.loop:
            x = layer(x)
        return self.fully_connected(input.movedim(1, -1)).movedim(-1, 1)


class SpatialAttentionAsPrinted(nn.Module):
    """Algorithm 3, line by line."""

    def __init__(self, channels=116, f=7, d=2):
        super().__init__()
        self.loop = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, f, 3, padding=1), nn.BatchNorm2d(f), nn.ReLU())
            for _ in range(d)
        )
        self.conv = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, input):
        for layer in self.loop:
            x = layer(input)  # noqa: F841 - as printed
        return self.conv(input)


# %% tags=["nbval-check-output"]
x = torch.rand(3, 116, 28, 28)
for layer in (ChannelAttentionAsPrinted(), SpatialAttentionAsPrinted()):
    out = layer(x)
    out.square().mean().backward()
    idle = sum(p.numel() for p in layer.loop.parameters() if p.grad is None)
    of = sum(p.numel() for p in layer.loop.parameters())
    show(
        type(layer).__name__,
        out.shape,
        "parameters of the loop without a gradient:",
        idle,
        "of",
        of,
    )

# %% [markdown]
# The last line of both reads `input`, not `x`: the loop is computed and thrown away, and what remains is one layer. (The channel attention then has a score for each *place* as well.) Almost surely a slip of the pen: `x` for `input`, the layers chained, and it is BAM.
#
# Two more numbers that are right for one size only. Algorithm 4 cuts at 28 and 56; and the public code's pooling has a window as wide as the map is high:

# %% tags=["nbval-check-output"]
for side in (56, 24, 64):
    x = torch.zeros(1, 1, side, side)
    cuts = x[..., 0:28, 0:28], x[..., 28:56, 0:28], x[..., 0:28, 28:56], x[..., 28:56, 28:56]
    show("a map of", side, "->", *[tuple(cut.shape[2:]) for cut in cuts])

wide = torch.arange(12.0).reshape(1, 1, 2, 6)
show(
    "mean of a wide map:",
    wide.mean(),
    "with a window of its height:",
    F.avg_pool2d(wide, 2)[0, 0, 0, 0],
)
try:
    F.avg_pool2d(wide.mT, wide.mT.shape[2])
except RuntimeError:
    print("a high map: the window does not fit")
try:
    Modulator(32)(torch.rand(1, 32, 4, 4))
except ValueError as error:
    print("one frame in training:", error)

# %% [markdown]
# A map of 24 lands in the first patch whole and leaves the other three empty; one of 64 loses its right and lower edge, without a word. The last message is our library's: batch norm inside the channel gate compares pictures with each other, and one picture has nobody to be compared with.
#
# ## From the paper
#
# | the paper | in the library | what had to be decided |
# |---|---|---|
# | Algorithm 1, convolution block | `ConvBlock` | two-dimensional on frames, with batch norm and ReLU, which the algorithm gives to audio only (A-01, A-02) |
# | Algorithm 2, channel attention | `ChannelAttention` | fully connected layers, chained; a mean over any shape (A-04) |
# | Algorithm 3, spatial attention | `SpatialAttention` | chained; two convolutions, dilation 4 (A-05) |
# | "combined by dot product" | `Modulator(combine=...)` | sigmoid of the product, times the map; BAM's form on request (A-06) |
# | attention behind the first block | `VisualTrunk` | behind stage 2: only there the sizes agree (A-07) |
# | Algorithm 4, local feature extractor | `LocalFeatureExtractor` | cut at half, joined in space, depthwise filters (A-08, A-09) |
# | Algorithm 5, inverted residual block | `InvertedResidual` | ShuffleNetV2's unit, 4 + 8 + 4 of them (A-10) |
# | from a frame's maps to a sequence: not said | `VisualTrunk` | the mean over places, one vector a frame (A-11) |
#
# And the credit, which the paper does not give (A-37): the two attentions are **BAM's**, the units **ShuffleNetV2's**, the local extractor and the whole arrangement **EfficientFace's**, whose public weights fit our trunk name by name.
#
# ## Take-aways
#
# - A channel gate asks *which question matters*, a spatial gate *which place*. Neither competes: sigmoids, no softmax.
# - How two scores are joined is no detail. A product is a saddle, flat where training starts; a sum is a slope.
# - A gate that is there need not be worth anything. Take it out, with seeds, and look.
# - Three networks of about the same accuracy have three different maps. A map shows what is let through, not what is needed; hiding a part asks that question, and redrawing it asks it cleanly.
# - Count the cost by formula, confirm it by counting, and let the clock have the last word.
# - Run pseudocode as printed. If its last line reads the input, its loop is decoration.
#
# ## Where to go next
#
# [Lesson 09](09_avt_ca.ipynb) takes one vector for each frame from this trunk, gives the voice a trunk of its own, and lets the two streams talk: the whole AVT-CA.
#
# ## References
#
# - AVT-CA: Algorithms 1 to 5 and the text between them; ledger.
# - Park, Woo, Lee and Kweon, *BAM: bottleneck attention module* (2018), arXiv:1807.06514: equations 1 and 2.
# - Ma, Zhang, Zheng and Sun, *ShuffleNet V2* (2018), arXiv:1807.11164: Figure 3 (c, d), and why counted operations are not time.
# - Zhao, Liu and Zhou, *Robust lightweight facial expression recognition network with label distribution training* (2021): EfficientFace.
# - Howard et al., *MobileNets* (2017), arXiv:1704.04861: the cost of a depthwise-separable convolution.
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, preset `portraits`.
