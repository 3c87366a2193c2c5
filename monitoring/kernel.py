"""The arithmetic that profiling spends its time in: counting values at and between marks, and hashing rows.

Compiled by numba, and without Python's lock, so that threads profile side by side. docs/performance.md compares it
with what numpy, polars, duckdb and pyarrow offer.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Marks:
    """Sorted distinct finite values, with a table that says at which of them to begin a search.

    The range is divided into equal buckets. `starts[b]` is the first mark in bucket b or a later one: as buckets
    ascend with the values, a value's neighbours among the marks lie in its own bucket or at its ends.
    """

    values: Floats
    starts: Counts
    low: float
    scale: float

    @classmethod
    def of(cls, values: Floats) -> "Marks":
        """Index sorted distinct values."""
        buckets = max(1024, 4 * len(values))
        low, high = (float(values[0]), float(values[-1])) if len(values) else (0.0, 0.0)
        with np.errstate(over="ignore", divide="ignore"):
            scale = float(np.float64(buckets - 1) / (high - low)) if high > low else 0.0
        if not np.isfinite(scale):  # a range of denormal width, or beyond what a double holds: one bucket
            scale = 0.0
        places = np.minimum((values - low) * scale, buckets - 1).astype(np.int64)
        return cls(values, np.searchsorted(places, np.arange(buckets + 1)), low, scale)

    def __len__(self) -> int:
        """Return how many marks there are."""
        return len(self.values)

    def count(self, values: Floats) -> Counts:
        """Count finite values below the first mark, at it, between it and the second, …, above the last (2k+1)."""
        counts = np.zeros(2 * len(self.values) + 1, np.int64)
        _count(self.values, self.starts, self.low, self.scale, values, counts)
        return counts


@numba.njit("void(f8[::1], i8[::1], f8, f8, f8[::1], i8[::1])", nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _count(  # noqa: PLR0917 - numba takes no keywords
    marks: Floats, starts: Counts, low: float, scale: float, values: Floats, counts: Counts
) -> None:  # pragma: no cover - compiled
    last = len(starts) - 2
    for value in values:
        if not np.isfinite(value):
            continue
        bucket = (value - low) * scale
        if bucket < 0:
            place = 0
        elif bucket >= last:
            place = last
        else:
            place = int(bucket)
        begin, end = starts[place], starts[place + 1]
        while begin < end:
            middle = (begin + end) >> 1
            if marks[middle] < value:
                begin = middle + 1
            else:
                end = middle
        at = begin < len(marks) and marks[begin] == value
        counts[2 * begin + at] += 1


def hash_rows(columns: npt.NDArray[np.float64], text: Hashes) -> Hashes:
    """Return a 64-bit hash of each row of dxn numbers and a hash of its text (splitmix64's finaliser).

    Equal numbers have equal hashes, whatever their sign if they are zero, as have all NaN.
    """
    hashes = text.copy()
    for column in np.ascontiguousarray(columns).view(np.uint64):
        _mix(column, hashes)
    return hashes


@numba.njit("void(u8[::1], u8[::1])", nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _mix(column: Hashes, hashes: Hashes) -> None:  # pragma: no cover - compiled
    for row in range(len(hashes)):
        bits = column[row]
        if bits == np.uint64(0x8000000000000000):
            bits = np.uint64(0)
        elif bits & np.uint64(0x7FFFFFFFFFFFFFFF) > np.uint64(0x7FF0000000000000):
            bits = np.uint64(0x7FF8000000000000)
        mixed = hashes[row] + bits + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashes[row] = mixed ^ (mixed >> np.uint64(31))


def hash_text(names: Sequence[str]) -> Hashes:
    """Return a 64-bit hash of each name, and behind them that of no name, so that code -1 finds it."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    none = hashlib.blake2b(b"", digest_size=8, person=b"no name").digest()
    return np.frombuffer(b"".join([*digests, none]), np.uint64).copy()
