"""Models of LightGBM, XGBoost and CatBoost, in their own files and as pickles: converted, they answer as they did."""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from flows.conversion import boosters
from flows.conversion.conversion import Conversion, convert_brought
from flows.conversion.errors import BroughtModelError
from flows.conversion.reading import Brought, read_model
from flows.training.sample import feature_matrix
from monitoring.contract.config import Config
from monitoring.contract.schemas import feature_fields
from monitoring.contract.values import conform
from tests.unit.mixed import tips, trips
from tests.unit.models import WINE
from tests.unit.test_conversion import EXACT, LEVELS, NUMBERS, frame, prepared

catboost = pytest.importorskip("catboost")
lightgbm = pytest.importorskip("lightgbm")
xgboost = pytest.importorskip("xgboost")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries', not ours

THREE = Config.model_validate(
    {**WINE, "model": {**WINE["model"], "features": NUMBERS, "target": "kind", "categories": ["0", "1", "2"]}}
)


def rows(seed: int = 1, *, gaps: bool = False) -> pd.DataFrame:
    """Return rows with pandas' categories, labels of two classes as whole numbers, and of three."""
    table = frame(600, seed, gaps=gaps)
    table[LEVELS] = table[LEVELS].astype("category")
    table["kind"] = np.digitize(table["minutes"], [12, 18])
    table["tip"] = (table["tip"] == "yes").astype(int)
    return table


def of(config: Config, *categories: str) -> Config:
    return Config.model_validate(
        {**WINE, "model": {**config.model.model_dump(), "categories": categories}, "metrics": {"feature_prefix": "a"}}
    )


BINARY = of(tips(), "0", "1")


def compared(model: Any, config: Config, *, gaps: bool = False) -> Conversion:
    """Convert, and compare on rows that the model has not seen, with a level that it does not know."""
    others = rows(2, gaps=gaps)
    others["zone"] = others["zone"].cat.add_categories("airfield")
    others.loc[::11, "zone"] = "airfield"
    table = conform(pa.Table.from_pandas(others, preserve_index=False), pa.schema(feature_fields(config.model)))
    content = model if isinstance(model, Brought) else Brought("m", model)
    return convert_brought(content, config.model, feature_matrix(table, config.model), 1.0, tolerance=1e-4)


@pytest.mark.parametrize("gaps", [pytest.param(False, id="complete"), pytest.param(True, id="with gaps")])
@pytest.mark.parametrize("saved", [pytest.param("m.joblib", id="pickle"), pytest.param("m.txt", id="text")])
@pytest.mark.parametrize(
    ("kind", "target", "config"),
    [
        pytest.param("LGBMRegressor", "minutes", trips(), id="regression"),
        pytest.param("LGBMClassifier", "tip", BINARY, id="two classes"),
    ],
)
def test_lightgbm_with_pandas_categories(
    tmp_path: Path, kind: str, target: str, config: Config, saved: str, *, gaps: bool
) -> None:
    """Levels are text in the config and in the log; the model knows their codes."""
    learned = rows(gaps=gaps)
    model = getattr(lightgbm, kind)(n_estimators=20, min_data_per_group=5, verbose=-1)
    model.fit(learned[NUMBERS + LEVELS], learned[target])
    if saved.endswith("txt"):
        model.booster_.save_model(tmp_path / saved)
    else:
        joblib.dump(model, tmp_path / saved)
    found = compared(read_model(str(tmp_path / saved)), config, gaps=gaps)
    assert found.apart is not None
    assert found.apart < 2e-5
    assert "zone tensor(string)" in found.onnx.about["inputs"]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: lightgbm.LGBMClassifier(n_estimators=10, verbose=-1), id="lightgbm"),
        pytest.param(lambda: xgboost.XGBClassifier(n_estimators=10), id="xgboost"),
        pytest.param(
            lambda: catboost.CatBoostClassifier(iterations=10, verbose=0, allow_writing_files=False), id="catboost"
        ),
    ],
)
def test_three_classes(model: Any) -> None:
    """Each library has its own way of many classes."""
    learned = rows()
    found = compared(model().fit(learned[NUMBERS], learned["kind"]), THREE)
    assert found.onnx.classes == ("0", "1", "2")
    assert found.apart is not None
    assert found.apart < EXACT


@pytest.mark.parametrize("name", ["m.json", "m.ubj", "m.joblib"])
def test_xgboost_files(tmp_path: Path, name: str) -> None:
    """Both of its formats, and a pickle; a value that is missing goes where the trees say."""
    learned = rows(gaps=True)
    model = xgboost.XGBClassifier(n_estimators=20).fit(learned[NUMBERS], learned["kind"])
    if name.endswith("joblib"):
        joblib.dump(model, tmp_path / name)
    else:
        model.save_model(tmp_path / name)
    found = compared(read_model(str(tmp_path / name)), THREE, gaps=True)
    assert found.apart is not None
    assert found.apart < EXACT
    assert found.onnx.needs == ()


@pytest.mark.parametrize("sparse", [pytest.param(True, id="sparse"), pytest.param(False, id="dense")])
@pytest.mark.parametrize("kind", [pytest.param("xgboost.XGBRegressor", id="xgboost"), "lightgbm.LGBMRegressor"])
def test_pipelines_that_end_in_them(kind: str, *, sparse: bool) -> None:
    """Of sparse rows XGBoost takes the zeros for missing values, and so does the converted model."""
    library, _, name = kind.partition(".")
    last = getattr({"xgboost": xgboost, "lightgbm": lightgbm}[library], name)(n_estimators=20)
    first = prepared(encoder=OneHotEncoder(handle_unknown="ignore", sparse_output=sparse))
    first.sparse_threshold = 1.0 if sparse else 0.0
    learned = frame()
    found = compared(make_pipeline(first, last).fit(learned[NUMBERS + LEVELS], learned["minutes"]), trips())
    assert found.apart is not None
    assert found.apart < 2e-5


def test_catboost_files(tmp_path: Path) -> None:
    """Its own ONNX takes one tensor; ours takes the features by their names."""
    learned = rows()
    model = catboost.CatBoostRegressor(iterations=20, verbose=0, allow_writing_files=False)
    model.fit(learned[NUMBERS[::-1]], learned["minutes"]).save_model(str(tmp_path / "m.cbm"))
    numbers = Config.model_validate({**WINE, "model": {**trips().model.model_dump(), "features": NUMBERS, "kinds": {}}})
    found = compared(read_model(str(tmp_path / "m.cbm")), numbers)
    assert found.apart is not None
    assert found.apart < 2e-5


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param(
            lambda: xgboost.XGBRegressor(n_estimators=3, enable_categorical=True), "categorical features", id="xgboost"
        ),
        pytest.param(
            lambda: catboost.CatBoostRegressor(
                iterations=3, verbose=0, allow_writing_files=False, cat_features=["zone"]
            ),
            "CatBoost writes no ONNX of a model with categorical features",
            id="catboost",
        ),
        pytest.param(
            lambda: lightgbm.LGBMRegressor(n_estimators=3, linear_tree=True, verbose=-1), "linear trees", id="lightgbm"
        ),
    ],
)
def test_what_cannot_be_converted_is_told(model: Any, says: str) -> None:
    """With the library's own word for it."""
    learned = rows()
    features = NUMBERS if "linear" in says else [*NUMBERS, "zone"]
    kinds = dict.fromkeys(NUMBERS, "numeric") | ({} if "linear" in says else {"zone": "categorical"})
    config = Config.model_validate({**WINE, "model": {**trips().model.model_dump(), "features": kinds, "kinds": {}}})
    with pytest.raises(BroughtModelError, match=says):
        compared(model().fit(learned[features], learned["minutes"]), config)


@pytest.mark.parametrize("booster", ["dart", "gblinear"])
def test_other_boosters_of_xgboost_are_named(booster: str) -> None:
    """The converter knows trees alone, whose answers are summed."""
    learned = rows()
    numbers = Config.model_validate({**WINE, "model": {**trips().model.model_dump(), "features": NUMBERS, "kinds": {}}})
    model = xgboost.XGBRegressor(n_estimators=3, booster=booster).fit(learned[NUMBERS], learned["minutes"])
    with pytest.raises(BroughtModelError, match=f"XGBoost's booster {booster} is not converted"):
        compared(model, numbers)


@pytest.mark.parametrize("saved", ["m.joblib", "m.txt"])
def test_an_objective_of_the_users_own_is_told(tmp_path: Path, saved: str) -> None:
    """LightGBM writes no objective then, and what it makes of the trees' sum is not known."""
    learned = rows()

    def squares(predicted: Any, given: Any) -> tuple[Any, Any]:
        return predicted - given.get_label(), np.ones(len(predicted))

    data = lightgbm.Dataset(learned[NUMBERS], learned["minutes"])
    booster = lightgbm.train({"objective": squares, "verbose": -1}, data, 3)
    booster.save_model(str(tmp_path / "m.txt"))
    joblib.dump(booster, tmp_path / "m.joblib")
    numbers = Config.model_validate({**WINE, "model": {**trips().model.model_dump(), "features": NUMBERS, "kinds": {}}})
    with pytest.raises(BroughtModelError, match="custom objectives"):
        compared(read_model(str(tmp_path / saved)), numbers)


@pytest.mark.parametrize("name", ["m.txt", "m.json", "m.cbm"])
def test_files_that_are_none_of_theirs(tmp_path: Path, name: str) -> None:
    """One that is not there, and one that holds something else."""
    with pytest.raises(BroughtModelError, match="cannot be read: No such file"):
        read_model(str(tmp_path / name))
    (tmp_path / name).write_text("nothing")
    with pytest.raises(BroughtModelError, match="is no readable"):
        read_model(str(tmp_path / name))


def test_a_library_that_is_not_installed_is_named_with_the_extra() -> None:
    """The API and the flows do without them."""
    with pytest.raises(BroughtModelError, match=r"needs nolibrary, .* the extra `convert`"):
        boosters.require("nolibrary.models")
