"""The statistics of a window whose rows depend on those before them.

The same kinds of change as in `statistics`, values outside the reference's range, and jumps from the rows just before.
But the mean of n dependent rows varies more than that of n rows drawn one by one, one feature's far more than
another's: a temperature persists for days, a distance does not. So each component of a window's sums (a feature's
shift, a pair's product, a category's count) is divided by its own long-run deviation at that window's length, measured
on whole cycles; else the most persistent one would set the threshold of all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitoring.alarms.drift.chances import chi_square, largest, normal, root
from monitoring.alarms.drift.scores import Counts, ReferenceScores, ScoreColumns
from monitoring.alarms.drift.statistics import KINDS
from monitoring.alarms.drift.usual import Floats

DEPENDENT_KINDS = (
    *KINDS,
    "outside",  # the reference's range
    "jump",  # of one feature, from the rows just before the window
    "jump given the others",
)


@dataclass(frozen=True, eq=False)
class Deviations:
    """How many times more a component deviates than it would if rows did not depend on each other: 1 or more.

    `lengths` (W,) are those of windows in rows, `values` are (W, C).
    """

    lengths: Counts
    values: Floats

    def at(self, number: int | Counts) -> Floats:
        """Return the deviations (T, C) of windows of `number` rows, between lengths by their logarithm."""
        asked = np.log(np.atleast_1d(np.asarray(number, np.float64)))
        known = np.log(self.lengths)
        place = np.clip(np.searchsorted(known, asked, side="right") - 1, 0, max(len(known) - 2, 0))
        if len(known) == 1:
            return np.repeat(self.values, len(asked), axis=0)
        share = np.clip((asked - known[place]) / (known[place + 1] - known[place]), 0, 1)[:, None]
        between: Floats = self.values[place] * (1 - share) + self.values[place + 1] * share
        return between

    def held_at(self, number: int) -> "Deviations":
        """Return the deviations of windows of `number` rows for all lengths."""
        return Deviations(np.array([number]), self.at(number))

    def at_density(self, ratio: float) -> "Deviations":
        """Return the deviations where so many times as many rows come in the same time, as those they are made from.

        What dependence adds to a variance is that of what the rows of one time have in common. It depends on the time
        that a window spans, not on how many rows show it: with the time the same, it grows as the rows.
        """
        rows = self.lengths / ratio
        within = np.maximum(rows, self.lengths[0])
        excess = (self.at(within) ** 2 - 1) * (self.lengths / within)[:, None]
        return Deviations(self.lengths, np.sqrt(1 + excess))


class Components(NamedTuple):
    """Values of the components (…, those of a sort) by their sort, in the order of `components`."""

    shift: Floats  # of each feature (d)
    given: Floats  # the same, the others being as they were (d)
    axes: Floats  # the same along the principal axes (d)
    scale: Floats  # of each feature (d)
    scale_on_axes: Floats  # (d)
    pair: Floats  # of each two features (pairs - d)
    pair_of_axes: Floats  # (pairs - d)
    distance: Floats  # from the reference's mean (1)
    mix: Floats  # of predictions (categories + 1)
    missing: Floats  # of each feature (d)
    incomplete: Floats  # rows (1)
    outside: Floats  # the reference's range (d), and far outside (d)
    levels: Floats  # of categorical features: each of their cells (C)
    jump: Floats  # of each feature (d)
    jump_given: Floats  # the same, the others being as they were (d)


def sizes(columns: ScoreColumns) -> tuple[int, ...]:
    """Return how many components there are of each sort, C in all, in the order of `components`."""
    d, pairs = columns.features, len(columns.pairs[0])
    return (d, d, d, d, d, pairs - d, pairs - d, 1, columns.categories + 1, d, 1, 2 * d, columns.cells.width, d, d)


def split(columns: ScoreColumns, values: Floats) -> Components:
    """Return values of all components (…, C), such as their deviations, by their sort."""
    return Components(*np.split(values, np.cumsum(sizes(columns))[:-1], axis=-1))


def jumps(columns: ScoreColumns) -> npt.NDArray[np.intp]:
    """Return which of the components are jumps."""
    return np.arange(sum(sizes(columns)))[-2 * columns.features :]


def components(reference: ReferenceScores, sums: Floats, before: Floats, number: int | Counts) -> Floats:
    """Return the components (T, C) of windows of `number` rows, from their sums (T, K).

    `before` are the sums of as many rows just before each window, NaN where there are none. Each component would have
    mean 0 and deviation 1 if the window's rows, and the reference's, were drawn one by one.
    """
    columns, d = reference.columns, reference.columns.features
    rows = np.asarray(number, np.float64).reshape(-1, 1)
    weight = 1 / (1 + rows / reference.rows)
    scale = np.sqrt(weight / rows)
    z = sums[:, columns.scores] * scale
    pairs, whitened = sums[:, columns.products] * scale, sums[:, columns.whitened] * scale
    counts = [
        root(sums[:, place] / rows, of, rows * weight)
        for place, of in (
            (columns.predictions, reference.shares),
            (columns.missing, reference.missing),
            (columns.outside, reference.outside),
        )
    ]
    jump = (sums[:, columns.scores] - before[:, columns.scores]) / np.sqrt(2 * rows)
    parts = [
        z / np.sqrt(np.diagonal(reference.covariance)),
        z @ reference.precision / np.sqrt(np.diagonal(reference.precision)),
        z @ reference.whiten,
        pairs[:, :d],
        whitened[:, :d],
        pairs[:, d:],
        whitened[:, d:],
        sums[:, columns.distance] * scale,
        *counts,
        reference.levels.components(sums[:, columns.levels], rows, weight),
        jump / np.sqrt(np.diagonal(reference.covariance)),
        jump @ reference.precision / np.sqrt(np.diagonal(reference.precision)),
    ]
    return np.concatenate(parts, axis=1)


def dependent_statistics(
    reference: ReferenceScores, sums: Floats, before: Floats, number: int | Counts, deviations: Deviations
) -> Floats:
    """Return the statistics (T, kinds) of windows of `number` rows, from their sums (T, K); see `components`."""
    standard = np.nan_to_num(components(reference, sums, before, number)) / deviations.at(number)
    d, k = reference.columns.features, reference.columns.categories
    parts = split(reference.columns, standard)
    paired = parts.pair.shape[1] > 0
    nothing = np.zeros(len(sums))
    joint = (parts.axes**2).sum(1)
    found = np.stack(
        [
            normal(largest(parts.shift)),
            normal(largest(parts.given)),
            chi_square(joint, d),
            chi_square(joint + (parts.mix[:, :-1] ** 2).sum(1), d + k - 1),
            normal(largest(parts.scale)),
            chi_square((parts.scale_on_axes**2).sum(1), d),
            normal(largest(parts.pair)) if paired else nothing,
            chi_square((parts.pair_of_axes**2).sum(1), d * (d - 1) // 2) if paired else nothing,
            normal(largest(parts.distance)),
            normal(largest(parts.mix)),
            chi_square((parts.mix**2).sum(1), k - 1),
            normal(largest(parts.missing)),
            normal(largest(parts.incomplete)),
            normal(largest(parts.outside)),
            normal(largest(parts.jump)),
            normal(largest(parts.jump_given)),
        ],
        axis=1,
    )
    if not reference.levels.kinds:
        return found
    return np.concatenate([found, reference.levels.dependent_statistics(parts.levels)], axis=1)
