"""The window as it was at each of many moments, with the labels that were known then."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa

from monitoring.backtest.log_rows import PastLog, Times, times_of
from monitoring.contract.config import Model, Window
from monitoring.contract.labels import newest_targets
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.times import Micros

Target = str | float


@dataclass(frozen=True)
class PastWindow:
    """What a look at a moment had before it.

    `rows` are the window's, `fresh` all that came since the look before; `changed` says whether the window differs
    from the one of the look before.
    """

    moment: Micros
    rows: pa.Table
    fresh: pa.Table
    changed: bool


class PastLabels:
    """Labels that came later, each from its own time on; they count by the rule of windows.

    `taken` are the labels that were known at the last moment, `met` the rows that had one when they left.
    """

    def __init__(self, log: PastLog | None, model: Model) -> None:
        self.taken = self.met = 0
        self._target, self._type = model.target, model.rules.values
        self._timed: dict[str, Target] = {}  # by ids that tell when their row came
        self._timeless: dict[str, Target] = {}  # by others, which may be any row's until it has left
        self._pieces = iter(()) if log is None else log.read()
        self._times: Times = np.zeros(0, np.int64)
        self._ids: list[str] = []
        self._values: list[Target | None] = []
        self._at = 0

    def join(self, rows: pa.Table, moment: Micros) -> pa.Table:
        """Return the rows with the targets that were known at a moment; moments ascend."""
        self._take(moment)
        if not self._timed and not self._timeless:
            return rows
        late = pa.array([self._label(i) for i in rows["prediction_id"].to_pylist()], self._type)
        column = rows.schema.get_field_index(self._target)
        return rows.set_column(column, self._target, newest_targets(rows[self._target], late))

    def forget(self, gone: pa.Table, rows: pa.Table) -> None:
        """Forget the labels of rows that have left: those of other rows than these, unless they are yet to come."""
        if not self._timed and not self._timeless:
            return
        left = gone["prediction_id"].to_pylist()
        self.met += sum(self._label(i) is not None for i in left)
        here = set(rows["prediction_id"].to_pylist())
        for i in left:
            if i not in here:
                self._timeless.pop(i, None)
        if len(rows):
            newest = int(times_of(rows)[-1]) // 1000
            self._timed = {i: one for i, one in self._timed.items() if i in here or (id_milliseconds(i) or 0) >= newest}

    def _label(self, prediction_id: str) -> Target | None:
        return self._timed.get(prediction_id, self._timeless.get(prediction_id))

    def _take(self, moment: Micros) -> None:
        while True:
            end = int(np.searchsorted(self._times, moment, "right"))
            new = zip(self._ids[self._at : end], self._values[self._at : end], strict=True)
            for i, label in new:
                if i is not None and label is not None:
                    (self._timeless if id_milliseconds(i) is None else self._timed)[i] = label
            self.taken += end - self._at
            self._at = end
            if end < len(self._times) or (piece := next(self._pieces, None)) is None:
                return
            self._times, self._at = times_of(piece), 0
            self._ids, self._values = piece["prediction_id"].to_pylist(), piece[self._target].to_pylist()


def look_back(log: PastLog, labels: PastLabels, window: Window, moments: Iterable[Micros]) -> Iterator[PastWindow]:
    """Yield the window of each of ascending moments."""
    ahead = iter(moments)
    moment = next(ahead, None)
    held, left, told, before = log.schema.empty_table(), 0, 0, None
    for piece in itertools.chain(log.read(), [None]):
        if piece is not None:
            held = pa.concat_tables([held.cast(piece.schema), piece]).combine_chunks()
        times = times_of(held)
        while moment is not None and (piece is None or moment <= times[-1]):
            end = int(np.searchsorted(times, moment, "right"))
            begin = _begin(times[:end], window, moment)
            rows = labels.join(held.slice(begin, end - begin), moment)
            state = (left + begin, left + end, labels.taken)
            yield PastWindow(moment, rows, held.slice(told, end - told), state != before)
            told, before, moment = end, state, next(ahead, None)
        keep = min(told, _begin(times, window, Micros(times[-1]))) if len(times) else 0
        labels.forget(held.slice(0, keep), held.slice(keep))
        held, told, left = held.slice(keep), told - keep, left + keep
    labels.forget(held, held.slice(len(held)))


def _begin(times: Times, window: Window, moment: Micros) -> int:
    """Return the place of a window's first row, among the rows up to a moment."""
    if window.rows is not None:
        return max(0, len(times) - window.rows)
    assert window.duration is not None
    return int(np.searchsorted(times, moment - window.duration // timedelta(microseconds=1), "right"))
