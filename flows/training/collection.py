"""The rows that a candidate may learn from: labelled, newer than the reference, and since the change.

The change is the onset of the drift alarm. Where no alarm says since when, it is the newest rows' last changepoint.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.training.changepoint import last_changepoint
from flows.training.columns import KINDS, comparable
from flows.training.sample import feature_matrix, kinds_of
from flows.training.tasks import TASKS
from monitoring.contract.config import Config, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import Part, list_parts
from monitoring.contract.reference import InvalidReferenceError, misfits
from monitoring.contract.times import BEFORE_ALL, Micros, from_microseconds, latest_time, microseconds


@dataclass(frozen=True)
class Collected:
    """The labelled rows since the change (oldest first), and how they were found.

    `rows` came after the reference, `rows_since_change` of them since the change, from `since` to `through`. The first
    `older` rows of the table came before the change: they are there so that it spans a whole cycle. `onset` is the
    change's moment where an alarm tells it; it may lie before all of the rows.
    """

    table: pa.Table
    rows: int
    rows_since_change: int
    since: Micros | None
    through: Micros | None
    parts: tuple[str, ...]
    unreadable: tuple[str, ...]
    older: int = 0
    onset: Micros | None = None

    @property
    def changed(self) -> bool:
        """Say whether there was a change."""
        return self.onset is not None or self.rows_since_change < self.rows

    @property
    def unchanged_until(self) -> Micros:
        """Return the moment until which nothing had changed: that of the change, or without one of the newest row."""
        if self.onset is not None:
            return self.onset
        if self.changed and self.since is not None:
            return self.since
        return BEFORE_ALL if self.through is None else Micros(self.through + 1)

    def describe(self) -> str:
        """Say in one sentence what was found."""
        since = ""
        if self.changed:
            change = from_microseconds(self.unchanged_until)
            since = f" since the last change, at {change:%Y-%m-%d %H:%M:%S} UTC,"
        older = f", and {self.older} from before it, to span a cycle" if self.older else ""
        return (
            f"{len(self.table) - self.older} of {self.rows_since_change} rows{since} have a label{older}; the newest "
            f"{self.rows} rows that came after the reference were looked at"
        )


def collect(
    layout: Layout, config: Config, after: Micros | None, onset: Micros | None = None, cycle: float | None = None
) -> Collected:
    """Read the newest rows after `after`, and keep those since the change that have a label.

    The change is at `onset`, or at the last changepoint if that is None. Where the rows follow a `cycle` (seconds), the
    labelled rows before the change are kept too until the table spans one, but no more of them than have come since:
    the table is to stand for the present. A label that the config does not name, or that is no finite number, is
    none: no reference could hold it. An infinite feature is a missing one, and so is an empty level.
    """
    found = read_rows(layout, config.model, Window(rows=config.retrain.rows), after=after)
    times = found.table["timestamp"].cast(pa.int64()).to_numpy()
    if onset is None:
        change = last_changepoint(comparable(feature_matrix(found.table, config.model), kinds_of(config.model)))
    else:
        change = int(np.searchsorted(times, onset))
    recent, usable = found.table.slice(change), _usable(found.table.slice(change), config)
    older = _usable(found.table.slice(0, change), config)
    older = older.slice(max(len(older) - _missing_to_cycle(older, usable, cycle), 0))
    table = pa.concat_tables([older, usable])
    bounds = pc.min_max(recent["timestamp"].cast(pa.int64())).as_py()
    first = pc.min(table["timestamp"].cast(pa.int64())).as_py() if len(older) else bounds["min"]
    parts = [part for part in list_parts(layout.current)[0] if len(recent) and _overlap(part, first, bounds["max"])]
    return Collected(
        table=table,
        rows=len(found.table),
        rows_since_change=len(recent),
        since=bounds["min"],
        through=bounds["max"],
        parts=tuple(sorted(part.name for part in parts)),
        unreadable=tuple(f"{file.shown}: {file.reason}" for file in found.unreadable),
        older=len(older),
        onset=onset,
    )


def _missing_to_cycle(older: pa.Table, newer: pa.Table, cycle: float | None) -> int:
    """Return how many of the older rows belong to the cycle that ends with the newer ones; as many as those at most."""
    if cycle is None or not len(newer):
        return 0
    begin = newer["timestamp"].cast(pa.int64())[-1].as_py() - round(cycle * 1e6)
    within = pc.sum(pc.greater(older["timestamp"].cast(pa.int64()), begin)).as_py() or 0
    return min(int(within), len(newer))


def _usable(rows: pa.Table, config: Config) -> pa.Table:
    """Return the rows whose label a reference may hold, with features in the form that it may have."""
    model = config.model
    rows = rows.filter(TASKS[model.task].usable(rows[model.target], model))
    for name in model.features:
        usable = KINDS[model.kind(name).name].usable(rows[name])
        rows = rows.set_column(rows.schema.get_field_index(name), name, usable)
    return rows


def _overlap(part: Part, first: Micros, last: Micros) -> bool:
    return part.first <= last and part.last >= first


def newest_row(layout: Layout) -> Micros:
    """Return the time of the newest row in the log; 0 for an empty log.

    For a part that holds rows from the future it is the present: a reference through those would let no row in.
    """
    latest, now = latest_time(), microseconds(datetime.now(UTC))
    return max((part.last if part.last <= latest else now for part in list_parts(layout.current)[0]), default=Micros(0))


def shortage(collected: Collected, config: Config) -> str | None:
    """Say why the labels of the rows since the change are too few for a candidate; None if they suffice."""
    needed, table = config.retrain.minimum_labels, collected.table.slice(collected.older)
    if len(table) < needed:
        missing = needed - len(table)
        told = f"{missing} more labels of such rows would do (retrain.minimum_labels), and /feedback takes them"
        return f"{needed} labelled rows are needed: {collected.describe()}. {told}"
    labels = table[config.model.target].to_numpy(zero_copy_only=False)
    return TASKS[config.model.task].shortage(labels, config.retrain)


def require_reference(collected: Collected, config: Config) -> None:
    """Raise InvalidReferenceError where the rows could not become the reference of the model that learns from them."""
    if problems := [*misfits(collected.table, collected.table, config.model, predicted=False)]:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InvalidReferenceError(
            f"no reference could be made of the {len(collected.table):,} labelled rows, so no model takes the "
            f"champion's place by them (retrain.rows in the config says how many are looked at):{lines}"
        )
