"""Peers that test the newest day or hour against the reference: Evidently's rule, and KS by the hour of the week."""

from collections.abc import Iterator

import numpy as np
from scipy.spatial.distance import jensenshannon
from scipy.special import kolmogorov
from scipy.stats import wasserstein_distance

from benchmarks.alarms.traffic.peers import Ends, Floats, Scored, ends_of
from benchmarks.alarms.traffic.streams import Stream

LEAST = 5  # rows of a sample
FLOOR = 1e-300  # of p-values


def _tested(ends: Ends, since: int) -> Iterator[tuple[int, int]]:
    for begin, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        if end > since:
            yield int(begin), int(end)


def evidently(reference: Stream, log: Stream, since: int) -> tuple[Ends, Floats]:
    """Score each day by what half of the columns exceed: Evidently's distances where references have over 1,000 rows.

    They are Wasserstein's distance in the reference's standard deviations for numbers, Jensen and Shannon's for
    categories; a data set has drifted if the distances of half of its columns are above a threshold.
    """
    known = [column[np.isfinite(column)] for column in reference.features.T]
    shares = np.bincount(reference.predictions, minlength=2) / len(reference)
    found, places = [], []
    for begin, end in _tested(ends_of(log.hours // 24), since):
        day = log.take(slice(begin, end))
        distances = [float(jensenshannon(shares, np.bincount(day.predictions, minlength=2) / len(day), base=2))]
        for column, new in zip(known, day.features.T, strict=True):
            some = new[np.isfinite(new)]
            distances.append(wasserstein_distance(column, some) / max(column.std(), 1e-3) if len(some) else np.inf)
        found.append(sorted(distances, reverse=True)[(len(distances) + 1) // 2 - 1])
        places.append(end)
    return np.array(places, np.intp), np.array(found)


def hour_of_week(reference: Stream, log: Stream, since: int) -> tuple[Ends, Floats]:
    """Score each hour by the smallest p-value of a KS test of any column against the same hour of the week."""
    known: dict[int, list[Floats]] = {}
    slots, columns = reference.hours % 168, reference.columns
    for slot in np.unique(slots):
        known[int(slot)] = [np.sort(c[np.isfinite(c)]) for c in columns[slots == slot].T]
    found, places, given = [], [], log.columns
    for begin, end in _tested(ends_of(log.hours), since):
        slot = int(log.hours[begin] % 168)
        if end - begin < LEAST or slot not in known:
            continue
        logs = []
        for column, new in zip(known[slot], given[begin:end].T, strict=True):
            some = np.sort(new[np.isfinite(new)])
            if len(some) < LEAST or len(column) < LEAST:
                continue
            at = np.concatenate([column, some])
            gap = np.searchsorted(column, at, "right") / len(column) - np.searchsorted(some, at, "right") / len(some)
            effective = len(column) * len(some) / (len(column) + len(some))
            p_value = kolmogorov(np.sqrt(effective) * np.abs(gap).max())  # the asymptotic one
            logs.append(float(np.log10(max(p_value, FLOOR))))
        found.append(-min(logs, default=0.0))
        places.append(end)
    return np.array(places, np.intp), np.array(found)


EVIDENTLY = Scored(evidently)
HOUR_OF_WEEK = Scored(hour_of_week)
