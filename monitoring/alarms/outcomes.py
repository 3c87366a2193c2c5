"""Outcomes, whether each prediction was right, or how large its error is: one per labelled row, as labels arrive.

A label within its row counts when the row arrives, a later one when it arrives itself. Of several labels of a
row the first counts, which is the rule of sequential tests in `monitoring.contract.labels`.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.e_detectors import Values
from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.config import Model
from monitoring.contract.labels import are_given, first_targets
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Unreadable
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.reference import Reference
from monitoring.contract.row_lookup import find_rows
from monitoring.contract.schemas import TIMESTAMP, labels_schema
from monitoring.contract.tasks import TaskName
from monitoring.contract.times import BEFORE_ALL, latest_time
from monitoring.profile.kernel import hash_ids

Times = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

MOST_WAITING = 10_000  # labels whose row is not in the log yet: of more the oldest are dropped
MOST_COUNTED = 65_536  # ids whose late label has counted: an older one's second label would count too


@dataclass(frozen=True)
class Outcomes:
    """Outcomes (n,) in the order of their labels' arrival, and their rows' times (n,) in microseconds.

    A row without a time has that of BEFORE_ALL.
    """

    values: Values
    times: Times


class Judge(Protocol):
    """What a labelled row is worth, by task."""

    def __call__(self, predictions: pa.ChunkedArray, targets: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the outcome of each row (n,), null where there is none."""


def _is_right(predictions: pa.ChunkedArray, targets: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.equal(predictions, targets)  # null where either is


def _error(predictions: pa.ChunkedArray, targets: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return absolute errors; a number that is none is no answer, and one that is infinite is as wrong as can be."""
    errors = pc.abs(pc.subtract(predictions, targets))
    return pc.if_else(pc.is_nan(errors), pa.scalar(None, pa.float64()), errors)


JUDGES: dict[TaskName, Judge] = {"classification": _is_right, "regression": _error}


class OutcomeStream:
    """The outcomes, each once, of the rows that a reference's model has predicted since the reference.

    Rows that name another model version than the reference's do not count: after a promotion the former champion
    serves for a moment more. Rows more than an hour ahead of the clock do not count either. A label's row is found by
    the time in its id, a UUID of version 7; other ids are searched in the whole log.
    """

    def __init__(
        self, layout: Layout, model: Model, reference: Reference, state: Mapping[str, Any] | None = None
    ) -> None:
        self._folder, self._model, self._version = layout.current, model, reference.model_version
        self._after = BEFORE_ALL if reference.through is None else reference.through
        self._judge, self._values = JUDGES[model.task], model.rules.values
        self._schema = pa.schema(
            [
                ("prediction_id", pa.string()),
                ("timestamp", TIMESTAMP),
                (model.prediction, self._values),
                (model.target, self._values),
                ("model_version", pa.string()),
            ]
        )
        logs = (layout.current, self._schema, self._after), (layout.labels, labels_schema(model), BEFORE_ALL)
        if state is None:
            self._rows, self._labels = (LogCursor(*log) for log in logs)
        else:
            positions = state["rows"], state["labels"]
            self._rows, self._labels = (LogCursor.restore(*p, one) for p, one in zip(logs, positions, strict=True))
        self._waiting: dict[str, str | float] = dict(state["waiting"]) if state else {}
        self._counted: Keys = np.frombuffer(base64.b64decode(state["counted"] if state else ""), "<u8")

    @property
    def waiting(self) -> int:
        """Return how many labels have no row in the log yet."""
        return len(self._waiting)

    def to_dict(self) -> dict[str, Any]:
        """Return the stream's state, as JSON takes it."""
        return {
            "rows": self._rows.state(),
            "labels": self._labels.state(),
            "waiting": list(self._waiting.items()),
            "counted": base64.b64encode(self._counted.astype("<u8").tobytes()).decode(),
        }

    def take(self, limit: int) -> tuple[Outcomes, list[Unreadable]]:
        """Return the outcomes since the last call, from about `limit` rows and as many labels.

        A call that raises has taken nothing; see `LogCursor.take`.
        """
        before = self._rows.copy(), self._labels.copy(), dict(self._waiting), self._counted
        try:
            rows, unreadable = self._rows.take(limit)
            labels, more = self._labels.take(limit)
            # Rows first: a row that arrives after this is found by its label now, or finds the label waiting next time.
            matched = self._match_rows(rows), self._match_labels(labels)
            known = Outcomes(*(np.concatenate([getattr(m, name) for m in matched]) for name in ("values", "times")))
        except BaseException:
            self._rows, self._labels, self._waiting, self._counted = before
            raise
        return known, [*unreadable, *more]

    def _match_rows(self, rows: pa.Table) -> Outcomes:
        """Return the outcomes of arriving rows whose label is in the row, or was waiting for it."""
        target = rows[self._model.target]
        waited = pc.index_in(rows["prediction_id"], value_set=pa.array(list(self._waiting), pa.string()))
        late = pa.array(list(self._waiting.values()), self._values).take(waited.combine_chunks())
        for i in rows["prediction_id"].filter(pc.is_valid(waited)).to_pylist():
            self._waiting.pop(i, None)
        self._mark_counted(rows["prediction_id"].filter(pc.and_(pc.is_valid(late), pc.is_null(target))))
        return self._compare(rows, first_targets(target, late))

    def _match_labels(self, labels: pa.Table) -> Outcomes:
        """Return the outcomes of arriving labels' rows; a label whose row is not in the log waits."""
        labels = self._first_labels(labels.filter(are_given(labels[self._model.target])))
        rows = find_rows(self._folder, labels["prediction_id"].to_pylist(), self._schema)
        index = pc.index_in(labels["prediction_id"], value_set=rows["prediction_id"].combine_chunks())
        missing, found = labels.filter(pc.is_null(index)), labels.filter(pc.is_valid(index))
        self._wait(missing)
        rows = rows.take(index.drop_null())
        later = pc.is_null(rows[self._model.target])  # else the row came with a label, which was the first
        rows, found = rows.filter(later), found.filter(later)
        self._mark_counted(rows["prediction_id"])
        return self._compare(rows, found[self._model.target])

    def _first_labels(self, labels: pa.Table) -> pa.Table:
        """Leave out labels of rows that are older than the reference, and second labels of a row."""
        known = set(self._waiting)
        first = np.zeros(len(labels), np.bool_)
        for n, i in enumerate(labels["prediction_id"].to_pylist()):
            time = id_milliseconds(i)
            if i is not None and i not in known and (time is None or time * 1000 + 999 > self._after):
                first[n] = True
                known.add(i)
        labels = labels.filter(pa.array(first))
        return labels.filter(pa.array(~np.isin(hash_ids(labels["prediction_id"]), self._counted)))

    def _wait(self, labels: pa.Table) -> None:
        self._waiting |= zip(labels["prediction_id"].to_pylist(), labels[self._model.target].to_pylist(), strict=True)
        for i in list(self._waiting)[: max(0, len(self._waiting) - MOST_WAITING)]:
            del self._waiting[i]

    def _mark_counted(self, ids: pa.ChunkedArray) -> None:
        self._counted = np.concatenate([self._counted, hash_ids(ids)])[-MOST_COUNTED:]

    def _compare(self, rows: pa.Table, targets: pa.ChunkedArray) -> Outcomes:
        """Return the outcomes of labelled rows that the reference's model predicted."""
        judged = self._judge(rows[self._model.prediction], targets)
        counts = pc.is_valid(judged)
        if self._version is not None:
            ours = pc.fill_null(pc.equal(rows["model_version"], self._version), fill_value=True)
            counts = pc.and_(counts, ours)
        times = rows["timestamp"].cast(pa.int64())
        counts = pc.and_(counts, pc.fill_null(pc.less_equal(times, latest_time()), fill_value=True))
        if self._after >= 0:
            counts = pc.and_(counts, pc.fill_null(pc.greater(times, self._after), fill_value=False))
        values = judged.filter(counts).combine_chunks().to_numpy(zero_copy_only=False)
        return Outcomes(values, pc.fill_null(times.filter(counts), BEFORE_ALL).to_numpy())
