"""AVT-CA: audio-video transformer fusion with cross attention.

Audio goes through convolutions over time, every frame through a visual trunk. In the middle each
stream asks the other (intermediate transformer fusion); after more convolutions they ask once more;
at the end each attends to itself, is pooled over time, and both are joined. The ablation keeps one
of the two fusions:

============  ============  ================  ======  =====
name          intermediate  second_attention  late    heads
============  ============  ================  ======  =====
avt_ca        yes           yes               "self"  4
avt_ca_it1    yes           no                None    1
avt_ca_it4    yes           no                None    4
avt_ca_ct1    no            no                "self"  1
avt_ca_ct4    no            no                "self"  4
============  ============  ================  ======  =====

The released code is not the paper's model; `AVTCAConfig.official()` is that one.
"""

from mmlib.systems.avt_ca.ablations import ablation
from mmlib.systems.avt_ca.config import AVTCAConfig
from mmlib.systems.avt_ca.model import AVTCA, AVTCAOutput

__all__ = ["AVTCA", "AVTCAConfig", "AVTCAOutput", "ablation"]
