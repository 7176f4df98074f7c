"""JMT: a joint multimodal transformer for valence and arousal.

Two streams, one vector a clip each, are joined to a third; each of the three looks at itself, then
asks each of the others, along six ordered pairs; what they answer is joined and read off as valence
and arousal.
"""

from mmlib.systems.jmt.config import JMTConfig
from mmlib.systems.jmt.crossing import PairwiseAttention
from mmlib.systems.jmt.model import JMT, Heads, JMTClassified, JMTPredicted

__all__ = [
    "JMT",
    "Heads",
    "JMTClassified",
    "JMTConfig",
    "JMTPredicted",
    "PairwiseAttention",
]
