"""Quantiles of a numeric column from its profile: exact, or between two neighbouring numbers that the profile knows.

Known are the reference's values (marks), the configured bounds and the values next to them, the least and the greatest.
A quantile that is not exact lies on the same side of every configured bound as both numbers that it lies between.
"""

from math import floor
from typing import NamedTuple

import numpy as np

from monitoring.profile.profile import Profile


class Between(NamedTuple):
    """Two numbers that a quantile lies between; they are the same where it is exact."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Return a number between both."""
        return self.low if self.exact else self.low / 2 + self.high / 2

    @property
    def exact(self) -> bool:
        """Return whether the quantile is known exactly; NaN is."""
        return not self.low < self.high


def quantile(profile: Profile, index: int, share: float) -> Between:
    """Return a quantile of a numeric column's values, infinite ones too, as numpy interpolates it linearly.

    The column must hold a value.
    """
    _, lowest, highest = profile.special[index].tolist()
    number = profile.finite(index) + lowest + highest
    place = (number - 1) * (share * 100 / 100)  # as pandas hands it to numpy
    lower = min(floor(place), number - 1)
    ends = [_ordered(profile, index, min(rank, number - 1) - lowest) for rank in (lower, lower + 1)]
    return Between(*(_interpolate(a, b, place - lower) for a, b in zip(*ends, strict=True)))


def _interpolate(a: float, b: float, part: float) -> float:
    """Return the number that lies that part of the way from a to b, to the bit as numpy does; NaN beside infinity."""
    gap = b - a
    return b - gap * (1 - part) if part >= 1 / 2 else a + gap * part


def _ordered(profile: Profile, index: int, rank: int) -> Between:
    """Return what is known of the value that as many finite ones are not greater than: its rank, from 0."""
    if rank < 0:
        return Between(-np.inf, -np.inf)
    if rank >= profile.finite(index):
        return Between(np.inf, np.inf)
    marks = profile.grid.numeric.marks[index].values
    cell = int(np.searchsorted(np.cumsum(profile.column(index)), rank, side="right"))
    if cell % 2:
        return Between(float(marks[cell // 2]), float(marks[cell // 2]))
    low, high = float(profile.low[index]), float(profile.high[index])
    if rank == 0 or rank == profile.finite(index) - 1:
        return Between(low, low) if rank == 0 else Between(high, high)
    if cell:
        low = max(low, float(marks[cell // 2 - 1]))
    if cell // 2 < len(marks):
        high = min(high, float(marks[cell // 2]))
    return _beside_bounds(profile, index, rank, Between(low, high))


def _beside_bounds(profile: Profile, index: int, rank: int, found: Between) -> Between:
    """Narrow down where a value lies by what is counted beside the configured bounds."""
    low, high = found
    name = profile.grid.numeric.names[index]
    for bound in profile.grid.bounds.numbers.get(name, ()):
        place = profile.grid.bounds.places[name, bound]
        below, at = profile.beside[place].tolist()
        if below <= rank < below + at:
            return Between(bound, bound)
        if rank < below:
            high = min(high, float(profile.next_below[place]))
            low = high if rank == below - 1 else low
        else:
            low = max(low, float(profile.next_above[place]))
            high = low if rank == below + at else high
    return Between(low, high)
