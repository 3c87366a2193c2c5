"""Estimators as people fit them, on data frames of mixed columns: converted, they answer as they did."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from flows.conversion.conversion import Conversion, convert_brought
from flows.conversion.errors import BroughtModelError
from flows.conversion.reading import Brought, read_model
from flows.training.sample import feature_matrix
from monitoring.contract.config import Config
from monitoring.contract.schemas import feature_fields
from monitoring.contract.values import conform
from tests.unit.mixed import tips, trip_rows, trips

NUMBERS, LEVELS = ["distance", "passengers"], ["zone", "airport"]
INFREQUENT: dict[str, Any] = {"min_frequency": 80, "handle_unknown": "infrequent_if_exist"}
EXACT = 2e-6  # a rounding of float32


def frame(rows: int = 600, seed: int = 1, *, gaps: bool = False) -> pd.DataFrame:
    """Return rows with the types that pandas gives them: a column of booleans with gaps is one of objects."""
    table = pa.table(trip_rows(rows, seed)).to_pandas()
    if gaps:
        table.loc[::7, "distance"] = np.nan
        table.loc[::9, "zone"] = None
    return table


def prepared(*, gaps: bool = False, scaled: bool = True, encoder: Any = None) -> ColumnTransformer:
    numbers = [SimpleImputer(strategy="median")] if gaps else []
    encoder = encoder or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [("levels", encoder, LEVELS), ("numbers", make_pipeline(*numbers, *[StandardScaler()] * scaled), NUMBERS)]
    )


def fitted(config: Config, last: Any, transformer: ColumnTransformer, *, gaps: bool = False) -> Any:
    rows = frame(gaps=gaps)
    return make_pipeline(transformer, last).fit(rows[NUMBERS + LEVELS], rows[config.model.target])


def calibrated() -> Any:
    rows = frame()
    model = CalibratedClassifierCV(make_pipeline(prepared(), LinearSVC()), cv=2)
    return model.fit(rows[NUMBERS + LEVELS], rows["tip"])


def numbered() -> Any:
    """Fit on zones that are numbers with gaps, which pandas keeps as floats."""
    rows = frame()
    rows["zone"] = rows["zone"].astype("category").cat.codes.astype(float)
    rows.loc[::9, "zone"] = np.nan
    return make_pipeline(prepared(), LogisticRegression()).fit(rows[NUMBERS + LEVELS], rows["tip"])


def converted(model: Any, config: Config, *, gaps: bool = False) -> Conversion:
    """Convert, and compare on rows that the model has not seen."""
    rows = pa.Table.from_pandas(frame(800, 2, gaps=gaps), preserve_index=False)
    matrix = feature_matrix(conform(rows, pa.schema(feature_fields(config.model))), config.model)
    return convert_brought(
        Brought("m", model),
        config.model,
        matrix,
        float(np.std(rows[config.model.target])) if config.model.task == "regression" else 1.0,
    )


@pytest.mark.parametrize("gaps", [pytest.param(False, id="complete"), pytest.param(True, id="with gaps")])
@pytest.mark.parametrize(
    ("task", "last"),
    [
        pytest.param(trips, Ridge(), id="ridge"),
        pytest.param(trips, HistGradientBoostingRegressor(max_iter=30), id="boosted trees"),
        pytest.param(trips, RandomForestRegressor(10, random_state=0), id="forest"),
        pytest.param(trips, GradientBoostingRegressor(n_estimators=20), id="gradient boosting"),
        pytest.param(tips, LogisticRegression(), id="logistic regression"),
        pytest.param(tips, HistGradientBoostingClassifier(max_iter=30), id="boosted classifier"),
        pytest.param(tips, RandomForestClassifier(10, random_state=0), id="forest classifier"),
    ],
)
def test_a_pipeline_answers_as_it_did(task: Any, last: Any, *, gaps: bool) -> None:
    """To the rounding of its answers: scaled values lie as near to thresholds as float64 tells."""
    config = task()
    found = converted(fitted(config, last, prepared(gaps=gaps), gaps=gaps), config, gaps=gaps)
    assert found.apart is not None
    assert found.apart < EXACT
    assert found.rows == 800
    assert found.onnx.needs == () or not gaps


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(
            prepared(encoder=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)), id="ordinal codes"
        ),
        pytest.param(
            prepared(
                encoder=make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
            ),
            id="imputed levels",
        ),
    ],
)
def test_other_encoders(model: ColumnTransformer) -> None:
    """Whatever comes before the trees."""
    rows = frame()
    rows["airport"] = rows["airport"].astype(object).where(rows["airport"].notna(), False).astype(str).str.lower()
    pipeline = make_pipeline(model, RandomForestRegressor(5, random_state=0))
    pipeline.fit(rows[NUMBERS + LEVELS], rows["minutes"])
    other = frame(800, 2)
    other["airport"] = other["airport"].astype(object).where(other["airport"].notna(), False)
    table = pa.Table.from_pandas(other, preserve_index=False)
    config = trips()
    matrix = feature_matrix(conform(table, pa.schema(feature_fields(config.model))), config.model)
    found = convert_brought(Brought("m", pipeline), config.model, matrix, 1.0)
    assert found.apart is not None
    assert found.apart < 1e-4


def test_a_search_stands_for_the_best_that_it_found() -> None:
    """A grid search is saved as it is by many."""
    config, rows = trips(), frame()
    search = GridSearchCV(make_pipeline(prepared(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2)
    found = converted(search.fit(rows[NUMBERS + LEVELS], rows["minutes"]), config)
    assert found.apart is not None
    assert found.apart < EXACT


def test_levels_that_were_learned_as_whole_numbers_are_asked_so() -> None:
    """A zone's number is a level in the config, an int64 in the data frame, and an int64 input of the model."""
    config = trips()
    rows = frame()
    rows["zone"] = rows["zone"].map({name: at for at, name in enumerate(sorted(set(rows["zone"])))})
    rows["airport"] = rows["airport"].eq(True)
    model = make_pipeline(prepared(), Ridge()).fit(rows[NUMBERS + LEVELS], rows["minutes"])
    table = conform(pa.Table.from_pandas(rows, preserve_index=False), pa.schema(feature_fields(config.model)))
    found = convert_brought(Brought("m", model), config.model, feature_matrix(table, config.model), 1.0)
    assert found.apart is not None
    assert found.apart < 1e-4
    assert "zone tensor(int64)" in found.onnx.about["inputs"]
    assert "airport tensor(int64)" in found.onnx.about["inputs"]


def test_one_encoder_may_know_numbers_and_texts_with_gaps() -> None:
    """A passenger's class beside the port where he embarked: what is missing in one column is a level that it knows."""
    config = trips()
    rows = frame(gaps=True)
    rows["airport"] = rows["airport"].eq(True).astype(int)
    rows["distance"] = rows["distance"].fillna(1.0)
    rows["minutes"] += 40 * rows["zone"].isna()
    model = make_pipeline(prepared(), Ridge()).fit(rows[NUMBERS + LEVELS], rows["minutes"])
    table = conform(pa.Table.from_pandas(rows, preserve_index=False), pa.schema(feature_fields(config.model)))
    found = convert_brought(Brought("m", model), config.model, feature_matrix(table, config.model), 1.0)
    assert found.apart is not None
    assert found.apart < 1e-4


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(
            lambda: fitted(tips(), LinearSVC(), prepared()), "it gives no probabilities", id="no probabilities"
        ),
        pytest.param(
            lambda: fitted(tips(), LogisticRegression(), prepared(encoder=OneHotEncoder(**INFREQUENT))),
            "take handle_unknown='ignore'",
            id="infrequent levels",
        ),
        pytest.param(calibrated, "make it the Pipeline's last step", id="calibrated pipeline"),
        pytest.param(numbered, "has learned zone as numbers of which some are missing", id="gaps"),
        pytest.param(
            lambda: fitted(tips(), HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]), by_codes()),
            "trees that split by sets of categories: encode the levels",
            id="categorical splits",
        ),
    ],
)
def test_what_cannot_be_served_is_told(model: Any, says: str) -> None:
    """With what to do instead."""
    with pytest.raises(BroughtModelError, match=says):
        converted(model(), tips())


def passed_on() -> ColumnTransformer:
    """Numbers as they come, so that the trees see what is missing."""
    return ColumnTransformer([("levels", OneHotEncoder(handle_unknown="ignore"), LEVELS)], remainder="passthrough")


@pytest.mark.parametrize(
    ("task", "last"),
    [
        pytest.param(trips, RandomForestRegressor(10, random_state=0), id="forest"),
        pytest.param(trips, ExtraTreesRegressor(10, random_state=0), id="extra trees"),
        pytest.param(tips, RandomForestClassifier(10, random_state=0), id="forest classifier"),
        pytest.param(tips, DecisionTreeClassifier(random_state=0), id="tree"),
        pytest.param(
            trips, VotingRegressor([(str(n), RandomForestRegressor(n, random_state=0)) for n in (5, 6)]), id="a vote"
        ),
    ],
)
@pytest.mark.parametrize("gaps", [pytest.param(False, id="fitted without"), pytest.param(True, id="fitted with")])
def test_trees_send_missing_numbers_where_they_did(task: Any, last: Any, *, gaps: bool) -> None:
    """Whether or not the reference has any: service will."""
    config = task()
    model = fitted(config, last, passed_on(), gaps=gaps)
    found = converted(model, config)
    rows = frame(400, 3, gaps=True)
    matrix = feature_matrix(
        conform(pa.Table.from_pandas(rows, preserve_index=False), pa.schema(feature_fields(config.model))), config.model
    )
    predicted, probabilities = found.onnx.predict(matrix)
    asked = rows[NUMBERS + LEVELS]
    if not config.model.categories:
        assert predicted == pytest.approx(model.predict(asked), rel=1e-5)
        return
    order = [list(model.classes_).index(name) for name in found.onnx.classes]
    assert probabilities == pytest.approx(model.predict_proba(asked)[:, order], abs=1e-5)


def test_answers_to_missing_values_are_compared_though_the_reference_has_none() -> None:
    """Of a forest in a pipeline within another step nobody says where missing numbers go."""
    same = StandardScaler(with_mean=False, with_std=False)
    vote = VotingRegressor([("p", make_pipeline(same, RandomForestRegressor(5, max_depth=2, random_state=0)))])
    with pytest.raises(BroughtModelError, match=r"but where \w+ is missing its answers differ by"):
        converted(fitted(trips(), vote, passed_on()), trips())


def test_an_imputers_indicators_are_not_lost_without_a_word() -> None:
    """The columns that they add have no place in what is written."""
    imputer = SimpleImputer(add_indicator=True)
    columns = ColumnTransformer([("levels", OneHotEncoder(handle_unknown="ignore"), LEVELS), ("n", imputer, NUMBERS)])
    with pytest.raises(BroughtModelError, match=r"SimpleImputer\(add_indicator=True\)"):
        converted(fitted(trips(), Ridge(), columns, gaps=True), trips(), gaps=True)


def by_codes() -> Any:
    return prepared(encoder=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1))


@pytest.mark.parametrize(
    ("function", "named"),
    [
        pytest.param(exec, "builtins.exec", id="exec"),
        pytest.param(np.testing.runstring, "numpy.testing", id="NumPy's own exec"),
        pytest.param(np.zeros_like, "numpy.zeros_like", id="a function"),
    ],
)
def test_a_skops_file_holds_no_function(tmp_path: Path, function: Any, named: str) -> None:
    """Loading would not call it, but the model's answers would: whatever it is, it is refused by name."""
    model = make_pipeline(FunctionTransformer(function, validate=False), Ridge())
    skops.io.dump(model, tmp_path / "m.skops")
    with pytest.raises(BroughtModelError, match=named):
        read_model(str(tmp_path / "m.skops"))


def test_skops_and_joblib_hold_the_same(tmp_path: Path) -> None:
    """The same answers, as near as they can be."""
    model = fitted(trips(), HistGradientBoostingRegressor(max_iter=3), prepared())
    joblib.dump(model, tmp_path / "m.joblib")
    skops.io.dump(model, tmp_path / "m.skops")
    for name in ("m.joblib", "m.skops"):
        found = converted(read_model(str(tmp_path / name)).content, trips())
        assert found.apart is not None
        assert found.apart < EXACT
