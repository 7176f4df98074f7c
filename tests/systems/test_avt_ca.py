"""What is particular to AVT-CA: its sizes, its graph as the paper and as the code have it, training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmlib.cli import main
from mmlib.data import FeatureSet, Standardised
from mmlib.layers import TemporalConv
from mmlib.systems import AVTCA, AVTCAConfig, build
from mmlib.training import predict
from mmlib.training.jobs import train_system

ABLATIONS = ("avt_ca_it1", "avt_ca_it4", "avt_ca_ct1", "avt_ca_ct4")
FRAMES = AVTCAConfig(
    audio_dim=5, num_classes=3, trunk_repeats=(1, 1, 1), trunk_channels=(4, 8, 8, 16, 11),
    audio_channels=(6, 8, 10, 12), vision_channels=(7, 4, 9, 12), num_heads=4,
)  # fmt: skip
TINY = replace(FRAMES, vision_dim=6, projection_dim=9)
MAPS = {
    "intermediate/audio_from_vision": (2, 4, 25, 7),
    "intermediate/vision_from_audio": (2, 4, 7, 25),
    "second/audio_from_vision": (2, 4, 19, 7),
    "second/vision_from_audio": (2, 4, 7, 19),
    "late/audio_from_audio": (2, 4, 19, 19),
    "late/vision_from_vision": (2, 4, 7, 7),
}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def streams(batch: int = 2, config: AVTCAConfig = TINY) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    seen = (7, 3, 16, 24) if config.vision_dim is None else (7, config.vision_dim)
    audio = torch.randn(batch, 31, config.audio_dim, generator=draw)
    return {"audio": audio, "vision": torch.rand(batch, *seen, generator=draw)}


def tiny(seed: int = 0, config: AVTCAConfig = TINY, **changes) -> AVTCA:
    torch.manual_seed(seed)
    return AVTCA(config=replace(config, **changes)).eval()


# ---- sizes -----------------------------------------------------------------------------------


def test_released_parameter_counts_come_out_exactly():
    """The two unimodal heads of 1,032, which the released model has and never calls, are not built."""
    model = build("avt_ca", AVTCAConfig.official())
    head = 128 * 8 + 8
    visual = model.visual, model.vision_stage1, model.vision_stage2
    assert sum(map(count, visual)) == 1_552_926 - head
    assert count(model.audio_stage1) + count(model.audio_stage2) == 225_864 - head
    assert [count(block) for block in model.intermediate] == [115_840, 41_728]
    assert (count(model.late), count(model.classifier)) == (66_048, 2_056)
    assert count(model) == 2_004_462 - 2 * head


def test_the_papers_model_has_a_second_pair_and_a_second_set_of_weights_more():
    paper, official = (
        count(build("avt_ca", c())) for c in (AVTCAConfig.paper, AVTCAConfig.official)
    )
    second = 2 * (4 * 128 * 128 + 128)
    assert paper - official == second + 66_048


@pytest.mark.parametrize("preset", [AVTCAConfig.paper, AVTCAConfig.official])
def test_paper_shapes_go_in_and_logits_come_out(preset, device):
    model = build("avt_ca", preset()).to(device).eval()
    with torch.no_grad():
        output = model(
            audio=torch.randn(1, 156, 10, device=device),
            vision=torch.rand(1, 15, 3, 224, 224, device=device),
        )
    assert output._fields == ("logits", "audio", "vision", "copies") and output.copies is None
    assert [tuple(x.shape) for x in output[:3]] == [(1, 8), (1, 128), (1, 128)]
    assert output.logits.device.type == device.type


def test_paper_settings_are_those_of_the_paper():
    config = AVTCAConfig.paper()
    assert (config.optimizer, config.learning_rate, config.weight_decay) == ("adam", 0.01, 0.001)
    assert (config.batch_size, config.epochs, config.num_classes) == (8, 128, 8)
    assert (config.late, config.pool, config.merge) == ("self", "max", "concat")
    assert config.intermediate and config.second_attention and config.modality_dropout is None


def test_lengths_on_the_way_are_those_of_the_released_model():
    model, seen = build("avt_ca", AVTCAConfig.paper()).eval(), []
    for module in model.modules():
        if isinstance(module, TemporalConv):
            module.register_forward_hook(lambda _, args, out: seen.append(tuple(out[0].shape[1:])))
    frames = torch.rand(1, 15, 3, 16, 16)
    with torch.no_grad():
        model(audio=torch.randn(1, 156, 10), vision=frames)
    audio = [(153, 64), (150, 128), (147, 256), (144, 128)]
    vision = [(15, 64), (15, 64), (15, 128), (15, 128)]
    assert seen == [*audio[:2], *vision[:2], *audio[2:], *vision[2:]]


def test_a_pooling_stride_of_two_is_the_reading_in_which_pooling_reduces():
    maps = tiny(pool_stride=2).attention_maps(**streams() | {"audio": torch.randn(2, 64, 5)})
    assert maps["intermediate/audio_from_vision"].shape == (2, 4, 14, 7)
    assert maps["late/audio_from_audio"].shape == (2, 4, 2, 2)


# ---- the graph -------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [TINY, FRAMES], ids=["features", "frames"])
def test_algorithm_10_line_by_line_equals_the_model(config):
    model, given = tiny(config=config), streams(config=config)
    a, _ = model.audio_stage1(given["audio"], None)
    v, _ = model.vision_stage1(model.visual(given["vision"]), None)
    from_vision, from_audio = model.intermediate
    a, v = a + from_vision(a, v), v + from_audio(v, a)  # both ask before either is changed
    a, v = model.audio_stage2(a, None)[0], model.vision_stage2(v, None)[0]
    from_vision, from_audio = model.second
    a, v = a + from_vision(a, v), v + from_audio(v, a)
    a, v = model.late.audio(a), model.late.vision(v)
    output = model(**given)
    assert torch.allclose(output.audio, a.amax(1), atol=1e-5)
    assert torch.allclose(output.vision, v.amax(1), atol=1e-5)
    expected = model.classifier(torch.cat([a.amax(1), v.amax(1)], dim=-1))
    assert torch.allclose(output.logits, expected, atol=1e-5)


def test_the_three_readings_of_the_end_differ_as_they_say():
    own, shared, cross = (tiny(late=late) for late in ("self", "shared", "cross"))
    one = 4 * (12 * 12 + 12)
    assert count(own) == count(cross) == count(shared) + one
    weights = own.state_dict()
    shared.load_state_dict({k: v for k, v in weights.items() if not k.startswith("late.vision")})
    cross.load_state_dict(weights)
    first, second, third = (model(**streams()) for model in (own, shared, cross))
    assert torch.allclose(first.audio, second.audio) and not torch.allclose(first[2], second[2])
    assert not torch.allclose(first.audio, third.audio, atol=1e-3)
    names = {name for name in cross.attention_maps(**streams()) if name.startswith("late")}
    assert names == {"late/audio_from_vision", "late/vision_from_audio"}


def test_without_attention_at_the_end_the_streams_are_pooled_as_they_are():
    model = tiny(late=None, intermediate=False, second_attention=False, pool="mean")
    given = streams()
    states, _ = model.audio_stage2(*model.audio_stage1(given["audio"], None))
    assert torch.allclose(model(**given).audio, states.mean(1), atol=1e-6)
    assert model.attention_maps(**given) == {}


def test_merging_by_addition_feeds_the_sum_to_a_narrower_layer():
    model = tiny(merge="add")
    output = model(**streams())
    assert model.classifier.weight.shape == (3, 12)
    expected = model.classifier(output.audio + output.vision)
    assert torch.allclose(output.logits, expected, atol=1e-6)


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_keeps_one_fusion_and_its_heads_whatever_the_config_says(name):
    for before in (TINY, replace(TINY, late=None, intermediate=False, num_heads=2)):
        model = build(name, before)
        heads = int(name[-1])
        maps = model.attention_maps(**streams())
        kept = "intermediate" if "it" in name.split("_")[-1] else "late"
        assert {key.split("/")[0] for key in maps} == {kept} and len(maps) == 2
        assert all(weights.shape[1] == heads for weights in maps.values())
        assert model.config.pool == "mean" and model.config.num_heads == heads


def test_heads_are_honoured_everywhere_and_change_no_parameter():
    shapes = []
    for heads in (1, 2, 4):
        model = tiny(num_heads=heads)
        shapes.append({name: value.shape for name, value in model.state_dict().items()})
        assert {maps.shape[1] for maps in model.attention_maps(**streams()).values()} == {heads}
    assert shapes[0] == shapes[1] == shapes[2]


def test_attention_maps_are_those_of_the_evaluation_and_leave_the_model_as_it_was():
    model = tiny(config=FRAMES, dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = {"vision": torch.arange(7) < torch.tensor([[7], [4]])}
    maps = model.attention_maps(**streams(config=FRAMES), masks=masks)
    assert {name: tuple(weights.shape) for name, weights in maps.items()} == MAPS
    for name, weights in maps.items():
        assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:3]), atol=1e-5), name
        if name.endswith("from_vision"):
            assert (weights[1, :, :, 4:] == 0).all() and (weights[0, :, :, 4:] > 0).all(), name
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("late", ["self", "cross", None])
@pytest.mark.parametrize("config", [TINY, FRAMES], ids=["features", "frames"])
def test_a_short_sample_in_a_long_batch_gives_what_it_gives_alone(config, late, pool):
    model, given = tiny(config=config, pool=pool, late=late), streams(config=config)
    kept = {"audio": 22, "vision": 4}
    masks = {
        name: torch.arange(x.shape[1]) < torch.tensor([[x.shape[1]], [kept[name]]])
        for name, x in given.items()
    }
    alone = model(**{name: x[1:, : kept[name]] for name, x in given.items()})
    together = model(**given, masks=masks)
    for one, among in zip(alone[:3], together[:3], strict=True):
        assert torch.allclose(one[0], among[1], atol=1e-5)


def test_behind_standardisation_the_maps_are_of_what_the_model_sees():
    model, given = tiny(), streams(5)
    whole = Standardised(model=model, widths={"audio": 5, "vision": 6})
    whole.learn(FeatureSet(given, {}, torch.arange(5) % 3, ("a", "b", "c")))
    maps = whole.attention_maps(**given)
    expected = model.attention_maps(**whole.standardise(given, None))
    assert all(torch.equal(maps[name], expected[name]) for name in expected)
    plain = model.attention_maps(**given)["late/vision_from_vision"]
    assert not torch.allclose(maps["late/vision_from_vision"], plain, atol=1e-4)


def test_streams_may_have_other_names_and_a_third_is_not_looked_at():
    model, given = tiny(streams=("audio", "text")), streams()
    other = model(audio=given["audio"], text=given["vision"], vision=torch.randn(2, 3, 4))
    assert torch.equal(other.logits, tiny()(**given).logits)
    assert "late/text_from_text" in model.attention_maps(audio=given["audio"], text=given["vision"])


def test_the_step_with_the_label_joins_what_is_pooled():
    settings = {"label_step": 2, "padding": "same", "pool_size": 1}
    model, given = tiny(**settings), streams()
    assert model.classifier.in_features == 2 * (12 + 12)
    masks = {name: torch.ones(x.shape[:2], dtype=torch.bool) for name, x in given.items()}
    masks["audio"][:, 2] = False  # then there is nothing to join of audio
    with torch.no_grad():  # audio at the step is all that counts
        model.classifier.weight[:, :24] = 0.0
        model.classifier.weight[:, 36:] = 0.0
    there, gone = model(**given), model(**given, masks=masks)
    assert not torch.allclose(there.logits, model.classifier.bias.expand(2, -1), atol=1e-4)
    assert torch.allclose(gone.logits, model.classifier.bias.expand(2, -1), atol=1e-6)


def test_predict_proba_is_the_softmax_of_the_logits():
    model = tiny()
    logits, proba = model(**streams()).logits, model.predict_proba(**streams())
    assert torch.allclose(proba.sum(-1), torch.ones(2))
    assert torch.allclose(proba.log(), logits.log_softmax(-1), atol=1e-5)


# ---- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["avt_ca", *ABLATIONS])
@pytest.mark.parametrize("late", ["self", "shared", "cross"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_every_parameter_gets_a_gradient_in_every_variant(name, late, norm):
    torch.manual_seed(0)
    model = build(name, replace(TINY, late=late, norm=norm)).train()
    model(**streams(5)).logits.pow(2).sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


def test_copies_train_on_four_of_each_sample_and_evaluate_on_one():
    model, given = tiny(modality_dropout="copies"), streams(5)
    labels = torch.arange(5) % 3
    batch = FeatureSet(given, {}, labels, ("a", "b", "c")).batch(range(5))
    assert model(**given).copies is None
    model.train()
    output = model(**given)
    assert output.logits.shape == (5, 3) and output.copies.shape == (20, 3)
    assert torch.equal(output.copies[:5], output.logits)
    expected = F.cross_entropy(output.copies, torch.cat([labels] * 4))
    assert torch.allclose(model.loss(output, batch), expected)


def test_dropping_streams_happens_in_training_only():
    model, given = tiny(modality_dropout="drop", modality_rate=0.9), streams(5)
    assert torch.equal(model(**given).logits, tiny()(**given).logits)
    torch.manual_seed(0)
    model.train()
    gone = (model(**given).audio == 0).all(1)
    assert gone.any(), "a stream without a real step is pooled to zeros"


def test_frames_that_are_padding_touch_no_statistic_of_the_trunk():
    given = streams(3, FRAMES)
    mask = torch.arange(7) < torch.tensor([[7], [4], [2]])
    states = []
    for value in (0.0, 0.9):
        model = tiny(config=FRAMES).train()
        shown = torch.where(mask[..., None, None, None], given["vision"], value)
        model(audio=given["audio"], vision=shown, masks={"vision": mask})
        states.append({k: v for k, v in model.state_dict().items() if "running" in k})
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_single_frame_in_training_is_refused_with_a_way_out():
    model = tiny(config=FRAMES)
    one = {"audio": torch.randn(1, 31, 5), "vision": torch.rand(1, 1, 3, 16, 24)}
    assert torch.isfinite(model(**one).logits).all()
    with pytest.raises(ValueError, match="two or more"):
        model.train()(**one)


# ---- what the data decide ----------------------------------------------------------------------


def dataset(steps: int = 40, frames: bool = False, **changes) -> FeatureSet:
    rng = np.random.default_rng(0)
    vision = torch.from_numpy(rng.normal(size=(12, 5, 6)).astype(np.float32))
    if frames:
        vision = torch.from_numpy(rng.integers(0, 256, (12, 5, 3, 16, 16), dtype=np.uint8))
    audio = torch.from_numpy(rng.normal(size=(12, steps, 4)).astype(np.float32))
    text = torch.from_numpy(rng.normal(size=(12, 3, 2)).astype(np.float32))
    given = {
        "inputs": {"text": text, "audio": audio, "vision": vision}, "masks": {},
        "labels": torch.arange(12) % 3, "class_names": ("a", "b", "c"),
        "split": np.array(["train"] * 8 + ["valid"] * 4),
    }  # fmt: skip
    return FeatureSet(**given | changes)


def test_the_data_decide_widths_and_whether_there_is_a_trunk():
    config = AVTCAConfig.for_dataset(dataset())
    assert (config.audio_dim, config.vision_dim, config.num_classes) == (4, 6, 3)
    assert AVTCAConfig.for_dataset(dataset(frames=True)).vision_dim is None
    paper = AVTCAConfig.for_dataset(dataset(steps=156), scale="paper")
    expected = replace(AVTCAConfig.paper(), audio_dim=4, vision_dim=6, num_classes=3)
    assert paper == expected
    other = AVTCAConfig.for_dataset(dataset(), streams=("audio", "text"))
    assert (other.streams, other.vision_dim) == (("audio", "text"), 2)


@pytest.mark.parametrize(("steps", "shortens"), [(3, False), (13, False), (14, True), (156, True)])
def test_a_stream_too_short_for_four_convolutions_keeps_its_length(steps, shortens):
    config = AVTCAConfig.for_dataset(dataset(steps=steps), scale="paper")
    assert (config.padding == "valid") is shortens
    output = build("avt_ca", config).eval()(**dataset(steps=steps).batch(range(2)).inputs)
    assert torch.isfinite(output.logits).all()


def test_a_long_stream_with_gaps_keeps_its_length_and_an_absent_one_does_not_matter():
    masks = {"audio": torch.ones(12, 40, dtype=torch.bool)}
    masks["audio"][3] = False
    assert AVTCAConfig.for_dataset(dataset(masks=masks), "paper").padding == "valid"
    masks["audio"][4, ::5] = False
    assert AVTCAConfig.for_dataset(dataset(masks=masks), "paper").padding == "same"


def test_a_label_of_one_step_is_kept_in_place():
    config = AVTCAConfig.for_dataset(dataset(label_step=2))
    assert (config.label_step, config.padding, config.pool_size) == (2, "same", 1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"class_names": None, "labels": torch.zeros(12, 2)}, "the labels of .* are numbers"),
        ({"inputs": {"audio": torch.zeros(12, 3, 2)}}, "needs audio and vision, but .* no vision"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        AVTCAConfig.for_dataset(dataset(**changes))


def test_what_cannot_be_built_or_called_is_refused_in_a_sentence():
    with pytest.raises(
        ValueError, match="late='both' is unknown; expected one of 'self', 'shared'"
    ):
        AVTCAConfig(late="both")
    with pytest.raises(ValueError, match="streams of 12 and 16 features at the end"):
        replace(TINY, merge="add", vision_channels=(7, 4, 9, 16))
    with pytest.raises(ValueError, match="two different names"):
        AVTCAConfig(streams=("audio", "audio"))
    with pytest.raises(ValueError, match="cannot be split over num_heads=3"):
        tiny(num_heads=3)
    model, given = tiny(), streams()
    with pytest.raises(ValueError, match="needs audio and vision, but vision is missing"):
        model(audio=given["audio"])
    with pytest.raises(ValueError, match=r"audio has shape \(2, 7, 6\), expected .*5\)"):
        model(audio=given["vision"], vision=given["vision"])
    with pytest.raises(ValueError, match="audio has 2 samples and vision 5"):
        model(audio=given["audio"], vision=streams(5)["vision"])
    with pytest.raises(ValueError, match=r"expected frames \(batch, steps, 3, height, width\)"):
        tiny(config=FRAMES)(**given)
    with pytest.raises(
        ValueError, match=r"mask of vision is .* \(2, 31\), expected torch.bool of \(2, 7\)"
    ):
        model(**given, masks={"vision": torch.ones(2, 31, dtype=torch.bool)})


@pytest.mark.parametrize(("stride", "least"), [(1, 13), (2, 46)])
def test_sound_too_short_for_the_convolutions_is_refused_with_the_least_that_works(stride, least):
    model = tiny(padding="valid", pool_size=2, pool_stride=stride).eval()
    given = streams()
    assert model(audio=torch.randn(2, least, 5), vision=given["vision"]).logits.isfinite().all()
    with pytest.raises(ValueError, match=f"audio has {least - 1} steps, .* at least {least}; "):
        model(audio=torch.randn(2, least - 1, 5), vision=given["vision"])


# ---- from the shell ----------------------------------------------------------------------------


def test_the_released_arrangement_trains_from_the_shell_and_is_no_others(tmp_path, capsys):
    dataset().save(tmp_path / "features.npz")
    words = ["--data", str(tmp_path / "features.npz"), "--scale", "official", "--epochs", "1"]
    train = ["train", *words, "--quiet", "--out", str(tmp_path / "run"), "--system"]
    assert main([*train, "concat"]) == 2
    assert "scale is 'official', expected small or paper" in capsys.readouterr().err
    assert main([*train, "avt_ca"]) == 0
    assert '"late": "shared"' in (tmp_path / "run" / "config.json").read_text()


@pytest.mark.parametrize("frames", [False, True])
def test_a_run_leaves_a_third_stream_alone_and_can_be_evaluated(frames, tmp_path):
    data = dataset(frames=frames)
    data.save(tmp_path / "features.npz")
    data.select(["audio", "vision"]).save(tmp_path / "two.npz")
    words = ["train", "--system", "avt_ca", "--epochs", "1", "--quiet", "--data"]
    assert main([*words, str(tmp_path / "features.npz"), "--out", str(tmp_path / "run")]) == 0
    judge = ["evaluate", "--run", str(tmp_path / "run"), "--split", "valid", "--json"]
    for name in ("features", "two"):
        where = [str(tmp_path / f"{name}.json"), "--data", str(tmp_path / f"{name}.npz")]
        assert main([*judge, *where]) == 0
    assert (tmp_path / "features.json").read_text() == (tmp_path / "two.json").read_text()


def test_pictures_reach_the_trunk_from_0_to_1_whatever_else_is_standardised(tmp_path):
    data, seen = dataset(frames=True), []
    model, _ = train_system("avt_ca", data, tmp_path, recipe={"epochs": 1}, progress=False)
    model.model.visual.register_forward_hook(lambda _, args, out: seen.append(args[0]))
    predict(model, data)
    assert torch.equal(seen[0], data.inputs["vision"].float() / 255)


def test_the_theatre_plays_for_it(tmp_path):
    words = ["train", "--system", "avt_ca", "--epochs", "1", "--quiet", "--n", "24", "--data"]
    assert main([*words, "theatre", "--out", str(tmp_path / "units")]) == 0
    assert main([*words, "theatre:avt_ca:frames", "--out", str(tmp_path / "frames")]) == 0


def test_an_unknown_way_to_watch_the_theatre_is_refused_in_a_sentence(tmp_path, capsys):
    words = ["train", "--system", "avt_ca", "--n", "2", "--data", "theatre:avt_ca:film"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "vision must be 'units' or 'frames', not 'film'" in capsys.readouterr().err
