"""The computational kernel of profiling: counting values at and between marks, and hashing rows.

It is numpy on chunks that fit the processor's cache, and releases Python's global lock, so that threads profile in
parallel. docs/performance.md compares it with other libraries.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

CHUNK = 131_072  # values at once
BUCKETS = 64  # per mark


@dataclass(frozen=True, eq=False)
class Marks:
    """Sorted distinct finite values (k,), the breakpoints that other values are counted at and between.

    The range of the marks is divided into equal buckets, many more than there are marks, so that most values lie in a
    bucket without a mark: those are counted by bucket. Only the others are sorted and searched.
    """

    values: Floats

    def __len__(self) -> int:
        """Return how many marks there are."""
        return len(self.values)

    def holds(self, value: float) -> bool:
        """Return whether a value is one of the marks, so that what lies below it and at it is known."""
        place = int(np.searchsorted(self.values, value))
        return place < len(self) and bool(self.values[place] == value)

    def count(self, values: Floats) -> Counts:
        """Count finite values below the first mark, at it, between it and the second, …, above the last (2k + 1,)."""
        counts = np.zeros(2 * len(self) + 1, np.int64)
        finite = np.isfinite(values)
        values = values if finite.all() else values[finite]
        if self._scale > 0 and 2 * len(values) >= self._number:
            counts[::2], values = self._count_by_bucket(values)
        values = np.sort(values)
        begins, ends = (np.searchsorted(values, self.values, side) for side in ("left", "right"))
        counts[1::2] = ends - begins
        counts[::2] += np.append(begins, len(values)) - np.insert(ends, 0, 0)
        return counts

    def _count_by_bucket(self, values: Floats) -> tuple[Counts, Floats]:
        """Count values in buckets without a mark, between the marks (k + 1,); return also the values in the others."""
        in_bucket = np.zeros(self._number, np.int64)
        others = []
        for start in range(0, len(values), CHUNK):
            chunk = values[start : start + CHUNK]
            buckets = self._buckets(chunk)
            in_bucket += np.bincount(buckets, minlength=self._number)
            others.append(chunk[np.flatnonzero(self._marked.take(buckets))])
        in_bucket[self._marked] = 0
        return np.add.reduceat(in_bucket, np.insert(self._buckets(self.values), 0, 0)), np.concatenate(others)

    def _buckets(self, values: Floats) -> npt.NDArray[np.intp]:
        """Return each value's bucket (n,), ascending with the values; the outer two hold what lies beyond the marks."""
        with np.errstate(over="ignore"):
            places = values - self.values[0]
            places *= self._scale
        buckets: npt.NDArray[np.intp] = np.clip(places, 0, self._number - 1, out=places).astype(np.intp)
        return buckets

    @cached_property
    def _number(self) -> int:
        return BUCKETS * len(self)

    @cached_property
    def _scale(self) -> float:
        """Return the buckets per unit; 0 with fewer than two marks, or if their range is not a finite double."""
        if not len(self):
            return 0.0
        with np.errstate(over="ignore", divide="ignore"):
            scale = (self._number - 1) / (self.values[-1] - self.values[0])
        return float(scale) if np.isfinite(scale) else 0.0

    @cached_property
    def _marked(self) -> npt.NDArray[np.bool_]:
        """Return which buckets hold a mark (buckets,)."""
        marked = np.zeros(self._number, np.bool_)
        marked[self._buckets(self.values)] = True
        return marked


def hash_rows(columns: Floats, text: Hashes, more: Sequence[Hashes] = ()) -> Hashes:
    """Return a 64-bit hash of each row (n,), by splitmix64's finaliser.

    It is one of numbers (d, n), of a hash of the row's text (n,), and of the hashes of more texts (n,) each. Equal
    numbers have equal hashes, whatever their sign if they are zero, as have all NaN.
    """
    hashes = text.copy()
    for start in range(0, len(hashes), CHUNK):
        chunk = hashes[start : start + CHUNK]
        for column in columns:
            _mix(_bits(column[start : start + CHUNK]), chunk)
        for hashed in more:
            _mix(hashed[start : start + CHUNK], chunk)
    return hashes


def _bits(column: Floats) -> Hashes:
    numbers = column + 0.0  # which is 0.0 for -0.0
    numbers[np.isnan(numbers)] = np.nan
    return numbers.view(np.uint64)


def _mix(bits: Hashes, hashes: Hashes) -> None:
    hashes += bits
    hashes += np.uint64(0x9E3779B97F4A7C15)
    hashes ^= hashes >> np.uint64(30)
    hashes *= np.uint64(0xBF58476D1CE4E5B9)
    hashes ^= hashes >> np.uint64(27)
    hashes *= np.uint64(0x94D049BB133111EB)
    hashes ^= hashes >> np.uint64(31)


def hash_text(names: Sequence[str]) -> Hashes:
    """Return a 64-bit hash of each name, and last that of no name, which is at code -1 (names + 1,)."""
    digests = [hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names]
    none = hashlib.blake2b(b"", digest_size=8, person=b"no name").digest()
    return np.frombuffer(b"".join([*digests, none]), np.uint64).copy()


def hash_ids(ids: pa.ChunkedArray | pa.Array) -> Hashes:
    """Return a 64-bit hash of each id (n,)."""
    return hash_text(ids.to_pylist())[:-1]
