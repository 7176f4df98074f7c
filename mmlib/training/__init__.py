"""Training: one loop for every system, on a laptop, a GPU or several processes.

`fit` gives the same numbers however often it was interrupted: the order of the data and every draw
of noise depend on (seed, epoch) alone, and what is carried from one epoch to the next stands in one
checkpoint, which is replaced whole or not at all.
"""

from mmlib.training.evaluating import evaluate, predict
from mmlib.training.fitting import fit, seed_everything
from mmlib.training.trainer import TrainingError

__all__ = ["TrainingError", "evaluate", "fit", "predict", "seed_everything"]
