"""Windows of many lengths over a stream of blocks, from one block to thousands of rows, and their statistics."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.alarms.drift.dependent_statistics import Deviations, dependent_statistics
from monitoring.alarms.drift.scores import Counts, ReferenceScores
from monitoring.alarms.drift.statistics import scan_statistics
from monitoring.alarms.drift.usual import DAY, HOUR, Floats, Times

BLOCK = 5  # rows
LONGEST = 10_000  # rows
LONGEST_REFERENCES = 4  # times the reference's rows: beyond, its own sampling error hides what more rows would show
STRIDE = 4  # a window is scored each time it has moved by a fourth of its length, the shortest at every block


def window_lengths(reference_rows: int) -> tuple[int, ...]:
    """Return the windows' lengths in blocks: each about the square root of 2 times the one before."""
    longest = max(1, min(LONGEST_REFERENCES * reference_rows, LONGEST) // BLOCK)
    steps = np.arange(0, 2 * np.log2(longest) + 1e-9)
    return tuple(sorted({round(2 ** (step / 2)) for step in steps}))


@dataclass(frozen=True, eq=False)
class WindowStatistics:
    """The statistics of one window length, in blocks: `values` (T, kinds) of the windows after `ends` (T,) blocks."""

    length: int
    ends: npt.NDArray[np.int64]
    values: Floats


def window_statistics(
    reference: ReferenceScores,
    lengths: tuple[int, ...],
    sums: Floats,
    before: int,
    seen: int,
    *,
    deviations: Deviations | None = None,
    joints: Counts | None = None,
) -> list[WindowStatistics]:
    """Return the statistics of the windows that end in the new blocks of `sums` (blocks, K).

    The first `before` blocks were scored already; `seen` blocks had come in all before the new ones, which decides at
    which ends a window is scored. It is scored only where all of it lies in `sums`. `joints`: see `sums_before`.
    """
    total = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])
    windows = []
    for length in lengths:
        every = max(1, length // STRIDE)
        first = max(before + 1, length)
        first += (before - seen - first) % every
        ends = np.arange(first, len(total), every)
        before_them = None if deviations is None else sums_before(total, ends, length, joints)
        spanned = total[first::every] - total[first - length : max(0, len(total) - length) : every]
        values = statistics_of(reference, spanned, before_them, length * BLOCK, deviations)
        windows.append(WindowStatistics(length, ends, values))
    return windows


def joints_of(times: Times) -> Counts:
    """Return after how many blocks (joints,) of rows at these times (n,) one comes that does not follow the one before.

    It is more than a day later, or more than an hour earlier: then there was a pause, or another cycle begins.
    """
    steps = np.diff(times)
    joints: Counts = (np.flatnonzero((steps < -HOUR) | (steps > DAY)) + 1) // BLOCK
    return joints


def sums_before(total: Floats, ends: npt.NDArray[np.int64], length: int, joints: Counts | None = None) -> Floats:
    """Return the sums (T, K) of the `length` blocks before each window that ends there and is as long.

    NaN where there are not so many, and where a joint, after so many blocks, lies in either of both: what follows it
    did not come after what is before it.
    """
    begin = ends - 2 * length
    sums = total[ends - length] - total[np.maximum(begin, 0)]
    cut = begin < 0
    if joints is not None and len(joints):
        cut |= np.searchsorted(joints, begin, side="right") < np.searchsorted(joints, ends)
    sums[cut] = np.nan
    return sums


def statistics_of(
    reference: ReferenceScores, sums: Floats, before: Floats | None, number: int | Counts, deviations: Deviations | None
) -> Floats:
    """Return the statistics (T, kinds) of windows of `number` rows from their sums (T, K), and those of as many before.

    With deviations they are those of rows that depend on each other, without those of rows drawn one by one.
    """
    if deviations is None or before is None:
        return scan_statistics(reference, sums, number)
    return dependent_statistics(reference, sums, before, number, deviations)
