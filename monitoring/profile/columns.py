"""A tested column, by its kind: what profiles say of it, and how two of them are compared.

Whoever asks for a column's missing values, p-value or range asks `column_of`; a third kind would be one more class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple, Protocol

from monitoring.contract.kinds import KindName
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile
from monitoring.profile.two_sample_tests import CATEGORICAL, NUMERIC

REST = "(other unseen levels)"  # the name that levels beyond the named ones have together


class Void(NamedTuple):
    """How many values of a column no test can take: missing, empty text, -inf, +inf."""

    missing: int
    empty: int
    lowest: int
    highest: int


class UnknownTestError(ValueError):
    """A drift test that profiles do not give."""


class Column(Protocol):
    """A feature or the prediction in profiles of one grid."""

    @property
    def name(self) -> str:
        """Return the column's name."""

    @property
    def kind(self) -> KindName:
        """Return the kind of its values."""

    def judged(self, profile: Profile) -> int:
        """Return how many values a drift test looks at."""

    def void(self, profile: Profile) -> Void:
        """Return how many values are none."""

    def mismatched(self, profile: Profile) -> bool:
        """Return whether the column holds what it should not by its type."""

    def constant(self, profile: Profile) -> bool:
        """Return whether there is one distinct value, or none."""

    def uniques(self, profile: Profile) -> float:
        """Return how many distinct values there are; NaN where a profile does not know."""

    def infinite_alone(self, profile: Profile) -> bool:
        """Return whether there are infinite numbers and none is missing."""

    def compare(self, test: str, reference: Profile, current: Profile, infinite: tuple[bool, bool]) -> float:
        """Return what a drift test says: a p-value or a distance; raise UnknownTestError if there is none of the name.

        `infinite` says for each of both whether its infinite values count.
        """


@dataclass(frozen=True)
class NumericColumn:
    """A column of numbers, by its place in the grid."""

    name: str
    index: int
    kind: KindName = "numeric"

    def judged(self, profile: Profile) -> int:
        """Return how many numbers are finite."""
        return profile.finite(self.index)

    def bounds(self, profile: Profile) -> tuple[float, float]:
        """Return the least and the greatest number, infinite ones too."""
        _, lowest, highest = profile.special[self.index].tolist()
        least, greatest = float(profile.low[self.index]), float(profile.high[self.index])
        return float("-inf") if lowest else least, float("inf") if highest else greatest

    def between(self, profile: Profile, bounds: tuple[float, float]) -> int:
        """Return how many numbers lie between two of the grid's marks or bounds, or infinity, both included."""
        _, lowest, highest = profile.special[self.index].tolist()
        low, high = bounds
        below = self._split(profile, low)[0] if isfinite(low) else -lowest
        up_to = self._split(profile, high)[1] if isfinite(high) else profile.finite(self.index) + highest
        return max(0, up_to - below)

    def _split(self, profile: Profile, bound: float) -> tuple[int, int]:
        """Return how many finite numbers lie below one of the grid's bounds or marks, and how many up to it."""
        place = profile.grid.bounds.places.get((self.name, bound))
        if place is None:
            assert profile.grid.numeric.marks[self.index].holds(bound), (self.name, bound)
            return profile.below(self.index, bound), profile.up_to(self.index, bound)
        below, at = profile.beside[place].tolist()
        return below, below + at

    def range(self, grid: Grid) -> tuple[float, float]:
        """Return the bounds that a test gives the column, or the reference's own where it gives none."""
        least, greatest = grid.numeric.ranges[self.index]
        left, right = grid.bounds.ranges.get(self.name, (None, None))
        return least if left is None else left, greatest if right is None else right

    def out_of_range(self, profile: Profile) -> int | None:
        """Return how many numbers lie outside the column's range, infinite ones too; None if it has none."""
        if not all(map(isfinite, self.range(profile.grid))):  # the reference holds no number
            return None
        return profile.rows - self.void(profile).missing - self.between(profile, self.range(profile.grid))

    def void(self, profile: Profile) -> Void:
        """Return how many numbers are missing or infinite."""
        missing, lowest, highest = profile.special[self.index].tolist()
        return Void(missing, 0, lowest, highest)

    def mismatched(self, profile: Profile) -> bool:
        """Return whether the column held text."""
        return bool(profile.mismatched[self.index])

    def constant(self, profile: Profile) -> bool:
        """Return whether there is one distinct number, or none."""
        return profile.constant(self.index)

    def uniques(self, profile: Profile) -> float:
        """Return 0 or 1 for a constant column: several distinct numbers are not counted."""
        if not profile.constant(self.index):
            return float("nan")
        return int(profile.finite(self.index) + profile.special[self.index, 1:].sum() > 0)

    def infinite_alone(self, profile: Profile) -> bool:
        """Return whether there are infinite numbers and none is missing."""
        missing, *infinite = profile.special[self.index].tolist()
        return not missing and any(infinite)

    def compare(self, test: str, reference: Profile, current: Profile, infinite: tuple[bool, bool]) -> float:
        """Return a numeric test's p-value."""
        if test not in NUMERIC:
            raise UnknownTestError(f"the drift test {test} of numbers cannot be computed from a profile")
        return NUMERIC[test](reference, current, self.index, infinite)


class _TextColumn:
    """What categorical features and predictions have in common: counts of texts."""

    name: str

    def counts(self, profile: Profile) -> Mapping[str, int]:
        """Return how often each text occurs, of those that do."""
        raise NotImplementedError

    def nulls(self, profile: Profile) -> int:
        """Return how many values are missing."""
        raise NotImplementedError

    def judged(self, profile: Profile) -> int:
        """Return how many values there are."""
        return sum(self.counts(profile).values())

    def void(self, profile: Profile) -> Void:
        """Return how many values are missing or empty."""
        return Void(self.nulls(profile), self.counts(profile).get("", 0), 0, 0)

    def mismatched(self, _profile: Profile) -> bool:
        """Return False: whatever cannot be text is refused."""
        return False

    def constant(self, profile: Profile) -> bool:
        """Return whether there is one distinct text, or none."""
        return len(self.counts(profile)) <= 1

    def uniques(self, profile: Profile) -> float:
        """Return how many distinct texts there are."""
        counts = self.counts(profile)
        return float("nan") if REST in counts else len(counts)

    def infinite_alone(self, _profile: Profile) -> bool:
        """Return False: texts are finite."""
        return False

    def compare(self, test: str, reference: Profile, current: Profile, _infinite: tuple[bool, bool]) -> float:
        """Return a categorical test's p-value or distance."""
        if test not in CATEGORICAL:
            raise UnknownTestError(f"the drift test {test} of categories cannot be computed from a profile")
        return CATEGORICAL[test](self.counts(reference), self.counts(current))


@dataclass(frozen=True)
class LevelColumn(_TextColumn):
    """A categorical feature, by its place in the grid."""

    name: str
    index: int
    kind: KindName = "categorical"

    def known(self, profile: Profile) -> Mapping[str, int]:
        """Return how often each of the reference's levels occurs, those with none too."""
        grid = profile.grid.categorical
        begin, end = grid.offsets[self.index : self.index + 2]
        return dict(zip(grid.levels[self.index], profile.levels[begin:end].tolist(), strict=True))

    def counts(self, profile: Profile) -> Mapping[str, int]:
        """Return how often each level occurs, of those that do; unseen ones without a name together as REST."""
        unseen = profile.unseen[self.index]
        counts = {name: count for name, count in self.known(profile).items() if count}
        for name, count in (*unseen.named.items(), (REST, unseen.unnamed)):
            if count:
                counts[name] = counts.get(name, 0) + count
        return counts

    def nulls(self, profile: Profile) -> int:
        """Return how many values are missing."""
        return int(profile.nulls[self.index])

    def listed(self, profile: Profile, values: Sequence[str]) -> Mapping[str, int]:
        """Return how often each of the values occurs that a test lists."""
        return {value: int(profile.listed[profile.grid.bounds.listed[self.name, value]]) for value in values}


@dataclass(frozen=True)
class PredictedColumn(_TextColumn):
    """The prediction of a classification."""

    name: str
    kind: KindName = "categorical"

    def counts(self, profile: Profile) -> Mapping[str, int]:
        """Return how often each category was predicted."""
        return profile.predictions

    def nulls(self, profile: Profile) -> int:
        """Return how many rows have no prediction."""
        return profile.unpredicted


def column_of(grid: Grid, name: str) -> NumericColumn | LevelColumn | PredictedColumn:
    """Return a feature's column, or the prediction's."""
    if grid.model.kind(name).name == "numeric":
        return NumericColumn(name, grid.numeric.places[name])
    if name == grid.model.prediction:
        return PredictedColumn(name)
    return LevelColumn(name, grid.categorical.places[name])


def columns_of(grid: Grid) -> tuple[Column, ...]:
    """Return all tested columns: the features in the config's order, and the prediction."""
    return tuple(column_of(grid, name) for name in (*grid.model.features, grid.model.prediction))


def features_of(grid: Grid) -> tuple[Column, ...]:
    """Return the features' columns in the config's order."""
    return columns_of(grid)[:-1]


def judgeable(*profiles: Profile) -> tuple[str, ...]:
    """Return the features that hold at least one value that tests look at in each of the profiles."""
    return tuple(c.name for c in features_of(profiles[0].grid) if all(c.judged(p) for p in profiles))
