"""Concordance of each video and of all, and smoothing: what is not kept is never scored."""

import numpy as np
import pytest
import torch

from mmlib.metrics import concordance, concordance_by_video, moving_average, target_concordances

VIDEOS = np.array(["b", "a", "b", "c", "a", "b", "a"])


def drawn(seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    prediction = torch.randn(7, 5, 2, generator=draw)
    target = 0.5 * prediction + 0.5 * torch.randn(7, 5, 2, generator=draw)
    return prediction, target, torch.rand(7, 5, generator=draw) < 0.7


def test_each_video_is_judged_as_if_it_were_alone():
    prediction, target, mask = drawn()
    found = concordance_by_video(prediction, target, VIDEOS, mask)
    assert found.names == ("a", "b", "c")
    for row, name in enumerate(found.names):
        mine = torch.from_numpy(name == VIDEOS)
        for k in range(2):
            alone = concordance(prediction[mine][..., k], target[mine][..., k], mask[mine])
            assert found.each[row, k] == pytest.approx(alone, abs=1e-12)
        assert found.counts[row] == mask[mine].sum()
    assert found.mean.tolist() == pytest.approx(found.each.mean(0).tolist())


def test_all_steps_at_once_is_not_the_mean_over_videos():
    prediction, target, mask = drawn()
    target = (
        target + 3.0 * torch.from_numpy(np.unique(VIDEOS, return_inverse=True)[1])[:, None, None]
    )
    prediction = target.mean(1, keepdim=True).expand_as(target) + 0.01 * prediction
    overall = target_concordances(prediction, target, mask)
    assert min(overall) > 0.9  # who knows only which video it is does well over all of them
    assert max(concordance_by_video(prediction, target, VIDEOS, mask).mean.tolist()) < 0.5
    for k in range(2):
        assert overall[k] == concordance(prediction[..., k], target[..., k], mask)


def test_what_is_not_kept_may_be_anything():
    prediction, target, mask = drawn()
    strange, odd = prediction.clone(), target.clone()
    strange[~mask], odd[~mask] = torch.nan, -5.0
    assert target_concordances(strange, odd, mask) == target_concordances(prediction, target, mask)
    one, other = (
        concordance_by_video(*pair, VIDEOS, mask) for pair in ((strange, odd), (prediction, target))
    )
    assert torch.equal(one.each, other.each)


@pytest.mark.parametrize("left", [0, 1])
def test_a_video_with_less_than_two_kept_steps_has_no_score_and_does_not_count(left):
    prediction, target, mask = drawn()
    mask[3] = torch.arange(5) < left  # video c
    found = concordance_by_video(prediction, target, VIDEOS, mask)
    assert found.counts[2] == left and bool(found.each[2].isnan().all())
    assert found.mean.tolist() == pytest.approx(found.each[:2].mean(0).tolist())


def test_a_video_in_which_a_side_is_flat_scores_zero():
    prediction, target, mask = drawn()
    prediction[VIDEOS == "a"] = 0.3
    found = concordance_by_video(prediction, target, VIDEOS, mask)
    assert found.each[0].tolist() == [0.0, 0.0] and bool((found.each[1:] != 0).all())


def test_samples_with_one_label_and_a_single_video_work():
    prediction, target, _ = drawn()
    found = concordance_by_video(prediction[:, 0], target[:, 0], ["only"] * 7)
    assert found.each.shape == (1, 2)
    assert found.each[0, 1] == pytest.approx(concordance(prediction[:, 0, 1], target[:, 0, 1]))


def test_the_moving_average_by_hand():
    prediction = torch.tensor([[1.0, 2.0], [4.0, 8.0], [16.0, 32.0]])[..., None]  # (3, 2, 1)
    smooth = moving_average(prediction, ["a", "a", "b"], [3])
    assert smooth.flatten().tolist() == pytest.approx([1.5, 7 / 3, 14 / 3, 6.0, 24.0, 24.0])
    # Of four, two lie before the step and one after it.
    four = moving_average(prediction, ["a", "a", "a"], [4]).flatten().tolist()
    assert four[2:4] == pytest.approx([(1 + 2 + 4 + 8) / 4, (2 + 4 + 8 + 16) / 4])


def test_smoothing_stays_inside_a_video_and_passes_over_what_is_not_kept():
    prediction, _, mask = drawn()
    smooth = moving_average(prediction, VIDEOS, [3, 1], mask)
    assert torch.equal(smooth[..., 1], prediction[..., 1])  # a width of one changes nothing
    assert torch.equal(smooth[~mask], prediction[~mask])
    for name in "abc":
        mine = torch.from_numpy(name == VIDEOS)
        series, got = prediction[mine][mask[mine]][:, 0], smooth[mine][mask[mine]][:, 0]
        wanted = [series[max(0, i - 1) : i + 2].mean().item() for i in range(len(series))]
        assert got.tolist() == pytest.approx(wanted, abs=1e-6)
    spoilt = prediction.clone()
    spoilt[~mask] = torch.nan
    assert torch.equal(moving_average(spoilt, VIDEOS, [3, 1], mask)[mask], smooth[mask])


def test_a_width_as_long_as_the_video_gives_its_mean_in_the_middle():
    prediction = torch.arange(7.0).reshape(1, 7, 1)
    assert moving_average(prediction, ["a"], [99]).flatten().tolist() == pytest.approx([3.0] * 7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: moving_average(x, VIDEOS, [3]), "one for each target"),
        (lambda x: moving_average(x, VIDEOS, [3, 0]), r"\[3, 0\]"),
        (lambda x: moving_average(x, VIDEOS[:5], [3, 3]), "7 samples"),
        (lambda x: concordance_by_video(x, x[:5], VIDEOS), "expected both"),
        (lambda x: target_concordances(x[:, 0, 0], x[:, 0, 0]), "expected both"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(drawn()[0])
