"""The API with mixed features, as a regression and as a classification: what is taken, logged, answered and refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from sklearn.linear_model import LinearRegression

from api.validation import MAX_INSTANCES
from monitoring.contract.config import Window
from monitoring.contract.kinds import LONGEST_LEVEL
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.schemas import log_schema
from tests.unit.api_fixtures import gunicorn, running, service_of, settings
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.mixed_models import champion, converted, fitted, frame, lay_down
from tests.unit.own_models import named

JSON = "application/json"
ROW = {"distance": 2.5, "passengers": 2, "zone": "station", "airport": False}
REGRESSOR, CLASSIFIER = champion(trips().model), champion(tips().model)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("trips")
    with running(settings(folder / "data", lay_down(folder, trips(), REGRESSOR))) as app:
        app.config["DATA"] = folder / "data"
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def logged(app: Flask) -> pd.DataFrame:
    """Seal, and read the log as a user would."""
    service_of(app).predictions.seal()
    found = pd.read_parquet(app.config["DATA"] / "current.parquet", dtype_backend="pyarrow")
    return found.set_index("prediction_id").astype(object).where(lambda column: column.notna(), None)


def rows_in(app: Flask) -> int:
    return len(logged(app)) if (app.config["DATA"] / "current.parquet").exists() else 0


def test_rows_as_pandas_writes_them_are_answered_by_numbers_and_logged(app: Flask, client: FlaskClient) -> None:
    """Whole numbers, booleans and gaps of a frame; the log has numbers as float64 and levels as text."""
    table = pd.DataFrame({name: column.to_pandas() for name, column in trip_rows(300).items()})
    records = table[["distance", "passengers", "zone", "airport", "minutes"]].to_json(orient="records")
    assert '"airport":null' in records
    answer = client.post("/predict", data=f'{{"instances": {records}}}', content_type="application/json")
    predictions = answer.json["predictions"]
    assert [set(one) for one in predictions] == [{"prediction_id", "predicted_minutes", "model_version"}] * 300
    error = pd.Series([one["predicted_minutes"] for one in predictions]) - table["minutes"]
    assert error.std() < 3
    log = logged(app).loc[[one["prediction_id"] for one in predictions]]
    assert log["predicted_minutes"].tolist() == [one["predicted_minutes"] for one in predictions]
    assert log["minutes"].tolist() == table["minutes"].tolist()
    assert log["passengers"].tolist() == table["passengers"].astype(float).tolist()
    assert log["airport"].tolist() == [None if pd.isna(v) else str(v).lower() for v in table["airport"]]
    assert log["confidence"].isna().all()
    (part, *_) = (app.config["DATA"] / "current.parquet").glob("*.parquet")
    assert pq.read_schema(part).remove_metadata().equals(log_schema(trips().model))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        pytest.param("old town", "old town", id="text"),
        pytest.param("never seen: 東京 <b>,{", "never seen: 東京 <b>,{", id="never seen"),
        pytest.param('quoted " name', 'quoted " name', id="quote"),
        pytest.param("x" * LONGEST_LEVEL, "x" * LONGEST_LEVEL, id="longest"),
        pytest.param(7, "7", id="whole number"),
        pytest.param(-(2**60), str(-(2**60)), id="large"),
        pytest.param(7.0, "7", id="whole float"),
        pytest.param(True, "true", id="boolean"),
        pytest.param("line\nbreak\x00", "line\nbreak\x00", id="control characters"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_a_level_is_logged_as_its_text(app: Flask, client: FlaskClient, sent: Any, text: str | None) -> None:
    """Whatever JSON has it as; alone and among instances."""
    one = client.post("/predict", json={"features": {**ROW, "zone": sent}})
    (two,) = client.post("/predict", json={"instances": [{**ROW, "zone": sent}]}).json["predictions"]
    assert one.status_code == 200, one.json
    assert logged(app).loc[[one.json["prediction_id"], two["prediction_id"]], "zone"].tolist() == [text] * 2
    assert one.json["predicted_minutes"] == two["predicted_minutes"]


@pytest.mark.parametrize(
    ("features", "reason", "says"),
    [
        pytest.param('"zone": 0.5', "not_a_level", "zone: must be text, a whole number", id="fraction"),
        pytest.param('"zone": 1e300', "not_a_level", "not 1e+300", id="no whole number that a float tells"),
        pytest.param('"zone": NaN', "not_a_level", "not NaN", id="NaN"),
        pytest.param('"zone": ["a"]', "not_a_level", "not a list", id="list"),
        pytest.param('"zone": {"a": 1}', "not_a_level", "not an object", id="object"),
        pytest.param('"zone": ""', "empty_level", "is empty; send null", id="empty"),
        pytest.param(f'"zone": "{"y" * 10_000}"', "level_too_long", "has 10,000 characters", id="long"),
        pytest.param(f'"zone": 1{"0" * 30}', "not_a_level", "not 1e+30", id="beyond 64 bits"),
        pytest.param('"zone": "\\ud800"', "not_text", "holds half a character", id="surrogate"),
        pytest.param('"distance": "2.5"', "not_a_number", "distance: must be a number or null", id="text for a number"),
        pytest.param('"zone": "a", "zone": "b"', "duplicate_key", "zone: stands twice", id="twice"),
        pytest.param('"zone": "a", "zones": "b"', "unknown_feature", "zones: no such feature", id="unknown"),
        pytest.param('"zone": null', "no_values", "no feature has a value", id="nothing"),
    ],
)
def test_what_is_no_level_is_refused_by_name(
    app: Flask, client: FlaskClient, features: str, reason: str, says: str
) -> None:
    """Alone or in a batch, of which nothing is logged."""
    before = rows_in(app)
    for body in (f'{{"features": {{{features}}}}}', f'{{"instances": [{json.dumps(ROW)}, {{{features}}}]}}'):
        answer = client.post("/predict", data=body, content_type="application/json")
        assert (answer.status_code, answer.json["reason"]) == (422, reason), answer.json
        assert says in answer.json["detail"]
    assert rows_in(app) == before


def test_a_model_without_an_answer_says_why(tmp_path: Path) -> None:
    """A number that it needs, and a level that is no whole number where it takes those."""
    table = frame(400, seed=1)
    table["zone"] = [4, 7] * 200
    content = named(converted(fitted(LinearRegression(), "minutes", table), table))
    with running(settings(tmp_path / "data", lay_down(tmp_path, trips(), content))) as app:
        client = app.test_client()
        assert client.post("/predict", json={"features": {**ROW, "zone": 7}}).status_code == 200
        without = client.post("/predict", json={"features": {"zone": 4, "passengers": 1}}).json
        text = client.post("/predict", json={"instances": [{**ROW, "zone": 7}, ROW]}).json
    assert (without["reason"], text["reason"], text["field"]) == (
        "no_finite_answer",
        "no_finite_answer",
        "instances[1]",
    )
    assert "this model has no answer without a value of distance" in without["detail"]
    assert "this model takes whole numbers alone as levels or values of zone" in text["detail"]


def test_levels_may_hold_what_json_is_made_of(client: FlaskClient) -> None:
    """Commas and braces in texts are no instances; more instances than are taken are refused as before."""
    strange = {**ROW, "zone": ",{" * 60}
    assert client.post("/predict", json={"instances": [strange] * 9_000}).status_code == 200
    for body in ('{"instances": [' + "{}," * (3 * MAX_INSTANCES) + "{}]}", '{"instances": [' + "1," * 10**6 + "1]}"):
        answer = client.post("/predict", data=body, content_type="application/json")
        assert (answer.status_code, answer.json["reason"]) == (413, "too_many_rows")


@pytest.mark.parametrize("sent", ["11", True, "NaN", "Infinity", 10**400, [11], {"a": 1}])
def test_a_label_that_is_no_number_is_refused(app: Flask, client: FlaskClient, sent: Any) -> None:
    """With the row and later; null is not known yet."""
    before = rows_in(app)
    text = sent if sent in ("NaN", "Infinity") else json.dumps(sent)
    answer = client.post("/predict", data=f'{{"features": {json.dumps(ROW)}, "minutes": {text}}}', content_type=JSON)
    assert (answer.status_code, answer.json["reason"], answer.json["field"]) == (422, "not_a_number", "minutes")
    assert rows_in(app) == before
    known = client.post("/predict", json={"features": ROW, "minutes": None}).json["prediction_id"]
    later = client.post("/feedback", data=f'{{"prediction_id": "{known}", "minutes": {text}}}', content_type=JSON)
    assert (later.status_code, later.json["reason"]) == (422, "not_a_number")


def test_labels_of_numbers_are_accepted_known_and_corrected(app: Flask, client: FlaskClient) -> None:
    """11 and 11.0 are one label, in a journal, in a part and with the row."""
    first = client.post("/predict", json={"features": ROW}).json["prediction_id"]
    second = client.post("/predict", json={"features": ROW, "minutes": 11}).json["prediction_id"]

    def send(prediction_id: str, minutes: Any) -> str:
        (result,) = client.post("/feedback", json=[{"prediction_id": prediction_id, "minutes": minutes}]).json[
            "results"
        ]
        return str(result["status"])

    assert [send(first, 11), send(first, 11.0), send(second, 11.0)] == ["accepted", "known", "known"]
    service_of(app).predictions.seal()
    service_of(app).labels.seal()
    assert [send(first, 11), send(second, 11), send(first, 12.5), send(second, -1e-9)] == [
        "known",
        "known",
        "corrected",
        "corrected",
    ]
    service_of(app).labels.seal()
    labels = pd.read_parquet(app.config["DATA"] / "labels.parquet").set_index("prediction_id")["minutes"]
    assert labels.loc[first].tolist() == [11.0, 12.5]
    assert labels.dtype == "float64"
    mixed = [{"prediction_id": first, "minutes": "ten"}, {"prediction_id": first, "minutes": 12.5}]
    answer = client.post("/feedback", json=mixed).json
    assert [one["status"] for one in answer["results"]] == ["invalid", "known"]
    assert answer["results"][0]["detail"] == (
        '[0].minutes: must be a finite number, or null while it is not known, not "ten"'
    )


def test_a_regression_is_counted_and_described(tmp_path: Path) -> None:
    """One series without a label; kinds and task on /model and in the description."""
    with running(settings(tmp_path / "data", lay_down(tmp_path, trips(), REGRESSOR))) as app:
        client = app.test_client()
        client.post("/predict", json={"instances": [ROW] * 3})
        client.post("/predict", json={"features": ROW})
        assert "\napi_predictions_total 4.0\n" in client.get("/metrics").text
        about = client.get("/model").json
        schemas = client.get("/openapi.json").json["components"]["schemas"]
    assert (about["task"], about["categories"]) == ("regression", [])
    assert about["kinds"] == {
        "distance": "numeric",
        "passengers": "numeric",
        "zone": "categorical",
        "airport": "categorical",
    }
    features = schemas["Features"]["properties"]
    assert features["zone"]["type"] == ["string", "integer", "boolean", "null"]
    assert features["distance"]["type"] == ["number", "null"]
    assert schemas["Prediction"]["properties"]["predicted_minutes"] == {"type": "number"}
    assert set(schemas["Prediction"]["properties"]) == {"prediction_id", "predicted_minutes", "model_version"}
    assert schemas["Label"]["properties"]["minutes"]["type"] == "number"


def test_a_threshold_decides_what_is_answered_and_logged(tmp_path: Path) -> None:
    """The positive class from its share on, with its own probability as confidence."""
    model = {**tips().model.model_dump(exclude_unset=True), "positive": "yes", "threshold": 0.1}
    config = tips(model=model)
    with running(settings(tmp_path / "data", lay_down(tmp_path, config, CLASSIFIER))) as app:
        app.config["DATA"] = tmp_path / "data"
        instances = [{**ROW, "distance": distance / 10} for distance in range(60)]
        predictions = app.test_client().post("/predict", json={"instances": instances}).json["predictions"]
        log = logged(app)
    shares = [one["probabilities"]["yes"] for one in predictions]
    assert [one["answer"] for one in predictions] == ["yes" if share >= 0.1 else "no" for share in shares]
    assert [one["confidence"] for one in predictions] == [one["probabilities"][one["answer"]] for one in predictions]
    assert any(0.1 <= share < 0.5 for share in shares)
    assert log["predicted_tip"].tolist() == [one["answer"] for one in predictions]
    assert log["confidence"].tolist() == [one["confidence"] for one in predictions]


def test_mixed_rows_survive_a_killed_server(tmp_path: Path) -> None:
    """Journals of text and numbers are sealed by the next server, and their labels are found."""
    config = lay_down(tmp_path, trips(), REGRESSOR)
    with gunicorn(tmp_path / "data", DRIFTLOOP_CONFIG=str(config), PREDICTION_LOG_SEAL_SECONDS="60") as server:
        sent = [{**ROW, "zone": zone} for zone in ("station", 'a " new, {zone}', None, 4)]
        answer = requests.post(f"{server.url}/predict", json={"instances": sent}, timeout=10).json()
        ids = [one["prediction_id"] for one in answer["predictions"]]
        label = {"prediction_id": ids[0], "minutes": 9.5}
        assert requests.post(f"{server.url}/feedback", json=label, timeout=10).json()["accepted"] == 1
        server.kill()
        server.start()
        assert requests.post(f"{server.url}/feedback", json=label, timeout=10).json()["known"] == 1
    log = pd.read_parquet(tmp_path / "data/current.parquet").set_index("prediction_id").loc[ids]
    assert log["zone"].astype(object).where(log["zone"].notna(), None).tolist() == [
        "station",
        'a " new, {zone}',
        None,
        "4",
    ]
    assert log["predicted_minutes"].tolist() == [one["predicted_minutes"] for one in answer["predictions"]]
    assert pd.read_parquet(tmp_path / "data/labels.parquet")["minutes"].tolist() == [9.5]


def test_probabilities_are_logged_where_the_config_asks(tmp_path: Path) -> None:
    """One column for each category, as answered; parts from before stay readable, and have none."""
    before = tips()
    folder, data = tmp_path, tmp_path / "data"
    with running(settings(data, lay_down(folder, before, CLASSIFIER))) as app:
        app.test_client().post("/predict", json={"features": ROW})
    config = tips(model=before.model.model_dump() | {"probabilities": True})
    with running(settings(data, lay_down(folder, config, CLASSIFIER))) as app:
        app.config["DATA"] = data
        answer = app.test_client().post("/predict", json={"features": ROW}).json
        service_of(app).predictions.seal()
    columns = list(config.model.probability_columns)
    assert columns == [f"probability_{name}" for name in config.model.categories]
    older, newer = read_rows(Layout(data), config.model, Window(rows=10)).table.to_pylist()
    assert newer["prediction_id"] == answer["prediction_id"]
    assert [newer[name] for name in columns] == [answer["probabilities"][name] for name in config.model.categories]
    assert [older[name] for name in columns] == [None] * len(columns)
    parts = [pd.read_parquet(part) for part in (data / "current.parquet").glob("*.parquet")]
    assert sorted(set(columns) <= set(part.columns) for part in parts) == [False, True]
