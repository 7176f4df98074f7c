"""Real features are found where MMLIB_DATA points, and missed politely where it does not."""

from pathlib import Path

import pytest
import torch

from mmlib.data import FeatureError, FeatureSet, real_features


@pytest.fixture
def some() -> FeatureSet:
    return FeatureSet(
        inputs={"audio": torch.arange(30.0).reshape(3, 5, 2)},
        masks={},
        labels=torch.tensor([0, 1, 1]),
        class_names=("calm", "angry"),
    )


def test_without_the_variable_there_is_nothing_and_no_complaint(monkeypatch):
    monkeypatch.delenv("MMLIB_DATA", raising=False)
    assert real_features("ravdess") is None
    monkeypatch.setenv("MMLIB_DATA", "")
    assert real_features("ravdess") is None


@pytest.mark.parametrize("place", ["ravdess.npz", "ravdess/features.npz"])
def test_a_file_is_found_under_either_name(monkeypatch, tmp_path: Path, some, place):
    some.save(tmp_path / place)
    monkeypatch.setenv("MMLIB_DATA", str(tmp_path))
    found = real_features("ravdess")
    assert found is not None
    assert torch.equal(found.inputs["audio"], some.inputs["audio"])
    assert found.class_names == ("calm", "angry")


def test_a_folder_without_the_file_is_an_error_that_names_both_places(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MMLIB_DATA", str(tmp_path))
    with pytest.raises(FeatureError, match=r"ravdess\.npz nor .*features\.npz; put .* or unset"):
        real_features("ravdess")
