"""POST /predict with JSON."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flask import Flask
from flask.testing import FlaskClient

from api.validation import MAX_INSTANCES
from monitoring.contract.config_file import load_config
from tests.unit.api_fixtures import features_of, keep_champion, running, service_of, settings
from tests.unit.models import GENRES, write_config

FEATURES = features_of(GENRES)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    data = tmp_path_factory.mktemp("predict") / "data"
    keep_champion(data, GENRES)
    with running(settings(data)) as app:
        app.config["DATA"] = data
        yield app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def logged(app: Flask) -> pd.DataFrame:
    """Seal, and read the log as a user would."""
    service_of(app).predictions.seal()
    return pd.read_parquet(app.config["DATA"] / "current.parquet").set_index("prediction_id")


def test_single_row_is_answered_and_logged(app: Flask, client: FlaskClient) -> None:
    """The answer holds a prediction; the log holds the same under its id, with the features that were sent."""
    answer = client.post("/predict", json={"features": FEATURES, "actual_genre": "rock"}).json
    assert answer["genre"] in GENRES.model.categories
    assert answer["confidence"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["genre"]]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    row = logged(app).loc[answer["prediction_id"]]
    assert row[list(FEATURES)].astype(float).to_dict() == FEATURES
    assert row["predicted_genre"] == answer["genre"]
    assert row["confidence"] == pytest.approx(answer["confidence"])
    assert row["model_version"] == answer["model_version"] == "3"
    assert row["actual_genre"] == "rock"


@pytest.mark.parametrize("nested", [pytest.param(True, id="bodies"), pytest.param(False, id="bare features")])
def test_batch_keeps_the_order(app: Flask, client: FlaskClient, *, nested: bool) -> None:
    """Predictions come in the order of the instances, each with its own id and label."""
    rows = [features_of(GENRES, first) for first in (0.0, 100.0, 200.0)]
    labels = ["rock", None, "pop"]
    instances = [
        {"features": row, "actual_genre": label} if nested else {**row, "actual_genre": label}
        for row, label in zip(rows, labels, strict=True)
    ]
    predictions = client.post("/predict", json={"instances": instances}).json["predictions"]
    log = logged(app).loc[[p["prediction_id"] for p in predictions]]
    assert log["mfcc_1"].tolist() == [0.0, 100.0, 200.0]
    assert log["actual_genre"].astype(object).where(log["actual_genre"].notna(), None).tolist() == labels
    assert log["predicted_genre"].tolist() == [p["genre"] for p in predictions]


def test_batch_of_one_equals_a_single_row(client: FlaskClient) -> None:
    """The same features get the same prediction in either form."""
    single = client.post("/predict", json={"features": FEATURES}).json
    (one,) = client.post("/predict", json={"instances": [FEATURES]}).json["predictions"]
    assert one["probabilities"] == single["probabilities"]
    assert one["prediction_id"] != single["prediction_id"]


@pytest.mark.parametrize(
    "features",
    [
        pytest.param({**FEATURES, "mfcc_4": None}, id="null"),
        pytest.param({k: v for k, v in FEATURES.items() if k != "mfcc_4"}, id="absent"),
    ],
)
def test_missing_value_is_imputed_and_logged_as_null(
    app: Flask, client: FlaskClient, features: dict[str, float | None]
) -> None:
    """A null or absent feature is no reason to refuse a request, and the log does not invent a value."""
    answer = client.post("/predict", json={"features": features})
    assert answer.status_code == 200
    row = logged(app).loc[answer.json["prediction_id"]]
    assert pd.isna(row["mfcc_4"])
    assert row["mfcc_5"] == FEATURES["mfcc_5"]


def test_integers_are_numbers(client: FlaskClient) -> None:
    """A whole number, however it is written, is a number."""
    assert client.post("/predict", json={"features": dict.fromkeys(FEATURES, 16_777_217)}).status_code == 200


BAD: list[Any] = [
    pytest.param("{", 400, None, "not JSON", id="malformed JSON"),
    pytest.param("", 400, None, "not JSON", id="empty body"),
    pytest.param(b"\xff\xfe", 400, None, "not JSON", id="not UTF-8"),
    pytest.param("[" * 100_000, 400, None, "not JSON", id="nested without end"),
    pytest.param("[]", 422, "body", "must be an object", id="a list"),
    pytest.param("{}", 422, "features", "is missing", id="no features"),
    pytest.param('{"features": null}', 422, "features", "must be an object", id="features null"),
    pytest.param('{"features": [1, 2]}', 422, "features", "must be an object", id="features a list"),
    pytest.param('{"features": {}}', 422, "features", "no feature has a value", id="features empty"),
    pytest.param('{"features": {"mfcc_1": null}}', 422, "features", "no feature has a value", id="all null"),
    pytest.param('{"features": {"mfcc_1": 1, "mfcc_14": 1}}', 422, "features.mfcc_14", "no such", id="unknown feature"),
    pytest.param('{"features": {"mfcc_1": "1"}}', 422, "features.mfcc_1", 'not "1"', id="string"),
    pytest.param('{"features": {"mfcc_1": true}}', 422, "features.mfcc_1", "not true", id="boolean"),
    pytest.param('{"features": {"mfcc_1": []}}', 422, "features.mfcc_1", "not a list", id="list"),
    pytest.param('{"features": {"mfcc_1": Infinity}}', 422, "features.mfcc_1", "Infinity", id="infinity"),
    pytest.param('{"features": {"mfcc_1": -Infinity}}', 422, "features.mfcc_1", "-Infinity", id="minus infinity"),
    pytest.param('{"features": {"mfcc_1": NaN}}', 422, "features.mfcc_1", "NaN", id="NaN"),
    pytest.param('{"features": {"mfcc_1": 1e999}}', 422, "features.mfcc_1", "Infinity", id="beyond double"),
    pytest.param('{"features": {"mfcc_1": 3.41e38}}', 422, "features.mfcc_1", "out of range", id="beyond float32"),
    pytest.param('{"features": {"mfcc_1": 1%s}}' % ("0" * 400), 422, "features.mfcc_1", "range", id="huge integer"),
    pytest.param('{"features": {"mfcc_1": 1}, "actual_genre": "polka"}', 422, "actual_genre", "polka", id="no genre"),
    pytest.param('{"features": {"mfcc_1": 1}, "actual_genre": 3}', 422, "actual_genre", "3", id="genre a number"),
    pytest.param('{"features": {"mfcc_1": 1}, "actual_gene": "rock"}', 422, "actual_gene", "allowed are", id="typo"),
    pytest.param('{"features": {"mfcc_1": NaN, "\\ud800": 1}}', 422, "features.mfcc_1", "NaN", id="half a surrogate"),
    pytest.param('{"features": {"mfcc_1": 1, "\\ud800": NaN}}', 422, "features.\ud800", "no such", id="surrogate name"),
    pytest.param('{"instances": []}', 422, "instances", "is empty", id="empty batch"),
    pytest.param('{"instances": {"mfcc_1": 1}}', 422, "instances", "must be a list", id="batch an object"),
    pytest.param('{"instances": [{"mfcc_1": 1}, 7]}', 422, "instances[1]", "not 7", id="instance a number"),
    pytest.param('{"instances": [{"mfcc_1": 1}, {"mfcc_2": "x"}]}', 422, "instances[1].mfcc_2", '"x"', id="in a batch"),
    pytest.param('{"instances": [{"features": {"mfcc_2": "x"}}]}', 422, "instances[0].features.mfcc_2", "x", id="deep"),
    pytest.param('{"instances": [{"mfcc_1": 1}, {}]}', 422, "instances[1]", "no feature", id="instance without values"),
    pytest.param('{"instances": [{"mfcc_1": 1}], "features": {}}', 422, "features", "no place here", id="both forms"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "field", "says"), BAD)
def test_bad_body_is_refused_by_name_and_not_logged(  # noqa: PLR0917 - a case has four parts
    app: Flask, client: FlaskClient, body: str | bytes, status: int, field: str | None, says: str
) -> None:
    """What cannot be used is a 4xx problem that names the field and shows the value; nothing of it is logged."""
    client.post("/predict", json={"features": FEATURES})
    before = len(logged(app))
    answer = client.post("/predict", data=body, content_type="application/json")
    assert answer.mimetype == "application/problem+json"
    assert (answer.status_code, answer.json["status"], answer.json.get("field")) == (status, status, field)
    assert says in answer.json["detail"]
    assert len(logged(app)) == before


def test_values_beyond_the_models_reach_are_refused(client: FlaskClient) -> None:
    """An answer never holds NaN: a model that overflows on a value makes the request a 422."""
    answer = client.post("/predict", json={"features": dict.fromkeys(FEATURES, 3.4e38)})
    assert answer.status_code == 422
    assert answer.json["reason"] == "no_finite_answer"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "text/csv"])
def test_other_content_types_are_refused(client: FlaskClient, content_type: str) -> None:
    """Anything but JSON and multipart is a 415 that says what is taken."""
    answer = client.post("/predict", data="{}", content_type=content_type)
    assert answer.status_code == 415
    assert "application/json or multipart/form-data" in answer.json["detail"]


def test_largest_batch_is_taken_and_one_more_is_not(app: Flask, client: FlaskClient) -> None:
    """100,000 instances are a request; 100,001 are refused by a problem that names the limit."""
    before = len(logged(app))
    row = b'{"mfcc_1":1.5},'
    largest = b'{"instances":[' + (row * MAX_INSTANCES)[:-1] + b"]}"
    answer = client.post("/predict", data=largest, content_type="application/json")
    assert len(answer.json["predictions"]) == MAX_INSTANCES
    one_more = largest.replace(b"[", b"[" + row, 1)
    refused = client.post("/predict", data=one_more, content_type="application/json")
    assert refused.status_code == 413
    assert "100,000" in refused.json["detail"]
    assert refused.json["field"] == "instances"
    assert len(logged(app)) == before + MAX_INSTANCES


@pytest.mark.parametrize(
    "item", [pytest.param(b"{},", id="objects"), pytest.param(b"[],", id="lists"), pytest.param(b"1,", id="numbers")]
)
def test_a_flood_of_items_is_refused_unparsed(client: FlaskClient, item: bytes) -> None:
    """A body of millions of tiny items does not become millions of objects in memory."""
    body = b'{"instances":[' + item * 5_000_000 + b"1]}"
    answer = client.post("/predict", data=body, content_type="application/json")
    assert answer.status_code == 413
    assert answer.json["reason"] == "too_many_rows"


def test_body_over_the_limit_is_refused(client: FlaskClient) -> None:
    """A body of 50 MB is a 413 that names the limit."""
    answer = client.post("/predict", data=io.BytesIO(b" " * 50_000_000), content_type="application/json")
    assert answer.status_code == 413
    assert "45 MB" in answer.json["detail"]


def test_requests_are_counted(app: Flask, client: FlaskClient) -> None:
    """Predictions by genre, batch sizes, refusals by reason and statuses by endpoint are in /metrics."""

    def value(line: str) -> float:
        found = [text for text in client.get("/metrics").text.splitlines() if text.startswith(f"{line} ")]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    genre = client.post("/predict", json={"features": FEATURES}).json["genre"]
    lines = {
        f'api_predictions_total{{genre="{genre}"}}': 2,
        'api_batch_size_bucket{le="1.0"}': 0,
        'api_batch_size_bucket{le="2.0"}': 1,
        'api_requests_total{endpoint="predict",method="POST",status="200"}': 1,
        'api_requests_total{endpoint="predict",method="POST",status="422"}': 1,
        'api_requests_total{endpoint="none",method="other",status="404"}': 1,
        'api_rejected_requests_total{reason="empty_batch"}': 1,
        'api_request_duration_seconds_count{endpoint="predict"}': 2,
        "prediction_log_rows_total": 2,
    }
    before = {line: value(line) for line in lines}
    client.post("/predict", json={"instances": [FEATURES, FEATURES]})
    client.post("/predict", json={"instances": []})
    client.open("/nowhere", method="BREW")
    assert {line: value(line) - before[line] for line in lines} == lines
    assert value('api_model_info{version="3"}') == 1
    assert value("api_model_version") == 3


def test_another_model_is_a_matter_of_the_config(tmp_path: Path) -> None:
    """Four features of other names and two categories: answers, errors, log and metrics speak that language."""
    data = tmp_path / "data"
    chosen = settings(data, write_config(tmp_path))
    keep_champion(data, load_config(chosen.driftloop_config))
    with running(chosen) as app:
        client, service = app.test_client(), service_of(app)
        row = {"acidity": 1, "sugar": 2.5, "alcohol": None, "density": 0.9}
        answer = client.post("/predict", json={"features": row, "truth": "red"}).json
        assert set(answer["probabilities"]) == {"red", "white"}
        assert answer["colour"] in {"red", "white"}
        assert client.post("/predict", json={"features": {"mfcc_1": 1}}).json["field"] == "features.mfcc_1"
        assert client.post("/predict", json={"features": row, "truth": "blue"}).json["field"] == "truth"
        assert client.post("/predict", data={"file": (io.BytesIO(b"x"), "a.wav")}).status_code == 415
        assert f'api_predictions_total{{colour="{answer["colour"]}"}} 1.0' in client.get("/metrics").text
        service.predictions.seal()
        log = pd.read_parquet(data / "current.parquet")
        assert list(log)[2:6] == ["acidity", "sugar", "alcohol", "density"]
        assert log.loc[0, ["guess", "truth"]].tolist() == [answer["colour"], "red"]
        assert client.get("/ready").status_code == 200
