"""Which rows of a batch the log takes, and why it does not take the others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Model
from monitoring.contract.labels import are_given
from monitoring.contract.times import Micros
from monitoring.contract.values import without_nan

_NAMED = 5  # rows that a refusal names


@dataclass(frozen=True)
class Refusal:
    """Rows that are refused for one reason: how many, and the places of the first few in their file, from 1 on."""

    reason: str
    rows: int
    first: tuple[int, ...]

    def __str__(self) -> str:
        numbers = ", ".join(f"{place:,}" for place in self.first) + (", …" if self.rows > len(self.first) else "")
        return f"{self.rows:,} row{'s' if self.rows > 1 else ''} refused: {self.reason} ({numbers})"


def refuse(rows: pa.Table, model: Model, latest: Micros) -> tuple[pa.Table, list[Refusal]]:
    """Return the rows that the log takes, and the refusals of the others; each row is refused for one reason."""
    taken, refusals = np.ones(len(rows), np.bool_), []
    for reason, holds in _reasons(rows, model, latest, taken):
        refused = taken & pc.fill_null(holds, fill_value=False).to_numpy()
        taken &= ~refused  # in place: the last reason is about those that are taken
        if len(places := np.flatnonzero(refused)):
            first = tuple((places[:_NAMED] + 1).tolist())
            refusals.append(Refusal(reason, len(places), first))
    return (rows.filter(pa.array(taken)) if refusals else rows), refusals


def _reasons(
    rows: pa.Table, model: Model, latest: Micros, taken: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    times = rows["timestamp"].cast(pa.int64())
    yield "no timestamp", pc.is_null(times)
    yield "dated before 1970", pc.less(times, 0)
    yield "dated more than an hour ahead of this clock", pc.greater(times, latest)
    yield f"no {model.prediction}", pc.invert(are_given(rows[model.prediction]))
    yield "the id of an earlier row of the file, which holds other values", _contradicting(rows, model, taken)


def _contradicting(rows: pa.Table, model: Model, taken: npt.NDArray[np.bool_]) -> pa.ChunkedArray:
    """Return which rows have the id of an earlier one that is taken, but not its features, prediction and time."""
    ids = pc.if_else(pc.equal(rows["prediction_id"], ""), pa.scalar(None, pa.string()), rows["prediction_id"])
    codes = pc.fill_null(ids.dictionary_encode().combine_chunks().indices, -1).to_numpy(zero_copy_only=False)
    codes = np.where(taken, codes, -1)
    again = np.zeros(len(rows), np.bool_)
    known, firsts, places = np.unique(codes, return_index=True, return_inverse=True)
    if len(known) < len(rows):
        earlier, given = pa.array(firsts[places]), codes >= 0
        for name in (*model.features, model.prediction, "timestamp"):
            again |= given & ~_equal(rows[name], rows[name].take(earlier))
    return pa.chunked_array([pa.array(again)])


def _equal(ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Return which values are equal (n,); two that are missing, or no numbers, are."""
    ours, theirs = without_nan(ours), without_nan(theirs)
    both = pc.and_(pc.is_null(ours), pc.is_null(theirs))
    same: npt.NDArray[np.bool_] = pc.or_(pc.fill_null(pc.equal(ours, theirs), fill_value=False), both).to_numpy()
    return same
