"""E-detectors: sequential tests that may be read at any time, whatever the dependence between the values.

A Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2022, "E-detectors: a nonparametric framework for sequential
change detection") bets against a null hypothesis. Each bet multiplies its stake by a factor that is 1 at most on
average while the hypothesis holds. A new bet of stake 1 begins at every value, because a change may begin at any of
them. So the wealth after n values is n at most on average, and reaches a threshold A after A values or more on average.
Each stake is divided equally between several alternatives.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Values = npt.NDArray[np.bool_] | Floats


class EDetector(ABC):
    """The wealth of bets on several alternatives."""

    def __init__(self, alternatives: int, logs: Sequence[float | None] | None) -> None:
        """Go on from the natural logarithm of each alternative's wealth; raise ValueError if these are not as many."""
        known = [None] * alternatives if logs is None else logs
        self._logs = np.array([-np.inf if log is None else log for log in known])
        if self._logs.shape != (alternatives,):
            raise ValueError(f"there are {len(self._logs)} wealths for {alternatives} alternatives")

    @abstractmethod
    def log_factors(self, values: Values) -> Floats:
        """Return the natural logarithm of each alternative's factor at each value (n, alternatives)."""

    @property
    def score(self) -> float:
        """Return log10 of the wealth, the mean over the alternatives; minus infinity before the first row."""
        return float(_log10_mean(self._logs[None])[0])

    def to_list(self) -> list[float | None]:
        """Return the natural logarithm of each alternative's wealth, as JSON takes it: None for minus infinity."""
        return [float(log) if np.isfinite(log) else None for log in self._logs]

    def add(self, values: Values, threshold: float = math.inf) -> int | None:
        """Bet on values (n,) up to the first at which the score reaches the threshold; return its index, or None."""
        if not len(values):
            return None
        # M_n = L_n (M_(n-1) + 1) = P_n (M_0 + the sum of 1/P_k for k < n), where P_n is the product of all L up to n
        factors = self.log_factors(values)
        products = np.cumsum(factors, axis=0)
        sums = np.logaddexp.accumulate(np.concatenate([self._logs[None], factors - products]), axis=0)[1:]
        logs = products + sums
        reached = np.flatnonzero(_log10_mean(logs) >= threshold)
        place = int(reached[0]) if len(reached) else None
        self._logs = logs[-1 if place is None else place]
        return place


def _log10_mean(logs: Floats) -> Floats:
    """Return log10 of the alternatives' mean wealth (n,), from its natural logarithms (n, alternatives)."""
    wealth: Floats = (np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1])) / np.log(10)
    return wealth


class ShareDetector(EDetector):
    """Detects that the share of what is true among outcomes has changed from a null to one of its alternatives.

    A bet on a change from p to q has the factors q/p and (1-q)/(1-p).
    """

    ALTERNATIVES: Floats = np.exp2(-np.arange(1.0, 7.0))  # as shares of the way from the null to 0 or 1

    def __init__(self, null: float, limit: float, logs: Sequence[float | None] | None = None) -> None:
        """Bet on alternatives between the null and a limit, which is 0 or 1."""
        super().__init__(len(self.ALTERNATIVES), logs)
        alternatives = null + (limit - null) * self.ALTERNATIVES
        self._factors = np.log(np.stack([(1 - alternatives) / (1 - null), alternatives / null]))

    def log_factors(self, values: Values) -> Floats:
        """Return those of outcomes (n,)."""
        factors: Floats = self._factors[values.astype(np.intp)]
        return factors


class MeanDetector(EDetector):
    """Detects that the mean of values from 0 to 1 has changed from a null to one of its alternatives.

    A bet has the factor 1 + b (x - null), which is never negative while b lies between -1/(1 - null) and 1/null
    (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"). Of a change by g, where
    values deviate by s, g / (s^2 + g^2) grows the wealth about the fastest. A wrong s slows it and breaks no promise.
    """

    CHANGES: Floats = np.exp2(np.arange(-5.0, 2.0))  # of the mean, as shares of it
    CAUTION = 0.9  # of the largest bet: no single value takes more than this share of a stake

    def __init__(self, null: float, deviation: float, *, up: bool, logs: Sequence[float | None] | None = None) -> None:
        """Bet on larger means than the null, or on smaller ones."""
        super().__init__(len(self.CHANGES), logs)
        gaps = np.minimum(null * self.CHANGES, 1 - null) if up else null * self.CHANGES / 4  # to half of it at most
        bets = gaps / (deviation**2 + gaps**2)
        self._null = null
        self._bets = np.minimum(bets, self.CAUTION / null) if up else -np.minimum(bets, self.CAUTION / (1 - null))

    def log_factors(self, values: Values) -> Floats:
        """Return those of values (n,) from 0 to 1."""
        factors: Floats = np.log1p((values - self._null)[:, None] * self._bets)
        return factors
