"""Accuracy as labels arrive: a sequential test against what the model achieved when it was promoted.

The test looks after every labelled row, for as long as the model serves, and keeps its promise at any time that
somebody looks: while the model is as accurate as at its promotion, minus a tolerance, alarms come no more often than
once in so many labelled rows on average as were promised.

The score is a Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2022, "E-detectors: a nonparametric framework for
sequential change detection"). A bet that the accuracy has fallen from p to q multiplies its wealth by q/p when the
model is right and by (1-q)/(1-p) when it is wrong: by no more than 1 on average while the accuracy is p or more. A new
bet of 1 is made at every row, because the fall may begin at any of them. So the wealth after n rows is n on average,
and reaches a threshold A after A rows or more on average, whatever the dependence between rows. Several q are bet on
with equal parts of the wealth.

The accuracy at promotion is itself an estimate from a few hundred rows. The test holds the model to its lower
confidence bound (Clopper and Pearson 1934), which the true accuracy falls below in one promotion of twenty at most, and
raises A by a twentieth: on the average over promotions too, the time to a false alarm is what was promised.

After an alarm the same kind of test runs the other way, against "the accuracy is still below": the alarm lasts until
its score reaches the same threshold, or until the reference is replaced. So an alarm does not flicker, and one that is
over was refuted by labels and not forgotten.
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

MISSED = 0.05  # of the promotions: the true accuracy is below the bound that was drawn from the rows then
STEPS: Floats = np.exp2(-np.arange(1.0, 7.0))  # how far the alternatives lie on the way from the bound to 0, or to 1
NOTHING = (None,) * len(STEPS)
TOLERANCE = 0.01  # of accuracy: a fall that is no harm
PIECE = 200_000  # rows, and labels, that one update takes


@dataclass(frozen=True)
class AccuracyVerdict:
    """What the labels say of the model's accuracy since its promotion.

    `score` and `threshold` are log10; `score` is None before the first labelled row. `floor` is the accuracy that the
    model is held to. `since` is the number of labelled rows at which the present alarm came.
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


def lower_bound(right: int, rows: int, missed: float = MISSED) -> float:
    """Return the one-sided Clopper-Pearson bound: an accuracy that is lower is missed with this probability at most."""
    return float(betaincinv(right, rows - right + 1, missed)) if right else 0.0


def floor_of(performance: Performance, tolerance: float = TOLERANCE) -> float:
    """Return the accuracy that a model is held to; it may be 0 or less."""
    return lower_bound(round(performance.accuracy * performance.rows), performance.rows) - tolerance


class EDetector:
    """A Shiryaev-Roberts e-detector of outcomes' probability having moved from `null` to one of the alternatives."""

    def __init__(self, null: float, limit: float, logs: Sequence[float | None] = NOTHING) -> None:
        """Bet on alternatives between the null and a limit, 0 or 1; raise ValueError unless each has its wealth."""
        alternatives = null + (limit - null) * STEPS
        self._factors = np.log(np.stack([(1 - alternatives) / (1 - null), alternatives / null]))
        self._logs = np.array([-np.inf if log is None else log for log in logs])
        if self._logs.shape != STEPS.shape:
            raise ValueError(f"there are {len(self._logs)} wealths for {len(STEPS)} alternatives")

    @property
    def score(self) -> float:
        """Return log10 of the wealth; minus infinity before the first row."""
        return float(_mean_wealth(self._logs[None])[0])

    def to_list(self) -> list[float | None]:
        """Return the natural logarithms of the wealth on each alternative, as JSON takes them."""
        return [float(log) if np.isfinite(log) else None for log in self._logs]

    def add(self, outcomes: Outcomes, threshold: float = math.inf) -> int | None:
        """Bet on outcomes up to the first at which the score reaches the threshold; return its place, None if none."""
        if not len(outcomes):
            return None
        # M_n = L_n (M_(n-1) + 1) = P_n (M_0 + the sum of 1/P_k for k < n), where P_n is the product of all L up to n
        factors = self._factors[outcomes.astype(np.intp)]
        products = np.cumsum(factors, axis=0)
        laid = np.logaddexp.accumulate(np.concatenate([self._logs[None], factors - products]), axis=0)[1:]
        logs = products + laid
        reached = np.flatnonzero(_mean_wealth(logs) >= threshold)
        place = int(reached[0]) if len(reached) else None
        self._logs = logs[-1 if place is None else place]
        return place


def _mean_wealth(logs: Floats) -> Floats:
    """Return log10 of the mean (n) of wealths whose natural logarithms these are (n, alternatives)."""
    wealth: Floats = (np.logaddexp.reduce(logs, axis=1) - np.log(logs.shape[1])) / np.log(10)
    return wealth


class AccuracyTest:
    """The test of one model, from promotion on; `floor` is its null's accuracy."""

    def __init__(
        self, performance: Performance, state: Mapping[str, Any] | None = None, tolerance: float = TOLERANCE
    ) -> None:
        """Begin anew, or go on from a state; raise ValueError if the model can be held to nothing."""
        self._performance = performance
        self.floor = floor_of(performance, tolerance)
        if not self.floor > 0:
            raise ValueError(f"an accuracy of {performance.accuracy} on {performance.rows} rows leaves nothing to test")
        self._threshold = math.inf
        state = {"rows": 0, "right": 0, "since": None, "fall": NOTHING, "recovery": NOTHING} | dict(state or {})
        self._rows, self._right, self._since = (state[key] for key in ("rows", "right", "since"))
        self._fall = EDetector(self.floor, 0, state["fall"])
        self._recovery = EDetector(self.floor, 1, state["recovery"])

    def to_dict(self) -> dict[str, Any]:
        """Return where the test stands, as JSON takes it."""
        detectors = {"fall": self._fall.to_list(), "recovery": self._recovery.to_list()}
        return {"rows": self._rows, "right": self._right, "since": self._since, **detectors}

    def add(self, outcomes: Outcomes, promise: float) -> None:
        """Take further outcomes in, in the order of their arrival; `promise` is the rows between false alarms."""
        self._threshold = math.log10(promise / (1 - MISSED))
        while len(outcomes):
            place = self._add_up_to_change(outcomes)
            taken = outcomes if place is None else outcomes[: place + 1]
            self._rows, self._right = self._rows + len(taken), self._right + int(taken.sum())
            if place is not None:
                self._change()
            outcomes = outcomes[len(taken) :]

    def _add_up_to_change(self, outcomes: Outcomes) -> int | None:
        if self._since is None:
            return self._fall.add(outcomes, self._threshold)
        place = self._recovery.add(outcomes, self._threshold)
        self._fall.add(outcomes if place is None else outcomes[: place + 1])  # the score goes on to be shown
        return place

    def _change(self) -> None:
        """Go from no alarm to one, whose recovery is tested from here on, or back, and begin anew."""
        self._recovery = EDetector(self.floor, 1)
        if self._since is None:
            self._since = self._rows
        else:
            self._since = None
            self._fall = EDetector(self.floor, 0)

    def verdict(self, waiting: int = 0, unreadable: tuple[Unreadable, ...] = ()) -> AccuracyVerdict:
        """Say what was found so far."""
        return AccuracyVerdict(
            at_promotion=self._performance.accuracy,
            rows_at_promotion=self._performance.rows,
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
    """The test of the champion on a log's labels: one for each reference."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        reference: Reference,
        state: Mapping[str, Any] | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        """Go on from a state of the same reference; begin anew with any other, or one that is damaged."""
        self._about = [reference.digest, tolerance]
        self._test: AccuracyTest | None = None
        if reference.performance is None or not floor_of(reference.performance, tolerance) > 0:
            return
        begun = state if state is not None and state.get("about") == self._about else {}
        try:
            self._test = AccuracyTest(reference.performance, begun.get("test"), tolerance)
            self._stream = OutcomeStream(layout, config.model, reference, begun.get("stream"))
        except (AttributeError, KeyError, TypeError, ValueError):
            self._test = AccuracyTest(reference.performance, tolerance=tolerance)
            self._stream = OutcomeStream(layout, config.model, reference)

    def look(self, promise: float) -> AccuracyVerdict | None:
        """Take in what came since the last look; `promise` is the labelled rows between false alarms.

        Return None if nothing is known that the model could be held to, which is where the reference tells no
        accuracy, and where its lower bound is no more than the tolerance. A look takes a bounded number of rows: after
        a first start on a long log the next looks catch up. A look that
        raises (OSError where storage cannot be reached, DriftloopError if the log changes faster than it is read) has
        taken nothing.
        """
        if self._test is None:
            return None
        outcomes, unreadable = self._stream.take(PIECE)
        self._test.add(outcomes, promise)
        return self._test.verdict(self._stream.waiting, tuple(unreadable))

    def to_dict(self) -> dict[str, Any]:
        """Return where the watch stands, as JSON takes it."""
        if self._test is None:
            return {"about": self._about}
        return {"about": self._about, "test": self._test.to_dict(), "stream": self._stream.to_dict()}
