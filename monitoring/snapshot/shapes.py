"""How a feature's values lie in the window and in the reference: one class for each kind of column."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Protocol

import numpy as np

from monitoring.profile.columns import LevelColumn, NumericColumn, PredictedColumn
from monitoring.profile.profile import Floats, Profile
from monitoring.profile.two_sample_tests import ks_statistic, total_variation
from monitoring.snapshot.snapshot import Bin, Shape

LEVELS_SHOWN = 10  # of a category: the reference's most frequent ones
LEVELS_NAMED = 5  # in a verdict's words
EXPECTED = 10  # values that a level should have by the reference, for its absence to be told


class Shaped(Protocol):
    """What is said of a feature beyond its drift test."""

    def shape(self, reference: Profile, current: Profile) -> Shape:
        """Return sizes of the difference and the shares of ranges or levels."""

    def bins(self, reference: Profile, current: Profile) -> tuple[Bin, ...]:
        """Return both sides' shares of ranges or levels."""

    def words(self, reference: Profile, current: Profile) -> str:
        """Return what a verdict says beyond the test; nothing if there is nothing to say."""


class NumericShape:
    """The shape of a column of numbers."""

    def __init__(self, column: NumericColumn) -> None:
        self._index = column.index

    def shape(self, reference: Profile, current: Profile) -> Shape:
        """Return the Kolmogorov-Smirnov statistic, the mean's shift, the outliers, and shares of equal widths."""
        index = self._index
        return Shape(
            ks_statistic=ks_statistic(reference.column(index), current.column(index)),
            effect_size=self._effect_size(reference, current),
            outliers=self._count_outliers(current),
            bins=self.bins(reference, current),
        )

    def _effect_size(self, reference: Profile, current: Profile) -> float | None:
        """Return the mean's shift in the reference's standard deviations (Glass's delta); None if it does not vary."""
        variance = reference.variance(self._index)
        if not variance > 0:
            return None
        return (current.mean(self._index) - reference.mean(self._index)) / float(np.sqrt(variance))

    def _count_outliers(self, current: Profile) -> int:
        """Count values beyond the reference's Tukey fences, infinite ones with them."""
        index = self._index
        low, high = current.grid.numeric.fences[index]
        above = current.finite(index) - current.up_to(index, high)
        return current.below(index, low) + above + int(current.special[index, 1:].sum())

    def bins(self, reference: Profile, current: Profile) -> tuple[Bin, ...]:
        """Return both shares over equal widths of the reference's range; the outer bins are open."""
        index = self._index
        ours = reference.histogram(index) / max(1, reference.finite(index))
        theirs = current.histogram(index) / current.finite(index) if current.finite(index) else None
        names = range_names(reference.grid.numeric.edges[index][1:-1])
        return tuple(
            Bin(name, float(ours[n]), None if theirs is None else float(theirs[n])) for n, name in enumerate(names)
        )

    def words(self, _reference: Profile, current: Profile) -> str:
        """Return how many values are infinite, which no drift test is about."""
        infinite = int(current.special[self._index, 1:].sum())
        return f"{infinite:,} values are infinite." if infinite else ""


class CategoricalShape:
    """The shape of a column of levels."""

    def __init__(self, column: LevelColumn) -> None:
        self._column = column

    def shape(self, reference: Profile, current: Profile) -> Shape:
        """Return the total variation distance, and the shares of the most frequent levels."""
        counts = self._column.counts
        return Shape(
            ks_statistic=None,
            effect_size=total_variation(counts(reference), counts(current)),
            outliers=None,
            bins=self.bins(reference, current),
        )

    def bins(self, reference: Profile, current: Profile) -> tuple[Bin, ...]:
        """Return both shares of the reference's most frequent levels, of its others, and of unseen ones."""
        ours, theirs = (self._column.known(side) for side in (reference, current))
        ranked = _ranked(ours)
        shown, others = ranked[:LEVELS_SHOWN], ranked[LEVELS_SHOWN:]
        groups = [(name, [name]) for name in shown] + ([("other", others)] if others else [])
        unseen = current.unseen[self._column.index].total
        all_ours, all_theirs = sum(ours.values()), sum(theirs.values()) + unseen
        shares = [
            (name, sum(ours[level] for level in levels), sum(theirs[level] for level in levels))
            for name, levels in groups
        ]
        return tuple(
            Bin(f"{n:02d}: {name}", a / max(1, all_ours), b / all_theirs if all_theirs else None)
            for n, (name, a, b) in enumerate([*shares, ("unseen", 0, unseen)], start=1)
        )

    def words(self, reference: Profile, current: Profile) -> str:
        """Return which levels are new, which are gone, and that values are missing more often."""
        said = [
            self._unseen_words(current),
            self._vanished_words(reference, current),
            self._missing_words(reference, current),
        ]
        return " ".join(one for one in said if one)

    def _unseen_words(self, current: Profile) -> str:
        unseen = current.unseen[self._column.index]
        if not unseen.total:
            return ""
        named = _ranked(unseen.named)
        listed = ", ".join(f"{name or 'empty text'} ({unseen.named[name]:,})" for name in named[:LEVELS_NAMED])
        more = len(named) - LEVELS_NAMED
        listed += f" and {more}{' or more' if unseen.unnamed else ''} others" if more > 0 else ""
        return f"Not in the reference: {listed}."

    def _vanished_words(self, reference: Profile, current: Profile) -> str:
        ours, theirs = (self._column.known(side) for side in (reference, current))
        scale = self._column.judged(current) / max(1, self._column.judged(reference))
        gone = [name for name in _ranked(ours) if not theirs[name] and ours[name] * scale >= EXPECTED]
        if not gone:
            return ""
        more = f" and {len(gone) - LEVELS_NAMED} others" if len(gone) > LEVELS_NAMED else ""
        return f"Gone: {', '.join(gone[:LEVELS_NAMED])}{more}."

    def _missing_words(self, reference: Profile, current: Profile) -> str:
        ours, theirs = (self._column.nulls(side) / max(1, side.rows) for side in (reference, current))
        return f"Missing in {theirs:.1%}, in the reference in {ours:.1%}." if theirs else ""


def _ranked(counts: Mapping[str, int]) -> list[str]:
    """Return levels by how often they occur, the most frequent first."""
    return sorted(counts, key=lambda name: (-counts[name], name))


def range_names(edges: Floats) -> list[str]:
    """Return names of the ranges between inner edges, in an order that holds for texts too; the outer ones are open."""
    digits = next((d for d in range(4, 17) if len({f"{edge:.{d}g}" for edge in edges}) == len(set(edges))), 17)
    inner = [f"{edge:.{digits}g}" for edge in edges]
    ranges = [
        f"below {inner[0]}",
        *(f"{a} to {b}" for a, b in pairwise(inner)),
        f"from {inner[-1]}",
    ]
    return [f"{n:02d}: {text}" for n, text in enumerate(ranges, start=1)]


def shape_of(column: NumericColumn | LevelColumn | PredictedColumn) -> Shaped | None:
    """Return what describes a column's values; None for predicted categories, which have shares of their own."""
    if isinstance(column, NumericColumn):
        return NumericShape(column)
    return CategoricalShape(column) if isinstance(column, LevelColumn) else None
