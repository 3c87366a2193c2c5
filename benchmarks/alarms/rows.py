"""What the log holds, as arrays: needs numpy alone, so that every peer's environment can read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.float32]
Codes = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Rows:
    """Features (n, features), NaN where missing, and predictions (n,): codes into the config's categories."""

    features: Features
    predictions: Codes

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, part: slice) -> Self:
        return type(self)(self.features[part], self.predictions[part])

    def then(self, later: "Rows") -> "Rows":
        """Return these rows and, after them, the later ones."""
        return Rows(
            np.concatenate([self.features, later.features]), np.concatenate([self.predictions, later.predictions])
        )


def write(path: Path, several: list[Rows]) -> None:
    """Write equally long stretches of rows."""
    np.save(path.with_suffix(".features.npy"), np.stack([rows.features for rows in several]))
    np.save(path.with_suffix(".predictions.npy"), np.stack([rows.predictions for rows in several]).astype(np.int8))


def read(path: Path, number: int) -> Rows:
    """Read one of the stretches that `write` wrote."""
    features = np.load(path.with_suffix(".features.npy"), mmap_mode="r")[number]
    predictions = np.load(path.with_suffix(".predictions.npy"), mmap_mode="r")[number]
    return Rows(np.array(features), predictions.astype(np.intp))


def inputs(reference: Rows, rows: Rows) -> tuple[Floats, Floats]:
    """Return what a detector of numbers is given of the reference and of the rows, (n, features + 2) each.

    The columns: every feature, standardised by the reference and with its mean in place of what is missing; the
    prediction as the negative logarithm of its share in the reference; the number of the row's missing cells.
    """
    center, spread = np.nanmean(reference.features, axis=0), np.nanstd(reference.features, axis=0)
    counts = np.bincount(reference.predictions, minlength=1 + max(reference.predictions.max(), rows.predictions.max()))
    information = -np.log((counts + 0.5) / (len(reference) + 0.5 * len(counts)))
    usual = information[reference.predictions]
    information = (information - usual.mean()) / usual.std()

    def given(some: Rows) -> Floats:
        scores = np.nan_to_num((some.features.astype(np.float64) - center) / spread)
        return np.column_stack([scores, information[some.predictions], np.isnan(some.features).sum(axis=1)])

    return given(reference), given(rows)
