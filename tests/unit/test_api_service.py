"""What the API says of itself, and how it starts and fails."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from api.model import ModelRefusedError, Release, copy_path, load, save_copy
from api.routes import RULES
from api.settings import APISettings
from monitoring.contract.errors import ConfigError
from tests.processes import eventually
from tests.unit.api_fixtures import features_of, keep_champion, onnx_model, running, service_of, settings
from tests.unit.models import GENRES, write_config


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    keep_champion(tmp_path, GENRES)
    with running(settings(tmp_path)) as app:
        yield app


def test_health_needs_nothing(tmp_path: Path) -> None:
    """A process without a model lives."""
    with running(settings(tmp_path)) as app:
        assert app.test_client().get("/health").json == {"status": "alive"}


def test_without_a_model_nothing_is_answered_as_if(tmp_path: Path) -> None:
    """No champion yet: /ready, /model and /predict are 503 and say why; /predict says when to come back."""
    with running(settings(tmp_path)) as app:
        client = app.test_client()
        eventually("the registry to be asked", lambda: service_of(app).follower.error)
        for answer in (
            client.get("/ready"),
            client.get("/model"),
            client.post("/predict", json={"features": features_of(GENRES)}),
        ):
            assert answer.status_code == 503
            assert answer.mimetype == "application/problem+json"
            assert "127.0.0.1:9" in answer.json["detail"]
            assert int(answer.headers["Retry-After"]) > 0


def test_ready_when_the_model_serves_and_the_log_takes_rows(app: Flask) -> None:
    """With a model and a warm audio path the service is ready; with a log that cannot be written it is not."""
    client = app.test_client()
    eventually("readiness", lambda: client.get("/ready").status_code == 200, 90)
    folder = service_of(app).predictions.folder
    folder.rmdir()
    folder.write_text("a file in the folder's place")
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert "current.parquet cannot be written" in answer.json["detail"]


def test_a_log_that_refuses_makes_the_request_fail(app: Flask) -> None:
    """An answer of 200 means that the row is in the log: without a log there is none, and the failure is counted."""
    client = app.test_client()
    folder = service_of(app).predictions.folder
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file in the folder's place")
    answer = client.post("/predict", json={"features": features_of(GENRES)})
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert "nothing was logged" in answer.json["detail"]
    assert int(answer.headers["Retry-After"]) > 0
    metrics = client.get("/metrics").text
    assert 'prediction_log_failures_total{stage="append"} 1.0' in metrics
    assert "prediction_log_rows_total 0.0" in metrics
    folder.unlink()
    assert client.post("/predict", json={"features": features_of(GENRES)}).status_code == 200


def test_model_is_described(app: Flask) -> None:
    """/model names what serves, and why the registry could not be followed."""
    eventually("the registry to be asked", lambda: service_of(app).follower.error)
    about = app.test_client().get("/model").json
    assert (about["name"], about["version"], about["source"]) == ("genre-classifier", "3", "local copy")
    assert about["features"] == list(GENRES.model.features)
    assert about["categories"] == list(GENRES.model.categories)
    assert re.match(r"\d{4}-\d\d-\d\dT", about["loaded_at"])
    assert "127.0.0.1:9" in about["last_poll_error"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"no model", "not a readable ONNX model", id="not ONNX"),
        pytest.param(onnx_model(("mfcc_1", "mfcc_2"), GENRES.model.categories), "its features", id="fewer features"),
        pytest.param(
            onnx_model(GENRES.model.features[::-1], GENRES.model.categories), "in this order", id="another order"
        ),
        pytest.param(onnx_model(GENRES.model.features, ("rock", "polka")), "polka", id="an unknown category"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """A local copy that the config does not fit is not served; /ready and the metrics say so."""
    with pytest.raises(ModelRefusedError, match=says):
        load(content, GENRES.model, Release("1", 1), "registry")
    save_copy(tmp_path / "_model", GENRES.model.name, Release("1", 1), content)
    with running(settings(tmp_path)) as app:
        client = app.test_client()
        assert client.get("/model").status_code == 503
        assert 'api_model_loads_total{outcome="refused"} 1.0' in client.get("/metrics").text


def test_a_model_that_lacks_a_category_is_served() -> None:
    """A candidate may have learnt from rows that lack a category; it serves those that it knows."""
    champion = load(onnx_model(GENRES.model.features, ("rock", "pop")), GENRES.model, Release("1", 1), "registry")
    assert champion.categories == ("pop", "rock")


def test_a_damaged_local_copy_is_no_reason_to_stay_down(tmp_path: Path) -> None:
    """The API starts without it and waits for the registry."""
    path = copy_path(tmp_path / "_model", GENRES.model.name)
    path.parent.mkdir()
    path.write_bytes(b"\0\0\0")
    with running(settings(tmp_path)) as app:
        assert app.test_client().get("/health").status_code == 200


def test_openapi_describes_every_endpoint_in_the_configs_words(app: Flask) -> None:
    """Every endpoint but the index is described; features, label and target have the config's names."""
    described = app.test_client().get("/openapi.json").json
    assert described["openapi"].startswith("3.1")
    rules = {(rule.path, rule.method.lower()) for rule in RULES if rule.path != "/"}
    assert {(path, method) for path, methods in described["paths"].items() for method in methods} == rules
    schemas = described["components"]["schemas"]
    assert list(schemas["Features"]["properties"]) == list(GENRES.model.features)
    assert {"genre", "confidence"} <= set(schemas["Prediction"]["properties"])
    assert set(re.findall(r'"#/components/schemas/(\w+)"', app.test_client().get("/openapi.json").text)) <= set(schemas)


def test_openapi_has_audio_only_where_the_config_has(tmp_path: Path) -> None:
    """A model without audio does not promise to take clips."""
    with running(settings(tmp_path, write_config(tmp_path))) as app:
        described = app.test_client().get("/openapi.json").json
    assert list(described["paths"]["/predict"]["post"]["requestBody"]["content"]) == ["application/json"]
    assert "Clip" not in described["components"]["schemas"]


def test_index_lists_the_endpoints(app: Flask) -> None:
    """Who opens the root sees what there is."""
    assert "POST /predict" in app.test_client().get("/").json["endpoints"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nowhere", 404, id="unknown path"),
        pytest.param("GET", "/predict", 405, id="wrong method"),
        pytest.param("DELETE", "/model", 405, id="delete"),
    ],
)
def test_routing_errors_are_problems(app: Flask, method: str, path: str, status: int) -> None:
    """Unknown paths and methods are problem+json too, and are counted."""
    answer = app.test_client().open(path, method=method)
    assert (answer.status_code, answer.mimetype, answer.json["status"]) == (status, "application/problem+json", status)
    assert ("Allow" in answer.headers) == (status == 405)


def test_an_unexpected_error_is_a_logged_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug answers 500 without its inner life, which is in the log, and is counted."""

    def fail() -> str:
        raise RuntimeError("the inner life")

    with running(settings(tmp_path)) as app:
        app.add_url_rule("/bug", "bug", fail)
        answer = app.test_client().get("/bug")
        assert (answer.status_code, answer.json["reason"]) == (500, "internal_error")
        assert "inner life" not in answer.text
        assert "inner life" in capsys.readouterr().out
        assert (
            'api_requests_total{endpoint="bug",method="GET",status="500"} 1.0' in app.test_client().get("/metrics").text
        )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("API_PORT", "many", id="port"),
        pytest.param("PREDICTION_LOG_SEAL_SECONDS", "0", id="seal seconds"),
        pytest.param("MLFLOW_TRACKING_URI", "localhost:5000", id="tracking uri"),
    ],
)
def test_a_bad_setting_stops_the_start(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A bad value is an error that names the variable."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=variable):
        APISettings.read()


def test_a_config_with_a_typo_stops_the_start(tmp_path: Path) -> None:
    """The API does not start on a config that it would misread."""
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("target:", "targte:"))
    with pytest.raises(ConfigError, match=r"targte.*no such key"), running(settings(tmp_path, path)):
        pass


def test_a_worker_takes_the_copy_that_another_has_kept(tmp_path: Path) -> None:
    """A worker that no registry has answered yet serves what its neighbour already does."""
    with running(settings(tmp_path)) as app:
        client = app.test_client()
        assert client.get("/model").status_code == 503
        content = onnx_model(GENRES.model.features, GENRES.model.categories)
        save_copy(tmp_path / "_model", GENRES.model.name, Release("7", 1), content)
        assert client.get("/model").json["version"] == "7"
