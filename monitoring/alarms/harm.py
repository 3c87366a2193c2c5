"""Harm: whether labels show that a model is worse than it was when it was promoted.

The test goes on after every labelled row, for as long as the model serves, and may be read at any time: while the model
is as good as at its promotion, minus a tolerance, the mean number of labelled rows between false alarms is at least the
one that was promised. See `e_detectors`.

How good it was at promotion is itself an estimate from a few hundred rows. The null hypothesis is therefore its
confidence bound, beyond which the truth lies in one promotion of twenty at most. The threshold is raised by a
twentieth, so that the mean over promotions is what was promised too.

After an alarm an e-detector of the same kind tests the opposite, "the model is still worse than the bound": the alarm
lasts until that score reaches the same threshold, or until the reference is replaced. So an alarm does not flicker, and
it ends because labels refute it and not because they are forgotten.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from monitoring.alarms.e_detectors import EDetector, Values
from monitoring.alarms.outcomes import Times
from monitoring.contract.parts import Unreadable

MISCOVERAGE = 0.05  # of the confidence bound: the share of promotions whose truth lies beyond it

Logs = Sequence[float | None] | None  # of wealth, as a state keeps it


@dataclass(frozen=True)
class HarmVerdict:
    """The state of a test of harm since a model's promotion.

    `score` and `threshold` are log10; `score` is None before the first labelled row. `since` is the number of labelled
    rows at which the current alarm was raised, `waiting` that of labels whose row has not been found yet.
    """

    at_promotion: float
    rows_at_promotion: int
    rows: int
    score: float | None
    threshold: float
    detected: bool
    since: int | None
    waiting: int = 0
    unreadable: tuple[Unreadable, ...] = ()


Verdict_co = TypeVar("Verdict_co", bound=HarmVerdict, covariant=True)


class HarmTest(ABC, Generic[Verdict_co]):
    """The test of one model since its promotion, on values of its labelled rows: what is true of each, or its loss.

    A subclass says by which e-detectors, what sum of the values its state keeps (`total`), and how its verdict reads.
    """

    total: str

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        """Begin anew, or go on from a state."""
        self._threshold = math.inf
        state = {"rows": 0, self.total: 0, "since": None, "fall": None, "recovery": None} | dict(state or {})
        self._rows, self._total, self._since = (state[key] for key in ("rows", self.total, "since"))
        self._fall = self.detector(state["fall"])
        self._recovery = self.detector(state["recovery"], recovery=True)

    @abstractmethod
    def detector(self, logs: Logs = None, *, recovery: bool = False) -> EDetector:
        """Return the e-detector of harm, or of recovery from it, which goes on from these wealths."""

    @abstractmethod
    def verdict_of(self, **state: Any) -> Verdict_co:
        """Return a verdict of this state, with what the subclass knows beside it."""

    def verdict(self, waiting: int = 0, unreadable: tuple[Unreadable, ...] = ()) -> Verdict_co:
        """Return the test's state as a verdict, with what the outcomes' reader reports."""
        return self.verdict_of(
            rows=self._rows,
            score=self._fall.score if math.isfinite(self._fall.score) else None,
            threshold=self._threshold,
            detected=self._since is not None,
            since=self._since,
            waiting=waiting,
            unreadable=unreadable,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the test's state, as JSON takes it."""
        detectors = {"fall": self._fall.to_list(), "recovery": self._recovery.to_list()}
        return {"rows": self._rows, self.total: self._total, "since": self._since, **detectors}

    def add(self, values: Values, promise: float, times: Times | None = None) -> None:  # noqa: ARG002 - of some tests
        """Take in values (n,) in the order of their arrival; `promise` is the mean rows between false alarms.

        `times` (n,) are their rows', in microseconds.
        """
        self._threshold = math.log10(promise / (1 - MISCOVERAGE))
        while len(values):
            place = self._add_until_change(values)
            taken = values if place is None else values[: place + 1]
            self._rows, self._total = self._rows + len(taken), self._total + taken.sum().item()
            if place is not None:
                self._toggle_alarm()
            values = values[len(taken) :]

    def _add_until_change(self, values: Values) -> int | None:
        if self._since is None:
            return self._fall.add(values, self._threshold)
        place = self._recovery.add(values, self._threshold)
        self._fall.add(values if place is None else values[: place + 1])  # for the metric of the score alone
        return place

    def _toggle_alarm(self) -> None:
        """Raise an alarm and test for recovery from here on, or end one and test for a fall anew."""
        self._recovery = self.detector(recovery=True)
        if self._since is None:
            self._since = self._rows
        else:
            self._since = None
            self._fall = self.detector()
