"""NannyML's car loan data: rows drawn one by one, 50,000 of a reference period and 50,000 with a change half way.

All columns are watched as they are: four numbers, three categories.
"""

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from benchmarks.alarms.traffic import watch
from benchmarks.alarms.traffic.packages import ROOT, files_of
from monitoring.alarms.drift.vocabulary import Vocabulary, columns_of, rows_of
from monitoring.contract.config_file import load_config
from monitoring.contract.schemas import log_schema
from monitoring.contract.values import convert

MODEL = load_config(ROOT / "docs/examples/car_loans.yml").model
REFERENCES = (1_000, 5_000)
STEADY, CHANGE = 50_000, 75_000  # rows of the reference period; the row at which the change comes
BEHIND = 2_000  # rows after the change


def loans() -> pa.Table:
    """Return all rows in the order of time."""
    folder = files_of("nannyml") / "datasets/data"
    rows = pd.concat(
        [pd.read_csv(folder / f"synthetic_car_loan_{name}.csv") for name in ("reference", "analysis")],
        ignore_index=True,
    )
    fields = [log_schema(MODEL).field(name) for name in (*MODEL.features, MODEL.prediction, "timestamp")]
    return pa.table({field.name: convert(pa.chunked_array([pa.array(rows[field.name])]), field) for field in fields})


def one(size: int) -> dict[str, object]:
    """Take so many first rows for the reference, and watch the others."""
    rows = loans().slice(0, CHANGE + BEHIND)
    words = Vocabulary.of(rows.slice(0, size), MODEL)
    known = watch.Watch.of(rows_of(rows.slice(0, size), MODEL), len(MODEL.categories), words)
    log = rows_of(rows.slice(size), MODEL, words)
    promise = watch.promised_rows(log)
    numeric, categorical, _ = columns_of(MODEL)
    found = watch.replay(known, log, (*numeric, *categorical), promise)
    behind = [alarm for alarm in found.alarms if alarm.over > CHANGE - size]
    return {
        "reference": size,
        "promise": promise,
        "before": sum(alarm.row < CHANGE - size for alarm in found.alarms),
        "in_reference_period": sum(alarm.row < STEADY - size for alarm in found.alarms),
        "delay": behind[0].row - (CHANGE - size) if behind else None,
        "changed": behind[0].changed if behind else "",
    }


def table(found: list[dict[str, object]]) -> str:
    """Return what was found as Markdown, a line per reference."""
    return "\n".join(_lines(found))


def _lines(found: list[dict[str, object]]) -> Iterator[str]:
    yield (
        "| reference | promised: one in | alarms in the reference period | alarms up to the change | "
        "rows from the change to the alarm | attributed to |"
    )
    yield "|---|---|---|---|---|---|"
    for one in found:
        yield (
            f"| first {one['reference']:,} rows | {one['promise']:,.0f} rows | {one['in_reference_period']} | "
            f"{one['before']} | {'never' if one['delay'] is None else one['delay']} | {one['changed']} |"
        )
