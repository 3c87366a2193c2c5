"""How a regression's errors are spread, and where: counts and exact sums in bins that the reference fixes.

An error is the prediction less the label. Errors are counted in bins of their own; labels and predictions are summed by
the bin of the prediction's histogram, which makes a curve of the actual against the predicted. The outer bins are open.
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


@dataclass(frozen=True)
class ErrorBins:
    """Of the labelled rows: `errors` by the error's bin; `rows` and exact sums, all by the prediction's bin."""

    errors: tuple[int, ...] = NONE
    rows: tuple[int, ...] = NONE
    labels: tuple[int, ...] = NONE
    predictions: tuple[int, ...] = NONE

    @classmethod
    def of(cls, predictions: Floats, labels: Floats, *, errors: Floats, predicted: Floats) -> "ErrorBins":
        """Count rows (n,) that are scorable; `errors` and `predicted` are the inner edges of both kinds of bins."""
        both = scorable(predictions, labels)
        predictions, labels = predictions[both], labels[both]
        counts = np.bincount(np.searchsorted(errors, predictions - labels, "right"), minlength=BINS)
        places = np.searchsorted(predicted, predictions, "right")
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
