"""Logs with a fault, and the same without one, in files that every peer's environment can read: numpy alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

FAULTS = {
    "kilometres": "distance in kilometres",
    "celsius": "temperature in Celsius",
    "hour": "schedule an hour off",
    "frozen": "one airport's weather frozen",
    "missing": "5 % of one feature missing",
    "carrier": "one carrier gone",
    "late": "predictions 10 points later",
}
PARTS = ("features", "predictions", "times", "hours")
HOUR = 3_600e6  # microseconds


@dataclass(frozen=True)
class Stream:
    """Rows in order: features (n, d), predictions (n,), times (n,) in microseconds, local hours since 1970 (n,)."""

    features: npt.NDArray[np.float64]
    predictions: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    hours: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.predictions)

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> Self:
        """Return some of the rows."""
        return type(self)(*(getattr(self, part)[rows] for part in PARTS))

    def then(self, later: "Stream") -> "Stream":
        """Return these rows and, after them, the later ones."""
        return Stream(*(np.concatenate([getattr(self, part), getattr(later, part)]) for part in PARTS))

    @property
    def columns(self) -> npt.NDArray[np.float64]:
        """Return the features and the predictions (n, d + 1)."""
        return np.column_stack([self.features, self.predictions])


def write(folder: Path, name: str, stream: Stream) -> None:
    """Write a stream."""
    np.savez(folder / f"{name}.npz", **{part: getattr(stream, part) for part in PARTS})


def read(folder: Path, name: str) -> Stream:
    """Read what `write` wrote."""
    with np.load(folder / f"{name}.npz") as found:
        return Stream(*(found[part] for part in PARTS))
