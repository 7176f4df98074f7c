"""What is particular to JMT: its sizes, its parts, its options, its loss."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from mmlib.layers import MultiHeadAttention
from mmlib.systems import JMT, JMTConfig, build
from mmlib.systems.jmt import Heads, PairwiseAttention, crossing

TINY = JMTConfig(
    widths=(5, 3), embed_dim=8, ffn_dim=13, fusion_dim=11, head_dim=6, dropout=0.0, patience=None,
)  # fmt: skip
SOURCES = ("audio", "vision", "joint")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def tiny(seed: int = 0, **changes) -> JMT:
    torch.manual_seed(seed)
    return JMT(config=replace(TINY, **changes)).eval()


def streams(batch: int = 3, steps: int = 7, **widths: int) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    widths = widths or {"audio": 5, "vision": 3}
    return {n: torch.randn(batch, steps, width, generator=draw) for n, width in widths.items()}


def holes(batch: int = 3, steps: int = 7) -> dict[str, torch.Tensor]:
    step = torch.arange(steps)
    return {
        "audio": (step < torch.tensor([[steps], [4], [5]])[:batch]),
        "vision": (step > 0) & (step < torch.tensor([[steps], [6], [3]])[:batch]),
    }


# Sizes


def test_the_papers_shapes_go_in_and_come_out(device):
    model = build("jmt", JMTConfig.paper()).to(device).eval()
    for steps in (8, 3):  # the number of clips is free
        output = model(
            audio=torch.randn(2, steps, 512, device=device),
            vision=torch.randn(2, steps, 512, device=device),
        )
        assert output._fields == ("prediction",) and output.prediction.shape == (2, steps, 2)
        assert output.prediction.device.type == device.type


@pytest.mark.parametrize(
    ("share", "attentions", "total"), [("none", 6, 14_971_906), ("query", 3, 11_820_034)]
)
def test_reference_parameter_counts_come_out_exactly(share, attentions, total):
    model = build("jmt", replace(JMTConfig.paper(), share=share))
    parts = {name: count(part) for name, part in model.named_children()}
    assert parts == {
        "project": 0,
        "to_joint": 524_800,
        "encoders": 3 * 1_577_984,
        "cross_attention": attentions * 1_050_624,
        "fuse": 3_146_752,
        "heads": 262_658,
    }
    assert count(model) == total
    assert model.fuse.in_features == 3072 == 6 * 512  # the paper prints 3074


def test_paper_settings_are_those_of_the_paper():
    config = JMTConfig.paper()
    assert (config.optimizer, config.learning_rate, config.batch_size) == ("sgd", 5e-4, 2)
    assert config.epochs == 5 and config.patience is not None
    assert config.pairs == (
        ("audio", "vision"), ("audio", "joint"), ("vision", "audio"),
        ("vision", "joint"), ("joint", "audio"), ("joint", "vision"),
    )  # fmt: skip


def test_without_a_joint_representation_two_attentions_are_left():
    model = build("jmt", replace(JMTConfig.paper(), joint=False))
    assert model.config.pairs == (("audio", "vision"), ("vision", "audio"))
    assert count(model.cross_attention) == 2 * 1_050_624 and len(model.encoders) == 2
    assert model.fuse.in_features == 1024


# Six attentions at once


def pairwise(share: str = "none", score: str = "softmax", heads: int = 2, **options):
    torch.manual_seed(3)
    module = PairwiseAttention(
        sources=SOURCES, embed_dim=8, num_heads=heads, share=share, score=score, **options
    )
    for parameter in module.parameters():  # offsets too
        nn.init.normal_(parameter, std=0.4)
    return module


def one_of(module: PairwiseAttention, number: int) -> MultiHeadAttention:
    """The same attention of one pair as a layer of its own."""
    own = MultiHeadAttention(query_dim=8, num_heads=module.num_heads, score=module.score)
    place = number // 2 if module.share == "query" else number
    key, value = module.to_key_value.weight[place].chunk(2, dim=-1)
    key_bias, value_bias = module.to_key_value.bias[place, 0].chunk(2)
    wanted = {
        "to_query": (module.to_query.weight[place], module.to_query.bias[place, 0]),
        "to_key": (key, key_bias),
        "to_value": (value, value_bias),
        "to_output": (module.to_output.weight[place], module.to_output.bias[place, 0]),
    }
    with torch.no_grad():
        for name, (weight, bias) in wanted.items():
            own.get_submodule(name).weight.copy_(weight.mT)
            own.get_submodule(name).bias.copy_(bias)
    return own


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("share", "score", "heads"),
    list(product(("none", "query"), ("softmax", "sigmoid"), (1, 2))),
)
def test_all_pairs_at_once_are_what_each_would_be_alone(share, score, heads, masked):
    module = pairwise(share, score, heads)
    states = streams(audio=8, vision=8, joint=8)
    real = None
    if masked:
        real = holes()
        real["joint"] = real["audio"] | real["vision"]
    out, weights = module(states, real, return_weights=True)
    assert out.shape == (6, 3, 7, 8) and weights.shape == (6, 3, heads, 7, 7)
    assert torch.allclose(out, module(states, real), atol=1e-5)  # the fused path
    for number, (query, context) in enumerate(module.pairs):
        alone, alone_weights = one_of(module, number)(
            states[query],
            states[context],
            padding_mask=None if real is None else real[context],
            return_weights=True,
        )
        assert torch.allclose(out[number], alone, atol=1e-5), (query, context)
        assert torch.allclose(weights[number], alone_weights, atol=1e-5)


def test_a_pair_equals_torchs_own_attention():
    module = pairwise(heads=1)
    states = streams(audio=8, vision=8, joint=8)
    out = module(states)
    for number, (query, context) in enumerate(module.pairs):
        own, peer = one_of(module, number), nn.MultiheadAttention(8, 1, batch_first=True)
        with torch.no_grad():
            peer.in_proj_weight.copy_(
                torch.cat([own.to_query.weight, own.to_key.weight, own.to_value.weight])
            )
            peer.in_proj_bias.copy_(
                torch.cat([own.to_query.bias, own.to_key.bias, own.to_value.bias])
            )
            peer.out_proj.load_state_dict(own.to_output.state_dict())
        expected = peer(states[query], states[context], states[context])[0]
        assert torch.allclose(out[number], expected, atol=1e-5), (query, context)


def test_all_pairs_go_through_one_call_of_the_kernel(monkeypatch):
    calls = []
    honest = crossing.scaled_dot_product_attention

    def counted(query, key, value, **options):
        calls.append(query.shape)
        return honest(query, key, value, **options)

    monkeypatch.setattr(crossing, "scaled_dot_product_attention", counted)
    pairwise(heads=1)(streams(audio=8, vision=8, joint=8))
    assert calls == [(6 * 3, 1, 7, 8)]


def test_initial_weights_are_spread_as_those_of_single_attentions():
    torch.manual_seed(0)
    module = PairwiseAttention(sources=SOURCES, embed_dim=64)
    bound = (6 / (64 + 64)) ** 0.5  # Xavier's, of each (64, 64) matrix, also in the stacked pair
    for part in (module.to_query, module.to_key_value, module.to_output):
        assert part.weight.abs().max() <= bound and part.weight.abs().max() > 0.95 * bound
        assert not part.bias.any()
    assert not torch.equal(module.to_query.weight[0], module.to_query.weight[1])


def test_heads_are_small_networks_side_by_side():
    torch.manual_seed(0)
    heads = Heads(in_dim=7, hidden_dim=5, num_outputs=3, shared=False, dropout=0.0)
    x = torch.randn(2, 4, 7)
    for target in range(3):
        rows = slice(5 * target, 5 * target + 5)
        hidden = torch.relu(x @ heads.hidden.weight[rows].mT + heads.hidden.bias[rows])
        expected = hidden @ heads.answer.weight[target] + heads.answer.bias[target]
        assert torch.allclose(heads(x)[..., target], expected[..., 0], atol=1e-6)
    shared = Heads(in_dim=7, hidden_dim=5, num_outputs=3, shared=True, dropout=0.0)
    assert count(shared) == (7 * 5 + 5) + (5 * 3 + 3) and shared(x).shape == (2, 4, 3)


# What depends on what


@pytest.mark.parametrize("joint", [True, False])
def test_perturbing_one_sample_moves_that_sample_only(joint):
    """The public code fails this where it has no joint representation."""
    model, given = tiny(joint=joint), streams()
    moved = {name: x.clone() for name, x in given.items()}
    moved["audio"][1] += 1.0
    with torch.no_grad():
        apart = (model(**given).prediction - model(**moved).prediction).abs().amax((1, 2))
    assert apart[1] > 1e-3 and apart[0] < 1e-6 and apart[2] < 1e-6


def test_prediction_has_the_labels_shape_with_the_batch_first():
    """So no flattening can pair one sample's prediction with another's label."""
    model, given = tiny(), streams(batch=2, steps=16)
    labels = torch.randn(2, 16, 2)
    assert model(**given).prediction.shape == labels.shape
    alone = model(**{name: x[:1] for name, x in given.items()}).prediction
    assert torch.allclose(model(**given).prediction[:1], alone, atol=1e-6)


@pytest.mark.parametrize(("positions", "follows"), [(None, True), ("sinusoidal", False)])
def test_without_positions_shuffled_clips_give_shuffled_predictions(positions, follows):
    model, given = tiny(positions=positions), streams()
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    with torch.no_grad():
        before = model(**given).prediction[:, order]
        after = model(**{name: x[:, order] for name, x in given.items()}).prediction
    assert torch.allclose(before, after, atol=1e-5) == follows


def test_a_steps_length_does_not_matter_where_it_is_normalised():
    config = {"widths": (8, 8)}  # as wide as the fusion: no projection comes first
    given = streams(audio=8, vision=8)
    louder = {"audio": 3.0 * given["audio"], "vision": given["vision"]}
    for normalise in (True, False):
        model = tiny(**config, l2_normalise=normalise)
        assert not model.project
        with torch.no_grad():
            same = torch.allclose(model(**given)[0], model(**louder)[0], atol=1e-5)
        assert same == normalise


def test_steps_of_zeros_have_no_direction_in_float16_either(device):
    """Streams of the fusion's own width are not projected, and what is not real is zero there."""
    model = tiny(widths=(8, 8), clock="audio").to(device)
    given = {name: x.to(device) for name, x in streams(audio=8, vision=8).items()}
    given["vision"] = given["vision"][:, :5]
    masks = {"audio": holes()["audio"].to(device), "vision": holes(steps=5)["vision"].to(device)}
    with torch.no_grad():
        full = model(**given, masks=masks)[0]
        with torch.autocast(device.type, dtype=torch.float16):
            half = model(**given, masks=masks)[0]
        silent = model.half()(**{name: torch.zeros_like(x).half() for name, x in given.items()})[0]
    real = masks["audio"]
    torch.testing.assert_close(half.float()[real], full[real], rtol=0.02, atol=0.02)
    assert torch.isfinite(silent).all()


@pytest.mark.parametrize("score", ["softmax", "sigmoid"])
def test_attention_maps_are_named_by_pair_and_weigh_real_steps_only(score):
    model, real = tiny(score=score), holes()
    maps = model.attention_maps(**streams(), masks=real)
    assert tuple(maps) == TINY.pairs and len(maps) == 6
    for (_, context), weights in maps.items():
        mask = real.get(context, real["audio"] | real["vision"])
        assert weights.shape == (3, 1, 7, 7)
        assert not weights.masked_select(~mask[:, None, None]).any()
        sums = weights.sum(-1)
        if score == "softmax":
            assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)
        else:
            assert (sums > 0).all() and (sums < mask.sum(1)[:, None, None]).all()
            assert not torch.allclose(sums, torch.ones_like(sums), atol=0.1)


def test_sigmoid_scores_reach_the_encoders_too():
    given = streams()
    soft, sigmoid = tiny(), tiny(score="sigmoid")
    assert all(block.attention.score == "sigmoid" for part in sigmoid.encoders.values() for block in part)  # fmt: skip
    sigmoid.load_state_dict(soft.state_dict())
    with torch.no_grad():
        assert not torch.allclose(soft(**given)[0], sigmoid(**given)[0], atol=1e-4)


def test_a_residual_adds_the_query_and_normalises_the_sum():
    given = streams()
    model = tiny(residual=True)
    kept = []
    model.fuse.register_forward_hook(lambda _, args, __: kept.append(args[0]))
    model(**given)
    states, _ = model.encode(given, {})
    asked = model.cross_attention(states)
    for number, (query, _) in enumerate(TINY.pairs):
        expected = nn.functional.layer_norm(asked[number] + states[query], (8,))
        found = kept[0][..., 8 * number : 8 * number + 8]
        assert torch.allclose(found, expected, atol=1e-5)


def test_fused_vector_joins_the_pairs_in_their_order():
    model, kept = tiny(), []
    model.fuse.register_forward_hook(lambda _, args, __: kept.append(args[0]))
    given = streams()
    model(**given)
    attended = model.cross_attention(model.encode(given, {})[0])
    assert torch.allclose(kept[0], torch.cat(list(attended), dim=-1), atol=1e-6)


def test_what_is_joint_is_made_of_both_streams_step_by_step():
    model, kept = tiny(), []
    model.to_joint.register_forward_hook(lambda _, args, out: kept.append((args[0], out)))
    model(**streams())
    moved = streams()
    moved["vision"][:, 4] += 1.0
    model(**moved)
    (_, before), (_, after) = kept
    steps = (before - after).abs().amax((0, 2)) > 1e-6
    assert steps.tolist() == [step == 4 for step in range(7)]
    assert kept[0][0].shape == (3, 7, 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"share": "query", "score": "sigmoid"},
        {"joint": False, "residual": True},
        {"positions": "sinusoidal", "num_layers": 2, "num_heads": 2},
        {"every_step": False, "label_step": 3, "num_outputs": 5},
        {"every_step": False, "task": "classification", "num_outputs": 4, "l2_normalise": False},
    ],
)
def test_nothing_is_built_that_no_gradient_reaches(changes):
    model = tiny(**changes).train()
    model(**streams(), masks=holes())[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_sequences_label_is_read_off_the_mean_and_its_own_step():
    model, real = tiny(every_step=False, label_step=4), holes()
    kept = []
    model.fuse.register_forward_hook(lambda _, __, out: kept.append(out))
    model.heads.register_forward_hook(lambda _, args, __: kept.append(args[0]))
    model(**streams(), masks=real)
    fused, pooled = kept
    either = real["audio"] | real["vision"]
    for sample in range(3):
        assert torch.allclose(pooled[sample, :11], fused[sample, either[sample]].mean(0), atol=1e-6)
        here = fused[sample, 4] * either[sample, 4]
        assert torch.allclose(pooled[sample, 11:], here, atol=1e-6)


# Two clocks


def test_a_faster_stream_is_averaged_onto_the_clock():
    model = tiny(clock="vision")
    slow = streams(steps=6)
    fast = {**slow, "audio": slow["audio"].repeat_interleave(3, dim=1)}
    with torch.no_grad():
        assert torch.allclose(model(**fast)[0], model(**slow)[0], atol=1e-5)


def test_streams_on_two_clocks_need_one_that_counts():
    given = streams()
    given["audio"] = given["audio"][:, :5]
    with pytest.raises(ValueError, match=r"audio has \(3, 5\).*vision \(3, 7\).*clock='audio'"):
        tiny()(**given)
