"""NannyML's car loan data: rows drawn one by one, 50,000 of a reference period and 50,000 with a change half way."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmarks.alarms.traffic import watch
from benchmarks.alarms.traffic.packages import files_of
from monitoring.alarms.drift.scores import Observations

NUMERIC = ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"]
CODED = ["salary_range", "repaid_loan_on_prev_car", "size_of_downpayment"]
REFERENCES = (1_000, 5_000)
STEADY, CHANGE = 50_000, 75_000  # rows of the reference period; the row at which the change comes
BEHIND = 2_000  # rows after the change


def loans() -> Observations:
    """Return all rows in the order of time; categories are coded as numbers."""
    folder = files_of("nannyml") / "datasets/data"
    rows = pd.concat(
        [pd.read_csv(folder / f"synthetic_car_loan_{name}.csv") for name in ("reference", "analysis")],
        ignore_index=True,
    )
    codes = rows[CODED].astype(str).apply(lambda column: column.astype("category").cat.codes)
    times = pd.to_datetime(rows.timestamp).astype("datetime64[us]").astype("int64").to_numpy()
    features = np.column_stack([rows[NUMERIC].to_numpy(float), codes.to_numpy(float)])
    return Observations(features, rows.y_pred.to_numpy(np.int64), times)


def one(size: int) -> dict[str, object]:
    """Take so many first rows for the reference, and watch the others."""
    rows = loans().take(slice(0, CHANGE + BEHIND))
    known = watch.Watch.of(rows.take(slice(0, size)), 2)
    log = rows.take(slice(size, None))
    promise = watch.promised_rows(log)
    found = watch.replay(known, log, (*NUMERIC, *CODED), promise)
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
