"""The checks of the exercises: what a learner calls, and what a lesson's checks are written with.

A learner calls `check("02.1", answer)`; later cells take `use("02.1")`, which is the learner's
own version once its check passed in this session, and the reference until then. `show` prints
numbers so that the text is the same on every machine. One file a lesson, `lesson_NN.py`, holds
the checking functions; it is imported when a number of that lesson is first asked for.
"""

from mmlib.checks.framework import CheckFailed, check, exercise, use
from mmlib.checks.printing import show

__all__ = ["CheckFailed", "check", "exercise", "show", "use"]
