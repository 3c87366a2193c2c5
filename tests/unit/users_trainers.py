"""Trainers as users may write them, good and bad; each is given the rows and the config."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
from skl2onnx import to_onnx
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from monitoring.contract.config import Config


def train(rows: pd.DataFrame, config: Config) -> Pipeline:
    reference = pd.read_parquet(os.environ["TRAINER_REFERENCE"])
    print(len(rows), "rows", len(reference), "of the reference", *rows.columns, "in", Path.cwd())  # noqa: T201
    return _fitted(rows, list(config.model.features))


def _fitted(rows: pd.DataFrame, columns: list[str]) -> Pipeline:
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows[columns], rows["truth"])


def returns_onnx(rows: pd.DataFrame, config: Config) -> onnx.ModelProto:
    model = _fitted(rows, list(config.model.features)).steps[-1][1]
    exported = to_onnx(model, np.zeros((1, 4), np.float32), options={"zipmap": False})
    onnx.helper.set_model_props(exported, {"features": json.dumps(config.model.features)})
    return exported


def needs_every_value(rows: pd.DataFrame, config: Config) -> LogisticRegression:
    complete = rows.dropna()  # and it is asked for all rows nevertheless
    return LogisticRegression().fit(complete[list(config.model.features)], complete["truth"])


def raises(rows: pd.DataFrame, config: Config) -> None:
    raise ValueError("no licence")


def lacks_a_package(rows: pd.DataFrame, config: Config) -> None:
    import there_is_none  # type: ignore[import-not-found]  # noqa: F401, PLC0415


def exits(rows: pd.DataFrame, config: Config) -> None:
    sys.exit(0)


def returns_nothing(rows: pd.DataFrame, config: Config) -> None:
    pass


def returns_a_class(rows: pd.DataFrame, config: Config) -> type:
    return LogisticRegression


def does_not_fit(rows: pd.DataFrame, config: Config) -> LogisticRegression:
    return LogisticRegression()


def has_another_column(rows: pd.DataFrame, config: Config) -> Pipeline:
    return _fitted(rows.assign(extra=1.0), [*config.model.features, "extra"])


def lacks_a_feature(rows: pd.DataFrame, config: Config) -> Pipeline:
    return _fitted(rows, ["acidity", "sugar", "density"])


def has_another_order(rows: pd.DataFrame, config: Config) -> Pipeline:
    return _fitted(rows, list(config.model.features)[::-1])


def has_other_classes(rows: pd.DataFrame, config: Config) -> Pipeline:
    return _fitted(rows.assign(truth=rows["truth"].map({"red": "0", "white": "1"})), list(config.model.features))


def is_a_regression(rows: pd.DataFrame, config: Config) -> Any:
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415

    complete = rows.dropna()
    return LinearRegression().fit(complete[list(config.model.features)], complete["truth"] == "red")


def cannot_be_converted(rows: pd.DataFrame, config: Config) -> Pipeline:
    steps = make_pipeline(SimpleImputer(), FunctionTransformer(np.abs), LogisticRegression())
    return steps.fit(rows[list(config.model.features)], rows["truth"])


def returns_rubbish(rows: pd.DataFrame, config: Config) -> bytes:
    return b"rubbish"
