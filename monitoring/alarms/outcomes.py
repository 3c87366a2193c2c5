"""Outcomes, whether each prediction was right, or how large its error is: one per labelled row, as labels arrive.

A label within its row counts when the row arrives, a later one when it arrives itself. Of several labels of a
row the first counts, which is the rule of sequential tests in `monitoring.contract.labels`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.e_detectors import Values
from monitoring.alarms.labelled_rows import LabelledRows
from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.parts import Unreadable
from monitoring.contract.reference import Reference
from monitoring.contract.tasks import TaskName
from monitoring.contract.times import BEFORE_ALL

Times = npt.NDArray[np.int64]


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
    serves for a moment more.
    """

    def __init__(
        self, layout: Layout, model: Model, reference: Reference, state: Mapping[str, Any] | None = None
    ) -> None:
        self._model, self._version, self._judge = model, reference.model_version, JUDGES[model.task]
        after = BEFORE_ALL if reference.through is None else reference.through
        self._labelled = LabelledRows(layout, model, after, state)

    @property
    def waiting(self) -> int:
        """Return how many labels have no row in the log yet."""
        return self._labelled.waiting

    def to_dict(self) -> dict[str, Any]:
        """Return the stream's state, as JSON takes it."""
        return self._labelled.to_dict()

    def take(self, limit: int) -> tuple[Outcomes, list[Unreadable]]:
        """Return the outcomes since the last call, as `LabelledRows.take` does."""
        rows, unreadable = self._labelled.take(limit)
        if self._version is not None:
            rows = rows.filter(pc.fill_null(pc.equal(rows["model_version"], self._version), fill_value=True))
        judged = self._judge(rows[self._model.prediction], rows[self._model.target])
        counts = pc.is_valid(judged)
        values = judged.filter(counts).combine_chunks().to_numpy(zero_copy_only=False)
        times = rows["timestamp"].cast(pa.int64()).filter(counts)
        return Outcomes(values, pc.fill_null(times, BEFORE_ALL).to_numpy()), unreadable
