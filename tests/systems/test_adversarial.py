"""Algorithm 1: what each loss is, who learns from it, and who must stand still."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmlib.checks.lesson_06 import decoder_floor
from mmlib.data import FeatureSet, Standardised
from mmlib.losses import Phase
from mmlib.systems import CAMMAAETConfig, build
from mmlib.systems.ca_mmaaet.adversarial import (
    SCHEDULES,
    discriminator_loss,
    generator_loss,
    reconstruction_loss,
)
from mmlib.training import fit, seed_everything

TINY = CAMMAAETConfig(
    text_dim=4, audio_dim=3, vision_dim=2, vision_steps=6, hidden_dim=8, latent_dim=5,
    num_heads=2, ffn_dim=7, decoder_dim=9,
)  # fmt: skip


def dataset(count: int = 23) -> FeatureSet:
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    shapes = {"text": (9, 4), "audio": (12, 3), "vision": (6, 2)}
    inputs = {n: torch.randn(count, *s, generator=draw) for n, s in shapes.items()}
    inputs["text"][..., 0] += labels[:, None]
    mask = torch.ones(count, 6, dtype=torch.bool)
    mask[3, 4:] = False
    return FeatureSet(inputs, {"vision": mask}, labels, ("a", "b", "c"))


def model(schedule: str = "aae", **changes) -> nn.Module:
    torch.manual_seed(0)
    return build("ca_mmaaet", replace(TINY, schedule=schedule, **changes))


def part(whole: nn.Module, name: str) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in whole.state_dict().items() if f"{name}." in f".{k}"}


PARTS = ("encoder", "decoder", "discriminator", "classifier")
MOVES = {
    "autoencode": ("encoder", "decoder", "classifier"),
    "discriminate": ("discriminator",),
    "generate": ("encoder",),
    "joint": PARTS,
    "reconstruct": ("encoder", "decoder"),
    "classify": ("encoder", "classifier"),
}


def phase_of(whole: nn.Module, name: str) -> Phase:
    return next(phase for phase in whole.phases() if phase.name == name)


def test_reconstruction_loss_is_the_mean_over_samples_of_the_mean_over_real_elements():
    frames = torch.tensor([[[1.0], [2.0], [7.0]], [[0.0], [0.0], [3.0]]])
    rebuilt = torch.zeros(2, 3, 1)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert reconstruction_loss(rebuilt, frames) == pytest.approx((1 + 4 + 49 + 9) / 6)
    assert reconstruction_loss(rebuilt, frames, mask) == pytest.approx((5 / 2 + 9 / 3) / 2)
    assert reconstruction_loss(rebuilt[:, :2], frames) == pytest.approx(5 / 4), "the shorter counts"


def test_frames_that_are_not_real_may_be_nan():
    rebuilt = torch.randn(2, 3, 5, requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    frames = torch.randn(2, 3, 5).masked_fill(~mask[..., None], float("nan"))
    loss = reconstruction_loss(rebuilt, frames, mask)
    loss.backward()
    assert loss == reconstruction_loss(rebuilt, frames.nan_to_num(7.0), mask)
    assert (rebuilt.grad[mask] != 0).all() and (rebuilt.grad[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_prior_has_the_precision_of_what_judges_it(dtype, device):
    judge = nn.Linear(7, 1).to(device, dtype)
    loss = discriminator_loss(judge, torch.randn(5, 7, device=device, dtype=dtype))
    assert loss.dtype == torch.float32 and torch.isfinite(loss)


def test_discriminator_loss_calls_the_prior_one_and_the_encoded_zero():
    class Short(nn.Module):
        """Sure that a vector with entries below 2 is the prior's, and that a longer one is not."""

        def forward(self, z):
            return (4.0 - z.square().mean(-1, keepdim=True)) * 20.0

    far = torch.full((7, 64), 30.0)
    assert discriminator_loss(Short(), far) < 1e-3
    assert discriminator_loss(Short(), torch.zeros(7, 64)) == pytest.approx(40.0, abs=0.1)
    constant = nn.Linear(64, 1)
    nn.init.zeros_(constant.weight), nn.init.zeros_(constant.bias)
    assert discriminator_loss(constant, far).item() == pytest.approx(math.log(2))


def test_adversarial_losses_are_binary_cross_entropy_from_logits():
    validity = torch.tensor([[-2.0], [0.5], [90.0]])
    expected = F.binary_cross_entropy_with_logits(validity, torch.ones(3, 1))
    assert generator_loss(validity) == pytest.approx(float(expected))
    judge, latent = nn.Linear(5, 1), torch.randn(4, 5)
    torch.manual_seed(3)
    found = discriminator_loss(judge, latent)
    torch.manual_seed(3)
    both = judge(torch.cat([latent, torch.randn(4, 5)]))
    target = torch.tensor([[0.0]] * 4 + [[1.0]] * 4)
    assert torch.allclose(found, F.binary_cross_entropy_with_logits(both, target))


def test_the_decoders_floor_has_its_closed_form():
    """A pair (a, b) costs ((a - b) / 2)^2 at its mean m, and m^2 more where m < 0 behind a ReLU."""
    frames = torch.tensor([[[1.0], [3.0], [-1.0], [-3.0], [2.0], [-1.0]]])
    assert decoder_floor(frames, 2, relu=False) == pytest.approx((1 + 1 + 2.25) * 2 / 6)
    assert decoder_floor(frames, 2, relu=True) == pytest.approx(((1 + 1 + 2.25) + 4) * 2 / 6)
    odd = torch.tensor([[[1.0], [3.0], [5.0]]])
    assert decoder_floor(odd, 2, relu=True) == pytest.approx(2 / 3)


def test_the_floor_of_standard_normal_frames_is_three_quarters_and_one_half_without_relu():
    frames = torch.randn(400, 10, 50, generator=torch.Generator().manual_seed(0))
    assert decoder_floor(frames, 2, relu=True) == pytest.approx(0.75, abs=0.01)
    assert decoder_floor(frames, 2, relu=False) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("out_activation", ["relu", None])
def test_no_output_of_the_decoder_gets_under_the_floor_and_the_best_one_reaches_it(out_activation):
    """Gradient descent on what the decoder can put out ends at the floor."""
    frames = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0))
    free = torch.zeros(3, 4, 2, requires_grad=True)
    optimiser = torch.optim.SGD([free], lr=2.0)
    floor = decoder_floor(frames, 2, relu=out_activation is not None)
    with torch.no_grad():
        free += 0.1
    for _ in range(300):
        out = free.relu() if out_activation else free
        loss = reconstruction_loss(out.repeat_interleave(2, dim=1)[:, :7], frames)
        assert loss >= floor - 1e-6
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    assert loss.item() == pytest.approx(float(floor), abs=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_phase_gives_gradients_to_its_own_parts_and_the_schedule_reaches_all_parts(schedule):
    whole, reached = model(schedule), set()
    batch = dataset().batch(range(7))
    for phase in whole.phases():
        own = {id(parameter) for parameter in phase.parameters}
        moved = {n for n in PARTS if {id(p) for p in getattr(whole, n).parameters()} <= own}
        assert moved == set(MOVES[phase.name]) and len(own) == sum(
            len(list(getattr(whole, name).parameters())) for name in moved
        )
        reached |= moved
    assert reached == set(PARTS)
    assert torch.isfinite(whole(**batch.inputs, masks=batch.masks)[0]).all()


def test_in_the_discriminators_step_no_gradient_reaches_the_encoder():
    """Even without the training loop, which would hold the encoder still as well."""
    whole = model()
    batch = dataset().batch(range(7))
    output = whole(**batch.inputs, masks=batch.masks)
    phase_of(whole, "discriminate").losses(output, batch)[0].backward()
    assert all(parameter.grad is None for parameter in whole.encoder.parameters())
    assert all(parameter.grad is None for parameter in whole.decoder.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in whole.discriminator.parameters())


def test_the_generators_gradient_is_not_that_of_the_joint_update():
    """Read literally, the encoder's gradient makes its latents easier to tell from the prior."""
    batch = dataset().batch(range(23))
    directions = {}
    for schedule, name in (("aae", "generate"), ("joint", "joint")):
        whole = model(schedule, dropout=0.0)
        output = whole(**batch.inputs, masks=batch.masks)
        torch.manual_seed(1)
        losses = phase_of(whole, name).losses(output, batch)[1]
        adversarial = losses["generator" if schedule == "aae" else "discriminator"]
        (directions[schedule],) = torch.autograd.grad(adversarial, output.latent)
    cosine = F.cosine_similarity(directions["aae"], directions["joint"], dim=-1)
    assert (cosine < -0.99).all()


def one_epoch(schedule: str, only: str | None = None, **settings):
    """Train one epoch, by one phase only if named; returns the parts before and after."""
    seed_everything(0)
    whole = model(schedule)
    if only is not None:
        phases = [phase_of(whole, only)._replace(every=1, first=0)]
        whole.phases = lambda: phases
    before = {name: part(whole, name) for name in PARTS}
    settings = {"epochs": 1, "batch_size": 5, "learning_rate": 0.01, "progress": False, **settings}
    history = fit(whole, dataset(), **settings)
    after = {name: part(whole, name) for name in PARTS}
    moved = {
        name
        for name in PARTS
        if any(not torch.equal(before[name][key], after[name][key]) for key in before[name])
    }
    return moved, history


@pytest.mark.parametrize(
    ("schedule", "name"),
    [("aae", "autoencode"), ("aae", "discriminate"), ("aae", "generate"), ("joint", "joint"),
     ("alternate", "reconstruct"), ("alternate", "discriminate"), ("alternate", "classify")],
)  # fmt: skip
def test_a_step_changes_its_own_parts_and_no_other(schedule, name):
    assert one_epoch(schedule, name)[0] == set(MOVES[name])


COLUMNS = {
    "aae": ("reconstruction", "classification", "discriminator", "generator"),
    "joint": ("reconstruction", "classification", "discriminator"),
    "alternate": ("reconstruction", "discriminator", "classification"),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_history_holds_every_part_of_the_loss_in_training_and_validation(schedule):
    whole, data = model(schedule), dataset()
    history = fit(whole, data, data, epochs=2, batch_size=5, progress=False)
    trained = [c.removeprefix("loss_") for c in history if c.startswith("loss_")]
    assert tuple(trained) == COLUMNS[schedule]
    assert list(history.train_loss) == pytest.approx(
        sum(history[f"loss_{name}"] for name in trained).tolist(), rel=1e-5
    )
    for name in COLUMNS["aae"]:
        assert history[f"valid_loss_{name}"].between(0, 10).all()
    assert history.valid_loss_classification.tolist() == pytest.approx(
        history.valid_loss.tolist(), rel=1e-5
    )
    assert history.train_accuracy.between(0, 1).all()


def test_weights_count_in_the_sum_but_not_in_the_history():
    data = dataset()
    for weight in (0.0, 3.0):
        whole = model("joint", reconstruction_weight=weight, adversarial_weight=0.5, dropout=0.0)
        batch = data.batch(range(9))
        torch.manual_seed(0)
        total, named = whole.phases()[0].losses(whole(**batch.inputs, masks=batch.masks), batch)
        expected = weight * named["reconstruction"] + named["classification"]
        assert torch.allclose(total, expected + 0.5 * named["discriminator"])
        if weight == 0.0:
            total.backward()
            assert all(p.grad.abs().sum() == 0 for p in whole.decoder.parameters())


def test_the_adversarial_weight_is_the_generators_learning_rate():
    phases = model("aae", adversarial_weight=0.2).phases()
    assert [phase.learning_rate for phase in phases] == [1.0, 1.0, 0.2]
    moved, _ = one_epoch("aae", "generate")
    assert moved == {"encoder"}


def test_the_alternating_cycle_takes_one_phase_a_batch_and_goes_on_over_epochs(monkeypatch):
    from mmlib.training.trainer import Trainer

    taken, step = [], Trainer._step
    monkeypatch.setattr(
        Trainer, "_step", lambda self, i, *a, **k: taken.append(i) or step(self, i, *a, **k)
    )
    one_epoch("alternate", epochs=2)  # 5 batches an epoch
    assert taken == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


def test_behind_a_standardisation_the_target_is_what_went_in():
    data = dataset()
    raw = FeatureSet(
        {**data.inputs, "vision": data.inputs["vision"] * 40 + 900}, data.masks, data.labels,
        data.class_names,
    )  # fmt: skip
    whole = Standardised(model=model(), widths=raw.widths).learn(raw).eval()
    batch = raw.batch(range(8))
    output = whole(**batch.inputs, masks=batch.masks)
    seen = whole.standardise(batch.inputs, batch.masks)["vision"]
    expected = reconstruction_loss(output.reconstruction, seen, batch.masks["vision"])
    assert torch.allclose(whole.losses(output, batch)["reconstruction"], expected)
    first = whole.phases()[0].losses(output, batch)[1]["reconstruction"]
    assert torch.allclose(first, expected) and expected < 10
