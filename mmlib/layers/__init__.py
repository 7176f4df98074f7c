"""The pieces that several papers share, one implementation each: torch and einops, nothing else.

Every sequence is (batch, time, features); every mask is boolean, True where a step is real.
"""

from mmlib.layers.attention import MultiHeadAttention, scaled_dot_product_attention
from mmlib.layers.conv import MaskedBatchNorm, TemporalConv
from mmlib.layers.embrace import EmbraceNet
from mmlib.layers.gating import ChannelAttention, Modulator, SpatialAttention
from mmlib.layers.masks import all_real, check_mask
from mmlib.layers.modality_dropout import ModalityDropout
from mmlib.layers.pooling import first_real, last_real, masked_max, masked_mean, pool
from mmlib.layers.stacked import StackedLinear
from mmlib.layers.transformer import (
    CrossModalTransformer,
    SinusoidalPositions,
    TransformerBlock,
    feed_forward,
    sinusoidal_codes,
)
from mmlib.layers.two_stream import TwoStreamBlock
from mmlib.layers.vision import (
    ConvBlock,
    InvertedResidual,
    LocalFeatureExtractor,
    channel_shuffle,
)

__all__ = [
    "ChannelAttention",
    "ConvBlock",
    "CrossModalTransformer",
    "EmbraceNet",
    "InvertedResidual",
    "LocalFeatureExtractor",
    "MaskedBatchNorm",
    "ModalityDropout",
    "Modulator",
    "MultiHeadAttention",
    "SinusoidalPositions",
    "SpatialAttention",
    "StackedLinear",
    "TemporalConv",
    "TransformerBlock",
    "TwoStreamBlock",
    "all_real",
    "channel_shuffle",
    "check_mask",
    "feed_forward",
    "first_real",
    "last_real",
    "masked_max",
    "masked_mean",
    "pool",
    "scaled_dot_product_attention",
    "sinusoidal_codes",
]
