"""How probable labelled rows' true categories were called, as sparse counts that can be added and subtracted.

ROC AUC and log loss follow from how many rows of a category, and of the others, have which probability of it. So that
the number of counts stays small, a probability is rounded in its logarithmic odds to a fixed grid, whose steps are
equal in a rare category's small probabilities and in large ones. It is a step's width that two probabilities must
differ by to be told apart: 0.1 % of the odds. So log loss is exact to half a step, 0.0005, and ROC AUC to half the
share of pairs of rows that fall on one point of the grid. The grid ends where the type in which probabilities are
logged does not tell them from 0 and 1, which is where scikit-learn cuts them off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import expit

from monitoring.contract.config import Model
from monitoring.contract.probabilities import probability_column
from monitoring.contract.schemas import number_type
from monitoring.contract.values import convert, is_text

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]

STEPS = 1000  # of the grid, for each factor e of the odds
FARTHEST = 36_043  # next to 2.2e-16 and its complement, float64's resolution
FARTHEST_NARROW = 15_942  # next to 1.2e-7 and its complement, float32's
ROUNDING = 1e-6  # a number that is so little below 0 or above 1 is that
UNKNOWN = np.iinfo(np.int32).min  # the cell of a row whose probabilities are not known
_SPAN = 2 * FARTHEST + 1


def cells_of(probabilities: Floats, farthest: int = FARTHEST) -> Cells:
    """Return the cells of probabilities, of a grid that ends at `farthest`; UNKNOWN of what is none."""
    known = (probabilities >= -ROUNDING) & (probabilities <= 1 + ROUNDING)
    inside = np.where(known, probabilities, 0.5).clip(0, 1)
    with np.errstate(divide="ignore"):
        odds = np.log(inside) - np.log1p(-inside)
    cells = np.rint(np.clip(odds * STEPS, -farthest, farthest)).astype(np.int32)
    return np.where(known, cells, np.int32(UNKNOWN))


def rounded(cells: Cells) -> Floats:
    """Return the probabilities at cells."""
    return np.asarray(expit(cells / STEPS), np.float64)


def read_cells(rows: pa.Table, model: Model) -> Cells:
    """Return the cells (n, k) of the probabilities of `Model.scored`; a row has all, or UNKNOWN alone."""
    columns = [_numbers(rows, probability_column(name), model) for name in model.scored if model.probabilities]
    if model.binary:
        told = _by_confidence(rows, model)
        columns = [np.where(np.isnan(column), told, column) for column in columns] or [told]
    cells = np.empty((len(rows), len(columns)), np.int32)
    for place, column in enumerate(columns):
        cells[:, place] = cells_of(column, FARTHEST if number_type(model) == pa.float64() else FARTHEST_NARROW)
    cells[(cells == UNKNOWN).any(axis=1)] = UNKNOWN
    return cells


def columns_read(model: Model) -> tuple[str, ...]:
    """Return the columns that `read_cells` looks at, where they are there."""
    return (model.prediction, "confidence", *model.probability_columns) if model.scored else ()


def _by_confidence(rows: pa.Table, model: Model) -> Floats:
    """Return the scored one of two categories' probability: the confidence is that of what a row was answered with."""
    confidence = _numbers(rows, "confidence", model)
    if model.prediction not in rows.schema.names:
        return np.full(len(rows), np.nan)
    predicted = convert(rows[model.prediction], pa.field(model.prediction, pa.string()))
    (ours,) = model.scored
    known = np.isin(answers := predicted.to_numpy().astype(object), model.categories)
    return np.where(known, np.where(answers == ours, confidence, 1 - confidence), np.nan)


def _numbers(rows: pa.Table, name: str, model: Model) -> Floats:
    if name not in rows.schema.names or is_text(rows[name].type):
        return np.full(len(rows), np.nan)
    values: Floats = convert(rows[name], pa.field(name, number_type(model))).cast(pa.float64()).to_numpy()
    return values


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """How many labelled rows have which probability of which of `Model.scored`, and whether that is their category.

    `keys` (n,) ascend; each is made of a category's place, whether the row is of it, and the cell. A row counts once
    for each of the scored categories.
    """

    keys: Counts
    counts: Counts

    @classmethod
    def none(cls) -> "ScoreCounts":
        """Return the counts of no rows."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    @classmethod
    def of(cls, cells: Cells, labels: npt.NDArray[np.intp]) -> "ScoreCounts":
        """Count rows by their cells (n, k) and their labels (n,): the places among the scored, k of another, or -1.

        A row without a label, or without probabilities, does not count.
        """
        both = (labels >= 0) & (cells != UNKNOWN).all(axis=1)
        cells, labels = cells[both], labels[both]
        hit = labels[:, None] == np.arange(cells.shape[1])
        places = 2 * np.arange(cells.shape[1], dtype=np.int64) + hit
        keys, counts = np.unique(places * _SPAN + (cells.astype(np.int64) + FARTHEST), return_counts=True)
        return cls(keys, counts.astype(np.int64))

    def __eq__(self, other: object) -> bool:
        """Return whether these are the same counts."""
        return isinstance(other, ScoreCounts) and all(
            np.array_equal(ours, theirs) for ours, theirs in ((self.keys, other.keys), (self.counts, other.counts))
        )

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: "ScoreCounts") -> "ScoreCounts":
        """Return the counts of both samples."""
        return self._summed(other, 1)

    def __sub__(self, other: "ScoreCounts") -> "ScoreCounts":
        """Return the counts without those of rows that are among these."""
        return self._summed(other, -1)

    def _summed(self, other: "ScoreCounts", sign: int) -> "ScoreCounts":
        if not len(other.keys):
            return self
        if not len(self.keys) and sign > 0:
            return other
        keys, places = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, sign * other.counts.astype(np.int64)]))
        kept = counts > 0
        return ScoreCounts(keys[kept], counts[kept])

    @cached_property
    def rows(self) -> int:
        """Return how many rows are counted."""
        return int(self.counts[self.keys < 2 * _SPAN].sum())

    def absent(self, model: Model) -> tuple[str, ...]:
        """Return the categories that no counted row is of."""
        found = self._labels(model)
        return tuple(name for name in model.categories if not found.get(name))

    def _labels(self, model: Model) -> dict[str, int]:
        sides = {name: self._sides(place) for place, name in enumerate(model.scored)}
        found = {name: int(own.sum()) for name, (_, own, _) in sides.items()}
        if model.binary:
            (other,) = set(model.categories) - set(model.scored)
            found[other] = self.rows - sum(found.values())
        return found

    def _sides(self, place: int) -> tuple[Counts, Counts, Counts]:
        """Return a scored category's cells, ascending, and how many rows of it and of the others are at each."""
        which, cells = np.divmod(self.keys, _SPAN)
        ours, theirs = (which == 2 * place + 1), (which == 2 * place)
        every = np.unique(cells[ours | theirs])
        sides = []
        for side in (ours, theirs):
            counts = np.zeros(len(every), np.int64)
            counts[np.searchsorted(every, cells[side])] = self.counts[side]
            sides.append(counts)
        return every - FARTHEST, sides[0], sides[1]

    def roc_auc(self, model: Model) -> float:
        """Return the area under the ROC curve, of more than two categories the mean of each against the others.

        It is that of the rounded probabilities, as `sklearn.metrics.roc_auc_score` has it; NaN if a category is absent.
        """
        if not model.scored or self.absent(model):
            return float("nan")
        return float(np.mean([self._area(place) for place in range(len(model.scored))]))

    def _area(self, place: int) -> float:
        """Return the share of pairs of a row of the category and one of the others that are in the right order."""
        _, own, others = self._sides(place)
        below = np.cumsum(others) - others
        doubled = sum(int(a) * int(b) for a, b in zip(own, 2 * below + others, strict=True) if a)
        return doubled / (2 * int(own.sum()) * int(others.sum()))

    def log_loss(self, model: Model) -> float:
        """Return the mean of -ln p of the rows' own categories; NaN without rows."""
        total = 0.0
        for place in range(len(model.scored)):
            cells, own, others = self._sides(place)
            total += float(own @ surprise(cells))
            if model.binary:
                total += float(others @ surprise(-cells))
        return total / self.rows if self.rows else float("nan")


def surprise(cells: npt.NDArray[np.integer]) -> Floats:
    """Return -ln p of the probabilities at cells."""
    return np.asarray(np.logaddexp(0.0, -cells / STEPS), np.float64)


def label_places(labels: Sequence[str | None], model: Model) -> npt.NDArray[np.intp]:
    """Return the places of labels (n,) among `Model.scored`; the number of these for another category, -1 for none."""
    places = {name: len(model.scored) for name in model.categories}
    places |= {name: place for place, name in enumerate(model.scored)}
    return np.array([-1 if label is None else places.get(label, -1) for label in labels], np.intp)
