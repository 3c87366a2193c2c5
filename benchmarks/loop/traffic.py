"""Flights from New York as the traffic of a service, at their own times, with faults put in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
import pandas as pd

from benchmarks.alarms.traffic import flights

BEGIN, END = "2013-10-06", "2013-12-01"  # eight weeks, whole days in New York
REFERENCE_WEEKS = 4
SHARE = 0.5  # of the flights, drawn at random: about 460 a day
LATE = 15  # minutes
SEED = 18

FAULTS = {
    "km": "distance in kilometres",
    "celsius": "temperature in Celsius",
    "hour": "schedule an hour off",
}


def midnight(day: str) -> datetime:
    """Return the moment at which a day begins in New York, in UTC: a local clock's hours are not all as long."""
    moment: datetime = flights.local(day).tz_convert("UTC").to_pydatetime()
    return moment


@dataclass(frozen=True)
class Fault:
    """A fault from one moment to another; without an end it stays."""

    kind: str
    begin: datetime
    end: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `km@2013-10-20` or `hour@2013-11-17..2013-11-24`, days in New York; raise ValueError for others."""
        kind, _, days = text.partition("@")
        begin, _, end = days.partition("..")
        if kind not in FAULTS or not begin:
            raise ValueError(f"{text}: is no fault; it takes {'|'.join(FAULTS)}@DAY or @DAY..DAY")
        return cls(kind, *(midnight(day) for day in (begin, end) if day))

    @property
    def changes(self) -> list[tuple[datetime, str]]:
        """Return the moments at which it changes the data: it comes and, if it ends, it is mended."""
        name = FAULTS[self.kind]
        return [(self.begin, name), *([(self.end, f"{name}: mended")] if self.end else [])]

    def put_into(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows (n) as the service is asked about them."""
        after = rows.timestamp >= self.begin
        there = after if self.end is None else after & (rows.timestamp < self.end)
        rows = rows.copy()
        if self.kind == "km":
            rows.loc[there, "distance"] *= 1.60934
        elif self.kind == "celsius":
            rows.loc[there, "temp"] = (rows.temp[there] - 32) / 1.8
        else:
            rows.loc[there, "sched_min"] += 60
        return rows


def sampled(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a random half of the rows, with `label` (None for a flight that never arrived) and distinct times."""
    chosen = np.random.default_rng(SEED).random(len(rows)) < SHARE
    rows = rows[chosen].reset_index(drop=True)
    late = np.where(rows.arr_delay > LATE, *reversed(flights.CATEGORIES)).astype(object)
    rows["label"] = np.where(rows.arr_delay.isna(), None, late)
    rows["timestamp"] += pd.to_timedelta(np.arange(len(rows)) % 1000, unit="us")  # many leave in the same minute
    return rows


def reference_rows() -> pd.DataFrame:
    """Return the flights of the weeks before the log."""
    first = flights.local(BEGIN) - pd.Timedelta(weeks=REFERENCE_WEEKS)
    return sampled(flights.between(first.strftime("%Y-%m-%d"), BEGIN))


def log_rows(faults: tuple[Fault, ...], end: str = END) -> pd.DataFrame:
    """Return the flights of the log with these faults in them."""
    rows = sampled(flights.between(BEGIN, end))
    for fault in faults:
        rows = fault.put_into(rows)
    return rows
