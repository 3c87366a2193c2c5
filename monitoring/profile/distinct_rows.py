"""The number of distinct rows, from mergeable sets of row hashes of 8 bytes each.

Two rows count as equal if their 64-bit hashes are equal: among n distinct rows the count is wrong with a probability of
about n²/2⁶⁵, 3 in a million for ten million rows.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """Distinct hashes as sorted runs (n,), no hash in two of them; each is at least twice as long as the next.

    `elsewhere` is the number of further distinct rows whose hashes are not held here.
    """

    runs: tuple[Hashes, ...] = ()
    elsewhere: int = 0

    @classmethod
    def of(cls, hashes: Hashes) -> "DistinctRows":
        """Return the set of some hashes, in any order and with repetitions."""
        return cls((sort_distinct(hashes),)) if len(hashes) else cls()

    def __len__(self) -> int:
        """Return how many distinct rows there are."""
        return self.elsewhere + sum(map(len, self.runs))

    def merge(self, other: "DistinctRows") -> "DistinctRows":
        """Return the union; rows counted elsewhere are taken to be distinct from all others."""
        runs = list(self.runs)
        for run in other.runs:
            new = run
            for known in self.runs:
                new = without(new, known)
            runs.append(new)
        kept = _compacted([run for run in runs if len(run)])
        return DistinctRows(tuple(kept), self.elsewhere + other.elsewhere)

    def joined(self) -> Hashes:
        """Return all hashes as one sorted array (n,)."""
        if len(self.runs) == 1:
            return self.runs[0]
        return _join(list(self.runs)) if self.runs else np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class KnownRows:
    """The distinct rows of a reference: their hashes (u,), sorted, and how often each occurs in it (u,)."""

    hashes: Hashes
    counts: Counts

    @classmethod
    def of(cls, hashes: Hashes) -> "KnownRows":
        """Return the rows with these hashes, in any order and with repetitions."""
        distinct = sort_distinct(hashes)
        return cls(distinct, _count(distinct, hashes))

    def count(self, hashes: Hashes) -> Counts:
        """Return how often each of the known rows occurs among others (u,)."""
        begins, bits = self._begins
        likely = hashes[np.flatnonzero(begins.take(hashes >> bits))]
        return _count(self.hashes, likely[contained(likely, self.hashes)])

    @cached_property
    def _begins(self) -> tuple[npt.NDArray[np.bool_], np.uint64]:
        """Return which first bits of a hash a known one has, and how many bits follow: most others begin otherwise."""
        first = min(20, max(10, len(self.hashes).bit_length() + 6))
        begins = np.zeros(2**first, np.bool_)
        begins[self.hashes >> np.uint64(64 - first)] = True
        return begins, np.uint64(64 - first)


def _count(distinct: Hashes, hashes: Hashes) -> Counts:
    return np.bincount(np.searchsorted(distinct, hashes), minlength=len(distinct))


def _compacted(runs: list[Hashes]) -> list[Hashes]:
    """Join runs until each is at least twice as long as the next, so that a hash is moved log(n) times at most."""
    runs = sorted(runs, key=len, reverse=True)
    while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
        runs[-2:] = [_join(runs[-2:])]
        runs.sort(key=len, reverse=True)
    return runs


def _join(runs: list[Hashes]) -> Hashes:
    """Return the sorted hashes (n,) of sorted runs."""
    joined = np.concatenate(runs)
    joined.sort(kind="stable")  # a stable sort of sorted runs is a merge
    return joined


def sort_distinct(hashes: Hashes) -> Hashes:
    """Return the distinct hashes, sorted (k,)."""
    ordered = np.sort(hashes)
    new = np.empty(len(ordered), np.bool_)
    new[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered if new.all() else ordered[new]


def contained(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Return for each hash whether it is among the known ones, which are sorted (n,)."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.searchsorted(known, hashes)
    places[places == len(known)] = 0
    found: npt.NDArray[np.bool_] = known[places] == hashes
    return found


def without(hashes: Hashes, known: Hashes) -> Hashes:
    """Return the sorted hashes (k,) that are not among the known ones, which are sorted too."""
    few, many = sorted((hashes, known), key=len)
    found = contained(few, many)
    if not found.any():
        return hashes
    if few is hashes:
        return hashes[~found]
    keep = np.ones(len(hashes), np.bool_)
    keep[np.searchsorted(hashes, known[found])] = False
    return hashes[keep]
