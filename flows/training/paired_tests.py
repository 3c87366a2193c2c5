"""Whether one model is better than another on the same rows: McNemar's exact test, and a paired bootstrap."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from flows.training.answers import Answers
from flows.training.metrics import METRICS, gain
from flows.training.sample import Places
from monitoring.contract.config import RetrainMetric

DRAWS = 2000  # of the bootstrap
TOLERANCE = 1e-12  # that of adding two fractions
_MOST_WEIGHTS = 2_000_000  # in memory at once
_SEED = 0  # of its draws: the same rows give the same verdict


def bootstrap(
    metric: RetrainMetric,
    first: Answers,
    second: Answers,
    bounds: tuple[float, ...] = (0.0,),
    blocks: Places | None = None,
) -> tuple[float, ...]:
    """Return for each bound the p-value of the second model's gain being no more than that.

    Rows are drawn with replacement, or the `blocks` of time (n,) that they lie in, and the p-value is the share of
    draws without such a gain (Efron and Tibshirani 1993, chapter 16; of blocks, Künsch 1989).
    """
    value, groups = METRICS[metric], np.arange(len(first.labels)) if blocks is None else blocks
    gains = np.concatenate([gain(metric, value(first, drawn), value(second, drawn)) for drawn in _draws(groups)])
    return tuple(_share(~(gains > bound + TOLERANCE)) for bound in bounds)


def _draws(groups: Places) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each row (n,) is drawn in draws of as many groups as there are, DRAWS in all."""
    _, groups = np.unique(groups, return_inverse=True)
    number, rng = int(groups.max()) + 1, np.random.default_rng(_SEED)
    at_once = max(1, _MOST_WEIGHTS // len(groups))
    for begin in range(0, DRAWS, at_once):
        counts = rng.multinomial(number, np.full(number, 1 / number), min(at_once, DRAWS - begin))
        yield counts[:, groups].astype(np.float64)


def _share(what: npt.NDArray[np.bool_]) -> float:
    return float((np.sum(what) + 1) / (len(what) + 1))


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return McNemar's exact two-sided p-value (a binomial test on the rows that just one model gets right)."""
    return min(1.0, 2.0 * min(mcnemar_better(first, second), mcnemar_better(second, first)))


def mcnemar_better(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Return McNemar's exact p-value of the second model being no better than the first."""
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    discordant = only_first + only_second
    return float(bdtr(only_first, discordant, 0.5)) if discordant else 1.0
