"""Gradient boosting of other libraries: LightGBM, XGBoost and CatBoost, as estimators that are converted like others.

The libraries are in the extra `convert`, and are imported when a model asks for them.
"""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OrdinalEncoder

from flows.conversion import lightgbm_trees
from flows.conversion.errors import BroughtModelError
from flows.conversion.learned_columns import Levels, level_text


def require(name: str) -> Any:
    """Import a library of the extra `convert`; raise BroughtModelError if it is not installed."""
    try:
        return import_module(name)
    except ImportError as error:
        raise BroughtModelError(
            f"it needs {name.partition('.')[0]}, which is not installed here: it is in the extra `convert` "
            "(uv sync --extra convert)"
        ) from error


class LightGBMRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A LightGBM Booster that answers numbers."""

    def __init__(self, booster_: Any) -> None:
        """Take a Booster."""
        self.booster_ = booster_
        self.n_features_in_ = booster_.num_feature()
        names = booster_.feature_name()
        if names != [f"Column_{at}" for at in range(len(names))]:
            self.feature_names_in_ = np.array(names, object)

    def fit(self, *_: Any) -> Any:
        """Raise TypeError: it is fitted, and its rows are not here."""
        raise TypeError("a Booster that was read is not fitted again")

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return answers (n,)."""
        return self.booster_.predict(frame)


class LightGBMClassifier(ClassifierMixin, LightGBMRegressor):  # type: ignore[misc]
    """A LightGBM Booster of classes: their numbers, as it knows no names."""

    def __init__(self, booster_: Any) -> None:
        """Take a Booster."""
        super().__init__(booster_)
        self.classes_ = np.arange(max(2, booster_.dump_model(num_iteration=1)["num_class"]))

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Return probabilities (n, classes)."""
        given = self.booster_.predict(frame)
        return given if given.ndim > 1 else np.column_stack([1 - given, given])

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return classes (n,)."""
        return self.classes_[self.predict_proba(frame).argmax(axis=1)]


def read_lightgbm(path: Path) -> Any:
    """Read a text file of LightGBM."""
    lightgbm = require("lightgbm")
    path.read_bytes()  # what the system says is said as of other files
    try:
        booster = lightgbm.Booster(model_file=str(path))
    except lightgbm.basic.LightGBMError as error:
        raise BroughtModelError(f"{path}: is no readable LightGBM model: {error}") from error
    return as_lightgbm(booster)


def as_lightgbm(booster: Any) -> Any:
    """Return a LightGBM Booster as an estimator."""
    objective = str(booster.dump_model(num_iteration=1).get("objective", ""))
    return (LightGBMClassifier if re.match("binary|multiclass", objective) else LightGBMRegressor)(booster)


def read_xgboost(path: Path) -> Any:
    """Read a file of XGBoost (JSON or UBJSON)."""
    xgboost = require("xgboost")
    path.read_bytes()
    try:
        booster = xgboost.Booster(model_file=str(path))
    except xgboost.core.XGBoostError as error:
        told = str(error).splitlines()[0]
        raise BroughtModelError(f"{path}: is no readable XGBoost model: {told}") from error
    return as_xgboost(booster)


def as_xgboost(booster: Any) -> Any:
    """Return an XGBoost Booster as an estimator."""
    xgboost = require("xgboost")
    config = booster.save_config()
    kind = xgboost.XGBClassifier if re.search(r'"name":\s*"(binary|multi):', config) else xgboost.XGBRegressor
    model = kind()
    model.load_model(booster.save_raw("json"))
    return model


def pandas_categories(model: Any) -> Mapping[str, Levels]:
    """Return the categories of the columns that LightGBM has learned as pandas' categories, by column."""
    booster = getattr(model, "booster_", None)
    known = getattr(booster, "pandas_categorical", None)
    if booster is None or not known:
        return {}
    told = re.search(r"^\[categorical_feature: ([0-9,]+)\]$", booster.model_to_string(num_iteration=1), re.MULTILINE)
    names = booster.feature_name()
    columns = [names[int(place)] for place in told.group(1).split(",")] if told else []
    if len(columns) != len(known):
        raise BroughtModelError("which columns of LightGBM's are pandas' categories is not in the file")
    return {name: np.array(list(levels), object) for name, levels in zip(columns, known, strict=True)}


def side_by_side(names: tuple[str, ...], categories: Mapping[str, Levels]) -> ColumnTransformer:
    """Return a step that puts columns into one matrix: of pandas' categories their codes, -1 for an unknown one."""
    steps: list[tuple[str, Any, list[str]]] = []
    for at, name in enumerate(names):
        encoder: Any = "passthrough"
        if name in categories:
            texts = np.array([level_text(one) for one in categories[name]], object)
            encoder = OrdinalEncoder(categories=[texts], handle_unknown="use_encoded_value", unknown_value=-1)
        steps.append((str(at), encoder, [name]))
    seen = {name: [level_text(categories[name][0])] if name in categories else [0.0] for name in names}
    return ColumnTransformer(steps, sparse_threshold=0).fit(pd.DataFrame(seen))


def as_estimator_of(content: Any) -> Any:
    """Return a Booster of LightGBM or XGBoost as an estimator, and all else as it is."""
    if type(content).__name__ != "Booster":
        return content
    return as_lightgbm(content) if is_of(content, "lightgbm") else as_xgboost(content)


def require_plain(model: Any) -> None:
    """Raise BroughtModelError for a model of XGBoost that splits by categories."""
    if is_of(model, "xgboost") and "c" in (model.get_booster().feature_types or ()):
        raise BroughtModelError(
            "XGBoost's categorical features (enable_categorical) are not converted: encode the levels, as "
            "OneHotEncoder does"
        )


def make_convertible(model: Any) -> None:
    """Tell skl2onnx of the converter of a model of LightGBM or XGBoost; the model may lose its columns' names."""
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False]} if hasattr(model, "predict_proba") else None
    alias = f"Driftloop{type(model).__module__.partition('.')[0].title()}{type(model).__name__}"
    if is_of(model, "lightgbm") or isinstance(model, LightGBMRegressor):
        shape, convert = lightgbm_trees.calculate_shape, lightgbm_trees.convert
    elif is_of(model, "xgboost"):
        convert = require("onnxmltools.convert.xgboost.operator_converters.XGBoost").convert_xgboost
        shape = calculate_linear_classifier_output_shapes if options else calculate_linear_regressor_output_shapes
        booster = model.get_booster()
        if (name := json.loads(booster.save_config())["learner"]["gradient_booster"]["name"]) != "gbtree":
            raise BroughtModelError(f"XGBoost's booster {name} is not converted: gbtree is")
        booster.feature_names = booster.feature_types = None  # the converter takes numbers for names
    else:
        return
    update_registered_converter(type(model), alias, shape, convert, options=options, overwrite=True)


def is_of(model: Any, library: str) -> bool:
    """Say whether a model's class is of a library, without importing that."""
    return any(kind.__module__.partition(".")[0] == library for kind in type(model).__mro__)
