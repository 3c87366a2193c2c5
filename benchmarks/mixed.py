"""A model of 8 numeric and 6 categorical features, two with 300 levels: as a regression and a classification."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.tasks import TaskName

NUMERIC = 8
LEVELS = (300, 300, 30, 12, 7, 2)
REFERENCE_ROWS = 4_000
_CLASSES = ("early", "late", "on time")
_ANSWERS: dict[TaskName, dict[str, Any]] = {
    "regression": {"task": "regression"},
    "classification": {"label": "answer", "categories": _CLASSES},
}
_SCORES: dict[TaskName, list[Any]] = {
    "regression": [{"TestValueMAE": {"lte": 1}}, {"TestValueRMSE": {"lte": 2}}, "TestValueR2Score"],
    "classification": [{"TestAccuracyScore": {"gte": 0.4}}, {"TestF1Score": {"gte": 0.4}}],
}


def config_of(task: TaskName) -> dict[str, Any]:
    """Return the config, as its file would hold it."""
    features = {f"number_{n}": "numeric" for n in range(NUMERIC)} | {
        f"level_{n}": "categorical" for n in range(len(LEVELS))
    }
    return {
        "model": {"name": "mixed", "features": features, "prediction": "predicted", "target": "actual"}
        | _ANSWERS[task],
        "metrics": {"feature_prefix": "mixed"},
        "window": {"rows": 1_000},
        "minimum_rows": 200,
        "minimum_labels": 100,
        "drift": {"default": {"test": "ks", "threshold": 0.05}},
        "tests": [
            {"TestNumberOfColumnsWithMissingValues": {"lte": 0}},
            {"TestNumberOfRowsWithMissingValues": {"lte": 10}},
            {"TestNumberOfConstantColumns": {"lte": 0}},
            {"TestNumberOfDuplicatedRows": {"lte": 20}},
            "TestColumnsType",
            {"TestNumberOfDriftedColumns": {"lt": 5}},
            "TestColumnDrift",
            *_SCORES[task],
        ],
        "retrain": {"rows": 4_000, "minimum_labels": 400, "holdout": 0.3, "minimum_gain": 0.0},
    }


def draw(model: Model, rng: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    """Draw columns of features, predictions and labels.

    Half of the numbers have two digits behind the point and so repeat, the others are distinct; levels are as frequent
    as words are (Zipf's law).
    """
    numbers = rng.lognormal(1.0, 0.6, (NUMERIC, rows))
    numbers[::2] = np.round(numbers[::2], 2)
    codes = [rng.choice(levels, rows, p=_zipf(levels)) for levels in LEVELS]
    columns = {name: pa.array(values) for name, values in zip(model.of_kind("numeric"), numbers, strict=True)}
    for name, of, levels in zip(model.of_kind("categorical"), codes, LEVELS, strict=True):
        columns[name] = pa.array([f"level {n}" for n in range(levels)]).take(pa.array(of))
    expected = numbers[:3].sum(axis=0) + codes[2] % 5
    answers = {
        model.prediction: expected + rng.normal(0, 0.5, rows),
        model.target: expected + rng.normal(0, 1, rows),
    }
    return columns | {name: _answer(model, values) for name, values in answers.items()}


def reference_of(model: Model) -> pa.Table:
    """Draw a reference."""
    return pa.table(draw(model, np.random.default_rng(0), REFERENCE_ROWS))


def _zipf(levels: int) -> npt.NDArray[np.float64]:
    weights = 1 / np.arange(1, levels + 1)
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def _answer(model: Model, values: npt.NDArray[np.float64]) -> pa.Array:
    if model.task == "regression":
        return pa.array(np.round(values, 3))
    return pa.array(_CLASSES).take(pa.array(np.digitize(values, (10, 13))))
