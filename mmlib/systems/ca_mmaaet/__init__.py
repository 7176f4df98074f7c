"""CA-MMAAET: a cross-attentive multimodal adversarial autoencoder with a transformer block.

Three streams become one latent vector. A classifier reads the emotion from it, a decoder rebuilds
the frames, and a discriminator tells it from a draw of N(0, I); how the three losses take turns
stands in `adversarial`. Two switches give the paper's four models:

==========  ===========  ===============
name        transformer  cross_attention
==========  ===========  ===============
mmaae       no           no
mmaaet      yes          no
ca_mmaae    no           yes
ca_mmaaet   yes          yes
==========  ===========  ===============
"""

from mmlib.systems.ca_mmaaet.config import PAIRS, STREAMS, CAMMAAETConfig
from mmlib.systems.ca_mmaaet.model import CAMMAAET, CAMMAAETOutput, Probabilities, ablation

__all__ = [
    "CAMMAAET",
    "PAIRS",
    "STREAMS",
    "CAMMAAETConfig",
    "CAMMAAETOutput",
    "Probabilities",
    "ablation",
]
