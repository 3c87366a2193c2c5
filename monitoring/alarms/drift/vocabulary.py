"""Tables as the detector takes them: numbers, codes of predictions, and cells of levels by a reference's vocabulary."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.alarms.drift.levels import FIRST, NO_VALUE, RARE, UNSEEN, Cells, Codes, Levels
from monitoring.alarms.drift.scores import Observations
from monitoring.contract.config import Model

MOST_LEVELS = 20  # of a feature that are counted each by itself; the others are rare
MOST_IN_ALL = 300  # of many features
FEWEST_LEVELS = 4  # of a feature all the same
FREQUENT = 30  # rows of a level that is counted by itself, or fewer if they are a hundredth of the reference
FEWEST_ROWS = 5  # but not fewer than that
MOST_NAMED = 1000  # unseen levels of a feature: of more the names are not kept

_MISSING = -1  # the code of no value


@dataclass
class FeatureLevels:
    """The levels of one categorical feature in a reference, the most frequent first, and how many rows have each.

    The first `frequent` are counted each by itself. A level's code is its place; unseen ones have codes from the number
    of levels on: the first of these for those beyond MOST_NAMED, then one for each in the order in which they came.
    """

    levels: pa.Array
    rows: Codes
    frequent: int
    unseen: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, column: pa.ChunkedArray, features: int) -> "FeatureLevels":
        """Learn the levels of a column, one of so many categorical features."""
        counted = pc.value_counts(column.drop_null().combine_chunks())
        rows, levels = counted.field("counts").to_numpy(), counted.field("values")
        order = np.lexsort((np.argsort(np.argsort(levels.to_pylist())), -rows))  # of equal counts by name
        rows = rows[order].astype(np.int32)
        enough = max(FEWEST_ROWS, min(FREQUENT, len(column) / 100))
        most = min(MOST_LEVELS, max(FEWEST_LEVELS, MOST_IN_ALL // features))
        return cls(levels.take(pa.array(order)), rows, min(most, int((rows >= enough).sum())))

    @property
    def cells(self) -> int:
        """Return how many cells it has."""
        return FIRST + self.frequent

    def code(self, column: pa.ChunkedArray) -> Codes:
        """Return the code of each value of a column (n,)."""
        known = pc.index_in(column, value_set=self.levels)
        new = pc.and_(pc.is_null(known), pc.is_valid(column))
        codes: Codes = pc.fill_null(known, _MISSING).to_numpy().astype(np.int32)
        if pc.any(new).as_py():
            places = np.flatnonzero(new.to_numpy())
            codes[places] = [self._code_unseen(level) for level in column.filter(new).to_pylist()]
        return codes

    def _code_unseen(self, level: str) -> int:
        other = len(self.levels)
        if level not in self.unseen and len(self.unseen) < MOST_NAMED:
            self.unseen[level] = other + 1 + len(self.unseen)
        return self.unseen.get(level, other)

    def place(self, codes: Codes, *, own: bool) -> Cells:
        """Return the cell of each code (n,); `own` rows are the reference's, of whose levels some are in no other."""
        number = len(self.levels)
        table = np.full(number + 2, RARE, np.int16)
        table[: self.frequent] = FIRST + np.arange(self.frequent)
        if own:
            table[:-2][self.rows == 1] = UNSEEN
        table[number], table[_MISSING] = UNSEEN, NO_VALUE
        cells: Cells = table[np.minimum(codes, number)]
        return cells

    def name(self, code: int) -> str | None:
        """Return the level that has a code; None for no value, and for unseen levels whose names are not kept."""
        if code < len(self.levels):
            return None if code == _MISSING else self.levels[code].as_py()
        return next((level for level, of in self.unseen.items() if of == code), None)


@dataclass(frozen=True)
class Vocabulary:
    """The levels of a reference's categorical features, in the config's order."""

    features: tuple[FeatureLevels, ...] = ()

    @classmethod
    def of(cls, table: pa.Table, model: Model) -> "Vocabulary":
        """Learn the levels of a reference's table."""
        names = model.of_kind("categorical")
        return cls(tuple(FeatureLevels.of(table[name], len(names)) for name in names))

    def code(self, table: pa.Table, model: Model, *, own: bool) -> Levels:
        """Return the levels of a table's rows; `own` rows are the reference's."""
        pairs = list(zip(self.features, model.of_kind("categorical"), strict=True))
        codes = [of.code(table[name]) for of, name in pairs]
        cells = [of.place(code, own=own) for (of, _), code in zip(pairs, codes, strict=True)]
        sizes = tuple(of.cells for of in self.features)
        if not sizes:
            return Levels.none_of(())
        return Levels(np.column_stack(cells), sizes, np.column_stack(codes))


def rows_of(table: pa.Table, model: Model, vocabulary: Vocabulary | None = None) -> Observations:
    """Return a table's rows (n) as the detector takes them, with times if the table has them.

    Levels are those of a reference's vocabulary. Without one the rows are the reference's, and it is learned from them.
    """
    features = [_numbers(table[name]) for name in columns_of(model)[0]]
    words = vocabulary or Vocabulary.of(table, model)
    codes = {name: code for code, name in enumerate(model.categories)}
    if model.task == "regression":
        predictions = [0] * len(table)
    else:
        predictions = [codes.get(name, len(codes)) for name in table[model.prediction].to_pylist()]
    times = table["timestamp"].cast(pa.int64()).to_numpy() if "timestamp" in table.column_names else None
    numbers = np.column_stack(features) if features else np.zeros((len(table), 0))
    levels = words.code(table, model, own=vocabulary is None)
    return Observations(numbers, np.array(predictions, np.int64), times, levels)


def _numbers(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    numbers: np.ndarray[tuple[int], np.dtype[np.float64]] = column.cast(pa.float64(), safe=False).to_numpy()
    return numbers


def columns_of(model: Model) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the columns that the detector takes as numbers, as levels, and as a prediction of the config's categories.

    A regression's prediction is a number like others, and the last of them.
    """
    numeric, categorical = model.of_kind("numeric"), model.of_kind("categorical")
    if model.kind(model.prediction).name == "numeric":
        return (*numeric, model.prediction), categorical, ()
    return numeric, categorical, (model.prediction,)
