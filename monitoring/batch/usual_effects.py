"""By how much the reference's own days differ from the whole of it: a batch of a day that differs no more is no drift.

Rows of one day depend on each other, so that a day is unlike a month far more often than a test of independent rows
says. Where the reference knows its rows' times, it is divided into pieces as long as the batch, each beginning at the
batch's time of day, and the piece that differs most says what is usual, for each column.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from monitoring.profile.columns import column_of
from monitoring.profile.counting import profile_rows
from monitoring.profile.profile import Profile
from monitoring.profile.two_sample_tests import total_variation
from monitoring.snapshot.shapes import shape_of

LEAST_PIECES = 10  # of fewer nothing is learned
_DAY = 86_400_000_000  # microseconds
_WHOLE_DAYS = _DAY // 4  # a longer batch is one of whole days


@dataclass(frozen=True)
class UsualEffects:
    """The largest effect in each column among so many pieces of the reference, each of so many microseconds."""

    pieces: int = 0
    length: int = 0
    largest: dict[str, float] = field(default_factory=dict)

    def least(self, column: str, effect: float) -> float:
        """Return the effect from which on a column has drifted: the one asked for, or more where more is usual."""
        return max(effect, self.largest.get(column, 0.0))

    @property
    def said(self) -> str | None:
        """Say what is usual; None if nothing was learned."""
        if not self.pieces:
            return None
        days = self.length / _DAY
        length = f"{days:g} day{'s' if days > 1 else ''}" if days >= 1 else f"{self.length / 3.6e9:.1f} hours"
        return f"{self.pieces} pieces of {length} of the reference"


def effect_of(column: str, reference: Profile, current: Profile) -> float:
    """Return by how much a column has changed.

    Of numbers it is the mean's shift in standard deviations, or the Kolmogorov-Smirnov statistic if that is larger; of
    levels the total variation distance.
    """
    shaped = shape_of(column_of(current.grid, column))
    if shaped is None:
        return float(total_variation(reference.predictions, current.predictions))
    shape = shaped.shape(reference, current)
    return max(abs(shape.effect_size or 0.0), shape.ks_statistic or 0.0)


def usual_effects(rows: pa.Table, reference: Profile, current: Profile, least_rows: int) -> UsualEffects:
    """Return how much pieces of the reference's rows differ from it that are as long as the batch of `current`.

    A piece of fewer rows than `least_rows`, or than half of the batch's, does not count.
    """
    if "timestamp" not in rows.column_names or current.last < 0:
        return UsualEffects()
    span = int(current.last - current.first) + 1
    length = -(-span // _DAY) * _DAY if span > _WHOLE_DAYS else span
    enough = max(least_rows, current.rows // 2)
    pieces = [profile_rows(reference.grid, piece) for piece in _divided(rows, int(current.first), length, enough)]
    if len(pieces) < LEAST_PIECES:
        return UsualEffects()
    model = reference.grid.model
    columns = (*model.features, model.prediction)
    largest = {name: max(effect_of(name, reference, piece) for piece in pieces) for name in columns}
    return UsualEffects(len(pieces), length, largest)


def _divided(rows: pa.Table, begin: int, length: int, enough: int) -> Iterator[pa.Table]:
    """Yield the pieces of the rows that are long enough, cut where `begin` and each `length` before and after it is."""
    numbers = (rows["timestamp"].cast(pa.int64()).to_numpy() - begin) // length
    order = np.argsort(numbers, kind="stable")
    _, starts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        if count >= enough:
            yield rows.take(pa.array(order[start : start + count]))
