"""WaveRNN: the public names and numbers, and its states pooled a stretch at a time."""

import random

import pytest
import torch
from golden import Golden, table_of

from mmlib.backbones import WaveRNN, WaveRNNFeaturePool, wavernn
from mmlib.backbones.loading import PretrainedError

BUILD = {"wavernn": WaveRNN, "wavernn_ljspeech": WaveRNN.ljspeech}
#: Hop 6; all sizes differ.
TINY = {
    "upsample_scales": (2, 3),
    "n_classes": 9,
    "hop_length": 6,
    "n_res_block": 2,
    "n_rnn": 5,
    "n_fc": 7,
    "kernel_size": 3,
    "n_freq": 4,
    "n_hidden": 10,
    "n_output": 8,
}


@pytest.fixture(scope="module", params=BUILD)
def golden(request, shared_facts) -> Golden:
    return Golden(shared_facts, request.param)


def tiny(**changes):
    torch.manual_seed(0)
    return WaveRNN(**{**TINY, "n_time": 14, "max_steps": 8, **changes}).eval()


def heard(batch: int = 3, frames: int = 14, model: WaveRNN | None = None):
    """Draw a waveform and a spectrogram that belong together."""
    model = model or tiny()
    draw = torch.Generator().manual_seed(1)
    samples = (frames - model.kernel_size + 1) * model.hop_length
    return (
        torch.rand(batch, 1, samples, generator=draw) * 2 - 1,
        torch.randn(batch, 1, model.n_freq, frames, generator=draw),
    )


def test_names_shapes_and_types_are_the_public_ones(golden):
    model = BUILD[golden.name]()
    assert table_of(model) == golden.table()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == golden.facts["parameter_count"]


def test_the_papers_settings_are_the_defaults():
    model = WaveRNN()
    assert model.samples == 47_200 and model.feature_dim == 512 and model.hop_length == 200
    assert model.pool.size * 50 == 47_200
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_536_231
    assert len(model.state_dict()) == 147


def test_numbers_are_the_public_ones(golden):
    model, kept = BUILD[golden.name]().eval(), {}
    for name in ("fc", "rnn1", "rnn2", "relu1", "relu2"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: kept.__setitem__(
                name, out[0] if isinstance(out, tuple) else out
            )
        )
    for case in golden.cases(model):
        model.load_state_dict(case.weights, strict=True)
        with torch.no_grad():
            kept["logits"] = model(*case.inputs.values())
            kept["state"] = model.state(*case.inputs.values())
            upsampled, auxiliary = model.upsample(case.inputs["specgram"][:, 0])
        kept["upsample.0"] = kept["upsampled_spectrogram"] = upsampled
        repeated = auxiliary.repeat_interleave(model.hop_length, dim=2)
        kept["upsample.1"] = kept["auxiliary"] = repeated
        case.compare(kept)


def test_old_files_without_batch_counters_load_strictly_in_any_order():
    model = tiny()
    weights = {n: v for n, v in model.state_dict().items() if "num_batches_tracked" not in n}
    names = list(weights)
    random.Random(0).shuffle(names)
    model.load_state_dict({name: weights[name] for name in names}, strict=True)


def test_each_file_loads_into_its_own_settings_only():
    paper, public = WaveRNN(), WaveRNN.ljspeech()
    differing = {
        n for n, v in paper.state_dict().items() if v.shape != public.state_dict()[n].shape
    }
    assert differing == {
        "upsample.upsample_layers.5.weight",
        "upsample.resnet.melresnet_model.0.weight",
        *("fc.weight", "fc3.weight", "fc3.bias"),
    }
    with pytest.raises(RuntimeError, match=r"upsample_layers\.5"):
        paper.load_state_dict(public.state_dict(), strict=True)


def test_the_product_of_the_scales_is_the_hop():
    with pytest.raises(ValueError, match="multiply to 200, but hop_length is 275"):
        WaveRNN(hop_length=275)
    for wrong in ({"kernel_size": 4}, {"n_output": 10}, {"n_time": 2}):
        with pytest.raises(ValueError, match="expected an odd kernel"):
            tiny(**wrong)


def test_a_state_knows_the_waveform_up_to_its_sample_and_nothing_behind_it():
    model = tiny()
    waveform, spectrogram = heard()
    changed = waveform.clone()
    changed[1, 0, 30] += 0.5
    with torch.no_grad():
        before, after = model.state(waveform, spectrogram), model.state(changed, spectrogram)
    assert torch.equal(before[:, :30], after[:, :30])
    assert not torch.equal(before[1, 30:], after[1, 30:])
    assert torch.equal(before[[0, 2]], after[[0, 2]])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("held", [0, 2**24])
def test_features_are_the_pooled_states_however_they_are_computed(grad, held, monkeypatch, device):
    monkeypatch.setattr(wavernn, "HELD", held)
    monkeypatch.setattr(wavernn, "STEPS_AT_ONCE", 3)
    model = tiny().to(device)
    waveform, spectrogram = (x.to(device) for x in heard())
    mask = torch.arange(72, device=device) < torch.tensor([[72], [40], [1]], device=device)
    with torch.set_grad_enabled(grad):
        features = model.features(waveform, spectrogram, mask)
        state = model.state(waveform, spectrogram)
    assert features.shape == (3, 8, 7) and features.requires_grad == grad
    for row, count in enumerate((72, 40, 1)):
        for step, part in enumerate(state[row, :count].split(9)):
            assert torch.allclose(features[row, step], part.mean(0), atol=1e-5)
        assert features[row, -(-count // 9) :].abs().sum() == 0
    whole = model.features(waveform, spectrogram)
    assert torch.allclose(whole[0], features[0], atol=1e-6)


def test_gradients_do_not_depend_on_what_is_computed_anew(monkeypatch):
    found = []
    for held in (0, 2**24):
        monkeypatch.setattr(wavernn, "HELD", held)
        model = tiny().train()
        model.features(*heard(model=model)).square().sum().backward()
        found.append({n: p.grad for n, p in model.named_parameters() if not n.startswith("fc3")})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        assert gradient.abs().sum() > 0, name
        assert torch.allclose(gradient, found[1][name], atol=1e-4, rtol=1e-4), name


def test_gradients_reach_back_through_all_stretches(monkeypatch):
    monkeypatch.setattr(wavernn, "STEPS_AT_ONCE", 1)
    model, (waveform, spectrogram) = tiny(), heard()
    waveform.requires_grad_()
    found = []
    for last in (
        model.features(waveform, spectrogram)[:, -1],
        model.state(waveform, spectrogram)[:, 63:].mean(1),
    ):
        found.append(torch.autograd.grad(last.square().sum(), waveform)[0])
    assert found[1][..., :9].any(), "the first stretch is heard in the last"
    assert torch.allclose(found[0], found[1], atol=1e-7, rtol=1e-3)


def test_without_gradients_no_more_than_a_stretch_is_held_at_once():
    model, read = tiny(), []
    model.rnn1.register_forward_hook(lambda _, __, out: read.append(out[0].shape[1]))
    with torch.no_grad():
        model.features(*heard(model=model))
    assert max(read) == 9 * wavernn.STEPS_AT_ONCE < sum(read) == 72


def test_a_large_batch_keeps_little_for_the_way_back(monkeypatch):
    model, kept = tiny(), {}
    for held in (0, 2**24):
        monkeypatch.setattr(wavernn, "HELD", held)
        storages = {}

        def note(tensor, storages=storages):
            storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.features(*heard(model=model))
        kept[held] = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    assert kept[0] < 0.5 * kept[2**24]


def test_a_pool_averages_real_samples_and_tells_where_there_are_none():
    pool = WaveRNNFeaturePool(samples=11, max_steps=4)
    assert pool.size == 3
    state = torch.arange(22.0).reshape(1, 11, 2)
    mask = torch.tensor([[1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 1]]).bool()
    poisoned = state.masked_fill(~mask[..., None], float("nan"))
    features, real = pool(poisoned, mask)
    assert features[0].tolist() == [[2, 3], [9, 10], [0, 0], [20, 21]]
    assert real.tolist() == [[True, True, False, True]] == pool.mask(mask).tolist()
    features, real = pool(state)
    assert features[0, 3].tolist() == [19, 20] and real.all()  # of two samples


def test_a_shorter_batch_is_pooled_in_the_same_stretches():
    pool = WaveRNNFeaturePool(samples=11, max_steps=4)
    state = torch.randn(2, 11, 5, generator=torch.Generator().manual_seed(0))
    whole, part = pool(state).features, pool(state[:, :7]).features
    assert part.shape == (2, 3, 5)
    assert torch.allclose(part[:, :2], whole[:, :2], atol=1e-6)
    assert torch.allclose(part[:, 2], state[:, 6], atol=1e-6)


def test_a_pool_refuses_what_is_too_long_or_no_mask():
    pool = WaveRNNFeaturePool(samples=11, max_steps=4)
    with pytest.raises(ValueError, match="at most 11 samples"):
        pool(torch.zeros(1, 12, 2))
    with pytest.raises(ValueError, match="expected bool"):
        pool.mask(torch.ones(1, 11))
    with pytest.raises(ValueError, match="at least 1"):
        WaveRNNFeaturePool(samples=0)
    with pytest.raises(ValueError, match="larger n_time"):
        tiny(n_time=13).features(*heard())


def test_in_training_what_is_not_real_touches_no_statistic():
    waveform, spectrogram = heard(frames=14)
    mask = (torch.arange(72) < 28).expand(3, 72).clone()
    # The last real frame, the fifth, has four real samples. It looks one frame ahead, so the eighth
    # is out of its sight.
    other = spectrogram.clone()
    other[..., 7:] += 100.0
    statistics, outputs = [], []
    for picture in (spectrogram, other):
        model = tiny().train()
        outputs.append(model.features(waveform, picture, mask)[:, :4])
        statistics.append({n: v for n, v in model.state_dict().items() if "running" in n})
    for name, value in statistics[0].items():
        assert torch.allclose(value, statistics[1][name]), name
    real = spectrogram[..., :7]
    model = tiny().train()
    model.upsample.resnet(real[:, 0])
    for name, value in statistics[0].items():
        assert torch.allclose(value, model.state_dict()[name], atol=1e-6), name


@pytest.mark.parametrize("frames", [0, 1])
def test_a_batch_with_hardly_a_real_frame_is_trained_on_and_leaves_the_statistics(frames):
    waveform, spectrogram = heard(frames=14)
    mask = torch.zeros(3, 72, dtype=torch.bool)
    mask[1, : 5 * frames] = True  # within one frame of six samples
    model = tiny().train()
    before = {n: v.clone() for n, v in model.state_dict().items() if "running" in n}
    features = model.features(waveform, spectrogram, mask)
    features.sum().backward()
    assert features.isfinite().all() and bool(features.any()) == bool(frames)
    for name, value in before.items():
        assert torch.equal(value, model.state_dict()[name]), name
    expected = tiny().eval().features(waveform, spectrogram, mask)
    assert torch.allclose(features, expected, atol=1e-6)
    assert all(module.training for module in model.modules())


def test_a_public_file_is_loaded_whole_or_without_its_last_layer(tmp_path):
    public = tiny()
    torch.save({"state_dict": public.state_dict()}, tmp_path / "weights.pth")
    torch.manual_seed(5)
    for loaded in (WaveRNN(**TINY).load_public(tmp_path / "weights.pth"),):
        for one, other in zip(public.parameters(), loaded.parameters(), strict=True):
            assert torch.equal(one, other)
    fewer = WaveRNN(**{**TINY, "n_classes": 4})
    with pytest.raises(PretrainedError, match=r"fc3.*head=False"):
        fewer.load_public(tmp_path / "weights.pth")
    before = fewer.fc3.weight.clone()
    fewer.load_public(tmp_path / "weights.pth", head=False)
    # `fc` is the first layer here, and must come along.
    assert torch.equal(fewer.fc.weight, public.fc.weight)
    assert torch.equal(fewer.fc2.weight, public.fc2.weight)
    assert torch.equal(fewer.fc3.weight, before)


@pytest.mark.parametrize(
    ("sound", "picture", "says"),
    [
        ((3, 72), (3, 1, 4, 14), r"expected \(batch, 1, samples\)"),
        ((3, 1, 72), (3, 4, 14), r"\(batch, 1, 4, frames\)"),
        ((3, 1, 72), (3, 1, 5, 14), "expected 4 bands"),
        ((3, 1, 73), (3, 1, 4, 14), "so 72 here"),
        ((2, 1, 72), (3, 1, 4, 14), "so 72 here"),
        ((3, 1, 0), (3, 1, 4, 2), "so 0 here"),
    ],
)
def test_what_does_not_belong_together_is_refused(sound, picture, says):
    with pytest.raises(ValueError, match=says):
        tiny()(torch.zeros(sound), torch.zeros(picture))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(
        ValueError,
        match=r"the mask of the waveform is torch.bool .*expected torch.bool of \(3, 72\)",
    ):
        tiny().features(*heard(), torch.ones(3, 12, dtype=torch.bool))
