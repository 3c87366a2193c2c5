"""How many distinct rows a window has, while parts come and go: each row is counted for one part.

A row that occurs in several parts is owned by the one that begins last: the window loses its oldest part first, and
with it no row that it still has. Taking a part in costs a look-up of its rows in each other part.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from monitoring.profile.distinct_rows import Hashes, contained, sort_distinct, without

SLICES = 32
NONE: Hashes = np.empty(0, np.uint64)


@dataclass(frozen=True, eq=False)
class _Share:
    """A part's distinct rows, sorted: those counted for it, and those it has that are counted for a later part."""

    begins: tuple[int, str]
    owned: Hashes
    given: Hashes = field(default_factory=lambda: NONE)
    forgotten: int = 0  # rows that were owned when their hashes were let go

    def give(self, hashes: Hashes) -> "_Share":
        return replace(self, owned=without(self.owned, hashes), given=_union(self.given, hashes))

    def take(self, hashes: Hashes) -> "_Share":
        return replace(self, owned=_union(self.owned, hashes), given=without(self.given, hashes))


def _union(a: Hashes, b: Hashes) -> Hashes:
    return sort_distinct(np.concatenate([a, b]))


class RowOwners:
    """The parts of a window, each with the rows that are counted for it."""

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}

    def add(self, parts: Mapping[str, tuple[int, Hashes]]) -> None:
        """Take in parts: each one's begin (any unit), and the sorted distinct hashes of its rows."""
        new = {name: _Share((begin, name), hashes) for name, (begin, hashes) in parts.items()}
        if sum(len(s.owned) for s in new.values()) > sum(len(s.owned) for s in self._shares.values()):
            self._shares |= new
            self._settle_all()
            return
        for name, share in new.items():
            self._shares[name] = share
            for other in [n for n in self._shares if n != name]:
                self._settle(name, other)

    def _settle(self, a: str, b: str) -> None:
        """Leave the rows that two parts own to the one that begins later."""
        older = min(a, b, key=lambda name: self._shares[name].begins)
        few, many = sorted((self._shares[a].owned, self._shares[b].owned), key=len)
        both = few[contained(few, many)]
        if len(both):
            self._shares[older] = self._shares[older].give(both)

    def _settle_all(self) -> None:
        """Do the same for all parts at once, a slice of the hashes' range at a time: that needs little memory."""
        order = sorted(self._shares, key=lambda name: self._shares[name].begins)
        given: dict[str, list[Hashes]] = {name: [] for name in order}
        bounds = np.array([n * 2**64 // SLICES for n in range(1, SLICES)], np.uint64)
        cuts = {
            name: [0, *np.searchsorted(share.owned, bounds).tolist(), len(share.owned)]
            for name, share in self._shares.items()
        }
        for n in range(SLICES):
            pieces = [self._shares[name].owned[cuts[name][n] : cuts[name][n + 1]] for name in order]
            for place, hashes in _repeated(pieces):
                given[order[place]].append(hashes)
        for name, found in given.items():
            if found:
                self._shares[name] = self._shares[name].give(np.concatenate(found))

    def drop(self, names: Iterable[str]) -> None:
        """Let parts go; rows that others have too are counted for these from now on."""
        orphans = NONE
        for name in names:
            orphans = _union(orphans, self._shares.pop(name).owned)
        for name in sorted(self._shares, key=lambda n: self._shares[n].begins, reverse=True):
            if len(self._shares[name].given) and len(orphans):
                found = orphans[contained(orphans, self._shares[name].given)]
                self._shares[name] = self._shares[name].take(found)
                orphans = without(orphans, found)

    def forget(self, name: str) -> None:
        """Let a part's hashes go and keep their number: later rows no longer count as their repetitions."""
        share = self._shares[name]
        self._shares[name] = replace(share, owned=NONE, given=NONE, forgotten=share.forgotten + len(share.owned))

    @property
    def names(self) -> set[str]:
        """Return the parts' names."""
        return set(self._shares)

    def __contains__(self, name: str) -> bool:
        return name in self._shares

    def hashes(self, name: str) -> Hashes:
        """Return the hashes of all of a part's rows."""
        return _union(self._shares[name].owned, self._shares[name].given)

    def owned(self, name: str) -> int:
        """Return how many rows are counted for a part."""
        return len(self._shares[name].owned) + self._shares[name].forgotten

    def count(self, names: Iterable[str], hashes: Hashes) -> int:
        """Return how many of these sorted distinct hashes, rows of some parts, are counted for one of them."""
        shares = [self._shares[name] for name in names]
        if any(share.forgotten for share in shares):
            return len(hashes)
        return sum(int(np.count_nonzero(contained(hashes, share.owned))) for share in shares)


def _repeated(pieces: list[Hashes]) -> Iterable[tuple[int, Hashes]]:
    """Yield per piece the hashes that a later piece has too."""
    pool = np.concatenate(pieces)
    order = np.argsort(pool, kind="stable")
    again = order[:-1][pool[order[:-1]] == pool[order[1:]]]
    if not len(again):
        return
    ends = np.cumsum([len(piece) for piece in pieces])
    places = np.searchsorted(ends, again, side="right")
    for place in np.unique(places).tolist():
        yield place, np.sort(pool[again[places == place]])
