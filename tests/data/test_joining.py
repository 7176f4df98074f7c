"""Feature sets joined by id: what one lacks is absent, and what they disagree about is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmlib.data import FeatureError, FeatureSet, load_features, save_folder
from mmlib.data.joining import join
from mmlib.data.stored_stream import StoredStream

NAMES = ("calm", "glad", "sad")


def one(stream: str, numbers, steps: int, width: int, dtype=torch.float16, **changes) -> FeatureSet:
    """A stream of some clips; clip n has label n % 3, its split and its group by n, and values of n."""
    numbers = np.array(numbers)
    draw = [torch.Generator().manual_seed(100 * int(n) + width) for n in numbers]
    shape = (steps, *([width] if isinstance(width, int) else width))
    given = {
        "inputs": {stream: torch.stack([torch.randn(shape, generator=d) for d in draw]).to(dtype)},
        "masks": {stream: torch.arange(steps) < torch.from_numpy(1 + numbers % steps)[:, None]},
        "labels": torch.from_numpy(numbers % 3),
        "class_names": NAMES,
        "split": np.array([("train", "valid", "test")[n % 3] for n in numbers]),
        "group": np.array([f"talk{n // 2}" for n in numbers]),
        "ids": np.array([f"clip{n}" for n in numbers]),
        "name": stream,
    }
    return FeatureSet(**(given | changes))


TEXT = one("text", [0, 1, 2, 3, 4], 7, 3)
AUDIO = one("audio", [3, 1, 6, 0], 4, 5, torch.float32)
VISION = one("vision", [6, 5, 4, 3, 2, 1, 0], 2, 11)


def test_a_folder_holds_what_memory_would(tmp_path):
    """More samples than are written at once, of which the first has no sound."""
    text = one("text", range(37), 7, 3)
    audio = one("audio", [36, 1, 2, 17, 5], 4, 5, torch.float32)
    save_folder(audio, tmp_path / "audio")
    whole = join([text, audio])
    found = join([text, load_features(tmp_path / "audio")], folder=tmp_path / "all")
    assert found.patterns == whole.patterns and found.features.name == "all"
    for key in ("ids", "group", "split"):
        assert getattr(found.features, key).tolist() == getattr(whole.features, key).tolist()
    assert torch.equal(found.features.labels, whole.features.labels)
    for stream, value in found.features.inputs.items():
        assert isinstance(value, StoredStream), "read sample by sample"
        assert torch.equal(value[:], whole.features.inputs[stream])
        assert torch.equal(found.features.masks[stream], whole.features.masks[stream])


def test_all_samples_of_all_sets_come_with_all_streams():
    features, patterns = join([TEXT, AUDIO, VISION])
    assert features.ids.tolist() == ["clip0", "clip1", "clip2", "clip3", "clip4", "clip6", "clip5"]
    assert features.modalities == ("text", "audio", "vision")
    for row, name in enumerate(features.ids):
        number = int(name[4:])
        assert int(features.labels[row]) == number % 3
        assert features.split[row] == ("train", "valid", "test")[number % 3]
        assert features.group[row] == f"talk{number // 2}"
        for part in (TEXT, AUDIO, VISION):
            (stream,) = part.modalities
            if name in part.ids:
                place = part.ids.tolist().index(name)
                assert torch.equal(features.inputs[stream][row], part.inputs[stream][place])
                assert torch.equal(features.masks[stream][row], part.masks[stream][place])
            else:
                assert not bool(features.masks[stream][row].any())
                assert not bool(features.inputs[stream][row].any())
    dtypes = {stream: value.dtype for stream, value in features.inputs.items()}
    assert dtypes == {"text": torch.float16, "audio": torch.float32, "vision": torch.float16}
    assert patterns == {
        ("text", "audio", "vision"): 3,
        ("text", "vision"): 2,
        ("audio", "vision"): 1,
        ("vision",): 1,
    }


def test_the_order_of_sets_changes_only_the_order_of_samples():
    first, other = join([TEXT, AUDIO]).features, join([AUDIO, TEXT]).features
    place = [other.ids.tolist().index(name) for name in first.ids]
    again = other.subset(place)
    assert again.ids.tolist() == first.ids.tolist() and again.fingerprint() == first.fingerprint()


def test_a_stream_that_was_absent_counts_as_absent():
    masks = TEXT.masks["text"].clone()
    masks[1] = False
    _, patterns = join([replace(TEXT, masks={"text": masks}), AUDIO.subset([0, 1, 3])])
    assert patterns == {("text", "audio"): 2, ("text",): 2, ("audio",): 1}


def test_what_is_stored_as_whole_numbers_or_pictures_stays_so():
    whole = replace(TEXT, inputs={"text": torch.arange(5 * 7 * 4).reshape(5, 7, 4).int()})
    faces = torch.randint(0, 256, (7, 2, 3, 6, 4), dtype=torch.uint8)
    features = join([whole, replace(VISION, inputs={"vision": faces})]).features
    assert features.inputs["text"].dtype == torch.int32
    assert features.inputs["vision"].dtype == torch.uint8 and features.whole_numbers == ("text",)
    assert torch.equal(features.inputs["vision"][0], faces[6])


@pytest.mark.parametrize("shape", [(2,), (4, 2)])
def test_numbers_as_labels_are_joined_and_compared(shape):
    labels = torch.randn(7, *shape)
    parts = [
        replace(
            one(stream, numbers, 4, 3),
            labels=labels[list(numbers)].clone(),
            class_names=None,
        )
        for stream, numbers in (("text", (0, 3, 5)), ("audio", (5, 0, 6)))
    ]
    features = join(parts).features
    assert torch.equal(features.labels, labels[[0, 3, 5, 6]])
    parts[1].labels[0].view(-1)[-1] += 0.5  # one number alone
    with pytest.raises(FeatureError, match="the label of sample 'clip5' is .* but .* in audio"):
        join(parts)


def test_many_samples_find_their_places():
    numbers = np.arange(300)  # more than are copied at a time
    back = one("audio", numbers[::-1].copy(), 2, 3)
    features = join([one("text", numbers, 1, 2), back]).features
    assert torch.equal(features.inputs["audio"], back.inputs["audio"].flip(0))


def test_samples_without_groups_take_those_of_another_set():
    alone = replace(TEXT, group=TEXT.ids)
    # A set that tells a group of any sample tells one of all: clip1's is named after it.
    told = replace(TEXT, group=np.array([*TEXT.group[:1], "clip1", *TEXT.group[2:]]))
    with pytest.raises(FeatureError, match="the group of sample 'clip1' is clip1 in a file before"):
        join([told, AUDIO])
    for sets in ([alone, AUDIO], [AUDIO, alone]):
        features = join(sets).features
        groups = dict(zip(features.ids.tolist(), features.group.tolist(), strict=True))
        assert groups == {
            "clip0": "talk0",
            "clip1": "talk0",
            "clip2": "clip2",
            "clip3": "talk1",
            "clip4": "clip4",
            "clip6": "talk3",
        }


def changed(features: FeatureSet, key: str, row: int, value) -> FeatureSet:
    values = getattr(features, key).copy() if key != "labels" else features.labels.clone()
    values[row] = value
    return replace(features, **{key: values})


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ([TEXT], "there is 1 feature set to join, expected two or more"),
        ([TEXT, replace(TEXT, name="more")], "both text and more have 'text'"),
        (
            [TEXT, changed(AUDIO, "labels", 0, 2)],
            "the label of sample 'clip3' is calm in a file before, but sad in audio .*disagree: 1",
        ),
        (
            [TEXT, changed(AUDIO, "split", 1, "test")],
            "the split of sample 'clip1' is valid in a file before, but test in audio",
        ),
        (
            [TEXT, changed(AUDIO, "group", 3, "talk9")],
            "the group of sample 'clip0' is talk0 in a file before, but talk9 in audio",
        ),
        ([TEXT, changed(AUDIO, "ids", 0, "clip1")], "the id 'clip1' stands twice in audio"),
        (
            [TEXT, replace(AUDIO, class_names=("calm", "sad", "glad"))],
            "text has classes calm, glad, sad but audio calm, sad, glad",
        ),
        (
            [TEXT, replace(AUDIO, labels=torch.ones(4, 2), class_names=None)],
            "text has classes calm, glad, sad but audio none .numbers.",
        ),
        ([TEXT, replace(AUDIO, label_step=2)], "text has a label step None but audio 2"),
        (
            [
                replace(TEXT, labels=torch.ones(5, 2), class_names=None),
                replace(AUDIO, labels=torch.ones(4, 3), class_names=None),
            ],
            r"text has labels of shape \(2,\) but audio \(3,\)",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(sets, says):
    with pytest.raises(FeatureError, match=says):
        join(sets)


def test_sets_with_no_sample_in_common_are_joined_nonetheless():
    features, patterns = join([TEXT, one("audio", [7, 8], 4, 5)])
    assert len(features) == 7 and patterns == {("text",): 5, ("audio",): 2}
