"""Checks of lesson 06: the decoder's floor, two losses of one game, one round of it, and a referee."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from mmlib.checks import expect
from mmlib.checks.framework import exercise

Network = Callable[[Tensor], Tensor]


def decoder_floor(frames: Tensor, repeat: int, relu: bool) -> Tensor:
    """Compute the least mean squared error of frames that come in equal groups, perhaps not negative."""
    error = frames.new_zeros(())
    for group in frames.split(repeat, dim=1):  # (N, repeat or fewer, D)
        best = group.mean(dim=1, keepdim=True)
        if relu:
            best = best.clamp(min=0)
        error = error + ((group - best) ** 2).sum()
    return error / frames.numel()


@exercise("06.1", title="the decoder's floor", reference=decoder_floor)
def check_decoder_floor(answer: Any) -> None:
    """Try a case by hand, all repetitions, a last group that is cut off, and a descent to the floor."""
    expect.is_callable(answer, name="decoder_floor")
    by_hand = torch.tensor([[[1.0], [3.0], [-4.0], [-2.0]]])
    tried = "one feature, frames 1, 3, −4, −2, in pairs, with the ReLU: best are 2, 2, 0, 0"
    with expect.inputs_left_alone(hint=1, frames=by_hand):
        came = answer(by_hand, 2, True)
    expect.close(came, torch.tensor(22 / 4), name="the floor", tried=tried, hint=1)
    tried = "the same without the ReLU: best are 2, 2, −3, −3"
    expect.close(
        answer(by_hand, 2, False), torch.tensor(1.0), name="the floor", tried=tried, hint=1
    )
    fresh = expect.Fresh(61)
    for clips, steps, width, repeat in ((3, 10, 7, 2), (5, 12, 2, 3), (2, 6, 11, 1), (7, 8, 3, 8)):
        for relu in (True, False):
            frames = fresh.normal(clips, steps, width) + 0.3
            tried = f"frames ({clips}, {steps}, {width}), each {repeat} times, relu={relu}"
            with expect.inputs_left_alone(hint=1, frames=frames):
                came = answer(frames, repeat, relu)
            right = decoder_floor(frames, repeat, relu)
            expect.close(came, right, name="the floor", tried=tried, hint=2)
    for steps, repeat in ((7, 2), (11, 4), (2, 3)):
        frames = fresh.normal(3, steps, 5) - 0.2
        tried = f"{steps} frames, each {repeat} times: the last group is cut off"
        right = decoder_floor(frames, repeat, True)
        expect.close(answer(frames, repeat, True), right, name="the floor", tried=tried, hint=3)


def game_losses(discriminator: Network, latent: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of telling latents (0) from the prior (1), and that of being taken for it."""
    encoded, drawn = discriminator(latent.detach()), discriminator(prior)
    judged = (F.softplus(encoded).mean() + F.softplus(-drawn).mean()) / 2
    fooled = F.softplus(-discriminator(latent)).mean()
    return judged, fooled


@exercise("06.2", title="two losses of one game", reference=game_losses)
def check_game_losses(answer: Any) -> None:
    """Try logits that can be done by hand, fresh ones, extreme ones; look at who gets a gradient."""
    expect.is_callable(answer, name="game_losses")
    fresh = expect.Fresh(62)

    def first(points: Tensor) -> Tensor:
        return points[:, :1]

    for device in expect.devices():
        latent, prior = torch.zeros(3, 2, device=device), torch.zeros(5, 2, device=device)
        tried = "a discriminator that says 0 (one half) to everything"
        both = expect.pair(answer(first, latent, prior), "two losses", tried=tried)
        half = torch.tensor(2.0).log()
        for name, came, hint in zip(("discriminator", "encoder"), both, (1, 2), strict=True):
            expect.shape(came, (), name=f"the {name}'s loss", tried=tried, hint=hint)
            expect.close(came, half, name=f"the {name}'s loss", tried=tried, hint=hint)
        for samples, draws, width in ((7, 7, 3), (5, 11, 2)):
            judge = _judge(width, fresh).to(device)
            latent = fresh.normal(samples, width).to(device) + 1
            prior = fresh.normal(draws, width).to(device)
            tried = f"{samples} latents and {draws} draws of the prior, of {width} numbers each"
            with expect.inputs_left_alone(hint=1, latent=latent, prior=prior):
                both = expect.pair(answer(judge, latent, prior), "two losses", tried=tried)
            right = game_losses(judge, latent, prior)
            for i, name in enumerate(("discriminator", "encoder")):
                expect.close(
                    both[i], right[i], name=f"the {name}'s loss", tried=tried, hint=i + 1, atol=1e-6
                )
    _extreme_logits(answer, first)
    _who_gets_a_gradient(answer, fresh)


def _judge(width: int, fresh: expect.Fresh) -> nn.Sequential:
    judge = nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 1))
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.copy_(fresh.normal(*parameter.shape))
    return judge


def _extreme_logits(answer: Any, first: Network) -> None:
    latent = torch.tensor([[-300.0, 0.0], [-200.0, 0.0]], requires_grad=True)
    prior = torch.tensor([[-400.0, 0.0]])
    tried = "logits −300 and −200 for the latents, −400 for the prior"
    judged, fooled = expect.pair(answer(first, latent, prior), "two losses", tried=tried)
    for name, came, right in (("discriminator", judged, 200.0), ("encoder", fooled, 250.0)):
        expect.finite(came, name=f"the {name}'s loss", tried=tried, hint=3)
        expect.close(came, torch.tensor(right), name=f"the {name}'s loss", tried=tried, hint=3)


def _who_gets_a_gradient(answer: Any, fresh: expect.Fresh) -> None:
    judge, latent = _judge(3, fresh), fresh.normal(7, 3).requires_grad_()
    prior = fresh.normal(7, 3)
    tried = "latents (7, 3) that carry a gradient"
    judged, fooled = expect.pair(answer(judge, latent, prior), "two losses", tried=tried)
    judged, fooled = (torch.as_tensor(loss).reshape(1) for loss in (judged, fooled))
    expect.no_gradient_reaches(
        judged, latent, name="the latents from the discriminator's loss", tried=tried, hint=1
    )
    expect.gradient_reaches(
        judged, *judge.parameters(), name="the discriminator from its loss", tried=tried, hint=1
    )
    expect.gradient_reaches(
        fooled, latent, name="the latents from the encoder's loss", tried=tried, hint=2
    )
    (came,) = torch.autograd.grad(fooled.sum(), latent)
    (right,) = torch.autograd.grad(game_losses(judge, latent, prior)[1], latent)
    name = "the latents' gradient of the encoder's loss"
    expect.close(came, right, name=name, tried=tried, hint=2, atol=1e-6)


def play_round(
    encoder: nn.Module,
    discriminator: nn.Module,
    encoder_optimizer: Optimizer,
    discriminator_optimizer: Optimizer,
    clips: Tensor,
    prior: Tensor,
) -> tuple[float, float]:
    """Let the discriminator learn while the encoder holds still, then the encoder."""
    judged, _ = game_losses(discriminator, encoder(clips), prior)
    discriminator_optimizer.zero_grad()
    judged.backward()
    discriminator_optimizer.step()
    _, fooled = game_losses(discriminator, encoder(clips), prior)
    encoder_optimizer.zero_grad()
    fooled.backward()
    encoder_optimizer.step()
    return judged.item(), fooled.item()


@exercise("06.3", title="one round, in the right order", reference=play_round)
def check_play_round(answer: Any) -> None:
    """Play rounds beside the reference with plain and with adaptive steps, from dirty gradients."""
    expect.is_callable(answer, name="play_round")
    fresh = expect.Fresh(63)
    optimisers: tuple[tuple[str, Callable[..., Optimizer], int], ...] = (
        ("plain gradient descent", lambda p: torch.optim.SGD(p, lr=0.5), 1),
        ("momentum", lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9), 3),
        ("AdamW", lambda p: torch.optim.AdamW(p, lr=0.05), 5),
    )
    for name, make, rounds in optimisers:
        encoder = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        encoder.load_state_dict(
            {k: fresh.normal(*v.shape) for k, v in encoder.state_dict().items()}
        )
        judge = _judge(3, fresh)
        mine, theirs = (encoder, judge), (copy.deepcopy(encoder), copy.deepcopy(judge))
        made = [[make(part.parameters()) for part in parts] for parts in (mine, theirs)]
        for turn in range(rounds):
            clips, prior = fresh.normal(11, 5), fresh.normal(11, 3)
            for part in (*mine, *theirs):
                for parameter in part.parameters():
                    parameter.grad = torch.full_like(parameter, 0.1)  # left over from other work
            tried = f"round {turn + 1} with {name}, eleven clips, an old gradient still in place"
            came = expect.pair(answer(*mine, *made[0], clips, prior), "two losses", tried=tried)
            right = play_round(*theirs, made[1][0], made[1][1], clips, prior)
            parts = zip(("discriminator", "encoder"), mine[::-1], theirs[::-1], (2, 3), strict=True)
            for what, part, other, hint in parts:
                told = f"{tried}; compared with a round in the right order"
                _same_weights(part, other, f"the {what}'s weights", told, hint)
            for what, value, wanted in zip(("discriminator", "encoder"), came, right, strict=True):
                expect.close(value, wanted, name=f"the {what}'s loss", tried=tried, hint=3)


def _same_weights(came: nn.Module, right: nn.Module, name: str, tried: str, hint: int) -> None:
    one, other = (nn.utils.parameters_to_vector(m.parameters()) for m in (came, right))
    expect.close(one, other, name=name, tried=tried, hint=hint, rtol=1e-3, atol=1e-4)
    learns = all(parameter.requires_grad for parameter in came.parameters())
    expect.that(learns, f"{name} left free to learn", got="requires_grad is False", hint=1)


RULES = (
    "step 2 moves the encoder",
    "step 3 moves the discriminator",
    "step 3 helps the discriminator",
)


def referee(
    discriminate: Callable[[], Any],
    generate: Callable[[], Any],
    encoder: nn.Module,
    discriminator: nn.Module,
    clips: Tensor,
) -> set[str]:
    """Take both steps and say which of the three rules they broke."""
    broken = set()
    before = _memory(encoder)
    discriminate()
    if _moved(encoder, before):
        broken.add(RULES[0])
    judge, before = copy.deepcopy(discriminator), _memory(discriminator)
    with torch.no_grad():
        earlier = judge(encoder(clips)).mean()
    generate()
    if _moved(discriminator, before):
        broken.add(RULES[1])
    with torch.no_grad():
        later = judge(encoder(clips)).mean()
    if later < earlier:
        broken.add(RULES[2])
    return broken


def _memory(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _moved(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


@exercise("06.4", title="a referee", reference=referee)
def check_referee(answer: Any) -> None:
    """Let it watch fair steps and foul ones, one by one and together, hidden in few numbers."""
    expect.is_callable(answer, name="referee")
    for number, fouls in enumerate(_FOULS):
        for seed in (0, 1):
            said = answer(*_match(fouls, seed=64 + 10 * number + seed))
            tried = f"steps of which is true: {', '.join(sorted(fouls)) or 'nothing is wrong'}"
            tried += " (by a buffer, not a weight)" if "buffer" in fouls else ""
            tried = tried.replace("buffer, ", "")
            expect.kind(said, (set, frozenset, list, tuple), tried=tried, hint=1)
            wanted = {rule for rule in RULES if rule in fouls}
            missed, wrong = wanted - set(said), set(said) - wanted
            got = "; ".join(
                [f"{rule!r} was missed" for rule in sorted(missed)]
                + [f"{rule!r} was called" for rule in sorted(map(str, wrong))]
            )
            hint = 3 if RULES[2] in missed | wrong else 2
            expect.that(
                not got, "exactly the rules that were broken", got=got, tried=tried, hint=hint
            )


_FOULS: tuple[set[str], ...] = (
    set(),
    {RULES[0]},
    {RULES[1]},
    {RULES[2]},
    {RULES[0], RULES[1]},
    {RULES[1], RULES[2]},
    {RULES[0], "buffer"},
    set(RULES),
)


def _match(fouls: set[str], seed: int) -> tuple[Any, ...]:
    """Build two networks and two steps that break exactly the given rules."""
    fresh = expect.Fresh(seed)
    encoder: nn.Module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2))
    encoder.register_buffer("seen", torch.zeros(2))
    judge = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    for network in (encoder, judge):
        for parameter in network.parameters():
            parameter.data = fresh.normal(*parameter.shape)
    clips = fresh.normal(11, 5)

    def discriminate() -> None:
        judged, _ = game_losses(judge, encoder(clips), fresh.normal(11, 2))
        _descend(judged, [*judge.parameters()], 0.05)
        if RULES[0] in fouls:
            with torch.no_grad():
                if "buffer" in fouls:
                    encoder.get_buffer("seen").add_(1.0)
                else:  # one weight up and another down: no sum would show it
                    encoder.get_parameter("0.weight")[0, 0] += 0.25
                    encoder.get_parameter("0.weight")[1, 1] -= 0.25

    def generate() -> None:
        sign = -1.0 if RULES[2] in fouls else 1.0
        fooled = sign * judge(encoder(clips)).mean()
        _descend(-fooled, [*encoder.parameters()], 0.02)
        if RULES[1] in fouls:
            # It moves against the encoder, and further than the encoder did.
            shift = -2.0 if sign > 0 else 2.0
            with torch.no_grad():
                judge.get_parameter("2.bias").add_(shift)

    return discriminate, generate, encoder, judge, clips


def _descend(loss: Tensor, parameters: list[nn.Parameter], rate: float) -> None:
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(rate * gradient)
