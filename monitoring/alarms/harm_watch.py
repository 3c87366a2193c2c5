"""The sequential test of harm over a log's labels: one class per task, see `accuracy` and `loss`."""

from collections.abc import Callable, Mapping
from typing import Any

from monitoring.alarms import accuracy, loss
from monitoring.alarms.accuracy import AccuracyTest, AccuracyVerdict
from monitoring.alarms.loss import LossTest, LossVerdict
from monitoring.alarms.outcome_blocks import blocks_of
from monitoring.alarms.outcomes import OutcomeStream
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Performance, Reference
from monitoring.contract.tasks import TaskName

UPDATE_ROWS = 200_000  # about so many rows, and as many labels, are taken in an update at most
TOLERANCES: dict[TaskName, float] = {"classification": accuracy.TOLERANCE, "regression": loss.TOLERANCE}


class HarmWatch:
    """Tests the champion on a log's labels, for one reference: its accuracy, or a regression's errors."""

    def __init__(
        self,
        layout: Layout,
        config: Config,
        reference: Reference,
        state: Mapping[str, Any] | None = None,
        tolerance: float | None = None,
    ) -> None:
        """Go on from a state of the same reference and tolerance; begin anew from any other, or a damaged one."""
        tolerance = TOLERANCES[config.model.task] if tolerance is None else tolerance
        self._key = [reference.digest, tolerance]
        self._test: AccuracyTest | LossTest | None = None
        performance = reference.performance
        if performance is None or not _is_of(config.model.task, performance):
            return
        try:
            make = _maker(config, reference, performance, tolerance)
            self._test = make(None)
        except ValueError:
            return
        kept = state if state is not None and state.get("about") == self._key else {}
        try:
            test = make(kept.get("test"))
            self._stream = OutcomeStream(layout, config.model, reference, kept.get("stream"))
            self._test = test
        except (AttributeError, KeyError, TypeError, ValueError):
            self._stream = OutcomeStream(layout, config.model, reference)

    def update(self, promise: float) -> AccuracyVerdict | LossVerdict | None:
        """Take in the outcomes since the last update; `promise` is the mean labelled rows between false alarms.

        Return None if nobody has measured the reference's model, or if its confidence bound leaves nothing worse to
        tell: there is nothing to test then. An update takes a bounded number of rows, so that on a long log the first
        ones catch up. Raise OSError where storage cannot be reached, and DriftloopError if the log changes faster than
        it is read; an update that raises has taken nothing.
        """
        if self._test is None:
            return None
        outcomes, unreadable = self._stream.take(UPDATE_ROWS)
        self._test.add(outcomes.values, promise, outcomes.times)
        return self._test.verdict(self._stream.waiting, tuple(unreadable))

    def to_dict(self) -> dict[str, Any]:
        """Return the watch's state, as JSON takes it."""
        if self._test is None:
            return {"about": self._key}
        return {"about": self._key, "test": self._test.to_dict(), "stream": self._stream.to_dict()}


def _maker(
    config: Config, reference: Reference, performance: Performance, tolerance: float
) -> Callable[[Mapping[str, Any] | None], AccuracyTest | LossTest]:
    """Return what makes the task's test from a state."""
    blocks = blocks_of(reference, config.model)
    test = AccuracyTest if config.model.task == "classification" else LossTest
    return lambda state: test(performance, state, tolerance, blocks)


def _is_of(task: TaskName, performance: Performance) -> bool:
    """Say whether a model was measured as its task is: a reference of before the task was changed may tell another."""
    return (performance.mae is not None) == (task == "regression")
