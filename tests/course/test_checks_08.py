"""The checks of lesson 08, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
import torch
from checking import Answers, Misconception, surroundings, trials
from torch import nn
from torch.nn import functional as F

from mmlib import widgets
from mmlib.checks.lesson_08 import (
    channel_gate,
    quarter_by_quarter,
    separable_cost,
    shuffle_channels,
)
from mmlib.data import theatre
from mmlib.layers import (
    ChannelAttention,
    InvertedResidual,
    LocalFeatureExtractor,
    channel_shuffle,
)

GATE = Answers(
    "08.1",
    misconceptions=(
        Misconception(
            "the mean over the channels",
            "A mean over the channels says what stands at a place. A channel's gate needs the mean over all places.",
            edit=(
                "x.mean(dim=(2, 3))",
                "x.mean(dim=1).flatten(1)[:, :1].expand(-1, x.shape[1])",
            ),
        ),
        Misconception(
            "the sum over the places",
            "A sum grows with the picture, so the same face at twice the size gets another gate.",
            edit=("x.mean(dim=(2, 3))", "x.sum(dim=(2, 3))"),
        ),
        Misconception(
            "the largest place for the mean",
            "The paper pools by averaging (Algorithm 2); one bright pixel must not decide.",
            edit=("x.mean(dim=(2, 3))", "x.amax(dim=(2, 3))"),
        ),
        Misconception(
            "a window as wide as the map is high",
            "On a wide map that pools the left part only (A-04); a mean over both axes takes any shape.",
            edit=(
                "x.mean(dim=(2, 3))",
                "x[..., : min(x.shape[2:]), : min(x.shape[2:])].mean(dim=(2, 3))",
            ),
        ),
        Misconception(
            "channels compete in a softmax",
            "Several channels may matter at once: each has a sigmoid of its own.",
            edit=(".sigmoid()", ".softmax(dim=1)"),
        ),
        Misconception(
            "no bend in the middle",
            "Two linear layers without a ReLU between them are one linear layer, only narrower.",
            edit=("narrow(seen).relu()", "narrow(seen)"),
        ),
        Misconception(
            "a ReLU at the end",
            "A score below zero must be able to close the gate; cut off at zero, it stops half open.",
            edit=(
                "widen(narrow(seen).relu()).sigmoid()",
                "widen(narrow(seen).relu()).relu().sigmoid()",
            ),
        ),
        Misconception(
            "the last layer reads what came in",
            "That is Algorithm 2 as printed: what the narrow layer found is thrown away (A-04).",
            edit=(
                "widen(narrow(seen).relu())",
                "widen(torch.zeros_like(narrow(seen)) + seen[:, :1])",
            ),
        ),
        Misconception(
            "the raw score as a gate",
            "A gate lies between 0 and 1; a raw score turns channels round and blows them up.",
            edit=(".sigmoid()", ""),
        ),
        Misconception(
            "one gate for the whole batch",
            "Each picture has its own gate: another face, other channels.",
            edit=("x.mean(dim=(2, 3))", "x.mean(dim=(0, 2, 3)).expand(len(x), -1)"),
        ),
        Misconception(
            "no gradient through what is seen",
            "The layers before have to learn what a gate can use.",
            edit=("x.mean(dim=(2, 3))", "x.detach().mean(dim=(2, 3))"),
        ),
        Misconception(
            "what came in is added",
            "BAM adds the input again; here the gate alone decides (A-06).",
            edit=("return gate * x, gate", "return x + gate * x, gate"),
        ),
        Misconception(
            "the gate without its places",
            "(N, C) does not broadcast over (N, C, H, W): it needs two axes of length one.",
            edit=("return gate * x, gate", "return gate * x, gate.flatten(1)"),
        ),
    ),
    alternatives=(
        """
def channel_gate(x, narrow, widen):
    seen = torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
    score = widen(torch.relu(narrow(seen)))
    gate = torch.sigmoid(score).unsqueeze(-1).unsqueeze(-1)
    return x * gate, gate
""",
        """
def channel_gate(x, narrow, widen):
    seen = torch.einsum("nchw->nc", x) / (x.shape[2] * x.shape[3])
    few = narrow(seen).clamp(min=0)
    gate = 1 / (1 + torch.exp(-widen(few)))
    return torch.einsum("nc,nchw->nchw", gate, x), gate.reshape(*gate.shape, 1, 1)
""",
    ),
    constant="(torch.zeros(1, 2, 1, 2), torch.full((1, 2, 1, 1), 0.5))",
)

QUARTERS = Answers(
    "08.2",
    misconceptions=(
        Misconception(
            "28 and 56 by heart",
            "The numbers of Algorithm 4 fit a map of 56 x 56 and nothing else (A-08): cut at half.",
            edit=("h, w = height // 2, width // 2", "h, w = 28, 28"),
        ),
        Misconception(
            "every map is a square",
            "Half the height says nothing about half the width.",
            edit=("h, w = height // 2, width // 2", "h, w = height // 2, height // 2"),
        ),
        Misconception(
            "the paper's numbers with the code's places",
            "Algorithm 4's second patch is the upper right one; here, as in the public code, it is the lower left.",
            edit=(
                "lower_left = looks[0](x[..., :h, :w]), looks[1](x[..., h:, :w])",
                "lower_left = looks[0](x[..., :h, :w]), looks[2](x[..., h:, :w])",
            ),
        ),
        Misconception(
            "glued in the order of the filters",
            "One, two above and three, four below: but the second quarter came from the lower left.",
            edit=(
                "upper = torch.cat([upper_left, upper_right], dim=-1)\n    lower = torch.cat([lower_left, lower_right], dim=-1)",
                "upper = torch.cat([upper_left, lower_left], dim=-1)\n    lower = torch.cat([upper_right, lower_right], dim=-1)",
            ),
        ),
        Misconception(
            "concatenated along the channels",
            "Algorithm 4 names no axis. Side by side as channels, the map has four times the width and a quarter of the places (A-08).",
            edit="""
def quarter_by_quarter(x, looks):
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError("odd")
    h, w = height // 2, width // 2
    parts = x[..., :h, :w], x[..., h:, :w], x[..., :h, w:], x[..., h:, w:]
    return torch.cat([look(part) for look, part in zip(looks, parts)], dim=1)
""",
        ),
        Misconception(
            "rows and columns confused",
            "The last axis runs along a row: quarters that lie side by side are joined there.",
            edit=(
                "    upper = torch.cat([upper_left, upper_right], dim=-1)\n    lower = torch.cat([lower_left, lower_right], dim=-1)\n    return torch.cat([upper, lower], dim=-2)",
                "    upper = torch.cat([upper_left, upper_right], dim=-2)\n    lower = torch.cat([lower_left, lower_right], dim=-2)\n    return torch.cat([upper, lower], dim=-1)",
            ),
        ),
        Misconception(
            "one pair of eyes for all four",
            "Each quarter has filters of its own: that is what makes the extractor local.",
            edit=(
                "upper_right, lower_right = looks[2](x[..., :h, w:]), looks[3](x[..., h:, w:])",
                "upper_right, lower_right = looks[0](x[..., :h, w:]), looks[1](x[..., h:, w:])",
            ),
        ),
        Misconception(
            "looked at whole, then cut",
            "A filter over the whole map sees across the cut; inside a quarter there is padding at it.",
            edit="""
def quarter_by_quarter(x, looks):
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError("odd")
    whole = [look(x) for look in looks]
    h, w = whole[0].shape[-2] // 2, whole[0].shape[-1] // 2
    upper = torch.cat([whole[0][..., :h, :w], whole[2][..., :h, w:]], dim=-1)
    lower = torch.cat([whole[1][..., h:, :w], whole[3][..., h:, w:]], dim=-1)
    return torch.cat([upper, lower], dim=-2)
""",
        ),
        Misconception(
            "the odd row is dropped",
            "Silently, a part of the picture is gone; say that the map cannot be cut.",
            edit=(
                '    if height % 2 or width % 2:\n        raise ValueError(f"a map of {height} x {width} cannot be cut into four equal quarters")\n',
                "    x = x[..., : height - height % 2, : width - width % 2]\n",
            ),
        ),
        Misconception(
            "only the height is asked",
            "A map of 8 x 5 cannot be cut either.",
            edit=("if height % 2 or width % 2:", "if height % 2:"),
        ),
    ),
    alternatives=(
        """
def quarter_by_quarter(x, looks):
    if any(side % 2 for side in x.shape[-2:]):
        raise ValueError("height and width must be even")
    rows = []
    for row, upper_or_lower in enumerate(x.chunk(2, dim=2)):
        quarters = upper_or_lower.chunk(2, dim=3)
        rows.append(torch.cat([looks[2 * k + row](each) for k, each in enumerate(quarters)], 3))
    return torch.cat(rows, 2)
""",
        """
def quarter_by_quarter(x, looks):
    n, c, height, width = x.shape
    if height % 2 or width % 2:
        raise ValueError("odd")
    parts = x.reshape(n, c, 2, height // 2, 2, width // 2)
    done = torch.stack([looks[0](parts[:, :, 0, :, 0]), looks[2](parts[:, :, 0, :, 1]),
                        looks[1](parts[:, :, 1, :, 0]), looks[3](parts[:, :, 1, :, 1])], dim=2)
    done = done.unflatten(2, (2, 2)).movedim(3, 4)
    return done.flatten(4, 5).flatten(2, 3)
""",
    ),
    constant="torch.zeros(1, 1, 4, 6)",
)

COST = Answers(
    "08.3",
    misconceptions=(
        Misconception(
            "the 1x1 forgotten",
            "A depthwise filter never joins two channels; without the 1x1 they would stay apart for good.",
            edit=(
                "window * in_channels + in_channels * out_channels",
                "window * in_channels",
            ),
        ),
        Misconception(
            "the depthwise filter reads all channels",
            "That would be the plain convolution again: depthwise means one channel each.",
            edit=(
                "window * in_channels + in_channels * out_channels",
                "window * in_channels * in_channels + in_channels * out_channels",
            ),
        ),
        Misconception(
            "a window of one side",
            "A 3x3 window has nine weights, not three.",
            edit=("kernel_size**2", "kernel_size"),
        ),
        Misconception(
            "counted where the map goes in",
            "Each output costs; with stride 2 there are a quarter as many as inputs.",
            edit=("-(-size[0] // stride) * -(-size[1] // stride)", "size[0] * size[1]"),
        ),
        Misconception(
            "an odd map is cut short",
            "Padded by half a window, stride 2 makes (H + 1) / 2 of an odd H: rounded up.",
            edit=(
                "-(-size[0] // stride) * -(-size[1] // stride)",
                "(size[0] // stride) * (size[1] // stride)",
            ),
        ),
        Misconception(
            "the 1x1 at the size that went in",
            "The stride is the depthwise filter's; the 1x1 behind it works on the smaller map.",
            edit=(
                "(separable, separable * places)",
                "(separable, window * in_channels * places + in_channels * out_channels * size[0] * size[1])",
            ),
        ),
        Misconception(
            "a multiplication and an addition are two",
            "Then it is operations that one counts. Multiply-adds are one each, and papers mix the two up.",
            edit=(
                "(plain, plain * places), (separable, separable * places)",
                "(plain, 2 * plain * places), (separable, 2 * separable * places)",
            ),
        ),
        Misconception(
            "with offsets",
            "A convolution before a batch norm has none: the norm would take them out again.",
            edit=(
                "plain = window * in_channels * out_channels",
                "plain = (window * in_channels + 1) * out_channels",
            ),
        ),
        Misconception(
            "every map is a square",
            "Height times width, not height times height.",
            edit=("-(-size[1] // stride)", "-(-size[0] // stride)"),
        ),
    ),
    alternatives=(
        """
import math

def separable_cost(in_channels, out_channels, kernel_size, size, stride=1):
    def cost(inside, outside, window, groups):
        weights = (inside // groups) * window * window * outside
        return weights, weights * math.prod(math.ceil(side / stride) for side in size)
    depth = cost(in_channels, in_channels, kernel_size, in_channels)
    point = cost(in_channels, out_channels, 1, 1)
    return cost(in_channels, out_channels, kernel_size, 1), (depth[0] + point[0], depth[1] + point[1])
""",
        """
def separable_cost(in_channels, out_channels, kernel_size, size, stride=1):
    pad = kernel_size // 2
    high, wide = ((side + 2 * pad - kernel_size) // stride + 1 for side in size)
    plain = in_channels * out_channels * kernel_size * kernel_size
    thin = in_channels * (kernel_size * kernel_size + out_channels)
    return [[plain, plain * high * wide], [thin, thin * high * wide]]
""",
    ),
    constant="((54, 1296), (24, 576))",
)

SHUFFLE = Answers(
    "08.4",
    misconceptions=(
        Misconception(
            "groups and members exchanged",
            "The channels lie group after group, so the first axis of the split is the group.",
            edit=(
                "x.reshape(n, groups, channels // groups, height, width)",
                "x.reshape(n, channels // groups, groups, height, width)",
            ),
        ),
        Misconception(
            "split and joined, nothing dealt",
            "Without the exchange of the two axes the channels lie as before.",
            edit=(".transpose(1, 2)", ""),
        ),
        Misconception(
            "the groups change places",
            "Then 3 4 5 come before 0 1 2, and each group is still by itself.",
            edit=(".transpose(1, 2)", ".flip(1)"),
        ),
        Misconception(
            "by chance",
            "A shuffle of cards is drawn; this one is fixed, else no layer behind could learn from it.",
            edit="""
def shuffle_channels(x, groups):
    return x[:, torch.randperm(x.shape[1])]
""",
        ),
        Misconception(
            "always two groups",
            "The number of groups is an argument.",
            edit=(
                "x.reshape(n, groups, channels // groups, height, width)",
                "x.reshape(n, 2, channels // 2, height, width)",
            ),
        ),
        Misconception(
            "the places are shuffled along",
            "A reshape that takes height and width in tears the picture apart.",
            edit="""
def shuffle_channels(x, groups):
    return x.reshape(len(x), groups, -1).transpose(1, 2).reshape(x.shape)
""",
        ),
    ),
    alternatives=(
        """
def shuffle_channels(x, groups):
    return torch.stack(x.chunk(groups, dim=1), dim=2).flatten(1, 2)
""",
        """
def shuffle_channels(x, groups):
    members = x.shape[1] // groups
    order = [g * members + k for k in range(members) for g in range(groups)]
    return x[:, order]
""",
    ),
    constant="torch.zeros(1, 6, 1, 1)",
)


@pytest.mark.parametrize("trial", trials([GATE, QUARTERS, COST, SHUFFLE]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The references against other people's code.


def test_the_channel_gate_is_the_librarys_under_a_sigmoid():
    layer = ChannelAttention(11, reduction=3).eval()
    nn.init.uniform_(layer.gate_c.gate_c_bn_1.running_mean)
    x = torch.randn(5, 11, 3, 7)
    down = nn.Sequential(layer.gate_c.gate_c_fc_0, layer.gate_c.gate_c_bn_1)
    gated, gate = channel_gate(x, down, layer.gate_c.gate_c_fc_final)
    torch.testing.assert_close(gate, layer(x).sigmoid())
    torch.testing.assert_close(gated, layer(x).sigmoid() * x)


@pytest.mark.parametrize("size", [(8, 12), (20, 4), (56, 56)])
def test_quarters_with_the_librarys_filters_give_the_librarys_map(size):
    layer = LocalFeatureExtractor(in_channels=3, out_channels=6).eval()

    def look(k):
        convolutions = (layer.get_submodule(f"conv{k}_{step}") for step in (1, 2))
        norms = (layer.get_submodule(f"bn{k}_{step}") for step in (1, 2))
        steps = [(each, norm, nn.ReLU()) for each, norm in zip(convolutions, norms, strict=True)]
        return nn.Sequential(*steps[0], *steps[1])

    x = torch.randn(2, 3, *size)
    mine = quarter_by_quarter(x, [look(k) for k in (1, 2, 3, 4)])
    torch.testing.assert_close(mine, layer(x))


def test_the_formula_counts_the_weights_of_the_shuffle_unit():
    # Stride 1 works on half of the channels: a 1x1, a depthwise 3x3, a 1x1.
    unit = InvertedResidual(in_channels=116, out_channels=116, stride=1)
    weights = sum(each.weight.numel() for each in unit.modules() if isinstance(each, nn.Conv2d))
    _, (separable, _) = separable_cost(58, 58, 3, (28, 28))
    (pointwise, _), _ = separable_cost(58, 58, 1, (28, 28))
    assert weights == pointwise + separable


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 12])
def test_the_shuffle_is_torchs_and_the_librarys(groups):
    x = torch.randn(3, 12, 2, 5)
    assert torch.equal(shuffle_channels(x, groups), F.channel_shuffle(x, groups))
    assert torch.equal(shuffle_channels(x, groups), channel_shuffle(x, groups))


# The lesson's own functions: the planted truth, and the gate over a face.


@pytest.fixture(scope="module")
def lesson():
    return surroundings("08.3", guided=True)


@pytest.fixture(scope="module")
def faces():
    return theatre.make("portraits", n=6, seed=3, size=96)


def test_a_part_is_where_its_pixels_change_and_nowhere_else(lesson, faces):
    found = {part: lesson["where_drawn"](faces, part) for part in lesson["PARTS"]}
    rows = torch.arange(96.0)[:, None]
    height = {part: (where * rows).sum() / where.sum() for part, where in found.items()}
    assert height["brows"] < height["eyes"] < height["cheeks"] < height["mouth"]
    for part, where in found.items():
        before = faces.frames[:, 0].int()
        changed = (lesson["redrawn"](faces, part, "surprised").int() - before).abs().amax(1) > 8
        assert not (changed & ~where).any(), part
        assert 0 < where.float().mean() < 0.2


def test_a_part_redrawn_with_what_it_shows_already_changes_hardly_anything(lesson):
    clear = theatre.make("portraits", n=6, seed=3, size=96, jitter=0.0)
    for part in lesson["PARTS"]:
        for k, label in enumerate(clear.labels.tolist()):
            same = lesson["redrawn"](clear[k], part, theatre.EMOTIONS[label])
            other = lesson["redrawn"](clear[k], "mouth", theatre.EMOTIONS[(label + 3) % 8])
            before = clear.frames[k : k + 1, 0].float()
            assert (same - before).abs().mean() < 0.3 * (other - before).abs().mean() + 0.05


def test_a_lean_is_one_for_an_even_gate_and_more_for_one_that_knows(lesson, faces, monkeypatch):
    where = lesson["where_drawn"](faces, "mouth")

    class Gated:
        def __init__(self, gate):
            self.gate = lambda pictures: gate

    lean = lesson["lean"]
    monkeypatch.setitem(lean.__globals__, "few", faces)
    monkeypatch.setitem(lean.__globals__, "places", {"mouth": where})
    assert lean("bam", Gated(torch.full((6, 5, 12, 12), 0.3)), "mouth") == pytest.approx(
        1, abs=1e-4
    )
    knows = F.adaptive_avg_pool2d(where[:, None].float(), 12).expand(6, 5, 12, 12)
    assert lean("bam", Gated(knows), "mouth") > 4
    # The product rule lowers as decidedly as it raises.
    turned = torch.cat([0.5 + knows[:, :2] / 2, 0.5 - knows[:, 2:] / 2], 1)
    assert lean("product", Gated(turned), "mouth") == pytest.approx(
        lean("bam", Gated(knows), "mouth"), rel=1e-4
    )


def test_the_picture_under_the_gate_follows_every_choice(lesson, monkeypatch):
    draw = lesson["under_the_gate"]
    torch.manual_seed(0)
    readers = {
        rule: [lesson["Reader"](rule).eval() for _ in range(3)] for rule in ("bam", "product")
    }
    monkeypatch.setitem(draw.__globals__, "readers", readers)
    monkeypatch.setitem(draw.__globals__, "untrained", {r: each[0] for r, each in readers.items()})
    explorer = widgets.explore(
        draw,
        emotion=list(theatre.EMOTIONS),
        rule=["bam", "product"],
        actor=(0, 23, 1),
    )
    seen = [explorer.output.value]
    for name, value in {"emotion": "sad", "rule": "product", "actor": 5}.items():
        explorer.controls[name].value = value
        assert explorer.output.value not in seen
        seen.append(explorer.output.value)
    assert explorer.alt.startswith("Actor 5, sad, product, seed 0.")
    assert "failed" not in explorer.output.value
