"""Windows of many lengths over a stream of blocks, from one block to thousands of rows, and their statistics."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.alarms.drift.scores import Floats, ReferenceScores
from monitoring.alarms.drift.statistics import scan_statistics

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
    reference: ReferenceScores, lengths: tuple[int, ...], sums: Floats, before: int, seen: int
) -> list[WindowStatistics]:
    """Return the statistics of the windows that end in the new blocks of `sums` (blocks, K).

    The first `before` blocks were scored already; `seen` blocks had come in all before the new ones, which decides at
    which ends a window is scored. It is scored only where all of it lies in `sums`.
    """
    total = np.concatenate([np.zeros((1, sums.shape[1])), np.cumsum(sums, axis=0)])
    windows = []
    for length in lengths:
        every = max(1, length // STRIDE)
        ends = np.arange(max(before + 1, length), len(total))
        ends = ends[(ends - before + seen) % every == 0]
        values = scan_statistics(reference, total[ends] - total[ends - length], length * BLOCK)
        windows.append(WindowStatistics(length, ends, values))
    return windows
