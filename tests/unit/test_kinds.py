"""The kinds of features and the tasks, as the config and the files have them."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from monitoring.contract.kinds import LONGEST_LEVEL, MOST_LEVELS
from monitoring.contract.layout import Layout
from monitoring.contract.reference import InvalidReferenceError, read_reference
from monitoring.contract.schemas import labels_schema, log_schema
from tests.unit.models import WINE

TRIP: dict[str, Any] = {
    "name": "trip-minutes",
    "task": "regression",
    "features": {"distance": "numeric", "zone": "categorical", "airport": "categorical"},
    "prediction": "predicted_minutes",
    "target": "minutes",
}
ZONE: dict[str, Any] = {**TRIP, "task": "classification", "label": "tip", "categories": ["no", "yes"]}


def _write_reference(folder: Path, **columns: Any) -> Layout:
    rows = {
        "distance": [1.5, 2.0, None],
        "zone": [4, 7, 4],
        "airport": [True, False, None],
        "predicted_minutes": [10.0, 12.5, 9.0],
        "minutes": [11, 12, 9],
    }
    pq.write_table(pa.table({**rows, **columns}), folder / "reference.parquet")
    return Layout(folder)


def test_a_mapping_of_features_says_their_kinds() -> None:
    """The names stay in their order; the log holds numbers, levels as text, and a regression's answers as float64."""
    model = Model.model_validate(TRIP)
    assert model.features == ("distance", "zone", "airport")
    assert model.of_kind("categorical") == ("zone", "airport")
    assert (model.kind("zone").name, model.kind("minutes").name) == ("categorical", "numeric")
    types = {field.name: field.type for field in log_schema(model)}
    assert types["distance"] == types["predicted_minutes"] == types["minutes"] == pa.float64()
    assert types["zone"] == types["airport"] == pa.string()
    assert labels_schema(model).field("minutes").type == pa.float64()
    assert Model.model_validate(model.model_dump(mode="json")) == model


def test_a_list_of_features_means_numbers() -> None:
    """What was a config before kinds is one still."""
    model = Model.model_validate({**ZONE, "features": ["distance", "zone"]})
    assert model.of_kind("numeric") == ("distance", "zone")
    assert model.kind(model.prediction).name == "categorical"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"features": {"distance": "numbers"}}, "model.features.distance = 'numbers'", id="kind"),
        pytest.param({"task": "clustering"}, "model.task = 'clustering'", id="task"),
        pytest.param({"categories": ["a", "b"]}, "categories is of a classification", id="categories"),
        pytest.param({"threshold": 0.3}, "threshold is of a classification", id="threshold"),
        pytest.param({"prediction": "confidence"}, "more than once: confidence", id="taken"),
        pytest.param({"prediction": "predictions"}, "taken in the API's answers", id="taken-answer"),
        pytest.param({"task": "classification"}, "label and categories: is missing", id="no-categories"),
        pytest.param({**ZONE, "positive": "maybe"}, "positive is 'maybe'; it must be one of no, yes", id="positive"),
        pytest.param({**ZONE, "threshold": 0.3}, "threshold is the probability of `positive`", id="no-positive"),
        pytest.param(
            {**ZONE, "categories": ["a", "b", "c"], "positive": "a"}, "are for two categories", id="three-categories"
        ),
        pytest.param(
            {"features": {"distance": "numeric", "minutes": "numeric"}}, "more than once: minutes", id="twice"
        ),
    ],
)
def test_what_does_not_fit_the_task_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Each mistake is told by the key as the file has it."""
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({**WINE, "model": {**TRIP, **change}}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_reference_of_mixed_kinds_is_read_as_the_log_is(tmp_path: Path) -> None:
    """Whole numbers and booleans are levels by their text; a regression's label is a number."""
    table = read_reference(_write_reference(tmp_path), Model.model_validate(TRIP)).table
    assert table["zone"].to_pylist() == ["4", "7", "4"]
    assert table["airport"].to_pylist() == ["true", "false", None]
    assert table["minutes"].to_pylist() == [11.0, 12.0, 9.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        pytest.param({"zone": [0.5, 1.0, 2.0]}, "column zone is double", id="fractions"),
        pytest.param({"distance": ["far", "near", "far"]}, "column distance is string", id="text"),
        pytest.param({"zone": ["a", "", "b"]}, "column zone holds empty texts", id="empty"),
        pytest.param({"zone": ["a", "b" * (LONGEST_LEVEL + 1), "c"]}, "which are no levels", id="long"),
        pytest.param({"minutes": [1.0, float("inf"), 2.0]}, "column minutes holds infinite values", id="infinite"),
        pytest.param({"minutes": ["ten", "nine", "two"]}, "column minutes is string", id="label"),
        pytest.param({"minutes": [None, None, None]}, "column minutes has no value", id="unlabelled"),
    ],
)
def test_a_reference_that_does_not_fit_its_kinds_is_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    """The column and what it must be are told."""
    with pytest.raises(InvalidReferenceError, match=message):
        read_reference(_write_reference(tmp_path, **columns), Model.model_validate(TRIP))


def test_a_column_of_ids_is_no_category(tmp_path: Path) -> None:
    """Beyond a number of levels a column is refused, with what to do instead."""
    rows = MOST_LEVELS + 1
    layout = _write_reference(
        tmp_path,
        distance=[1.0] * rows,
        zone=list(range(rows)),
        airport=[True] * rows,
        predicted_minutes=[1.0] * rows,
        minutes=[1.0] * rows,
    )
    with pytest.raises(InvalidReferenceError, match=r"column zone holds 10,001 distinct values.*group rare levels"):
        read_reference(layout, Model.model_validate(TRIP))


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        pytest.param(
            TRIP,
            {"tests": ["TestF1Score"]},
            "TestF1Score is of a classification; for a regression there are",
            id="classification",
        ),
        pytest.param(
            ZONE,
            {"tests": ["TestValueMAE"]},
            "TestValueMAE is of a regression; for a classification there are",
            id="regression",
        ),
        pytest.param(
            TRIP,
            {"drift": {"default": {"test": "psi", "threshold": 0.1}}},
            "drift.default.test is 'psi'; allowed",
            id="distance-of-numbers",
        ),
        pytest.param(
            TRIP,
            {"drift": {**WINE["drift"], "columns": {"minutes_": {"test": "ks", "threshold": 0.1}}}},
            "drift.columns names 'minutes_'",
            id="no-column",
        ),
        pytest.param(
            TRIP,
            {"drift": {**WINE["drift"], "columns": {"predicted_minutes": {"test": "psi", "threshold": 0.1}}}},
            "drift.columns.predicted_minutes.test is 'psi'; allowed there are ks",
            id="distance-of-a-prediction",
        ),
        pytest.param(
            TRIP,
            {"drift": {**WINE["drift"], "categorical": {"test": "TVD", "threshold": 0.1}}},
            "drift.categorical.test is 'TVD', which cannot be computed from profiles; take one of ks",
            id="permutations",
        ),
        pytest.param(
            TRIP,
            {"tests": [{"TestNumberOfOutRangeValues": {"column": "zone"}}]},
            "TestNumberOfOutRangeValues names 'zone'; allowed there are distance",
            id="range-of-a-category",
        ),
        pytest.param(
            {**TRIP, "features": ["distance"]},
            {"tests": ["TestShareOfOutListValues"]},
            "TestShareOfOutListValues is of categorical features; there are none",
            id="list-of-nothing",
        ),
        pytest.param(
            ZONE,
            {"tests": [{"TestF1ByClass": {"category": "maybe", "gte": 0.5}}]},
            "TestF1ByClass names 'maybe'; allowed there are no, yes",
            id="unknown-category",
        ),
        pytest.param(
            TRIP,
            {"tests": [{"TestNumberOfRows": {"column": "zone", "gte": 5}}]},
            "TestNumberOfRows takes no column",
            id="column-of-a-table-test",
        ),
    ],
)
def test_tests_fit_the_task_and_the_kind(
    tmp_path: Path, model: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    """A test of another task, or of another kind of column, is refused by its name."""
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({**WINE, "model": model, **changes}))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_label_that_is_no_number_is_none(tmp_path: Path) -> None:
    """Of a table that was made from numpy NaN is not null; it is no label either."""
    layout = _write_reference(tmp_path, minutes=pa.array([11.0, float("nan"), 9.0]))
    table = read_reference(layout, Model.model_validate(TRIP)).table
    assert table["minutes"].to_pylist() == [11.0, None, 9.0]
