"""Categorical features in profiles: exact counts of the reference's levels, and of the first unseen ones by name.

Names of unseen levels are bounded, and must be the same in whatever order profiles are merged. So the UNSEEN_KEPT
first ones of the alphabet are kept: a name that is among them in the end was among them in each of the profiles, so
that its count is exact. All others are counted together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import nsmallest

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.kinds import LONGEST_LEVEL
from monitoring.profile.kernel import Counts, Hashes, hash_text

UNSEEN_KEPT = 100
TEXTS = pa.dictionary(pa.int32(), pa.string())

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unseen:
    """Levels that the reference does not hold: how many values have one, and the counts of the first names.

    Of a name of more than LONGEST_LEVEL characters the first ones count.
    """

    total: int = 0
    named: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str], counts: Sequence[int]) -> "Unseen":
        """Return the counts of some names, each of which may stand more than once."""
        named: dict[str, int] = {}
        for name, count in zip(names, counts, strict=True):
            short = name[:LONGEST_LEVEL]
            named[short] = named.get(short, 0) + count
        return cls(sum(counts), _first(named))

    def __add__(self, other: "Unseen") -> "Unseen":
        """Return the counts of both."""
        if not (self.total and other.total):
            return self if self.total else other
        both = dict(self.named)
        for name, count in other.named.items():
            both[name] = both.get(name, 0) + count
        return Unseen(self.total + other.total, _first(both))

    @property
    def unnamed(self) -> int:
        """Return how many values have a level that is not named: there were more than UNSEEN_KEPT."""
        return self.total - sum(self.named.values())


def _first(named: Mapping[str, int]) -> dict[str, int]:
    return {name: named[name] for name in nsmallest(UNSEEN_KEPT, named)}


@dataclass(frozen=True, eq=False)
class LevelGrid:
    """What categorical features are counted against: each one's levels in the reference, in alphabetical order."""

    names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, names: Sequence[str], columns: Sequence["TextColumn"]) -> "LevelGrid":
        """Make the grid of a reference's columns."""
        return cls(tuple(names), tuple(tuple(sorted(column.present)) for column in columns))

    @cached_property
    def offsets(self) -> Counts:
        """Return where each feature's counts begin in `Profile.levels`, and where the last one's end (c + 1,)."""
        return np.cumsum([0, *map(len, self.levels)])

    @cached_property
    def places(self) -> dict[str, int]:
        """Return each feature's place among them."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _arrays(self) -> tuple[pa.Array, ...]:
        return tuple(pa.array(levels, pa.string()) for levels in self.levels)

    @cached_property
    def _hashes(self) -> tuple[Hashes, ...]:
        return tuple(map(hash_text, self.levels))

    def count(self, index: int, column: "TextColumn") -> tuple[Counts, Unseen]:
        """Count a feature's values by level (k,), and those that the reference does not hold."""
        known, place = self._placed(index, column)
        counts = np.zeros(len(self.levels[index]), np.int64)
        counts[place[known]] = column.counts[known]
        if known.all():
            return counts, Unseen()
        new = ~known & (column.counts > 0)
        return counts, Unseen.of(column.take(new), column.counts[new].tolist())

    def hash(self, index: int, column: "TextColumn") -> Hashes:
        """Return a hash of each word of a feature's column, and last that of none (words + 1,)."""
        known, place = self._placed(index, column)
        hashes = np.zeros(len(known) + 1, np.uint64)
        hashes[-1] = self._hashes[index][-1]
        hashes[:-1][known] = self._hashes[index][place[known]]
        new = ~known & (column.counts > 0)
        hashes[:-1][new] = hash_text(column.take(new))[:-1]
        return hashes

    def _placed(self, index: int, column: "TextColumn") -> tuple[npt.NDArray[np.bool_], Codes]:
        """Return which of a column's words are levels of the reference, and each one's place among these, or -1."""
        found = pc.index_in(column.words, value_set=self._arrays[index])
        place: Codes = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return place >= 0, place


@dataclass(frozen=True, eq=False)
class TextColumn:
    """A column of text as codes (n,), -1 for null, of its distinct words; not each word need occur."""

    codes: Codes
    words: pa.Array

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> "TextColumn":
        """Read a dictionary of texts."""
        array = column.combine_chunks()
        codes: Codes = array.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
        return cls(codes, array.dictionary)

    @classmethod
    def missing(cls, rows: int) -> "TextColumn":
        """Return a column of nulls."""
        return cls(np.full(rows, -1), pa.array([], pa.string()))

    @cached_property
    def counts(self) -> Counts:
        """Return how often each word occurs (words,)."""
        return np.bincount(self.codes + 1, minlength=len(self.words) + 1)[1:]

    @property
    def nulls(self) -> int:
        """Return how many values are null."""
        return len(self.codes) - int(self.counts.sum())

    @property
    def present(self) -> list[str]:
        """Return the words that occur."""
        return self.take(self.counts > 0)

    def take(self, which: npt.NDArray[np.bool_]) -> list[str]:
        """Return some of the words."""
        names: list[str] = self.words.filter(pa.array(which)).to_pylist()
        return names

    def lacking(self) -> npt.NDArray[np.bool_] | None:
        """Return which values are null or empty (n,); None if none is."""
        empty = pc.index(self.words, "").as_py()
        if not self.nulls and (empty < 0 or not self.counts[empty]):
            return None
        lacks: npt.NDArray[np.bool_] = (self.codes < 0) | (self.codes == (empty if empty >= 0 else -1))
        return lacks
