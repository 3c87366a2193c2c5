"""What late labels change in a window's profile: one class for each task.

A late label takes the place of one that its row may hold: what the row has added with that one is taken back.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitoring.contract.tasks import TaskName
from monitoring.profile.label_errors import ErrorSums
from monitoring.profile.profile import Profile

Matches = npt.NDArray[np.void]


class LabelChanges(Protocol):
    """How labels and predictions are kept with few bytes, and what they change."""

    dtype: str  # in which `label`, `prediction` and `inline` are kept

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return values (n,) as they are kept."""

    def apply(self, profile: Profile, matches: Iterable[Matches]) -> Profile:
        """Return a profile with these labels in the place of those that its rows hold."""


class Categories:
    """Categories, kept as numbers: -1 is none."""

    dtype = "i4"

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return a number for each category (n,)."""
        codes = [-1 if v is None else self._codes.setdefault(v, len(self._codes)) for v in values.to_pylist()]
        return np.array(codes, self.dtype)

    def apply(self, profile: Profile, matches: Iterable[Matches]) -> Profile:
        """Change the counts of (target, prediction)."""
        names = list(self._codes)
        confusion = Counter(profile.confusion)
        for some in matches:
            held = some[some["prediction"] >= 0]
            for column, sign in (("label", 1), ("inline", -1)):
                pairs, counts = np.unique(held[held[column] >= 0][[column, "prediction"]], return_counts=True)
                for (target, prediction), count in zip(pairs.tolist(), counts.tolist(), strict=True):
                    confusion[names[target], names[prediction]] += sign * count
        return replace(profile, confusion=+confusion)


class Numbers:
    """Numbers, kept as they are: NaN is none."""

    dtype = "f8"

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return the numbers (n,)."""
        numbers: npt.NDArray[Any] = values.cast(pa.float64()).to_numpy()
        return numbers

    def apply(self, profile: Profile, matches: Iterable[Matches]) -> Profile:
        """Change the sums of the errors and their bins."""
        before, after = ErrorSums(), ErrorSums()
        bins = profile.error_bins
        for some in matches:
            before += ErrorSums.of(some["prediction"], some["inline"])
            after += ErrorSums.of(some["prediction"], some["label"])
            bins -= profile.grid.error_bins(some["prediction"], some["inline"])
            bins += profile.grid.error_bins(some["prediction"], some["label"])
        return replace(profile, errors=profile.errors - before + after, error_bins=bins)


_CHANGES: Mapping[TaskName, type[Categories | Numbers]] = {"classification": Categories, "regression": Numbers}


def label_changes(task: TaskName) -> Categories | Numbers:
    """Return how late labels of a task are kept and applied."""
    return _CHANGES[task]()
