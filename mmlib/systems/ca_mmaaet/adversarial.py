"""Algorithm 1 of CA-MMAAET: three losses on one latent, and the order in which they take turns.

The discriminator learns to tell latents from draws of N(0, I), the encoder learns to be taken for
one, and beside this game the decoder and the classifier learn from the same latents. The paper
prints one update with all losses; read literally, the encoder then helps the discriminator instead
of fooling it. So there are three schedules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmlib.losses import Phase, default_loss

SCHEDULES = ("aae", "joint", "alternate")


def reconstruction_loss(
    reconstruction: Tensor, frames: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Average the squared error over the features and the real steps of each sample, then samples.

    Shape:
        - reconstruction: (B, L, D); frames: (B, T, D); mask: (B, T) bool or None. Steps beyond the
          shorter of L and T do not count -> a scalar

    Source:
        CA-MMAAET, Algorithm 1, line 10.

    Choices:
        C-04: the target is the vision input, the mean goes over all elements.
    """
    steps = min(reconstruction.shape[1], frames.shape[1])
    error = reconstruction[:, :steps].float() - frames[:, :steps].float()
    if mask is None:
        return (error**2).mean(-1).mean()
    real = mask[:, :steps]
    # Before the square: a frame that is not real may be NaN, and so would the square's gradient be.
    each = (error.masked_fill(~real[..., None], 0.0) ** 2).mean(-1)  # (B, steps)
    return (each.sum(1) / real.sum(1).clamp(min=1)).mean()


def discriminator_loss(discriminator: nn.Module, latent: Tensor) -> Tensor:
    """Compute the binary cross-entropy of telling latents (0) from as many draws of N(0, I) (1).

    The latents are taken as they come: detach them, and only the discriminator learns.

    Shape:
        - latent: (B, Z) -> a scalar

    Source:
        CA-MMAAET, Algorithm 1, line 12.

    Choices:
        C-07: the prior is 1, the encoded 0 (turning both round is the same game). C-11: the missing
        bracket is set. C-12: from logits.
    """
    prior = torch.randn_like(latent, dtype=torch.float32).to(latent.dtype)
    encoded, drawn = discriminator(latent).float(), discriminator(prior).float()
    # -log(1 - sigmoid(v)) = softplus(v), -log(sigmoid(v)) = softplus(-v)
    return (F.softplus(encoded).mean() + F.softplus(-drawn).mean()) / 2


def generator_loss(validity: Tensor) -> Tensor:
    """Compute the cross-entropy of latents that want to be taken for the prior: label 1.

    Shape:
        - validity: (B, 1) logits -> a scalar

    Choices:
        C-08: the step that Algorithm 1 leaves out.
    """
    return F.softplus(-validity.float()).mean()


def losses(discriminator: nn.Module, output: Any, batch: Any) -> dict[str, Tensor]:
    """Compute all losses of a batch by name, each a mean over its samples.

    Shape:
        - output: what CA-MMAAET says of the batch -> name -> a scalar
    """
    return {name: part(discriminator, output, batch) for name, part in _PARTS.items()}


def phases(model: Any, config: Any) -> list[Phase]:
    """Say which parameters reduce which losses, in which order.

    - ``"aae"``: in every batch (1) encoder, decoder and classifier reduce reconstruction and
      classification, (2) the discriminator learns on detached latents, (3) the encoder learns to
      fool it while it stands still.
    - ``"joint"``: one update of everything by the sum of the three losses, as Algorithm 1 prints it.
      The encoder's gradient then helps the discriminator.
    - ``"alternate"``: the public code's cycle of three batches: reconstruction, discriminator,
      classification. No step trains the encoder against the discriminator.

    Choices:
        C-08: the schedules. C-09: shuffled epochs in each of them. C-10: an optimiser a phase, and
        detached latents, instead of flags. C-13: weights 1, 1, 1. Adam's step does not depend on a
        loss's scale, so where the adversarial loss has a phase of its own its weight is a factor on
        the learning rate.
    """
    encoder, decoder = [*model.encoder.parameters()], [*model.decoder.parameters()]
    judge, classifier = [*model.discriminator.parameters()], [*model.classifier.parameters()]
    weights = {
        "reconstruction": config.reconstruction_weight,
        "classification": config.classification_weight,
        "discriminator": config.adversarial_weight,
    }

    def parts(*names: str) -> Callable[[Any, Any], dict[str, Tensor]]:
        return lambda output, batch: {
            name: _PARTS[name](model.discriminator, output, batch) for name in names
        }

    if config.schedule == "joint":

        def literal(output: Any, batch: Any) -> dict[str, Tensor]:
            found = parts("reconstruction", "classification")(output, batch)
            return {
                **found,
                "discriminator": discriminator_loss(model.discriminator, output.latent),
            }

        return [Phase("joint", [*model.parameters()], literal, weights=weights)]
    rate = config.adversarial_weight
    if config.schedule == "alternate":
        return [
            Phase("reconstruct", encoder + decoder, parts("reconstruction"), every=3, weights=weights),
            Phase("discriminate", judge, parts("discriminator"), rate, every=3, first=1),
            Phase("classify", encoder + classifier, parts("classification"), every=3, first=2,
                  weights=weights),
        ]  # fmt: skip
    both = parts("reconstruction", "classification")
    return [
        Phase("autoencode", encoder + decoder + classifier, both, weights=weights),
        Phase("discriminate", judge, parts("discriminator"), config.discriminator_rate),
        Phase("generate", encoder, parts("generator"), rate),
    ]


_PARTS: dict[str, Callable[[nn.Module, Any, Any], Tensor]] = {
    "reconstruction": lambda _, output, batch: reconstruction_loss(
        output.reconstruction, batch.inputs["vision"], batch.masks.get("vision")
    ),
    "classification": lambda _, output, batch: default_loss(output, batch),
    "discriminator": lambda judge, output, _: discriminator_loss(judge, output.latent.detach()),
    "generator": lambda _, output, batch: generator_loss(output.validity),
}
