"""What is particular to CA-MMAAET: its sizes, its four models, its parts."""

from dataclasses import replace

import pytest
import torch

from mmlib.data import FeatureSet
from mmlib.layers import TemporalConv
from mmlib.systems import CAMMAAET, CAMMAAETConfig, build
from mmlib.systems.ca_mmaaet import PAIRS
from mmlib.systems.ca_mmaaet.encoder import RecurrentStream, TextStream
from mmlib.systems.ca_mmaaet.model import Decoder

MODELS = ("mmaae", "mmaaet", "ca_mmaae", "ca_mmaaet")
TINY = CAMMAAETConfig(
    text_dim=11, audio_dim=5, vision_dim=3, vision_steps=7, num_classes=4, hidden_dim=8,
    latent_dim=6, num_heads=2, ffn_dim=13, decoder_dim=9, dropout=0.0,
)  # fmt: skip


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def streams(batch: int = 2, config: CAMMAAETConfig = TINY) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    shapes = {"text": (12, config.text_dim), "audio": (19, config.audio_dim)}
    shapes["vision"] = (config.vision_steps, config.vision_dim)
    return {name: torch.randn(batch, *shape, generator=draw) for name, shape in shapes.items()}


def tiny(seed: int = 0, **changes) -> CAMMAAET:
    torch.manual_seed(seed)
    return CAMMAAET(config=replace(TINY, **changes)).eval()


def test_the_papers_shapes_go_in_and_come_out(device):
    model = build("ca_mmaaet", CAMMAAETConfig.paper()).to(device).eval()
    output = model(
        text=torch.randn(2, 36, 768, device=device),
        audio=torch.randn(2, 128, 512, device=device),
        vision=torch.randn(2, 10, 512, device=device),
    )
    assert output._fields == ("logits", "reconstruction", "validity", "latent")
    assert [tuple(x.shape) for x in output] == [(2, 3), (2, 10, 512), (2, 1), (2, 256)]
    assert all(x.device.type == device.type for x in output)


def test_reference_parameter_counts_come_out_exactly():
    model = build("mmaae", CAMMAAETConfig.paper())
    # Encoder and decoder are equal by coincidence: both are counted, neither stands for the other.
    assert count(model.encoder) == 1_444_864
    assert count(model.decoder) == 256 * 512 + 512 + 512 * 2560 + 2560 == 1_444_864
    assert (count(model.discriminator), count(model.classifier)) == (257, 771)


def test_paper_settings_are_those_of_the_paper():
    config = CAMMAAETConfig.paper()
    assert (config.epochs, config.batch_size, config.num_classes) == (20, 16, 3)
    assert (config.learning_rate, config.weight_decay, config.schedule) == (1e-4, 5e-3, "aae")


def test_the_four_models_differ_in_the_switched_parts_only():
    sizes = {name: count(build(name, CAMMAAETConfig.paper())) for name in MODELS}
    projection = 128 * 128 + 128
    attention = 6 * 4 * projection + 6 * 128 * 256  # six times four projections, and their way in
    assert sizes["ca_mmaae"] - sizes["mmaae"] == attention
    assert sizes["ca_mmaaet"] - sizes["mmaaet"] == attention
    block = 4 * projection + (128 * 512 + 512 + 512 * 128 + 128) + 2 * 2 * 128
    second_convolution = 768 * 128 * 3 + 128
    joined_less = 128 * 256
    assert sizes["mmaaet"] - sizes["mmaae"] == block - second_convolution - joined_less


@pytest.mark.parametrize("name", MODELS)
def test_a_name_sets_both_switches_whatever_the_config_says(name):
    for before in (True, False):
        config = replace(TINY, transformer=before, cross_attention=before)
        model = build(name, config)
        if name != "ca_mmaaet":
            assert model.config.transformer == name.endswith("t")
            assert model.config.cross_attention == name.startswith("ca")
        else:  # the family's own name leaves the switches to the config
            assert model.config == config


def test_a_ring_of_pairs_has_three_attentions_and_each_stream_asks_once():
    model = tiny(pairs="ring")
    assert set(model.encoder.cross_attention) == {
        "vision_from_audio", "audio_from_text", "text_from_vision",
    }  # fmt: skip
    assert len(tiny().encoder.cross_attention) == len(PAIRS["all"]) == 6


def test_the_query_of_a_pair_is_its_first_stream():
    """Vision asks audio: a change of text must not pass through that attention."""
    model, seen = tiny(), {}
    for name, attention in model.encoder.cross_attention.items():
        attention.register_forward_hook(
            lambda _, args, out, name=name: seen.__setitem__(
                name, (args[0].shape[1], args[1].shape[1])
            )
        )
    model(**streams())
    lengths = {"text": 10, "audio": 9, "vision": 7}
    assert seen == {f"{x}_from_{y}": (lengths[x], lengths[y]) for x, y in PAIRS["all"]}


def test_recurrent_summary_is_the_state_at_the_last_real_step():
    torch.manual_seed(0)
    stream = RecurrentStream(convolutions=[TemporalConv(in_dim=3, out_dim=5)], hidden_dim=5)
    x = torch.randn(2, 7, 3)
    mask = torch.arange(7) < torch.tensor([[4], [7]])
    result = stream(x, mask)
    assert torch.equal(result.summary, torch.stack([result.states[0, 3], result.states[1, 6]]))
    assert torch.allclose(result.summary[:1], stream(x[:1, :4], None).summary, atol=1e-6)


def test_text_without_a_block_joins_the_means_of_query_and_attended_value():
    torch.manual_seed(0)
    stream = TextStream(config=replace(TINY, transformer=False))
    x = torch.randn(2, 9, 11)
    query, value = stream.convolve(x)[0], stream.value(x)[0]
    weights = (query @ value.mT / 8**0.5).softmax(-1)
    expected = torch.cat([query.mean(1), (weights @ value).mean(1)], dim=-1)
    assert torch.allclose(stream(x, None).summary, expected, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 6, 7])
def test_the_decoder_repeats_every_step_and_drops_an_odd_last_one(steps):
    decoder = Decoder(config=replace(TINY, vision_steps=steps))
    rebuilt = decoder(torch.randn(2, 6))
    assert rebuilt.shape == (2, steps, 3) and (rebuilt >= 0).all()
    for first in range(0, steps - 1, 2):
        assert torch.equal(rebuilt[:, first], rebuilt[:, first + 1])
    if steps > 2:
        assert not torch.equal(rebuilt[:, 0], rebuilt[:, 2])
    free = Decoder(config=replace(TINY, out_activation=None))
    assert (free(torch.randn(20, 6)) < 0).any()


def test_predict_proba_is_softmax_and_sigmoid_of_the_logits():
    model = tiny()
    output, proba = model(**streams()), model.predict_proba(**streams())
    assert torch.allclose(proba.emotion.sum(-1), torch.ones(2))
    assert torch.allclose(proba.emotion.log(), output.logits.log_softmax(-1), atol=1e-5)
    assert torch.allclose(proba.validity.logit(), output.validity, atol=1e-4)
    assert (output.logits < 0).any() and (output.logits.sum(-1) - 1).abs().min() > 1e-3


def test_order_within_text_reaches_the_block_only_through_the_convolution_or_positions():
    """C-18: the block and the mean after it do not see order; sinusoidal codes show it to them."""
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 10, 8)
    for positions, same in ((None, True), ("sinusoidal", False)):
        torch.manual_seed(0)
        stream = TextStream(config=replace(TINY, positions=positions)).eval()
        stream.convolve = _Nothing()
        before, after = stream(x, None).summary, stream(x[:, order], None).summary
        assert torch.allclose(before, after, atol=1e-5) == same


class _Nothing(torch.nn.Module):
    def forward(self, x, mask=None):
        return x, mask


@pytest.mark.parametrize("name", MODELS)
def test_the_labelled_step_has_its_own_say(name):
    """What happens at the labelled step moves the latent more than what its neighbours' mean would."""
    data = FeatureSet(
        {n: torch.zeros(6, 11, 4) for n in ("text", "audio", "vision")},
        {},
        torch.arange(6) % 3,
        ("a", "b", "c"),
        label_step=5,
    )
    config = CAMMAAETConfig.for_dataset(data)
    assert (config.padding, config.audio_stride, config.label_step) == ("same", 1, 5)
    torch.manual_seed(0)
    model = build(name, config).eval()
    joined = model.encoder.to_latent.in_features
    whole = build(name, replace(config, label_step=None)).encoder.to_latent.in_features
    assert joined == whole + config.hidden_dim * (3 + len(model.encoder.pairs))
    base = {n: torch.randn(1, 11, 4) for n in data.inputs}
    with torch.no_grad():
        states = model.encoder.text(base["text"], None).states
        assert torch.equal(model.encoder._here(states, None)[0], states[:, 5])


def test_for_dataset_takes_sizes_from_the_data_and_keeps_short_sequences_whole():
    def made(text: int, audio: int, masks: dict | None = None):
        inputs = {"text": torch.zeros(5, text, 2), "audio": torch.zeros(5, audio, 3)}
        inputs["vision"] = torch.zeros(5, 9, 4)
        return FeatureSet(inputs, masks or {}, torch.arange(5) % 2, ("a", "b"))

    config = CAMMAAETConfig.for_dataset(made(36, 128), scale="paper")
    assert (config.text_dim, config.audio_dim, config.vision_dim) == (2, 3, 4)
    assert (config.vision_steps, config.num_classes, config.hidden_dim) == (9, 2, 128)
    assert (config.padding, config.audio_stride) == ("valid", 2)
    holes = torch.ones(5, 36, dtype=torch.bool)
    holes[3, ::2] = False
    for short in (made(36, 1), made(2, 128), made(36, 128, {"text": holes})):
        config = CAMMAAETConfig.for_dataset(short)
        assert (config.padding, config.audio_stride) == ("same", 1)
        batch = short.batch(range(5))
        assert torch.isfinite(
            build("ca_mmaaet", config)(**batch.inputs, masks=batch.masks)[0]
        ).all()


def test_what_it_cannot_take_is_refused_by_name():
    data = FeatureSet({"audio": torch.zeros(3, 4, 2)}, {}, torch.tensor([0, 1, 0]), ("a", "b"))
    with pytest.raises(ValueError, match="has no text and no vision; take another"):
        CAMMAAETConfig.for_dataset(data)
    numbers = FeatureSet(
        {name: torch.zeros(3, 4, 2) for name in ("text", "audio", "vision")}, {},
        torch.zeros(3, 1), None,
    )  # fmt: skip
    with pytest.raises(ValueError, match="tells classes apart"):
        CAMMAAETConfig.for_dataset(numbers)
    with pytest.raises(ValueError, match="scale is 'large'"):
        CAMMAAETConfig.for_dataset(data, scale="large")
    with pytest.raises(ValueError, match="schedule='both' is unknown; expected one of 'aae'"):
        CAMMAAETConfig(schedule="both")
    model, given = tiny(), streams()
    with pytest.raises(ValueError, match="needs text, audio and vision, but audio is missing"):
        model(text=given["text"], vision=given["vision"])
    with pytest.raises(ValueError, match="text has 2 samples and vision 1; give both for the same"):
        model(**given | {"vision": given["vision"][:1]})
    with pytest.raises(ValueError, match=r"vision has shape \(2, 7, 2\), expected .*steps, 3\)"):
        model(**{**given, "vision": given["vision"][..., :2]})
    with pytest.raises(ValueError, match=r"mask of text is torch.float32 of shape \(2, 12\)"):
        model(**given, masks={"text": torch.ones(2, 12)})
