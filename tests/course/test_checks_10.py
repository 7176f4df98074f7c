"""The checks of lesson 10, tried on what learners get wrong, on other right answers, on cheats."""

import pytest
import torch
from checking import Answers, Misconception, surroundings, trials

from mmlib import widgets
from mmlib.checks.lesson_10 import FactorisedConv, clip_geometry, concordance_and_gradient
from mmlib.data.spectrogram import SpectrogramGeometry
from mmlib.losses import concordance_loss
from mmlib.metrics import concordance
from mmlib.plots.agreement import draw_agreement

LOSS = Answers(
    "10.1",
    misconceptions=(
        Misconception(
            "Pearson's r",
            "r forgives a wrong level and a wrong scale; concordance does not.",
            edit=(
                "denominator = ((dx**2).sum() + (dy**2).sum()) / n + (mean_x - mean_y) ** 2 + EPS",
                "denominator = 2 * ((dx**2).sum() * (dy**2).sum()).sqrt() / n + EPS",
            ),
        ),
        Misconception(
            "a squared correlation in the numerator",
            "Eq. 3's rho_xy squared is the covariance, as the sentence below it says (J-03).",
            edit=(
                "covariance = (dx * dy).sum() / n",
                "covariance = (dx * dy).sum() ** 2 / ((dx**2).sum() * (dy**2).sum() + EPS)",
            ),
        ),
        Misconception(
            "the sample's covariance over the population's variances",
            "One estimator for all three, or a perfect guess scores above 1 (J-04).",
            edit=("(dx * dy).sum() / n", "(dx * dy).sum() / (n - 1).clamp(min=1)"),
        ),
        Misconception(
            "the sample's statistics throughout",
            "The squared distance of the means has no n - 1, so n throughout.",
            edit=("n = mask.sum().clamp(min=1)", "n = (mask.sum() - 1).clamp(min=1)"),
        ),
        Misconception(
            "no term for the level",
            "A guess that is too high everywhere is not near.",
            edit=(" + (mean_x - mean_y) ** 2 + EPS", " + EPS"),
        ),
        Misconception(
            "the distance of the means not squared",
            "Variances are squares, and so is what is added to them.",
            edit=("(mean_x - mean_y) ** 2", "(mean_x - mean_y).abs()"),
        ),
        Misconception(
            "divided by all, kept or not",
            "n counts what the mask keeps.",
            edit=("n = mask.sum().clamp(min=1)", "n = mask.numel()"),
        ),
        Misconception(
            "what is not kept enters as a deviation",
            "Zero minus the mean is not zero: mask again after subtracting.",
            edit=("torch.where(mask, y - mean_y, 0.0)", "y - mean_y"),
        ),
        Misconception(
            "multiplied by the mask",
            "NaN times 0 is NaN; `where` replaces.",
            edit=(
                "torch.where(mask, prediction, 0.0), torch.where(mask, target, 0.0)",
                "prediction * mask, target * mask",
            ),
        ),
        Misconception(
            "the mask is for the loss alone",
            "A frame without a label must not push the model either.",
            edit=("torch.where(mask, dy - ccc * (x - mean_y), 0.0)", "dy - ccc * (x - mean_y)"),
        ),
        Misconception(
            "no EPS",
            "Two constants have no spread at all, and 0 / 0 is NaN.",
            edit=(" + EPS", ""),
        ),
        Misconception(
            "the gradient of the coefficient",
            "The loss falls where the coefficient rises: there is a minus.",
            edit=("-2 * pull", "2 * pull"),
        ),
        Misconception(
            "the denominator stands still",
            "Moving a guess moves its variance as well: without that, bolder is always better.",
            edit=("dy - ccc * (x - mean_y)", "dy"),
        ),
        Misconception(
            "the guess's own mean in the gradient",
            "The derivatives of the variance and of the level's term join to x - mean_y.",
            edit=("ccc * (x - mean_y)", "ccc * dx"),
        ),
        Misconception(
            "pulls to the truth",
            "That is the squared error's gradient; concordance pulls beyond.",
            edit=("dy - ccc * (x - mean_y)", "y - x"),
        ),
        Misconception(
            "one coefficient a row, averaged",
            "A mean of small concordances is another number (J-21).",
            edit="""
def concordance_and_gradient(prediction, target, mask):
    x = prediction.detach().clone().requires_grad_()
    rows = [concordance_loss(a, b, m) for a, b, m in
            zip(x.reshape(len(x), -1), target.reshape(len(x), -1), mask.reshape(len(x), -1))]
    loss = torch.stack(rows).mean()
    return loss.detach(), torch.autograd.grad(loss, x)[0]
""",
        ),
        Misconception(
            "the coefficient in the place of the loss",
            "What is reduced is 1 minus the coefficient.",
            edit=("return 1 - ccc,", "return ccc,"),
        ),
    ),
    alternatives=(
        """
def concordance_and_gradient(prediction, target, mask):
    x = prediction.detach().clone().requires_grad_()
    a = torch.where(mask, x, torch.zeros_like(x))
    b = torch.where(mask, target, torch.zeros_like(target))
    w = mask.to(a.dtype) / mask.sum().clamp(min=1)
    ma, mb = (w * a).sum(), (w * b).sum()
    bottom = (w * (a - ma) ** 2).sum() + (w * (b - mb) ** 2).sum() + (ma - mb) ** 2 + EPS
    loss = 1 - 2 * (w * (a - ma) * (b - mb)).sum() / bottom
    (gradient,) = torch.autograd.grad(loss, x)
    return loss.detach(), gradient
""",
        """
def concordance_and_gradient(prediction, target, mask):
    gradient = torch.zeros_like(prediction)
    x, y = prediction[mask], target[mask]
    if x.numel() == 0:
        return torch.ones((), dtype=prediction.dtype, device=prediction.device), gradient
    deviation = y - y.mean()
    top = 2 * ((x - x.mean()) * deviation).mean()
    bottom = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()).square() + EPS
    gradient[mask] = 2 * (top / bottom * (x - y.mean()) - deviation) / (bottom * x.numel())
    return 1 - top / bottom, gradient
""",
    ),
    constant="(torch.tensor(1.0), torch.zeros(4))",
    setup="from mmlib.losses import concordance_loss\n",
)

GEOMETRY = Answers(
    "10.2",
    misconceptions=(
        Misconception(
            "the dilation forgotten",
            "Eight frames dilated by four span 32 frames of the recording.",
            edit=("frames * dilation / frame_rate", "frames / frame_rate"),
        ),
        Misconception(
            "one column too few",
            "A window is centred on sample 0 too: the hops and one.",
            edit=("samples // hop + 1", "samples // hop"),
        ),
        Misconception(
            "only windows that fit",
            "Centred windows stick out at both ends; the half outside is padded.",
            edit=("samples // hop + 1", "(samples - window) // hop + 1"),
        ),
        Misconception(
            "only transforms that fit",
            "The transform's length changes nothing about where windows are centred.",
            edit=("samples // hop + 1", "(samples - n_fft) // hop + 1"),
        ),
        Misconception(
            "rounded up",
            "A window is not centred behind the end.",
            edit=("samples // hop + 1", "-(-samples // hop) + 1"),
        ),
        Misconception(
            "hops counted by windows",
            "The distance from window to window is the hop.",
            edit=("samples // hop + 1", "samples // window + 1"),
        ),
        Misconception(
            "cut off instead of rounded",
            "`int` cuts 1,866.67 to 1,866.",
            edit=(
                "round(frames * dilation / frame_rate * sample_rate)",
                "int(frames * dilation / frame_rate * sample_rate)",
            ),
        ),
        Misconception(
            "the next power beyond",
            "A window of 512 fits a transform of 512.",
            edit=("while n_fft < window:", "while n_fft <= window:"),
        ),
        Misconception(
            "the power below",
            "A transform shorter than the window would cut it.",
            edit=(
                "return samples, window, hop, n_fft,",
                "return samples, window, hop, n_fft // 2,",
            ),
        ),
        Misconception(
            "always 1,024",
            "1,024 holds 20 ms at 44.1 kHz; other rates have other windows.",
            edit=("n_fft = 1\n", "n_fft = 1024\n"),
        ),
        Misconception(
            "hundredths for thousandths",
            "A millisecond is a thousandth of a second.",
            edit=("hop_ms * sample_rate / 1000", "hop_ms * sample_rate / 100"),
        ),
    ),
    alternatives=(
        """
import math
from fractions import Fraction

def clip_geometry(frames, dilation, frame_rate, sample_rate, window_ms, hop_ms):
    seconds = Fraction(frames * dilation) / Fraction(str(frame_rate))
    samples = round(seconds * sample_rate)
    window, hop = (round(Fraction(ms, 1000) * sample_rate) for ms in (window_ms, hop_ms))
    return samples, window, hop, 2 ** math.ceil(math.log2(window)), math.floor(samples / hop) + 1
""",
        """
def clip_geometry(frames, dilation, frame_rate, sample_rate, window_ms, hop_ms):
    samples = round(sample_rate * (frames * dilation) / frame_rate)
    window = round(sample_rate / 1000 * window_ms)
    hop = round(sample_rate / 1000 * hop_ms)
    return [samples, window, hop, 1 << (window - 1).bit_length(), len(range(0, samples + 1, hop))]
""",
    ),
    constant="(47040, 882, 441, 1024, 107)",
    cheats={
        "the paper's numbers": ("def clip_geometry(*args):\n    return 47040, 882, 441, 1024, 107"),
    },
)

CONV = Answers(
    "10.3",
    misconceptions=(
        Misconception(
            "as many channels between as behind",
            "Fewer weights than the full kernel: a comparison would change two things at once.",
            edit=(
                "t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)",
                "out_channels",
            ),
        ),
        Misconception(
            "rounded up",
            "Rounded up, the layer is heavier than the kernel in whose place it stands.",
            edit=(
                "t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)",
                "-(-t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels))",
            ),
        ),
        Misconception(
            "the formula for 3 x 3 x 3 always",
            "t and d are the kernel's; 27 is one case.",
            edit=(
                "t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)",
                "27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)",
            ),
        ),
        Misconception(
            "in and out confused",
            "A channel between costs d x d weights for each channel coming in, t for each going out.",
            edit=(
                "(d * d * in_channels + t * out_channels)",
                "(d * d * out_channels + t * in_channels)",
            ),
        ),
        Misconception(
            "no bend between",
            "Without the ReLU two linear maps are one, and the second kernel buys nothing.",
            edit=("torch.relu(self.norm(self.over_places(x)))", "self.norm(self.over_places(x))"),
        ),
        Misconception(
            "ReLU before the norm",
            "Convolution, norm, ReLU: in the other order half of the norm's values stay negative.",
            edit=(
                "torch.relu(self.norm(self.over_places(x)))",
                "self.norm(torch.relu(self.over_places(x)))",
            ),
        ),
        Misconception(
            "no norm",
            "The norm belongs between the two.",
            edit=("self.norm = nn.BatchNorm3d(middle)", "self.norm = nn.Identity()"),
        ),
        Misconception(
            "biases kept",
            "A bias before a batch norm is subtracted again, and it makes the layer heavier.",
            edit=(
                "padding=(0, d // 2, d // 2),\n            bias=False,",
                "padding=(0, d // 2, d // 2),",
            ),
        ),
        Misconception(
            "the whole stride over places",
            "Each convolution takes its own part of the stride.",
            edit=("stride=(stride, 1, 1)", "stride=1"),
        ),
        Misconception(
            "time shrinks",
            "A kernel of t steps needs t // 2 steps of padding on each side.",
            edit=("padding=(t // 2, 0, 0)", "padding=0"),
        ),
        Misconception(
            "time's padding on the places",
            "Video is (B, C, T, H, W) in here: the first of the three is time.",
            edit=("padding=(t // 2, 0, 0)", "padding=(0, 0, t // 2)"),
        ),
        Misconception(
            "time first",
            "The paper's order is places, then time.",
            edit="""
class FactorisedConv(nn.Module):
    def __init__(self, in_channels, out_channels, t=3, d=3, stride=1):
        super().__init__()
        middle = t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)
        self.first = nn.Conv3d(
            in_channels, middle, (t, 1, 1), (stride, 1, 1), (t // 2, 0, 0), bias=False
        )
        self.norm = nn.BatchNorm3d(middle)
        self.second = nn.Conv3d(
            middle, out_channels, (1, d, d), (1, stride, stride), (0, d // 2, d // 2), bias=False
        )
    def forward(self, x):
        return self.second(torch.relu(self.norm(self.first(x))))
""",
        ),
        Misconception(
            "one full kernel",
            "The exercise is to take it apart.",
            edit="""
class FactorisedConv(nn.Module):
    def __init__(self, in_channels, out_channels, t=3, d=3, stride=1):
        super().__init__()
        self.conv = nn.Conv3d(
            in_channels, out_channels, (t, d, d), stride, (t // 2, d // 2, d // 2), bias=False
        )
    def forward(self, x):
        return self.conv(x)
""",
        ),
    ),
    alternatives=(
        """
class FactorisedConv(nn.Sequential):
    def __init__(self, in_channels, out_channels, t=3, d=3, stride=1):
        weights = in_channels * out_channels * t * d**2
        middle = int(weights / (in_channels * d**2 + out_channels * t))
        places, time = (1, d, d), (t, 1, 1)
        half = lambda kernel: tuple((k - 1) // 2 for k in kernel)
        steps = ((1, stride, stride), (stride, 1, 1))
        super().__init__(
            nn.Conv3d(in_channels, middle, places, steps[0], half(places), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(),
            nn.Conv3d(middle, out_channels, time, steps[1], half(time), bias=False),
        )
""",
        """
class FactorisedConv(nn.Module):
    def __init__(self, in_channels, out_channels, t=3, d=3, stride=1):
        super().__init__()
        m = t * d * d * in_channels * out_channels // (d * d * in_channels + t * out_channels)
        self.time = nn.Conv1d(m, out_channels, t, stride, t // 2, bias=False)
        self.norm = nn.BatchNorm3d(m)
        self.places = nn.Conv2d(in_channels, m, d, stride, d // 2, bias=False)
    def forward(self, x):
        b, _, t = x.shape[:3]
        x = self.places(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (b, t)).transpose(1, 2)
        x = torch.relu(self.norm(x))
        h, w = x.shape[-2:]
        lines = x.permute(0, 3, 4, 1, 2).flatten(0, 2)
        return self.time(lines).unflatten(0, (b, h, w)).permute(0, 3, 4, 1, 2)
""",
    ),
    constant="torch.zeros(2, 7, 6, 9, 11)",
    cheats={
        "is the reference": "from mmlib.checks.lesson_10 import FactorisedConv",
        "is made of the reference": """
from mmlib.checks.lesson_10 import FactorisedConv as Theirs

class FactorisedConv(Theirs):
    pass
""",
        "calls the library's": """
from mmlib.backbones.r2plus1d import FactorisedConv as Library, inner_width

class FactorisedConv(nn.Module):
    def __init__(self, in_channels, out_channels, t=3, d=3, stride=1):
        super().__init__()
        self.whole = Library(
            in_channels=in_channels,
            out_channels=out_channels,
            inner_channels=inner_width(in_channels, out_channels),
            stride=stride,
        )
    def forward(self, x):
        return self.whole(x)
""",
    },
)


@pytest.mark.parametrize("trial", trials([LOSS, GEOMETRY, CONV]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


# The references, against the library and by hand.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_by_formula_is_that_of_autograd(dtype):
    draws = torch.Generator().manual_seed(3)
    target = torch.randn(5, 7, generator=draws, dtype=dtype)
    guess = (0.6 * target + 0.3 * torch.randn(5, 7, generator=draws, dtype=dtype)).requires_grad_()
    mask = torch.rand(5, 7, generator=draws) < 0.7
    loss, gradient = concordance_and_gradient(guess.detach(), target, mask)
    library = concordance_loss(guess, target, mask)
    library.backward()
    torch.testing.assert_close(loss, library.detach())
    torch.testing.assert_close(gradient, guess.grad)


def test_the_gradient_vanishes_where_the_loss_wants_each_guess():
    target = torch.tensor([-1.0, 0.5, 2.0, 0.1], dtype=torch.float64)
    mask = torch.ones(4, dtype=torch.bool)
    guess = 0.3 * target + 0.4
    loss, gradient = concordance_and_gradient(guess, target, mask)
    aim = target.mean() + (target - target.mean()) / (1 - loss)
    # Each element alone is pushed towards its aim, not towards its label.
    assert torch.equal((aim - guess).sign(), -gradient.sign())


def test_the_geometry_is_the_librarys():
    for frames, dilation, rate in ((8, 4, 30), (8, 1, 30), (8, 4, 29.97), (16, 2, 25)):
        library = SpectrogramGeometry(frames=frames, dilation=dilation, frame_rate=rate)
        mine = clip_geometry(frames, dilation, rate, 44_100, 20, 10)
        assert mine == (library.samples, library.window, library.hop, 1024, library.columns)
    assert clip_geometry(8, 4, 30, 44_100, 20, 10)[-1] == 107


@pytest.mark.parametrize(("inside", "outside"), [(64, 64), (64, 128), (3, 11), (13, 6)])
def test_a_factorised_convolution_is_as_heavy_as_the_full_one_up_to_one_channel(inside, outside):
    layer = FactorisedConv(inside, outside)
    weights = sum(p.numel() for p in layer.parameters() if p.dim() > 1)
    assert 27 * inside * outside - (9 * inside + 3 * outside) < weights <= 27 * inside * outside


# The explorer.


def test_the_sliders_move_r_and_concordance_as_the_lesson_says():
    explorer = widgets.explore(
        draw_agreement, bias=(-1.0, 1.0, 0.1), scale=(0.1, 2.0, 0.1), noise=(0.0, 2.0, 0.1)
    )
    for control, value in (("bias", 0.0), ("scale", 1.0), ("noise", 0.5)):
        explorer.controls[control].value = value
    assert "Pearson's r 0.89, concordance 0.89" in explorer.alt
    explorer.controls["bias"].value = 0.6
    assert "Pearson's r 0.89, concordance 0.54" in explorer.alt
    explorer.controls["bias"].value = 0.0
    explorer.controls["scale"].value = 0.3
    assert "Pearson's r 0.89, concordance 0.54" in explorer.alt
    explorer.controls["scale"].value = 1.0
    explorer.controls["noise"].value = 1.5
    assert "Pearson's r 0.55, concordance 0.47" in explorer.alt


def test_the_moving_average_of_the_lesson_keeps_a_constant_and_its_ends():
    smoothed = surroundings("10.2")["smoothed"]
    steps = torch.arange(14.0).reshape(2, 7).numpy()
    assert (smoothed(steps, 1) == steps).all()
    assert smoothed(steps, 3)[0].tolist() == [0.5, 1, 2, 3, 4, 5, 5.5]
    assert (smoothed(0 * steps + 3, 5) == 3).all()
    assert concordance(smoothed(steps, 3), steps) > 0.98
