"""Every layer and loss works where its input lies: it makes no tensor elsewhere, and reads none off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from one_device import on_one_device
from torch import nn

from mmlib import layers
from mmlib.losses import concordance_loss
from mmlib.systems.baselines import GatedUnit, align, outer_with_one

X, Y = torch.randn(3, 7, 8), torch.randn(3, 5, 8)
REAL, OTHER = torch.rand(3, 7) < 0.6, torch.rand(3, 5) < 0.6
MAP = torch.randn(2, 8, 8, 12)
PAIR = {"audio": X, "vision": Y}
VECTORS = {"audio": X[:, 0], "vision": Y[:, 0]}
WHO = torch.rand(3, 2) < 0.6


def embrace(**changes: Any) -> nn.Module:
    return layers.EmbraceNet(
        input_dims={"audio": 8, "vision": 8}, embracement_dim=5, on_empty="zeros", **changes
    )


def temporal(**changes: Any) -> nn.Module:
    return layers.TemporalConv(in_dim=8, out_dim=5, **changes)


def attention(**changes: Any) -> nn.Module:
    return layers.MultiHeadAttention(query_dim=8, num_heads=2, **changes)


def two_streams(norm: Any) -> nn.Module:
    return layers.TwoStreamBlock(query_dim=8, context_dim=8, num_heads=2, norm=norm)


#: What is called: name -> how it is made, and what it is called with, in turn.
MADE: dict[str, tuple[Callable[[], Any], list[tuple[tuple, dict[str, Any]]]]] = {
    "attention": (
        attention,
        [
            ((X, Y), {}),
            ((X, Y), {"padding_mask": OTHER}),
            ((X, Y), {"padding_mask": OTHER, "return_weights": True}),
        ],
    ),
    "attention with sigmoids": (
        lambda: attention(score="sigmoid", dropout=0.1),
        [((X, Y), {"padding_mask": OTHER})],
    ),
    "TransformerBlock": (
        lambda: layers.TransformerBlock(embed_dim=8, num_heads=2),
        [((X,), {"padding_mask": REAL})],
    ),
    "CrossModalTransformer": (
        lambda: layers.CrossModalTransformer(
            target_dim=8, source_dim=8, num_heads=2, positions="sinusoidal"
        ),
        [((X, Y), {"padding_mask": OTHER})],
    ),
    "TwoStreamBlock": (
        lambda: two_streams("layer"),
        [((X, Y), {"padding_mask": OTHER})],
    ),
    "TwoStreamBlock with batch norm": (
        lambda: two_streams("batch"),
        [((X, Y), {"padding_mask": OTHER, "query_mask": REAL}), ((X, Y), {})],
    ),
    "MaskedBatchNorm": (lambda: layers.MaskedBatchNorm(8), [((X, REAL), {}), ((X,), {})]),
    "MaskedBatchNorm without momentum": (
        lambda: layers.MaskedBatchNorm(8, momentum=None),
        [((X, REAL), {})],
    ),
    "TemporalConv": (temporal, [((X, REAL), {}), ((X,), {})]),
    "TemporalConv with all": (
        lambda: temporal(norm="batch", stride=2, pool_size=2, activation="gelu"),
        [((X, REAL), {})],
    ),
    "StackedLinear": (
        lambda: layers.StackedLinear(layers=3, in_dim=8, out_dim=5, parts=2),
        [((X,), {}), ((X[1:], slice(1, 3)), {})],
    ),
    "EmbraceNet": (
        embrace,
        [
            ((VECTORS,), {}),
            ((VECTORS,), {"availability": WHO, "return_choice": True}),
            ((VECTORS,), {"availability": WHO.tolist(), "return_choice": True}),
            (({"audio": X[:, 0]},), {"availability": WHO}),
        ],
    ),
    "EmbraceNet that draws": (
        lambda: embrace(evaluation="sample"),
        [((VECTORS,), {"availability": WHO, "return_choice": True})],
    ),
    "ModalityDropout": (layers.ModalityDropout, [((PAIR,), {"masks": {"audio": REAL}})]),
    "ModalityDropout of copies": (
        lambda: layers.ModalityDropout(form="copies"),
        [((PAIR,), {"masks": {"audio": REAL}})],
    ),
    "Modulator": (lambda: layers.Modulator(8), [((MAP,), {}), ((MAP,), {"return_gate": True})]),
    "ConvBlock": (lambda: layers.ConvBlock(in_channels=8, out_channels=5), [((MAP,), {})]),
    "LocalFeatureExtractor": (
        lambda: layers.LocalFeatureExtractor(in_channels=8, out_channels=16),
        [((MAP,), {})],
    ),
    "InvertedResidual": (
        lambda: layers.InvertedResidual(in_channels=8, out_channels=8, stride=1),
        [((MAP,), {})],
    ),
    "InvertedResidual that halves": (
        lambda: layers.InvertedResidual(in_channels=8, out_channels=6, stride=2),
        [((MAP,), {})],
    ),
    "SinusoidalPositions": (layers.SinusoidalPositions, [((X,), {})]),
    "GatedUnit": (
        lambda: GatedUnit(in_dim=8, out_dim=5, streams=7),
        [((X, REAL), {})],
    ),
    **{
        f"pool by {how}": (
            lambda: layers.pool,
            [((X, REAL), {"how": how}), ((X,), {"how": how})],
        )
        for how in ("mean", "max", "first", "last")
    },
    "align": (lambda: align, [((X, REAL, OTHER), {})]),
    "outer_with_one": (lambda: outer_with_one, [(([X, X[..., :3]],), {})]),
    "concordance_loss": (
        lambda: concordance_loss,
        [((X, X), {}), ((X, X), {"mask": REAL, "per_target": True})],
    ),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MADE)
def test_it_stays_on_one_device(name, training):
    make, calls = MADE[name]
    for args, kwargs in calls:
        made = make()
        made = made.train(training) if isinstance(made, nn.Module) else made
        on_one_device(made, *args, **kwargs)


def test_every_public_layer_is_among_them():
    """Those that are not stand inside one that is, or make no tensor."""
    inside = {"ChannelAttention", "SpatialAttention"}
    public = {key for key in layers.__all__ if isinstance(getattr(layers, key), type)}
    tried = {type(make()).__name__ for make, _ in MADE.values()}
    assert public - tried == inside, "give each new layer a row in MADE"
