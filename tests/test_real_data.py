"""Real recordings' features, where they are: what only a broken pipeline would fail."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmlib.data import FeatureSet, Standardised, load_features
from mmlib.systems import build, find
from mmlib.training import evaluate, fit, seed_everything

pytestmark = pytest.mark.data


def load(folder: Path, name: str) -> FeatureSet:
    path = folder / name / "features.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return load_features(path)


def valid_report(features: FeatureSet, epochs: int, seed: int, system: str = "concat") -> dict:
    """Train with the system's own settings and evaluate on other people."""
    train, valid = features.subset("train"), features.subset("valid")
    config = find(system).config.for_dataset(train)
    seed_everything(seed)
    model = Standardised(model=build(system, config), widths=features.widths).learn(train)
    fit(
        model,
        train,
        valid,
        epochs=epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        seed=seed,
        progress=False,
    )
    return evaluate(model, valid)


@pytest.mark.slow
def test_both_modalities_are_better_than_one_on_ravdess(shared_data):
    features = load(shared_data, "ravdess")
    labels = features.subset("valid").labels
    majority = float(torch.bincount(labels).max() / len(labels))
    accuracy = {
        streams: np.mean(
            [valid_report(features.select(streams), 12, seed)["accuracy"] for seed in (0, 1)]
        )
        for streams in (("audio", "vision"), ("audio",), ("vision",))
    }
    both = accuracy.pop(("audio", "vision"))
    assert both > majority + 0.3, "far above the majority class"
    for streams, single in accuracy.items():
        assert single > majority + 0.1, streams
        assert both > single, f"both modalities {both:.3f}, {streams[0]} alone {single:.3f}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "system", "above"),
    [
        ("meld_dev", "concat", 0.1),
        ("ravdess_sequences", "concat", 0.2),
        ("ravdess_sequences", "avt_ca", 0.2),
    ],
)
def test_training_leads_well_above_the_majority(shared_data, name, system, above):
    features = load(shared_data, name)
    labels = features.subset("valid").labels
    majority = float(torch.bincount(labels).max() / len(labels))
    assert valid_report(features, 12, 0, system)["accuracy"] > majority + above


def test_ratings_of_pom_are_predicted_better_than_by_a_constant(shared_data):
    report = valid_report(load(shared_data, "pom"), 12, 0)
    assert report["mean_ccc"] > 0.03 and report["mean_pearson"] > 0.05


def test_every_real_set_comes_back_whole_from_a_file_of_ours(shared_data, tmp_path):
    names = [path.parent.name for path in sorted(shared_data.glob("*/features.npz"))]
    assert names, f"{shared_data} holds no feature sets"
    for name in names:
        features = load(shared_data, name)
        features.subset(slice(0, 40)).save(tmp_path / "some.npz")
        again = load_features(tmp_path / "some.npz")
        assert again.fingerprint() == features.subset(slice(0, 40)).fingerprint(), name
