"""The labelled rows of the prediction log, each once, as their labels arrive.

A label within its row counts when the row arrives, a later one when it arrives itself. Of several labels of a
row the first counts, which is the rule of sequential tests in `monitoring.contract.labels`.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.log_cursor import LogCursor
from monitoring.contract.config import Model
from monitoring.contract.labels import are_given, first_targets
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Unreadable
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.row_lookup import find_rows
from monitoring.contract.schemas import TIMESTAMP, labels_schema
from monitoring.contract.times import BEFORE_ALL, Micros, latest_time
from monitoring.profile.kernel import hash_ids

Keys = npt.NDArray[np.uint64]

MOST_WAITING = 10_000  # labels whose row is not in the log yet: of more the oldest are dropped
MOST_COUNTED = 65_536  # ids whose late label has counted: an older one's second label would count too


class LabelledRows:
    """The rows after a moment that have a label, as tables of id, time, prediction, label and model version.

    Rows more than an hour ahead of the clock do not count. A label's row is found by the time in its id, a UUID of
    version 7; other ids are searched in the whole log.
    """

    def __init__(self, layout: Layout, model: Model, after: Micros, state: Mapping[str, Any] | None = None) -> None:
        """Begin anew, or go on from a state; raise KeyError, TypeError or ValueError if it is none."""
        self._folder, self._model, self._after = layout.current, model, after
        self._values = model.rules.values
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

    def take(self, limit: int) -> tuple[pa.Table, list[Unreadable]]:
        """Return the labelled rows since the last call, from about `limit` rows and as many labels.

        A call that raises has taken nothing; see `LogCursor.take`.
        """
        before = self._rows.copy(), self._labels.copy(), dict(self._waiting), self._counted
        try:
            rows, unreadable = self._rows.take(limit)
            labels, more = self._labels.take(limit)
            # Rows first: a row that arrives after this is found by its label now, or finds the label waiting next time.
            known = pa.concat_tables([self._match_rows(rows), self._match_labels(labels)])
        except BaseException:
            self._rows, self._labels, self._waiting, self._counted = before
            raise
        return known, [*unreadable, *more]

    def _match_rows(self, rows: pa.Table) -> pa.Table:
        """Return the arriving rows whose label is in the row, or was waiting for it."""
        target = rows[self._model.target]
        waited = pc.index_in(rows["prediction_id"], value_set=pa.array(list(self._waiting), pa.string()))
        late = pa.array(list(self._waiting.values()), self._values).take(waited.combine_chunks())
        for i in rows["prediction_id"].filter(pc.is_valid(waited)).to_pylist():
            self._waiting.pop(i, None)
        self._mark_counted(rows["prediction_id"].filter(pc.and_(pc.is_valid(late), pc.is_null(target))))
        return self._labelled(rows, first_targets(target, late))

    def _match_labels(self, labels: pa.Table) -> pa.Table:
        """Return the arriving labels' rows; a label whose row is not in the log waits."""
        labels = self._first_labels(labels.filter(are_given(labels[self._model.target])))
        rows = find_rows(self._folder, labels["prediction_id"].to_pylist(), self._schema)
        index = pc.index_in(labels["prediction_id"], value_set=rows["prediction_id"].combine_chunks())
        missing, found = labels.filter(pc.is_null(index)), labels.filter(pc.is_valid(index))
        self._wait(missing)
        rows = rows.take(index.drop_null())
        later = pc.is_null(rows[self._model.target])  # else the row came with a label, which was the first
        rows, found = rows.filter(later), found.filter(later)
        self._mark_counted(rows["prediction_id"])
        return self._labelled(rows, found[self._model.target])

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

    def _labelled(self, rows: pa.Table, targets: pa.ChunkedArray) -> pa.Table:
        """Return the rows that have one of these labels (n,), and are neither too old nor ahead of the clock."""
        rows = rows.set_column(rows.schema.get_field_index(self._model.target), self._model.target, targets)
        times = rows["timestamp"].cast(pa.int64())
        counts = pc.and_(pc.is_valid(targets), pc.fill_null(pc.less_equal(times, latest_time()), fill_value=True))
        if self._after >= 0:
            counts = pc.and_(counts, pc.fill_null(pc.greater(times, self._after), fill_value=False))
        return rows.filter(counts).cast(self._schema)
