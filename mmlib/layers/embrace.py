"""EmbraceNet: each feature of the fused vector comes from one modality, drawn by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn

EVALUATIONS = ("expected", "sample")
ON_EMPTY = ("raise", "zeros")


class EmbraceNet(nn.Module):
    r"""Fuse one vector a modality: dock all at one width, then take each feature from one of them.

    Docking: d^(k) = ReLU(W_k x^(k) + b_k). Embracement: for each sample and each feature i one
    modality is drawn, r_i ~ Multinomial(1, p), and e_i = sum_k r_i^(k) d_i^(k). The docking layers
    so learn to say the same in the same place, and a modality that is absent is one that is never
    drawn: p is multiplied by the availability and scaled to sum to one again.

    Args:
        input_dims: name -> number of features of that modality.
        embracement_dim: width c of the docked and of the fused vectors.
        evaluation: what happens in eval mode: ``"expected"`` gives sum_k p_k d^(k), the mean over
            all draws, the same at every call; ``"sample"`` draws as in training.
        on_empty: where a sample has no modality to draw from: ``"raise"`` names the samples,
            ``"zeros"`` gives them zeros.

    Shape:
        - inputs: name -> (B, D). A modality left out is absent for all samples.
        - availability: (B, M) bool in the sorted order of names, True where a sample has that
          modality. What stands in an absent one, NaN too, reaches no output and no gradient.
        - probabilities: (M,) or (B, M), in the same order, not negative; scaled to sum to one over
          what is available. Default: all alike. Both may also be nested lists, or arrays.
        - returns: (B, c), and with ``return_choice`` also (B, c, M): the draw, one-hot, or where
          nothing is drawn the probabilities. All have the inputs' dtype and device.

    Source:
        Crossmodal transformer with EmbraceNet, sections 4.2.3 and 4.2.4, Eqs. 13 to 16.

    Choices:
        E-24: sorted names. E-25: p is uniform by default. E-26: one draw a feature and sample.
        E-27: ``evaluation``. E-28: ``on_empty``. E-29: nothing is tied to float32 or to a device.
        E-30: modality dropout is `mmlib.layers.ModalityDropout`, before this layer.

    Raises:
        ValueError: nothing to draw from (``on_empty="raise"``), an unknown name or option, or an
            input, availability or probabilities that do not fit.
    """

    def __init__(
        self,
        *,
        input_dims: Mapping[str, int],
        embracement_dim: int = 256,
        evaluation: Literal["expected", "sample"] = "expected",
        on_empty: Literal["raise", "zeros"] = "raise",
    ) -> None:
        """Build a docking layer for each modality; see the class."""
        super().__init__()
        for option, value, known in (
            ("evaluation", evaluation, EVALUATIONS),
            ("on_empty", on_empty, ON_EMPTY),
        ):
            if value not in known:
                raise ValueError(f"{option}={value!r} is unknown; expected one of {known}.")
        if not input_dims:
            raise ValueError(
                "input_dims is empty; expected a number of features for each modality."
            )
        sizes = {**input_dims, "embracement_dim": embracement_dim}
        small = [f"{name}={size}" for name, size in sizes.items() if size < 1]
        if small:
            raise ValueError(f"{', '.join(small)}; expected at least 1 feature of each.")
        self.names = tuple(sorted(input_dims))
        self.embracement_dim = embracement_dim
        self.evaluation, self.on_empty = evaluation, on_empty
        self.docking = nn.ModuleDict(
            {name: nn.Linear(input_dims[name], embracement_dim) for name in self.names}
        )

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        *,
        availability: Any = None,
        probabilities: Any = None,
        return_choice: bool = False,
    ) -> Any:
        """Dock and embrace; see the class."""
        availability = self._checked(inputs, availability)
        docked = torch.stack(self._dock(inputs, availability))  # (M, B, c), before the ReLU
        p = self._weights(next(iter(inputs.values())), availability, probabilities)
        if self.training or self.evaluation == "sample":
            index, some = self._draw(docked, p)
            # A ReLU after the choice is the ReLU of what is chosen, and a third of the work.
            fused = docked.gather(0, index[None])[0].relu()
            fused = fused if some is None else fused * some
            if not return_choice:
                return fused
            kinds = torch.arange(len(self.names), device=index.device)
            choice = (index[..., None] == kinds).to(fused.dtype)
            return fused, choice if some is None else choice * some[..., None]
        share = self._shares(docked, p)  # (M, B or 1, 1)
        fused = (docked.relu() * share).sum(0)
        if not return_choice:
            return fused
        return fused, share.permute(1, 2, 0).expand(*fused.shape, -1)

    def extra_repr(self) -> str:
        """Show what the docking layers do not."""
        return (
            f"embracement_dim={self.embracement_dim}, evaluation={self.evaluation!r}, "
            f"on_empty={self.on_empty!r}"
        )

    def _dock(self, inputs: Mapping[str, Tensor], availability: Tensor | None) -> list[Tensor]:
        """Bring each modality to the common width, without the ReLU."""
        some = next(iter(inputs.values()))
        docked = []
        for number, name in enumerate(self.names):
            if name not in inputs:
                docked.append(self.docking[name](some.new_zeros(len(some), self._width(name))))
                continue
            x = inputs[name]
            if availability is not None:
                # Filled, not multiplied: NaN times zero is NaN, here and in the weights' gradient.
                x = x.masked_fill(~availability[:, number, None], 0.0)
            docked.append(self.docking[name](x))
        return docked

    def _weights(
        self, like: Tensor, availability: Tensor | None, probabilities: Any
    ) -> Tensor | None:
        """Give p of what is available, (B or 1, M), not yet scaled; None where all are alike.

        In float32 at least: half precision has too few digits to draw with.
        """
        if availability is None and probabilities is None:
            return None
        wide = torch.promote_types(like.dtype, torch.float32)
        if probabilities is None:
            p = torch.ones(1, len(self.names), dtype=wide, device=like.device)
        else:
            p = self._checked_probabilities(probabilities, len(like)).to(like.device, wide)
        if availability is not None:
            p = p * availability
        if self.on_empty == "raise":
            empty = (p.sum(-1) <= 0).expand(len(like)).nonzero().flatten().tolist()
            if empty:
                rows = ", ".join(map(str, empty[:8])) + (", ..." if len(empty) > 8 else "")
                raise ValueError(
                    f"no modality to draw from in sample {rows} of {len(like)}: of "
                    f"{', '.join(self.names)} each is absent there, or of probability 0. Leave "
                    "such samples out, or build with on_empty='zeros'."
                )
        return p

    def _draw(self, docked: Tensor, p: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Draw a modality for each feature, (B, c); and say where there is one at all, (B, 1)."""
        count, *shape = docked.shape
        if p is None:
            return torch.randint(count, shape, device=docked.device), None
        # Summed one by one and not by cumsum: where the last ones have p = 0, the sums are then
        # equal to the last bit, and no place in [0, total) lies between them.
        edges = list(accumulate(p[..., None].unbind(1)))  # M of (B or 1, 1)
        place = torch.rand(shape, dtype=p.dtype, device=p.device) * edges[-1]
        index = torch.zeros(shape, dtype=torch.int64, device=p.device)
        for edge in edges[:-1]:
            index += place >= edge
        return index, None if self.on_empty == "raise" else (edges[-1] > 0).to(docked.dtype)

    def _shares(self, docked: Tensor, p: Tensor | None) -> Tensor:
        """Scale p to sum to one, zero where there is nothing: (M, B or 1, 1)."""
        if p is None:
            return docked.new_full((len(docked), 1, 1), 1.0 / len(docked))
        total = p.sum(-1, keepdim=True)
        return (p / torch.where(total > 0, total, 1.0)).to(docked.dtype).mT[..., None]

    def _width(self, name: str) -> int:
        return int(self.docking[name].in_features)  # type: ignore[arg-type]

    def _checked(self, inputs: Mapping[str, Tensor], availability: Any) -> Tensor | None:
        """Refuse inputs that do not fit; add the modalities left out to the availability."""
        strange = sorted(name for name in inputs if name not in self.names)
        if strange or not inputs:
            raise ValueError(
                f"{', '.join(strange) or 'nothing'} came; expected some of {', '.join(self.names)}, "
                "as the layer was built for."
            )
        count = len(next(iter(inputs.values())))
        for name, x in inputs.items():
            if x.shape != (count, self._width(name)):
                raise ValueError(
                    f"{name} has shape {tuple(x.shape)}, expected ({count}, {self._width(name)}): "
                    "one vector a sample. Pool a sequence first."
                )
        device = next(iter(inputs.values())).device
        if availability is not None:
            availability = as_availability(availability, count, self.names).to(device)
        if len(inputs) == len(self.names):
            return availability
        came = torch.tensor([name in inputs for name in self.names], device=device)
        return came.expand(count, -1) if availability is None else availability & came

    def _checked_probabilities(self, given: Any, count: int) -> Tensor:
        """Refuse probabilities that are none; give (B or 1, M)."""
        modalities = len(self.names)
        p = _as_tensor("probabilities", given, f"({modalities},) or ({count}, {modalities})")
        if tuple(p.shape) not in ((modalities,), (count, modalities)):
            raise ValueError(
                f"probabilities have shape {tuple(p.shape)}, expected ({modalities},) or "
                f"({count}, {modalities}), in the order {', '.join(self.names)}."
            )
        if p.is_complex():
            raise ValueError(f"probabilities are {p.dtype}, expected real numbers.")
        if not (p.isfinite() & (p >= 0)).all():
            raise ValueError(
                f"probabilities must be finite and not negative, but go from {p.min().item():.4g} "
                f"to {p.max().item():.4g}."
            )
        return p.reshape(-1, modalities)


def as_availability(given: Any, count: int, names: Sequence[str]) -> Tensor:
    """Read who is there, (count, M) bool: a tensor, an array or nested lists.

    Raises:
        ValueError: it is of another kind or shape.
    """
    availability = _as_tensor("availability", given, f"({count}, {len(names)})")
    if availability.dtype != torch.bool or availability.shape != (count, len(names)):
        raise ValueError(
            f"availability is {availability.dtype} of shape {tuple(availability.shape)}, expected "
            f"torch.bool of ({count}, {len(names)}), in the order {', '.join(names)}."
        )
    return availability


def _as_tensor(what: str, given: Any, shape: str) -> Tensor:
    """Make a tensor of what may be nested lists."""
    if isinstance(given, Tensor):
        return given
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{what} came as {type(given).__name__} of which torch makes no tensor; expected one of "
            f"shape {shape}, or nested lists whose rows are equally long."
        ) from None
