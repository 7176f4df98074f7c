"""Faces over time: the paper's recurrent cell, evenly chosen faces, and the state at the true end."""

import pytest
import torch

from mmlib.backbones import FaceSequence, InceptionResnetV1, PlainGRUCell, choose_evenly
from mmlib.backbones import face_sequence as module


class Mean(torch.nn.Module):
    """Stands in for the network: the mean of each colour, and how many faces it was shown."""

    feature_dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(3))
        self.seen: list[int] = []

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(faces))
        return faces.mean((2, 3)) * self.gain


def sequence(**options) -> FaceSequence:
    torch.manual_seed(0)
    return FaceSequence(network=Mean(), hidden_dim=7, **options)


def faces(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, 5, 4, generator=torch.Generator().manual_seed(1))


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The cell of the paper's four equations


def test_a_step_by_hand_is_the_papers_four_equations():
    torch.manual_seed(0)
    cell = PlainGRUCell(input_dim=3, hidden_dim=2)
    x, state = noise(5, 3), noise(5, 2, seed=3)
    (w_r, w_z, w_h), (u_r, u_z, u_h) = cell.weight.split(2), cell.recurrent.split(2)
    for row in range(5):
        z = torch.sigmoid(w_z @ x[row] + u_z @ state[row])
        r = torch.sigmoid(w_r @ x[row] + u_r @ state[row])
        new = torch.tanh(w_h @ x[row] + u_h @ (state[row] * r))
        expected = (1 - z) * new + z * state[row]
        assert torch.allclose(cell(x, state)[row], expected, atol=1e-6)
    assert torch.equal(cell(x), cell(x, torch.zeros(5, 2)))


def torchs(cell: PlainGRUCell) -> torch.nn.GRU:
    """Give torch's GRU the same matrices, and no offsets."""
    gru = torch.nn.GRU(cell.weight.shape[1], cell.hidden_dim, batch_first=True)
    gru.weight_ih_l0.data, gru.weight_hh_l0.data = cell.weight.data, cell.recurrent.data
    torch.nn.init.zeros_(gru.bias_ih_l0), torch.nn.init.zeros_(gru.bias_hh_l0)
    return gru


@pytest.mark.parametrize("reset_is_one", [True, False])
def test_it_is_torchs_gru_where_the_reset_gate_is_one_and_only_there(reset_is_one):
    torch.manual_seed(0)
    cell = PlainGRUCell(input_dim=4, hidden_dim=5)
    x = noise(3, 6, 4)
    if reset_is_one:  # by an input that is always one
        x[..., 3] = 1.0
        cell.weight.data[:5, 3] = 100.0
    state, states = None, []
    for step in range(6):
        state = cell(x[:, step], state)
        states.append(state)
    theirs = torchs(cell)(x)[0]
    ours = torch.stack(states, dim=1)
    assert torch.allclose(
        ours[:, 0], theirs[:, 0], atol=1e-6
    )  # from zeros there is nothing to reset
    assert torch.allclose(ours, theirs, atol=1e-6) == reset_is_one


def test_an_update_gate_of_one_keeps_the_state():
    cell = PlainGRUCell(input_dim=1, hidden_dim=3)
    cell.weight.data[3:6] = 100.0
    state = noise(2, 3)
    assert torch.allclose(cell(torch.ones(2, 1), state), state)


# Faces chosen evenly


def test_faces_are_chosen_from_first_to_last_at_even_distances():
    places, chosen = choose_evenly(torch.ones(1, 101, dtype=torch.bool), 51)
    assert places[0].tolist() == list(range(0, 101, 2)) and chosen.all()
    places, _ = choose_evenly(torch.ones(1, 400, dtype=torch.bool), 50)
    assert places[0, 0] == 0 and places[0, -1] == 399
    strides = places.diff()
    assert set(strides.unique().tolist()) == {8, 9}
    # The nearest place of 0, 5/3, 10/3 and 5, and of 0, 1.5 and 3 with the half upwards.
    assert choose_evenly(torch.ones(1, 6).bool(), 4)[0].tolist() == [[0, 2, 3, 5]]
    assert choose_evenly(torch.ones(1, 4).bool(), 3)[0].tolist() == [[0, 2, 3]]


def test_gaps_are_no_faces_and_short_sequences_keep_all_of_theirs():
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 1], [0] * 7]).bool()
    places, chosen = choose_evenly(mask, 3)
    assert places.shape == chosen.shape == (3, 3)
    assert places[0].tolist() == [1, 4, 6]
    assert places[1, :2].tolist() == [3, 6]
    assert chosen.tolist() == [[True] * 3, [True, True, False], [False] * 3]


def test_where_there_are_no_more_than_allowed_nothing_is_left_out():
    mask = torch.tensor([[1, 0, 1, 1], [1, 1, 1, 1]]).bool()
    places, chosen = choose_evenly(mask, 9)
    assert places[0, chosen[0]].tolist() == [0, 2, 3] and places[1].tolist() == [0, 1, 2, 3]
    assert choose_evenly(mask, 1)[0].tolist() == [[0], [0]]
    with pytest.raises(ValueError, match="at least 1"):
        choose_evenly(mask, 0)
    with pytest.raises(ValueError, match="expected bool"):
        choose_evenly(mask.float(), 2)


# Sequences


def test_only_real_faces_are_looked_at_and_others_may_hold_anything(device):
    model, x = sequence().to(device), faces(3, 6).to(device)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [1] * 6, [0] * 6], device=device).bool()
    poisoned = x.masked_fill(~mask[..., None, None, None], float("nan"))
    state = model(poisoned, mask)
    assert model.network.seen == [9]
    assert torch.equal(state, model(x, mask)) and state.shape == (3, 7)
    assert torch.equal(state[2], torch.zeros(7, device=device))


def test_the_state_is_that_of_the_real_faces_alone_whatever_is_between_and_behind():
    model, x = sequence(), faces(2, 6)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).bool()
    alone = model(x[:1, mask[0]])
    assert torch.allclose(model(x, mask)[:1], alone, atol=1e-6)
    # To read zeros for what is not real, and take the last state, is something else.
    zeros = x.masked_fill(~mask[..., None, None, None], 0.0)
    assert not torch.allclose(model(zeros)[:1], alone, atol=1e-3)
    states, real = model.states(x, mask)
    assert torch.equal(real, mask) and states.shape == (2, 6, 7)
    assert torch.equal(states[0, 4], model(x, mask)[0])
    assert not states[0, ~mask[0]].any()


def test_embeddings_are_of_standardised_faces():
    model, x = sequence(), faces(1, 1)
    expected = model.gru(((x * 255 - 127.5) / 128).mean((3, 4)))[:, -1]
    assert torch.allclose(model(x), expected, atol=1e-5)


def test_of_too_many_faces_only_the_chosen_ones_are_looked_at():
    model, x = sequence(max_faces=3), faces(2, 7)
    mask = torch.tensor([[0, 1, 1, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 1]]).bool()
    states, real = model.states(x, mask)
    assert model.network.seen == [5]
    assert real.tolist() == [[True] * 3, [True, True, False]]
    assert torch.allclose(states[0, 2], model(x[:1, [1, 4, 6]])[0], atol=1e-6)
    assert torch.allclose(states[1, 1], model(x[1:, [3, 6]])[0], atol=1e-6)


def test_a_frozen_network_has_no_gradient_and_stays_at_evaluation(monkeypatch):
    monkeypatch.setattr(module, "FACES_AT_ONCE", 4)
    assert not sequence(freeze=True).network.training, "nor need anybody say so first"
    model, x = sequence(freeze=True).train(), faces(2, 5)
    assert not model.network.training and model.gru.training
    model(x).sum().backward()
    assert model.network.seen == [4, 4, 2]
    assert model.network.gain.grad is None and not model.network.gain.requires_grad
    assert all(parameter.grad is not None for parameter in model.gru.parameters())


def test_one_that_is_not_frozen_learns_and_says_the_same():
    x = faces(2, 5)
    frozen, free = sequence(freeze=True), sequence()
    assert torch.allclose(frozen(x), free(x), atol=1e-6)
    free.train()(x).sum().backward()
    assert free.network.training and free.network.gain.grad.abs().sum() > 0


def test_without_a_real_face_every_gradient_is_zero_and_none_is_left_out():
    """In several processes, each waits for the gradient of every parameter."""
    model = sequence().train()
    model(faces(2, 5), torch.zeros(2, 5, dtype=torch.bool)).sum().backward()
    assert model.network.seen == []
    assert all((parameter.grad == 0).all() for parameter in model.parameters())


def test_a_real_network_fits_in():
    torch.manual_seed(0)
    network = InceptionResnetV1(width=1 / 32)
    model = FaceSequence(network=network, hidden_dim=5).eval()
    x = torch.rand(2, 3, 3, 80, 75)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    with torch.no_grad():
        together = model(x, mask)
        apart = [model(x[row : row + 1, mask[row]]) for row in range(2)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "mask", "says"),
    [
        (torch.zeros(2, 3, 5, 4), None, r"expected \(batch, faces, 3"),
        (torch.zeros(2, 3, 4, 5, 4), None, r"expected \(batch, faces, 3"),
        (torch.zeros(2, 3, 3, 5, 4, dtype=torch.uint8), None, "divide by 255"),
        (
            torch.zeros(2, 3, 3, 5, 4),
            torch.ones(2, 4, dtype=torch.bool),
            r"the mask of faces is torch.bool .*expected torch.bool of \(2, 3\)",
        ),
        (torch.zeros(2, 3, 3, 5, 4), torch.ones(2, 3), "expected torch.bool of"),
    ],
)
def test_what_is_no_sequence_of_faces_is_refused(x, mask, says):
    with pytest.raises(ValueError, match=says):
        sequence()(x, mask)
    with pytest.raises(ValueError, match="at least 1"):
        sequence(max_faces=0)
