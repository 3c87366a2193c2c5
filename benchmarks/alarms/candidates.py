"""Other statistics that ours was chosen among: CUSUM of Kolmogorov-Smirnov statistics, and e-detectors.

All take each row once. They are tuned and measured as the peers are.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.alarms.rows import Floats, Rows, inputs
from benchmarks.alarms.watches import Peer, RerunWatch, Variant

SIZES = (20, 50)  # rows a block
DRAWS = 2_000  # blocks of reference rows that standardise a statistic
ALLOWANCES = (0.25, 0.5)  # standard deviations that CUSUM forgives
BETS = (0.1, 0.25, 0.5, 1.0)  # shifts, in standard deviations, that an e-detector bets on, in either direction


def _ranks(reference: Rows, rows: Rows) -> Floats:
    """Return each value's place in the reference's distribution (n, features), 0 to 1; the middle if missing."""
    columns = zip(reference.features.T, rows.features.T, strict=True)
    places = [(np.searchsorted(np.sort(ours), theirs) + 0.5) / (len(reference) + 1) for ours, theirs in columns]
    return np.where(np.isnan(rows.features), 0.5, np.array(places).T)


def _distances(ranks: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov distance of each block and feature (blocks, rows, features) from uniform."""
    ordered, number = np.sort(ranks, axis=1), ranks.shape[1]
    steps = np.arange(number)[:, None] / number
    distances: Floats = np.maximum(ordered - steps, steps + 1 / number - ordered).max(1)
    return distances


def cusum(size: int, allowance: float, add_up: Callable[[Floats], Floats], reference: Rows, rows: Rows) -> RerunWatch:
    """Watch by a CUSUM (Page 1954) over blocks of a bootstrap-standardised maximum or sum of KS distances."""
    known, rng = _ranks(reference, reference), np.random.default_rng(1)
    usual = _distances(known[rng.integers(0, len(known), (DRAWS, size))])
    center, spread = usual.mean(0), usual.std(0)
    level = add_up((usual - center) / spread)
    ranks = _ranks(reference, rows)

    def rerun(since: int, setting: float) -> int | None:
        blocks = ranks[since : since + (len(ranks) - since) // size * size].reshape(-1, size, ranks.shape[1])
        if not len(blocks):
            return None
        increments = (add_up((_distances(blocks) - center) / spread) - level.mean()) / level.std() - allowance
        sums = np.cumsum(increments)
        above = np.flatnonzero(sums - np.minimum.accumulate(np.minimum(sums, 0)) > setting)
        return since + (int(above[0]) + 1) * size if len(above) else None

    return RerunWatch(len(rows), rerun)


def e_detector(reference: Rows, rows: Rows) -> RerunWatch:
    """Watch by Shiryaev-Roberts sums of e-values that bet on shifts of each input (Shin, Ramdas and Rinaldo 2022)."""
    bets = np.array([sign * bet for bet in BETS for sign in (-1, 1)])
    values = np.clip(inputs(reference, rows)[1], -4, 4)
    logs = (values[:, :, None] * bets - bets**2 / 2).reshape(len(values), -1)

    def rerun(since: int, setting: float) -> int | None:
        products = np.cumsum(logs[since:], axis=0)
        started = np.logaddexp.accumulate(np.concatenate([np.zeros((1, products.shape[1])), -products[:-1]]), axis=0)
        log_wealth = np.logaddexp.reduce(products + started, axis=1) - np.log(products.shape[1])
        above = np.flatnonzero(log_wealth > setting)
        return since + int(above[0]) + 1 if len(above) else None

    return RerunWatch(len(rows), rerun)


def _largest(statistics: Floats) -> Floats:
    largest: Floats = statistics.max(1)
    return largest


def _total(statistics: Floats) -> Floats:
    total: Floats = statistics.sum(1)
    return total


def _cusums(add_up: Callable[[Floats], Floats]) -> tuple[Variant, ...]:
    return tuple(
        Variant(f"above {{0:.1f}}, blocks of {size}, allowance {k}", partial(cusum, size, k, add_up), 10.0, 5.0)
        for size in SIZES
        for k in ALLOWANCES
    )


LARGEST = Peer("ks_cusum_max", "CUSUM of the largest KS statistic", _cusums(_largest), streams=40, runs=30)
TOTAL = Peer("ks_cusum_sum", "CUSUM of the sum of KS statistics", _cusums(_total), streams=40, runs=30)
BETTING = Peer(
    "e_detector", "e-detector of shifts", (Variant("above e^{0:.1f}", e_detector, 9.2, 2.3),), streams=40, runs=30
)
