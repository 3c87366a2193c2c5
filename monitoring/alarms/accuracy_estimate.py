"""Accuracy without labels, from the model's confidence: confidence-based performance estimation.

When a model is promoted, its reliability curve is measured on rows that it was not trained on: how often it is right at
each confidence. The mean of the curve over a window's confidences estimates the window's accuracy. So it falls when
more rows come from where the model was always weak. It does not fall when a model is wrong and confident: where the
meaning of the features has changed (concept drift), or where rows lie far from all training rows, only labels tell.

How low an estimate is too low follows from the reference: its rows in the order of their times are cut into chunks of
the window's size, and the share that is right in a chunk varies, by chance and because hours and days differ. A lower
prediction bound for one more such chunk is the threshold; NannyML takes three standard deviations of the chunks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from scipy.special import ndtr, stdtrit

from monitoring.contract.config import Model
from monitoring.contract.reference import TIME, Reference, ReliabilityCurve
from monitoring.profile.grid import CONFIDENCE_BINS
from monitoring.profile.profile import Profile

Floats = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]

QUANTILE = 1.959963984540054  # of the normal distribution: 95 % lie within so many standard deviations of the mean
DEVIATIONS = 3.0  # from the mean to the threshold; of Student's distribution the quantile of the same probability
CHUNKS = 10  # so many at least, shorter than the window where need be: fewer do not show how much they vary
CHUNK_ROWS = 20  # of a reference that is too short for chunks of so many rows, no threshold can be told


@dataclass(frozen=True)
class Estimate:
    """An estimate of a window's accuracy from its `rows`, and the interval that holds it in 95 % of cases.

    Below `threshold` lies what the reference's own rows do not explain; None if they are too few to tell. It comes from
    so many `chunks` of them in the order of their times, or from the sampling error alone (0 chunks) if the reference
    has no times.
    """

    accuracy: float
    low: float
    high: float
    rows: int
    threshold: float | None
    chunks: int


@dataclass(frozen=True)
class Variation:
    """How the accuracy of windows varies, as variances.

    `between` is that between spans of time beyond sampling error, `window` that of a window's accuracy in all, `mean`
    that of the reference's. `chunks` is the number of spans that tell, 0 where only the sampling error is known.
    """

    between: float
    window: float
    mean: float
    chunks: int


class AccuracyEstimator:
    """Estimates windows' accuracy by what one reference knows."""

    def __init__(self, reference: Reference, model: Model) -> None:
        """Read the outcomes of the reference's labelled rows, in the order of their times if it has times."""
        performance, table = reference.performance, reference.table
        self._curve = performance.calibration if performance is not None else None
        self._timed = TIME.name in table.column_names
        if self._timed:
            table = table.select([TIME.name, model.prediction, model.target]).sort_by(TIME.name)
        right = pc.equal(table[model.prediction], table[model.target]).drop_null()
        self._right: Right = right.to_numpy().astype(bool)

    def estimate(self, profile: Profile, minimum_rows: int) -> Estimate | None:
        """Estimate the accuracy on a profile's rows; None with too few confidences, or without a reliability curve.

        The interval is for the share of these very rows that is right. Its variance is the sum of three. One is the
        curve's, whose knots are shares of a number of rows; the estimate is linear in them (delta method). One is the
        window's, each of whose rows is right with a probability that follows from its confidence. The third is that
        between the reference's chunks: what made hours and days differ then need not show in the confidences now.
        """
        rows = int(profile.confidence.sum())
        if self._curve is None or rows < max(1, minimum_rows):
            return None
        weights = profile.confidence / rows @ _interpolation_weights(self._curve)
        right, number = np.array(self._curve.accuracy), np.array(self._curve.rows)
        smooth = (right * number + 1) / (number + 2)  # Laplace's rule: ten of ten right is no certainty
        spread = smooth * (1 - smooth)
        accuracy, variation = float(weights @ right), vary(self._right, rows, timed=self._timed)
        between = variation.between if variation else 0.0
        margin = QUANTILE * float(np.sqrt(weights**2 @ (spread / number) + weights @ spread / rows + between))
        return Estimate(
            accuracy,
            max(0.0, accuracy - margin),
            min(1.0, accuracy + margin),
            rows,
            threshold_of(float(self._right.mean()), variation) if variation else None,
            variation.chunks if variation else 0,
        )


def vary(right: Right | Floats, rows: int, *, timed: bool, spread: float | None = None) -> Variation | None:
    """Return how the accuracy of windows of so many rows varies, by the reference's outcomes (n,) in their order.

    Other outcomes than right and wrong, which a regression's errors are, come with the variance of one, `spread`.

    The chunks have as many rows as the window. Where that gives fewer than CHUNKS of them they are shorter, which errs
    to the safe side: the longer the spans, the less they differ beyond sampling error. None with less than CHUNK_ROWS
    rows a chunk. Outcomes without times are in any order: chunks of them would tell nothing, and their number counts.
    """
    size = min(rows, len(right) // CHUNKS)
    spread = _spread(right) if spread is None else spread
    if size < min(rows, CHUNK_ROWS):
        return None
    if not timed:
        return Variation(0.0, spread / rows, spread / len(right), 0)
    chunks = len(right) // size
    shares = right[: chunks * size].reshape(chunks, size).mean(axis=1)
    variance = float(shares.var(ddof=1))
    between = max(0.0, variance - spread / size)
    return Variation(between, min(variance, between + spread / rows), variance / chunks, chunks)


def threshold_of(accuracy: float, variation: Variation) -> float:
    """Return the lower prediction bound for one more window, by Student's distribution if chunks tell."""
    return max(0.0, accuracy - deviations_of(variation) * float(np.sqrt(variation.window + variation.mean)))


def deviations_of(variation: Variation) -> float:
    """Return how many standard deviations a threshold lies from the mean."""
    return -float(stdtrit(variation.chunks - 1, ndtr(-DEVIATIONS))) if variation.chunks else DEVIATIONS


def _spread(right: Right | Floats) -> float:
    """Return the variance of one outcome, by Laplace's rule."""
    share = float((right.sum() + 1) / (len(right) + 2))
    return share * (1 - share)


def _interpolation_weights(curve: ReliabilityCurve) -> Floats:
    """Return each knot's weight at each bin of confidence (bins, knots): the curve is linear between its knots."""
    middles = (np.arange(CONFIDENCE_BINS) + 0.5) / CONFIDENCE_BINS
    knots = np.array(curve.confidence)
    weights: Floats = np.stack([np.interp(middles, knots, unit) for unit in np.eye(len(knots))], axis=1)
    return weights
