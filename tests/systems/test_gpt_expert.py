"""The text expert as a system: trained by the ordinary loop, resumed, and loaded without its origin."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conversations import conversations, tokens
from tiny_models import save_bert, save_gpt

from mmlib.backbones.gpt import load_tokenizer
from mmlib.data import FeatureSet, Standardised
from mmlib.systems import SYSTEMS, build, find
from mmlib.training import evaluate, fit, runs, seed_everything
from mmlib.training.jobs import train_system
from mmlib.training.processes import DrawAsOne, Share

CONFIG, _ = find("gpt")
DATA = tokens(conversations(classes=3), max_length=30)


def made(seed: int = 0, **changes) -> Standardised:
    config = CONFIG.for_dataset(DATA.subset("train"))
    config = replace(config, **({"embed_dim": 24, "layers": 1, "num_heads": 2} | changes))
    seed_everything(seed)
    return Standardised(model=build("gpt", config), widths=DATA.widths)


def batch(count: int = 5):
    return DATA.batch(range(count))


def test_vocabulary_and_classes_come_from_the_data():
    config = CONFIG.for_dataset(DATA.subset("train"))
    assert (config.entries, config.num_classes, config.weights) == (22, 3, None)
    assert "gpt" not in SYSTEMS, "experts have a registry of their own"
    model = build("gpt", config)
    assert model.network.gpt.transformer.tokens_embed.num_embeddings == 22 + 5


def test_the_paper_has_the_published_model_and_equal_losses():
    config = CONFIG.paper()
    assert config.weights == "openai-community/openai-gpt" and config.coefficients == (1, 1, 1)
    assert config.shape == (40_478, 512, 768, 12, 12)
    assert (config.epochs, config.batch_size, config.learning_rate) == (3, 32, 6.25e-5)


def test_the_published_model_has_the_published_size(shared_facts):
    facts = json.loads((shared_facts / "pretrained_features.json").read_text())["dialogue"]
    hub = facts["hub_ids"][0]
    config = CONFIG.paper()
    sizes = {"vocabulary": config.entries, "positions": config.positions, "layers": config.layers}
    sizes |= {"heads": config.num_heads, "width": config.embed_dim, "full_id": config.weights}
    assert {name: hub[name] for name in sizes} == sizes
    with torch.device("meta"):
        network = build("gpt", replace(config, weights=None)).network
    counted = {id(value): value.numel() for value in network.gpt.parameters()}
    assert sum(counted.values()) == hub["parameters_with_both_heads"] + 5 * config.embed_dim


def test_the_loss_is_the_sum_by_coefficients():
    some = batch()
    for coefficients in ((1.0, 1.0, 1.0), (0.5, 2.0, 0.0)):
        model = made(coefficients=coefficients).eval()
        output = model(**some.inputs, masks=some.masks)
        losses = model.losses(output, some)
        expected = sum(
            weight * losses[name]
            for weight, name in zip(coefficients, ("choice", "language", "emotion"), strict=True)
        )
        torch.testing.assert_close(model.loss(output, some), expected)
        (phase,) = model.phases()
        torch.testing.assert_close(phase.losses(output, some)[0], expected)
        assert len(list(phase.parameters)) == len(list(model.parameters()))


def test_tokens_reach_the_network_as_they_are():
    model, some = made().eval(), batch()
    model.learn(DATA)
    assert not [name for name, _ in model.named_buffers() if "text" in name]
    wrapped = model(**some.inputs, masks=some.masks)
    bare = model.model(**some.inputs, masks=some.masks)
    assert torch.equal(wrapped.logits, bare.logits)


def test_it_learns_to_tell_emotions_choices_and_words(tmp_path):
    model = made(dropout=0.0, embed_dim=32)
    history = fit(
        model,
        DATA.subset("train"),
        DATA.subset("valid"),
        epochs=25,
        learning_rate=1e-2,
        weight_decay=0.0,
        batch_size=16,
        progress=False,
        out=tmp_path,
    )
    first, last = history.iloc[0], history.iloc[-1]
    assert evaluate(model, DATA.subset("test"))["accuracy"] > 0.8
    assert last.loss_emotion < 0.2 * first.loss_emotion
    assert last.loss_language < 0.8 * first.loss_language
    for name in ("choice", "language", "emotion"):
        assert f"valid_loss_{name}" in history
    total = last.loss_choice + last.loss_language + last.loss_emotion
    assert last.train_loss == pytest.approx(total, rel=1e-5)


SETTINGS = {"batch_size": 7, "learning_rate": 3e-3, "progress": False, "device": "cpu"}


def test_a_resumed_training_ends_with_the_weights_of_one_that_never_stopped(tmp_path):
    from mmlib.training.trainer import Trainer

    train_set, valid_set = DATA.subset("train"), DATA.subset("valid")
    whole, stopped, again = made(), made(), made(seed=9)
    fit(whole, train_set, valid_set, epochs=3, out=tmp_path / "whole", **SETTINGS)
    real, calls = Trainer.epoch, []

    def killed(self, index, bar):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(index)
        return real(self, index, bar)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "epoch", killed)
        fit(stopped, train_set, valid_set, epochs=3, out=tmp_path / "cut", **SETTINGS)
    fit(again, train_set, valid_set, epochs=3, out=tmp_path / "cut", resume=True, **SETTINGS)
    for (name, one), two in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    states = []
    for accumulate in (1, 3):
        model = made(dropout=0.0)
        some = DATA.subset("train")
        fit(model, some, epochs=1, accumulate=accumulate, optimizer="sgd", **SETTINGS)
        states.append(model.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_balanced_classes_are_heeded():
    train_set, valid_set = DATA.subset("train"), DATA.subset("valid")
    fit(made(), train_set, valid_set, epochs=1, class_weights="balanced", **SETTINGS)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> str:
    return save_gpt(tmp_path_factory.mktemp("models") / "gpt", n_positions=90)


def read(name: str, **options) -> FeatureSet:
    return tokens(conversations(classes=3), load_tokenizer(name), **({"max_length": 90} | options))


def test_a_run_from_published_weights_needs_them_no_more_afterwards(published, tmp_path):
    shutil.copytree(published, tmp_path / "gpt")
    name = str(tmp_path / "gpt")
    data = read(name)
    recipe = {"epochs": 1, "learning_rate": 1e-8, "weight_decay": 0.0}
    model, _ = train_system(
        "gpt", data, tmp_path / "run", weights=name, recipe=recipe, progress=False, device="cpu"
    )
    config = model.model.config
    assert config.weights == name and config.shape == (37, 90, 12, 2, 3)
    from transformers import OpenAIGPTLMHeadModel

    before = OpenAIGPTLMHeadModel.from_pretrained(name).transformer.h[1].mlp.c_fc.weight
    torch.testing.assert_close(
        model.model.network.gpt.transformer.h[1].mlp.c_fc.weight, before, atol=1e-5, rtol=1e-4
    )
    shutil.rmtree(tmp_path / "gpt")
    again, about = runs.load_run(tmp_path / "run")
    assert about["config"]["weights"] == name
    for (key, one), two in zip(
        model.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), key


def test_what_does_not_fit_is_said_before_anything_is_trained(published, tmp_path):
    words = DATA.subset("train")
    with pytest.raises(ValueError, match="a tokenizer of 22 entries, but '.*' has 37; prepare it"):
        CONFIG.for_dataset(words, weights=published)
    short = save_gpt(tmp_path / "short", n_positions=20)
    with pytest.raises(ValueError, match="has [3-9][0-9] steps, but the model 20 positions"):
        CONFIG.for_dataset(read(published), weights=short)
    with pytest.raises(ValueError, match="is a bert, expected a GPT"):
        CONFIG.for_dataset(words, weights=save_bert(tmp_path / "bert"))
    with pytest.raises(ValueError, match="scale is 'huge', expected small or paper"):
        CONFIG.for_dataset(words, scale="huge")
    floats = replace(words, inputs={"text": words.inputs["text"].float()})
    with pytest.raises(ValueError, match="expected whole numbers"):
        CONFIG.for_dataset(floats)
    with pytest.raises(ValueError, match="gpt reads text, but conversations has only audio"):
        CONFIG.for_dataset(replace(words, inputs={"audio": torch.ones(len(words), 2, 3)}, masks={}))
    with pytest.raises(ValueError, match="gpt tells one class a sample"):
        numbers = torch.zeros(len(words), 2)
        CONFIG.for_dataset(replace(words, labels=numbers, class_names=None))
    with pytest.raises(ValueError, match="gpt reads text, but audio came"):
        made()(audio=torch.ones(2, 3, 4))
    with pytest.raises(ValueError, match="expected three numbers from 0 on"):
        replace(CONFIG.small(), coefficients=(1.0, 1.0, -1.0))
    with pytest.raises(ValueError, match="embed_dim=64 cannot be split over num_heads=5"):
        replace(CONFIG.small(), num_heads=5)
    with pytest.raises(ValueError, match="over num_heads=0; expected .*1, 2, 4, 8"):
        replace(CONFIG.small(), num_heads=0)


def test_a_run_refuses_rows_of_another_tokenizer(published, tmp_path):
    model = made().eval()
    with pytest.raises(ValueError, match="text is of another vocabulary"):
        evaluate(model, read(published).subset("test"))


def test_processes_draw_the_noise_of_one():
    model, whole = made(dropout=0.3).train(), batch(7)
    torch.manual_seed(5)
    expected = model(**whole.inputs, masks=whole.masks)
    parts = []
    for start, stop in ((0, 4), (4, 7)):
        some = DATA.batch(range(start, stop))
        torch.manual_seed(5)
        with DrawAsOne(Share(np.arange(start, stop), start, 7, (4, 3))):
            parts.append(model(**some.inputs, masks=some.masks))
    for name in ("logits", "choice", "states"):
        together = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(together, getattr(expected, name))
