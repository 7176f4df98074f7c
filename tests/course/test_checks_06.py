"""The checks of lesson 06, tried on what learners get wrong, on other right answers, on cheats."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builder.cells import BEGIN
from builder.rules import parse
from checking import Answers, Misconception, _is_definition, compiled, lesson_of, trials

from mmlib.systems import CAMMAAETConfig
from mmlib.widgets import explore

FLOOR = Answers(
    "06.1",
    misconceptions=(
        Misconception(
            "the mean of clamped frames",
            "max(m, 0) is asked for, m being the mean; clamping the frames first makes it too large.",
            edit=(
                "group.mean(dim=1, keepdim=True)",
                "group.clamp(min=0).mean(dim=1, keepdim=True)",
            ),
        ),
        Misconception(
            "the ReLU is forgotten",
            "A mean below zero is out of the decoder's reach.",
            edit=("if relu:", "if False:"),
        ),
        Misconception(
            "the ReLU always",
            "Without it negative means can be said.",
            edit=("if relu:", "if True:"),
        ),
        Misconception(
            "one mean for all features",
            "Each feature of a frame is a number of its own, and so is its best answer.",
            edit=("group.mean(dim=1, keepdim=True)", "group.mean(dim=(1, 2), keepdim=True)"),
        ),
        Misconception(
            "one mean for all clips",
            "Each clip has a latent of its own, so its frames are rebuilt on their own.",
            edit=("group.mean(dim=1, keepdim=True)", "group.mean(dim=(0, 1), keepdim=True)"),
        ),
        Misconception(
            "the whole sequence twice",
            "Up-sampling says each frame twice in a row, not the film twice.",
            edit="""
def decoder_floor(frames, repeat, relu):
    parts = -(-frames.shape[1] // repeat)
    error = 0.0
    for start in range(parts):
        group = frames[:, start::parts]
        best = group.mean(dim=1, keepdim=True)
        if relu:
            best = best.clamp(min=0)
        error = error + ((group - best) ** 2).sum()
    return error / frames.numel()
""",
        ),
        Misconception(
            "a mean of the groups' means",
            "A last group that is cut off holds fewer elements, and counts for fewer.",
            edit="""
def decoder_floor(frames, repeat, relu):
    errors = []
    for group in frames.split(repeat, dim=1):
        best = group.mean(dim=1, keepdim=True)
        if relu:
            best = best.clamp(min=0)
        errors.append(((group - best) ** 2).mean())
    return torch.stack(errors).mean()
""",
        ),
        Misconception(
            "the first frame of each group",
            "It is right for one frame of the group, and worse than the mean for all together.",
            edit=("group.mean(dim=1, keepdim=True)", "group[:, :1]"),
        ),
        Misconception(
            "the closed form of noise for everything",
            "1 - 1/(2r) holds for frames from N(0, 1) on average, not for yours.",
            edit="""
def decoder_floor(frames, repeat, relu):
    return torch.tensor(1 - 1 / (2 * repeat) if relu else 1 - 1 / repeat)
""",
        ),
        Misconception(
            "the sum in place of the mean",
            "The loss is a mean over all elements.",
            edit=(" / frames.numel()", ""),
        ),
    ),
    alternatives=(
        """
def decoder_floor(frames, repeat, relu):
    steps = frames.shape[1]
    owner = torch.arange(steps, device=frames.device) // repeat
    member = torch.nn.functional.one_hot(owner).to(frames)  # (T, groups)
    mean = torch.einsum("ntd,tg->ngd", frames, member) / member.sum(0)[:, None]
    best = torch.relu(mean) if relu else mean
    return (frames - best[:, owner]).square().mean()
""",
        """
def decoder_floor(frames, repeat, relu):
    total = 0.0
    for start in range(0, frames.shape[1], repeat):
        group = frames[:, start : start + repeat]
        mean = group.mean(1)
        total += ((group - mean[:, None]) ** 2).sum()  # what being equal costs
        if relu:
            total += group.shape[1] * (mean.clamp(max=0) ** 2).sum()  # what the ReLU adds
    return total / frames.numel()
""",
    ),
    constant="torch.tensor(0.75)",
)

LOSSES = Answers(
    "06.2",
    misconceptions=(
        Misconception(
            "the latents are not detached",
            "The discriminator's loss would then train the encoder too, and to help it.",
            edit=("latent.detach()", "latent"),
        ),
        Misconception(
            "detached for the encoder as well",
            "Then nothing trains the encoder.",
            edit=("hoped = discriminator(latent)", "hoped = discriminator(latent.detach())"),
        ),
        Misconception(
            "the encoder's label is 0",
            "It is the label that is true, and the encoder then helps the discriminator.",
            edit=(
                "fooled = F.binary_cross_entropy_with_logits(hoped, torch.ones_like(hoped))",
                "fooled = F.binary_cross_entropy_with_logits(hoped, torch.zeros_like(hoped))",
            ),
        ),
        Misconception(
            "minus the discriminator's loss",
            "It points the same way, but is flat where the encoder is caught.",
            edit=(
                "fooled = F.binary_cross_entropy_with_logits(hoped, torch.ones_like(hoped))",
                "fooled = -F.binary_cross_entropy_with_logits(hoped, torch.zeros_like(hoped))",
            ),
        ),
        Misconception(
            "latents 1 and prior 0",
            "That is the public code's convention; here the prior is 1.",
            edit="""
def game_losses(discriminator, latent, prior):
    encoded, drawn = discriminator(latent.detach()), discriminator(prior)
    judged = (F.softplus(drawn).mean() + F.softplus(-encoded).mean()) / 2
    return judged, F.softplus(discriminator(latent)).mean()
""",
        ),
        Misconception(
            "the sum of both halves",
            "Half of the sum: at a loss both of one half the loss is log 2, not 2 log 2.",
            edit=(") / 2", ")"),
        ),
        Misconception(
            "one mean over latents and draws together",
            "Where there are more draws than latents, the draws would count for more.",
            edit="""
def game_losses(discriminator, latent, prior):
    encoded, drawn = discriminator(latent.detach()), discriminator(prior)
    judged = torch.cat([F.softplus(encoded), F.softplus(-drawn)]).mean()
    return judged, F.softplus(-discriminator(latent)).mean()
""",
        ),
        Misconception(
            "a sigmoid twice",
            "The loss with logits has the sigmoid inside.",
            edit=("hoped = discriminator(latent)", "hoped = discriminator(latent).sigmoid()"),
        ),
        Misconception(
            "a sigmoid, then a logarithm",
            "The sigmoid of -300 is 0 in 32 bits, and its logarithm is minus infinity.",
            edit="""
def game_losses(discriminator, latent, prior):
    encoded, drawn = discriminator(latent.detach()).sigmoid(), discriminator(prior).sigmoid()
    judged = -(drawn.log().mean() + (1 - encoded).log().mean()) / 2
    return judged, -discriminator(latent).sigmoid().log().mean()
""",
        ),
        Misconception(
            "cross-entropy of probabilities",
            "It stops at 100, and its gradient with it.",
            edit="""
def game_losses(discriminator, latent, prior):
    bce = F.binary_cross_entropy
    encoded, drawn = discriminator(latent.detach()).sigmoid(), discriminator(prior).sigmoid()
    judged = (bce(drawn, torch.ones_like(drawn)) + bce(encoded, torch.zeros_like(encoded))) / 2
    hoped = discriminator(latent).sigmoid()
    return judged, bce(hoped, torch.ones_like(hoped))
""",
        ),
    ),
    alternatives=(
        """
def game_losses(discriminator, latent, prior):
    encoded, drawn = discriminator(latent.detach()), discriminator(prior)
    judged = (F.softplus(encoded).mean() + F.softplus(-drawn).mean()) / 2
    return judged, F.softplus(-discriminator(latent)).mean()
""",
        """
def game_losses(discriminator, latent, prior):
    points = torch.cat([latent.detach(), prior])
    labels = torch.cat([torch.zeros(len(latent)), torch.ones(len(prior))]).to(points)[:, None]
    share = torch.cat([torch.full((len(x),), 0.5 / len(x)) for x in (latent, prior)]).to(points)
    each = F.binary_cross_entropy_with_logits(discriminator(points), labels, reduction="none")
    judged = (share[:, None] * each).sum()
    return judged, -F.logsigmoid(discriminator(latent)).mean()
""",
    ),
    constant="(torch.tensor(0.6931), torch.tensor(0.6931))",
    cheats={
        "the library's losses": """
from mmlib.systems.ca_mmaaet import adversarial
def game_losses(discriminator, latent, prior):
    judged = adversarial.discriminator_loss(discriminator, latent.detach())
    return judged, adversarial.generator_loss(discriminator(latent))
""",
    },
)

SIGNATURE = """
def play_round(encoder, discriminator, encoder_optimizer, discriminator_optimizer, clips, prior):
"""
ROUND = Answers(
    "06.3",
    misconceptions=(
        Misconception(
            "the encoder first",
            "It would play against the discriminator of the round before.",
            edit=SIGNATURE
            + """
    _, fooled = game_losses(discriminator, encoder(clips), prior)
    encoder_optimizer.zero_grad()
    fooled.backward()
    encoder_optimizer.step()
    judged, _ = game_losses(discriminator, encoder(clips), prior)
    discriminator_optimizer.zero_grad()
    judged.backward()
    discriminator_optimizer.step()
    return judged.item(), fooled.item()
""",
        ),
        Misconception(
            "both losses from one forward pass",
            "The second is then of the discriminator before its step.",
            edit=SIGNATURE
            + """
    judged, fooled = game_losses(discriminator, encoder(clips), prior)
    discriminator_optimizer.zero_grad()
    encoder_optimizer.zero_grad()
    gradients = torch.autograd.grad(fooled, list(encoder.parameters()), retain_graph=True)
    judged.backward()
    discriminator_optimizer.step()
    for parameter, gradient in zip(encoder.parameters(), gradients):
        parameter.grad = gradient
    encoder_optimizer.step()
    return judged.item(), fooled.item()
""",
        ),
        Misconception(
            "the discriminator's old gradients",
            "backward adds: the last encoder step's gradient is still in there.",
            edit=("    discriminator_optimizer.zero_grad()\n", ""),
        ),
        Misconception(
            "the encoder's old gradients",
            "backward adds to whatever the autoencoder's step has left.",
            edit=("    encoder_optimizer.zero_grad()\n", ""),
        ),
        Misconception(
            "zero_grad between backward and step",
            "Then there is nothing left to step on.",
            edit=(
                "    discriminator_optimizer.zero_grad()\n    judged.backward()\n",
                "    judged.backward()\n    discriminator_optimizer.zero_grad()\n",
            ),
        ),
        Misconception(
            "the discriminator steps twice",
            "In step 3 it holds still; with the encoder's gradient it would learn to be fooled.",
            edit=(
                "    encoder_optimizer.step()\n",
                "    encoder_optimizer.step()\n    discriminator_optimizer.step()\n",
            ),
        ),
        Misconception(
            "one sum of both losses",
            "The two pull the discriminator in opposite directions.",
            edit=SIGNATURE
            + """
    judged, fooled = game_losses(discriminator, encoder(clips), prior)
    discriminator_optimizer.zero_grad()
    encoder_optimizer.zero_grad()
    (judged + fooled).backward()
    discriminator_optimizer.step()
    encoder_optimizer.step()
    return judged.item(), fooled.item()
""",
        ),
        Misconception(
            "the encoder never steps",
            "That is the public code: a discriminator, and nobody who plays against it.",
            edit=("    encoder_optimizer.step()\n", ""),
        ),
        Misconception(
            "the discriminator is left frozen",
            "What is switched off has to be switched on again, or no later round trains it.",
            edit=(
                "    encoder_optimizer.zero_grad()\n",
                "    encoder_optimizer.zero_grad()\n    discriminator.requires_grad_(False)\n",
            ),
        ),
        Misconception(
            "the losses in the other order",
            "The discriminator's first, then the encoder's.",
            edit=(
                "return judged.item(), fooled.item()",
                "return fooled.item(), judged.item()",
            ),
        ),
    ),
    alternatives=(
        SIGNATURE
        + """
    latent = encoder(clips)  # once: the encoder does not move in between
    judged, _ = game_losses(discriminator, latent, prior)
    discriminator.zero_grad()
    judged.backward()
    discriminator_optimizer.step()
    encoder.zero_grad()
    fooled = F.softplus(-discriminator(latent)).mean()
    fooled.backward()
    encoder_optimizer.step()
    return judged.item(), float(fooled.detach())
""",
        SIGNATURE
        + """
    told = []
    for number, (network, optimizer) in enumerate(
        ((discriminator, discriminator_optimizer), (encoder, encoder_optimizer))
    ):
        parameters = list(network.parameters())
        loss = game_losses(discriminator, encoder(clips), prior)[number]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
            parameter.grad = gradient
        optimizer.step()
        told.append(loss.detach())
    return tuple(told)
""",
    ),
    constant="(0.6931, 0.6931)",
)

REFEREE = Answers(
    "06.4",
    misconceptions=(
        Misconception(
            "a photograph without clone",
            "state_dict holds the living tensors: before and after are the same thing.",
            edit=("{name: value.clone() for", "{name: value for"),
        ),
        Misconception(
            "weights only",
            "Buffers, such as running statistics, are part of the state too.",
            edit="""
def referee(discriminate, generate, encoder, discriminator, clips):
    def state(module):
        return [p.detach().clone() for p in module.parameters()]

    def moved(module, before):
        return any(not torch.equal(p, b) for p, b in zip(module.parameters(), before))

    broken, before = set(), state(encoder)
    discriminate()
    if moved(encoder, before):
        broken.add("step 2 moves the encoder")
    judge, before = copy.deepcopy(discriminator), state(discriminator)
    earlier = judge(encoder(clips)).mean().item()
    generate()
    if moved(discriminator, before):
        broken.add("step 3 moves the discriminator")
    if judge(encoder(clips)).mean().item() < earlier:
        broken.add("step 3 helps the discriminator")
    return broken
""",
        ),
        Misconception(
            "a sum over each tensor",
            "Two changes that cancel stay hidden in a sum.",
            edit=(
                "not torch.equal(v, before[name])",
                "abs(float(v.sum() - before[name].sum())) > 1e-4",
            ),
        ),
        Misconception(
            "the discriminator photographed before step 2",
            "It may move in step 2; that is what the step is for.",
            edit=(
                "    before = state(encoder)\n    discriminate()\n",
                """    before = state(encoder)
    then = state(discriminator)
    discriminate()
    state = lambda module: then
""",
            ),
        ),
        Misconception(
            "judged by the discriminator that moved",
            "Then its own step shows in the logits, not only the encoder's.",
            edit=("copy.deepcopy(discriminator), state", "discriminator, state"),
        ),
        Misconception(
            "helping read the other way round",
            "A higher logit means more like the prior: that is what step 3 is for.",
            edit=("< earlier", "> earlier"),
        ),
        Misconception(
            "moving networks are never wrong",
            "In step 2 the encoder holds still, in step 3 the discriminator.",
            edit=("return any(", "return False and any("),
        ),
        Misconception(
            "generate first",
            "The rules are about step 2 and step 3, in this order.",
            edit="""
def referee(discriminate, generate, encoder, discriminator, clips):
    def state(module):
        return {name: value.clone() for name, value in module.state_dict().items()}
    broken, before = set(), state(encoder)
    generate()
    if any(not torch.equal(v, before[k]) for k, v in encoder.state_dict().items()):
        broken.add("step 2 moves the encoder")
    before = state(discriminator)
    discriminate()
    if any(not torch.equal(v, before[k]) for k, v in discriminator.state_dict().items()):
        broken.add("step 3 moves the discriminator")
    return broken
""",
        ),
    ),
    alternatives=(
        """
def referee(discriminate, generate, encoder, discriminator, clips):
    old_encoder = copy.deepcopy(encoder.state_dict())
    discriminate()
    new_encoder = encoder.state_dict()
    rules = []
    if any((old_encoder[key] != new_encoder[key]).any() for key in old_encoder):
        rules.append("step 2 moves the encoder")
    old = copy.deepcopy(discriminator)
    scores = []
    with torch.no_grad():
        scores.append(old(encoder(clips)).mean())
    generate()
    with torch.no_grad():
        scores.append(old(encoder(clips)).mean())
    same = zip(old.state_dict().values(), discriminator.state_dict().values())
    if not all(torch.equal(one, other) for one, other in same):
        rules.append("step 3 moves the discriminator")
    if scores[1] < scores[0]:
        rules.append("step 3 helps the discriminator")
    return set(rules)
""",
        """
def referee(discriminate, generate, encoder, discriminator, clips):
    def flat(module):
        parts = [*module.parameters(), *module.buffers()]
        return torch.cat([part.detach().flatten().clone() for part in parts])
    before = flat(encoder)
    discriminate()
    first = not torch.equal(before, flat(encoder))
    before, twin = flat(discriminator), copy.deepcopy(discriminator)
    score = lambda: twin(encoder(clips)).detach().mean().item()
    earlier = score()
    generate()
    second = not torch.equal(before, flat(discriminator))
    third = score() < earlier
    names = (
        "step 2 moves the encoder",
        "step 3 moves the discriminator",
        "step 3 helps the discriminator",
    )
    return {name for name, broken in zip(names, (first, second, third)) if broken}
""",
    ),
    constant="set()",
    cheats={
        "everything is foul": """
def referee(*args):
    return {"step 2 moves the encoder", "step 3 moves the discriminator", "step 3 helps the discriminator"}
""",
    },
)


@pytest.mark.parametrize("trial", trials([FLOOR, LOSSES, ROUND, REFEREE]), ids=str)
def test_the_check_judges_rightly(trial):
    trial.run()


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """What the lesson defines, on 90 made-up clips whose class shows in the first numbers."""
    space: dict[str, Any] = {"__name__": "lesson"}
    for cell in lesson_of("06.1").cells:
        if cell.kind != "code" or BEGIN in cell.source:
            continue
        for node in filter(_is_definition, parse(cell.source).body):
            line = "\n".join(cell.source.splitlines()[node.lineno - 1 : node.end_lineno])
            exec(compiled(line, f"<lesson 06 {node.lineno} {hash(line)}>"), space)  # noqa: S102
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    vectors = torch.randn(90, 176, generator=draw)
    vectors[:, :3] += 2 * torch.eye(3)[labels]
    clips = space["Clips"](vectors, torch.randn(90, 10, 16, generator=draw), labels)
    config = replace(CAMMAAETConfig.small(), vision_dim=16, vision_steps=10)
    names = ("negative", "neutral", "positive")
    return space | {"train": clips, "test": clips, "config": config, "names": names}


def in_use(lesson: dict[str, Any], name: str) -> Any:
    """A function of the lesson, which looks its names up in the lesson as set up here."""
    function = lesson[name]
    function.__globals__.update(lesson)
    return function


def test_the_widget_draw_game_follows_its_sliders(lesson: dict[str, Any]) -> None:
    draw_game = in_use(lesson, "draw_game")
    explorer = explore(draw_game, adversarial=(0.0, 2.0, 0.5))
    assert "1 for the game" in explorer.alt and 'role="alert"' not in explorer.output.value
    first = explorer.output.value
    explorer.controls["adversarial"].value = 0.0
    assert "0 for the game" in explorer.alt and 'role="alert"' not in explorer.output.value
    assert explorer.output.value.split("src=")[1] != first.split("src=")[1]


def test_the_game_brings_the_latents_nearer_to_the_prior_and_the_literal_update_farther(
    lesson: dict[str, Any],
) -> None:
    miniature, measure, clips = in_use(lesson, "miniature"), lesson["measure"], lesson["train"]
    played, jointly = miniature(seed=0), miniature(seed=0)
    lesson["learn"](played, clips, rounds=200)
    lesson["learn_jointly"](jointly, clips, rounds=200)
    alone = lesson["autoencode_only"](miniature(seed=0), clips, rounds=200)
    near, far, none = (measure(model)[3] for model in (played, jointly, alone))
    assert near < none / 2
    assert far > none
