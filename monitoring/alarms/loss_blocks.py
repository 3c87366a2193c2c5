"""Blocks of time that a regression's errors are judged by, of a length that the reference's errors tell.

Rows of one hour, or of one day of bad weather, are wrong together. A block is so long that its mean error tells nothing
of those that follow within a day: their autocorrelations lie within the limits that those of independent values keep
(Bartlett 1946), in 999 of 1,000 cases, for all lags together (Bonferroni).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy.special import ndtri

from monitoring.contract.config import Model
from monitoring.contract.reference import TIME, Reference

Floats = npt.NDArray[np.float64]

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
LENGTHS = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY)
FEWEST = 10  # blocks of a reference: fewer do not tell how much they differ
CHANCE = 0.001  # that a length is taken for too short although its blocks are independent


@dataclass(frozen=True)
class Blocks:
    """A length in seconds, and the mean and standard deviation of the mean errors of so many blocks of a reference."""

    seconds: float
    mean: float
    deviation: float
    number: int


def blocks_of(reference: Reference, model: Model) -> Blocks | None:
    """Return the shortest blocks that do not depend on each other, or the longest that the reference has enough of.

    None if it has no times, or is too short, or nobody has measured its model. Larger errors count as its `mae_bound`.
    """
    table, performance = reference.table, reference.performance
    if TIME.name not in table.column_names or performance is None or performance.mae_bound is None:
        return None
    table = table.sort_by(TIME.name)
    losses: Floats = pc.abs(pc.subtract(table[model.prediction], table[model.target])).to_numpy()
    known = ~np.isnan(losses)
    times = table[TIME.name].cast("int64").to_numpy()[known] / 1e6
    losses = losses[known].clip(max=performance.mae_bound)
    found = None
    for seconds in LENGTHS:
        means = _means(losses, times, seconds)
        if len(means) < FEWEST:
            break
        found = Blocks(seconds, float(means.mean()), float(means.std(ddof=1)), len(means))
        if not _depend(means, math.ceil(DAY / seconds)):
            break
    return found


def _means(losses: Floats, times: Floats, seconds: float) -> Floats:
    """Return the mean of each block that has rows (blocks,), of losses (n,) in the order of their times (n,)."""
    _, places, counts = np.unique(times // seconds, return_inverse=True, return_counts=True)
    means: Floats = np.bincount(places, losses) / counts
    return means


def _depend(means: Floats, lags: int) -> bool:
    """Say whether an autocorrelation of blocks' means (n,) is beyond chance, up to so many lags."""
    centred, number = means - means.mean(), len(means)
    lags = min(lags, number // 2)
    power = np.abs(np.fft.rfft(centred, 2 * number)) ** 2
    products = np.fft.irfft(power)[: lags + 1]
    limit = -float(ndtri(CHANCE / (2 * lags))) / math.sqrt(number)
    return bool((np.abs(products[1:]) > limit * products[0]).any())
