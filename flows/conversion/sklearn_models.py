"""How a fitted scikit-learn estimator becomes ONNX in the form that the API serves, and how it is asked itself."""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pandas as pd
from skl2onnx import convert_sklearn, get_latest_tested_opset_version
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
from skl2onnx.sklapi import CastTransformer, ReplaceTransformer
from sklearn.base import is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import BaseDecisionTree
from sklearn.utils.validation import check_is_fitted

from flows.conversion import imputing
from flows.conversion.boosters import (
    as_estimator_of,
    is_of,
    make_convertible,
    pandas_categories,
    require_plain,
    side_by_side,
)
from flows.conversion.catboost_models import convert_catboost
from flows.conversion.errors import BroughtModelError
from flows.conversion.forest_gaps import send_missing
from flows.conversion.learned_columns import Levels, learned_levels, level_text, tell_texts
from flows.conversion.refusals import require_convertible
from flows.training.export import CONVERTERS, name_inputs
from flows.training.sample import Rows
from monitoring.contract.config import Model
from monitoring.contract.names import ONNX_CLASSES, ONNX_FEATURES
from monitoring.contract.onnx.names import listed
from monitoring.contract.onnx.tensors import KINDS

_CONVERTERS = {**CONVERTERS, SimpleImputer: imputing}
_ROUNDING = (  # estimators that round what they are given to float32
    BaseDecisionTree,
    RandomForestClassifier,
    RandomForestRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
)
_NAMELESS = re.compile(r"(Column_)?\d+")  # what LightGBM and CatBoost call a column without a name
_WHOLE = "iub"  # kinds of NumPy types


@dataclass(frozen=True)
class Estimator:
    """A fitted estimator that answers the config's features by its task.

    `names` are its columns in the order that it has learned them in, `levels` those that its encoders know, and
    `categories` those that it has learned as pandas' categories. `classes` are the texts of a classifier's classes.
    `unsure` says what of it the file does not tell.
    """

    fitted: Any
    model: Model
    names: tuple[str, ...]
    levels: Mapping[str, Levels]
    categories: Mapping[str, Levels]
    classes: tuple[str, ...]
    unsure: tuple[str, ...] = ()

    def predict(self, rows: Rows) -> tuple[Any, Any]:
        """Return its answers for rows (n, features): numbers (n,) and none, or none and probabilities (n, classes)."""
        frame = self._frame(rows)
        asked = frame if hasattr(self.fitted, "feature_names_in_") else frame.to_numpy()
        if self.classes:
            return None, np.asarray(self.fitted.predict_proba(asked), np.float64)
        return np.asarray(self.fitted.predict(asked), np.float64).reshape(-1), None

    def _frame(self, rows: Rows) -> pd.DataFrame:
        columns = {}
        for name in self.names:
            values = rows[:, self.model.features.index(name)]
            numbers = self.model.kind(name).name == "numeric"
            columns[name] = values.astype(np.float64) if numbers else self._levels(name, values)
        return pd.DataFrame(columns)

    def _levels(self, name: str, values: Rows) -> Any:
        """Return levels (n,) as they were learned."""
        known = self.categories.get(name, self.levels.get(name))
        if self.takes_numbers(name, values):
            return KINDS["categorical"].numbers(values)
        forms = {} if known is None else {level_text(one): one for one in known}
        missing = forms.get("", np.nan)
        found = np.array([missing if v is None else forms.get(v, v) for v in values], object)
        return (
            pd.Categorical(found, categories=[] if known is None else list(known)) if name in self.categories else found
        )

    def takes_numbers(self, name: str, values: Rows) -> bool:
        """Say whether a column of levels is one of numbers to it: its encoder knows such ones, or there is none."""
        if name in self.categories:
            return False
        known = self.levels.get(name)
        if known is not None:
            return known.dtype.kind in _WHOLE + "f"
        return bool(np.isfinite(KINDS["categorical"].numbers(values[[v is not None for v in values]])).all())


def as_estimator(content: Any, model: Model) -> Estimator:
    """Return what a file held as an estimator; raise BroughtModelError if it is none that fits the config."""
    content, kind = as_estimator_of(content), type(content).__name__
    if isinstance(content, type) or not hasattr(content, "predict") or not hasattr(content, "get_params"):
        raise BroughtModelError(f"it holds a {kind}, and that is no scikit-learn estimator")
    try:
        check_is_fitted(content)
    except NotFittedError:
        raise BroughtModelError(f"the {kind} is not fitted") from None
    require_plain(content)
    names, unsure = _names(content, model)
    require_convertible(content, names)
    classes = _classes(content, model)
    levels, categories = learned_levels(content, names), pandas_categories(content)
    return Estimator(content, model, names, levels, categories, classes, unsure)


def _names(content: Any, model: Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns in the order that they were learned in, and what is not sure of them."""
    told = getattr(content, "feature_names_" if is_of(content, "catboost") else "feature_names_in_", None)
    names = () if told is None else tuple(str(name) for name in told)
    if set(names) == set(model.features) or not all(map(_NAMELESS.fullmatch, names)):
        problems = []
        if more := sorted(set(names) - set(model.features)):
            problems.append(f"it has learned from {listed(more)}, which the config does not name as features")
        if fewer := sorted(set(model.features) - set(names)):
            problems.append(f"it has not learned from {listed(fewer)}, which the config names as features")
        if problems:
            raise BroughtModelError("; ".join(problems))
        return names, ()
    width = getattr(content, "n_features_in_", len(model.features)) if told is None else len(told)
    if width != len(model.features):
        raise BroughtModelError(f"it has learned from {width} columns without names; the config has {model.features}")
    return model.features, ("it was fitted on columns without names: taken to be the config's features, in its order",)


def _classes(content: Any, model: Model) -> tuple[str, ...]:
    """Return the texts of the classes, none of a regression; raise BroughtModelError if they are not the config's."""
    if model.task == "regression":
        if is_classifier(content) or not is_regressor(content):
            raise BroughtModelError(f"a {type(content).__name__} answers no number, and the config is of a regression")
        return ()
    if not is_classifier(content):
        raise BroughtModelError(f"a {type(content).__name__} is no classifier, and the config is of a classification")
    if not hasattr(content, "predict_proba"):
        raise BroughtModelError(
            "it gives no probabilities (predict_proba): calibrate it (CalibratedClassifierCV around the classifier, as "
            "the Pipeline's last step), or fit it with them"
        )
    classes = tuple(level_text(name) for name in content.classes_)
    if strange := [name for name in classes if name not in model.categories]:
        raise BroughtModelError(
            f"its classes are {listed(classes)}, and the config's categories {listed(model.categories)}: "
            f"{listed(strange)} is none of them, and nobody guesses which is which"
        )
    return classes


def convert(estimator: Estimator, rows: Rows, *, double: bool = False) -> onnx.ModelProto:
    """Convert an estimator: an input (n, 1) for each feature, which has its name, or one of all where all are numbers.

    Numbers are float32, or float64 if `double`. Levels are texts, or numbers where it has learned such; `rows` (n,
    features) tell which, where no encoder does. Raise BroughtModelError if a step cannot be converted.
    """
    model = estimator.model
    number = DoubleTensorType if double else FloatTensorType
    inputs = [(name, _tensor(estimator, name, rows, number)) for name in estimator.names]
    texts = frozenset(name for name, kind in inputs if kind is StringTensorType)
    fitted = copy.deepcopy(getattr(estimator.fitted, "best_estimator_", estimator.fitted))
    if is_of(fitted, "catboost"):
        exported = convert_catboost(fitted, estimator.names)
    else:
        tell_texts(fitted, estimator.names, texts)
        steps = _steps(estimator, fitted)
        exported = _converted(steps, [(name, kind([None, 1])) for name, kind in inputs], model)
        send_missing(exported.graph, steps[-1])
    name_inputs(exported.graph, estimator.names)
    lists = {ONNX_CLASSES: estimator.classes, ONNX_FEATURES: estimator.names}
    onnx.helper.set_model_props(exported, {key: json.dumps(names) for key, names in lists.items() if names})
    return exported


def _steps(estimator: Estimator, fitted: Any) -> Any:
    """Return an estimator with the steps that it does by itself: codes of categories, and rounding to float32."""
    steps = [step for _, step in fitted.steps] if isinstance(fitted, Pipeline) else [fitted]
    make_convertible(steps[-1])
    if not isinstance(steps[0], ColumnTransformer) and not hasattr(steps[0], "categories_"):
        steps.insert(0, side_by_side(estimator.names, estimator.categories))  # most converters take one tensor
    if is_of(steps[-1], "xgboost") and any(getattr(step, "sparse_output_", False) for step in steps):
        steps.insert(-1, ReplaceTransformer(from_value=0, to_value=np.nan))  # of sparse rows XGBoost sees no zeros
    if isinstance(steps[-1], _ROUNDING) or is_of(steps[-1], "xgboost"):
        steps.insert(-1, CastTransformer(dtype=np.float32).fit(np.zeros((1, 1))))
    return make_pipeline(*steps)


def _tensor(estimator: Estimator, name: str, rows: Rows, number: Any) -> Any:
    model = estimator.model
    if model.kind(name).name == "numeric":
        return number
    if not estimator.takes_numbers(name, rows[:, model.features.index(name)]):
        return StringTensorType
    known = estimator.levels.get(name)
    return Int64TensorType if known is not None and known.dtype.kind in _WHOLE else number


def _converted(fitted: Any, inputs: Sequence[tuple[str, Any]], model: Model) -> onnx.ModelProto:
    try:
        return convert_sklearn(
            fitted,
            initial_types=list(inputs),
            target_opset={"": get_latest_tested_opset_version(), "ai.onnx.ml": 3},  # what all converters know
            options={"zipmap": False} if model.task == "classification" else None,
            custom_shape_calculators={step: module.calculate_shape for step, module in _CONVERTERS.items()},
            custom_conversion_functions={step: module.convert for step, module in _CONVERTERS.items()},
        )
    except (MissingConverter, MissingShapeCalculator) as error:
        raise BroughtModelError(f"a step cannot be converted to ONNX: {_line(error)}") from error
    except Exception as error:  # the converters' errors have no common base
        raise BroughtModelError(f"it cannot be converted to ONNX: {type(error).__name__}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "without a reason")
