"""The reference's rows from the same times of the cycle as others: what rows since an onset are to be compared with.

A Saturday night differs from a whole week, and is no change. So each row has its nearest in time of the cycle among the
reference's as its equals: those of the same minutes where the reference is dense, those of some hours where it is not.
"""

from dataclasses import dataclass

import numpy as np

from monitoring.alarms.drift.scores import Observations
from monitoring.alarms.drift.usual import DAY, Cycle, Floats, Times, local_times

NEAREST = 30  # rows of the reference that are each row's equals


@dataclass(frozen=True, eq=False)
class Sample:
    """A random sample, and how many rows it was drawn from: as many or more."""

    rows: Observations
    of: float


def sample(rows: Observations, number: int, rng: np.random.Generator) -> Sample:
    """Return all rows, or a random `number` of them if they are more."""
    if len(rows) <= number:
        return Sample(rows, len(rows))
    return Sample(rows.take(rng.choice(len(rows), number, replace=False)), len(rows))


def matched_sample(
    reference: Observations, since: Observations, cycle: Cycle, number: int, rng: np.random.Generator
) -> Sample:
    """Return at most `number` of the reference's rows whose times of the cycle are distributed as those of others.

    They are drawn with replacement; `of` is the effective size of the weighted reference (Kish 1965).
    """
    assert reference.times is not None
    assert since.times is not None
    weights = time_weights(reference.times, since.times, cycle)
    size = float(weights.sum() ** 2 / (weights**2).sum())
    places = rng.choice(len(reference), min(number, round(size)), p=weights / weights.sum())
    return Sample(reference.take(places), size)


def time_weights(reference: Times, times: Times, cycle: Cycle) -> Floats:
    """Return of how many of the times (n,) each of the reference's (m,) is one of the nearest in time of the cycle.

    A reference that is shorter than a cycle of a week has no rows of most days: there it is the time of the day.
    """
    local = local_times(reference, cycle.zone)
    length = cycle.length if np.ptp(local) >= cycle.length - cycle.length // 24 else min(cycle.length, DAY)
    known, asked = local % length, local_times(times, cycle.zone) % length
    order = np.argsort(known, kind="stable")
    number = len(known)
    nearest = min(NEAREST, number)
    middle = (np.searchsorted(known[order], asked) + np.searchsorted(known[order], asked, side="right")) // 2
    begins = np.bincount((middle - nearest // 2) % number, minlength=number)
    weights = np.empty(number)
    weights[order] = sum(np.roll(begins, step) for step in range(nearest))  # the cycle's end is near its begin
    return weights
