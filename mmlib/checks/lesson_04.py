"""Checks of lesson 04: the crossmodal block, two ways at once, the permutation test, positions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmlib.checks import expect
from mmlib.checks.framework import exercise
from mmlib.checks.order_laws import layers_to_judge
from mmlib.layers import (
    CrossModalTransformer,
    MultiHeadAttention,
    SinusoidalPositions,
    TransformerBlock,
    feed_forward,
    masked_mean,
    sinusoidal_codes,
)

BLOCKS = (CrossModalTransformer, TransformerBlock)
LAWS = ("equivariant", "invariant", "neither")


class Parts(nn.Module):
    """The four parts of a crossmodal block, not yet joined.

    Its norms have gains and offsets of their own, as after training, so that none can stand in for
    another.
    """

    def __init__(self, *, target_dim: int, source_dim: int, embed_dim: int, num_heads: int) -> None:
        """Draw the weights of the attention, the feed-forward network and the two norms."""
        super().__init__()
        self.attention = MultiHeadAttention(
            query_dim=target_dim, context_dim=source_dim, embed_dim=embed_dim, num_heads=num_heads
        )
        self.ffn = feed_forward(embed_dim, 2 * embed_dim)
        self.norm1, self.norm2 = nn.LayerNorm(embed_dim), nn.LayerNorm(embed_dim)
        for norm in (self.norm1, self.norm2):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)
        nn.init.normal_(self.attention.to_query.bias)


def crossmodal(parts: Any, target: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Let the target ask the source, Eqs. 6 to 11, with the residual from the query."""
    query = parts.attention.to_query(target)
    y = parts.attention.attend(query, source, padding_mask=mask)  # Eq. 6
    x = parts.norm1(y + query)  # Eq. 7
    return parts.norm2(parts.ffn(x) + x)  # Eqs. 8 to 11


@exercise(
    "04.1", title="the residual from the query", reference=crossmodal, forbidden=(Parts, *BLOCKS)
)
def check_crossmodal(answer: Any) -> None:
    """Try a silent attention, streams of other lengths and widths, equal ones, masks, gradients."""
    expect.is_callable(answer, name="crossmodal")
    fresh = expect.Fresh(41)
    _cross_in_silence(answer, fresh)
    for device in expect.devices():
        for sizes, words in (
            ((11, 13, 8, 5, 7), "target (2, 5, 11), source (2, 7, 13), embed_dim 8"),
            ((8, 8, 8, 6, 6), "target and source both (2, 6, 8), embed_dim 8: all shapes agree"),
        ):
            target_dim, source_dim, width, targets, sources = sizes
            parts = Parts(
                target_dim=target_dim, source_dim=source_dim, embed_dim=width, num_heads=2
            ).to(device)
            target = fresh.normal(2, targets, target_dim).to(device)
            source = fresh.normal(2, sources, source_dim).to(device)
            mask = fresh.padding_mask(2, sources).to(device)
            tried = f"{words}, and a padding mask of the source (2, {sources})"
            with expect.inputs_left_alone(hint=1, target=target, source=source, mask=mask):
                came = answer(parts, target, source, mask)
            expect.shape(came, (2, targets, width), tried=tried, hint=1)
            expect.like(came, target, tried=tried)
            expect.finite(came, tried=tried, hint=2)
            loud = source.masked_fill(~mask[..., None], 50.0)
            expect.close(
                answer(parts, target, loud, mask),
                came,
                name="the output, unmoved by padding",
                tried=f"{tried}, and 50 in every padded step",
                hint=2,
            )
            right = crossmodal(parts, target, source, mask)
            expect.close(came, right, tried=tried, hint=3)
    _cross_out_of_order(answer, fresh)


def _cross_in_silence(answer: Any, fresh: expect.Fresh) -> None:
    """Where attention brings nothing home, the query alone must come through."""
    parts = Parts(target_dim=5, source_dim=5, embed_dim=5, num_heads=1)
    with torch.no_grad():
        for part in (parts.attention.to_output, parts.ffn[2]):
            for weight in part.parameters():
                weight.zero_()
    target, source = fresh.normal(3, 4, 5), fresh.normal(3, 4, 5)
    mask = torch.ones(3, 4, dtype=torch.bool)
    tried = "attention and feed-forward that give zeros, so that only what goes around them is left"
    came = answer(parts, target, source, mask)
    expect.shape(came, (3, 4, 5), tried=tried, hint=1)
    expect.finite(came, tried=tried, hint=1)
    moved = answer(parts, target, fresh.normal(3, 4, 5), mask)
    expect.close(
        moved,
        came,
        name="the output for another source, of which nothing came",
        tried=tried,
        hint=2,
    )
    right = parts.norm2(parts.norm1(parts.attention.to_query(target)))
    expect.close(came, right, name="the query, normalised twice", tried=tried, hint=2)


def _cross_out_of_order(answer: Any, fresh: expect.Fresh) -> None:
    parts = Parts(target_dim=7, source_dim=7, embed_dim=4, num_heads=2)
    target = fresh.normal(3, 5, 7).requires_grad_()
    source = fresh.normal(3, 5, 7).requires_grad_()
    mask = fresh.padding_mask(3, 5)
    tried = "the gradient of the output"
    came = answer(parts, target, source, mask)
    expect.gradient_reaches(came, target, source, name="both streams", tried=tried, hint=1)
    expect.no_gradient_reaches(
        came, source, where=~mask, name="a padded step of the source", tried=tried, hint=2
    )
    order = fresh.permutation(5)
    expect.close(
        answer(parts, target, source[:, order], mask[:, order]),
        came,
        name="the output when source and mask are put in another order",
        tried="target and source (3, 5, 7), then the source's steps permuted together with its mask",
        hint=3,
    )


Block = Callable[..., Tensor]


def two_way(
    a: Tensor, b: Tensor, a_asks: Block, b_asks: Block, mask_a: Tensor, mask_b: Tensor
) -> Tensor:
    """Let a ask b and b ask a, average each over its real steps, put the averages side by side."""
    from_a = a_asks(a, b, padding_mask=mask_b)  # as long as a
    from_b = b_asks(b, a, padding_mask=mask_a)  # as long as b
    return torch.cat([masked_mean(from_a, mask_a), masked_mean(from_b, mask_b)], dim=-1)


@exercise("04.2", title="two ways at once", reference=two_way)
def check_two_way(answer: Any) -> None:
    """Try streams of other lengths and widths, an absent stream, and who sees what."""
    expect.is_callable(answer, name="two_way")
    fresh = expect.Fresh(42)
    for device in expect.devices():
        a_asks = CrossModalTransformer(target_dim=6, source_dim=10, num_heads=2, dropout=0.0)
        b_asks = CrossModalTransformer(target_dim=10, source_dim=6, num_heads=2, dropout=0.0)
        a_asks, b_asks = a_asks.to(device), b_asks.to(device)
        a, b = fresh.normal(3, 5, 6).to(device), fresh.normal(3, 7, 10).to(device)
        mask_a, mask_b = fresh.padding_mask(3, 5).to(device), fresh.padding_mask(3, 7).to(device)
        given = (a_asks, b_asks, mask_a, mask_b)
        tried = "a (3, 5, 6), b (3, 7, 10), a block for each direction, a mask for each stream"
        with expect.inputs_left_alone(hint=1, a=a, b=b, mask_a=mask_a, mask_b=mask_b):
            came = answer(a, b, *given)
        expect.shape(came, (3, 16), tried=tried, hint=2)
        expect.like(came, a, tried=tried)
        expect.finite(came, tried=tried, hint=3)
        right = two_way(a, b, *given)
        expect.close(came[:, :6], right[:, :6], name="a's half, the first 6", tried=tried, hint=2)
        expect.close(came[:, 6:], right[:, 6:], name="b's half, the last 10", tried=tried, hint=3)
        noise = (30 * fresh.normal(3, 5, 6)).to(device), (30 * fresh.normal(3, 7, 10)).to(device)
        shouted = (
            stream.where(mask[..., None], loud)
            for stream, mask, loud in zip((a, b), (mask_a, mask_b), noise, strict=True)
        )
        expect.close(
            answer(*shouted, *given),
            came,
            name="the result, unmoved by padding",
            tried=f"{tried}, then loud noise in every padded step",
            hint=3,
        )
    absent = mask_b.clone()
    absent[1] = False
    tried = "the same, where sample 1 has no b at all (its mask is all False)"
    came = answer(a, b, a_asks, b_asks, mask_a, absent)
    expect.finite(came, tried=tried, hint=3)
    expect.zero(came[1, 6:], name="the half of the absent stream", tried=tried, hint=3)
    right = two_way(a, b, a_asks, b_asks, mask_a, absent)
    expect.close(came, right, tried=tried, hint=3)
    _two_equal_streams(answer, fresh)


def _two_equal_streams(answer: Any, fresh: expect.Fresh) -> None:
    """Equal lengths and widths, where a swapped argument raises no error."""
    a_asks = CrossModalTransformer(target_dim=4, source_dim=4, num_heads=2, dropout=0.0)
    b_asks = CrossModalTransformer(target_dim=4, source_dim=4, num_heads=2, dropout=0.0)
    a, b = fresh.normal(2, 5, 4), fresh.normal(2, 5, 4)
    given = (a_asks, b_asks, fresh.padding_mask(2, 5), torch.ones(2, 5, dtype=torch.bool))
    tried = "a and b both (2, 5, 4), so that no shape can complain; b has no padding"
    came = answer(a, b, *given)
    expect.shape(came, (2, 8), tried=tried, hint=2)
    expect.close(came, two_way(a, b, *given), tried=tried, hint=2)


def order_law(layer: Any, x: Tensor) -> str:
    """Say what a layer does when steps change places: "equivariant", "invariant" or "neither"."""
    layer.eval()
    equivariant = invariant = True
    with torch.no_grad():
        before = layer(x)
        for _ in range(10):
            order = torch.randperm(x.shape[1], device=x.device)
            after = layer(x[:, order])
            invariant &= torch.allclose(after, before, atol=1e-4)
            timed = before.ndim == 3 and before.shape[1] == x.shape[1]
            equivariant &= timed and torch.allclose(after, before[:, order], atol=1e-4)
    return "invariant" if invariant else "equivariant" if equivariant else "neither"


@exercise("04.3", title="the permutation test", reference=order_law)
def check_order_law(answer: Any) -> None:
    """Try layers of each kind, among them some that only a careful test tells apart."""
    expect.is_callable(answer, name="order_law")
    fresh = expect.Fresh(43)
    for batch, time, width in ((3, 4, 6), (2, 7, 8)):
        for layer, law, words, hint in layers_to_judge(width):
            x = fresh.normal(batch, time, width)
            tried = f"{words}, on x ({batch}, {time}, {width})"
            layer.train()
            with expect.inputs_left_alone(hint=1, x=x):
                came = answer(layer, x)
            expect.kind(came, str, tried=tried, hint=1)
            expect.that(came in LAWS, f"one of {', '.join(LAWS)}", got=f"{came!r}", tried=tried)
            expect.that(came == law, f"{law!r}", got=f"{came!r}", tried=tried, hint=hint)


def position_codes(length: int, width: int) -> Tensor:
    """Write each step's number as sines and cosines of ever slower waves, (length, width)."""
    step = torch.arange(length, dtype=torch.float32)[:, None]  # (T, 1)
    feature = torch.arange(width)
    speed = 10000.0 ** (-(feature - feature % 2) / width)  # (D,), the same for each pair
    return torch.where(feature % 2 == 0, (step * speed).sin(), (step * speed).cos())


@exercise(
    "04.4",
    title="positions by formula",
    reference=position_codes,
    forbidden=(sinusoidal_codes, SinusoidalPositions),
)
def check_position_codes(answer: Any) -> None:
    """Try cases by hand, then even and odd widths, one step, and the law of equal distances."""
    expect.is_callable(answer, name="position_codes")
    tried = "length 1, width 4: step 0 is sin 0, cos 0, sin 0, cos 0"
    came = answer(1, 4)
    expect.shape(came, (1, 4), tried=tried, hint=1)
    expect.that(came.dtype == torch.float32, "float32", got=f"{came.dtype}", tried=tried, hint=1)
    by_hand = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    expect.close(came, by_hand, name="the codes", tried=tried, hint=2)
    tried = "length 3, width 2: sin t and cos t for t = 0, 1, 2"
    by_hand = torch.tensor([[0.0, 1.0], [0.841471, 0.540302], [0.909297, -0.416147]])
    came = answer(3, 2)
    expect.shape(came, (3, 2), tried=tried, hint=1)
    expect.close(came, by_hand, name="the codes", tried=tried, hint=1)
    tried = "length 2, width 4: the second pair is slower, by 10000^(2/4) = 100"
    by_hand = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.841471, 0.540302, 0.01, 0.99995]])
    came = answer(2, 4)
    expect.shape(came, (2, 4), tried=tried, hint=1)
    expect.close(came, by_hand, name="the codes", tried=tried, hint=3)
    for length, width in ((11, 6), (7, 32), (5, 7), (200, 16)):
        odd = "; the last feature of an odd width is a sine" if width % 2 else ""
        tried = f"length {length}, width {width}{odd}"
        came = answer(length, width)
        expect.shape(came, (length, width), tried=tried, hint=1)
        expect.finite(came, name="the codes", tried=tried, hint=2)
        right = position_codes(length, width)
        expect.close(came, right, name="the codes", tried=tried, hint=2, atol=1e-4)
