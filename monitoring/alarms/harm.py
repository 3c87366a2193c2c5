"""Harm: whether labels show that a model is worse than it was when it was promoted.

The test goes on after every labelled row, for as long as the model serves, and may be read at any time: while the model
is as good as at its promotion, minus a tolerance, the mean number of labelled rows between false alarms is at least the
one that was promised. See `e_detectors`.

How good it was at promotion is itself an estimate from a few hundred rows. The null hypothesis is therefore its
confidence bound, beyond which the truth lies in one promotion of twenty at most. The threshold is raised by a
twentieth, so that the mean over promotions is what was promised too.

Rows of one bad day are wrong together. Where the reference has times, the test is therefore of the means of blocks of
time so long that one tells nothing of the next (see `outcome_blocks`), and counts these, not rows. A block ends with
the first row of a later one; a row of an earlier time, whose label came after that, counts in the block that is open.

After an alarm an e-detector of the same kind tests the opposite, "the model is still worse than the bound": the alarm
lasts until that score reaches the same threshold, or until the reference is replaced. So an alarm does not flicker, and
it ends because labels refute it and not because they are forgotten.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from monitoring.alarms.e_detectors import EDetector, Values
from monitoring.alarms.outcome_blocks import Blocks, close_blocks
from monitoring.alarms.outcomes import Times
from monitoring.contract.parts import Unreadable

MISCOVERAGE = 0.05  # of the confidence bound: the share of promotions whose truth lies beyond it
FEWEST_BLOCKS = 30  # between false alarms on average, where fewer are promised

Logs = Sequence[float | None] | None  # of wealth, as a state keeps it


@dataclass(frozen=True)
class HarmVerdict:
    """The state of a test of harm since a model's promotion.

    `score` and `threshold` are log10; `score` is None before the first labelled row. `since` is the number of labelled
    rows at which the current alarm was raised, `waiting` that of labels whose row has not been found yet. `block` is
    the seconds of a block of rows that are judged together, 0 where each row is judged by itself.
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
    block: float = 0.0


Verdict_co = TypeVar("Verdict_co", bound=HarmVerdict, covariant=True)


class HarmTest(ABC, Generic[Verdict_co]):
    """The test of one model since its promotion, on values from 0 to 1 of its labelled rows, or on their blocks' means.

    A subclass says by which e-detectors, what sum of the values its state keeps (`total`), and how its verdict reads.
    """

    total: str

    def __init__(self, state: Mapping[str, Any] | None, blocks: Blocks | None) -> None:
        """Begin anew, or go on from a state."""
        self._threshold = math.inf
        state = {"rows": 0, self.total: 0, "since": None, "fall": None, "recovery": None} | dict(state or {})
        self._rows, self._total, self._since = (state[key] for key in ("rows", self.total, "since"))
        self._blocks = blocks
        self._open: tuple[int, float, int] = tuple(state.get("open", (-1, 0.0, 0)))  # block, sum of its values, rows
        self._closed: int = state.get("closed", 0)
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
            block=self._blocks.seconds if self._blocks else 0.0,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the test's state, as JSON takes it."""
        detectors = {"fall": self._fall.to_list(), "recovery": self._recovery.to_list()}
        blocks = {"open": list(self._open), "closed": self._closed}
        return {"rows": self._rows, self.total: self._total, "since": self._since, **detectors, **blocks}

    def add(self, values: Values, promise: float, times: Times | None = None) -> None:
        """Take in values (n,) in the order of their arrival; `promise` is the mean rows between false alarms.

        `times` (n,) are their rows', in microseconds; without them no row is in a block.
        """
        if self._blocks is not None and times is not None:
            self._add_to_blocks(values, promise, times, self._blocks.seconds)
            return
        self._threshold = math.log10(promise / (1 - MISCOVERAGE))
        self._test(values, self._rows + np.arange(1, len(values) + 1))
        self._count(values)

    def _count(self, values: Values) -> None:
        self._rows, self._total = self._rows + len(values), self._total + values.sum().item()

    def _add_to_blocks(self, values: Values, promise: float, times: Times, seconds: float) -> None:
        """Take in values (n,) of rows of these times (n,), in blocks of this length."""
        before = self._rows - self._open[2]  # rows of blocks that have ended
        self._open, totals, counts = close_blocks(self._open, values, times, seconds)
        self._count(values)
        self._closed += len(counts)
        self._set_threshold(promise)
        self._test(totals / counts, before + np.cumsum(counts))

    def _set_threshold(self, promise: float) -> None:
        """Promise as many blocks between false alarms as hold the promised rows, FEWEST_BLOCKS at least."""
        blocks = promise * self._closed / max(self._rows - self._open[2], 1)
        self._threshold = math.log10(max(blocks, FEWEST_BLOCKS) / (1 - MISCOVERAGE))

    def _test(self, values: Values, rows: Times) -> None:
        """Bet on values (n,), after each of which so many rows (n,) have been seen."""
        while (place := self._add_until_change(values)) is not None:
            self._toggle_alarm(int(rows[place]))
            values, rows = values[place + 1 :], rows[place + 1 :]

    def _add_until_change(self, values: Values) -> int | None:
        if self._since is None:
            return self._fall.add(values, self._threshold)
        place = self._recovery.add(values, self._threshold)
        self._fall.add(values if place is None else values[: place + 1])  # for the metric of the score alone
        return place

    def _toggle_alarm(self, rows: int) -> None:
        """Raise an alarm and test for recovery from here on, or end one and test for a fall anew."""
        self._recovery = self.detector(recovery=True)
        if self._since is None:
            self._since = rows
        else:
            self._since = None
            self._fall = self.detector()
