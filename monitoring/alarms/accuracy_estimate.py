"""Accuracy without labels, from how sure the model is: confidence-based performance estimation.

When a model is promoted, rows that it has not seen tell how often it is right at each confidence. The mean of that over
a window's confidences estimates the share of the window that is right. It sees a model that grows unsure, because its
rows come from where it was always weak. It cannot see a model that is wrong and sure of it: where the meaning of the
features has changed (concept drift), or rows lie where no row of the training lay, only labels tell.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.contract.reference import Performance, ReliabilityCurve
from monitoring.profile.profile import CONFIDENCE_BINS, Profile

Floats = npt.NDArray[np.float64]

QUANTILE = 1.959963984540054  # of the normal distribution: 95 % lie within so many standard deviations


@dataclass(frozen=True)
class Estimate:
    """An estimate of a window's accuracy, and the interval that holds it in 95 % of cases; of so many rows."""

    accuracy: float
    low: float
    high: float
    rows: int


def estimate_accuracy(performance: Performance | None, profile: Profile, minimum_rows: int) -> Estimate | None:
    """Estimate the accuracy on a profile's rows; None with too few confidences, or without a calibration.

    The interval is for the share of these rows that is right, as their labels would tell it. Its variance is that of
    the calibration, whose knots are shares of so many rows (delta method: the estimate is linear in them), and that of
    the window's own rows, each right by chance at its confidence.
    """
    rows = int(profile.confidence.sum())
    if performance is None or performance.calibration is None or rows < max(1, minimum_rows):
        return None
    calibration = performance.calibration
    weights = profile.confidence / rows @ _hats(calibration)
    right, number = np.array(calibration.accuracy), np.array(calibration.rows)
    smooth = (right * number + 1) / (number + 2)  # Laplace: a knot of ten rows that were all right is no certainty
    spread = smooth * (1 - smooth)
    accuracy = float(weights @ right)
    margin = QUANTILE * float(np.sqrt(weights**2 @ (spread / number) + weights @ spread / rows))
    return Estimate(accuracy, max(0.0, accuracy - margin), min(1.0, accuracy + margin), rows)


def _hats(calibration: ReliabilityCurve) -> Floats:
    """Return each knot's weight at each bin of confidence (bins, knots): the map is linear between the knots."""
    middles = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    knots = np.array(calibration.confidence)
    hats: Floats = np.stack([np.interp(middles, knots, unit) for unit in np.eye(len(knots))], axis=1)
    return hats
