"""What becomes of labels that arrive after their predictions.

The newest label of a prediction counts, wherever it came from: with the row, from here, or from a file. The same again
is known; another one is a correction, and is dated later than what it corrects.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from api.metrics import LABEL_OUTCOMES
from api.problems import Problem
from api.service import Service
from api.validation import SentLabel, named
from monitoring.contract.row_lookup import Target
from monitoring.contract.schemas import Row, label_row
from monitoring.contract.times import BEFORE_ALL, Micros

_IN_USE = frozenset({"accepted", "known", "corrected"})


def take_labels(service: Service, labels: Sequence[SentLabel]) -> dict[str, Any]:
    """Log what is new of a request's labels, and return the answer: per label, in the order sent, its outcome.

    Raise the Problem of the labels if none of them is of use.
    """
    outcomes = _settle(service, labels)
    counts = Counter(outcomes)
    service.metrics.labelled(counts)
    if not _IN_USE & counts.keys():
        raise _problem(labels)
    results = [_result(label, outcome) for label, outcome in zip(labels, outcomes, strict=True)]
    return {**{outcome: counts[outcome] for outcome in LABEL_OUTCOMES}, "results": results}


def _settle(service: Service, labels: Sequence[SentLabel]) -> list[str]:
    """Log the labels that are new or correct another; return each label's outcome."""
    target = service.config.model.target
    logged = service.predictions.find([label.key for label in labels if label.problem is None], target)
    if not logged:
        return ["unknown" if label.problem is None else "invalid" for label in labels]
    with service.labels.exclusive():
        later = service.labels.newest({key: _to_millisecond(time) for key, (_, time) in logged.items()}, target)
        settling = _Settling(logged, later, service.clock.now())
        outcomes = [settling.outcome(label) for label in labels]
        if settling.rows:
            service.labels.append(settling.rows)
    return outcomes


class _Settling:
    """The newest label of each prediction while a request's labels are gone through."""

    def __init__(
        self,
        logged: dict[str, tuple[Target, Micros]],
        later: dict[str, tuple[Micros, str | float]],
        now: Micros,
    ) -> None:
        self._times = {key: time for key, (_, time) in logged.items()}
        self._newest = {key: later.get(key, (BEFORE_ALL, own)) for key, (own, _) in logged.items()}
        self._now = now
        self.rows: list[Row] = []

    def outcome(self, label: SentLabel) -> str:
        if label.problem is not None:
            return "invalid"
        if label.key not in self._newest:
            return "unknown"
        time, before = self._newest[label.key]
        if label.target == before:
            return "known"
        time = max(self._now, Micros(time + 1))  # the clocks of two workers may differ, and a batch has one time
        self._newest[label.key] = time, label.target
        predicted_at = _to_millisecond(self._times[label.key])
        self.rows.append(
            label_row(prediction_id=label.key, target=label.target, timestamp=time, predicted_at=predicted_at)
        )
        return "accepted" if before is None else "corrected"


def _to_millisecond(row_time: Micros) -> Micros:
    """Return the time by which a row's labels are found, which is no finer than an id tells it."""
    return Micros(max(row_time, 0) // 1000 * 1000)


def _problem(labels: Sequence[SentLabel]) -> Problem:
    """Return the problem of a request of which no label is of use: what cannot be read goes first."""
    if invalid := [label.problem for label in labels if label.problem is not None]:
        return invalid[0]
    unknown = named([label.prediction_id or "" for label in labels])
    return Problem(404, "unknown_prediction", f"prediction_id: no such prediction: {unknown}", field="prediction_id")


def _result(label: SentLabel, outcome: str) -> dict[str, Any]:
    result = {"prediction_id": label.prediction_id, "status": outcome}
    if label.problem is not None:
        result |= {"field": label.problem.field, "detail": label.problem.detail}
    return result
