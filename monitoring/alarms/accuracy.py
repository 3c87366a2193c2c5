"""Accuracy as labels arrive: a sequential test against what the model achieved when it was promoted.

The test goes on after every labelled row, for as long as the model serves, and may be read at any time: while the model
is as accurate as at its promotion, minus a tolerance, the mean number of labelled rows between false alarms is at least
the one that was promised.

The score is a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2022, "E-detectors: a nonparametric framework for
sequential change detection"). A bet on the accuracy having fallen from p to q multiplies its stake by q/p when the
model is right and by (1-q)/(1-p) when it is wrong: by 1 at most on average while the accuracy is p or more. A new bet
of stake 1 begins at every row, because the fall may begin at any of them. So the wealth after n rows is n at most on
average, and reaches a threshold A after A rows or more on average, whatever the dependence between rows. Each stake is
divided equally between several alternatives q.

The accuracy at promotion is itself an estimate from a few hundred rows. The null hypothesis is therefore its lower
confidence bound (Clopper and Pearson 1934), which exceeds the true accuracy in one promotion of twenty at most. A is
raised by a twentieth, so that the mean over promotions is what was promised too.

After an alarm an e-detector of the same kind tests the opposite, "the accuracy is still below the bound": the alarm
lasts until that score reaches the same threshold, or until the reference is replaced. So an alarm does not flicker, and
it ends because labels refute it and not because they are forgotten.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from monitoring.alarms.outcomes import Outcomes, OutcomeStream
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Unreadable
from monitoring.contract.reference import Performance, Reference

Floats = npt.NDArray[np.float64]

MISCOVERAGE = 0.05  # of the lower confidence bound: the share of promotions whose true accuracy is below it
ALTERNATIVES: Floats = np.exp2(-np.arange(1.0, 7.0))  # where they lie, as shares of the way from the null to 0 or 1
NO_BETS = (None,) * len(ALTERNATIVES)
TOLERANCE = 0.01  # of accuracy: a smaller fall raises no alarm
UPDATE_ROWS = 200_000  # about so many rows, and as many labels, are taken in an update at most


@dataclass(frozen=True)
class AccuracyVerdict:
    """The state of the test of the model's accuracy since its promotion.

    `score` and `threshold` are log10; `score` is None before the first labelled row. `floor` is the null
    hypothesis's accuracy. `since` is the number of labelled rows at which the current alarm was raised, `waiting` that
    of labels whose row has not been found yet.
    """

    at_promotion: float
    rows_at_promotion: int
    floor: float
    rows: int
    right: int
    score: float | None
    threshold: float
    detected: bool
    since: int | None
    waiting: int = 0
    unreadable: tuple[Unreadable, ...] = ()


def lower_bound(right: int, rows: int, miscoverage: float = MISCOVERAGE) -> float:
    """Return the one-sided lower Clopper-Pearson bound, which exceeds the accuracy with at most this probability."""
    return float(betaincinv(right, rows - right + 1, miscoverage)) if right else 0.0


def floor_of(performance: Performance, tolerance: float = TOLERANCE) -> float:
    """Return the accuracy of the null hypothesis, the lower bound less the tolerance; it may be 0 or less."""
    assert performance.accuracy is not None
    return lower_bound(round(performance.accuracy * performance.rows), performance.rows) - tolerance


class EDetector:
    """A Shiryaev-Roberts e-detector of a change of the outcomes' probability from `null` to one of the alternatives."""

    def __init__(self, null: float, limit: float, logs: Sequence[float | None] = NO_BETS) -> None:
        """Bet on alternatives between the null and a limit, which is 0 or 1; `logs` are of each alternative's wealth.

        Raise ValueError unless there are as many `logs` as alternatives.
        """
        alternatives = null + (limit - null) * ALTERNATIVES
        self._factors = np.log(np.stack([(1 - alternatives) / (1 - null), alternatives / null]))
        self._logs = np.array([-np.inf if log is None else log for log in logs])
        if self._logs.shape != ALTERNATIVES.shape:
            raise ValueError(f"there are {len(self._logs)} wealths for {len(ALTERNATIVES)} alternatives")

    @property
    def score(self) -> float:
        """Return log10 of the wealth, the mean over the alternatives; minus infinity before the first row."""
        return float(_log10_mean(self._logs[None])[0])

    def to_list(self) -> list[float | None]:
        """Return the natural logarithm of each alternative's wealth, as JSON takes it: None for minus infinity."""
        return [float(log) if np.isfinite(log) else None for log in self._logs]

    def add(self, outcomes: Outcomes, threshold: float = math.inf) -> int | None:
        """Bet on outcomes (n,) up to the first at which the score reaches the threshold; return its index, or None."""
        if not len(outcomes):
            return None
        # M_n = L_n (M_(n-1) + 1) = P_n (M_0 + the sum of 1/P_k for k < n), where P_n is the product of all L up to n
        factors = self._factors[outcomes.astype(np.intp)]
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


class AccuracyTest:
    """The test of one model's accuracy since its promotion; `floor` is the null hypothesis's accuracy."""

    def __init__(
        self, performance: Performance, state: Mapping[str, Any] | None = None, tolerance: float = TOLERANCE
    ) -> None:
        """Begin anew, or go on from a state; raise ValueError if the floor is not above 0."""
        assert performance.accuracy is not None
        self._accuracy, self._rows_at_promotion = performance.accuracy, performance.rows
        self.floor = floor_of(performance, tolerance)
        if not self.floor > 0:
            raise ValueError(f"an accuracy of {performance.accuracy} on {performance.rows} rows leaves nothing to test")
        self._threshold = math.inf
        state = {"rows": 0, "right": 0, "since": None, "fall": NO_BETS, "recovery": NO_BETS} | dict(state or {})
        self._rows, self._right, self._since = (state[key] for key in ("rows", "right", "since"))
        self._fall = EDetector(self.floor, 0, state["fall"])
        self._recovery = EDetector(self.floor, 1, state["recovery"])

    def to_dict(self) -> dict[str, Any]:
        """Return the test's state, as JSON takes it."""
        detectors = {"fall": self._fall.to_list(), "recovery": self._recovery.to_list()}
        return {"rows": self._rows, "right": self._right, "since": self._since, **detectors}

    def add(self, outcomes: Outcomes, promise: float) -> None:
        """Take in outcomes (n,) in the order of their arrival; `promise` is the mean rows between false alarms."""
        self._threshold = math.log10(promise / (1 - MISCOVERAGE))
        while len(outcomes):
            place = self._add_until_change(outcomes)
            taken = outcomes if place is None else outcomes[: place + 1]
            self._rows, self._right = self._rows + len(taken), self._right + int(taken.sum())
            if place is not None:
                self._toggle_alarm()
            outcomes = outcomes[len(taken) :]

    def _add_until_change(self, outcomes: Outcomes) -> int | None:
        if self._since is None:
            return self._fall.add(outcomes, self._threshold)
        place = self._recovery.add(outcomes, self._threshold)
        self._fall.add(outcomes if place is None else outcomes[: place + 1])  # for the metric of the score alone
        return place

    def _toggle_alarm(self) -> None:
        """Raise an alarm and test for recovery from here on, or end one and test for a fall anew."""
        self._recovery = EDetector(self.floor, 1)
        if self._since is None:
            self._since = self._rows
        else:
            self._since = None
            self._fall = EDetector(self.floor, 0)

    def verdict(self, waiting: int = 0, unreadable: tuple[Unreadable, ...] = ()) -> AccuracyVerdict:
        """Return the test's state as a verdict, with what the outcomes' reader reports."""
        return AccuracyVerdict(
            at_promotion=self._accuracy,
            rows_at_promotion=self._rows_at_promotion,
            floor=self.floor,
            rows=self._rows,
            right=self._right,
            score=self._fall.score if math.isfinite(self._fall.score) else None,
            threshold=self._threshold,
            detected=self._since is not None,
            since=self._since,
            waiting=waiting,
            unreadable=unreadable,
        )


class AccuracyWatch:
    """Tests the champion's accuracy on a log's labels, for one reference."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        reference: Reference,
        state: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Go on from a state of the same reference and tolerance; begin anew from any other, or a damaged one."""
        self._key = [reference.digest, tolerance]
        self._test: AccuracyTest | None = None
        if reference.performance is None or reference.performance.accuracy is None:
            return
        if not floor_of(reference.performance, tolerance) > 0:
            return
        kept = state if state is not None and state.get("about") == self._key else {}
        try:
            self._test = AccuracyTest(reference.performance, kept.get("test"), tolerance)
            self._stream = OutcomeStream(layout, config.model, reference, kept.get("stream"))
        except (AttributeError, KeyError, TypeError, ValueError):
            self._test = AccuracyTest(reference.performance, tolerance=tolerance)
            self._stream = OutcomeStream(layout, config.model, reference)

    def update(self, promise: float) -> AccuracyVerdict | None:
        """Take in the outcomes since the last update; `promise` is the mean labelled rows between false alarms.

        Return None if the reference holds no accuracy, or if its lower bound is no more than the tolerance: there is
        nothing to test then. An update takes a bounded number of rows, so that on a long log the first ones catch up.
        Raise OSError where storage cannot be reached, and DriftloopError if the log changes faster than it is read; an
        update that raises has taken nothing.
        """
        if self._test is None:
            return None
        outcomes, unreadable = self._stream.take(UPDATE_ROWS)
        self._test.add(outcomes, promise)
        return self._test.verdict(self._stream.waiting, tuple(unreadable))

    def to_dict(self) -> dict[str, Any]:
        """Return the watch's state, as JSON takes it."""
        if self._test is None:
            return {"about": self._key}
        return {"about": self._key, "test": self._test.to_dict(), "stream": self._stream.to_dict()}
