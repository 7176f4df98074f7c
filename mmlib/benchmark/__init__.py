"""What a system costs: parameters, operations, time and memory, beside what the machine could do.

`measure(case)` gives one `Cost`; the command line's `benchmark` prints a table of them.
"""

from mmlib.benchmark.cases import Case, cases
from mmlib.benchmark.measuring import Cost, measure

__all__ = ["Case", "Cost", "cases", "measure"]
