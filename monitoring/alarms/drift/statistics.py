"""The statistics of a window, one for each kind of change, made from the sums of its rows' scores.

Each statistic is an approximate -log10 p-value of "the window and the reference are of one population", by normal and
chi-squared approximations and, for counts, by Chernoff's bound. The calibration corrects the approximations: it is made
from the same statistics on rows without drift.
"""

import numpy as np
from scipy import special

from monitoring.alarms.drift.chances import bernoulli, chi_square, largest, normal
from monitoring.alarms.drift.scores import Counts, ReferenceScores
from monitoring.alarms.drift.usual import Floats

KINDS = (
    "shift",  # of one feature
    "shift given the others",  # of one feature, the others being as they were
    "shift of several",
    "shift of several and the mix",
    "scale",  # of one feature
    "scale of several",  # along the principal axes
    "correlation",  # of one pair
    "dependence",  # of all pairs
    "distance",  # from the reference's mean
    "category",  # of one prediction
    "mix",  # of all predictions
    "missing",  # of one feature
    "incomplete rows",
)


def scan_statistics(reference: ReferenceScores, sums: Floats, number: int | Counts) -> Floats:
    """Return the statistics (T, kinds) of windows of `number` rows, one number for all or (T,), from their sums (T, K).

    All are standardised for the difference of two means, whose variance is 1/n + 1/m times that of a row, for windows
    of n rows and a reference of m.
    """
    columns, m = reference.columns, reference.rows
    rows = np.asarray(number, np.float64).reshape(-1, 1)
    weight = 1 / (1 + rows / m)
    scale = np.sqrt(weight / rows)
    z = sums[:, columns.scores] * scale
    conditional = z @ reference.precision
    pairs, whitened = sums[:, columns.products] * scale, sums[:, columns.whitened] * scale
    predictions = sums[:, columns.predictions]
    mix = (predictions[:, :-1] - rows * reference.shares[:-1]) * scale
    joint = np.concatenate([z, mix], axis=1)
    d, k = columns.features, columns.categories
    paired = pairs.shape[1] > d  # else there is one feature, or there are too many for pairs
    shares = predictions / rows
    missing = sums[:, columns.missing] / rows
    found = np.stack(
        [
            normal(largest(z / np.sqrt(np.diagonal(reference.covariance)))),
            normal(largest(conditional / np.sqrt(np.diagonal(reference.precision)))),
            chi_square(np.einsum("ij,ij->i", conditional, z), d),
            chi_square(np.einsum("ij,ij->i", joint @ reference.joint_precision, joint), d + k - 1),
            normal(largest(pairs[:, :d])),
            chi_square((whitened[:, :d] ** 2).sum(1), d),
            normal(largest(pairs[:, d:])) if paired else np.zeros(len(sums)),
            chi_square((whitened[:, d:] ** 2).sum(1), d * (d - 1) // 2) if paired else np.zeros(len(sums)),
            normal(largest(sums[:, columns.distance] * scale)),
            bernoulli(shares, reference.shares, rows * weight).max(1),
            chi_square((2 * rows * weight * special.rel_entr(shares, reference.shares)).sum(1), k - 1),
            bernoulli(missing[:, :-1], reference.missing[:-1], rows * weight).max(1, initial=0),
            bernoulli(missing[:, -1:], reference.missing[-1:], rows * weight).max(1),
        ],
        axis=1,
    )
    if not reference.levels.kinds:
        return found
    return np.concatenate([found, reference.levels.statistics(sums[:, columns.levels], rows, weight)], axis=1)
