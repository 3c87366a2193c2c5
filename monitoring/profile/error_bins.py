"""How a regression's errors are spread, and where: counts and exact sums in bins that the reference fixes.

An error is the prediction less the label. Errors are counted in bins of equal width; labels and predictions are summed
by bins that hold equally many of the reference's predictions, which makes a curve of the actual against the predicted.
The outer bins are open.
"""

from dataclasses import dataclass, fields
from itertools import starmap
from operator import add, sub

import numpy as np
import numpy.typing as npt

from monitoring.profile.label_errors import exact_sum, mean_of, scorable
from monitoring.profile.numeric import BINS

Floats = npt.NDArray[np.float64]

TAIL = 0.01  # of the reference's errors, that lies at each side in the open bins or beside them
DEVIATIONS = 2  # of the predictions, that bins reach from zero where the reference has no labels
NONE = (0,) * BINS


def error_edges(predictions: Floats, labels: Floats) -> Floats:
    """Return the inner edges (BINS - 1,) of bins of equal width over the errors of a reference's rows (n,).

    They span all errors but the share TAIL at each side, so that a few large ones do not put all others into one bin.
    Without labels they span DEVIATIONS standard deviations of the predictions around zero.
    """
    both = scorable(predictions, labels)
    if both.any():
        low, high = map(float, np.quantile(predictions[both] - labels[both], (TAIL, 1 - TAIL)))
    else:
        known = predictions[scorable(predictions, predictions)]
        high = DEVIATIONS * float(known.std()) if len(known) else 0.0
        low = -high
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # equal, up to rounding
        margin = max(0.5, 1e-6 * abs(low))
        low, high = low - margin, high + margin
    return np.linspace(low, high, BINS - 1)


def answer_edges(predictions: Floats) -> Floats:
    """Return the inner edges (BINS - 1,) of bins that hold equally many of a reference's predictions (n,), as they can.

    Where a prediction is so frequent that it would fill several bins, edges are equal: one of these bins holds it.
    """
    known = predictions[scorable(predictions, predictions)]
    return np.quantile(known if len(known) else [0.0], np.arange(1, BINS) / BINS, method="inverted_cdf")


@dataclass(frozen=True)
class ErrorEdges:
    """The inner edges of a regression's bins, each (BINS - 1,): of the errors, and of the predictions."""

    errors: Floats
    answers: Floats

    @classmethod
    def of(cls, predictions: Floats, labels: Floats) -> "ErrorEdges":
        """Return those that a reference's rows (n,) give."""
        return cls(error_edges(predictions, labels), answer_edges(predictions))


@dataclass(frozen=True)
class ErrorBins:
    """Of the labelled rows: `errors` by the error's bin; `rows` and exact sums, all by the prediction's bin."""

    errors: tuple[int, ...] = NONE
    rows: tuple[int, ...] = NONE
    labels: tuple[int, ...] = NONE
    predictions: tuple[int, ...] = NONE

    @classmethod
    def of(cls, predictions: Floats, labels: Floats, edges: ErrorEdges) -> "ErrorBins":
        """Count rows (n,) that are scorable."""
        both = scorable(predictions, labels)
        predictions, labels = predictions[both], labels[both]
        counts = np.bincount(np.searchsorted(edges.errors, predictions - labels, "right"), minlength=BINS)
        places = np.searchsorted(edges.answers, predictions, "right")
        rows = np.bincount(places, minlength=BINS)
        order = np.argsort(places, kind="stable")
        ends = np.cumsum(rows)[:-1]
        sums = [tuple(map(exact_sum, np.split(values[order], ends))) for values in (labels, predictions)]
        return cls(tuple(counts.tolist()), tuple(rows.tolist()), *sums)

    def __add__(self, other: "ErrorBins") -> "ErrorBins":
        """Return the counts of both samples."""
        return ErrorBins(*(tuple(starmap(add, zip(a, b, strict=True))) for a, b in self._beside(other)))

    def __sub__(self, other: "ErrorBins") -> "ErrorBins":
        """Return the counts without those of rows that are among these."""
        return ErrorBins(*(tuple(starmap(sub, zip(a, b, strict=True))) for a, b in self._beside(other)))

    def _beside(self, other: "ErrorBins") -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        return [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]

    @property
    def mean_labels(self) -> tuple[float, ...]:
        """Return the mean label of each bin of the prediction; NaN where there is no row."""
        return tuple(starmap(mean_of, zip(self.labels, self.rows, strict=True)))

    @property
    def mean_predictions(self) -> tuple[float, ...]:
        """Return the mean prediction of each bin; NaN where there is no row."""
        return tuple(starmap(mean_of, zip(self.predictions, self.rows, strict=True)))
