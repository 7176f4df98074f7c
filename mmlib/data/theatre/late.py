"""What late fusion can reach: each modality decides alone, then the decisions are put together.

`ceilings` bounds every rule; here are four rules for putting perfect decisions together:

- product: multiply the posteriors (and divide by the prior); the best there is where the modalities
  are independent given the label;
- mean: average the posteriors;
- additive: sum scores of each modality, chosen for the least cross-entropy: what networks whose
  logits are summed, and trained together, tend to with endless data;
- additive_search: sum scores chosen for accuracy itself, by a search; the best additive rule is at
  least as good as what is found.
"""

import functools

import numpy as np
import torch

from mmlib.data.theatre.ceilings import is_exact, priors, script_of
from mmlib.data.theatre.displays import draw_cues
from mmlib.data.theatre.meaning import Meaning
from mmlib.data.theatre.posteriors import class_posterior
from mmlib.data.theatre.script import Script
from mmlib.data.theatre.tables import SUBSETS, by_class, channel_table, combine

RESTARTS = 4


Rules = dict[str, dict[str, float]]


def _accuracy(joint: np.ndarray, scores: np.ndarray) -> float:
    """How often the class with the largest score is right; (C, ...) and (C, ...)."""
    # Rounded, so that scores that are equal but for the last digit count as a tie everywhere.
    chosen = np.round(scores, 10).argmax(0)
    return float(np.take_along_axis(joint, chosen[None], 0).sum())


def added(terms: list[np.ndarray]) -> np.ndarray:
    """The sum of terms that broadcast to one another."""
    return functools.reduce(np.add, terms)


def _alone(joint: np.ndarray) -> list[np.ndarray]:
    """P(class, observation of one modality), each kept broadcastable against `joint`."""
    axes = range(1, joint.ndim)
    return [joint.sum(tuple(a for a in axes if a != own), keepdims=True) for own in axes]


def additive_terms(joint: np.ndarray) -> list[np.ndarray]:
    """Scores ``f_1(class, o_1)``, ``f_2(class, o_2)``, ... whose sum has the least cross-entropy.

    A multinomial logistic regression on one-hot observations, each weighted by its probability.

    Shape:
        joint (C, observations 1, observations 2, ...) -> terms that broadcast to it
    """
    table = torch.from_numpy(joint)
    terms = [
        torch.log(torch.from_numpy(alone).clamp(min=1e-12)).requires_grad_()
        for alone in _alone(joint)
    ]
    solver = torch.optim.LBFGS(
        terms, max_iter=300, history_size=20, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = -(table * torch.log_softmax(sum(terms[1:], start=terms[0]), 0)).sum()
        value.backward()
        return value

    solver.step(loss)
    return [term.detach().numpy() for term in terms]


def _improve(joint: np.ndarray, scores: np.ndarray, class_: int) -> float:
    """The shift of one class's scores that makes the most cells right; both are (C, cells)."""
    others = scores.copy()
    others[class_] = -np.inf
    rival = others.argmax(0)
    needed = others.max(0) - scores[class_]  # a larger shift wins the cell for this class
    gain = joint[class_] - joint[rival, np.arange(len(rival))]
    order = needed.argsort(kind="stable")
    steps = np.concatenate([[0.0], gain[order].cumsum()])
    best = int(steps.argmax())
    if steps[best] <= gain[needed < 0].sum() + 1e-12:
        return 0.0
    ends = np.concatenate([[needed[order[0]] - 2], needed[order], [needed[order[-1]] + 2]])
    return float(ends[best] + ends[best + 1]) / 2


def search_terms(joint: np.ndarray, terms: list[np.ndarray], sweeps: int = 30) -> list[np.ndarray]:
    """Improve additive scores one number at a time until no single change makes more cells right."""
    terms = [term.copy() for term in terms]
    for _ in range(sweeps):
        changed = False
        for axis, term in enumerate(terms, start=1):
            for place in range(term.shape[axis]):
                cells = joint.take(place, axis).reshape(len(joint), -1)
                for class_ in range(len(joint)):
                    scores = np.broadcast_to(added(terms), joint.shape).take(place, axis)
                    shift = _improve(cells, scores.reshape(len(joint), -1), class_)
                    where = [class_, *[0] * (joint.ndim - 1)]
                    where[axis] = place
                    term[tuple(where)] += shift
                    changed |= shift != 0
        if not changed:
            break
    return terms


def _searched(joint: np.ndarray) -> float:
    """The accuracy of the best additive rule that a few searches find."""
    start = additive_terms(joint)
    noise = np.random.default_rng(0)
    best = _accuracy(joint, added(search_terms(joint, start)))
    for attempt in range(RESTARTS):
        size = 0.3 if attempt < RESTARTS // 2 else 1.0
        shaken = [term + size * noise.standard_normal(term.shape) for term in start]
        best = max(best, _accuracy(joint, added(search_terms(joint, shaken))))
    return best


def combine_posteriors(posteriors: list[np.ndarray], prior: np.ndarray, rule: str) -> np.ndarray:
    """Scores of each class from unimodal posteriors by "product" or "mean"; class first."""
    if rule == "mean":
        return added(posteriors) / len(posteriors)
    product = functools.reduce(np.multiply, posteriors, prior ** (1.0 - len(posteriors)))
    return product / np.maximum(product.sum(0), 1e-300)


def _table_rules(joint: np.ndarray, search: bool) -> dict[str, float]:
    prior = joint.reshape(len(joint), -1).sum(1).reshape(-1, *[1] * (joint.ndim - 1))
    posteriors = [alone / np.maximum(alone.sum(0), 1e-300) for alone in _alone(joint)]
    found = {
        rule: _accuracy(
            joint, np.broadcast_to(combine_posteriors(posteriors, prior, rule), joint.shape)
        )
        for rule in ("product", "mean")
    }
    found["additive"] = _accuracy(joint, added(additive_terms(joint)))
    if search:
        found["additive_search"] = _searched(joint)
    return found


@functools.lru_cache(maxsize=64)
def _exact(script: Script, subset: tuple[str, ...], search: bool) -> dict[str, float]:
    prior = priors(script, known_actor=False)[0]
    # A modality that decides alone does not know which moment another one points at.
    tables = [channel_table(script, name, moment_known=False) for name in subset]
    return _table_rules(by_class(script, combine(script, tables, prior)), search)


@functools.lru_cache(maxsize=64)
def _sampled(script: Script, subset: tuple[str, ...], n: int, seed: int) -> dict[str, float]:
    cues = draw_cues(script, n, seed)
    prior = by_class(script, priors(script, known_actor=False)[0][:, None])
    alone = [class_posterior(cues, (name,)).T for name in subset]
    together = class_posterior(cues, subset).T
    found = {}
    for rule in ("product", "mean"):
        chosen = np.round(combine_posteriors(alone, prior, rule), 10).argmax(0)
        found[rule] = float(together[chosen, np.arange(n)].mean())
    return found


def late_ceilings(
    preset: str | Script | Meaning, *, search: bool = False, n: int = 6000, seed: int = 0
) -> Rules:
    """What rules that put perfect unimodal decisions together reach, for new actors.

    Where lips follow the voice (`lip_sync`), what they tell is left out.

    Args:
        preset: a name, a script, or clips; not traces.
        search: also look for the additive rule of best accuracy; takes seconds.
        n: how many clips to sample where noise is graded; there the additive rules are left out.
        seed: of that sample.

    Returns:
        ``"product"``, ``"mean"``, ``"additive"`` and, with search, ``"additive_search"``, each a dict
        from subsets of two and three modalities to accuracies.

    Raises:
        ValueError: no such preset, or traces.
    """
    script = script_of(preset)
    if script.classes is None:
        raise ValueError("late fusion of decisions needs classes; a trace has none.")
    result: Rules = {}
    for subset in SUBSETS:
        if len(subset) == 1:
            continue
        exact = is_exact(script)
        found = _exact(script, subset, search) if exact else _sampled(script, subset, n, seed)
        for rule, value in found.items():
            result.setdefault(rule, {})["+".join(subset)] = value
    return result
