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

from monitoring.contract.config import Model
from monitoring.contract.tasks import TaskName
from monitoring.profile.categorical import TextColumn
from monitoring.profile.label_errors import ErrorSums, absolute_errors
from monitoring.profile.label_scores import Cells, ScoreCounts, label_places, read_cells
from monitoring.profile.profile import Profile
from monitoring.profile.segments import GroupOutcomes

Matches = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]


class LabelChanges(Protocol):
    """How labels and predictions are kept with few bytes, and what they change."""

    dtype: str  # in which `label`, `prediction` and `inline` are kept

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return values (n,) as they are kept."""

    def cells(self, rows: pa.Table) -> Cells:
        """Return the cells (n, k) of the rows' probabilities."""

    def losses(self, matches: Matches, column: str) -> Floats:
        """Return what the answers cost (n,) by the labels of a column, as in GroupOutcomes; NaN where there is none."""

    def apply(self, profile: Profile, matches: Iterable[Matches]) -> Profile:
        """Return a profile with these labels in the place of those that its rows hold."""


class Categories:
    """Categories, kept as numbers: -1 is none."""

    dtype = "i4"

    def __init__(self, model: Model) -> None:
        self._model = model
        self._codes: dict[str, int] = {}

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return a number for each category (n,)."""
        codes = [-1 if v is None else self._codes.setdefault(v, len(self._codes)) for v in values.to_pylist()]
        return np.array(codes, self.dtype)

    def cells(self, rows: pa.Table) -> Cells:
        """Return what is kept of the probabilities (n, k)."""
        return read_cells(rows, self._model)

    def losses(self, matches: Matches, column: str) -> Floats:
        """Return 1 for a wrong category and 0 for the right one (n,)."""
        labels, predictions = matches[column], matches["prediction"]
        return np.where((labels >= 0) & (predictions >= 0), labels != predictions, np.nan)

    def apply(self, profile: Profile, matches: Iterable[Matches]) -> Profile:
        """Change the counts of (target, prediction), and of probabilities."""
        names = list(self._codes)
        places = label_places([*names, None], self._model)  # -1 takes the last
        confusion, scores = Counter(profile.confusion), profile.scores
        for some in matches:
            held = some[some["prediction"] >= 0]
            for column, sign in (("label", 1), ("inline", -1)):
                pairs, counts = np.unique(held[held[column] >= 0][[column, "prediction"]], return_counts=True)
                for (target, prediction), count in zip(pairs.tolist(), counts.tolist(), strict=True):
                    confusion[names[target], names[prediction]] += sign * count
            if self._model.scored:
                before, after = (ScoreCounts.of(some["cells"], places[some[c]]) for c in ("inline", "label"))
                scores = scores - before + after
        return replace(profile, confusion=+confusion, scores=scores)


class Numbers:
    """Numbers, kept as they are: NaN is none."""

    dtype = "f8"

    def __init__(self, _model: Model) -> None:
        pass

    def encode(self, values: pa.ChunkedArray) -> npt.NDArray[Any]:
        """Return the numbers (n,)."""
        numbers: npt.NDArray[Any] = values.cast(pa.float64()).to_numpy()
        return numbers

    def cells(self, rows: pa.Table) -> Cells:
        """Return nothing (n, 0)."""
        return np.empty((len(rows), 0), np.int32)

    def losses(self, matches: Matches, column: str) -> Floats:
        """Return the absolute errors (n,)."""
        return absolute_errors(matches["prediction"], matches[column])

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


class Segments:
    """The values that a row's groups go by, kept as numbers: a level's place among those that were met, or a number.

    They are kept as values, since another reference makes other groups.
    """

    def __init__(self, model: Model) -> None:
        self.names = model.segments
        self._levels: dict[str, dict[str, int]] = {n: {} for n in model.segments if n in model.of_kind("categorical")}

    def encode(self, rows: pa.Table) -> Floats:
        """Return the values of rows (n, segments)."""
        found = np.empty((len(rows), len(self.names)))
        for place, name in enumerate(self.names):
            values = rows[name]
            if (known := self._levels.get(name)) is not None:
                codes = [np.nan if v is None else known.setdefault(v, len(known)) for v in values.to_pylist()]
                found[:, place] = codes
            else:
                found[:, place] = values.cast(pa.float64()).to_numpy()
        return found

    def change(self, profile: Profile, matches: Iterable[Matches], changes: "LabelChanges") -> Profile:
        """Change the losses of the groups' labelled rows."""
        outcomes = profile.outcomes
        for some in matches:
            places = profile.grid.segments.places(self._columns(some["segments"]), len(some))
            for column, sign in (("label", 1), ("inline", -1)):
                found = GroupOutcomes.of(places, changes.losses(some, column), profile.grid.segments.shape[0])
                outcomes = outcomes + found if sign > 0 else outcomes - found
        return replace(profile, outcomes=outcomes)

    def _columns(self, values: Floats) -> dict[str, TextColumn | Floats]:
        return {name: self._column(name, values[:, place]) for place, name in enumerate(self.names)}

    def _column(self, name: str, values: Floats) -> TextColumn | Floats:
        if (known := self._levels.get(name)) is None:
            return values
        return TextColumn(np.where(np.isnan(values), -1, values).astype(np.int64), pa.array(known, pa.string()))


_CHANGES: Mapping[TaskName, type[Categories | Numbers]] = {"classification": Categories, "regression": Numbers}


def label_changes(model: Model) -> Categories | Numbers:
    """Return how late labels of a model's task are kept and applied."""
    return _CHANGES[model.task](model)
