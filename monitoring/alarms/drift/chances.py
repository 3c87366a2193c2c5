"""How unlikely values are by chance, as -log10 of a probability, and on the scale of normal deviations."""

import numpy as np
import numpy.typing as npt
from scipy import special

from monitoring.alarms.drift.usual import Floats

Counts = npt.NDArray[np.int64]


def largest(values: Floats) -> Floats:
    """Return each row's largest absolute value (T,); 0 without any."""
    found: Floats = np.maximum(values.max(1, initial=0), -values.min(1, initial=0))
    return found


def normal(z: Floats) -> Floats:
    """Return -log10 of the two-sided tail of the standard normal distribution, element by element."""
    statistic: Floats = -(special.log_ndtr(-z) + np.log(2)) / np.log(10)
    return statistic


def chi_square(values: Floats, degrees: int | Counts) -> Floats:
    """Return -log10 of the upper tail of the chi-squared distribution (Wilson and Hilferty 1931), of any value."""
    degrees = np.maximum(degrees, 1)
    spread = 2 / (9 * degrees)
    z = (np.cbrt(np.maximum(values, 0) / degrees) - (1 - spread)) / np.sqrt(spread)
    statistic: Floats = -special.log_ndtr(-z) / np.log(10)
    return statistic


def bernoulli(shares: Floats, of: Floats, number: Floats) -> Floats:
    """Return -log10 of Chernoff's bound on the tail of shares (T, c) of `number` rows (T, 1); `of` (c,) is expected."""
    divergence: Floats = special.rel_entr(shares, of) + special.rel_entr(1 - shares, 1 - of)
    statistic: Floats = number * divergence / np.log(10)
    return statistic


def root(shares: Floats, of: Floats, number: Floats) -> Floats:
    """Return the signed root of twice the log-likelihood ratio (T, c) of shares (T, c), where `of` (c,) is expected."""
    shares = np.clip(shares, 0, 1)
    ratio = special.rel_entr(shares, of) + special.rel_entr(1 - shares, 1 - of)
    signed: Floats = np.sign(shares - of) * np.sqrt(2 * number * np.maximum(ratio, 0))
    return signed
