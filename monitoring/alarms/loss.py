"""A regression's absolute errors as labels arrive: a sequential test of harm, see `harm`.

Errors are bounded, so that nothing has to be assumed of their distribution: those beyond the 99.9 % quantile of the
errors at promotion count as that, and all are divided by it. The null hypothesis is that their mean is no more than the
upper confidence bound of that at promotion, and a tolerance.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.optimize import brentq
from scipy.special import rel_entr

from monitoring.alarms.e_detectors import EDetector, MeanDetector, Values
from monitoring.alarms.harm import MISCOVERAGE, HarmTest, HarmVerdict, Logs
from monitoring.alarms.outcome_blocks import Blocks
from monitoring.alarms.outcomes import Times
from monitoring.contract.reference import Performance

TOLERANCE = 0.05  # of the mean absolute error, as a share of it: a smaller rise raises no alarm


@dataclass(frozen=True, kw_only=True)
class LossVerdict(HarmVerdict):
    """The state of the test of a regression's errors, in the target's unit.

    `ceiling` is the null hypothesis's mean absolute error, `mae` that since the promotion, None before the first label.
    Errors beyond `bound` count as that in both.
    """

    ceiling: float
    mae: float | None
    bound: float


def upper_bound(mean: float, deviation: float | None, rows: int, miscoverage: float = MISCOVERAGE) -> float:
    """Return an upper confidence bound of the mean of values from 0 to 1, by that of so many, and their deviation.

    It is the least of two, each with half of the miscoverage: Hoeffding's, which knows the mean alone (Hoeffding 1963,
    theorem 1), and Bernstein's with the deviation that was seen (Maurer and Pontil 2009, theorem 4).
    """
    odds = math.log(2 / miscoverage)

    def excess(bound: float) -> float:
        return rows * float(rel_entr(mean, bound) + rel_entr(1 - mean, 1 - bound)) - odds

    above = mean + (1 - mean) * (1 - 1e-12)
    bounds = [float(brentq(excess, mean, above)) if mean < 1 and excess(above) > 0 else 1.0]
    if deviation is not None and rows > 1:
        seen = math.log(4 / miscoverage)  # theorem 4 spends twice: on the mean, and on the deviation
        spread = deviation * math.sqrt(rows / (rows - 1))
        bounds.append(mean + spread * math.sqrt(2 * seen / rows) + 7 * seen / (3 * (rows - 1)))
    return min(1.0, *bounds)


def ceiling_of(performance: Performance, tolerance: float = TOLERANCE, blocks: Blocks | None = None) -> float:
    """Return the mean absolute error of the null hypothesis; it may be as large as the bound, or larger.

    With blocks it is the upper bound by their means.
    """
    assert performance.mae is not None
    assert performance.mae_bound is not None
    if blocks is not None:
        return max(performance.mae, blocks.mean) + blocks.margin(MISCOVERAGE) + tolerance * performance.mae
    bound = performance.mae_bound or 1.0
    deviation = None if performance.mae_deviation is None else performance.mae_deviation / bound
    return bound * upper_bound(performance.mae / bound, deviation, performance.rows) + tolerance * performance.mae


class LossTest(HarmTest[LossVerdict]):
    """The test of one model's errors since its promotion, on its absolute errors."""

    total = "loss"

    def __init__(
        self,
        performance: Performance,
        state: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
        blocks: Blocks | None = None,
    ) -> None:
        """Begin anew, or go on from a state; raise ValueError if no mean of bounded errors is beyond the ceiling."""
        assert performance.mae is not None
        self._performance, self._bound = performance, performance.mae_bound or 0.0
        self.ceiling = ceiling_of(performance, tolerance, blocks)
        if not 0 < self.ceiling < self._bound:
            raise ValueError(f"a mean error of {performance.mae} on {performance.rows} rows leaves nothing to test")
        null = self.ceiling / self._bound
        deviation = performance.mae_deviation if blocks is None else blocks.deviation
        self._null, self._deviation = (
            null,
            math.sqrt(null * (1 - null)) if deviation is None else deviation / self._bound,
        )
        super().__init__(state, blocks)

    def detector(self, logs: Logs = None, *, recovery: bool = False) -> EDetector:
        """Bet on larger errors than the ceiling, or on smaller ones."""
        return MeanDetector(self._null, self._deviation, up=not recovery, logs=logs)

    def add(self, values: Values, promise: float, times: Times | None = None) -> None:
        """Take in absolute errors (n,), and their rows' times, as of every test of harm."""
        super().add((values / self._bound).clip(max=1.0), promise, times)

    def verdict_of(self, **state: Any) -> LossVerdict:
        """Return a verdict with the ceiling, and the mean error since the promotion."""
        return LossVerdict(
            at_promotion=self._performance.promised,
            rows_at_promotion=self._performance.rows,
            ceiling=self.ceiling,
            mae=self._total * self._bound / self._rows if self._rows else None,
            bound=self._bound,
            **state,
        )
