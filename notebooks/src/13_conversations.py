# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # 13 Conversations
#
# **After this lesson you can**
#
# 1. take three single-stream experts apart, and say what each was trained to do, which is not always what it is used for;
# 2. build and train the crossmodal transformer with EmbraceNet on dialogues, and report it in the paper's own tables, with seeds, intervals and the rows that an average hides;
# 3. measure the robustness that a title claims, exactly and without luck, and say what it was that made a model robust.
#
# **Before you start:** lesson 01 (balanced accuracy, weighted F1), lesson 04 (the crossmodal block), lesson 05 (intervals, ceilings) and lesson 12 (EmbraceNet). **Time:** about 110 minutes, in two halves: up to the fused model, and what it is worth, from *Tables 1 and 2* on.

# %%
from collections import namedtuple
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt
from torch import nn

from mmlib.backbones.dialogues import WordTokenizer, encode_dialogues
from mmlib.checks import check, show, use
from mmlib.data import FeatureSet, Standardised, theatre
from mmlib.layers import CrossModalTransformer
from mmlib.metrics import (
    bootstrap_interval,
    classification_report,
    compare,
    confusion_matrix,
    per_class,
)
from mmlib.plots import apply_style, confusion_map, show_figure, tsne_map
from mmlib.plots.availability import falling_curves
from mmlib.plots.conversations import (
    describe_dialogue,
    dialogue_panel,
    fusion_map,
    next_sample,
    share_bars,
)
from mmlib.systems import build, find
from mmlib.training import fit, predict, seed_everything
from mmlib.training.availability import (
    falling_availability,
    hear,
    patterns_of,
    subset_probabilities,
)
from mmlib.widgets import explore, snapshot

apply_style()
SEEDS = (0, 1, 2)

# %% [markdown]
# ## A table, read twice
#
# The paper of this lesson classifies seven emotions in MELD, dialogues from the sitcom *Friends*. This is its Table 2:
#
# | modality | accuracy | balanced accuracy | F1 |
# |---|---|---|---|
# | audio | 48.4 | 14.6 | 43.8 |
# | face | 47.8 | 14.3 | 33.3 |
# | text | 62.6 | 42.0 | 61.8 |
# | **multimodal** | **65.0** | **42.2** | **64.0** |
#
# "All evaluation metrics show that our multimodal fusion model outperforms the unimodal results", it says, and that the architecture is *robust*. A test of robustness is not among its experiments (E-31).
#
# **Predict, and write it down.** What does a model know that has a balanced accuracy of 14.6 on seven classes? How much of the multimodal row is more than luck?
#
# Before any model, the data. These are the labels of MELD, counted in its own files, beside those of the theatre's play *conversations*, which was made in their likeness (synthetic, as always):

# %%
MELD = {
    "MELD, train": [4710, 1743, 683, 1109, 268, 271, 1205],
    "MELD, test": [1256, 402, 208, 345, 50, 68, 281],
}
clips = theatre.make("conversations", n=5000, seed=0)
EMOTIONS = clips.class_names
played = np.bincount(clips.labels, minlength=7)
show_figure(
    share_bars(MELD | {"theatre": played}, EMOTIONS, title="Half of everything is neutral").figure,
    alt="Seven groups of three bars, the share of each emotion in MELD's train part, in its test part and "
    "in the theatre. Neutral has 47 to 48 per cent in all three, happy and surprised 11 to 18, "
    "angry 11 to 13, sad 7 to 8, fearful and disgust 2 to 3.",
)

# %% [markdown]
# Lesson 01 took Table 1, from which Table 2 is made, apart for one column. Now all four, with the tool that it left you: **a recall times the number of clips is a count**. Precision, recall and F1 in per cent, in the order neutral, joy, sadness, anger, surprise, fear, disgust:

# %%
SUPPORT = np.array([1256, 402, 208, 345, 281, 50, 68])
TABLE_1 = {
    "audio": ([48.5, 45.5, 0, 60.0, 16.7, 0, 0], [99.8, 1.2, 0, 0.9, 0.4, 0, 0],
              [65.2, 2.4, 0, 1.7, 0.7, 0, 0]),
    "face": ([48.1, 15.0, 0, 0, 0, 0, 0], [99.0, 0.7, 0, 0, 0, 0, 0],
             [64.7, 1.4, 0, 0, 0, 0, 0]),
    "text": ([72.7, 54.4, 40.1, 53.4, 53.0, 16.1, 52.4], [82.1, 53.7, 33.2, 39.1, 60.0, 10.0, 16.2],
             [77.1, 54.1, 36.3, 45.1, 56.3, 12.3, 24.7]),
    "multimodal": ([74.0, 56.7, 49.6, 51.4, 54.4, 50.0, 47.1],
                   [84.9, 57.2, 29.3, 44.7, 61.4, 6.0, 11.8],
                   [79.1, 56.9, 36.9, 47.8, 57.7, 10.7, 18.8]),
}  # fmt: skip


def f1_of_averages(precision, recall):
    """The paper's "F1" of Tables 1 and 2: the harmonic mean of the weighted averages."""
    p, r = (np.average(values, weights=SUPPORT) for values in (precision, recall))
    return 2 * p * r / (p + r)


# %% tags=["nbval-check-output"]
hits = {
    name: np.round(np.array(r) * SUPPORT / 100).astype(int) for name, (_, r, _) in TABLE_1.items()
}
for name, (p, r, f1) in TABLE_1.items():
    right, wide = hits[name], (hits[name] / SUPPORT).mean()
    show(f"{name:10} right {int(right.sum()):4} of 2610, accuracy", 100 * right.sum() / 2610, "balanced",
         100 * wide, "F1 of averages", f1_of_averages(p, r), "weighted F1", np.average(f1, weights=SUPPORT),
         digits=1)  # fmt: skip
show("the model that never looks: accuracy", 100 * 1256 / 2610, "balanced", 100 / 7, digits=1)

# %% [markdown]
# Three readings.
#
# - **Audio and face know nothing.** 14.6 and 14.2 stand beside the 14.3 of a model that always says *neutral*. Their accuracies, 48 per cent, are the share of neutral. The paper says so too ("cannot learn any distinct emotion features"); we shall see why. (Last digits differ from the printed ones here and there; lesson 01 found that a few clips seem to be missing.)
# - **Balanced accuracy is the mean recall** that the text describes, and not the (sensitivity + specificity) / 2 of Eq. 18 (E-03).
# - **The column F1** of Table 2 is the F1 of averages (E-01). The weighted F1 of the fusion is 63.0, that of the text 61.2; for audio it is 32, which is what the paper's own Table 3 prints.
#
# And the luck? On 2,610 clips we know how many each model had right. Draw such a test again and again (lesson 05), and look at the comparison with the earlier model's 64.3, and at balanced accuracy, where each class has an error of its own:

# %%
answers = np.repeat([1, 0], [hits["multimodal"].sum(), 2610 - hits["multimodal"].sum()])
again = bootstrap_interval("accuracy", answers, np.ones(2610, dtype=int))
print(
    f"accuracy {100 * again.value:.1f}, 95 % of draws from {100 * again.low:.1f} to {100 * again.high:.1f}"
)
error = {}
for name in ("text", "multimodal"):
    recall = hits[name] / SUPPORT
    total = hits[name].sum() / 2610
    error[name] = (
        (total * (1 - total) / 2610) ** 0.5,
        ((recall * (1 - recall) / SUPPORT).sum()) ** 0.5 / 7,
    )
for place, (metric, gain) in enumerate(
    (("accuracy", 65.0 - 62.6), ("balanced accuracy", 42.2 - 42.0))
):
    both = 100 * np.hypot(error["text"][place], error["multimodal"][place])
    print(
        f"multimodal - text, {metric}: {gain:.1f}, standard error {both:.1f} if the tests were independent"
    )

# %% tags=["claim"]
assert again.low < 0.643 < again.high and hits["multimodal"].sum() == 1695
assert abs(100 * error["multimodal"][0] - 0.93) < 0.01
assert 100 * np.hypot(error["text"][1], error["multimodal"][1]) > 5 * 0.2

# %% [markdown]
# 64.3 lies inside (E-02). The gain over the text alone is nearly two standard errors; both were judged on the *same* clips, so that a paired comparison would be sharper, but for that one needs the answers. And in balanced accuracy the fusion gained .2 with an error of 1.6: **whatever audio and face added, it was not the rare emotions**.
#
# None of this makes the architecture bad. It makes the *evidence* thin. So we try the architecture where we know what there is to find.
#
# ## A dialogue
#
# One turn of the theatre is a sentence, a voice and a face, each of which may show something else than is felt (lesson 00). In the play *conversations* ten turns make a dialogue, two actors take turns, and **emotions stick**: with probability .45 a turn has the emotion of the one before. So the turns around tell something. How much? The theatre knows, for each window of turns:

# %% tags=["nbval-check-output"]
SEEN = {
    "the turn alone": (0, 0), "with three before it": (3, 0), "with five before it": (5, 0),
    "with three before, and the reply": (3, 1), "with five before and five after": (5, 5),
}  # fmt: skip
for words, window in SEEN.items():
    best = theatre.ceilings("conversations", context=window)
    show(f"{words:34}", {name: best[name] for name in ("text", "audio", "vision", "text+audio+vision")},
         digits=2)  # fmt: skip

# %% [markdown]
# Two things to keep. First, **three streams are worth more than the best one**, .73 to .62 with three turns before; nobody who fails to gain here can blame the data. Second, look at the *reply*. The paper's text model reads history, sentence **and reply**, the utterance that comes next. It is worth nearly as much as all the turns before! A robot that must answer
# while somebody speaks, the use that motivates the paper's introduction, cannot have it: it is the future (E-22). For labelling a recorded film it is fair. Everything below sees **three turns before and none after**, and is held to the ceiling of that.

# %% tags=["claim"]
reached = {
    window: theatre.ceilings("conversations", context=window)["text+audio+vision"]
    for window in SEEN.values()
}
assert reached[3, 0] - reached[0, 0] > 0.02 and reached[3, 1] - reached[3, 0] > 0.01
assert reached[5, 0] - reached[3, 0] < 0.002

# %% tags=["nbval-check-output"]
windows = theatre.dialogue_windows(clips, before=3, after=0)
for name, stream in windows.inputs.items():
    show(name, stream.shape)
show("the label belongs to step", windows.label_step, "of", list(range(windows.lengths["text"])))
learn, choose, test = (windows.subset(part) for part in ("train", "valid", "test"))
show("turns to learn from, to choose by, to be judged on:", len(learn), len(choose), len(test))
show("dialogues in the test:", len(np.unique(test.group)))

# %% [markdown]
# Each turn is one step here, the mean over its words, its voice and its frames. That is our shortcut: the paper has three large networks for it. Meet them, at a size that a laptop can bear.
#
# ## The text expert: three losses
#
# The text model is a GPT, pretrained on books, and then taught by a public recipe. A dialogue becomes **one row of tokens**. Who speaks is a token too, and added once more to every word of that turn, as its *segment*:


# %% tags=["nbval-check-output"]
Said = namedtuple("Said", "dialogue split speaker sentence history reply")


def spoken(clips):
    """Each turn with the sentences before it and the one after it, as the tokeniser wants them."""
    line = [
        Said(*fields, (), None)
        for fields in zip(
            clips.group, clips.split, clips.actor.tolist(), clips.sentences, strict=True
        )
    ]
    turns = []
    for place, one in enumerate(line):
        first = place - int(clips.turn[place])
        last = place + 1 == len(line) or clips.turn[place + 1] == 0
        reply = None if last else line[place + 1]
        turns.append(one._replace(history=line[first:place], reply=reply))
    return turns


turns = spoken(clips.subset("train"))
tokenizer = WordTokenizer.learn([turn.sentence for turn in turns])
rows = encode_dialogues(turns, tokenizer, history=2)
words = {tokenizer.encode(word)[0]: word for word in theatre.VOCABULARY[1:]}
words |= {number: f"<{name}>" for name, number in rows.special._asdict().items()}
for column, candidate in ((0, "what was said:"), (2, "a distractor:  ")):
    real = rows.masks[4][:, column // 2]
    show(candidate, " ".join(words[number] for number in rows.tokens[4, real, column].tolist()))

# %% [markdown]
# The **distractor** is a sentence from another dialogue in the place of the true one. Three heads read the last layer, and the loss is their plain sum (Eq. 1):
#
# $$L = L(s) + L(l) + L(e)$$
#
# - $L(s)$, **next sentence**: of two candidates, which one continues this dialogue? Read from the state at the end. The paper says "a special token [CLS] is added at the end"; GPT has none, and the recipe reads the last token (E-21).
# - $L(l)$, **language**: which word comes next?
# - $L(e)$, **emotion**: the one that we want.
#
# Why three? Because emotion labels are few and text is plenty: whoever learns to continue a dialogue must have understood something of it. That is the hope. It holds as far as the *data* reward it.
#
# **Predict.** Untrained, each loss has a value that you can work out: two candidates, some hundred and thirty tokens, seven emotions. Which of the three will fall on the theatre's dialogues, whose sentences have nothing in common but the mood?

# %% tags=["nbval-check-output"]
for name, choices in (("next sentence", 2), ("language", len(tokenizer)), ("emotion", 7)):
    show(f"{name:13}: log({choices}) =", float(np.log(choices)))

# %% tags=["guided"]
if find_spec("transformers"):
    early = clips.subset("train").turn.numpy() < 4  # short rows
    part = np.flatnonzero(early)[:800]
    there = rows.masks[part].any(2)
    length = int(there.sum(1).max())
    sentences = FeatureSet(
        {"text": torch.from_numpy(rows.tokens[part, :length])},
        {"text": torch.from_numpy(there[:, :length])},
        clips.subset("train").labels[part],
        EMOTIONS,
    )
    seed_everything(0)
    config = replace(find("gpt").config.for_dataset(sentences), embed_dim=32, num_heads=2)
    gpt = build("gpt", config)
    history = fit(gpt, sentences, epochs=4, batch_size=32, learning_rate=3e-3, progress=False)
    for name in ("choice", "language", "emotion"):
        print(f"{name:9}", *(f"{value:.3f}" for value in history[f"loss_{name}"]))
    shares = torch.bincount(sentences.labels, minlength=7).double() / len(sentences)
    entropy = -torch.xlogy(shares, shares).sum().item()
    print(f"who knows nothing but how frequent each emotion is has {entropy:.3f}")
    assert history["loss_language"].iloc[-1] < np.log(len(tokenizer)) - 0.8
    assert 0.6 < history["loss_choice"].iloc[-1] < 0.75
else:
    print("this cell needs the package transformers: pip install transformers")

# %% [markdown] tags=["guided"]
# Language falls by far the most: the theatre writes from a few templates. The next sentence hardly leaves log 2: nothing in a sentence of the theatre says which one comes next, only the mood, with .45. **An auxiliary task teaches what the data hold, and nothing else.** In *Friends* an answer answers a question, and the hope is better founded.
#
# And the emotion? Hold its loss against the last line. A falling loss is no understanding as long as it stays above what **the frequencies alone** are worth, and a few hundred turns do not get a network from random weights much further. That is why the paper starts from a GPT that has read books (and why `python -m mmlib train --system gpt` does).

# %% [markdown]
# ## The audio expert: a vocoder
#
# The audio model is **WaveRNN**, a **vocoder**: it was made to *synthesise* speech. It is given a spectrogram and all samples so far, and predicts the next one. It never had to tell who is angry. How does one become good at that? **Predict** how much of a voice a straight line through the last eight samples can predict. Here are voices of the theatre, at 16,000 samples a second:

# %%
voices = theatre.make("conversations", n=10, seed=0, sample_rate=16000).waveform.double()
before = voices.unfold(1, 9, 1)  # (10, L - 8, 9): eight samples and the one to be told
known, others = before[:5].flatten(0, 1), before[5:].flatten(0, 1)
line = torch.linalg.lstsq(known[:, :8], known[:, 8:]).solution  # eight numbers
explained = 1 - (others[:, 8:] - others[:, :8] @ line).var() / others[:, 8].var()
print(f"eight numbers explain {explained:.2f} of the variance of five other voices")

heard = before[5, :, 8]
loud = int(heard.unfold(0, 240, 240).square().mean(1).argmax()) * 240
show_figure(
    next_sample(heard, before[5, :, :8] @ line, start=loud, length=160, rate=16000),
    alt="Ten milliseconds of a voice, a wavy line, and dots for what was guessed of each sample from the "
    "eight before it. The dots follow the line closely.",
)

# %% tags=["claim"]
assert 0.7 < explained < 0.95

# %% [markdown]
# Eight numbers, fitted by least squares on five voices, and most of the sound is predicted. None of the eight knows an emotion. WaveRNN does better than a straight line, but its task is the same, and it *is* given the samples before. So a perfect vocoder may hold little about emotions in its states, and Table 1's audio row, 99.8 % neutral, does not show that voices say nothing. It shows what came out of **this** one (E-18).
#
# It is also a matter of size. The paper takes the 512 numbers that the network holds at *every sample*:

# %% tags=["nbval-check-output"]
samples = (240 - 5 + 1) * 200  # frames, kernel, hop
show("samples:", samples, "seconds at 16 kHz:", samples / 16000, digits=2)
show(
    "of one utterance, MB:",
    samples * 512 * 4 / 1e6,
    "of MELD, TB:",
    samples * 512 * 4 * 13_708 / 1e12,
    digits=1,
)

# %% [markdown]
# No attention can take 47,200 keys an utterance, times three streams. `WaveRNNFeaturePool` in `mmlib/backbones/wavernn.py` averages them to at most fifty steps (E-15). And 2.95 seconds is a limit: by the time stamps in MELD's own files, two utterances of five are longer, and lose their end (E-16).
#
# ## The face expert: a GRU, in four equations
#
# The third expert cuts faces from the film (by MTCNN, a face detector), makes 512 numbers of each (an Inception-ResNet, trained to tell *persons* apart), and reads the sequence by a **gated recurrent unit**. The paper gives it in four equations, without biases (no offset is added anywhere):
#
# $$z_t = \sigma(W^z x_t + U^z h_{t-1}) \qquad (2)$$
# $$r_t = \sigma(W^r x_t + U^r h_{t-1}) \qquad (3)$$
# $$\tilde h_t = \tanh\left(W^h x_t + U^h (h_{t-1} \odot r_t)\right) \qquad (4)$$
# $$h_t = (1 - z_t) \odot \tilde h_t + z_t \odot h_{t-1} \qquad (5)$$
#
# In words: $z$ says how much of the old state to keep, $r$ how much of it the new candidate may see.

# %% [markdown] tags=["exercise"]
# ### Exercise 13.1: a GRU by its four equations
# Difficulty ★★☆ · Importance ★★☆ · 15 minutes
#
# `x` is `(B, T, D)`, `mask` `(B, T)`, True where a step is real. `weights` holds six matrices by name: `Wz`, `Wr`, `Wh` are `(D, H)`, `Uz`, `Ur`, `Uh` are `(H, H)`, to be multiplied from the right, `x @ Wz`. Start from a state of zeros. Return **all states** `(B, T, H)`, and **the last one** `(B, H)`: the state after each sample's last *real* step.
#
# A step that is not real leaves the state as it is, whatever stands in `x` there, NaN too. A sample without any real step keeps its zeros. A loop over time is right here: that is what recurrent means.


# %% tags=["exercise"]
def paper_gru(x, mask, weights):
    """Run Eqs. 2 to 5 over the real steps; return all states and the last one."""
    ### BEGIN SOLUTION
    w = weights
    h = x.new_zeros(len(x), w["Uz"].shape[0])
    states = []
    for t in range(x.shape[1]):
        now = x[:, t]
        z = (now @ w["Wz"] + h @ w["Uz"]).sigmoid()  # Eq. 2
        r = (now @ w["Wr"] + h @ w["Ur"]).sigmoid()  # Eq. 3
        candidate = (now @ w["Wh"] + (h * r) @ w["Uh"]).tanh()  # Eq. 4
        h = torch.where(mask[:, t, None], (1 - z) * candidate + z * h, h)  # Eq. 5
        states.append(h)
    return torch.stack(states, dim=1), h
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("13.1", paper_gru)

# %% [markdown] tags=["hint-1"]
# One line for each equation, inside a loop over `range(x.shape[1])`. Collect the states in a list and stack them along axis 1. $z$ keeps the **old** state, $1 - z$ takes the new one.

# %% [markdown] tags=["hint-2"]
# In Eq. 4 the state is reset first, `h * r`, and multiplied by `Uh` afterwards. With one hidden number the order does not show, with two it does.

# %% [markdown] tags=["hint-3"]
# `h = torch.where(mask[:, t, None], new, h)` carries the state over what is not real; then the state after the loop *is* that of the last real step, and zeros for a sample without one. Multiplying `new` by the mask does not do: NaN times 0 is NaN.

# %% [markdown] tags=["solution-note"]
# The library's faces go through torch's `nn.GRU`, packed, with the state gathered at the true length (E-20); the paper's cell is `mmlib.backbones.face_sequence.PlainGRUCell`. The paper pads shorter sequences with zeros and takes the last hidden state: read literally, the state after up to forty-nine empty faces.

# %% [markdown]
# Now look into torch's documentation. Its candidate is $\tanh(W x + b + r \odot (U h + b'))$: the reset comes **after** the product, so that all three products with $h$ can be one. Are the two the same network? **Predict**, then give both the same matrices, once with a reset gate that is wide open:


# %% tags=["nbval-check-output"]
def torch_gru(x, weights):
    """torch's GRU with the same six matrices and no offsets."""
    width, hidden = weights["Wz"].shape
    layer = nn.GRU(width, hidden, batch_first=True, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.cat([weights[f"W{gate}"].T for gate in "rzh"]))
        layer.weight_hh_l0.copy_(torch.cat([weights[f"U{gate}"].T for gate in "rzh"]))
        return layer(x)[0]


seed_everything(0)
faces = torch.randn(5, 7, 3)
faces[..., 0] = 1.0  # a constant, in the place of an offset
given = {
    f"{kind}{gate}": torch.randn(3 if kind == "W" else 4, 4) / 2 for kind in "WU" for gate in "zrh"
}
everything = torch.ones(5, 7, dtype=torch.bool)
opened = given | {
    "Wr": torch.zeros(3, 4).index_fill(0, torch.tensor(0), 100.0),
    "Ur": torch.zeros(4, 4),
}
for words, matrices in (("drawn at random", given), ("reset gate at one", opened)):
    mine, theirs = use("13.1")(faces, everything, matrices)[0], torch_gru(faces, matrices)
    show(f"{words}: the same states", torch.allclose(mine, theirs, atol=1e-5))

# %% [markdown]
# Two different networks of one name, equal only where nothing is reset (E-19). Neither is wrong: the paper's is Cho's of 2014, torch's the one that runs fast. But weights of one do not fit the other, and no shape would tell you.
#
# ## The fusion
#
# Each expert is trained alone. Then "we extract the features before the fully connected layer", and the fusion is trained on those:

# %%
show_figure(
    fusion_map().figure,
    alt="From below to above: three experts for text, audio and vision. Above each stands a pair of "
    "crossmodal blocks in which it is the target and one of the others the source. The two results are "
    "multiplied and averaged over time, then docked to 256 features. One wide bar, the embracement, "
    "takes each of 256 features from one stream, drawn by chance; above it, seven emotions.",
)

# %% [markdown]
# The crossmodal block you built in lesson 04, docking and embracement in lesson 12. What is left is the middle. And there the text has a hole: *features before the last layer* are **vectors**. GPT gives the state of its last token, the GRU its last state. A vector is a sequence of one step. What does attention do with one step? The next cell builds it as the text has it, and is broken.
#
# **Predict, then run.** What are the weights? Which of the block's matrices can learn?

# %% tags=["nbval-check-output"]
seed_everything(0)
block = CrossModalTransformer(target_dim=32, source_dim=16, embed_dim=8, num_heads=2, dropout=0.0)


def what_learns(target, source):
    """The attention weights, and how large a gradient keys and values get."""
    block.zero_grad()
    out, weights = block(target, source, return_weights=True)
    (out * torch.randn_like(out)).sum().backward()
    grown = {
        name.split(".")[-2]: bool(p.grad.abs().max() > 1e-6)
        for name, p in block.named_parameters()
        if "attention" in name and name.endswith("weight")
    }
    return weights, grown


heard, face = torch.randn(5, 1, 32), torch.randn(5, 1, 16)
weights, grown = what_learns(heard, face)
show("weights:", weights.unique().tolist(), "has a gradient:", grown)

# %% [markdown]
# A softmax over one number is 1, whatever the number is. The keys get no gradient at all (the queries have theirs only from the residual path of Eq. 7), the attention is a linear map of the source, and the *crossmodal transformer* asks nothing (E-12). Nothing fails, nothing warns; it even trains. **Mended:** give it sequences, as the nearest earlier system does. Here a step is a turn, with the three before it:

# %% tags=["nbval-check-output"]
weights, grown = what_learns(torch.randn(5, 4, 32), torch.randn(5, 4, 16))
show(
    "weights that are 1:",
    int((weights == 1).sum()),
    "of",
    weights.numel(),
    "has a gradient:",
    grown,
)

# %% [markdown]
# ### A product of two views
#
# A second hole, which you know from lesson 03. "$A \to B$" is read from $A$ to $B$: the source $A$ becomes keys and values, says the text. But Eq. 6 takes the *queries* from $A$. Then, for the text, Eq. 12,
#
# $$\text{Attention}_T = \text{out}_{F \to T} \odot \text{out}_{A \to T},$$
#
# a **Hadamard product** (feature by feature, step by step), multiplies something as long as the face sequence with something as long as the voice. Try both readings, with 5 faces, 7 pieces of sound and 4 words:

# %% tags=["nbval-check-output"]
seed_everything(0)
lengths = {"text": 4, "audio": 7, "vision": 5}
told = {name: torch.randn(2, steps, 8) for name, steps in lengths.items()}
ask = CrossModalTransformer(target_dim=8, source_dim=8, num_heads=2, dropout=0.0).eval()
try:
    ask(told["vision"], told["text"]) * ask(told["audio"], told["text"])
except RuntimeError as error:
    show("queries from the source:", str(error).split(" at ")[0])
together = ask(told["text"], told["vision"]) * ask(told["text"], told["audio"])
show("queries from the target:", together.shape)

# %% [markdown]
# Only one reading can be computed (E-05, E-14): **the target asks, the sources answer**, both results are as long as the target, and step by step they can be multiplied. Why multiply, and not add? The product is large where both agree; a source that says nothing of a feature can silence it. Whether that is wise is an empirical question, and the paper does not ask it.

# %% [markdown] tags=["exercise"]
# ### Exercise 13.2: one target from its sources
# Difficulty ★★☆ · Importance ★★★ · 12 minutes
#
# `states` and `masks` hold all streams by name, `(B, T, D)` and `(B, T)`, each with its own length and width. `blocks` maps **(source, target)** to a block, for all ordered pairs; a block is called as `block(target_states, source_states, padding_mask=...)` and returns `(B, T of the target, E)`.
#
# For one `target`, take the product of what all its sources make of it (Eq. 12), and average over the target's **real** steps: `(B, E)`. A source that a sample does not have (no real step) says nothing: leave it out of that sample's product. Some source is always there. A target that is absent has the vector zero.


# %% tags=["exercise"]
def assemble_target(target, states, masks, blocks):
    """Let a target ask its sources, multiply what it hears, average over its real steps."""
    ### BEGIN SOLUTION
    product = 1.0
    for (source, asks), block in blocks.items():
        if asks == target:
            heard = block(states[target], states[source], padding_mask=masks[source])
            there = masks[source].any(1)[:, None, None]  # (B, 1, 1)
            product = product * torch.where(there, heard, 1.0)  # Eq. 12
    real = masks[target][..., None]
    return (product * real).sum(1) / real.sum(1).clamp(min=1)
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("13.2", assemble_target)

# %% [markdown] tags=["hint-1"]
# Go through `blocks.items()` and keep the pairs whose second name is `target`. The first argument of a block is the one who asks.

# %% [markdown] tags=["hint-2"]
# The mask of a block is that of the **source**. The neutral element of a product is 1: `torch.where(there, heard, 1.0)`, with `there = masks[source].any(1)[:, None, None]`.

# %% [markdown] tags=["hint-3"]
# First the product, then the mean over the target's real steps; the product of two means is something else. `masked_mean(product, masks[target])` from `mmlib.layers` does the mean, and gives zeros where there is no step.

# %% [markdown] tags=["solution-note"]
# The library computes all six directions as one batch (lesson 11's trick) in `mmlib/systems/embracenet/crossing.py`, and has the other reading of an absent source, `absent="multiply"`: its attention brings zero home, so that only the way around is left in the product.

# %% [markdown]
# ## Train it
#
# The model as a whole is `CrossModalEmbraceNet`, by name `embracenet`; `crossmodal` is the same with concatenation in EmbraceNet's place (the way of the paper before it, E-36). The paper names no width, heads, batch size or number of epochs (E-10), and trains by plain gradient descent; at our scale we take a width of 32, AdamW and six epochs. Since the label belongs to the last of the four turns, the state at that turn stands beside the average over all four.
#
# Beside them stand two baselines of lesson 05, `concat` and `late`, with encoders of one convolution. The epoch is chosen on actors of its own. First one seed of two systems; the real comparison follows.

# %%
ALL = tuple(windows.modalities)
WIDTHS = {"embed_dim": 32, "embracement_dim": 64, "input_dropout": 0.0, "head_dropout": 0.0}
SYSTEMS = {
    "EmbraceNet": "embracenet",
    "crossmodal alone": "crossmodal",
    "concat": "concat",
    "late": "late",
}
RECIPE = {"epochs": 6, "batch_size": 128, "learning_rate": 5e-3}


def train(name, seed, streams=ALL, dropout=0.0, **how):
    """Train one system, which in training loses streams at the rate `dropout`."""
    mine, system = learn.select(streams), find(SYSTEMS[name])
    config = replace(system.config.for_dataset(mine), modality_dropout=dropout)
    if name in ("concat", "late"):
        config = replace(config, embed_dim=32, kernel_size=3, depths=(1,) * len(streams))
    else:
        config = replace(config, **WIDTHS)
    seed_everything(seed)
    model = Standardised(model=system.model(config=config), widths=mine.widths).learn(mine)
    fit(model, mine, choose.select(streams), seed=seed, progress=False, **RECIPE, **how)
    return model.eval()


models = {
    (name, dropout): [train(name, 0, dropout=dropout)]
    for name, dropout in (("EmbraceNet", 0.0), ("concat", 0.0))
}

# %% [markdown]
# A trained model is asked about the test seven times, once for each **combination of streams** that may be left. What is taken away gets a mask that is all False, and each system makes of that what it can (lesson 12). The last answer is the one with all streams:

# %%
answers = {key: [hear(model, test) for model in some] for key, some in models.items()}
ceilings = theatre.ceilings("conversations", context=(3, 0))
for (name, _), (heard, *_) in answers.items():
    report = classification_report(heard.outputs[-1], test.labels, 7)
    print(
        f"{name:10} accuracy {report['accuracy']:.3f}, balanced {report['balanced_accuracy']:.3f}"
    )
neutral = float((test.labels == 0).double().mean())
print(f"always neutral {neutral:.3f}, the best possible {ceilings['text+audio+vision']:.3f}")

# %% tags=["claim"]
for some in answers.values():
    accuracy = classification_report(some[0].outputs[-1], test.labels, 7)["accuracy"]
    assert neutral + 0.08 < accuracy < ceilings["text+audio+vision"] + 0.045

# %% [markdown]
# Numbers hide people. Read some dialogues: choose one, choose who predicts and with which streams. **Predict** before you take the text away: which emotions will vanish first?

# %%
PATTERNS = {" + ".join(some): place for place, some in enumerate(patterns_of(ALL))}
STAGE = clips.subset("test")


def browse(dialogue=1, who="EmbraceNet", streams="text + audio + vision"):
    """Show a dialogue of the test with what a model says of each turn."""
    turns = np.flatnonzero(test.group == np.unique(test.group)[dialogue - 1])
    heard = STAGE[turns]
    if who == "perfect observer":
        belief = theatre.window_posterior(heard, streams.split(" + "), before=3, after=0)
    else:
        belief = answers[who, 0.0][0].outputs[PATTERNS[streams]][turns].softmax(-1)
    title = f"Dialogue {dialogue}, {who}, {streams}"
    return dialogue_panel(heard, belief, title=title), describe_dialogue(heard, belief, title)


explore(
    browse,
    dialogue=(1, 40),
    who=["EmbraceNet", "concat", "perfect observer"],
    streams=["text + audio + vision", "text", "audio", "vision", "audio + vision"],
)

# %% [markdown]
# Standing still, one dialogue with all streams and with the face alone:

# %%
snapshot(browse, [{"dialogue": 32}, {"dialogue": 32, "streams": "vision"}], columns=1)

# %% [markdown]
# With the face alone this model is often wrong, and *sure of it*; keep that in mind for the end of the lesson. Move to the perfect observer: where the evidence goes, it retreats to *neutral*, and rightly so. With half of all turns neutral, that is the best bet where one cannot know, and accuracy rewards it.
#
# ## Tables 1 and 2
#
# Now the comparison, decided before it is run: same turns, same actors to learn from, same epochs, **three seeds**, intervals **by dialogue** (turns of one dialogue are alike). The single streams go through the same model, which then asks only itself.

# %% [markdown]
# **Predict** the order of the rows in Table 2, and which emotion the fusion will find that no single stream did.


# %% tags=["guided"]
def repeat(name):
    """Train a system with the seeds that are not there yet, and ask each model about the test."""
    key = (name, 0.0)
    trained = models.get(key, [])
    models[key] = trained + [train(name, seed) for seed in SEEDS[len(trained) :]]
    answers[key] = [hear(model, test) for model in models[key]]


for name in ("EmbraceNet", "crossmodal alone"):
    repeat(name)

# %% tags=["guided"]
for name in ("concat", "late"):
    repeat(name)
said = {name: [each.outputs[-1] for each in answers[name, 0.0]] for name in SYSTEMS}

# %% tags=["guided"]
for name in ALL:
    alone = [train("EmbraceNet", seed, (name,)) for seed in SEEDS]
    said[name] = [predict(model, test.select([name])) for model in alone]

# %% [markdown] tags=["guided"]
# Our Table 1: precision, recall and F1 of each class in per cent, the mean of three seeds.

# %% tags=["guided"]
counted = np.bincount(test.labels, minlength=7)


def cells(name):
    """Precision, recall and F1 of each class in per cent, the mean over the seeds, (C, 3)."""
    found = [per_class(logits, test.labels, 7) for logits in said[name]]
    keys = ("precision", "recall", "f1")
    return 100 * np.mean([np.stack([each[key] for key in keys], 1) for each in found], axis=0)


table_1 = {name: cells(name) for name in ("audio", "vision", "text", "EmbraceNet")}
print(" " * 16 + "".join(f"{name:>18}" for name in table_1))
print("class      turns" + "   PRE   REC    F1" * len(table_1))
for row, emotion in enumerate(EMOTIONS):
    values = [value for block in table_1.values() for value in block[row]]
    print(f"{emotion:10} {counted[row]:5}" + "".join(f"{value:6.1f}" for value in values))
values = [v for block in table_1.values() for v in np.average(block, axis=0, weights=counted)]
print(f"{'weighted':16}" + "".join(f"{value:6.1f}" for value in values))

# %% [markdown] tags=["guided"]
# And our Table 2, with what it needs to be read:

# %% tags=["guided"]
METRICS = ("accuracy", "balanced_accuracy", "weighted_f1")
everybody = test.labels.repeat(len(SEEDS)), np.tile(test.group, len(SEEDS))


def judged(name, metric):
    """The mean over the seeds, with an interval by dialogue."""
    logits, (labels, groups) = torch.cat(said[name]), everybody
    return bootstrap_interval(metric, logits, labels, groups=groups, resamples=500)


print(
    f"{'':17}"
    + "".join(f"{metric.replace('_', ' '):24}" for metric in METRICS)
    + "accuracy of each seed"
)
table_2 = {}
for name in ("audio", "vision", "text", *SYSTEMS):
    table_2[name] = {metric: judged(name, metric) for metric in METRICS}
    spans = (f"{i.value:.3f} [{i.low:.3f}, {i.high:.3f}]  " for i in table_2[name].values())
    seeds = (classification_report(o, test.labels, 7)["accuracy"] for o in said[name])
    print(
        f"{name:17}" + "".join(f"{span:24}" for span in spans) + " ".join(f"{s:.3f}" for s in seeds)
    )
observer = theatre.window_posterior(STAGE, before=3, after=0)
for name, guess in (
    ("always neutral", torch.zeros_like(test.labels)),
    ("perfect observer", observer),
):
    report = classification_report(guess, test.labels, 7)
    print(f"{name:17}" + "".join(f"{report[metric]:<24.3f}" for metric in METRICS))

# %% tags=["guided"]
for other in ("text", "crossmodal alone", "concat", "late"):
    labels, groups = everybody
    gain = compare(
        "accuracy",
        torch.cat(said["EmbraceNet"]),
        torch.cat(said[other]),
        labels,
        groups=groups,
        resamples=500,
    )
    print(f"EmbraceNet - {other:17} {gain.difference:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")

# %% tags=["claim", "guided"]
accuracies = {name: row["accuracy"].value for name, row in table_2.items()}
assert accuracies["EmbraceNet"] > max(accuracies[name] for name in ALL) + 0.05
assert abs(accuracies["EmbraceNet"] - accuracies["concat"]) < 0.04
assert accuracies["late"] < accuracies["concat"] - 0.03
balanced = {name: row["balanced_accuracy"].value for name, row in table_2.items()}
assert balanced["EmbraceNet"] > max(balanced[name] for name in ALL) + 0.08

# %% [markdown] tags=["guided"]
# Three results, and none of them is the paper's.
#
# 1. **Fusion helps, far beyond luck, and it helps the rare emotions**: balanced accuracy rises more than accuracy does. On MELD it did not, since there two of the three streams had nothing to say. What an architecture can show depends on what it is fed.
# 2. **Which joint fusion, hardly matters.** EmbraceNet, the crossmodal transformer alone and plain concatenation lie within a hundredth or two; read the differences with their intervals, and see that another metric puts another one first. What the streams of this play tell is independent, given the emotion (lesson 05), so that there is little for attention between streams to discover.
# 3. **Late fusion is the weakest**, weaker in balanced accuracy than the text alone. Three cautious witnesses, each of whom says *neutral* when in doubt, average to neutral.
#
# Nobody reaches the perfect observer, who knows the masks and does not have to learn them from 3,040 turns.

# %% [markdown]
# ### What the averages hide
#
# The paper's Figure 7 is a confusion matrix, in which "most of the predictions of samples tend to lie in the first column", neutral. Ours, of one seed:

# %%
first = answers["EmbraceNet", 0.0][0].outputs[-1]
show_figure(
    confusion_map(
        confusion_matrix(first, test.labels, 7), EMOTIONS, title="EmbraceNet, seed 0"
    ).figure,
    alt="A confusion matrix of seven emotions. Most of neutral, happy and angry, and about half of sad, is "
    "on the diagonal. Of fearful, surprised and disgust the larger part lies in the first column, "
    "neutral; disgust is found hardly ever.",
)
named = per_class(first, test.labels, 7)["predicted"].int().tolist()
print("said:", ", ".join(f"{emotion} {n}" for emotion, n in zip(EMOTIONS, named, strict=True)))

# %% [markdown]
# The same picture for the same reason: half of everything is neutral, and a doubtful case is best called so, if accuracy is what counts.
#
# Figure 8 is a **t-SNE** of the fused vectors. The paper reads in it that *surprise* lies farther away from neutral than other emotions do, and so is better told apart. That reading is not allowed: t-SNE keeps **neighbours**, while distances between groups, and their sizes, follow from its own arithmetic. So beside the map a number that is made of neighbours alone, in the full space:

# %% tags=["guided"]
part = test.batch(range(700))
with torch.no_grad():
    embedding = models["EmbraceNet", 0.0][0](**part.inputs, masks=part.masks).embedding
show_figure(
    tsne_map(
        embedding, part.labels, EMOTIONS, title="700 turns of the test, as EmbraceNet sees them"
    ).figure,
    alt="A t-SNE map of 700 fused vectors in seven colours and markers. Neutral fills the middle and is "
    "found nearly everywhere; happy has an end of the map for itself and angry the other; surprised lies "
    "between neutral and happy; fearful and disgust are scattered.",
)
near = torch.cdist(embedding, embedding).fill_diagonal_(torch.inf).topk(10, largest=False).indices
alike = (part.labels[near] == part.labels[:, None]).double().mean(1)
print("of the ten nearest turns, so many feel the same (in brackets: of all turns)")
for label, emotion in enumerate(EMOTIONS):
    mine = part.labels == label
    print(f"  {emotion:10} {alike[mine].mean():.2f}  ({mine.double().mean():.2f})")

# %% [markdown]
# ## The rare emotions
#
# "Future studies should consider introducing data augmentation techniques to handle the imbalanced data issue", says the paper. There are three ways to make the rare count, and one of them is free:
#
# - **weights**: a mistake on a rare class costs as much more as the class is rarer, `fit(..., class_weights="balanced")`;
# - **resampling**: every epoch shows each class equally often, `fit(..., sampling="balanced")`; the few fearful turns are shown again and again;
# - **leaning**: train as before, and divide what the model holds probable by how frequent the class is, to some strength, at the end (lesson 01). No training at all.
#
# **Predict.** What happens to accuracy, in each case? Which does best at balanced accuracy? (To spare your time, the two that train do so with two seeds.)

# %% tags=["guided"]
frequency = torch.bincount(learn.labels, minlength=7).double() / len(learn)
treated = {
    "as it is": said["EmbraceNet"],
    "class weights": [
        predict(train("EmbraceNet", s, class_weights="balanced"), test) for s in SEEDS[:2]
    ],
    "resampling": [predict(train("EmbraceNet", s, sampling="balanced"), test) for s in SEEDS[:2]],
    "leaning": [o.double().log_softmax(-1) - frequency.log() for o in said["EmbraceNet"]],
}
effect = {}
print(f"{'':15}{'accuracy':22}{'balanced accuracy':22}{'weighted F1':22}")
for name, outputs in treated.items():
    reports = [classification_report(each, test.labels, 7) for each in outputs]
    effect[name] = {metric: [report[metric] for report in reports] for metric in METRICS}
    print(
        f"{name:15}"
        + "".join(f"{' '.join(f'{v:.3f}' for v in values):22}" for values in effect[name].values())
    )
report = classification_report(observer / torch.tensor(clips.script.emotion_prior), test.labels, 7)
print(
    "the perfect observer, leaning: "
    + ", ".join(f"{m.replace('_', ' ')} {report[m]:.3f}" for m in METRICS)
)

# %% tags=["claim", "guided"]
plain = {metric: np.mean(values) for metric, values in effect["as it is"].items()}
for name in ("class weights", "resampling", "leaning"):
    assert np.mean(effect[name]["balanced_accuracy"]) > plain["balanced_accuracy"] + 0.02
    assert np.mean(effect[name]["accuracy"]) < plain["accuracy"]

# %% [markdown] tags=["guided"]
# All three do what they are meant to, and **all three pay**: seven to nine points of balanced accuracy, for ten or more of accuracy. That is no failure of theirs. The perfect observer pays as well: the two metrics ask for different answers. (Weights and resampling also choose their epoch by balanced accuracy.)
#
# And leaning, which trains nothing, is not behind the two that train. It can be undone, and set to any strength afterwards. So the problem is not one of *learning*: the open question is which question the model is to answer.

# %% [markdown]
# ## The title's claim
#
# *Robust* is in the title, and is never measured (E-31). What would the measurement be? Streams get lost: a microphone fails, a face turns away. Let **each stream of each turn be lost with a probability**, independently of the others, and look how accuracy falls. A turn that would lose all keeps one, each as likely. The library's `falling_availability` does it by throwing dice, ten times.
#
# But dice are not needed. There are only seven combinations; how often each occurs is a formula; and how good a model is on each we can measure once. So the *expected* accuracy is a sum.

# %% [markdown] tags=["exercise"]
# ### Exercise 13.3: a robustness curve without luck
# Difficulty ★★☆ · Importance ★★★ · 15 minutes
#
# `model(**batch.inputs, masks=...)` returns something with `.logits`, `(B, C)`. `batch` has `inputs` and `masks` by name, and `labels` `(B,)`. For every rate in `rates`, the probability with which a stream is lost, return the **expected accuracy**: a list of floats.
#
# - A **pattern** says which streams are left. To take a stream away, call the model with a mask that is False everywhere for that stream; leave `batch` itself as it is. There are $2^M - 1$ patterns with something left: judge each **once**, for all rates.
# - For the rate $q$, a pattern that keeps $k$ of $M$ streams has the probability $(1-q)^k\, q^{M-k}$. The draws in which all is lost, $q^M$, go to the $M$ patterns of a single stream, in equal parts.


# %% tags=["exercise"]
def robustness_curve(model, batch, rates):
    """Give the expected accuracy where each stream is lost with a probability, exactly."""
    ### BEGIN SOLUTION
    from itertools import product

    names = list(batch.inputs)
    patterns = [p for p in product((True, False), repeat=len(names)) if any(p)]
    right = []
    for pattern in patterns:
        masks = {n: batch.masks[n] & there for n, there in zip(names, pattern, strict=True)}
        with torch.no_grad():
            logits = model(**batch.inputs, masks=masks).logits
        right.append((logits.argmax(-1) == batch.labels).double().mean().item())
    curve = []
    for rate in rates:
        expected = 0.0
        for pattern, share in zip(patterns, right, strict=True):
            kept = sum(pattern)
            chance = (1 - rate) ** kept * rate ** (len(names) - kept)
            if kept == 1:
                chance += rate ** len(names) / len(names)
            expected += chance * share
        curve.append(expected)
    return curve
    ### END SOLUTION


# %% tags=["check", "nbval-check-output"]
check("13.3", robustness_curve)

# %% [markdown] tags=["hint-1"]
# `itertools.product((True, False), repeat=M)` gives all patterns; drop the one in which nothing is left. `batch.masks[name] & True` is the mask, `& False` is all False, and neither changes the batch.

# %% [markdown] tags=["hint-2"]
# Two loops, one after the other: first the accuracy of each pattern, then, for each rate, the sum of probability times accuracy. Zeros in the place of the stream are not the same as a mask: the model would take them for something seen.

# %% [markdown] tags=["hint-3"]
# `chance = (1 - q) ** k * q ** (M - k)`, and for `k == 1` also `q ** M / M`. The chances of the seven patterns then sum to one, for every rate; at rate 0 only the full pattern counts, at rate 1 the mean of the single streams.

# %% [markdown] tags=["solution-note"]
# An expectation by enumeration has no noise of its own, so two systems can be compared down to the last digit of what the *test set* allows. With eight streams there would be 255 patterns, still few. `hear(model, test)` of the library asks the same seven times and keeps every sample's answers, for intervals.

# %% [markdown]
# Against the dice first, as a proof, and then for the models that are trained. **Predict**: EmbraceNet learned to take each feature from any stream that is there. Concatenation has learned nothing of the kind. Which of them falls faster?

# %%
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
whole = test.batch(range(len(test)))
thrown = falling_availability(models["EmbraceNet", 0.0][0], test, RATES)
exact = {key: [use("13.3")(some[0], whole, RATES)] for key, some in models.items()}
limit = [
    sum(ceilings[some] * share for some, share in subset_probabilities(ALL, rate).items())
    for rate in RATES
]
lines = {"dice (EmbraceNet)": thrown.groupby("rate")["accuracy"].mean().tolist()}
lines |= {name: curves[0] for (name, _), curves in exact.items()} | {"ceiling": limit}
print(f"{'lost':18}", *(f"{rate:5.1f}" for rate in RATES))
for name, values in lines.items():
    print(f"{name:18}", *(f"{value:5.3f}" for value in values))

# %% tags=["claim"]
embraced, joined = np.array(exact["EmbraceNet", 0.0][0]), np.array(exact["concat", 0.0][0])
assert np.abs(embraced - lines["dice (EmbraceNet)"]).max() < 0.02
assert embraced[5] < joined[5] - 0.04 and embraced[5] < neutral + 0.04

# %% [markdown]
# Even a perfect observer falls, from .73 to .57: what is lost is lost, and *robust* can only mean to fall no faster. Concatenation runs beside the ceiling. **The robust architecture falls through the floor**: with half of the streams lost it is about as good as always saying neutral.
#
# Lesson 12 saw EmbraceNet take gaps well. So who did this? There are three suspects: the attention between streams, the product of Eq. 12, the embracement. An experiment that needs no training: same weights, and only the *rule* for an absent source is another. In exercise 13.2, as in the library, it is left out of the product. The other rule leaves its factor in: its attention brings nothing home, and only the
# way around is left. **Predict** what happens to pairs of streams, and to single ones.


# %%
def with_rule(model, rule):
    """The same trained weights, with another rule for an absent source."""
    twin = deepcopy(model)
    twin.model.config = replace(model.model.config, absent=rule)
    return twin


print(f"{'left':22} " + "  ".join(f"{rule:>9}" for rule in ("skip", "multiply")) + "    ceiling")
rules = {
    r: hear(with_rule(models["EmbraceNet", 0.0][0], r), test).outputs for r in ("skip", "multiply")
}
reached = {}
for place, some in enumerate(patterns_of(ALL)):
    reached[some] = [
        float((o[place].argmax(1) == test.labels).double().mean()) for o in rules.values()
    ]
    values = "  ".join(f"{value:9.3f}" for value in reached[some])
    print(f"{' + '.join(some):22} {values}  {ceilings['+'.join(some)]:9.3f}")

# %% tags=["claim"]
pairs = [values for some, values in reached.items() if len(some) == 2]
assert np.mean([multiply - skip for skip, multiply in pairs]) > 0.08
assert all(values[0] == values[1] for some, values in reached.items() if len(some) != 2)

# %% [markdown]
# It is **the product**. Two of three streams are left, and the model is far below what one stream alone is worth; give the missing factor back, and most returns, with the same weights and the same embracement. A product of two views was learned, and a single view is another thing: its signs and its sizes are others. The rule that sounds right (what is absent says nothing, so leave it out) is the wrong one *for a model that never met a gap*.
# With a single stream left both rules are the same, and both are poor.
#
# Here is what "robust" hangs on, then: not on the layer with the name, but on whether every step before it has ever met what it will meet. Which is a thing that one can train: **modality dropout** (E-30), which the paper does not mention.

# %% tags=["guided"]
# Late fusion trains each stream by itself: to lose another one in training changes nothing.
for name in SYSTEMS:
    again = (train(name, seed, dropout=0.3) for seed in SEEDS[:2])
    models[name, 0.3] = models[name, 0.0] if name == "late" else list(again)

# %% tags=["guided"]
for key, some in models.items():
    exact[key] = [use("13.3")(model, whole, RATES) for model in some]
multiplied = [with_rule(model, "multiply") for model in models["EmbraceNet", 0.0]]
exact["EmbraceNet, multiply", 0.0] = [use("13.3")(model, whole, RATES) for model in multiplied]

# %% tags=["guided"]
figure, panels = plt.subplots(1, 2, figsize=(9.8, 3.7), sharey=True, layout="constrained")
for ax, (dropout, title) in zip(
    panels, ((0.0, "no modality dropout"), (0.3, "modality dropout .3")), strict=True
):
    frames = {
        name: [
            pd.DataFrame({"rate": RATES, "draw": 0, "accuracy": c, "ceiling": limit})
            for c in exact[name, dropout]
        ]
        for name in SYSTEMS
    }
    falling_curves(frames, title=title, ax=ax)
    ax.axhline(neutral, color="#6E6E6E", ls=":", lw=1.4)
    ax.annotate(
        "always neutral",
        (0.0, neutral),
        xytext=(0, -12),
        textcoords="offset points",
        size=9,
    )
panels[0].get_legend().remove()
panels[1].set_ylabel("")
show_figure(
    figure,
    alt="Two panels: accuracy against the rate at which streams are lost, for four systems with a band over "
    "the seeds, the ceiling above and the share of neutral below. Left, without modality dropout: concat "
    "falls beside the ceiling, late starts low and falls least, EmbraceNet drops to about the share of "
    "neutral and the crossmodal transformer alone below it. Right, with modality dropout: EmbraceNet, the "
    "crossmodal transformer alone and concat lie on each other, beside the ceiling.",
)
print(f"{'each seed':26}{'all streams':>22}{'.5 lost':>22}{'.8 lost':>22}")
for (name, dropout), curves in sorted(exact.items(), key=lambda item: item[0][1]):
    if (name, dropout) != ("late", 0.3):
        columns = ("".join(f"{v:7.3f}" for v in row) for row in np.array(curves)[:, [0, 5, 8]].T)
        print(f"{name:22} {dropout:3}" + "".join(f"{text:>22}" for text in columns))

# %% tags=["claim", "guided"]
at = {key: np.mean(curves, axis=0) for key, curves in exact.items()}
for name in ("EmbraceNet", "crossmodal alone"):
    assert at[name, 0.0][5] < neutral + 0.05 and at[name, 0.3][5] > at[name, 0.0][5] + 0.05
    assert abs(at[name, 0.3][5] - at["concat", 0.3][5]) < 0.035
assert at["EmbraceNet, multiply", 0.0][5] > at["EmbraceNet", 0.0][5] + 0.04

# %% [markdown] tags=["guided"]
# One figure, and the answer to the title:
#
# - **Without modality dropout the crossmodal systems are the least robust of the four**, with EmbraceNet or without it; the seeds differ widely, but none is spared.
# - **With it, three very different systems do the same** (two seeds each), within about a hundredth of each other, and at full input it costs little or nothing. Most of what one may call robustness here was training.
# - **Late fusion falls least and starts lowest.** When most is lost it is with the best: nothing in it depends on anything else. Say *how often* things get lost before you choose.
#
# On these dialogues, at this size, with two and three seeds. On other data attention between streams may earn its keep; but then somebody will have measured it.

# %% [markdown]
# ## From the paper
#
# | the paper | ledger | what you did |
# |---|---|---|
# | Figure 1, labels | E-32, E-34 | drawn from MELD's own files |
# | Tables 1 to 3, Eqs. 17 to 21 | E-01 to E-04 | recomputed from counts; luck and balanced accuracy read |
# | Eq. 1, three losses | E-21 to E-23 | trained on a small scale; the reply is the future |
# | WaveRNN, 47,200 samples | E-15, E-16, E-18 | its size, its seconds, its task |
# | Eqs. 2 to 5, the GRU | E-19, E-20 | written; not torch's |
# | Eqs. 6 to 11, "features before the last layer" | E-05, E-12, E-14 | one reading can be computed; one step asks nothing |
# | Eq. 12, the product | E-13 | assembled |
# | Tables 1 and 2, Figures 7 and 8 | E-31, E-34, E-36 | on the theatre, with seeds, intervals and opponents |
# | "robust" | E-30, E-31 | measured |
#
# ## Take-aways
#
# - Recall times support is a count, and a count can be checked. Balanced accuracy of $1/C$ is a model that never looks.
# - Ask what an expert was *trained for*. A vocoder, a recogniser of persons and a language model hold what those tasks needed.
# - What comes next is not context, it is the future. Say whether your model saw it.
# - A softmax over one step is 1. Count the steps before you count the heads.
# - Two equations of one name (a GRU; $A \to B$) may be two networks. Compute both before you choose.
# - Rare classes are a choice of what to optimise, and leaning is free.
# - Robustness is a curve beside its ceiling, not a word in a title. It breaks at the first step that never met a gap, whatever comes after it.
#
# ## Where to go next
#
# [Lesson 14](14_capstone.ipynb) puts all four systems on one task under one protocol, and leaves the last word to your own fusion.
#
# ## References
#
# - Crossmodal transformer with EmbraceNet: Sections 4 to 6 (Eqs. 1 to 23), Tables 1 to 3, Figures 1 to 8; ledger E-01 to E-05, E-10, E-12 to E-16, E-18 to E-23, E-30, E-31, E-34, E-36.
# - Poria et al., *MELD* (2019): data, splits; the counts are of its csv files.
# - Choi and Lee, *EmbraceNet* (2019). Tsai et al., *Multimodal transformer for unaligned multimodal language sequences* (2019).
# - Wolf et al., *TransferTransfo* (2019): history, distractor, three of the token kinds.
# - Cho et al., *Learning phrase representations using RNN encoder-decoder* (2014): the GRU of Eqs. 2 to 5.
# - Van der Maaten and Hinton, *Visualizing data using t-SNE* (2008).
# - The theatre is this course's own, and synthetic: `mmlib.data.theatre`, preset `conversations`.
