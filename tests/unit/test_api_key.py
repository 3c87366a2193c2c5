"""The API key: who may write, and who is told that everybody may."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from flask import Flask

from api.settings import APISettings
from data.delivery import Delivery
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, keep_champion, running, settings
from tests.unit.models import write_config

KEY = "k3y"


@pytest.fixture
def chosen(tmp_path: Path) -> APISettings:
    config = write_config(tmp_path)
    keep_champion(tmp_path, load_config(config))
    (tmp_path / "key").write_text(f"{KEY}\n")
    return settings(tmp_path, config, api_key_file=tmp_path / "key")


@pytest.fixture
def app(chosen: APISettings) -> Iterator[Flask]:
    with running(chosen) as app:
        yield app


def body(chosen: APISettings) -> dict[str, object]:
    return {"features": features_of(load_config(chosen.driftloop_config))}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": KEY}, id="without the scheme"),
        pytest.param({"Authorization": "Bearer other"}, id="another key"),
        pytest.param({"Authorization": "Bearer k3y-and-more"}, id="longer"),
        pytest.param({"Authorization": "Bearer schlüssel"}, id="not ASCII"),
    ],
)
@pytest.mark.parametrize("path", [pytest.param("/predict", id="predict"), pytest.param("/feedback", id="feedback")])
def test_who_has_no_key_writes_nothing(app: Flask, chosen: APISettings, path: str, headers: dict[str, str]) -> None:
    """Without the key a write is refused by a problem that names the header, and nothing is logged."""
    answer = app.test_client().post(path, json=body(chosen), headers=headers)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.json["field"] == "Authorization"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert not list(chosen.data_dir.glob("current.parquet/_journal*"))


def test_with_the_key_rows_and_labels_are_taken(app: Flask, chosen: APISettings) -> None:
    """The key opens both endpoints that write."""
    client, bearer = app.test_client(), {"Authorization": f"Bearer {KEY}"}
    answer = client.post("/predict", json=body(chosen), headers=bearer)
    assert answer.status_code == 200
    label = {"prediction_id": answer.json["prediction_id"], "truth": "red"}
    assert client.post("/feedback", json=label, headers=bearer).status_code == 200


def test_reading_takes_no_key(app: Flask) -> None:
    """Health, metrics and description are open: they are read by machines inside."""
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/health", "/model", "/metrics", "/openapi.json")] == [200] * 4


def test_the_description_says_what_takes_the_key(app: Flask, chosen: APISettings) -> None:
    """OpenAPI asks for a bearer token on what writes, and on nothing where the key is off."""
    paths = app.test_client().get("/openapi.json").json["paths"]
    assert {path for path, methods in paths.items() for m in methods.values() if "security" in m} == {
        "/predict",
        "/log",
        "/log/cloudevents",
        "/feedback",
    }
    assert "401" in paths["/predict"]["post"]["responses"]
    with running(settings(chosen.data_dir, chosen.driftloop_config)) as open_app:
        assert "securitySchemes" not in open_app.test_client().get("/openapi.json").json["components"]


@pytest.mark.parametrize("content", [pytest.param(None, id="absent"), pytest.param("\n", id="empty")])
def test_a_key_file_that_holds_no_key_stops_the_start(tmp_path: Path, content: str | None) -> None:
    """Whoever asks for a key never runs without one by mistake."""
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"API_KEY_FILE = {path}"):
        APISettings(data_dir=tmp_path, api_key_file=path).read_keys()


def test_the_simulator_sends_the_key(chosen: APISettings) -> None:
    """A delivery with the key gets through, one without is refused for good."""
    data, config = chosen.data_dir / "data", str(chosen.driftloop_config)
    keep_champion(data, load_config(config))
    with gunicorn(data, DRIFTLOOP_CONFIG=config, API_KEY_FILE=str(chosen.api_key_file)) as server:
        assert [delivered(server, key, body(chosen)) for key in (KEY, None)] == [200, 401]
        assert "api_key_off" not in server.log.read_text()


def test_who_runs_without_a_key_is_told(chosen: APISettings) -> None:
    """Without API_KEY_FILE everybody may write, and the log says so once."""
    data, config = chosen.data_dir / "data", str(chosen.driftloop_config)
    keep_champion(data, load_config(config))
    with gunicorn(data, DRIFTLOOP_CONFIG=config) as server:
        assert delivered(server, None, body(chosen)) == 200
        assert server.log.read_text().count("api_key_off") == 1


def delivered(server: Gunicorn, key: str | None, row: dict[str, object]) -> int:
    delivery = Delivery(server.url, Event(), key)
    try:
        answer = delivery.post("/predict", row)
    finally:
        delivery.close()
    assert answer is not None
    return answer.status_code
