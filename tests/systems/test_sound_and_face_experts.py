"""The experts of sound and of faces: what they make of raw streams, and that they train from a shell."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from resuming import cut_and_resume

from mmlib.backbones import InceptionResnetV1, WaveRNN
from mmlib.backbones.loading import PretrainedError
from mmlib.cli import main
from mmlib.data import FeatureSet, Standardised, load_features
from mmlib.systems import EXPERTS, SYSTEMS, UnknownSystem, build, find
from mmlib.systems.experts import FaceNetGRUConfig, WaveRNNExpertConfig
from mmlib.training.runs import load_run

B, CLASSES = 5, 3
NAMES = ("wavernn", "facenet_gru")
STREAM = {"wavernn": "audio", "facenet_gru": "vision"}


def raw(name: str, count: int = B) -> dict[str, np.ndarray]:
    """Make raw streams with masks; each sample has a real step but the last."""
    rng = np.random.default_rng(0)
    if name == "wavernn":
        x = (rng.normal(size=(count, 7, 200)) * 0.1).astype(np.float16)
    else:
        x = rng.integers(0, 256, size=(count, 3, 3, 80, 75)).astype(np.uint8)
    mask = np.arange(x.shape[1]) < rng.integers(1, x.shape[1] + 1, size=(count, 1))
    mask[0], mask[-1] = True, False
    return {STREAM[name]: x, f"{STREAM[name]}_mask": mask}


def dataset(name: str, count: int = B) -> FeatureSet:
    (stream, x), (_, mask) = raw(name, count).items()
    labels = torch.arange(count) % CLASSES
    masks = {stream: torch.from_numpy(mask)}
    return FeatureSet({stream: torch.from_numpy(x)}, masks, labels, ("a", "b", "c"))


#: Narrower than small, for speed.
NARROW = {
    "wavernn": {"n_rnn": 6, "n_fc": 8, "n_hidden": 12, "n_output": 4, "max_steps": 5},
    "facenet_gru": {"width": 1 / 32, "hidden_dim": 6},
}


def made(name: str, **changes):
    config = replace(find(name).config.for_dataset(dataset(name)), **NARROW[name])
    torch.manual_seed(0)
    return build(name, replace(config, **changes)).eval()


def call(model, batch):
    with torch.no_grad():
        return model(**batch.inputs, masks=batch.masks)


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


# What holds for both


def test_experts_have_a_registry_of_their_own(name):
    assert name in EXPERTS and name not in SYSTEMS
    with pytest.raises(UnknownSystem, match="avt_ca.*wavernn"):
        find("wavernm")


def test_it_tells_classes_and_gives_features_with_their_mask(name, device):
    model, batch = made(name).to(device), dataset(name).batch(range(B)).to(device)
    logits, embedding = call(model, batch)
    features, mask = model.features(**batch.inputs, masks=batch.masks)
    assert logits.shape == (B, CLASSES) and torch.isfinite(logits).all()
    assert features.shape[:2] == mask.shape and features.shape[2] == embedding.shape[1]
    assert mask.dtype == torch.bool and mask.sum(1)[0] > 1 and not mask[-1].any()
    assert not features[~mask].any() and not embedding[-1].any()
    nothing = model.classify(torch.zeros_like(embedding[:1]))[0]
    assert torch.allclose(logits[-1], nothing, atol=1e-6)
    if name == "wavernn":
        assert torch.allclose(embedding[0], features[0, mask[0]].mean(0), atol=1e-6)
    else:
        assert torch.equal(embedding[0], features[0, mask[0]][-1])


def test_the_classifier_bends_between_its_layers(name):
    first, between, last = made(name).classify
    assert isinstance(between, torch.nn.ReLU) and first.out_features == last.in_features


def test_masked_steps_and_other_samples_do_not_matter(name):
    model, batch = made(name), dataset(name).batch(range(B))
    (stream, x), mask = next(iter(batch.inputs.items())), next(iter(batch.masks.values()))
    real = mask.reshape(*mask.shape, *[1] * (x.ndim - 2))
    before = call(model, batch).logits
    poisoned = batch._replace(inputs={stream: x.masked_fill(~real, float("nan"))})
    assert torch.equal(call(model, poisoned).logits, before)
    changed = x.clone()
    changed[1] = changed[1].flip(-1) * 0.5
    after = call(model, batch._replace(inputs={stream: changed})).logits
    assert torch.allclose(after[[0, 2, 3, 4]], before[[0, 2, 3, 4]], atol=1e-6)
    assert not torch.allclose(after[1], before[1], atol=1e-6)


def test_longer_padding_and_a_batch_of_one_do_not_matter(name):
    model, batch = made(name), dataset(name).batch(range(B))
    (stream, x), mask = next(iter(batch.inputs.items())), next(iter(batch.masks.values()))
    shorter = {stream: x[2:3, : int(mask[2].sum())]}
    alone = model(**shorter, masks=None).logits
    assert torch.allclose(alone, call(model, batch).logits[2:3], atol=1e-5)
    longer = {stream: torch.cat([x, torch.zeros_like(x)], 1)}
    masks = {stream: F.pad(mask, (0, mask.shape[1]))}
    after = call(model, batch._replace(inputs=longer, masks=masks)).logits
    assert torch.allclose(after, call(model, batch).logits, atol=1e-5)


def test_every_parameter_that_is_trained_gets_a_gradient(name, device):
    changes = {"width": 1 / 8} if name == "facenet_gru" else {}  # narrower, whole channels may die
    model, batch = (
        made(name, **changes).to(device).train(),
        dataset(name).batch(range(B)).to(device),
    )
    F.cross_entropy(model(**batch.inputs, masks=batch.masks).logits, batch.labels).backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    still = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert still == ({"network.fc3.weight", "network.fc3.bias"} if name == "wavernn" else set())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_expert_of_another_precision_answers_in_it(name, dtype, device):
    model, batch = made(name).to(device, dtype), dataset(name).batch(range(B)).to(device)
    inputs = {stream: x.to(dtype) for stream, x in batch.inputs.items()}
    logits, embedding = call(model, batch._replace(inputs=inputs))
    assert logits.dtype == embedding.dtype == dtype
    full = call(made(name).to(device), batch).logits
    torch.testing.assert_close(logits.float(), full, rtol=0.05, atol=0.05)


def test_bfloat16_under_autocast_agrees_with_full_precision(name, device):
    model, batch = made(name).to(device), dataset(name).batch(range(B)).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        half = call(model, batch).logits
    assert torch.allclose(call(model, batch).logits, half.float(), atol=0.05, rtol=0.05)


def test_saving_and_loading_gives_the_same_outputs(name):
    model, batch = made(name), dataset(name).batch(range(B))
    torch.manual_seed(7)
    other = build(name, model.config).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(call(other, batch).logits, call(model, batch).logits)


def test_what_it_cannot_read_is_refused_by_name(name):
    model, batch = made(name), dataset(name).batch(range(B))
    stream = STREAM[name]
    with pytest.raises(ValueError, match=f"{name} reads {stream}, but text came"):
        model(text=torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=f"the mask of {stream}"):
        model(**batch.inputs, masks={stream: batch.masks[stream][:, 1:]})
    with pytest.raises(ValueError, match="expected"):
        model(**{stream: torch.zeros(2, 3, 5)})


def test_data_that_do_not_fit_are_refused(name):
    config, data = find(name).config, dataset(name)
    with pytest.raises(ValueError, match="expected small or paper"):
        config.for_dataset(data, scale="large")
    words = FeatureSet({"text": torch.zeros(B, 2, 3)}, {}, data.labels, data.class_names)
    with pytest.raises(ValueError, match=f"{name} reads {STREAM[name]}, .* has only text"):
        config.for_dataset(words)
    numbers = FeatureSet(data.inputs, data.masks, torch.zeros(B, 2), None)
    with pytest.raises(ValueError, match="one class a sample.*are numbers"):
        config.for_dataset(numbers)
    step = FeatureSet(data.inputs, data.masks, data.labels, data.class_names, label_step=1)
    with pytest.raises(ValueError, match="of one step"):
        config.for_dataset(step)


def test_its_stream_reaches_it_unscaled(name):
    data, seen = dataset(name), {}
    model = made(name)
    model.features = lambda masks=None, **inputs: (
        seen.update(inputs) or (torch.zeros(1, 1, 1), None)
    )
    whole = Standardised(model=model, widths=data.widths).learn(data)
    batch = data.batch([0, 1])
    whole.features(**batch.inputs, masks=batch.masks)
    assert torch.equal(seen[STREAM[name]], batch.inputs[STREAM[name]])


# Sound


def test_the_papers_sound_is_47200_samples_beside_240_frames():
    config = WaveRNNExpertConfig.for_dataset(whole_clip(), "paper")
    assert (config.n_time, config.hop, config.n_freq, config.num_classes) == (240, 200, 128, 3)
    assert WaveRNNExpertConfig.paper() == replace(config, num_classes=7)
    # Only the shapes are asked for: the network would take seconds to hear it.
    model = build("wavernn", replace(config, n_rnn=4, n_fc=4, n_res_block=1, n_hidden=4))
    waveform, picture, real = model.heard(torch.zeros(1, 236, 200), torch.ones(1, 236).bool())
    assert waveform.shape == (1, 1, 47_200) and picture.shape == (1, 1, 128, 240) and real.all()


def whole_clip(steps: int = 236, block: int = 200) -> FeatureSet:
    labels = torch.tensor([0])
    return FeatureSet({"audio": torch.zeros(1, steps, block)}, {}, labels, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("audio", "says"),
    [
        (torch.zeros(2, 7, 74), r"float32 of shape \(2, 7, 74\)"),
        (torch.zeros(2, 7, 200, dtype=torch.int16), "int16 of shape"),
        (torch.full((2, 7, 200), 3.5), "goes from 3.5 to 3.5: features"),
        (torch.randn(2, 7, 200) * 9000, "divided by 32768"),
    ],
)
def test_what_is_no_waveform_is_refused(audio, says):
    data = FeatureSet({"audio": audio}, {}, torch.arange(2), ("a", "b"))
    with pytest.raises(ValueError, match=f"(?s)wavernn reads the waveform at 16 kHz.*{says}"):
        WaveRNNExpertConfig.for_dataset(data)


def test_what_stands_where_no_sound_is_real_does_not_count_against_it():
    audio = torch.zeros(3, 7, 400)
    audio[:, 5:] = 1e9
    data = FeatureSet(
        {"audio": audio},
        {"audio": (torch.arange(7) < 5).expand(3, 7)},
        torch.arange(3),
        ("a", "b", "c"),
    )
    assert WaveRNNExpertConfig.for_dataset(data).block == 400
    data.inputs["audio"][2, 4, 399] = -1.5  # over full scale, as decoded sound may be
    assert WaveRNNExpertConfig.for_dataset(data).block == 400


def test_a_training_on_features_is_refused_with_one_sentence(tmp_path, capsys):
    words = ["train", "--system", "wavernn", "--data", "theatre", "--n", "40", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "mmlib train: wavernn reads the waveform" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_longer_sound_is_cut_and_shorter_data_make_a_shorter_network():
    assert WaveRNNExpertConfig.for_dataset(whole_clip(400), "paper").n_time == 240
    assert WaveRNNExpertConfig.for_dataset(whole_clip(100), "paper").n_time == 104
    assert WaveRNNExpertConfig.for_dataset(whole_clip(50, 400), "paper").n_time == 104
    assert WaveRNNExpertConfig.for_dataset(whole_clip()).n_time == 118 + 4  # 40 frames a second
    assert WaveRNNExpertConfig.small().n_time == 122
    config = replace(WaveRNNExpertConfig.small(), n_time=14)  # ten frames of 25 samples at 1 kHz
    model = build("wavernn", replace(config, **NARROW["wavernn"])).eval()
    audio = torch.randn(1, 30, 200)
    other = audio.clone()
    other[:, 20:] = 0.5
    with torch.no_grad():
        assert torch.equal(model(audio=audio).logits, model(audio=other).logits)
        assert not torch.equal(model(audio=audio).logits, model(audio=-other).logits)


def test_the_spectrogram_tells_decibels_below_full_scale_at_the_right_time():
    config = replace(WaveRNNExpertConfig.paper(), n_res_block=1, n_rnn=4, n_fc=4, n_hidden=4)
    model = build("wavernn", config)
    sound = torch.zeros(2, 40 * 200)
    time = torch.arange(2000) / 16_000
    sound[:, 4000:6000] = torch.sin(2 * torch.pi * 1000 * time) * torch.tensor([[0.1], [0.001]])
    picture = model.spectrogram(sound)[:, 0]
    assert picture.shape == (2, 128, 44) and picture.min() >= 0
    loudest = picture.amax(1)
    inside = slice(24, 31)  # frames 20 to 30 of the sound stand two frames later
    # 20 dB and 60 dB below full scale; a band sums neighbouring frequencies, which adds some.
    assert loudest[0, inside].min() >= 0.8 and loudest[0, inside].max() < 0.87
    assert torch.allclose((loudest[0] - loudest[1])[inside], torch.full((7,), 0.4), atol=1e-3)
    assert loudest[:, :21].max() == 0 == loudest[:, 34:].max()
    assert picture[0, :, 27].argmax() == picture[1, :, 27].argmax()


def test_what_is_heard_is_the_waveform_itself_where_the_rates_agree():
    model = build("wavernn", replace(WaveRNNExpertConfig.paper(), n_rnn=4, n_fc=4, n_hidden=4))
    audio, mask = torch.randn(2, 7, 200), torch.ones(2, 7, dtype=torch.bool)
    mask[1, 3:] = False
    with torch.autocast("cpu", dtype=torch.bfloat16):
        waveform, picture, real = model.heard(audio, mask)
    assert torch.equal(waveform[0, 0, :1400], audio[0].flatten())
    assert not waveform[1, 0, 600:].any() and real[1].sum() == 600
    assert picture.dtype == waveform.dtype == torch.float32


def test_what_is_not_real_does_not_leak_into_sound_that_is_resampled():
    rates = {"sample_rate": 8000, "spectrogram_rate": 8000, "upsample_scales": (5, 5, 4)}
    model = made("wavernn", **rates)
    audio, mask = torch.randn(1, 7, 200), torch.arange(7)[None] < 3
    silent = audio.masked_fill(~mask[..., None], 0.0)
    poisoned = audio.masked_fill(~mask[..., None], float("nan"))
    for one, other in zip(model.heard(poisoned, mask), model.heard(silent, mask), strict=True):
        assert torch.equal(one, other)


def test_rates_that_would_drift_apart_are_refused():
    with pytest.raises(ValueError, match="no whole number at 16000 Hz"):
        replace(WaveRNNExpertConfig.small(), sample_rate=3000)
    with pytest.raises(ValueError, match=r"\(batch, steps, 200\)"):
        made("wavernn")(audio=torch.zeros(1, 3, 100))


def test_the_public_vocoder_is_taken_with_its_own_settings(tmp_path):
    torch.manual_seed(3)
    public = WaveRNN.ljspeech()
    torch.save(public.state_dict(), tmp_path / "vocoder.pth")
    config = WaveRNNExpertConfig.for_dataset(whole_clip(), weights=str(tmp_path / "vocoder.pth"))
    assert (config.hop, config.sample_rate, config.n_freq, config.n_time) == (275, 22_050, 80, 241)
    model = build("wavernn", config)
    assert torch.equal(model.network.rnn2.weight_hh_l0, public.rnn2.weight_hh_l0)
    waveform, picture, real = model.heard(torch.zeros(1, 236, 200), torch.ones(1, 236).bool())
    assert waveform.shape[2] == 237 * 275 and picture.shape == (1, 1, 80, 241)
    assert real.sum() == pytest.approx(47_200 * 22_050 / 16_000, abs=2)
    with pytest.raises(PretrainedError, match="does not fit"):  # not in the paper's (E-17)
        build("wavernn", replace(WaveRNNExpertConfig.paper(), weights=config.weights))


# Faces


def test_the_papers_faces_begin_with_public_weights_that_stay_as_they_are(tmp_path):
    config = FaceNetGRUConfig.paper()
    assert (config.weights, config.freeze, config.max_faces) == ("vggface2", True, 50)
    assert config.hidden_dim == 512
    network = InceptionResnetV1(9, width=1 / 32)  # a public file has a layer of people
    torch.save(network.state_dict(), tmp_path / "faces.pt")
    given = FaceNetGRUConfig.for_dataset(dataset("facenet_gru"), weights=str(tmp_path / "faces.pt"))
    assert (given.width, given.freeze, given.hidden_dim) == (1.0, True, 32)
    model = build("facenet_gru", replace(given, width=1 / 32))
    assert torch.equal(model.sequence.network.last_linear.weight, network.last_linear.weight)
    batch = dataset("facenet_gru").batch(range(B))
    model.train()(**batch.inputs, masks=batch.masks).logits.sum().backward()
    assert all(p.grad is None for p in model.sequence.network.parameters())
    after = model.sequence.network.state_dict()
    assert all(torch.equal(after[n], v) for n, v in network.state_dict().items() if n in after)


def test_what_is_no_face_is_refused():
    labels = torch.arange(2)
    for x in (torch.zeros(2, 3, 3, 64, 80), torch.zeros(2, 3, 7)):
        data = FeatureSet({"vision": x}, {}, labels, ("a", "b"))
        with pytest.raises(ValueError, match="75 x 75 or more"):
            FaceNetGRUConfig.for_dataset(data)


@pytest.mark.parametrize(
    "vision",
    [
        torch.randn(2, 3, 3, 75, 80),  # standardised already
        torch.rand(2, 3, 3, 75, 80) * 255,
    ],
)
def test_numbers_that_no_picture_has_are_refused(vision):
    data = FeatureSet({"vision": vision}, {}, torch.arange(2), ("a", "b"))
    with pytest.raises(ValueError, match="faces as uint8 of 0 to 255, or as floats of 0 to 1"):
        FaceNetGRUConfig.for_dataset(data)
    fine = FeatureSet({"vision": torch.rand(2, 3, 3, 75, 80)}, {}, data.labels, ("a", "b"))
    assert FaceNetGRUConfig.for_dataset(fine).num_classes == 2


# From a shell


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("raw")
    for name in NAMES:
        labels = {"labels": np.arange(12) % CLASSES, "class_names": np.array(["a", "b", "c"])}
        split = np.array(["train"] * 6 + ["valid"] * 3 + ["test"] * 3)
        np.savez(folder / f"{name}.npz", **raw(name, 12), **labels, split=split)
    return {name: str(folder / f"{name}.npz") for name in NAMES}


@pytest.fixture
def narrow(monkeypatch):
    """Let small be smaller, so that a training takes a second."""
    for name in NAMES:
        config = find(name).config
        small = replace(config.small(), **NARROW[name])
        monkeypatch.setattr(config, "small", classmethod(lambda cls, small=small: small))


def test_an_interrupted_training_ends_as_one_that_was_not(
    name, files, narrow, tmp_path, monkeypatch, capsys
):
    cut = cut_and_resume(name, files[name], tmp_path, monkeypatch, capsys)
    result = tmp_path / "result.json"
    run = ["--run", str(cut), "--data", files[name], "--json", str(result)]
    assert main(["evaluate", *run]) == 0
    measured = json.loads(result.read_text())
    assert measured["system"] == name and measured["n"] == 3 and "accuracy" in measured


def test_a_run_needs_no_public_file_any_more(files, tmp_path, monkeypatch, capsys):
    network = InceptionResnetV1(9, width=1 / 32)
    torch.save(network.state_dict(), tmp_path / "faces.pt")
    honest = FaceNetGRUConfig.for_dataset.__func__

    def thin(cls, *arguments, **options):  # the public network takes too long for a test
        return replace(honest(cls, *arguments, **options), width=1 / 32)

    monkeypatch.setattr(FaceNetGRUConfig, "for_dataset", classmethod(thin))
    words = ["train", "--system", "facenet_gru", "--data", files["facenet_gru"], "--quiet"]
    words += ["--weights", str(tmp_path / "faces.pt"), "--epochs", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    (tmp_path / "faces.pt").unlink()
    model, about = load_run(tmp_path / "run")
    assert about["config"]["weights"] == str(tmp_path / "faces.pt")
    assert asdict(model.model.config)["weights"] is None
    kept = model.model.sequence.network.state_dict()
    assert torch.equal(kept["last_bn.running_var"], network.last_bn.running_var)
    assert torch.equal(kept["conv2d_1a.conv.weight"], network.conv2d_1a.conv.weight)
    features = load_features(files["facenet_gru"]).subset("test")
    batch = features.batch(range(3))
    states, mask = model.eval().features(**batch.inputs, masks=batch.masks)
    assert states.shape == (3, 3, 32) and torch.equal(mask, batch.masks["vision"])
    assert main([*words, "--out", str(tmp_path / "again")]) == 2
    assert "faces.pt cannot be read" in capsys.readouterr().err


def test_only_experts_begin_with_public_weights(files, tmp_path, capsys):
    words = ["train", "--system", "concat", "--data", files["wavernn"], "--quiet"]
    assert main([*words, "--weights", "vggface2", "--out", str(tmp_path / "run")]) == 2
    assert "concat starts from no public weights" in capsys.readouterr().err
