"""What a feature's kind means in training: its values in a row, what an exported model is fed, and how it is prepared.

One class per kind. Numbers may be missing (NaN) and lie far out; levels may be missing (None), rare, or never seen.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from flows.training.far_values import FarValues
from flows.training.levels import LevelIndicators, LevelMeans
from monitoring.contract.kinds import LONGEST_LEVEL, KindName

Column = npt.NDArray[Any]
Step = Any  # scikit-learn has no types


class Columns(Protocol):
    """What depends on the kind of a feature."""

    together: bool  # whether one preparation takes all columns of the kind, or each has its own
    tensor: type[Any]  # an exported model's input of one such feature, for skl2onnx
    fed: npt.DTypeLike  # and what it is fed with

    def usable(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column as a reference may hold it: null where there is no value."""

    def values(self, column: pa.ChunkedArray, dtype: str) -> Column:
        """Return a column (n,) as rows of features hold it; what is no value is missing."""

    def comparable(self, values: Column) -> Column:
        """Return values (n,) as numbers of which the distribution is compared: NaN is missing."""

    def asked(self, values: Column) -> Column:
        """Return the values (n,) as an exported model is fed with them."""

    def linear(self, *, quadratic: bool) -> list[Step]:
        """Return the steps before a model that adds up: on one scale, with products of numbers if `quadratic`."""

    def split(self) -> list[Step]:
        """Return the steps before a model that splits by thresholds."""


class NumericColumns:
    """Numbers: the median in the place of what is missing, and what is far out is bounded."""

    together = True
    tensor = FloatTensorType
    fed: npt.DTypeLike = np.float32

    def usable(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return finite numbers."""
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))

    def values(self, column: pa.ChunkedArray, dtype: str) -> Column:
        """Return numbers; null and infinity become NaN."""
        return _finite(column.to_numpy().astype(dtype))

    def comparable(self, values: Column) -> Column:
        """Return the numbers."""
        return np.asarray(values, np.float64)

    def asked(self, values: Column) -> Column:
        """Return float32, which exported models take: what is learned is what will be asked."""
        with np.errstate(over="ignore"):
            return _finite(values.astype(np.float32))

    def linear(self, *, quadratic: bool) -> list[Step]:
        """Return imputing, bounding, standardising, and products."""
        products = [PolynomialFeatures(2, include_bias=False)] if quadratic else []
        return [*self.split(), FarValues(), StandardScaler(), *products]

    def split(self) -> list[Step]:
        """Return imputing alone: a threshold is nothing to what is far out."""
        return [SimpleImputer(strategy="median", keep_empty_features=True)]


class CategoricalColumns:
    """Levels: text; a missing one is a level of its own, which models are fed as the empty text."""

    together = False
    tensor = StringTensorType
    fed: npt.DTypeLike = np.object_

    def usable(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return texts that are not empty and no longer than a level may be."""
        fits = pc.and_(pc.not_equal(column, ""), pc.less_equal(pc.utf8_length(column), LONGEST_LEVEL))
        return pc.if_else(fits, column, pa.scalar(None, column.type))

    def values(self, column: pa.ChunkedArray, dtype: str) -> Column:  # noqa: ARG002 - of numbers
        """Return texts, None where there is none."""
        return np.array(column.to_pylist(), dtype=object)

    def comparable(self, values: Column) -> Column:
        """Return each level's place among the levels by their number of rows, the most frequent first.

        A change of the mix moves their distribution, whatever the order is: a test of it looks at each step. With this
        order it is steepest where the most rows are, and levels of a few rows lie together at the end.
        """
        levels, places, counts = np.unique(self.asked(values).astype(str), return_inverse=True, return_counts=True)
        ranks = np.empty(len(levels))
        ranks[np.lexsort((levels, -counts))] = np.arange(len(levels))
        return np.where(levels[places] == "", np.nan, ranks[places])

    def asked(self, values: Column) -> Column:
        """Return texts, empty ones for what is missing."""
        return np.array(["" if value is None else value for value in values], dtype=object)

    def linear(self, *, quadratic: bool) -> list[Step]:  # noqa: ARG002 - an indicator's square is itself
        """Return an indicator of each level that is not rare."""
        return [LevelIndicators()]

    def split(self) -> list[Step]:
        """Return the mean label of each level."""
        return [LevelMeans()]


KINDS: Mapping[KindName, Columns] = {"numeric": NumericColumns(), "categorical": CategoricalColumns()}


def prepared(kinds: tuple[KindName, ...], steps: Callable[[Columns], list[Step]]) -> list[Step]:
    """Return a pipeline's first steps, which make one matrix of numbers; `kinds` is () where all are numeric."""
    if not kinds:
        return steps(KINDS["numeric"])
    entries = []
    for name, columns in KINDS.items():
        places = [at for at, kind in enumerate(kinds) if kind == name]
        groups = [places] if columns.together else [[at] for at in places]
        entries += [(f"{name}_{group[0]}", make_pipeline(*steps(columns)), group) for group in groups if group]
    return [ColumnTransformer(entries, sparse_threshold=0)]


def comparable(rows: Column, kinds: tuple[KindName, ...]) -> Column:
    """Return rows (n, features) as numbers whose distributions are compared; levels are ranked by their rows."""
    if not kinds:
        return rows
    return np.column_stack([KINDS[kind].comparable(rows[:, at]) for at, kind in enumerate(kinds)])


def _finite(values: Column) -> Column:
    return np.where(np.isfinite(values), values, np.full((), np.nan, values.dtype))
