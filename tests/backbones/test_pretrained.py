"""Published encoders: the same numbers as transformers gives, whatever stands beside in the batch."""

import inspect
import shutil
import sys

import pytest
import torch
from tiny_models import FRAME, save_bert, save_clip, save_wav2vec

from mmlib.backbones.pretrained import (
    CHINESE,
    ENGLISH,
    AudioEncoder,
    PretrainedError,
    TextEncoder,
    VisionEncoder,
    language_model,
)
from mmlib.data.extras import NotInstalled

TEXTS = ["good day", "a", "bad days 好 a good day"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folders of one tiny model of each kind."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "bert": save_bert(folder / "bert"),
        "layer": save_wav2vec(folder / "layer", norm="layer"),
        "group": save_wav2vec(folder / "group", norm="group"),
        "clip": save_clip(folder / "clip"),
        "whole clip": save_clip(folder / "whole", whole=True),
    }


def waves(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [3 + torch.randn(length, generator=generator) for length in lengths]


def stacks(*shapes: tuple[int, int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator)
        for frames, height, width in shapes
    ]


ITEMS = {
    "bert": (TextEncoder, TEXTS),
    "layer": (AudioEncoder, waves(700, 90, 411)),
    "group": (AudioEncoder, waves(700, 90, 411)),
    "clip": (VisionEncoder, stacks((3, 40, 50), (1, 32, 32), (5, 64, 37))),
    "whole clip": (VisionEncoder, stacks((3, 40, 50), (2, 32, 32))),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_a_batch_of_many_equals_one_by_one(saved, kind, device):
    make, items = ITEMS[kind]
    encoder = make(saved[kind], device=device)
    features, mask = encoder.encode(items)
    assert features.device.type == mask.device.type == device.type
    assert features.dtype == torch.float32 and mask.dtype == torch.bool
    for row, item in enumerate(items):
        alone = encoder.encode([item])
        steps = alone.features.shape[1]
        assert bool(alone.mask.all())
        torch.testing.assert_close(features[row, :steps], alone.features[0])
        assert mask[row].tolist() == [True] * steps + [False] * (features.shape[1] - steps)
        assert not bool(features[row, steps:].any())


@pytest.mark.parametrize("kind", ["bert", "layer", "group", "clip"])
def test_features_can_be_trained_on(saved, kind):
    make, items = ITEMS[kind]
    features = make(saved[kind]).encode(items).features
    probe = torch.nn.Linear(features.shape[-1], 3)
    probe(features).sum().backward()
    assert probe.weight.grad is not None and not features.requires_grad


def test_texts_give_the_last_hidden_state_of_each_token(saved):
    from transformers import BertModel

    features, mask = TextEncoder(saved["bert"]).encode(TEXTS)
    numbers = [[2, 6, 8, 3], [2, 5, 3], [2, 7, 8, 9, 10, 5, 6, 8, 3]]  # of tiny_models.WORDS
    assert mask.sum(1).tolist() == [4, 3, 9] and features.shape == (3, 9, 24)
    model = BertModel.from_pretrained(saved["bert"]).eval()
    for row, tokens in enumerate(numbers):
        expected = model(torch.tensor([tokens])).last_hidden_state[0]
        torch.testing.assert_close(features[row, : len(tokens)], expected)


def test_a_long_text_is_cut_before_its_closing_token(saved):
    encoder = TextEncoder(saved["bert"], steps=5)
    prepared = encoder.prepare(TEXTS[2])
    assert prepared.values.tolist() == [2, 7, 8, 9, 3] and prepared.steps == 9
    assert encoder.encode(TEXTS).features.shape[1] == 5
    everything = TextEncoder(saved["bert"], steps=None).prepare("a " * 100)
    assert len(everything.values) == 40 and everything.steps == 102  # 40 positions


def test_the_share_of_unknown_tokens_is_told(saved):
    encoder = TextEncoder(saved["bert"])
    assert encoder.unknown(["good day"]) == 0
    assert encoder.unknown(["guten tag", "a"]) == 2 / 7


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_sound_gives_the_features_before_the_transformer(saved, norm):
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    model = Wav2Vec2Model.from_pretrained(saved[norm]).eval()
    normalise = Wav2Vec2FeatureExtractor.from_pretrained(saved[norm])
    encoder = AudioEncoder(saved[norm])
    sounds = waves(700, 90, 411)
    features, mask = encoder.encode(sounds)
    assert mask.sum(1).tolist() == [encoder.num_steps(len(sound)) for sound in sounds]
    for row, sound in enumerate(sounds):
        made = normalise(sound.numpy(), sampling_rate=16_000, return_tensors="pt")
        expected = model(made["input_values"]).extract_features[0].detach()
        torch.testing.assert_close(features[row, : len(expected)], expected)
        assert len(expected) == int(mask[row].sum())


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_a_long_sound_is_cut_without_changing_what_stays(saved, norm):
    sounds = waves(700, 90, 2003)
    everything = AudioEncoder(saved[norm], steps=None)
    cut = AudioEncoder(saved[norm], steps=11)
    whole, short = everything.encode(sounds), cut.encode(sounds)
    assert short.features.shape == (3, 11, 7)
    torch.testing.assert_close(short.features, whole.features[:, :11])
    assert cut.prepare(sounds[2]).steps == everything.num_steps(2003) > 11


def test_a_group_norm_sees_the_whole_clip_so_its_clips_are_never_padded(saved):
    from transformers import Wav2Vec2Model

    short = torch.nn.functional.pad(waves(90)[0], (0, 610))[None]
    for norm, changes in (("layer", False), ("group", True)):
        model = Wav2Vec2Model.from_pretrained(saved[norm]).eval()
        padded = model(short).extract_features[0, :3]
        alone = model(short[:, :90]).extract_features[0, :3]
        assert torch.allclose(padded, alone, atol=1e-5) != changes


def test_steps_and_samples_of_the_published_front_end():
    encoder = object.__new__(AudioEncoder)
    encoder._kernels, encoder._strides = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
    assert encoder.num_steps(16_000) == 49
    assert encoder.num_steps(399) == 0 and encoder.num_steps(0) == 0
    assert encoder.num_samples(128) == 41_040 and encoder.num_samples(1) == 400
    assert encoder.num_steps(41_040) == 128 and encoder.num_steps(41_039) == 127


@pytest.mark.parametrize("kind", ["clip", "whole clip"])
def test_frames_give_the_embeddings_of_clip(saved, kind):
    from transformers import CLIPModel, CLIPVisionModelWithProjection

    (frames,) = stacks((3, FRAME, FRAME))
    # At the model's own size nothing is resized: what is left of the preparation is arithmetic.
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    pixels = (frames / 255 - mean) / std
    if kind == "clip":
        model = CLIPVisionModelWithProjection.from_pretrained(saved[kind]).eval()
        expected = model(pixel_values=pixels).image_embeds
    else:
        given = (
            CLIPModel.from_pretrained(saved[kind]).eval().get_image_features(pixel_values=pixels)
        )
        expected = getattr(given, "pooler_output", given)  # a tensor in version 4
    features = VisionEncoder(saved[kind]).encode([frames]).features
    torch.testing.assert_close(features[0], expected, atol=1e-5, rtol=1e-5)
    assert abs(float(features[0].norm(dim=1).mean()) - 1) > 0.01  # not of unit length


def test_a_frame_is_cropped_in_its_middle(saved):
    encoder = VisionEncoder(saved["clip"])
    (middle,) = stacks((2, FRAME, FRAME))
    wide = torch.zeros(2, 3, FRAME, FRAME + 20, dtype=torch.uint8)
    wide[..., 10:-10] = middle
    torch.testing.assert_close(encoder.encode([wide]).features, encoder.encode([middle]).features)


@pytest.mark.parametrize(
    ("kind", "item", "says"),
    [
        ("bert", "  ", "the text is empty"),
        ("layer", torch.zeros(29), "at least 30 samples at 16000 Hz"),
        ("layer", torch.zeros(2, 700), r"shape \(2, 700\), expected \(samples,\)"),
        ("clip", torch.zeros(2, 3, 32, 32), "float32 of shape .2, 3, 32, 32., expected uint8"),
        ("clip", torch.zeros(0, 3, 32, 32, dtype=torch.uint8), "expected uint8 of"),
    ],
)
def test_what_cannot_be_encoded_is_said(saved, kind, item, says):
    make, items = ITEMS[kind]
    with pytest.raises(PretrainedError, match=says):
        make(saved[kind]).encode([items[0], item])


def test_an_empty_batch_and_impossible_settings_are_refused(saved):
    with pytest.raises(PretrainedError, match="no items"):
        TextEncoder(saved["bert"]).encode([])
    with pytest.raises(PretrainedError, match="steps is 2, expected 3"):
        TextEncoder(saved["bert"], steps=2)
    with pytest.raises(PretrainedError, match="steps is 0"):
        AudioEncoder(saved["layer"], steps=0)


def test_half_precision_weights_are_used_in_full_precision(saved, tmp_path):
    encoder = TextEncoder(save_bert(tmp_path / "half", half=True))
    features = encoder.encode(TEXTS).features
    assert features.dtype == torch.float32
    torch.testing.assert_close(
        features, TextEncoder(saved["bert"]).encode(TEXTS).features, atol=0.02, rtol=0.02
    )


def test_names_of_older_weight_files_are_understood(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(saved["bert"], tmp_path / "old")
    file = tmp_path / "old" / "model.safetensors"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {}
    for name, value in load_file(file).items():
        for new, former in old.items():
            name = name.replace(new, former)
        weights[name] = value
    assert any("gamma" in name for name in weights)
    save_file(weights, file, metadata={"format": "pt"})
    old_features = TextEncoder(str(tmp_path / "old")).encode(TEXTS).features
    torch.testing.assert_close(old_features, TextEncoder(saved["bert"]).encode(TEXTS).features)


def test_the_identity_tells_weights_words_and_settings_apart(saved, tmp_path):
    base = TextEncoder(saved["bert"])
    used = base.encode(TEXTS)
    assert TextEncoder(saved["bert"]).identity == base.identity and used.mask.any()
    others = {
        TextEncoder(saved["bert"], steps=7).identity,
        TextEncoder(save_bert(tmp_path / "seed", seed=1)).identity,
        TextEncoder(save_bert(tmp_path / "words", words=tuple(reversed_words()))).identity,
        AudioEncoder(saved["layer"]).identity,
        AudioEncoder(saved["layer"], steps=7).identity,
        AudioEncoder(save_wav2vec(tmp_path / "sound", seed=1)).identity,
        VisionEncoder(saved["clip"]).identity,
        VisionEncoder(save_clip(tmp_path / "image", seed=1)).identity,
    }
    assert len(others | {base.identity}) == 9


def reversed_words():
    from tiny_models import WORDS

    return [*WORDS[:5], *reversed(WORDS[5:])]


def test_loading_prints_nothing_and_leaves_the_settings(saved, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity()
    for kind, (make, _) in ITEMS.items():
        make(saved[kind])
    spoken = capfd.readouterr()
    assert spoken.out + spoken.err == ""
    assert logging.get_verbosity() == before and logging.is_progress_bar_enabled()


@pytest.mark.parametrize(
    ("make", "name"),
    [(TextEncoder, CHINESE), (AudioEncoder, None), (VisionEncoder, "somebody/no-such-model")],
)
def test_a_hub_that_gives_no_answer_is_one_sentence(make, name):
    with pytest.raises(
        PretrainedError, match="cannot be fetched from the Hugging Face hub"
    ) as told:
        make() if name is None else make(name)
    assert "\n" not in str(told.value) and "give a saved model's folder" in str(told.value)


def test_a_folder_without_the_model_is_said(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(PretrainedError, match="empty holds no wav2vec 2.0 model"):
        AudioEncoder(str(tmp_path / "empty"))
    for name in (str(tmp_path / "not there"), "./not/there", f"{saved['bert']}/config.json"):
        with pytest.raises(PretrainedError, match="is not a folder, expected one with a text"):
            TextEncoder(name)


@pytest.mark.parametrize(
    ("make", "kind"), [(AudioEncoder, "clip"), (VisionEncoder, "bert"), (TextEncoder, "layer")]
)
def test_a_model_of_another_kind_is_refused(saved, make, kind):
    with pytest.raises(PretrainedError, match="of the weights are not in it|holds no tokenizer"):
        make(saved[kind])


def test_a_model_with_a_tokenizer_that_is_no_text_encoder_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved["whole clip"], tmp_path / "mixed")
    for file in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(f"{saved['bert']}/{file}", folder)
    with pytest.raises(PretrainedError, match="mixed' is a CLIPModel, expected BERT"):
        TextEncoder(str(folder))


def test_a_model_without_all_of_its_weights_is_refused_not_filled_with_random_ones(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(saved["layer"], tmp_path / "part")
    file = tmp_path / "part" / "model.safetensors"
    weights = load_file(file)
    del weights["feature_projection.layer_norm.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(
        PretrainedError, match="1 of the weights are not in it, such as feature_pro"
    ):
        AudioEncoder(str(tmp_path / "part"))


@pytest.mark.parametrize("make", [TextEncoder, AudioEncoder, VisionEncoder])
def test_without_the_package_one_sentence_names_the_extra(saved, make, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        NotInstalled, match=r"'transformers'; install it with the extra 'pretrained'"
    ):
        make(saved["bert"])


def test_the_defaults_are_published_models_at_the_papers_lengths():
    def default(make, name):
        return inspect.signature(make.__init__).parameters[name].default

    assert default(TextEncoder, "name") == "google-bert/bert-base-chinese"
    assert default(AudioEncoder, "name") == "facebook/wav2vec2-large-xlsr-53"
    assert default(VisionEncoder, "name") == "openai/clip-vit-base-patch32"
    assert (default(TextEncoder, "steps"), default(AudioEncoder, "steps")) == (36, 128)


def test_the_language_model_follows_the_script():
    assert language_model(["今天很好", "OK"]) == CHINESE
    assert language_model(["a good day", "好"]) == ENGLISH
    assert language_model([]) == ENGLISH
