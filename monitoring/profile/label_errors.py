"""A regression's errors on labelled rows as exact sums, which can be added in any order, and subtracted again.

A label that comes late takes the place of one that its row may hold, so that what the row has added must be taken back.
Sums of floating numbers would leave a rest, and depend on the order. Here each is a whole number of 2^-1126, of any
length: a double's 53 bits, wherever its exponent puts them, have a place in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LARGEST_KEPT = 64  # absolute errors: a correction may take the largest back
LARGEST_NUMBER = 1e140  # a prediction or a label beyond has no finite squares, and is no answer
EPSILON = float(np.finfo(np.float64).eps)  # of labels: down to it Evidently takes their percentage to be 100
_SCALE = 1126  # subnormal numbers are whole multiples of 2^-1126
_UNIT = 1 << _SCALE
_BITS, _HALF = 53, 27  # of a double's mantissa
_SPLITTER = float(2**27 + 1)


def scorable(predictions: Floats, labels: Floats) -> npt.NDArray[np.bool_]:
    """Return which rows (n,) have a prediction and a label that errors can be computed from."""
    found: npt.NDArray[np.bool_] = (np.abs(predictions) < LARGEST_NUMBER) & (np.abs(labels) < LARGEST_NUMBER)
    return found


def absolute_errors(predictions: Floats, labels: Floats) -> Floats:
    """Return the absolute errors of rows (n,), NaN of those that are not scorable."""
    known = scorable(predictions, labels)
    return np.where(known, np.abs(np.where(known, predictions, 0.0) - np.where(known, labels, 0.0)), np.nan)


@dataclass(frozen=True)
class ErrorSums:
    """Sums over the labelled rows, of the errors, which are the predictions less the labels, and of the labels.

    `zeros` counts labels that are 0 or next to it, whose percentage is not in the sum, and `negative` those below.
    `largest` holds the largest absolute errors, descending; all others are at most `rest`.
    """

    rows: int = 0
    error: int = 0
    absolute: int = 0
    squared: int = 0
    percentage: int = 0
    label: int = 0
    label_squared: int = 0
    zeros: int = 0
    negative: int = 0
    largest: tuple[float, ...] = ()
    rest: float = -1.0

    @classmethod
    def of(cls, predictions: Floats, labels: Floats) -> "ErrorSums":
        """Return the sums of rows (n,), of those that are scorable."""
        both = scorable(predictions, labels)
        predictions, labels = predictions[both], labels[both]
        errors = predictions - labels
        absolute = np.abs(errors)
        zero = np.abs(labels) <= EPSILON
        largest, rest = _largest(absolute)
        return cls(
            rows=len(errors),
            error=exact_sum(errors),
            absolute=exact_sum(absolute),
            squared=_exact_squares(errors),
            # a label below zero counts as EPSILON, as in Evidently's own formula
            percentage=exact_sum((absolute / np.maximum(labels, EPSILON))[~zero]),
            label=exact_sum(labels),
            label_squared=_exact_squares(labels),
            zeros=int(np.count_nonzero(zero)),
            negative=int(np.count_nonzero(labels < -EPSILON)),
            largest=largest,
            rest=rest,
        )

    def __add__(self, other: "ErrorSums") -> "ErrorSums":
        """Return the sums of both samples."""
        largest, dropped = _largest([*self.largest, *other.largest])
        return self._summed(other, 1, largest, max(self.rest, other.rest, dropped))

    def __sub__(self, other: "ErrorSums") -> "ErrorSums":
        """Return the sums without those of rows that are among these."""
        kept = list(self.largest)
        for error in other.largest:
            if error in kept:
                kept.remove(error)
        return self._summed(other, -1, tuple(kept), self.rest)

    def _summed(self, other: "ErrorSums", sign: int, largest: tuple[float, ...], rest: float) -> "ErrorSums":
        sums = {name: getattr(self, name) + sign * getattr(other, name) for name in SUMMED}
        return ErrorSums(**sums, largest=largest, rest=rest)

    @property
    def mean_error(self) -> float:
        """Return the mean of the predictions less the labels."""
        return mean_of(self.error, self.rows)

    @property
    def mean_absolute(self) -> float:
        """Return the mean absolute error."""
        return mean_of(self.absolute, self.rows)

    @property
    def root_mean_squared(self) -> float:
        """Return the root of the mean squared error."""
        return sqrt(mean_of(self.squared, self.rows))

    @property
    def deviation(self) -> float:
        """Return the standard deviation of the errors, with n-1 in the denominator; NaN of fewer than two."""
        if self.rows < 2:  # noqa: PLR2004 - two
            return float("nan")
        return sqrt((self.rows * self.squared * _UNIT - self.error**2) / (self.rows * (self.rows - 1) * _UNIT**2))

    @property
    def largest_absolute(self) -> float:
        """Return the largest absolute error; NaN where corrections have taken back all that were known."""
        known = self.largest and self.largest[0] >= self.rest
        return self.largest[0] if known else float("nan")

    @property
    def r2(self) -> float:
        """Return the coefficient of determination, as scikit-learn does; NaN of fewer than two rows."""
        if self.rows < 2:  # noqa: PLR2004 - two
            return float("nan")
        spread = self.rows * self.label_squared * _UNIT - self.label**2  # times rows and the unit's square
        if not spread:
            return 0.0 if self.squared else 1.0
        try:
            return 1 - (self.rows * self.squared * _UNIT) / spread
        except OverflowError:
            return float("-inf")

    def mean_percentage(self, *, zeros: float | None) -> float:
        """Return the mean absolute error in percent of the label; NaN where there is no row.

        For labels of zero it is 100 times `zeros`, or they are left out.
        """
        if zeros is not None:
            return 100 * (mean_of(self.percentage, 1) + zeros * self.zeros) / self.rows if self.rows else float("nan")
        return 100 * mean_of(self.percentage, self.rows - self.zeros)


SUMMED = ("rows", "error", "absolute", "squared", "percentage", "label", "label_squared", "zeros", "negative")


def mean_of(total: int, rows: int) -> float:
    """Return the mean of rows whose exact sum is given; NaN of none."""
    return total / (rows * _UNIT) if rows else float("nan")


def exact_sum(values: Floats) -> int:
    """Return the sum of finite values (n,) in units of 2^-1126, without rounding."""
    if not len(values):
        return 0
    mantissas, exponents = np.frexp(values)
    whole = (mantissas * 2.0**_BITS).astype(np.int64)
    lowest = int(exponents.min())
    places = exponents - lowest
    # halves of 53 bits: up to 2^26 of them add up in a double without rounding
    upper, lower = (np.bincount(places, weights=half) for half in (whole >> _HALF, whole & (2**_HALF - 1)))
    used = np.flatnonzero((upper != 0) | (lower != 0)).tolist()
    total = sum(((int(upper[place]) << _HALF) + int(lower[place])) << place for place in used)
    return total << (lowest - _BITS + _SCALE)


def _exact_squares(values: Floats) -> int:
    """Return the sum of squares: each is a double and the rest that it has been rounded by (Dekker 1971)."""
    squares = values * values
    upper = _SPLITTER * values
    upper = upper - (upper - values)
    lower = values - upper
    rest = ((upper * upper - squares) + 2 * upper * lower) + lower * lower
    return exact_sum(squares) + exact_sum(rest)


def _largest(errors: Floats | Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Return the LARGEST_KEPT largest, descending, and the one after them, or -1."""
    some = np.asarray(errors, np.float64)
    if len(some) > LARGEST_KEPT + 1:
        cut = len(some) - LARGEST_KEPT - 1
        some = np.partition(some, cut)[cut:]
    descending = np.sort(some)[::-1].tolist()
    return tuple(descending[:LARGEST_KEPT]), descending[LARGEST_KEPT] if len(descending) > LARGEST_KEPT else -1.0
