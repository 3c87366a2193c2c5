"""Labelled rows that a model learns from, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flows.training.columns import KINDS
from monitoring.contract.config import Model
from monitoring.contract.kinds import KindName
from monitoring.contract.tasks import TaskName

Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Rows = npt.NDArray[Any]  # floats, or objects where there are levels: floats and texts, None for a missing one
Labels = npt.NDArray[Any]  # categories as objects, or a regression's numbers as float64
Places = npt.NDArray[np.intp]
Kinds = tuple[KindName, ...]  # of the features in their order; () where all are numeric

FOLDS = 5


@dataclass(frozen=True)
class Sample:
    """Labelled rows: features (n, features), NaN or None where missing, and labels (n,).

    `decided_by` is the model whose threshold decides what probabilities are answered with; None: the largest.
    """

    features: Rows
    labels: Labels
    kinds: Kinds = ()
    decided_by: Model | None = None

    @property
    def task(self) -> TaskName:
        """Return the task, which the labels' type tells."""
        return "regression" if self.labels.dtype.kind == "f" else "classification"

    @property
    def asked(self) -> Rows:
        """Return the features as an exported model is fed with them, and so a pipeline while it learns."""
        return as_asked(self.features, self.kinds)

    def take(self, places: Places | npt.NDArray[np.bool_]) -> "Sample":
        """Return the rows at these places."""
        return replace(self, features=self.features[places], labels=self.labels[places])

    def extended(self, other: "Sample") -> "Sample":
        """Return these rows and the other's."""
        features, labels = (
            np.concatenate([own, more]) for own, more in ((self.features, other.features), (self.labels, other.labels))
        )
        return replace(self, features=features, labels=labels)


def kinds_of(model: Model) -> Kinds:
    """Return the kinds of the features; () where all are numeric."""
    kinds = tuple(model.kind(name).name for name in model.features)
    return () if set(kinds) == {"numeric"} else kinds


def feature_matrix(table: pa.Table, model: Model) -> Rows:
    """Return the table's features (n, features) in the config's order: numbers in its type, or objects beside levels.

    Null and infinity become NaN, a missing level None.
    """
    columns = [KINDS[model.kind(name).name].values(table[name], model.dtype) for name in model.features]
    return _side_by_side(columns, kinds_of(model))


def as_asked(features: Rows, kinds: Kinds) -> Rows:
    """Return features (n, features) in the types that an exported model takes; a missing level is the empty text."""
    if not kinds:
        return KINDS["numeric"].asked(features)
    return _side_by_side([KINDS[kind].asked(features[:, at]) for at, kind in enumerate(kinds)], kinds)


def feed(features: Rows, names: tuple[str, ...], kinds: Kinds) -> Mapping[str, npt.NDArray[Any]]:
    """Return rows as an exported model's inputs: one of all features, or one (n, 1) per feature where there are levels.

    `names` are those of the inputs.
    """
    asked = as_asked(features, kinds)
    if not kinds:
        return {names[0]: asked}
    return {name: asked[:, [at]].astype(KINDS[kinds[at]].fed) for at, name in enumerate(names)}


def _side_by_side(columns: list[npt.NDArray[Any]], kinds: Kinds) -> Rows:
    if not kinds:
        return np.column_stack(columns)
    rows = np.empty((len(columns[0]), len(columns)), dtype=object)
    for at, column in enumerate(columns):
        rows[:, at] = column
    return rows


def sample_of(table: pa.Table, model: Model) -> Sample:
    """Return the table's labelled rows as a sample."""
    table = table.filter(pc.is_valid(table[model.target]))
    return Sample(feature_matrix(table, model), answers_in(table[model.target], model), kinds_of(model), model)


def answers_in(column: pa.ChunkedArray, model: Model) -> Labels:
    """Return a column of labels or predictions (n,): categories as objects, or numbers."""
    numbers = pa.types.is_floating(model.rules.values)
    return np.array(column.to_pylist(), dtype=np.float64 if numbers else object)
