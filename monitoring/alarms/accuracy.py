"""Accuracy as labels arrive: a sequential test of harm to a classification, see `harm`.

A bet on the accuracy having fallen from p to q multiplies its stake by q/p when the model is right and by (1-q)/(1-p)
when it is wrong: by 1 at most on average while the accuracy is p or more. p is the lower confidence bound of the
accuracy at promotion (Clopper and Pearson 1934), less a tolerance. Where blocks of time are judged, the bets are on the
mean of their shares of right rows, and the bound is that of the blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.special import betaincinv

from monitoring.alarms.e_detectors import EDetector, MeanDetector, ShareDetector
from monitoring.alarms.harm import MISCOVERAGE, HarmTest, HarmVerdict, Logs
from monitoring.alarms.outcome_blocks import Blocks
from monitoring.contract.reference import Performance

TOLERANCE = 0.01  # of accuracy: a smaller fall raises no alarm


@dataclass(frozen=True, kw_only=True)
class AccuracyVerdict(HarmVerdict):
    """The state of the test of accuracy: `floor` is the null hypothesis's, `right` how many rows were got right."""

    floor: float
    right: int


def lower_bound(right: int, rows: int, miscoverage: float = MISCOVERAGE) -> float:
    """Return the one-sided lower Clopper-Pearson bound, which exceeds the accuracy with at most this probability."""
    return float(betaincinv(right, rows - right + 1, miscoverage)) if right else 0.0


def floor_of(performance: Performance, tolerance: float = TOLERANCE, blocks: Blocks | None = None) -> float:
    """Return the accuracy of the null hypothesis, the lower bound less the tolerance; it may be 0 or less."""
    assert performance.accuracy is not None
    bound = lower_bound(round(performance.accuracy * performance.rows), performance.rows)
    if blocks is not None:  # of few rows each, nearly all of them right, the means are far from normal: the lower one
        bound = min(bound, performance.accuracy, blocks.mean - blocks.margin(MISCOVERAGE))
    return bound - tolerance


class AccuracyTest(HarmTest[AccuracyVerdict]):
    """The test of one model's accuracy since its promotion, on whether it was right."""

    total = "right"

    def __init__(
        self,
        performance: Performance,
        state: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
        blocks: Blocks | None = None,
    ) -> None:
        """Begin anew, or go on from a state; raise ValueError if the floor is not above 0."""
        assert performance.accuracy is not None
        self._accuracy, self._rows_at_promotion = performance.accuracy, performance.rows
        self.floor = floor_of(performance, tolerance, blocks)
        if not self.floor > 0:
            raise ValueError(f"an accuracy of {performance.accuracy} on {performance.rows} rows leaves nothing to test")
        super().__init__(state, blocks)

    def detector(self, logs: Logs = None, *, recovery: bool = False) -> EDetector:
        """Bet on a lower accuracy than the floor, or on a higher one."""
        if self._blocks is not None:
            return MeanDetector(self.floor, self._blocks.deviation, up=recovery, logs=logs)
        return ShareDetector(self.floor, float(recovery), logs)

    def verdict_of(self, **state: Any) -> AccuracyVerdict:
        """Return a verdict with the floor, and how many rows were got right."""
        return AccuracyVerdict(
            at_promotion=self._accuracy,
            rows_at_promotion=self._rows_at_promotion,
            floor=self.floor,
            right=self._total,
            **state,
        )
