"""The shares of a batch, and the noise that is drawn for them, are those of one process."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmlib.training.processes import DrawAsOne, shares

DRAWS = {
    "dropout": lambda x: F.dropout(x, 0.4),
    "dropout of a view": lambda x: F.dropout(x.transpose(1, 2), 0.4),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.4),
    "rand_like": lambda x: torch.rand_like(x),
    "randn_like": lambda x: torch.randn_like(x),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "rand": lambda x: torch.rand((len(x), 3)),
    "randn": lambda x: torch.randn([len(x), 5], dtype=torch.float64),
    "randint": lambda x: torch.randint(7, x.shape[:2]),
}


@pytest.mark.parametrize("name", sorted(DRAWS))
def test_processes_draw_together_what_one_draws(name):
    x = torch.randn(7, 4, 6)

    def twice(rows):
        torch.manual_seed(3)
        return [DRAWS[name](x[rows]) for _ in range(2)]

    alone = twice(list(range(7)))
    assert not torch.equal(alone[0], alone[1])
    pieces = []
    for rank in range(3):
        (share,) = shares(np.arange(7), 1, rank, 3)
        with DrawAsOne(share):
            pieces.append(twice(share.samples.tolist()))
    for number, whole in enumerate(alone):
        together = torch.cat([piece[number] for piece in pieces])
        assert torch.allclose(together, whole, atol=1e-6)


def test_what_has_no_sample_along_its_first_axis_is_drawn_as_ever():
    (share,) = shares(np.arange(7), 1, 1, 2)
    torch.manual_seed(3)
    expected = [torch.rand(5, 2), torch.rand((4, 1)), torch.randn(6), F.dropout(torch.ones(4, 9))]
    torch.manual_seed(3)
    with DrawAsOne(share):
        found = [torch.rand(5, 2), torch.rand((4, 1)), torch.randn(6), F.dropout(torch.ones(4, 9))]
    assert len(share.samples) == 3
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
