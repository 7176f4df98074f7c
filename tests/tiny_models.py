"""Tiny models with random weights, saved as published ones are, and loaded by the same path."""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test looks for a network

import torch

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "day", "##s", "好")
FRAME = 32  # pixels that the tiny CLIP looks at, each way


def save_bert(folder: Path, *, seed: int = 0, half: bool = False, words=WORDS) -> str:
    """A BERT of width 24 with its pre-training heads, as the published one comes."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=40,
    )
    model = BertForPreTraining(config)
    (model.half() if half else model).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return str(folder)


def save_wav2vec(folder: Path, *, norm: str = "layer", seed: int = 0) -> str:
    """A wav2vec 2.0 whose front end has 7 channels and a step each 20 samples."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        conv_dim=(7, 7, 7),
        conv_kernel=(10, 3, 2),
        conv_stride=(5, 2, 2),
        conv_bias=norm == "layer",
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return str(folder)


def save_clip(folder: Path, *, seed: int = 0, whole: bool = False) -> str:
    """A CLIP with embeddings of 11 numbers: its vision part, or with its text part."""
    import transformers

    torch.manual_seed(seed)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "projection_dim": 11,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": FRAME,
        "patch_size": 8,
    }
    if whole:
        text = {
            "hidden_size": 16,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 20,
            "max_position_embeddings": 9,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=11)
        transformers.CLIPModel(config).save_pretrained(folder)
    else:
        config = transformers.CLIPVisionConfig(**vision)
        transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    size = {"shortest_edge": FRAME}, {"height": FRAME, "width": FRAME}
    transformers.CLIPImageProcessor(size=size[0], crop_size=size[1]).save_pretrained(folder)
    return str(folder)


def save_gpt(folder: Path, *, seed: int = 0, entries: int = 37, **sizes) -> str:
    """A GPT of width 12 as a language model, as the published one comes: no head for a choice.

    Its tokenizer knows the letters, "no" in one piece, and little else.
    """
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    torch.manual_seed(seed)
    shape = {"n_positions": 40, "n_embd": 12, "n_layer": 2, "n_head": 3} | sizes
    OpenAIGPTLMHeadModel(OpenAIGPTConfig(vocab_size=entries, **shape)).save_pretrained(folder)
    words = ["<unk>", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz"), "n", "no</w>"]
    words += [f"<spare {number}>" for number in range(entries - len(words))]
    numbers = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("#version: 0.2\nn o</w>\n")
    about = {"tokenizer_class": "OpenAIGPTTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return str(folder)
