"""What profiles say in the form of Evidently's own results; what they do not say is not set, and cannot be read."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from evidently.legacy.metric_results import ConfusionMatrix, DatasetClassificationQuality, Distribution
from evidently.legacy.metrics.data_integrity.dataset_missing_values_metric import DatasetMissingValues
from evidently.legacy.metrics.data_integrity.dataset_summary_metric import DatasetSummary, NumpyDtype
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from monitoring.profile.profile import Profile

TWO = 2


def no_rows(profile: Profile) -> pd.DataFrame:
    """Return an empty frame of the tested columns, with their types; nobody may write to it."""
    return _no_rows(tuple(_types(profile).items()))


@lru_cache(maxsize=8)
def _no_rows(types: tuple[tuple[str, str], ...]) -> pd.DataFrame:
    """Make the frame once: for hundreds of columns it takes longer than a test of them."""
    columns = [name for name, _ in types]
    others = {name: dtype for name, dtype in types if dtype != "float64"}
    return pd.DataFrame(np.empty((0, len(columns))), columns=columns).astype(others)


def _types(profile: Profile) -> dict[str, str]:
    """Return the types that the rows would have as a DataFrame, of the features and the prediction."""
    model = profile.grid.model
    features = zip(model.features, profile.mismatched, strict=True)
    return {name: "object" if mismatched else "float64" for name, mismatched in features} | {model.prediction: "object"}


def missing_values(profile: Profile) -> DatasetMissingValues:
    """Count what Evidently takes for missing: null and infinite features, null and empty predictions."""
    model = profile.grid.model
    kinds: dict[str, dict[Any, int]] = {
        name: {"": 0, np.inf: highest, -np.inf: lowest, None: missing}
        for name, (missing, lowest, highest) in zip(model.features, profile.special.tolist(), strict=True)
    }
    kinds[model.prediction] = {"": profile.predictions[""], np.inf: 0, -np.inf: 0, None: profile.unpredicted}
    by_kind = {kind: sum(counts[kind] for counts in kinds.values()) for kind in kinds[model.prediction]}
    by_column = {name: sum(counts.values()) for name, counts in kinds.items()}
    missing, rows, columns = sum(by_column.values()), profile.rows, len(kinds)
    affected = sorted(name for name, number in by_column.items() if number)
    return DatasetMissingValues(
        different_missing_values=by_kind,
        number_of_different_missing_values=sum(number > 0 for number in by_kind.values()),
        different_missing_values_by_column=kinds,
        number_of_different_missing_values_by_column={n: sum(c > 0 for c in k.values()) for n, k in kinds.items()},
        number_of_missing_values=missing,
        share_of_missing_values=missing / (columns * rows) if rows else 0.0,
        number_of_missing_values_by_column=by_column,
        share_of_missing_values_by_column={n: number / rows for n, number in by_column.items()} if rows else {},
        number_of_rows=rows,
        number_of_rows_with_missing_values=profile.rows_missing,
        share_of_rows_with_missing_values=profile.rows_missing / rows if rows else 0.0,
        number_of_columns=columns,
        columns_with_missing_values=affected,
        number_of_columns_with_missing_values=len(affected),
        share_of_columns_with_missing_values=len(affected) / columns,
    )


def summarize(profile: Profile) -> DatasetSummary:
    """Describe the rows; what a profile does not know, such as almost constant columns, is not set."""
    model, types = profile.grid.model, _types(profile)
    nulls = dict(zip(model.features, profile.special[:, 0].tolist(), strict=True)) | {
        model.prediction: profile.unpredicted
    }
    constant = {name: profile.constant(index) for index, name in enumerate(model.features)}
    constant[model.prediction] = len(profile.predictions) <= 1
    return DatasetSummary.construct(
        number_of_columns=len(types),
        number_of_rows=profile.rows,
        number_of_missing_values=sum(nulls.values()),
        number_of_constant_columns=sum(constant.values()),
        number_of_empty_columns=sum(number == profile.rows for number in nulls.values()),
        number_of_duplicated_columns=profile.equal_columns,
        number_of_empty_rows=profile.rows_empty,
        number_of_duplicated_rows=profile.duplicated,
        columns_type_data={name: NumpyDtype(dtype=dtype) for name, dtype in types.items()},
        nans_by_columns=nulls,
        number_uniques_by_columns={name: _uniques(profile, name) for name in types},
    )


def _uniques(profile: Profile, name: str) -> float:
    """Return how many values a column holds; NaN for a feature with several, which a profile does not count."""
    if name == profile.grid.model.prediction:
        return len(profile.predictions)
    index = profile.grid.model.features.index(name)
    if not profile.constant(index):
        return float("nan")
    return int(profile.finite(index) + profile.special[index, 1:].sum() > 0)


def _cases(confusion: Counter[tuple[str, str]]) -> tuple[list[str], list[str], list[int]]:
    """Return each pair of target and prediction once, and how many rows have it."""
    targets, predictions = zip(*confusion, strict=True)
    return list(targets), list(predictions), list(confusion.values())


def confusion_of(confusion: Counter[tuple[str, str]]) -> ConfusionMatrix:
    """Return the matrix of the labelled rows, over the labels that occur."""
    targets, predictions, weights = _cases(confusion)
    labels = sorted({*targets, *predictions})
    if len(labels) == 1:  # which scikit-learn warns of
        return ConfusionMatrix(labels=labels, values=[[sum(weights)]])
    values = confusion_matrix(targets, predictions, labels=labels, sample_weight=weights)
    return ConfusionMatrix(labels=labels, values=values.tolist())


def score(confusion: Counter[tuple[str, str]], positive: str) -> DatasetClassificationQuality:
    """Score as Evidently does: the mean over all classes, and where there are two, the positive one's."""
    targets, predictions, weights = _cases(confusion)
    average: dict[str, Any] = {"average": "macro"}
    if len({*targets, *predictions}) == TWO:
        average = {"average": "binary", "pos_label": positive}
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, predictions, sample_weight=weights, zero_division=0, **average
    )
    accuracy = accuracy_score(targets, predictions, sample_weight=weights)
    return DatasetClassificationQuality(accuracy=accuracy, precision=precision, recall=recall, f1=f1)


def category_picture(counts: Mapping[str, int]) -> Distribution:
    """Return the counts of the categories."""
    return Distribution(x=list(counts), y=list(counts.values()))


def histogram(side: Profile, index: int, *both: Profile) -> Distribution:
    """Return the counts in the grid's bins; the outer two reach as far as there are values."""
    edges = side.grid.edges[index].copy()
    edges[0] = min(edges[0], *(profile.low[index] for profile in both))
    edges[-1] = max(edges[-1], *(profile.high[index] for profile in both))
    return Distribution(x=edges, y=side.histogram(index))
