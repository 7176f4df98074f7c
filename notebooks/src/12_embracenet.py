# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 12 EmbraceNet
#
# **After this lesson you can**
#
# 1. build EmbraceNet: docking, one draw for each feature, shares that follow what is available, and the row that has nothing;
# 2. say why its evaluation should not draw, what the expected value is and how fast sampling settles on it, and what a fusion of that kind cannot learn;
# 3. measure robustness instead of claiming it: accuracy for every pattern of missing streams, against what is possible, and against the plain remedy.
#
# **Before you start:** lesson 01 (masks), lesson 05 (concatenation, late fusion, ceilings, seeds). **Time:** about 70 minutes.

# %%
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmlib.checks import check, show, use
from mmlib.data import Standardised, theatre
from mmlib.layers import EmbraceNet, ModalityDropout, masked_max, masked_mean
from mmlib.metrics import compare
from mmlib.plots import apply_style, differences, show_figure
from mmlib.plots.embrace import one_draw, patterns, settling, trust, winners
from mmlib.training import fit, predict, seed_everything
from mmlib.widgets import explore, snapshot

apply_style()
NAMES = ("audio", "text", "vision")  # sorted: the order of every choice and share below

# %% [markdown]
# ## A face out of view
#
# A robot listens to somebody who turns away to open the fridge. For four seconds there is no face. Then the radio drowns the voice. A model that was trained on complete clips now gets gaps, and it has to answer all the same.
#
# What do we feed it in the gap? Zeros, says everybody. But to a network that puts streams side by side a zero is not *nothing*. It is a value like any other, and one that it has never met. In lesson 05 you covered the camera, and the concatenation fell below what voice and words alone could tell.
#
# EmbraceNet (Choi and Lee, 2019) is an architecture made for gaps, and the fourth paper of this course, on emotions in conversations, uses it as its last layer to "assure the robustness", and has *robust* in its title. It never takes a stream away to see (E-31). So this lesson builds the layer, and then
# makes the missing experiment.
#
# **Predict, and write it down:** three ways to fuse, each trained on complete clips, then judged without the face: side by side, the mean of the three, and EmbraceNet. How do they rank? And if all three have met gaps in training?
#
# ## The play
#
# *Masks*, as in lesson 05: each stream shows an emotion of its own, near to the one that is felt, so no stream tells everything, and what each *set* of streams can tell is a sum over tables. All clips are synthetic. For speed the voice comes as the ten numbers behind it (pitch, loudness, tempo, ...) and not as sound. One
# vector a stream, as the paper's **experts** (one network a stream, each trained alone; lesson 13) deliver it:


# %% tags=["nbval-check-output"]
def vectors(streams):
    """One vector a stream: the mean over its steps, for words also the maximum, (N, 1, D)."""
    found = {}
    for name in streams.modalities:
        steps, real = streams.inputs[name].float(), streams.masks[name]
        found[name] = masked_mean(steps, real)
        if name == "text":
            found[name] = torch.cat([found[name], masked_max(steps, real)], dim=-1)
    there = {name: streams.masks[name].any(1, keepdim=True) for name in found}
    return replace(streams, inputs={n: v[:, None] for n, v in found.items()}, masks=there)


clips = theatre.make("masks", n=4000, seed=0)
play = vectors(clips.features(audio="units"))
judged = use("05.2")(play.group, 12, 0)  # half of the 24 actors, as in lesson 05
play = play.with_split(np.where(judged, "test", "train"))
learn, test = play.subset("train"), play.subset("test")
for name, vector in play.inputs.items():
    show(name, vector.shape)
show("to learn from:", len(learn), "to be judged on:", len(test), "classes:", play.num_outputs)

# %% [markdown]
# ## One place, one meaning
#
# Sixty-four numbers of text and ten of voice cannot stand in for each other: feature 3 of the one has nothing to do with feature 3 of the other. So first every stream **docks**: one linear layer and a ReLU bring it to a common width $c$ (the paper: 256).
#
# Then comes the idea. For each feature $i$ of each sample, **one stream is drawn by lot, and the feature is taken from it**; the others' are thrown away. Whoever decides on top of this can never know who will fill place $i$. So the docking layers have to learn to say *the same thing in the same place*. And if they have,
# a stream that is absent is simply one that is not drawn.
#
# A picture before the formula: the library's layer, untrained, with twelve features only, and one clip.

# %%
seed_everything(4)
small = EmbraceNet(input_dims=play.widths, embracement_dim=12)
clip = {name: test.inputs[name][:1, 0] for name in NAMES}
with torch.no_grad():
    embraced, choice = small(clip, return_choice=True)  # (1, 12), and (1, 12, 3) one-hot
    docked = torch.stack([small.docking[name](clip[name]).relu() for name in NAMES], dim=-1)
show_figure(
    one_draw(docked[0], choice[0].argmax(-1), NAMES, title="One sample, one draw").figure,
    alt="Three rows of twelve squares: docked audio, docked text, docked vision, each with its "
    "value. In every column one square is filled, the one that was drawn; the others are pale and "
    "hatched. A fourth row, embraced, repeats the filled squares with the letters A, T or V.",
)

# %% [markdown]
# The paper, Sections 4.2.3 and 4.2.4, with $\mathbf{d}^{(k)} = \text{ReLU}(W_k \mathbf{x}^{(k)} + b_k)$:
#
# $$\mathbf{r}_i \sim \text{Multinomial}(1, \mathbf{p}) \;(13) \qquad d_i'^{(k)} = r_i^{(k)} d_i^{(k)} \;(14) \qquad e_i = \sum_k d_i'^{(k)} \;(15)$$
#
# $\mathbf{p}$ has one share for each stream, and sums to one. Three things one must settle. The letter $m$ is both the number of streams and an index (E-26); read: one draw for each *feature*, of each *sample*. What $\mathbf{p}$ is, the paper does not say; uniform is the usual choice (E-25). And in which order the streams stand: theirs
# is face, text, audio (E-24); ours is always `sorted`, so that nobody has to remember.

# %% [markdown] tags=["exercise"]
# ### Exercise 12.1: docking and selection
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# `inputs` maps the name of each stream to `(B, D)`, each stream with its own `D`; `docks` maps the same names to linear layers of one output width `c`; `probabilities` is `(B, M)`: for each sample the share of each stream, **in the order of `sorted(inputs)`**.
#
# Dock each stream (its layer, then a ReLU), draw for each sample **and** each feature one stream, and return two tensors: the embraced features `(B, c)`, and the place of the stream that each was taken from, `(B, c)` whole numbers. No loop over samples or features.


# %% tags=["exercise"]
def embrace(inputs, docks, probabilities):
    """Dock every stream, then draw for each sample and feature the stream it is taken from."""
    ### BEGIN SOLUTION
    docked = torch.stack([docks[name](inputs[name]).relu() for name in sorted(inputs)], dim=-1)
    chosen = torch.multinomial(probabilities, docked.shape[1], replacement=True)  # (B, c)
    return docked.gather(-1, chosen[..., None]).squeeze(-1), chosen
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("12.1", embrace)

# %% [markdown] tags=["hint-1"]
# Put the docked streams into one tensor `(B, c, M)`, in sorted order: `torch.stack([...], dim=-1)`. The dictionary's own order is anybody's guess.

# %% [markdown] tags=["hint-2"]
# `torch.multinomial(probabilities, c, replacement=True)` draws `c` places for each row: `(B, c)`. Without replacement, no stream could win twice.

# %% [markdown] tags=["hint-3"]
# `docked.gather(-1, chosen[..., None])` picks along the last axis and gives `(B, c, 1)`; `.squeeze(-1)` takes the one away. What is not picked gets no gradient, and nothing is averaged.

# %% [markdown] tags=["solution-note"]
# Eq. 14 multiplies by a one-hot mask and Eq. 15 sums: the same numbers for more memory, and where an absent stream holds NaN, NaN times zero is NaN. The library draws by comparing one uniform number for each feature with the cumulated shares.

# %% [markdown]
# ## Ask it twice
#
# In training, the lot does what dropout does: nobody may lean on one stream. But what about *afterwards*, when the model shall decide? The paper is silent. The public implementation of EmbraceNet goes on drawing (E-27). So ask such a model twice about the same clips. **Predict:** how often does it change its mind? Random weights first, with one
# linear layer on top for the decision.

# %%
seed_everything(0)
sampling = EmbraceNet(input_dims=play.widths, evaluation="sample").eval()
decide = nn.Linear(256, play.num_outputs)
faces_and_all = {name: test.inputs[name][:, 0] for name in NAMES}
with torch.no_grad():
    first, second = (decide(sampling(faces_and_all)).argmax(1) for _ in range(2))
changed = (first != second).float().mean().item()
print(f"the same {len(test)} clips, the same weights, asked twice: {changed:.0%} changed")

# %% tags=["claim"]
assert changed > 0.2

# %% [markdown]
# An answer that depends on the moment of asking is no answer. You cannot reproduce a table with it, and the clip before decides about this one: the numbers come from one stream of random draws. So what would be the *right* value without the lot? The one that the draws have on average:
#
# $$\mathbb{E}[e_i] = \sum_k p_k \, d_i^{(k)} \qquad \mathbb{V}[e_i] = \sum_k p_k \left(d_i^{(k)} - \mathbb{E}[e_i]\right)^2$$

# %% [markdown] tags=["exercise"]
# ### Exercise 12.2: the expected embracement
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# `docked` is `(B, c, M)`; `probabilities` sums to one over the streams and is `(M,)`, the same for all samples, or `(B, M)`. Return the mean and the **standard deviation** of each embraced feature over all draws, both `(B, c)`, in the dtype of `docked`. Nothing is drawn.
#
# What stands in a stream whose share is zero does not matter, not even if it is NaN. And where all streams say the same, the deviation is zero, not NaN.


# %% tags=["exercise"]
def expected_embracement(docked, probabilities):
    """Mean and standard deviation of an embraced feature over all draws, exactly."""
    ### BEGIN SOLUTION
    share = probabilities if probabilities.ndim == 2 else probabilities[None]
    share = share[:, None, :]  # (B, 1, M) or (1, 1, M)
    docked = docked.masked_fill(share == 0, 0.0)  # NaN times 0 is NaN
    mean = (share * docked).sum(-1)
    spread = (share * (docked - mean[..., None]).square()).sum(-1)
    return mean, spread.sqrt()
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("12.2", expected_embracement)

# %% [markdown] tags=["hint-1"]
# A weighted mean over the last axis. `probabilities` needs an axis for the features: `(M,)` becomes `(1, 1, M)`, `(B, M)` becomes `(B, 1, M)`. With `B` equal to `c`, broadcasting the wrong way raises no error.

# %% [markdown] tags=["hint-2"]
# The deviation is the root of the weighted mean of the *squared distances from the mean*. The textbook short cut, the mean of the squares minus the square of the mean, comes out a little below zero where nothing varies, and the root of that is NaN.

# %% [markdown] tags=["hint-3"]
# Replace before you multiply: `docked.masked_fill(share == 0, 0.0)`. Then no step needs a float32 of its own, and half precision stays half precision.

# %% [markdown] tags=["solution-note"]
# In the library this is `EmbraceNet(evaluation="expected")`, its default; `"sample"` is there for comparison with the public code. Training draws in both.

# %% [markdown]
# Does the mean of many draws come to it? Theory says: at a distance that shrinks with $1/\sqrt{n}$, and *your deviation* says from where it starts. Draw a thousand times for one clip, and look:

# %%
mean_of, draw = use("12.2"), use("12.1")
with torch.no_grad():
    docked = torch.stack([sampling.docking[n](faces_and_all[n][:1]).relu() for n in NAMES], dim=-1)
    uniform = torch.full((1, 3), 1 / 3)
    expected, deviation = mean_of(docked, uniform)
    many = {name: faces_and_all[name][:1].expand(1000, -1) for name in NAMES}
    drawn, _ = draw(many, sampling.docking, uniform.expand(1000, 3))  # (1000, 256)
counts = [1, 3, 10, 30, 100, 300, 1000]
far = []
for count in counts:
    means = drawn[: 1000 // count * count].unflatten(0, (-1, count)).mean(1)
    far.append((means - expected).square().mean().sqrt().item())
exact = deviation.square().mean().sqrt().item()
show_figure(
    settling(counts, far, exact).figure,
    alt="Both axes logarithmic: the distance from the expected embracement over the number of "
    "draws averaged, 1 to 1000. The measured points lie on a falling straight line, the exact "
    "deviation divided by the root of n.",
)

# %% tags=["claim"]
line = [exact / count**0.5 for count in counts]
assert all(0.75 < found / right < 1.33 for found, right in zip(far, line, strict=True))

# %% [markdown]
# A hundred draws leave a tenth of the noise, and the exact value needs none. There is no reason to sample.
#
# ## You have met it before
#
# Put one linear layer on the expected embracement, and look closely. $W \sum_k p_k \mathbf{d}^{(k)} + b = \sum_k p_k (W \mathbf{d}^{(k)} + b)$: it is the **mean of what one classifier says to each stream alone**. That is late fusion, the mean of logits of lesson 05, with one classifier for all.

# %% tags=["nbval-check-output"]
with torch.no_grad():
    shares = uniform[0]
    docked = torch.stack([sampling.docking[n](faces_and_all[n]).relu() for n in NAMES], dim=-1)
    together = decide(mean_of(docked, shares)[0])
    each = torch.stack([decide(docked[..., k]) for k in range(3)], dim=1)  # (B, M, C)
    show("late fusion, to the last digits:", torch.allclose(together, each.mean(1), atol=1e-5))

# %% [markdown]
# Good news where streams err independently, as in *masks*: adding logits is the best there is. Bad news where they explain each other: glad words in an ironic tone. Lesson 05 proved that no such sum gets more than three of the four cells right.

# %% [markdown] tags=["guided"]
# **Predict:** is that the fault of the embracement, or of the single layer behind it? The square in its purest form: two streams of one bit each, and the label is whether they differ.

# %% tags=["guided"]
bits = torch.cartesian_prod(torch.arange(2), torch.arange(2)).repeat(64, 1)
words_and_tone = {"text": F.one_hot(bits[:, 0]).float(), "audio": F.one_hot(bits[:, 1]).float()}
differ = bits[:, 0] ^ bits[:, 1]
solved = {}
for behind in ("one linear layer", "a hidden layer"):
    solved[behind] = []
    for seed in range(3):
        seed_everything(seed)
        fuse = EmbraceNet(input_dims={"text": 2, "audio": 2}, embracement_dim=16)
        head = nn.Linear(16, 2)
        if behind == "a hidden layer":
            head = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 2))
        model = nn.ModuleList([fuse, head])
        solver = torch.optim.AdamW(model.parameters(), 2e-2)
        for _ in range(250):
            solver.zero_grad()
            F.cross_entropy(head(fuse(words_and_tone)), differ).backward()
            solver.step()
        model.eval()
        right = head(fuse(words_and_tone)).argmax(1) == differ
        solved[behind].append(right.float().mean().item())
    print(f"{behind:17}", *(f"{share:.2f}" for share in solved[behind]))

# %% tags=["guided", "claim"]
assert max(solved["one linear layer"]) <= 0.75
assert np.mean(solved["a hidden layer"]) > 0.9

# %% [markdown] tags=["guided"]
# The embracement is not to blame: a hidden layer behind it finds what the pair tells. But the paper puts a classifier directly on the embraced vector, and there all finding of that kind is left to what comes *before*, its crossmodal transformer (lesson 13).

# %% [markdown]
# ## Who is there
#
# Now the gaps. Let $a_k$ be 1 if a sample has stream $k$. A stream that is absent must not win: $p_k \leftarrow p_k a_k / \sum_j p_j a_j$. One line, and the same for training and evaluation.
#
# What if a sample has *nothing*? The camera looks at the wall, nobody speaks, and the batch goes on. Here is that one line, with a batch whose clip 1 is empty. This cell is broken on purpose: **predict** what training makes of it, and what evaluation.

# %%
there = torch.tensor([[True, True, True], [False, False, False], [False, True, True]])
left = uniform * there
broken = left / left.sum(1, keepdim=True)
three = {name: value[:3] for name, value in faces_and_all.items()}
with torch.no_grad():
    try:
        draw(three, sampling.docking, broken)
    except RuntimeError as error:
        print("training, which draws: RuntimeError,", str(error).splitlines()[0])
    docked = torch.stack([sampling.docking[n](three[n]).relu() for n in NAMES], dim=-1)
    logits = decide(mean_of(docked, broken)[0])
    print("evaluation, which does not:", logits.isnan().any(1).tolist(), logits.argmax(1).tolist())

# %% tags=["claim"]
assert logits.isnan().any(1).tolist() == [False, True, False]

# %% [markdown]
# Training stops with a message about probabilities that names no clip (E-28). Evaluation is worse: it names a class. Zero divided by zero is NaN, and the largest of eight NaNs is some class with a number, in your table, without a word.
#
# There are two honest answers, and which is right depends on who asks. A *training set* with an empty clip is a mistake: say which one, and stop. A *robot* may not stop: let the fused vector be zeros, which leaves the decision to the classifier's bias, the same answer for every empty clip.

# %% [markdown] tags=["exercise"]
# ### Exercise 12.3: the row that has nothing
# Difficulty ★★☆ · Importance ★★★ · 10 minutes
#
# `probabilities` is `(M,)` or `(B, M)`, `availability` `(B, M)` boolean. Return the shares `(B, M)`, in the dtype of `probabilities`: an absent stream has none, and the others' keep their proportions and sum to one.
#
# A sample is **empty** if no stream with a share above zero is there. With `on_empty="zeros"` its shares are all zero. With `on_empty="raise"`, raise a `ValueError` whose message names all the empty samples by their numbers, counted from 0, and no other number.


# %% tags=["exercise"]
def shares_of(probabilities, availability, on_empty):
    """Share the features of each sample among the streams that it has."""
    ### BEGIN SOLUTION
    left = probabilities * availability  # (B, M)
    total = left.sum(-1, keepdim=True)
    empty = (total == 0).squeeze(-1)
    if on_empty == "raise" and empty.any():
        rows = empty.nonzero().flatten().tolist()
        raise ValueError(f"samples {rows} have no stream to take a feature from")
    return left / total.masked_fill(total == 0, 1.0)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("12.3", shares_of)

# %% [markdown] tags=["hint-1"]
# Multiply first, then divide by the sum of each row, `keepdim=True`. A boolean times a number is a number of the same dtype; a softmax would give the absent a share.

# %% [markdown] tags=["hint-2"]
# The total tells who is empty, not the availability: a stream may be there and have a share of zero. Divide by a total in which 0 has become 1, and zero stays zero.

# %% [markdown] tags=["hint-3"]
# `(total == 0).squeeze(-1).nonzero().flatten().tolist()` are the numbers. `total.masked_fill(total == 0, 1.0)` is the safe divisor. A small `eps` in the sum would make every row sum to a little less than one.

# %% [markdown] tags=["solution-note"]
# `raise` has a price on a GPU: to know whether a row is empty, the program must wait for the device. The library's layer pays it where an availability is given; with `on_empty="zeros"` the availability alone costs no waiting.

# %% [markdown]
# Mended, both ways. And with that you have the whole layer: your three functions together are the library's `EmbraceNet`, gaps, NaN and all.

# %% tags=["nbval-check-output"]
try:
    use("12.3")(uniform[0], there, "raise")
except ValueError:
    show("training: refused, and the message names clip 1")
shares = use("12.3")(uniform[0], there, "zeros")
gaps = {n: x.masked_fill(~there[:, k, None], torch.nan) for k, (n, x) in enumerate(three.items())}
with torch.no_grad():
    docked = torch.stack([sampling.docking[n](gaps[n]).relu() for n in NAMES], dim=-1)
    mine = use("12.2")(docked, shares)[0]
    library = EmbraceNet(input_dims=play.widths, on_empty="zeros").eval()
    library.load_state_dict(sampling.state_dict())
    theirs = library(gaps, availability=there)
show("NaN in absent streams:", int(sum(x.isnan().any(1).sum() for x in gaps.values())), "vectors")
show("my three functions, the library's layer:", torch.allclose(mine, theirs, atol=1e-6))
show("the empty clip's vector is zero:", not theirs[1].any().item())

# %% [markdown]
# A word on precision (E-29). Where the toggles of the lot are made in float32, whatever comes in, a model in half precision stops at the first product. Here nothing is tied to a dtype or a device:

# %% tags=["nbval-check-output"]
half = EmbraceNet(input_dims=play.widths, on_empty="zeros").bfloat16()
narrow = {name: x.bfloat16() for name, x in three.items()}
show("training:", half(narrow, availability=there).dtype)
show("evaluation:", half.eval()(narrow, availability=there).dtype)

# %% [markdown]
# ## Who won which feature
#
# Untick a box, and a stream is gone. Whose squares change hands, and whose do not? The lots are the same every time (each stream has a random number for each place, and the largest wins; the shares are added as their logarithm), so you see only what the gap changes. Then give one stream more weight: `trust in vision` is how
# many times the share of another one it gets.


# %%
def draw_embracement(trust_in_vision, audio, text, vision):
    """Draw who wins each of 96 features, and the shares."""
    available = torch.tensor([[audio, text, vision]])
    weights = torch.tensor([1.0, 1.0, float(trust_in_vision)])
    shares = use("12.3")(weights / weights.sum(), available, "zeros")[0]
    uniform_numbers = torch.rand(96, 3, generator=torch.Generator().manual_seed(3))
    luck = -(-uniform_numbers.log()).log()  # Gumbel: the largest of log p + luck is drawn with p
    chosen = (shares.log() + luck).argmax(-1)
    if not available.any():
        chosen = torch.full((96,), -1)
    here = [name for name, there in zip(NAMES, available[0].tolist(), strict=True) if there]
    won = ", ".join(f"{n} {int((chosen == k).sum())}" for k, n in enumerate(NAMES))
    alt = f"96 lettered squares and bars of the shares. Available: {', '.join(here) or 'nothing'}. "
    alt += f"Trust in vision {trust_in_vision:g}. Features won: {won}."
    return winners(chosen, NAMES, shares.tolist()), alt


explore(
    draw_embracement,
    trust_in_vision=(0.0, 2.0, 0.25),
    audio=True,
    text=True,
    vision=True,
)

# %% [markdown]
# Three of its settings, for a page that cannot move: all there, no face, nothing at all.

# %%
snapshot(
    draw_embracement,
    [
        {"audio": True, "text": True, "vision": True, "trust_in_vision": 1.0},
        {"audio": True, "text": True, "vision": False, "trust_in_vision": 1.0},
        {"audio": False, "text": False, "vision": False, "trust_in_vision": 1.0},
    ],
    columns=1,
)

# %% [markdown]
# When the face goes, its squares are shared out and all the others stay. That is the promise: a gap takes a third of the features away and puts others in the same place, which *should* mean the same. Whether they do is a question about training.
#
# ## Does it help?
#
# Now the experiment that the paper did not make (E-31). The numbers that follow are this course's own, on synthetic clips.
#
# Three fusions that share everything but one line. Each docks at width 256 (the paper's) and decides by one linear layer. **concat** puts the docked streams side by side, absent ones as zeros. **EmbraceNet** draws in training. And between them a control that is often left out: the **mean of the docks**, the expected embracement
# *also in training*. It has the one place for all, but no lot. What EmbraceNet gains over it is the lot's, and only that.
#
# And each once more with **modality dropout** (E-30): in training, every stream is taken away in three of ten samples, never the last one. The original EmbraceNet example does this in training; the paper does not mention it.


# %%
class Answer(NamedTuple):
    """The decision."""

    logits: torch.Tensor  # (B, C)


class Fused(nn.Module):
    """Dock, fuse in one of three ways, decide by one linear layer."""

    def __init__(self, widths, num_classes, fusion, width=256, drop=0.0):
        super().__init__()
        self.fusion = fusion
        self.docks = nn.ModuleDict({name: nn.Linear(widths[name], width) for name in NAMES})
        self.decide = nn.Linear(3 * width if fusion == "concat" else width, num_classes)
        self.dropout = ModalityDropout(rate=drop) if drop else None

    def forward(self, *, masks, probabilities=None, **streams):
        if self.dropout is not None:
            streams, masks = self.dropout(streams, masks)
        inputs = {name: streams[name][:, 0] for name in NAMES}
        present = torch.stack([masks[name].any(1) for name in NAMES], dim=1)
        p = inputs["text"].new_full((3,), 1 / 3) if probabilities is None else probabilities
        shares = use("12.3")(p, present, "zeros")
        if self.fusion == "EmbraceNet" and self.training:
            return Answer(self.decide(use("12.1")(inputs, self.docks, shares)[0]))
        docked = torch.stack([self.docks[name](inputs[name]).relu() for name in NAMES], dim=-1)
        if self.fusion == "concat":
            return Answer(self.decide((docked * present[:, None]).flatten(1)))
        return Answer(self.decide(use("12.2")(docked, shares)[0]))


def train(fusion, seed, *, epochs=14, **settings):
    """Train one model on the learning actors; the seed draws weights, order and lots."""
    seed_everything(seed)
    model = Fused(play.widths, play.num_outputs, fusion, **settings)
    model = Standardised(model=model, widths=play.widths).learn(learn)
    recipe = {"epochs": epochs, "batch_size": 256, "learning_rate": 5e-3}
    fit(model, learn, **recipe, seed=seed, progress=False)
    return model.eval().cpu()  # where the cells below look into it


SETS = [("text",), ("audio",), ("vision",), ("audio", "text"), ("text", "vision")]
SETS += [("audio", "vision"), NAMES]
COLUMNS = ["+".join(kept) for kept in SETS]


def keeping(data, kept):
    """The same clips, with only some of the streams there."""
    return replace(data, masks={n: mask & (n in kept) for n, mask in data.masks.items()})


def decisions(model):
    """What a model says of each test clip with each set of streams, (sets, N)."""
    each = [predict(model, keeping(test, kept), batch_size=2048).argmax(1) for kept in SETS]
    return torch.stack(each)


def score(said):
    """Accuracy for every set of streams."""
    return (said == test.labels).float().mean(-1).tolist()


# %% [markdown]
# The opponent of all is the perfect observer, who knows how the masks are drawn and sees the same gaps of the same clips. Beside it, for a start, one model: EmbraceNet with modality dropout.

# %%
test_clips = clips[judged]
best = [
    (theatre.posterior(test_clips, kept).argmax(1) == test_clips.labels).double().mean().item()
    for kept in SETS
]
model = train("EmbraceNet", 0, drop=0.3)
print("                 ", *(f"{name:>17}" for name in COLUMNS))
print("perfect observer ", *(f"{value:17.3f}" for value in best))
print("one EmbraceNet   ", *(f"{value:17.3f}" for value in score(decisions(model))))

# %% tags=["claim"]
noise = (0.25 / len(test)) ** 0.5
assert all(
    mine < line + 4 * noise for mine, line in zip(score(decisions(model)), best, strict=True)
)

# %% [markdown] tags=["guided"]
# Now all eighteen: three fusions, with and without modality dropout, three seeds. Look at your prediction once more.

# %% tags=["guided"]
FUSIONS = ("concat", "mean of docks", "EmbraceNet")
TRAININGS = {"Trained on complete clips": 0.0, "Trained with modality dropout": 0.3}
said = {
    (title, fusion): torch.stack([decisions(train(fusion, s, drop=drop)) for s in range(3)])
    for title, drop in TRAININGS.items()
    for fusion in FUSIONS
}  # each (seeds, sets, N)
panels = {title: {name: score(said[title, name]) for name in FUSIONS} for title in TRAININGS}
show_figure(
    patterns(panels, COLUMNS, best, chance=1 / 8),
    alt="Two panels, seven columns of available streams, a red line for the best possible in each. "
    "Above, trained on complete clips: concat is far below the line wherever a stream is absent, "
    "the mean of docks nearer, EmbraceNet nearest. Below, with modality dropout: the three markers "
    "stand close together, nearer to the line.",
)

# %% tags=["guided"]
print("accuracy: mean over the six incomplete sets (each seed), and with all three streams")
summary = {}
for (title, name), each in said.items():
    right = (each == test.labels).float().mean(-1)  # (seeds, sets)
    summary[title, name] = right[:, :-1].mean().item()
    seeds = " ".join(f"{value:.3f}" for value in right[:, :-1].mean(1))
    print(f"{title:30} {name:14} {summary[title, name]:.3f} ({seeds})   {right[:, -1].mean():.3f}")
print(f"{'the best possible':45} {np.mean(best[:-1]):.3f}{'':24}{best[-1]:.3f}")

# %% [markdown] tags=["guided"]
# Means of three seeds, and now the question of lesson 05: which differences are real? Paired, by actor, over the six incomplete sets:

# %% tags=["guided"]
plain, dropped = TRAININGS


def paired(first, second):
    """A difference on the same clips with the same gaps, by actor, over seeds and sets."""
    one, two = (said[key][:, :-1].flatten() for key in (first, second))
    count = len(one) // len(test)
    return compare(
        "accuracy", one, two, test.labels.repeat(count), groups=np.tile(test.group, count)
    )


gains = {
    "mean of docks − concat": paired((plain, "mean of docks"), (plain, "concat")),
    "EmbraceNet − mean of docks": paired((plain, "EmbraceNet"), (plain, "mean of docks")),
    "concat, dropout − EmbraceNet": paired((dropped, "concat"), (plain, "EmbraceNet")),
    "dropout: EmbraceNet − concat": paired((dropped, "EmbraceNet"), (dropped, "concat")),
    "dropout: EmbraceNet − mean of docks": paired(
        (dropped, "EmbraceNet"), (dropped, "mean of docks")
    ),
}
axes = differences(gains, title="With a stream or two absent")
axes.locator_params(axis="x", nbins=4)
show_figure(
    axes.figure,
    alt="Five differences with intervals. The mean of docks is far above concat; EmbraceNet is a "
    "little above the mean of docks; concat with modality dropout is a little above EmbraceNet "
    "without it; with modality dropout on both sides EmbraceNet is a little above concat, and "
    "hardly above the mean of docks.",
)

# %% tags=["guided", "claim"]
assert gains["mean of docks − concat"].low > 0.03
assert -0.01 < gains["EmbraceNet − mean of docks"].difference < 0.03
assert summary[dropped, "concat"] > summary[plain, "EmbraceNet"] - 0.005
assert abs(gains["dropout: EmbraceNet − concat"].difference) < 0.04
assert abs(gains["dropout: EmbraceNet − mean of docks"].difference) < 0.02

# %% [markdown] tags=["guided"]
# Read it from above.
#
# 1. **EmbraceNet keeps its promise.** Trained on complete clips only, it stands far above the concatenation wherever a stream is absent, and costs nothing where none is.
# 2. **Most of that is not the lot.** The mean of the docks has it too. What matters is that all streams speak *in the same place* through one decision, so that a gap leaves a mean of fewer and not a hole of zeros. The lot adds less than a hundredth. It is a regulariser, as the paper says, and fourteen epochs leave little to regularise; give `train` forty, and look again.
# 3. **The plain remedy does as much.** A concatenation that met gaps in training is at least as good as an EmbraceNet that did not. With modality dropout for all, the three differ by about a hundredth.
#
# And what nobody reaches: wherever words carry the load, all of them stay below the line, with text alone as well. Two thousand clips seem to be few to learn the meaning of words from, and no fusion mends that.
#
# So if you may change the training, do that first; it is one line. If you may not, or if gaps come that nobody foresaw, a common place is a good insurance. All this holds for *these* clips, where streams err independently. Where the words need the tone, a mean of one-stream opinions has nothing to offer (see the square).
#
# ## What the lot costs
#
# Three streams in the place of one: is 256 wide enough? **Predict:** concat and EmbraceNet, all streams there, at width 8 and at width 32. Mind that a concat of width $c$ hands its decision $3c$ features.

# %% tags=["guided"]
narrow = {}
for width in (8, 32):
    for fusion in ("concat", "EmbraceNet"):
        runs = [score(decisions(train(fusion, seed, width=width)))[-1] for seed in range(3)]
        narrow[width, fusion] = runs
        print(f"width {width:2} {fusion:10}", *(f"{value:.3f}" for value in runs))

# %% tags=["guided", "claim"]
assert np.mean(narrow[8, "EmbraceNet"]) < np.mean(narrow[8, "concat"]) - 0.03
assert np.mean(narrow[32, "EmbraceNet"]) < np.mean(narrow[32, "concat"])
assert abs(np.mean(narrow[32, "EmbraceNet"]) - np.mean(narrow[8, "concat"])) < 0.06
wide = {name: (said[plain, name][:, -1] == test.labels).float().mean() for name in FUSIONS}
assert wide["EmbraceNet"] > wide["concat"] - 0.01

# %% [markdown] tags=["guided"]
# At width 8 three streams have to share eight places, and EmbraceNet falls far below the concatenation with nothing missing at all; at width 32 it is still behind, at 256 (above) no longer. Compare EmbraceNet at 32 with concat at 8, whose decisions see 32 and 24 features: about the same. Its width is not a detail. Whoever tries it narrow reports that it does not work, whoever tries it wide that it does, and both are right.
#
# %% [markdown]
# ## Do the docks agree?
#
# "Each docking layer will learn to generate similar embedding vectors, and the embracement layer can generate the same output", says the paper (4.2.4). You have the tool to look: if the docks said the same, your deviation would be zero, and asking twice would change nothing. Here is the trained model beside an untrained one, with its drawing switched on again.


# %%
def asked_twice(model):
    """How far docks differ, how often two draws decide differently, and what drawing costs."""
    ready = model.standardise(test.inputs, test.masks)
    inputs, net = {name: ready[name][:, 0] for name in NAMES}, model.model
    shares = torch.full((len(test), 3), 1 / 3)
    with torch.no_grad():
        docked = torch.stack([net.docks[name](inputs[name]).relu() for name in NAMES], dim=-1)
        mean, deviation = use("12.2")(docked, shares)
        one, two = (net.decide(use("12.1")(inputs, net.docks, shares)[0]).argmax(1) for _ in "ab")
        expected = net.decide(mean).argmax(1)
    spread = (deviation.square().mean() / mean.var(0).mean()).sqrt().item()
    right = [(said == test.labels).float().mean().item() for said in (one, expected)]
    return spread, (one != two).float().mean().item(), *right


seed_everything(0)
untrained = Fused(play.widths, play.num_outputs, "EmbraceNet")
untrained = Standardised(model=untrained, widths=play.widths).learn(learn).eval()
twice = {"untrained": asked_twice(untrained), "trained": asked_twice(model)}
print("           spread of the docks   answers changed   accuracy: drawn   expected")
for name, (spread, flips, drawn_right, expected_right) in twice.items():
    print(f"{name:10} {spread:20.2f} {flips:17.1%} {drawn_right:17.3f} {expected_right:10.3f}")

# %% tags=["claim"]
assert twice["trained"][0] > 0.7 * twice["untrained"][0] > 0.7
assert 0.04 < twice["trained"][1] < 0.25 < twice["untrained"][1]
assert twice["trained"][3] > twice["trained"][2]

# %% [markdown]
# The spread (of one place over the streams, in units of the mean's own spread over the clips) has hardly shrunk. The docks do **not** say the same, place by place; in *masks* they could not, since the streams really show different emotions. What has shrunk is the number of changed answers: the decision adds up 256 places, and there the lots average out, as
# $1/\sqrt{n}$ did above. Still about one clip in nine gets another answer when asked again, and in the stored run drawing costs two hundredths. Whoever evaluates by drawing gives that away, and gets another table every time.
#
# ## Whom to trust
#
# $\mathbf{p}$ is yours to choose (E-25), at evaluation too, without any training: one row for all, or **one for each sample**. Give vision a share from 0 to 1, and the rest to the two others in equal parts. Once with the clip's own face, once with somebody else's, as if the camera had caught a passer-by. **Predict** the two curves.


# %%
def with_shares(data, probabilities):
    """Accuracy of the trained model with shares of our own, (3,) or (N, 3)."""
    batch = data.batch(range(len(data)))
    ready = model.standardise(batch.inputs, batch.masks)
    with torch.no_grad():
        output = model.model(**ready, masks=batch.masks, probabilities=probabilities)
    return (output.logits.argmax(1) == data.labels).float().mean().item()


passer_by = replace(test, inputs=test.inputs | {"vision": test.inputs["vision"].roll(1, 0)})
shares = np.linspace(0, 1, 11)
curves = {
    name: [with_shares(data, torch.tensor([(1 - s) / 2, (1 - s) / 2, s]).float()) for s in shares]
    for name, data in (("its own face", test), ("somebody else's face", passer_by))
}
show_figure(
    trust(
        shares, curves, {"uniform": 1 / 3}, xlabel="share of vision", title="Trust is a number"
    ).figure,
    alt="Accuracy over the share of vision. With its own face a hill, highest near the uniform "
    "share; with somebody else's face a line that falls from the same start at share zero down to "
    "chance at share one.",
)

# %% tags=["claim"]
own, other = curves.values()
assert 0.15 <= shares[int(np.argmax(own))] <= 0.65
assert max(other) == other[0] and other[-1] < 0.2 and abs(own[0] - other[0]) < 1e-9

# %% [markdown]
# Both start at the same point: at share zero nobody looks at the face, whoever's it is. That is what *absent* means, and so availability is only the hardest form of trust. Suppose now that every second clip shows a passer-by, and that a face recogniser tells us which. One row for each sample:

# %%
is_strange = torch.arange(len(test)) % 2 == 1
vision = torch.where(is_strange[:, None, None], passer_by.inputs["vision"], test.inputs["vision"])
mixed = replace(test, inputs=test.inputs | {"vision": vision})
told = torch.where(is_strange[:, None], torch.tensor([0.5, 0.5, 0.0]), torch.full((3,), 1 / 3))
blind, warned = with_shares(mixed, torch.full((3,), 1 / 3)), with_shares(mixed, told)
print(f"uniform for all: {blind:.3f}, no share for a strange face: {warned:.3f}")

# %% tags=["claim"]
assert warned > blind + 0.05

# %% [markdown]
# ## From the paper
#
# | the paper | says | here |
# |---|---|---|
# | 4.2.3 | docking: a fully connected layer, a ReLU, size 256 | `docks[name](inputs[name]).relu()` |
# | Eqs. 13 to 15 | $\mathbf{r}_i \sim \text{Multinomial}(1, \mathbf{p})$, one-hot, sum | one draw a feature and sample (E-26), `gather` |
# | Eq. 16 | $k \in \{F, T, A\}$ | names in sorted order (E-24); what docks there is the output of the crossmodal transformer, lesson 13 |
# | | $\mathbf{p}$: no word | uniform over what is there; yours to choose (E-25) |
# | | evaluation: no word | the expected value; `evaluation="sample"` for comparison (E-27) |
# | | nothing available: no word | `on_empty="raise"` or `"zeros"` (E-28) |
# | | modality dropout: no word | `ModalityDropout` before the layer (E-30) |
# | title, abstract | "robust" | measured here, on synthetic clips (E-31) |
#
# ## Take-aways
#
# - A gap is a state, not a value: pass the mask, renormalise the shares, and decide what an empty row means before it comes.
# - Noise belongs to training. At evaluation take the expected value: exact, without a draw, and the same tomorrow.
# - With one linear layer behind it, EmbraceNet is late fusion with a common classifier: strong where streams err independently, blind to what only the pair tells.
# - Before you credit a mechanism, run the model without it. Here the common place did most, the lot a little, and modality dropout helped everybody.
# - Robustness is a table: one row for each pattern of gaps, with what is possible beside it.
#
# ## Where to go next
#
# [Lesson 13](13_conversations.ipynb) puts this layer where the paper has it: behind a crossmodal transformer, on conversations.
#
# ## References
#
# - Crossmodal transformer with EmbraceNet: Sections 4.2.3 and 4.2.4, Eqs. 13 to 16, Figure 6; ledger E-24 to E-31.
# - Choi and Lee, *EmbraceNet: a robust deep learning architecture for multimodal classification*, Information Fusion 51 (2019).
# - Neverova et al., *ModDrop: adaptive multi-modal gesture recognition* (2016): modality dropout.
# - Jang, Gu and Poole, *Categorical reparameterization with Gumbel-Softmax* (2017): the lots behind the sliders.
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, preset `masks`.
