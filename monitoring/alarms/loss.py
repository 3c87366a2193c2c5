"""A regression's absolute errors as labels arrive: a sequential test of harm, see `harm`.

Errors are bounded, so that nothing has to be assumed of their distribution: those beyond the 99.9 % quantile of the
errors at promotion count as that, and all are divided by it. The null hypothesis is that their mean is no more than the
upper confidence bound of that at promotion, and a tolerance.

Rows of one bad day are wrong together. Where the reference has times, the test is therefore of the means of blocks of
time so long that one tells nothing of the next (see `loss_blocks`), and counts these, not rows. A block ends with the
first row of a later one; a row of an earlier time, whose label came late, counts in the block that is open.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import rel_entr, stdtrit

from monitoring.alarms.e_detectors import EDetector, MeanDetector, Values
from monitoring.alarms.harm import MISCOVERAGE, HarmTest, HarmVerdict, Logs
from monitoring.alarms.loss_blocks import Blocks
from monitoring.alarms.outcomes import Times
from monitoring.contract.reference import Performance

TOLERANCE = 0.05  # of the mean absolute error, as a share of it: a smaller rise raises no alarm
FEWEST_BLOCKS = 30  # between false alarms on average, where fewer are promised


@dataclass(frozen=True, kw_only=True)
class LossVerdict(HarmVerdict):
    """The state of the test of a regression's errors, in the target's unit.

    `ceiling` is the null hypothesis's mean absolute error, `mae` that since the promotion, None before the first label.
    Errors beyond `bound` count as that in both. `block` is the seconds of a block of rows that are judged together, 0
    where each row is judged by itself.
    """

    ceiling: float
    mae: float | None
    bound: float
    block: float = 0.0


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

    With blocks it is Student's upper bound by their means, which holds as far as means of many rows are normal.
    """
    assert performance.mae is not None
    assert performance.mae_bound is not None
    if blocks is not None:
        margin = float(stdtrit(blocks.number - 1, 1 - MISCOVERAGE)) * blocks.deviation / math.sqrt(blocks.number)
        return max(performance.mae, blocks.mean) + margin + tolerance * performance.mae
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
        self._blocks = blocks
        self.ceiling = ceiling_of(performance, tolerance, blocks)
        if not 0 < self.ceiling < self._bound:
            raise ValueError(f"a mean error of {performance.mae} on {performance.rows} rows leaves nothing to test")
        null = self.ceiling / self._bound
        deviation = performance.mae_deviation if blocks is None else blocks.deviation
        self._null, self._deviation = (
            null,
            math.sqrt(null * (1 - null)) if deviation is None else deviation / self._bound,
        )
        super().__init__(state)
        self._open: tuple[int, float, int] = tuple(state["open"]) if state else (-1, 0.0, 0)  # block, sum of it, rows
        self._closed: int = state["closed"] if state else 0

    def detector(self, logs: Logs = None, *, recovery: bool = False) -> EDetector:
        """Bet on larger errors than the ceiling, or on smaller ones."""
        return MeanDetector(self._null, self._deviation, up=not recovery, logs=logs)

    def add(self, values: Values, promise: float, times: Times | None = None) -> None:
        """Take in absolute errors (n,); with blocks their rows' times too, in microseconds."""
        values = (values / self._bound).clip(max=1.0)
        if self._blocks is None or times is None:
            super().add(values, promise)
            return
        numbers = np.maximum.accumulate(np.append(self._open[0], times // round(self._blocks.seconds * 1e6)))[1:]
        for part in np.split(values, np.flatnonzero(np.diff(numbers, prepend=self._open[0]))):
            if not len(part):
                continue
            number = int(numbers[0])
            if number > self._open[0]:
                self._close_block(promise)
            self._open = number, self._open[1] + float(part.sum()), self._open[2] + len(part)
            self._rows, self._total = self._rows + len(part), self._total + float(part.sum())
            numbers = numbers[len(part) :]
        self._set_threshold(promise)

    def _close_block(self, promise: float) -> None:
        """Test the mean of the block that was open."""
        _, total, rows = self._open
        self._open = -1, 0.0, 0
        if not rows:
            return
        self._closed += 1
        self._set_threshold(promise)
        if self._add_until_change(np.array([total / rows])) is not None:
            self._toggle_alarm()

    def _set_threshold(self, promise: float) -> None:
        """Promise as many blocks between false alarms as hold the promised rows, FEWEST_BLOCKS at least."""
        blocks = promise * self._closed / max(self._rows - self._open[2], 1)
        self._threshold = math.log10(max(blocks, FEWEST_BLOCKS) / (1 - MISCOVERAGE))

    def to_dict(self) -> dict[str, Any]:
        """Return the test's state, as JSON takes it."""
        return super().to_dict() | {"open": list(self._open), "closed": self._closed}

    def verdict_of(self, **state: Any) -> LossVerdict:
        """Return a verdict with the ceiling, and the mean error since the promotion."""
        return LossVerdict(
            at_promotion=self._performance.promised,
            rows_at_promotion=self._performance.rows,
            ceiling=self.ceiling,
            mae=self._total * self._bound / self._rows if self._rows else None,
            bound=self._bound,
            block=self._blocks.seconds if self._blocks else 0.0,
            **state,
        )
