"""The concordance loss and the default loss."""

import pytest
import torch

from mmlib.data import Batch
from mmlib.losses import concordance_loss, cross_entropy, default_loss
from mmlib.metrics import concordance


@pytest.fixture
def pair(device) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(7, 11, 3, dtype=torch.float64, generator=draw)
    y = 0.5 * x + 0.4 * torch.randn(7, 11, 3, dtype=torch.float64, generator=draw) - 0.2
    return x.to(device), y.to(device)


def test_loss_is_one_minus_concordance(pair):
    assert concordance_loss(*pair).item() == pytest.approx(1 - concordance(*pair), abs=1e-7)


def test_loss_per_target_averages_the_targets(pair):
    x, y = pair
    each = [1 - concordance(x[..., k], y[..., k]) for k in range(3)]
    assert concordance_loss(x, y, per_target=True).item() == pytest.approx(sum(each) / 3, abs=1e-7)


def test_masked_elements_change_neither_loss_nor_gradient(pair):
    x, y = pair
    mask = torch.rand(7, 11, device=x.device) > 0.4
    gradients = []
    for filling in (0.0, float("nan"), 1e9):
        prediction = x.masked_fill(~mask[..., None], filling).requires_grad_()
        loss = concordance_loss(prediction, y, mask, per_target=True)
        loss.backward()
        assert loss.item() == pytest.approx(
            concordance_loss(x[mask], y[mask], per_target=True).item()
        )
        assert (prediction.grad[~mask] == 0).all()
        gradients.append(prediction.grad)
    assert torch.allclose(gradients[0], gradients[1]) and torch.allclose(gradients[0], gradients[2])


def test_gradient_is_that_of_finite_differences(pair):
    x, y = (value[:2, :3].clone() for value in pair)
    assert torch.autograd.gradcheck(lambda p: concordance_loss(p, y), x.requires_grad_())


@pytest.mark.parametrize("shape", [(5,), (1, 2), (3, 4, 2)])
def test_constants_and_single_samples_have_a_finite_gradient(shape, device):
    prediction = torch.zeros(shape, device=device, requires_grad=True)
    loss = concordance_loss(prediction, torch.zeros(shape, device=device), per_target=True)
    loss.backward()
    assert loss.item() == pytest.approx(1.0) and torch.isfinite(prediction.grad).all()


def test_nothing_kept_gives_one_and_no_gradient(device):
    prediction = torch.randn(3, 2, device=device, requires_grad=True)
    mask = torch.zeros(3, 2, dtype=torch.bool, device=device)
    loss = concordance_loss(prediction, torch.randn(3, 2, device=device), mask)
    loss.backward()
    assert loss.item() == 1.0 and (prediction.grad == 0).all()


def test_half_precision_is_computed_in_full(device):
    x = torch.randn(50, device=device).half()
    loss = concordance_loss(x, (x + 0.1).half())
    assert loss.dtype == torch.float32 and 0 < loss.item() < 0.1


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="shape"):
        concordance_loss(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="expected bool"):
        concordance_loss(torch.zeros(3, 2), torch.zeros(3, 2), torch.ones(2, dtype=torch.bool))


def test_default_loss_is_cross_entropy_for_classes():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    batch = Batch({}, {}, torch.tensor([0, 2]))
    expected = -torch.log_softmax(logits, 1)[torch.arange(2), batch.labels].mean()
    assert torch.allclose(default_loss((logits,), batch), expected)


def test_weights_count_samples_of_each_copy_of_a_batch():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(4))
    labels, weights = torch.tensor([0, 2, 1]), torch.tensor([0.5, 2.0, 0.25])
    each = -torch.log_softmax(logits, 1).view(2, 3, 3)[:, torch.arange(3), labels]
    found = cross_entropy(logits, Batch({}, {}, labels, weights=weights))
    assert torch.allclose(found, (each * weights).sum() / 6)  # by samples, not by weights


def test_default_loss_adds_a_tenth_of_the_mean_squared_error_of_all_targets(pair):
    x, y = pair[0].float(), pair[1].float()
    expected = concordance_loss(x, y, per_target=True) + 0.1 * (x - y).square().mean()
    assert torch.allclose(default_loss((x,), Batch({}, {}, y)), expected)


def test_labels_that_do_not_count_may_be_nan():
    draw = torch.Generator().manual_seed(2)
    prediction, labels = (torch.randn(3, 5, 2, generator=draw) for _ in range(2))
    prediction.requires_grad_()
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 3])[:, None]
    found = []
    for unknown in (0.0, float("nan")):
        batch = Batch({}, {"audio": mask}, labels.masked_fill(~mask[..., None], unknown))
        loss = default_loss((prediction,), batch)
        found += [loss, *torch.autograd.grad(loss, prediction)]
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3])
    assert (found[1][mask] != 0).all() and (found[1][~mask] == 0).all()


def test_default_loss_counts_real_steps_of_a_sequence_only():
    draw = torch.Generator().manual_seed(2)
    prediction, labels = (torch.randn(3, 5, 2, generator=draw) for _ in range(2))
    mask = torch.arange(5)[None] < torch.tensor([5, 2, 3])[:, None]
    batch = Batch({}, {"audio": mask, "text": torch.ones(3, 4, dtype=torch.bool)}, labels)
    spoilt = prediction.masked_fill(~mask[..., None], 77.0)
    kept = Batch({}, {}, labels[mask])
    expected = default_loss((prediction[mask],), kept)
    assert torch.allclose(default_loss((spoilt,), batch), expected)
