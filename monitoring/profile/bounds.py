"""Bounds that tests in config.yml name: what is counted beside them, so that the tests' verdicts are exact.

A bound may lie far from all that the reference holds, so it is no mark: buckets between marks would become wide. How
many values lie below a bound and at it, and which ones are next to it, add up like all that a profile counts. So it is
known exactly whether a quantile exceeds the bound: if it lies between both neighbours, it is interpolated from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, floor
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.contract.config import Config, SuiteEntry
from monitoring.profile.categorical import TextColumn

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

DECIMALS = 100  # Evidently rounds a median to two of them before it is compared


@dataclass(frozen=True)
class Bounds:
    """The configured bounds: numbers by numeric feature, values by categorical one, and ranges for `out_of_range`."""

    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config) -> "Bounds":
        """Return the bounds of a config's tests."""
        numbers: dict[str, set[float]] = {}
        values: dict[str, set[str]] = {}
        ranges: dict[str, tuple[float | None, float | None]] = {}
        for entry in config.tests:
            if entry.column is not None and (entry.left, entry.right) != (None, None):
                ranges.setdefault(entry.column, (entry.left, entry.right))
            if entry.column is not None and entry.values is not None:
                values.setdefault(entry.column, set()).update(entry.values)
            if found := set(_numbers(entry)):
                of = config.model.of_kind("numeric") if entry.column is None else (entry.column,)
                for name in of:
                    numbers.setdefault(name, set()).update(found)
        return cls(
            {name: tuple(sorted(some)) for name, some in sorted(numbers.items())},
            {name: tuple(sorted(some)) for name, some in sorted(values.items())},
            ranges,
        )

    @cached_property
    def places(self) -> Mapping[tuple[str, float], int]:
        """Return each bound's place among all, by its feature and its number."""
        pairs = [(name, bound) for name, some in self.numbers.items() for bound in some]
        return {pair: place for place, pair in enumerate(pairs)}

    @cached_property
    def listed(self) -> Mapping[tuple[str, str], int]:
        """Return each value's place among all, by its feature and its text."""
        pairs = [(name, value) for name, some in self.values.items() for value in some]
        return {pair: place for place, pair in enumerate(pairs)}

    def count(self, names: Sequence[str], columns: Floats) -> dict[str, Any]:
        """Count the values of numeric columns (d, n) at the bounds; return fields of a profile."""
        beside = np.zeros((len(self.places), 2), np.int64)
        nearest = np.array([[np.inf, -np.inf]] * len(self.places)).reshape(-1, 2)
        for (name, bound), place in self.places.items():
            values = columns[names.index(name)]
            values = values[np.isfinite(values)]
            below, above = values[values < bound], values[values > bound]
            beside[place] = len(below), len(values) - len(below) - len(above)
            nearest[place] = above.min(initial=np.inf), below.max(initial=-np.inf)
        return {"beside": beside, "next_above": nearest[:, 0], "next_below": nearest[:, 1]}

    def count_listed(self, names: Sequence[str], columns: Sequence[TextColumn]) -> Counts:
        """Count how often each of the listed values occurs in categorical columns (values,)."""
        counts = np.zeros(len(self.listed), np.int64)
        for name in self.values:
            column = columns[names.index(name)]
            for word, count in zip(column.words.to_pylist(), column.counts.tolist(), strict=True):
                if (place := self.listed.get((name, word))) is not None:
                    counts[place] += count
        return counts


def _numbers(entry: SuiteEntry) -> tuple[float, ...]:
    """Return the numbers that a test's values or quantile are held against."""
    ends = tuple(end for end in (entry.left, entry.right) if end is not None)
    if entry.name == "TestColumnQuantile":
        return tuple(entry.condition.values())
    if entry.name == "TestColumnValueMedian":
        rounded = {of(bound * DECIMALS) for bound in entry.condition.values() for of in (floor, ceil)}
        return tuple((one + half) / DECIMALS for one in rounded for half in (-0.5, 0.5))
    return ends
