"""What is left for people: tables as csv and markdown, figures, and a page with both."""

from mmlib.reporting.comparison import (
    ceiling_of,
    ceilings_of,
    comparison_in_words,
    tuning_in_words,
    write_report,
)
from mmlib.reporting.robustness import write_robustness
from mmlib.reporting.tables import in_words, write_csv

__all__ = [
    "ceiling_of",
    "ceilings_of",
    "comparison_in_words",
    "in_words",
    "tuning_in_words",
    "write_csv",
    "write_report",
    "write_robustness",
]
