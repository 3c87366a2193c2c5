"""Levels of one categorical feature as numbers: indicators, or the mean label of the rows with a level.

Both look a level up in a table, and so do their exported forms. A level that the table lacks, be it rare or never seen,
has the table's last row.
"""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, TransformerMixin

FEWEST, MOST = 5, 50  # rows of a level that has an indicator; levels of a feature that have one
PRIOR = 10.0  # rows of the overall mean that each level's mean is mixed with
FOLDS = 5

Levels = npt.NDArray[np.object_]
Table = npt.NDArray[np.float32]


class _LevelTable(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Turns levels (n, 1) into rows of `table_` (levels + 1, columns), which are in the order of `levels_`."""

    levels_: list[str]
    table_: Table

    def transform(self, values: Levels) -> Table:
        """Return the table's rows (n, columns)."""
        return _looked_up(values[:, 0], self.levels_, self.table_)


class LevelIndicators(_LevelTable):
    """A column for each of the MOST most frequent levels that FEWEST rows or more have; other levels have zeros."""

    def fit(self, values: Levels, _labels: object = None) -> Self:
        """Learn the levels."""
        levels, counts = np.unique(values[:, 0].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST]
        self.levels_ = sorted(levels[order][counts[order] >= FEWEST].tolist())
        number = len(self.levels_)
        self.table_ = np.eye(number + 1, max(number, 1), dtype=np.float32)  # a feature of rare levels alone has one 1
        self.table_[number] = 0
        return self


class LevelMeans(_LevelTable):
    """The mean label of the rows with a level, mixed with PRIOR rows of the overall mean (Micci-Barreca 2001).

    Of categories the label is whether a row is of it, for each but the first where there are two. While it is being
    fitted in a pipeline, a row's mean is of other folds than its own, so that rare levels do not give labels away.
    """

    def fit(self, values: Levels, labels: npt.NDArray[Any]) -> Self:
        """Learn the levels and their means."""
        self.levels_, self.table_ = _means(values[:, 0], _numbers(labels))
        return self

    def fit_transform(self, values: Levels, labels: npt.NDArray[Any], **_fit: object) -> Table:
        """Fit, and return for each row the mean of other folds."""
        self.fit(values, labels)
        numbers, found = _numbers(labels), np.empty((len(values), self.table_.shape[1]), np.float32)
        for fold in _folds(len(values)):
            known = np.ones(len(values), bool)
            known[fold] = False
            found[fold] = _looked_up(values[fold, 0], *_means(values[known, 0], numbers[known]))
        return found


def _looked_up(values: npt.NDArray[Any], levels: list[str], table: Table) -> Table:
    places = {level: place for place, level in enumerate(levels)}
    return table[[places.get(value, len(levels)) for value in values]]


def _folds(rows: int) -> Iterator[npt.NDArray[np.intp]]:
    order = np.random.default_rng(0).permutation(rows)
    return (order[fold::FOLDS] for fold in range(min(FOLDS, rows)))


def _numbers(labels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return labels as numbers (n, columns)."""
    if labels.dtype.kind == "f":
        return labels.reshape(-1, 1)
    categories, places = np.unique(labels, return_inverse=True)
    indicators = np.eye(len(categories))[places]
    return indicators[:, 1:] if len(categories) == 2 else indicators  # noqa: PLR2004 - one tells both


def _means(values: npt.NDArray[Any], numbers: npt.NDArray[np.float64]) -> tuple[list[str], Table]:
    levels, places = np.unique(values.astype(str), return_inverse=True)
    overall = numbers.mean(axis=0) if len(numbers) else np.zeros(numbers.shape[1])
    sums = np.column_stack([np.bincount(places, column, len(levels)) for column in numbers.T])
    counts = np.bincount(places, minlength=len(levels))[:, None]
    means = (sums + PRIOR * overall) / (counts + PRIOR)
    return levels.tolist(), np.vstack([means, overall]).astype(np.float32)


def calculate_shape(operator: Any) -> None:
    """Tell skl2onnx what comes out: float32 (n, columns)."""
    operator.outputs[0].type = FloatTensorType([None, operator.raw_operator.table_.shape[1]])


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the table as a look-up: a level's place, the row there, and that row as one of (n, columns)."""
    levels, table = operator.raw_operator.levels_, operator.raw_operator.table_
    source, output = operator.inputs[0].full_name, operator.outputs[0].full_name
    keys = levels or [""]  # the operator takes one at least

    def write(kind: str, inputs: list[str], output: str, version: int, domain: str = "", **attributes: Any) -> None:
        name = scope.get_unique_operator_name(kind)
        container.add_node(kind, inputs, output, name=name, op_domain=domain, op_version=version, **attributes)

    if table.shape[1] == 1:  # then a level's place is of no use
        numbers = [float(table[place, 0]) for place in range(len(keys))]
        ends = {"values_floats": numbers, "default_float": float(table[-1, 0])}
        write("LabelEncoder", [source], output, 2, "ai.onnx.ml", keys_strings=keys, **ends)
        return
    places, row = scope.get_unique_variable_name("places"), scope.get_unique_variable_name("row")
    rows, shape = scope.get_unique_variable_name("table"), scope.get_unique_variable_name("shape")
    container.add_initializer(rows, TensorProto.FLOAT, list(table.shape), table.ravel().tolist())
    container.add_initializer(shape, TensorProto.INT64, [2], [-1, table.shape[1]])
    ends = {"values_int64s": list(range(len(keys))), "default_int64": len(levels)}
    write("LabelEncoder", [source], places, 2, "ai.onnx.ml", keys_strings=keys, **ends)
    write("Gather", [rows, places], row, 13, axis=0)
    write("Reshape", [row, shape], output, 13)
