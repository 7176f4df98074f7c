"""Clips' features put side by side, in memory and block by block in a folder."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch

from mmlib.data.clip_table import Clip
from mmlib.data.feature_cache import Kept
from mmlib.data.feature_set import FeatureError
from mmlib.data.gathering import gather, refuse_full_disk

COUNT, LENGTH = 37, 4  # more than two blocks of what is written at a time


class Held:
    """Features by clip, as a cache has them; a clip that is not there has none."""

    def __init__(self, kept):
        self.kept = kept

    def load(self, clip, stream):
        assert stream == "audio"
        return self.kept.get(clip.name)


def clip(number: int) -> Clip:
    split = ("train", "valid", "test")[number % 3]
    return Clip(f"clip{number}", None, "", "ab"[number % 2], split, f"talk{number // 5}")


def kept(number: int) -> Kept:
    """Some steps of one clip; the number tells how many there were, and how many are held."""
    steps = 1 + number % 6
    values = torch.full((min(steps, LENGTH), 3), float(number))
    return Kept(values.half(), steps)


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("there", [range(COUNT), range(20, 23), range(0)])
def test_each_clip_has_its_features_and_the_rest_is_masked(there, folder, tmp_path):
    clips = [clip(number) for number in range(COUNT)]
    text = torch.arange(COUNT * 2, dtype=torch.float32).reshape(COUNT, 2, 1)
    features, cut = gather(
        clips,
        {"audio": Held({f"clip{number}": kept(number) for number in there})},
        {"audio": LENGTH},
        class_names=("a", "b"),
        given={"text": (text, torch.ones(COUNT, 2, dtype=torch.bool))},
        name="gathered",
        folder=tmp_path / "features" if folder else None,
    )
    # With 1 to 6 steps each, those of four are whole and those of five and six are cut.
    assert cut == {"audio": [f"clip{number}" for number in there if number % 6 >= LENGTH]}
    assert features.ids.tolist() == [one.name for one in clips]
    assert features.labels.tolist() == [number % 2 for number in range(COUNT)]
    assert np.array_equal(features.group, [one.group for one in clips])
    assert torch.equal(features.inputs["text"][:], text)
    if not len(there):
        assert features.modalities == ("text",), "a stream that no clip has is left out"
        return
    steps = [min(1 + number % 6, LENGTH) if number in there else 0 for number in range(COUNT)]
    mask = torch.arange(LENGTH) < torch.tensor(steps)[:, None]
    assert torch.equal(features.masks["audio"], mask)
    values = torch.arange(COUNT)[:, None, None] * mask[..., None]
    assert torch.equal(features.inputs["audio"][:], values.expand(-1, -1, 3).half())


def test_room_is_sought_on_the_disk_of_the_folder_itself(tmp_path, monkeypatch):
    asked, usage = [], namedtuple("usage", ["total", "used", "free"])

    def told(place):
        asked.append(place)
        return usage(0, 0, 11)

    monkeypatch.setattr(shutil, "disk_usage", told)
    (tmp_path / "there").mkdir()
    for place in ("there", "there/new", "new/deeper"):
        refuse_full_disk(tmp_path / place, 11)
    assert asked == [tmp_path / "there", tmp_path / "there", tmp_path]
    monkeypatch.chdir(tmp_path)
    refuse_full_disk(asked[0].relative_to(tmp_path), 11)
    assert asked[-1] == tmp_path / "there"
    with pytest.raises(FeatureError, match="needs up to 0.0 MB in .*new"):
        refuse_full_disk(tmp_path / "new", 12)
