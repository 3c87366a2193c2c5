"""Accuracy without labels, from the model's confidence: confidence-based performance estimation.

When a model is promoted, its reliability curve is measured on rows that it was not trained on: how often it is right at
each confidence. The mean of the curve over a window's confidences estimates the window's accuracy. So it falls when
more rows come from where the model was always weak. It does not fall when a model is wrong and confident: where the
meaning of the features has changed (concept drift), or where rows lie far from all training rows, only labels tell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.contract.reference import Performance, ReliabilityCurve
from monitoring.profile.profile import CONFIDENCE_BINS, Profile

Floats = npt.NDArray[np.float64]

QUANTILE = 1.959963984540054  # of the normal distribution: 95 % lie within so many standard deviations of the mean


@dataclass(frozen=True)
class Estimate:
    """An estimate of a window's accuracy from its `rows`, and the interval that holds it in 95 % of cases."""

    accuracy: float
    low: float
    high: float
    rows: int


def estimate_accuracy(performance: Performance | None, profile: Profile, minimum_rows: int) -> Estimate | None:
    """Estimate the accuracy on a profile's rows; None with too few confidences, or without a reliability curve.

    The interval is for the share of these very rows that is right. Its variance is the sum of two. One is the curve's,
    whose knots are shares of a number of rows; the estimate is linear in them (delta method). The other is the
    window's, each of whose rows is right with a probability that follows from its confidence.
    """
    rows = int(profile.confidence.sum())
    if performance is None or performance.calibration is None or rows < max(1, minimum_rows):
        return None
    curve = performance.calibration
    weights = profile.confidence / rows @ _interpolation_weights(curve)
    right, number = np.array(curve.accuracy), np.array(curve.rows)
    smooth = (right * number + 1) / (number + 2)  # Laplace's rule: ten of ten right is no certainty
    spread = smooth * (1 - smooth)
    accuracy = float(weights @ right)
    margin = QUANTILE * float(np.sqrt(weights**2 @ (spread / number) + weights @ spread / rows))
    return Estimate(accuracy, max(0.0, accuracy - margin), min(1.0, accuracy + margin), rows)


def _interpolation_weights(curve: ReliabilityCurve) -> Floats:
    """Return each knot's weight at each bin of confidence (bins, knots): the curve is linear between its knots."""
    middles = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    knots = np.array(curve.confidence)
    weights: Floats = np.stack([np.interp(middles, knots, unit) for unit in np.eye(len(knots))], axis=1)
    return weights
