"""Streams of predictions in true order: an unseen reference, then a log whose labels judge the estimates.

Each is a Parquet file STREAM.parquet: `period` (reference or analysis), `right`, the probability of each class
(`p_<class>`), the class that was answered and the true one, and the model's features (`x_<name>`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Right = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Period:
    """Rows in order: confidence (n,), whether the answer was right (n,), and the features (n, features)."""

    confidence: Floats
    right: Right
    features: Floats

    def __len__(self) -> int:
        return len(self.right)

    def take(self, places: slice | npt.NDArray[np.intp]) -> "Period":
        """Return the rows at these places."""
        return Period(self.confidence[places], self.right[places], self.features[places])

    def chunks(self, rows: int) -> list["Period"]:
        """Return the whole chunks of so many rows."""
        return [self.take(slice(begin, begin + rows)) for begin in range(0, len(self) - rows + 1, rows)]


@dataclass(frozen=True)
class Stream:
    """A reference and what came after it in true order, judged in chunks of so many rows."""

    title: str
    name: str
    rows: int


STREAMS = (
    Stream("car loan", "car_loan", 1_000),
    Stream("car loan", "car_loan", 5_000),
    Stream("flights, late departure, nothing done", "departure", 1_000),
    Stream("flights, late departure, nothing done", "departure", 5_000),
    Stream("flights, late arrival, nothing done", "arrival", 1_000),
    Stream("flights, late arrival, nothing done", "arrival", 5_000),
    Stream("the same, `dep_delay` missing from 1 October", "arrival_missing", 1_000),
    Stream("the same, `dep_delay` missing from 1 October", "arrival_missing", 5_000),
    Stream("the same, `dep_delay` in seconds from 1 October", "arrival_seconds", 5_000),
)
TRACK_ROWS = 149  # of real tracks, which have no order: half of the 298 that are not in the reference


def save(folder: Path, name: str, frame: pd.DataFrame) -> None:
    """Save a stream."""
    frame.reset_index(drop=True).to_parquet(folder / f"{name}.parquet")


def frame_of(
    period: npt.NDArray[np.object_] | pd.Series,
    classes: list[str],
    probabilities: Floats,
    truth: npt.NDArray[np.object_],
    features: Floats,
) -> pd.DataFrame:
    """Return a stream's columns; the answer is the likeliest class."""
    answer = np.array(classes, dtype=object)[probabilities.argmax(axis=1)]
    columns = {f"p_{name}": column for name, column in zip(classes, probabilities.T, strict=True)}
    columns |= {f"x_{n}": column for n, column in enumerate(features.T)}
    return pd.DataFrame(
        {"period": np.asarray(period), "right": answer == truth, "answer": answer, "truth": truth, **columns}
    )


def load(folder: Path, name: str) -> tuple[Period, Period]:
    """Return a stream's reference and its log."""
    frame = pd.read_parquet(folder / f"{name}.parquet")
    features = frame.filter(regex="^x_").to_numpy(np.float64)
    confidence = frame.filter(regex="^p_").max(axis=1).to_numpy(np.float64)
    everything = Period(confidence, frame.right.to_numpy(bool), features)
    known = (frame.period == "reference").to_numpy()
    return everything.take(np.flatnonzero(known)), everything.take(np.flatnonzero(~known))
