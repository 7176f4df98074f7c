"""GPT with three heads: the numbers of transformers' own model, whatever stands beside in the batch."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from conversations import conversations, tokens
from safetensors.torch import load_file
from tiny_models import save_bert, save_gpt

from mmlib.backbones.gpt import (
    DialogueError,
    EmotionGPT,
    GPTShape,
    PretrainedError,
    encode_dialogues,
    load_tokenizer,
    published_shape,
)
from mmlib.data import Batch
from mmlib.layers import last_real

TALKS = conversations((5, 2, 2), seed=3)
DATA = tokens(TALKS)
ROWS = [4, 0, 7]
CLASSES = 5


def tiny(seed: int = 0) -> EmotionGPT:
    torch.manual_seed(seed)
    shape = GPTShape(entries=22, positions=64, embed_dim=12, layers=2, num_heads=3)
    model = EmotionGPT(shape=shape, num_classes=CLASSES)
    for weight in (p for p in model.parameters() if p.ndim > 1):
        torch.nn.init.normal_(weight, std=0.3)  # so that everything matters
    return model.eval()


def batch(rows=ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    some = DATA.batch(rows)
    return some.inputs["text"], some.masks["text"]


def labelled(text: torch.Tensor, mask: torch.Tensor) -> Batch:
    return Batch({"text": text}, {"text": mask}, torch.arange(len(text)) % CLASSES)


def own(text: torch.Tensor, candidate: int) -> torch.Tensor:
    """Read one candidate's row without padding, (T, 2)."""
    row = text[:, 2 * candidate : 2 * candidate + 2]
    return row[(row[:, 0] < 26) & (row[:, 1] > 0)]


@torch.no_grad()
def test_all_three_heads_say_what_the_double_heads_model_says():
    model, (text, mask) = tiny(), batch()
    output = model(text, mask)
    surprise = model._language(output.states, text, mask)
    for index in range(len(text)):
        for candidate in (0, 1):
            row = own(text[index], candidate)  # alone, unpadded, and at its own length
            labels = row[:, 0].clone()
            last = int(((labels == 24) | (labels == 25)).nonzero()[-1])
            labels[: last + 1] = -100
            said = model.gpt(
                row[None, None, :, 0],
                token_type_ids=row[None, None, :, 1],
                labels=labels[None, None],
                output_hidden_states=True,
            )
            torch.testing.assert_close(output.choice[index, candidate], said.mc_logits[0, 0])
            if candidate == 0:
                torch.testing.assert_close(surprise[index], said.loss)
                states = said.hidden_states[-1][0, 0]
                torch.testing.assert_close(output.states[index, : len(row)], states)
                logits = model.emotion_head(states[-1])
                torch.testing.assert_close(output.logits[index], logits)


@torch.no_grad()
def test_the_losses_are_means_over_samples_of_choice_words_and_emotion():
    model, (text, mask) = tiny(), batch()
    together = labelled(text, mask)
    losses = model.losses(model(text, mask), together)
    apart = []
    for index in range(len(text)):
        one = labelled(text[index : index + 1], mask[index : index + 1])
        one = one._replace(labels=together.labels[index : index + 1])
        apart.append(model.losses(model(*batch([ROWS[index]])), one))
    assert list(losses) == ["choice", "language", "emotion"]
    for name, value in losses.items():
        torch.testing.assert_close(value, torch.stack([one[name] for one in apart]).mean())
    output = model(text, mask)
    true = F.log_softmax(output.choice, 1)[:, 0]
    torch.testing.assert_close(losses["choice"], -true.mean())
    torch.testing.assert_close(losses["emotion"], F.cross_entropy(output.logits, together.labels))


def test_only_the_emotion_heeds_the_weights_of_classes():
    model, (text, mask) = tiny(), batch()
    some = labelled(text, mask)
    weights = torch.tensor([2.0, 0.0, 0.5])
    plain, weighed = (
        model.losses(model(text, mask), one) for one in (some, some._replace(weights=weights))
    )
    assert weighed["choice"] == plain["choice"] and weighed["language"] == plain["language"]
    each = F.cross_entropy(model(text, mask).logits, some.labels, reduction="none")
    torch.testing.assert_close(weighed["emotion"], (each * weights).mean())


@torch.no_grad()
def test_padding_changes_nothing(device):
    model, (text, mask) = tiny().to(device), (part.to(device) for part in batch())
    longer = F.pad(text, (0, 0, 0, 9), value=26)
    there = F.pad(mask, (0, 9))
    wild = longer.masked_fill(~there[..., None], 3)  # what stands there does not matter
    plain = model(text, mask)
    for padded in (longer, wild):
        output = model(padded, there)
        torch.testing.assert_close(output.logits, plain.logits)
        torch.testing.assert_close(output.choice, plain.choice)
        losses = [
            model.losses(one, labelled(*given)._replace(labels=torch.arange(3, device=device)))
            for one, given in ((plain, (text, mask)), (output, (padded, there)))
        ]
        torch.testing.assert_close(losses[0], losses[1])


@torch.no_grad()
def test_positions_count_real_steps():
    model, (text, mask) = tiny(), batch([4])
    row = torch.cat([text[:, :0], F.pad(text, (0, 0, 5, 0), value=7)], 1)
    shifted = model(row, F.pad(mask, (5, 0)))
    plain = model(text, mask)
    torch.testing.assert_close(shifted.logits, plain.logits)
    torch.testing.assert_close(shifted.choice, plain.choice)


@torch.no_grad()
def test_the_distractor_bears_on_its_own_score_only():
    model, (text, mask) = tiny(), batch()
    other = text.clone()
    inside = (text[..., 2] < 22) & mask
    other[..., 2] = torch.where(inside, (text[..., 2] + 1) % 22, text[..., 2])
    before, after = model(text, mask), model(other, mask)
    assert torch.equal(before.logits, after.logits) and torch.equal(before.states, after.states)
    assert torch.equal(before.choice[:, 0], after.choice[:, 0])
    assert not torch.isclose(before.choice[:, 1], after.choice[:, 1]).any()


@torch.no_grad()
@pytest.mark.parametrize("part", [0, 1])
def test_tokens_segments_and_their_order_all_count(part):
    model, (text, mask) = tiny(), batch([4])
    before = model(text, mask).logits
    other = text.clone()
    if part == 0:
        other[0, 2, 0] = (text[0, 2, 0] + 1) % 22
    else:
        other[0, 2, 1] = 49 - text[0, 2, 1]  # the other speaker of 24 and 25
    assert not torch.allclose(model(other, mask).logits, before, atol=1e-4)
    swapped = text.clone()
    swapped[0, [1, 2]] = text[0, [2, 1]]
    assert not torch.allclose(model(swapped, mask).logits, before, atol=1e-4)


@torch.no_grad()
def test_features_are_the_states_before_the_emotion_head_and_zero_behind_the_end():
    model, (text, mask) = tiny(), batch()
    features, real = model.features(text, mask)
    lengths = [len(own(row, 0)) for row in text]
    assert real.sum(1).tolist() == lengths and features.shape == (3, text.shape[1], 12)
    assert not bool(features[~real].any()) and real[:, 0].all()
    output = model(text, mask)
    assert torch.equal(features[real], output.states[real])
    torch.testing.assert_close(model.emotion_head(last_real(features, real)), output.logits)


def test_every_parameter_gets_a_gradient():
    model, (text, mask) = tiny().train(), batch()
    losses = model.losses(model(text, mask), labelled(text, mask))
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.abs().sum() > 0), name


def test_each_loss_trains_its_own_head():
    heads = {
        "choice": "gpt.multiple_choice_head.summary.weight",
        "emotion": "emotion_head.0.weight",
    }
    for name in ("choice", "language", "emotion"):
        model, (text, mask) = tiny(), batch()
        model.losses(model(text, mask), labelled(text, mask))[name].backward()
        found = {key for key, value in model.named_parameters() if value.grad is not None}
        assert {head for head in heads.values() if head in found} == {heads.get(name)} - {None}
        assert "gpt.transformer.positions_embed.weight" in found


@torch.no_grad()
def test_an_absent_text_is_finite_and_has_no_features():
    model, (text, mask) = tiny(), batch()
    mask = mask.clone()
    mask[1] = False
    output = model(text.masked_fill(~mask[..., None], 0), mask)
    assert bool(torch.isfinite(output.logits).all()) and bool(torch.isfinite(output.choice).all())
    others = [0, 2]
    torch.testing.assert_close(output.logits[others], model(*batch()).logits[others])
    features, real = model.features(text, mask)
    assert not bool(real[1].any()) and not bool(features[1].any())
    losses = model.losses(output, labelled(text, mask))
    assert all(bool(torch.isfinite(value)) for value in losses.values())


@torch.no_grad()
def test_many_rows_go_through_in_parts_where_no_gradient_is_needed(monkeypatch):
    from mmlib.backbones import gpt

    model, (text, mask) = tiny(), batch(list(range(11)))
    whole = model(text, mask)
    language = model._language(whole.states, text, mask)
    monkeypatch.setattr(gpt, "_ROWS", 3)
    monkeypatch.setattr(gpt, "_AT_ONCE", 4 * text.shape[1] * 27)
    parts = model(text, mask)
    torch.testing.assert_close(parts.choice, whole.choice)
    torch.testing.assert_close(model._language(parts.states, text, mask), language)


def test_it_runs_under_autocast(device):
    model, (text, mask) = tiny().to(device).train(), (part.to(device) for part in batch())
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = model(text, mask)
        one = labelled(text, mask)._replace(labels=torch.arange(3, device=device))
        losses = model.losses(output, one)
    assert all(value.dtype == torch.float32 for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()


def test_another_vocabulary_is_refused():
    model, (text, mask) = tiny(), batch()
    with pytest.raises(DialogueError, match=r"knows 22 entries and .* must be 22, but there is 30"):
        model(text.where(text != 22, 30), mask)
    above = text.clone()
    above[1, 1, 2] = 27
    with pytest.raises(DialogueError, match="must be 22, but there is 27"):
        model(above, mask)
    with pytest.raises(DialogueError, match="expected whole numbers"):
        model(text.float(), mask)
    long = text.repeat(1, 5, 1)
    with pytest.raises(DialogueError, match=f"{long.shape[1]} steps, but the model 64 positions"):
        model(long, mask.repeat(1, 5))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "gpt": save_gpt(folder / "gpt"),
        "other": save_gpt(folder / "other", entries=41),
        "relu": save_gpt(folder / "relu", afn="relu"),
        "bert": save_bert(folder / "bert"),
    }


def test_published_weights_are_taken_and_five_tokens_added(saved):
    from transformers import OpenAIGPTLMHeadModel

    published = OpenAIGPTLMHeadModel.from_pretrained(saved["gpt"])
    torch.manual_seed(1)
    model = EmotionGPT(shape=published_shape(saved["gpt"]), num_classes=CLASSES)
    start = model.emotion_head[0].weight.clone()
    model.load(saved["gpt"])
    table = model.gpt.transformer.tokens_embed.weight
    assert table.shape == (37 + 5, 12) and model.gpt.lm_head.weight is table, "still one table"
    assert torch.equal(table[:37], published.transformer.tokens_embed.weight)
    assert table[37:].std() > 0 and torch.equal(model.emotion_head[0].weight, start)
    theirs = published.state_dict()
    for name, value in model.gpt.state_dict().items():
        if name in theirs and "embed" not in name and "lm_head" not in name:
            assert torch.equal(value, theirs[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_published_tokenizer_encodes_dialogues_for_its_model(saved):
    tokenizer = load_tokenizer(saved["gpt"])
    made = encode_dialogues(TALKS, tokenizer)
    assert made.special.bos == len(tokenizer) == 37
    words = tokenizer.encode(TALKS[0].sentence, add_special_tokens=False)
    assert made.tokens[0, 2 : 2 + len(words), 0].tolist() == words
    model = EmotionGPT(shape=published_shape(saved["gpt"])._replace(positions=128), num_classes=3)
    output = model(torch.from_numpy(made.tokens).long(), torch.from_numpy(made.mask))
    assert output.logits.shape == (len(TALKS), 3)


def test_what_cannot_be_loaded_is_one_sentence(saved, tmp_path):
    shape = published_shape(saved["gpt"])
    model = EmotionGPT(shape=shape, num_classes=CLASSES)
    with pytest.raises(PretrainedError, match="is GPTShape.entries=41.*but the model here is"):
        model.load(saved["other"])
    with pytest.raises(PretrainedError, match="is a bert, expected a GPT"):
        published_shape(saved["bert"])
    with pytest.raises(PretrainedError, match="has the activation relu"):
        published_shape(saved["relu"])
    with pytest.raises(PretrainedError, match="cannot be fetched from the Hugging Face hub"):
        published_shape("nobody/nothing")
    with pytest.raises(PretrainedError, match="is not a folder, expected one with a tokenizer"):
        load_tokenizer("./nothing")


def test_weights_in_a_pickle_are_not_opened(saved, tmp_path):
    model = EmotionGPT(shape=published_shape(saved["gpt"]), num_classes=CLASSES)
    shutil.copytree(saved["gpt"], tmp_path / "gpt")
    model.load(str(tmp_path / "gpt"))
    weights = tmp_path / "gpt" / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "gpt" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(PretrainedError, match="holds no GPT .*safetensors"):
        model.load(str(tmp_path / "gpt"))
