"""The two-stream block: who asks, what goes around what, and that padding stays padding."""

import pytest
import torch
from torch.nn import functional as F

from mmlib.layers import TwoStreamBlock

B, TQ, TK, DQ, DK = 3, 5, 7, 8, 11


def block(seed: int = 0, **changes) -> TwoStreamBlock:
    torch.manual_seed(seed)
    settings = {"query_dim": DQ, "context_dim": DK, "num_heads": 2} | changes
    return TwoStreamBlock(**settings)


def streams(seed: int = 0, device: str | torch.device = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    query, context = torch.randn(B, TQ, DQ, generator=draw), torch.randn(B, TK, DK, generator=draw)
    return query.to(device), context.to(device)


def test_the_output_has_the_querys_length_and_width(device):
    ask = block().to(device)
    out, weights = ask(*streams(device=device), return_weights=True)
    assert out.shape == (B, TQ, DQ) and weights.shape == (B, 2, TQ, TK)
    assert torch.allclose(weights.sum(-1), torch.ones(B, 2, TQ, device=device), atol=1e-6)
    assert torch.allclose(out, ask(*streams(device=device)), atol=1e-5)


def test_one_head_by_hand_equals_the_block():
    """Only the MLP has a way around it: nothing of the query goes around the attention."""
    ask = block(num_heads=1)
    query, context = streams()
    with torch.no_grad():  # gains of one and offsets of zero would hide a norm that is left out
        for norm in (ask.norm_query, ask.norm_context, ask.norm_attended):
            norm.norm.weight.uniform_(0.5, 2.0)
            norm.norm.bias.normal_()
    q, k = (
        F.layer_norm(x, x.shape[-1:], norm.norm.weight, norm.norm.bias)
        for x, norm in ((query, ask.norm_query), (context, ask.norm_context))
    )
    a = ask.attention
    scores = (q @ a.to_query.weight.T) @ (k @ a.to_key.weight.T).mT / DQ**0.5
    attended = scores.softmax(-1) @ (k @ a.to_value.weight.T) @ a.to_output.weight.T
    attended = attended + a.to_output.bias
    normed = F.layer_norm(
        attended, (DQ,), ask.norm_attended.norm.weight, ask.norm_attended.norm.bias
    )
    expected = attended + ask.mlp[2](F.gelu(ask.mlp[0](normed)))
    assert torch.allclose(ask(query, context), expected, atol=1e-5)


def test_sizes_are_those_of_the_released_blocks():
    def count(module: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(TwoStreamBlock(query_dim=128, context_dim=64, num_heads=8)) == 115_840
    assert count(TwoStreamBlock(query_dim=64, context_dim=128, num_heads=8)) == 41_728


def test_heads_change_the_maps_and_not_the_parameters():
    shapes = []
    for heads in (1, 2, 4):
        ask = block(num_heads=heads)
        shapes.append({name: p.shape for name, p in ask.named_parameters()})
        assert ask(*streams(), return_weights=True)[1].shape[1] == heads
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("training", [False, True])
def test_padding_of_either_stream_reaches_no_real_step(norm, training):
    query, context = streams()
    query_mask = torch.arange(TQ) < torch.tensor([[3], [5], [4]])
    padding_mask = torch.arange(TK) < torch.tensor([[7], [2], [6]])
    outs = []
    for value in (0.0, 50.0):
        ask = block(norm=norm).train(training)
        outs.append(
            ask(
                query.masked_fill(~query_mask[..., None], value),
                context.masked_fill(~padding_mask[..., None], -value),
                padding_mask=padding_mask,
                query_mask=query_mask,
            )[query_mask]
        )
    assert torch.allclose(*outs, atol=1e-5)


def test_a_context_without_a_real_step_says_the_same_to_every_query():
    query, context = streams()
    padding_mask = torch.ones(B, TK, dtype=torch.bool)
    padding_mask[1] = False
    out = block()(query, context, padding_mask=padding_mask)
    assert torch.isfinite(out).all()
    assert torch.allclose(out[1], out[1, :1].expand(TQ, -1), atol=1e-6)
    assert not torch.allclose(out[0], out[0, :1].expand(TQ, -1), atol=1e-3)


def test_batch_norm_has_a_norm_more_and_mixes_samples_in_training_only():
    ask = block(norm="batch")
    extra = set(dict(ask.named_parameters())) - set(dict(block().named_parameters()))
    assert extra == {"norm_mlp.norm.weight", "norm_mlp.norm.bias"}
    query, context = streams()
    other = query.clone()
    other[2] += 3.0
    for training in (True, False):
        ask.train(training)
        same = torch.allclose(ask(query, context)[0], ask(other, context)[0], atol=1e-4)
        assert same is not training


def test_batch_norms_are_over_real_steps_alone_and_the_last_stands_inside_the_way_around():
    """Algorithm 6 by hand in training: with several lengths, statistics of padding would show."""
    ask = block(norm="batch")
    query, context = streams()
    query_mask = torch.arange(TQ) < torch.tensor([[3], [5], [1]])
    padding_mask = torch.arange(TK) < torch.tensor([[7], [2], [6]])

    def over(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        real = x[mask]
        return (x - real.mean(0)) / (real.var(0, correction=0) + 1e-5).sqrt()

    attended = ask.attention(
        over(query, query_mask), over(context, padding_mask), padding_mask=padding_mask
    )
    widen, activate, narrow = ask.mlp
    worked = over(narrow(activate(widen(over(attended, query_mask)))), query_mask)
    out = ask(query, context, padding_mask=padding_mask, query_mask=query_mask)
    assert torch.allclose(out[query_mask], (attended + worked)[query_mask], atol=1e-4)


def test_the_mlp_is_as_many_times_wider_as_is_asked():
    assert block(mlp_ratio=3).mlp[0].out_features == 3 * DQ


def test_dropout_lies_behind_the_attention_on_its_weights_and_behind_both_layers_of_the_mlp():
    ask, (query, context) = block(dropout=0.3), streams()
    attended = ask.attention.eval()(ask.norm_query(query, None), ask.norm_context(context, None))
    widen, activate, narrow = ask.mlp
    expected = (
        narrow(activate(widen(ask.norm_attended(torch.zeros_like(attended), None)))),
        attended + narrow.bias,
        attended,
    )
    for place, without in enumerate(expected):  # what is left where all is dropped at one place
        calls = []
        ask.dropout.register_forward_hook(
            lambda _, args, __, calls=calls, place=place: (
                calls.append(0) or args[0] * (len(calls) != place + 1)
            )
        )
        assert torch.allclose(ask(query, context), without, atol=1e-5) and len(calls) == 3
        ask.dropout._forward_hooks.clear()
    ask.attention.train()
    ask.dropout.eval()
    assert not torch.equal(ask(query, context), ask(query, context)), "on the weights too"


def test_dropout_acts_in_training_only():
    ask = block(dropout=0.5)
    query, context = streams()
    assert not torch.equal(ask(query, context), ask(query, context))
    ask.eval()
    assert torch.equal(ask(query, context), ask(query, context))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_every_parameter_gets_a_gradient(norm):
    ask = block(norm=norm)
    ask(*streams()).pow(2).sum().backward()
    for name, parameter in ask.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_what_cannot_work_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"norm='group' is unknown; expected 'layer' or 'batch'\."):
        block(norm="group")
    with pytest.raises(ValueError, match="embed_dim=8 cannot be split over num_heads=3"):
        block(num_heads=3)
    query, context = streams()
    with pytest.raises(ValueError, match=r"query has shape .*; expected \(batch, time, "):
        block()(context, query)
    with pytest.raises(ValueError, match=r"context has shape .*; expected \(batch, time, "):
        block()(query, query)
    with pytest.raises(ValueError, match=r"query's mask has shape \(3, 7\); expected .* \(3, 5\)"):
        block()(query, context, query_mask=torch.ones(B, TK, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"padding mask has shape \(3, 5\)"):
        block()(query, context, padding_mask=torch.ones(B, TQ, dtype=torch.bool))
