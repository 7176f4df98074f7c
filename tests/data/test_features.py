"""The feature file: what is read, what is refused, and with which sentence."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from mmlib.data import FeatureError, FeatureSet, Standardised, load_features, save_features
from mmlib.data.standardise import feature_statistics

N, T_TEXT, T_AUDIO, D_TEXT, D_AUDIO = 11, 3, 7, 5, 2


def good(**changes) -> dict[str, np.ndarray]:
    """Make the arrays of a good file; a change to None takes a key away."""
    rng = np.random.default_rng(0)
    arrays = {
        "text": rng.normal(size=(N, T_TEXT, D_TEXT)).astype(np.float16),
        "audio": rng.normal(size=(N, T_AUDIO, D_AUDIO)).astype(np.float32),
        "audio_mask": rng.random((N, T_AUDIO)) < 0.7,
        "labels": np.arange(N) % 3,
        "class_names": np.array(["calm", "happy", "sad"]),
        "split": np.array(["train"] * 6 + ["valid"] * 3 + ["test"] * 2),
        "group": np.array([f"speaker{i // 2}" for i in range(N)]),
        "ids": np.array([f"clip{i}" for i in range(N)]),
    }
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}


@pytest.fixture
def write(tmp_path):
    """Write arrays as a feature file and return its path."""

    def _write(arrays: dict[str, np.ndarray], name: str = "features.npz"):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return _write


def test_a_good_file_comes_back_as_it_was_written(write):
    arrays = good()
    features = load_features(write(arrays))
    assert features.task == "classification"
    assert features.modalities == ("text", "audio")
    assert features.widths == {"text": D_TEXT, "audio": D_AUDIO}
    assert features.lengths == {"text": T_TEXT, "audio": T_AUDIO}
    assert features.num_outputs == 3 and len(features) == N and features.label_step is None
    assert np.array_equal(features.inputs["text"].numpy(), arrays["text"])
    assert np.array_equal(features.masks["audio"].numpy(), arrays["audio_mask"])
    assert features.masks["text"].all(), "without a mask every step is real"
    assert features.labels.tolist() == arrays["labels"].tolist()
    assert features.ids[4] == "clip4" and features.group[4] == "speaker2"


def test_a_set_has_the_name_of_its_file_or_of_the_folder_that_says_more(write, monkeypatch):
    path = write(good())
    assert load_features(path).name == path.parent.name
    assert load_features(write(good(), "mine.npz")).name == "mine"
    monkeypatch.chdir(path.parent)
    assert load_features("features.npz").name == "features"


def test_what_is_optional_may_be_absent(write):
    features = load_features(write(good(group=None, ids=None, text=None)))
    assert features.ids.tolist() == [str(i) for i in range(N)]
    assert features.group.tolist() == features.ids.tolist()
    assert features.modalities == ("audio",)


def test_other_keys_are_ignored_even_if_they_hold_objects(write):
    features = load_features(write(good(notes=np.array([{}, None], dtype=object))))
    assert len(features) == N


def test_half_precision_is_kept_until_a_batch_is_made(write):
    features = load_features(write(good()))
    assert features.inputs["text"].dtype == torch.float16
    assert features.batch([0, 3]).inputs["text"].dtype == torch.float32


def test_saving_and_loading_loses_nothing(write, tmp_path):
    features = load_features(write(good(label_step=np.int64(2))))
    save_features(features, tmp_path / "again.npz")
    again = load_features(tmp_path / "again.npz")
    assert again.fingerprint() == features.fingerprint()
    assert again.label_step == 2 and again.class_names == features.class_names
    assert again.group.tolist() == features.group.tolist()
    assert list(tmp_path.glob(".*.part")) == []


@pytest.mark.parametrize("shape", [(N, 4), (N, 5, 2)])
def test_float_labels_are_a_regression(write, shape):
    labels = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    features = load_features(write(good(labels=labels, class_names=None)))
    assert features.task == "regression" and features.num_outputs == shape[-1]
    assert features.batch([1]).labels.shape == (1, *shape[1:])


def test_values_at_steps_that_are_not_real_do_not_matter(write):
    arrays = good()
    arrays["audio"][~arrays["audio_mask"]] = np.nan
    batch = load_features(write(arrays)).batch(range(N))
    assert (batch.inputs["audio"][~batch.masks["audio"]] == 0).all()
    assert torch.isfinite(batch.inputs["audio"]).all()


def test_zeros_are_not_taken_for_padding(write):
    arrays = good(audio_mask=None)
    arrays["audio"][:, 4:] = 0
    assert load_features(write(arrays)).masks["audio"].all()


def broken(key: str, where: tuple, value: float) -> dict[str, np.ndarray]:
    """Make a good file's arrays with one bad number in it, at a real step."""
    arrays = good(audio_mask=None)
    arrays[key] = arrays[key].astype(np.float32)
    arrays[key][where] = value
    return arrays


REFUSALS = {
    "no labels": (good(labels=None), "'labels' is missing"),
    "no split": (good(split=None), "'split' is missing"),
    "no modality": (good(text=None, audio=None, audio_mask=None), "none of text, audio, vision"),
    "lengths differ": (good(text=np.zeros((N - 1, 3, 5), np.float32)), "10 samples .* has 11"),
    "ids too few": (good(ids=np.array(["a", "b"])), "'ids' has shape"),
    "two axes": (good(text=np.zeros((N, 3), np.float32)), "samples, steps, features"),
    "no features": (good(text=np.zeros((N, 3, 0), np.float32)), "a size is zero"),
    "no samples": (
        {k: v[:0] if k != "class_names" else v for k, v in good().items()},
        "no samples",
    ),
    "nan": (broken("audio", (5, 6, 1), np.nan), "'audio' has NaN at sample 5 .*clip5.* step 6"),
    "inf": (broken("text", (2, 1, 3), np.inf), "'text' has an infinite value at sample 2"),
    "too large": (good(text=np.full((N, 3, 5), 1e300)), "'text' has an infinite value"),
    "label too large": (good(labels=np.arange(N)), "sample 3 .* label 3 .* 3 class_names"),
    "label negative": (good(labels=np.full(N, -1)), "label -1"),
    "labels without names": (good(class_names=None), "'class_names' is missing"),
    "float labels with names": (good(labels=np.zeros((N, 2), np.float32)), "there are class_names"),
    "flat float labels": (good(labels=np.zeros(N, np.float32), class_names=None), r"\(N, K\)"),
    "nan labels": (
        good(labels=np.full((N, 2), np.nan, np.float32), class_names=None),
        "'labels' is not finite at sample 0",
    ),
    "str labels": (good(labels=np.array(["calm"] * N)), "'labels' is of type"),
    "class twice": (good(class_names=np.array(["calm", "calm", "sad"])), "names a class twice"),
    "unknown split": (good(split=np.array(["dev"] * N)), "'split' holds dev"),
    "mask shape": (good(audio_mask=np.ones((N, T_AUDIO + 1), bool)), "'audio_mask' is"),
    "mask dtype": (good(audio_mask=np.ones((N, T_AUDIO))), "'audio_mask' is float64"),
    "mask alone": (good(vision_mask=np.ones((N, 2), bool)), "no 'vision'"),
    "label step": (
        good(label_step=np.int64(T_AUDIO)),
        "'label_step' is 7 but the longest stream has 7 steps, counted",
    ),
    "complex": (good(text=np.zeros((N, 3, 5), complex)), "'text' is of type complex"),
    "bits": (good(text=np.ones((N, 3, 5), bool)), "'text' is of type bool"),
    "whole numbers too large": (
        good(text=np.full((N, 3, 5), 2**64 - 1, np.uint64)),
        "'text' holds 18446744073709551615",
    ),
    "objects": (good(audio=np.array([{}] * N, dtype=object)), "holds Python objects"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_bad_file_is_refused_with_one_sentence(write, case):
    arrays, sentence = REFUSALS[case]
    with pytest.raises(FeatureError, match=sentence) as refusal:
        load_features(write(arrays))
    message = str(refusal.value)
    assert "features.npz" in message and "\n" not in message and message.endswith(".")
    assert len(message) < 400


def test_a_hostile_pickle_is_never_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "owned"),)

    np.savez(tmp_path / "objects.npz", **good(audio=np.array([Evil()] * N, dtype=object)))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Evil()))
    with zipfile.ZipFile(tmp_path / "inside.npz", "w") as archive:
        archive.writestr("audio.npy", pickle.dumps(Evil()))
    for name in ("objects.npz", "plain.npz", "inside.npz"):
        with pytest.raises(FeatureError):
            load_features(tmp_path / name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kept", [0, 1, 30, 300, 0.5, 0.99])
def test_a_truncated_file_is_refused(write, kept):
    path = write(good())
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if isinstance(kept, int) else int(len(whole) * kept)])
    with pytest.raises(FeatureError, match="not a whole npz"):
        load_features(path)


def test_flipped_bytes_are_refused_or_harmless(write):
    path = write(good())
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_features(path)
        except FeatureError as refusal:
            assert "\n" not in str(refusal)


def npy(shape: tuple, dtype: str, data: bytes) -> bytes:
    """Write an npy file whose header may lie."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((10**9, 1, 1), "<f4"),
        ((2**32, 2**32, 1), "<f4"),
        ((3, 1, 1), "<U400000000"),
        ((-1, 1), "<f4"),
    ],
)
def test_a_header_that_claims_what_is_not_there_costs_no_memory(tmp_path, shape, dtype):
    with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
        archive.writestr("audio.npy", npy(shape, dtype, b"\0" * 64))
    with pytest.raises(FeatureError, match=r"'audio' (says|claims)"):
        load_features(tmp_path / "lie.npz")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("audio.npy", "w", force_zip64=True) as stream,
    ):
        stream.write(npy((300, 2**18, 1), "<f4", b""))
        for _ in range(300):
            stream.write(bytes(2**20))
    with pytest.raises(FeatureError, match="would unpack to 314,5"):
        load_features(tmp_path / "bomb.npz")


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(FeatureError, match="is a folder"):
        load_features(tmp_path)
    with pytest.raises(FeatureError, match="does not exist"):
        load_features(tmp_path / "none.npz")


def test_a_subset_keeps_what_belongs_together(write):
    features = load_features(write(good()))
    valid = features.subset("valid")
    assert valid.ids.tolist() == ["clip6", "clip7", "clip8"]
    assert torch.equal(valid.inputs["text"], features.inputs["text"][6:9])
    assert features.subset(slice(2, 4)).ids.tolist() == ["clip2", "clip3"]
    assert features.subset(features.labels == 1).labels.unique().tolist() == [1]
    assert features.subset([5, 1]).ids.tolist() == ["clip5", "clip1"]


def test_a_split_that_is_not_there_is_named_with_those_that_are(write):
    features = load_features(write(good(split=np.array(["train"] * 6 + ["valid"] * 5))))
    with pytest.raises(FeatureError, match="no split 'test'; it has train, valid"):
        features.subset("test")
    with pytest.raises(FeatureError, match="no stream 'vision'; it has text, audio"):
        features.select(["vision"])
    with pytest.raises(FeatureError, match="none of the 11 samples"):
        features.subset(slice(0, 0))


def test_one_sample_has_no_batch_axis(write):
    one = load_features(write(good()))[-1]
    assert one.inputs["audio"].shape == (T_AUDIO, D_AUDIO) and one.labels.ndim == 0


def test_a_set_made_by_hand_needs_only_inputs_and_labels():
    features = FeatureSet({"audio": torch.zeros(5, 3, 2)}, {}, torch.zeros(5, 1), None)
    assert features.split.tolist() == ["train"] * 5 and features.masks["audio"].all()
    with pytest.raises(FeatureError, match="class_names"):
        FeatureSet({"audio": torch.zeros(5, 3, 2)}, {}, torch.arange(5), ("a", "b"))


def test_statistics_count_real_steps_only():
    values = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[8.0, 5.0], [99.0, float("nan")]]])
    mask = torch.tensor([[True, True], [True, False]])
    mean, deviation = feature_statistics(values, mask, samples_at_once=1)
    assert torch.allclose(mean, torch.tensor([4.0, 5.0]))
    assert torch.allclose(deviation[0], torch.tensor([1.0, 3.0, 8.0]).std(correction=0))
    assert deviation[1] == 1.0, "a constant feature keeps its unit"


def test_statistics_keep_their_digits_beside_a_large_mean():
    values = (1e4 + torch.arange(32.0)).reshape(4, 8, 1)
    _, deviation = feature_statistics(values, torch.ones(4, 8, dtype=torch.bool))
    assert deviation.item() == pytest.approx(np.arange(32).std(), rel=1e-5)


class Echo(torch.nn.Module):
    """Give back what came."""

    def forward(self, masks=None, **inputs):
        return inputs


def test_a_standardised_model_sees_zero_mean_and_unit_variance_of_the_train_split(write):
    arrays = good()
    arrays["audio"] = arrays["audio"] * 7 + 3
    features = load_features(write(arrays))
    train = features.subset("train")
    model = Standardised(model=Echo(), widths=features.widths).learn(train)
    batch = train.batch(range(len(train)))
    seen = model(**batch.inputs, masks=batch.masks)["audio"]
    real = seen[batch.masks["audio"]]
    assert torch.allclose(real.mean(0), torch.zeros(D_AUDIO), atol=1e-5)
    assert torch.allclose(real.std(0, correction=0), torch.ones(D_AUDIO), atol=1e-4)
    assert (seen[~batch.masks["audio"]] == 0).all(), "padding stays zero"


def test_standardisation_travels_with_the_weights_and_survives_wild_values(write):
    features = load_features(write(good()))
    model = Standardised(model=Echo(), widths=features.widths, limit=4.0).learn(features)
    other = Standardised(model=Echo(), widths=features.widths, limit=4.0)
    other.load_state_dict(model.state_dict())
    wild = torch.full((1, 2, D_AUDIO), 1e30)
    assert torch.equal(other(audio=wild)["audio"], torch.full((1, 2, D_AUDIO), 4.0))


def pictures(**changes) -> dict[str, np.ndarray]:
    """Make a file whose vision is pictures; clip 2 lacks its last."""
    mask = np.ones((N, 2), dtype=bool)
    mask[2, 1] = False
    frames = np.random.default_rng(1).integers(0, 256, (N, 2, 3, 5, 7), dtype=np.uint8)
    frames[0, 0, 0, 0, :2] = 0, 255
    return good(vision=frames, vision_mask=mask, **changes)


def test_pictures_stay_bytes_in_memory_and_in_the_file_and_are_0_to_1_in_a_batch(write, tmp_path):
    arrays = pictures()
    features = load_features(write(arrays))
    assert features.inputs["vision"].dtype == torch.uint8
    assert np.array_equal(features.inputs["vision"].numpy(), arrays["vision"])
    assert features.widths["vision"] == 3 * 5 * 7 and features.lengths["vision"] == 2
    batch = features.batch([2, 0])
    seen = batch.inputs["vision"]
    assert seen.dtype == torch.float32
    assert torch.equal(seen[0, 0], torch.from_numpy(arrays["vision"][2, 0]) / 255)
    assert seen[1, 0, 0, 0, :2].tolist() == [0.0, 1.0]
    assert (seen[0, 1] == 0).all() and batch.masks["vision"].tolist() == [[True, False], [True] * 2]
    assert np.array_equal(features.inputs["vision"].numpy(), arrays["vision"]), "left as they were"
    save_features(features.subset("valid"), tmp_path / "again.npz")
    again = load_features(tmp_path / "again.npz")
    assert again.inputs["vision"].dtype == torch.uint8
    assert torch.equal(again.inputs["vision"], features.subset("valid").inputs["vision"])


def test_pictures_keep_their_scale_where_other_streams_are_standardised(write):
    features = load_features(write(pictures()))
    model = Standardised(model=Echo(), widths=features.widths).learn(features)
    batch = features.batch(range(N))
    seen = model(**batch.inputs, masks=batch.masks)
    assert torch.equal(seen["vision"], batch.inputs["vision"])
    assert not torch.equal(seen["audio"], batch.inputs["audio"])


@pytest.mark.parametrize(
    "changes",
    [
        {"audio": torch.ones(2, 3, 4, dtype=torch.uint8)},
        {"vision": torch.ones(2, 3, 4, dtype=torch.uint8)},
        {"vision": torch.ones(2, 5, 6, 7, 3, dtype=torch.uint8)},  # the channels come last
    ],
)
def test_bytes_that_are_no_pictures_are_refused(changes):
    with pytest.raises(
        FeatureError, match=r"uint8 of shape .* \(samples, steps, 3, height, width\)"
    ):
        FeatureSet(inputs=changes, masks={}, labels=torch.tensor([0, 1]), class_names=("a", "b"))


def test_pictures_in_other_whole_numbers_are_refused_for_their_scale_is_unknown(write):
    arrays = pictures()
    arrays["vision"] = arrays["vision"].astype(np.int16)
    with pytest.raises(FeatureError, match=r"pictures as int16, expected uint8 of 0 to 255"):
        load_features(write(arrays))


def tokens(kind=np.int32, **changes) -> dict[str, np.ndarray]:
    """Make a file whose text is whole numbers; clip 4 lacks its last step, which holds a -100."""
    mask = np.ones((N, T_TEXT), dtype=bool)
    mask[4, 2] = False
    numbers = np.random.default_rng(2).integers(0, 30_000, (N, T_TEXT, 4)).astype(kind)
    numbers[4, 2] = -100 if np.issubdtype(kind, np.signedinteger) else 100
    return good(text=numbers, text_mask=mask, **changes)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        *((np.int16, torch.int16), (np.int32, torch.int32), (np.int64, torch.int64)),
        *((np.uint16, torch.int32), (np.uint32, torch.int64), (np.dtype(">i4"), torch.int32)),
    ],
)
def test_tokens_stay_whole_numbers_in_memory_in_the_file_and_in_a_batch(
    write, tmp_path, stored, kept
):
    arrays = tokens(stored)
    features = load_features(write(arrays))
    assert features.inputs["text"].dtype == kept and features.whole_numbers == ("text",)
    assert np.array_equal(features.inputs["text"].numpy(), arrays["text"])
    batch = features.batch([4, 0])
    assert batch.inputs["text"].dtype == torch.int64
    assert batch.inputs["text"][1].tolist() == arrays["text"][0].tolist()
    assert (batch.inputs["text"][0, 2] == 0).all(), "a step that is not real is zero"
    assert batch.inputs["audio"].dtype == torch.float32
    assert np.array_equal(features.inputs["text"].numpy(), arrays["text"]), "left as they were"
    save_features(features.subset([4, 7]), tmp_path / "again.npz")
    again = load_features(tmp_path / "again.npz")
    assert again.inputs["text"].dtype == kept
    assert again.fingerprint() == features.subset([4, 7]).fingerprint()


def test_a_token_that_no_float32_can_hold_arrives_exactly(write):
    arrays = tokens(np.int64)
    arrays["text"][0, 0, 0] = 2**24 + 1
    assert load_features(write(arrays)).batch([0]).inputs["text"][0, 0, 0].item() == 2**24 + 1


def test_whole_numbers_of_8_bits_are_quantities_as_before(write):
    features = load_features(write(good(text=np.full((N, 3, 5), 7, np.int8))))
    assert features.inputs["text"].dtype == torch.float32 and features.whole_numbers == ()


def test_tokens_pass_standardisation_as_they_are(write):
    features = load_features(write(tokens()))
    model = Standardised(model=Echo(), widths=features.widths).learn(features)
    batch = features.batch(range(N))
    seen = model(**batch.inputs, masks=batch.masks)
    assert torch.equal(seen["text"], batch.inputs["text"]) and seen["text"].dtype == torch.int64
    assert not torch.equal(seen["audio"], batch.inputs["audio"])
    assert not model.get_buffer("mean_text").any()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.ones(2, 3, 4, dtype=torch.bool), "'text' is torch.bool, expected floats"),
        (torch.ones(2, 3, 4, dtype=torch.int8), "'text' is torch.int8, expected floats"),
        (torch.ones(2, 3, 4, dtype=torch.cfloat), "'text' is torch.complex64, expected floats"),
    ],
)
def test_a_set_made_by_hand_says_which_types_there_are(value, says):
    with pytest.raises(FeatureError, match=says):
        FeatureSet({"text": value}, {}, torch.tensor([0, 1]), ("a", "b"))


def test_pictures_in_wide_whole_numbers_are_refused_in_memory_too():
    with pytest.raises(FeatureError, match="pictures are uint8 or floats"):
        pixels = torch.ones(2, 5, 3, 7, 7, dtype=torch.int32)
        FeatureSet({"vision": pixels}, {}, torch.tensor([0, 1]), ("a", "b"))


def test_a_system_of_quantities_refuses_tokens(write, tmp_path):
    from mmlib.training.jobs import train_system

    features = load_features(write(tokens()))
    with pytest.raises(ValueError, match=r"'text' of .* holds whole numbers .* concat"):
        train_system("concat", features, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tokens_do_not_fit_the_four_pickles_and_a_copy_of_a_sample_is_found(write, tmp_path):
    from mmlib.data import find_leaks
    from mmlib.data.pickles import save_pickles

    arrays = tokens(vision=np.zeros((N, 2, 3), np.float32))
    arrays["text"][0, 0, 0] += 1
    for key in ("text", "text_mask", "audio", "audio_mask"):
        arrays[key][10] = arrays[key][2]
    features = load_features(write(arrays))
    with pytest.raises(FeatureError, match="whole numbers such as tokens in text"):
        save_pickles(features, tmp_path / "pickles")
    assert find_leaks(features).samples == ((("clip2", "train"), ("clip10", "test")),)


def test_a_run_on_quantities_does_not_judge_tokens_nor_the_other_way_round(write, tmp_path):
    from mmlib.training.jobs import train_system
    from mmlib.training.runs import fitted, load_run

    floats = load_features(write(good(text=np.ones((N, T_TEXT, 4), np.float16)), "floats.npz"))
    whole = load_features(write(tokens(), "whole.npz"))
    for first, second, system, says in (
        (floats, whole, "concat", "'text' holds whole numbers .* trained on quantities"),
        (
            whole,
            floats,
            "majority",
            "'text' holds quantities in floats, .* trained on whole numbers",
        ),
    ):
        train_system(system, first, tmp_path / system, recipe={"epochs": 1}, progress=False)
        _, about = load_run(tmp_path / system)
        assert len(fitted(first, about)) == N
        with pytest.raises(FeatureError, match=says):
            fitted(second, about)
