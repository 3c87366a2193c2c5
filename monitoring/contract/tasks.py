"""What a model answers: a category, or a number.

One class says for each task what predictions and labels are in config, files and messages, and everything else asks
`Model.rules`. What a room computes by task stands in one class per task there.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, get_args

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.categories import value_text
from monitoring.contract.kinds import KindName

TaskName = Literal["classification", "regression"]
ClassificationTest = Literal[
    "TestAccuracyScore",
    "TestF1Score",
    "TestPrecisionScore",
    "TestRecallScore",
    "TestPrecisionByClass",
    "TestRecallByClass",
    "TestF1ByClass",
    "TestRocAuc",
    "TestLogLoss",
]
RegressionTest = Literal[
    "TestValueMAE",
    "TestValueRMSE",
    "TestValueMeanError",
    "TestValueMAPE",
    "TestValueAbsMaxError",
    "TestValueR2Score",
]
_NAMED = 5


class Task(Protocol):
    """What depends on the task in the files and the config."""

    name: TaskName
    kind: KindName  # that predictions and labels are compared as
    values: pa.DataType  # of predictions and labels
    label_tests: tuple[str, ...]  # of Evidently's, which need labels
    metrics: tuple[str, ...]  # that `retrain.metric` may name; the first is the default
    margin: float  # the default of `retrain.margin`

    def parse(self, value: Any, categories: Sequence[str]) -> str | float:
        """Return a label as it is logged; raise ValueError with what it must be."""

    def flaws(self, column: pa.ChunkedArray, categories: Sequence[str]) -> Iterator[str]:
        """Yield what no reference's column of predictions or labels may hold."""


class Classification:
    """Answers are categories, which the config names; others are wrong answers."""

    name: TaskName = "classification"
    kind: KindName = "categorical"
    values = pa.string()
    label_tests: tuple[str, ...] = get_args(ClassificationTest)
    metrics: tuple[str, ...] = ("accuracy", "macro_f1", "log_loss", "roc_auc")
    margin = 0.05

    def parse(self, value: Any, categories: Sequence[str]) -> str:
        """Return the text of a category; a whole float is taken as a whole number."""
        if isinstance(value, str) and value in categories:
            return value
        text = value_text(value)
        if text not in categories:
            raise ValueError(f"there are {', '.join(categories)}")
        return text

    def flaws(self, column: pa.ChunkedArray, categories: Sequence[str]) -> Iterator[str]:
        """Yield which of the values are no categories."""
        if unknown := set(column.unique().to_pylist()) - {*categories, None}:
            named = ", ".join(sorted(unknown)[:_NAMED])
            yield f"holds {named}; allowed are {', '.join(categories)}"


class Regression:
    """Answers are finite numbers."""

    name: TaskName = "regression"
    kind: KindName = "numeric"
    values = pa.float64()
    label_tests: tuple[str, ...] = get_args(RegressionTest)
    metrics: tuple[str, ...] = ("mae", "rmse")
    margin = 0.1

    def parse(self, value: Any, categories: Sequence[str]) -> float:  # noqa: ARG002 - there are none
        """Return a finite number; true and false are none."""
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise ValueError("it must be a finite number")
        return number

    def flaws(self, column: pa.ChunkedArray, categories: Sequence[str]) -> Iterator[str]:  # noqa: ARG002
        """Yield that values are infinite."""
        if pc.any(pc.is_inf(column)).as_py():
            yield "holds infinite values"


TASKS: dict[TaskName, Task] = {"classification": Classification(), "regression": Regression()}
