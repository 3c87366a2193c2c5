"""River's KSWIN, one per input: the newest rows against as many older ones, taken by chance from a sliding window.

Computed by the code below, which keeps the window sorted: the library sorts two samples per row and input, which takes
15 ms a row. `check` holds it to the library's class where chance has no say.
"""

from collections.abc import Callable
from functools import cache, partial
from math import lgamma

import numba
import numpy as np
import numpy.typing as npt
from river.drift import KSWIN

from benchmarks.alarms.rows import Floats, Rows, inputs
from benchmarks.alarms.watches import Numbers, Peer, ScoredWatch, Variant, power

LEAST = 0.1  # the distance that the library asks for besides a small p-value
FLOOR = -300.0


@cache
def log_p(size: int) -> Floats:
    """Return log10 of the exact p-values of the KS distances 0, 1/size, …, 1 of two equally large samples.

    Gnedenko and Korolyuk 1951; the first term suffices where p-values are small.
    """
    found = np.zeros(size + 1)
    for k in range(1, size + 1):
        terms = np.arange(1, size // k + 1)
        logs = [2 * lgamma(size + 1) - lgamma(size - j * k + 1) - lgamma(size + j * k + 1) for j in terms.tolist()]
        total = 2 * float(((-1.0) ** (terms - 1) * np.exp(np.array(logs) - logs[0])).sum())
        found[k] = min((logs[0] + np.log(max(total, 1e-12))) / np.log(10), 0.0)
    return np.maximum(found, FLOOR)


@numba.njit
def _distance(values: Floats, times: npt.NDArray[np.int64], newest: int, size: int, chance: int) -> int:
    """Return the KS distance times `size` between the values from the time `newest` on and a sample of the others.

    The sample is drawn while passing (Fan et al. 1962), by a xorshift generator (Marsaglia 2003) that `chance` seeds,
    and without branches: both because this is all that the time goes to.
    """
    need, left = size, values.size - size
    gap, largest, state = 0, 0, np.uint64(chance) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)
    for at in range(values.size):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
        new = int(times[at] >= newest)
        take = (1 - new) & int(np.int64(state >> np.uint64(34)) * left < (need << 30))
        gap += new - take
        need -= take
        left -= 1 - new
        if at + 1 == values.size or values[at + 1] != values[at]:
            largest = max(largest, abs(gap))
    return largest


@numba.njit
def distances(rows: Floats, begin: int, end: int, width: int, size: int) -> npt.NDArray[np.int64]:
    """Return (end - begin, features) distances times `size` after each row, 0 while the window is not full."""
    found = np.zeros((end - begin, rows.shape[1]), dtype=np.int64)
    values, times = np.empty(width), np.empty(width, dtype=np.int64)
    for feature in range(rows.shape[1]):
        filled, first = 0, max(0, begin - width)
        for at in range(first, end):
            value = rows[at, feature]
            place = filled
            if filled == width:
                place = np.argmin(times)
            else:
                filled += 1
            while place > 0 and values[place - 1] > value:
                values[place], times[place] = values[place - 1], times[place - 1]
                place -= 1
            while place < filled - 1 and values[place + 1] < value:
                values[place], times[place] = values[place + 1], times[place + 1]
                place += 1
            values[place], times[place] = value, at
            if at >= begin and filled == width:
                chance = int(value * 1e6) + at * rows.shape[1] + feature
                found[at - begin, feature] = _distance(values, times, at + 1 - size, size, chance)
    return found


def watching(width: int, size: int, reference: Rows, rows: Rows) -> ScoredWatch:
    """Fill the windows from the reference, then watch by the smallest p-value."""
    known, stream = inputs(reference, rows)
    table = np.where(np.arange(size + 1) > LEAST * size, -log_p(size), 0.0)

    def scores(since: int, begin: int, end: int) -> tuple[Numbers, Floats]:
        given = np.concatenate([known[-width:], stream[since:end]])
        before = len(given) - (end - begin)
        found = distances(given, before, len(given), width, size)
        return np.arange(begin + 1, end + 1), table[found.max(axis=1)]

    return ScoredWatch(len(rows), scores, memory=width)


def check(reference: Rows, rows: Rows) -> None:
    """Fail if the library's p-values differ where the window holds just as many older rows as are taken."""
    width, size = 120, 60
    column = inputs(reference, rows[:500])[1][:, :1].copy()
    theirs, found = KSWIN(alpha=0, window_size=width, stat_size=size), []
    for value in column[:, 0]:
        theirs.update(float(value))
        found.append(theirs.p_value)
    ours = 10 ** log_p(size)[distances(column, 0, len(column), width, size)[:, 0]]
    np.testing.assert_allclose(ours[width:], found[width:], rtol=1e-6)


def _variant(width: int, size: int) -> Variant:
    watch: Callable[[Rows, Rows], ScoredWatch] = partial(watching, width, size)
    return Variant(f"alpha {{0:.2g}}, {size} rows of {width:,}, after the reference", watch, 5.5, 1.0, power)


PEER = Peer(
    "kswin",
    "River KSWIN",
    (_variant(300, 100), _variant(1_100, 300)),
    streams=50,
    check=check,
)
