"""alibi-detect's CVMDriftOnline: sliding windows of several sizes, Cramér-von Mises statistics against the reference.

The statistic is computed by the code below, which `check` holds to the library's: that one moves arrays of reference by
window at every row, for some milliseconds. Its thresholds come from simulations that take features for independent, and
that would have to be far more than rows between false alarms times features; the threshold is tuned instead.
"""

from collections.abc import Callable
from functools import cache, partial

import numba
import numpy as np
from alibi_detect.cd import CVMDriftOnline

from benchmarks.alarms.rows import Floats, Rows, inputs
from benchmarks.alarms.watches import Numbers, Peer, ScoredWatch, Variant

BLOCK = 1_000


@numba.njit(fastmath=True)
def _squares(shares: Floats, counts: Floats, window: Floats, below: Floats) -> float:
    """Return the sum over the pooled values of the squared difference of the two distribution functions.

    `shares` and `counts` are the reference's distribution function and the window's counts at the reference's values,
    `below` the reference's distribution function at the window's sorted values.
    """
    total, size, each = 0.0, window.size, 1 / window.size
    for at in range(shares.size):
        gap = shares[at] - counts[at] * each
        total += gap * gap
    upto = size
    for at in range(size - 1, -1, -1):
        if at + 1 < size and window[at] != window[at + 1]:
            upto = at + 1
        gap = below[at] - upto * each
        total += gap * gap
    return total


@numba.njit
def _replace(window: Floats, below: Floats, leaving: float, entering: float, share: float) -> None:
    """Put a value in the place of another in a sorted window, and the reference's share up to it beside."""
    at = np.searchsorted(window, leaving)
    while at > 0 and window[at - 1] > entering:
        window[at], below[at] = window[at - 1], below[at - 1]
        at -= 1
    while at + 1 < window.size and window[at + 1] < entering:
        window[at], below[at] = window[at + 1], below[at + 1]
        at += 1
    window[at], below[at] = entering, share


@numba.njit
def _normalised(total: float, n: int, size: int) -> float:
    """Return the statistic less its mean, in standard deviations (Anderson 1962, equations 3 and 14)."""
    both = n + size
    variance = (both + 1) * (4 * n * size * both - 3 * (n * n + size * size) - 2 * n * size)
    variance /= 45.0 * both * both * 4 * n * size
    return (total * n * size / (both * both) - 1 / 6 - 1 / (6 * both)) / np.sqrt(variance)


@numba.njit
def _follow(known: Floats, values: Floats, begin: int, size: int) -> Floats:
    """Return the statistics of a feature's windows of a size, after each value from `begin` on; NaN while not full."""
    found = np.full(values.size - begin, np.nan)
    first = max(0, begin - size)
    if first + size > values.size:
        return found
    shares = np.searchsorted(known, known, side="right") / known.size
    at_value = np.searchsorted(known, values, side="right") / known.size
    order = np.argsort(values[first : first + size])
    window, below = values[first : first + size][order], at_value[first : first + size][order]
    counts = np.searchsorted(window, known, side="right").astype(np.float64)
    for at in range(first + size - 1, values.size):
        if at >= first + size:
            leaving, entering = values[at - size], values[at]
            _replace(window, below, leaving, entering, at_value[at])
            counts[np.searchsorted(known, leaving) :] -= 1
            counts[np.searchsorted(known, entering) :] += 1
        if at >= begin:
            found[at - begin] = _normalised(_squares(shares, counts, window, below), known.size, size)
    return found


def statistics(known: Floats, rows: Floats, begin: int, sizes: tuple[int, ...]) -> Floats:
    """Return (rows from `begin` on, sizes, features) statistics; known is sorted by column."""
    pairs = list(zip(known.T.copy(), rows.T.copy(), strict=True))
    each = [[_follow(column, values, begin, size) for column, values in pairs] for size in sizes]
    return np.array(each).transpose(2, 0, 1)


def watching(sizes: tuple[int, ...], reference: Rows, rows: Rows) -> ScoredWatch:
    """Watch by the largest statistic of any feature and window; after a start, windows count once they are full."""
    known, stream = inputs(reference, rows)
    known.sort(axis=0)

    @cache
    def highest(block: int) -> Floats:
        begin, end = block * BLOCK, min((block + 1) * BLOCK, len(stream))
        first = max(0, begin - max(sizes))
        return statistics(known, stream[first:end], begin - first, sizes).max(axis=2)

    def scores(since: int, begin: int, end: int) -> tuple[Numbers, Floats]:
        places = np.arange(begin + 1, end + 1)
        block = begin // BLOCK
        found = highest(block)[begin - block * BLOCK : end - block * BLOCK]
        full = places[:, None] - since >= np.array(sizes)
        return places, np.where(full, found, -np.inf).max(axis=1)

    return ScoredWatch(len(rows), scores, memory=max(sizes), block=BLOCK)


class _Untuned(CVMDriftOnline):
    def _configure_thresholds(self) -> None:
        self.thresholds = np.full((1, 1), np.inf)


def check(reference: Rows, rows: Rows) -> None:
    """Fail if the library's statistics differ."""
    sizes, (known, stream) = (20, 100), inputs(reference, rows[:400])
    theirs = _Untuned(known, ert=1_000, window_sizes=list(sizes), verbose=False)
    found = np.array([theirs.score(row) for row in stream])
    ours = statistics(np.sort(known, axis=0), stream, 0, sizes)
    np.testing.assert_allclose(ours, found, rtol=1e-4, atol=1e-4)


def _variant(*sizes: int) -> Variant:
    watch: Callable[[Rows, Rows], ScoredWatch] = partial(watching, sizes)
    return Variant(f"statistic above {{0:.2f}}; windows of {', '.join(map(str, sizes))} rows", watch, 11.5, 3.0)


PEER = Peer(
    "cvm_online",
    "alibi-detect CVMDriftOnline",
    (_variant(20, 100, 500), _variant(50, 200, 800)),
    streams=50,
    check=check,
)
