"""What a trainer of the user's returns, as ONNX: a fitted scikit-learn estimator is converted, an ONNX model stays.

`as_onnx` is the one way in.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from flows.training.errors import ModelError
from flows.training.export import TOLERANCE, apart, convert
from flows.training.sample import Labels, answers_in, feature_matrix
from monitoring.contract.categories import value_text
from monitoring.contract.config import Model
from monitoring.contract.onnx.model import UnfitModelError, load_onnx
from monitoring.contract.onnx.names import listed

_COMPARED = 10_000  # rows


def as_onnx(trained: Any, rows: pd.DataFrame, model: Model) -> tuple[bytes, str]:
    """Return an ONNX file of what was trained, and a sentence about it; `rows` are those that it was trained on.

    Raise ModelError, with what would have to be different, if it is no model, or none that converts faithfully.
    """
    if isinstance(trained, onnx.ModelProto):
        trained = trained.SerializeToString()
    if isinstance(trained, bytes):
        return trained, f"an ONNX model of {len(trained):,} bytes"
    trained = getattr(trained, "best_estimator_", trained)  # of a search for parameters
    kind = type(trained).__name__
    _require_fitted(trained, model)
    try:
        exported = _converted(trained, model)
    except Exception as error:  # skl2onnx raises whatever its converters do
        first = next(iter(str(error).strip().splitlines()), "")
        raise ModelError(
            f"the {kind} cannot be converted to ONNX: {type(error).__name__}: {first}. Use steps that skl2onnx knows, "
            "or return an ONNX model"
        ) from error
    content = exported.SerializeToString()
    found = _difference(trained, content, rows[:_COMPARED], model)
    if not found <= TOLERANCE:
        raise ModelError(
            f"the {kind} answers differently as ONNX: by up to {found:.2g} on the rows that it learned from "
            f"({TOLERANCE:g} may). Use other steps, or return an ONNX model"
        )
    return content, f"a {kind}, converted to ONNX; its answers differ by {found:.2g} at most"


def _require_fitted(trained: Any, model: Model) -> None:
    """Raise ModelError if this is no fitted estimator of the config's task and features."""
    kind = type(trained).__name__
    needed = "predict_proba" if model.categories else "predict"
    if isinstance(trained, type) or not hasattr(trained, needed):
        raise ModelError(
            f"it is to return a fitted scikit-learn estimator with {needed}, or an ONNX model as bytes or ModelProto; "
            f"it returned {'the class itself, ' if isinstance(trained, type) else 'a '}{kind}"
        )
    try:
        check_is_fitted(trained)
    except NotFittedError:
        raise ModelError(f"the {kind} is not fitted: call fit before it is returned") from None
    except TypeError as error:
        raise ModelError(f"the {kind} is no scikit-learn estimator: {error}") from None
    _require_features(trained, model)


def _require_features(trained: Any, model: Model) -> None:
    names = getattr(trained, "feature_names_in_", None)
    if names is None:
        number = getattr(trained, "n_features_in_", len(model.features))
        if number != len(model.features):
            raise ModelError(f"it was fitted on {number} columns; the config has {len(model.features)} features")
        return
    beyond = [str(name) for name in names if name not in model.features]
    missing = [name for name in model.features if name not in set(names)]
    if beyond or missing:
        told = [f"it was fitted on {listed(beyond)} too"] if beyond else []
        told += [f"it was not fitted on {listed(missing)}"] if missing else []
        raise ModelError(f"{' and '.join(told)}: fit it on rows[list(config.model.features)]")
    if tuple(names) != model.features:
        raise ModelError(
            f"it was fitted on the features in another order ({listed(list(names))}): fit it on "
            "rows[list(config.model.features)]"
        )


def _converted(trained: Any, model: Model) -> onnx.ModelProto:
    classes = [value_text(_plain(one)) for one in trained.classes_] if model.categories else []
    return convert(_by_places(trained, model.features), model, classes)


def _by_places(trained: Any, features: Sequence[str]) -> Any:
    """Return a copy whose first step takes its columns by their places: the converter changes names."""
    trained = copy.deepcopy(trained)
    first = trained
    while isinstance(first, Pipeline) and first.steps:
        first = first.steps[0][1]
    if isinstance(first, ColumnTransformer):
        places = {name: at for at, name in enumerate(features)}
        first.transformers_ = [(name, step, _places(columns, places)) for name, step, columns in first.transformers_]
    return trained


def _places(columns: Any, places: dict[str, int]) -> Any:
    if isinstance(columns, str):
        return [places[columns]]
    if isinstance(columns, list | tuple | np.ndarray | pd.Index) and all(isinstance(one, str) for one in columns):
        return [places[one] for one in columns]
    return columns


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _difference(trained: Any, content: bytes, rows: pd.DataFrame, model: Model) -> float:
    """Return the largest difference between an estimator's answers and those of its ONNX file.

    Of an estimator that takes no missing values, on the rows without any.
    """
    try:
        loaded = load_onnx(content, model)
    except UnfitModelError as error:
        raise ModelError(f"what it returned does not fit the config: {error}") from error
    try:
        own = _answers(trained, rows, model)
    except ValueError:
        rows = rows.dropna()
        own = _answers(trained, rows, model)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    predicted, given = loaded.predict(feature_matrix(table, model))
    if not model.categories:
        return apart(predicted, own.reshape(-1), answers_in(table[model.target], model))
    return float(np.abs(given - own).max())


def _answers(trained: Any, rows: pd.DataFrame, model: Model) -> Labels:
    """Return an estimator's own answers: numbers, or probabilities (n, classes)."""
    asked: Any = rows[list(model.features)]
    if not hasattr(trained, "feature_names_in_"):
        asked = asked.to_numpy()
    answer = trained.predict_proba if model.categories else trained.predict
    return np.asarray(answer(asked), np.float64)
