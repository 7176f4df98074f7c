"""Faces over time: an embedding of each real face, a GRU over them, and the state at the true end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmlib.backbones.inception_resnet import InceptionResnetV1
from mmlib.backbones.resnet import TemporalGRU
from mmlib.layers import all_real, check_mask, last_real
from mmlib.layers.masks import zeros_from

#: Faces that a frozen network sees at once: what lies between its layers is never held for more.
FACES_AT_ONCE = 64


class PlainGRUCell(nn.Module):
    """One step of a gated recurrent unit as the paper writes it, in four equations without offsets.

    ``z = sigmoid(W_z x + U_z h)``, ``r = sigmoid(W_r x + U_r h)``, ``c = tanh(W_h x + U_h (h * r))``,
    and the new state is ``(1 - z) * c + z * h``.

    `torch.nn.GRU` resets behind the recurrent product, ``c = tanh(W_h x + r * (U_h h))``, which lets
    it compute all three products with ``h`` as one; it also has offsets. The two agree where the
    reset gate is one and the offsets are zero. The rest of this library uses torch's.

    Shape:
        - x: (B, input_dim); state: (B, hidden_dim), or None, which begins with zeros
        - returns: (B, hidden_dim)
        - `weight`: (3 * hidden_dim, input_dim) and `recurrent`: (3 * hidden_dim, hidden_dim), gates
          in torch's order: reset, update, new

    Source:
        Crossmodal + EmbraceNet, section 4.1.3, Eqs. 2 to 5; Cho et al. (2014).

    Choices:
        E-19: reset before the recurrent product, as in Eq. 4.
    """

    def __init__(self, *, input_dim: int, hidden_dim: int) -> None:
        """Draw all matrices as torch does for its GRU."""
        super().__init__()
        bound = hidden_dim**-0.5
        self.hidden_dim = hidden_dim
        self.weight = nn.Parameter(torch.empty(3 * hidden_dim, input_dim).uniform_(-bound, bound))
        self.recurrent = nn.Parameter(
            torch.empty(3 * hidden_dim, hidden_dim).uniform_(-bound, bound)
        )

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """Take one step; see the class."""
        if state is None:
            state = x.new_zeros(len(x), self.hidden_dim)
        reset_x, update_x, new_x = (x @ self.weight.T).chunk(3, dim=1)
        reset_h, update_h, new_h = self.recurrent.chunk(3, dim=0)
        update = torch.sigmoid(update_x + state @ update_h.T)  # Eq. 2
        reset = torch.sigmoid(reset_x + state @ reset_h.T)  # Eq. 3
        new = torch.tanh(new_x + (state * reset) @ new_h.T)  # Eq. 4
        return (1 - update) * new + update * state  # Eq. 5


def choose_evenly(mask: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Choose at most so many real steps of each sequence, from its first to its last, evenly apart.

    Shape:
        - mask: (B, T) bool, True where a step is real
        - returns: the steps' places (B, min(T, most)) int64, in order, and which of them are chosen,
          bool: first those that are, then, where a sequence has fewer, places of no importance

    Choices:
        E-20: the paper's sequences are "down-sampled to the fixed length" of 50; it says not how.

    Raises:
        ValueError: a mask of another shape or type, or fewer than one step to be chosen.
    """
    if mask.dim() != 2 or mask.dtype != torch.bool or most < 1:
        raise ValueError(
            f"a mask of {mask.dtype}, shape {tuple(mask.shape)}, and most={most}; expected bool "
            "(batch, steps), True where a step is real, and at least 1."
        )
    kept = min(mask.shape[1], most)
    real_first = mask.byte().argsort(dim=1, descending=True, stable=True)
    count = mask.sum(1, keepdim=True)
    step = torch.arange(kept, device=mask.device)
    # From 0 to count - 1 in equal strides, halves rounded up; whole numbers know no rounding error.
    strides = (2 * step * (count - 1) + kept - 1) // max(2 * (kept - 1), 1)
    rank = torch.where(count > kept, strides, step)
    return real_first.take_along_dim(rank, 1), step < count


class FaceSequence(nn.Module):
    """A GRU over the embeddings of a person's faces; faces that are not real cost and change nothing.

    Args:
        network: makes an embedding of each face.
        hidden_dim: of the GRU's states.
        max_faces: of a sequence; of a longer one so many are chosen evenly.
        freeze: leave the network as it is: its norms keep their statistics, it has no dropout and
            no gradient, and sees a few faces at a time. A gradient through it holds 23 MB for each
            face of 160 x 160, in float32 and at full width.

    Shape:
        - faces: (B, T, 3, H, W), RGB in [0, 1]; mask: (B, T) bool, True where a face is real, or
          None. There may be gaps.
        - called -> (B, hidden_dim), the state behind a sequence's last real face, zero without one
        - `states` -> (B, min(T, max_faces), hidden_dim) and its mask; where faces had to be chosen
          from, the chosen ones stand first

    Source:
        Crossmodal + EmbraceNet, section 4.1.3.

    Choices:
        E-19: torch's GRU; `PlainGRUCell` is the paper's. E-20: the state at the true end, where
        padding with zeros and taking the last would have the GRU read the zeros, too; evenly
        chosen faces. E-35: `InceptionResnetV1`'s standardisation and embeddings of length one.

    Raises:
        ValueError: faces or a mask of another shape or type.
    """

    def __init__(
        self,
        *,
        network: InceptionResnetV1,
        hidden_dim: int = 512,
        max_faces: int = 50,
        freeze: bool = False,
    ) -> None:
        """Put the GRU behind the network."""
        super().__init__()
        if max_faces < 1:
            raise ValueError(f"max_faces={max_faces}, expected at least 1.")
        self.network, self.max_faces, self.freeze = network, max_faces, freeze
        self.gru = TemporalGRU(in_dim=network.feature_dim, hidden_dim=hidden_dim)
        self.hidden_dim = hidden_dim
        self.network.requires_grad_(not freeze)
        self.train(self.training)

    def train(self, mode: bool = True) -> FaceSequence:
        """Set the mode; a frozen network is always at evaluation."""
        super().train(mode)
        if self.freeze:
            self.network.eval()
        return self

    def forward(self, faces: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tell the state at the true end; see the class."""
        return last_real(*self.states(faces, mask))

    def states(self, faces: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tell the state behind each face; see the class."""
        mask = _checked(faces, mask)
        if mask.shape[1] > self.max_faces:
            places, mask = choose_evenly(mask, self.max_faces)
            row = torch.arange(len(faces), device=faces.device)[:, None]
            embeddings = self._embed(faces, (row.expand_as(mask)[mask], places[mask]), mask)
        else:
            rows, steps = mask.nonzero(as_tuple=True)
            embeddings = self._embed(faces, (rows, steps), mask)
        return self.gru(embeddings, mask), mask

    def _embed(self, faces: Tensor, real: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Make embeddings (B, K, D) of the real faces, in their order, and zeros elsewhere."""
        if not len(real[0]):
            return zeros_from(self.network, faces, *mask.shape, self.network.feature_dim)
        if self.freeze or not torch.is_grad_enabled():
            with torch.no_grad():
                some = torch.cat(
                    [
                        self._look(faces[rows, steps])
                        for rows, steps in zip(
                            *(place.split(FACES_AT_ONCE) for place in real), strict=True
                        )
                    ]
                )
        else:
            some = self._look(faces[real])
        return some.new_zeros(*mask.shape, some.shape[1]).masked_scatter(mask[..., None], some)

    def _look(self, faces: Tensor) -> Tensor:
        return self.network(InceptionResnetV1.normalise(faces))


def _checked(faces: Tensor, mask: Tensor | None) -> Tensor:
    """Refuse, in one sentence, sequences that cannot work; without a mask all faces are real."""
    shape = tuple(faces.shape)
    if len(shape) != 5 or shape[2] != 3:
        raise ValueError(f"faces of shape {shape}, expected (batch, faces, 3, height, width).")
    if not faces.is_floating_point():
        raise ValueError(f"faces of {faces.dtype}, expected float values in [0, 1]: divide by 255.")
    check_mask(faces, mask, "faces")
    return all_real(faces) if mask is None else mask
