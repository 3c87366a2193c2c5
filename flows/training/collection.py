"""The rows that a candidate may learn from: labelled, newer than the reference, and since the last change."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.training.changepoint import last_changepoint
from flows.training.pipeline import FOLDS, feature_matrix
from monitoring.contract.config import Config, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import Part, list_parts
from monitoring.contract.times import Micros, from_microseconds, latest_time, microseconds


@dataclass(frozen=True)
class Collected:
    """The labelled rows since the last changepoint (oldest first), and how they were found.

    `rows` came after the reference, `rows_since_change` of them since the changepoint, from `since` to `through`.
    """

    table: pa.Table
    rows: int
    rows_since_change: int
    since: Micros | None
    through: Micros | None
    parts: tuple[str, ...]
    unreadable: tuple[str, ...]

    def describe(self) -> str:
        """Say in one sentence what was found."""
        since = ""
        if self.since is not None and self.rows_since_change < self.rows:
            change = from_microseconds(self.since)
            since = f" since the last change, at {change:%Y-%m-%d %H:%M:%S} UTC,"
        return (
            f"{len(self.table)} of {self.rows_since_change} rows{since} have a label; the newest {self.rows} rows that "
            "came after the reference were looked at"
        )


def collect(layout: Layout, config: Config, after: Micros | None) -> Collected:
    """Read the newest rows after the reference, and keep those since their last changepoint that have a label.

    A label that the config does not name is none: no reference could hold it. An infinite feature is a missing one.
    """
    found = read_rows(layout, config.model, Window(rows=config.retrain.rows), after=after)
    recent = found.table.slice(last_changepoint(feature_matrix(found.table, config.model)))
    bounds = pc.min_max(recent["timestamp"].cast(pa.int64())).as_py()
    parts = [part for part in list_parts(layout.current)[0] if len(recent) and _overlap(part, bounds)]
    return Collected(
        table=_usable(recent, config),
        rows=len(found.table),
        rows_since_change=len(recent),
        since=bounds["min"],
        through=bounds["max"],
        parts=tuple(sorted(part.name for part in parts)),
        unreadable=tuple(f"{file.path}: {file.reason}" for file in found.unreadable),
    )


def _usable(rows: pa.Table, config: Config) -> pa.Table:
    """Return the rows whose label the config names, in the form that a reference may have."""
    model = config.model
    named = pa.array(model.categories)
    rows = rows.filter(pc.is_in(rows[model.target], value_set=named))
    for name in model.features:
        column = rows[name]
        finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
        rows = rows.set_column(rows.schema.get_field_index(name), name, finite)
    return rows


def _overlap(part: Part, bounds: dict[str, Micros]) -> bool:
    return part.first <= bounds["max"] and part.last >= bounds["min"]


def newest_row(layout: Layout) -> Micros:
    """Return the time of the newest row in the log; 0 for an empty log.

    For a part that holds rows from the future it is the present: a reference through those would let no row in.
    """
    latest, now = latest_time(), microseconds(datetime.now(UTC))
    return max((part.last if part.last <= latest else now for part in list_parts(layout.current)[0]), default=Micros(0))


def shortage(collected: Collected, config: Config) -> str | None:
    """Say why the labels are too few for a candidate; None if they suffice."""
    needed = config.retrain.minimum_labels
    if len(collected.table) < needed:
        return f"{needed} labelled rows are needed: {collected.describe()}"
    each = math.ceil(FOLDS / min(config.retrain.holdout, 1 - config.retrain.holdout))  # every fold and split has some
    labels, counts = np.unique(collected.table[config.model.target].to_numpy(zero_copy_only=False), return_counts=True)
    enough = [str(name) for name, count in zip(labels, counts, strict=True) if count >= each]
    if len(enough) < 2:  # noqa: PLR2004 - a classifier needs two
        named = ", ".join(enough) or "none"
        return f"two categories with at least {each} labelled rows are needed; those that have them: {named}"
    return None
