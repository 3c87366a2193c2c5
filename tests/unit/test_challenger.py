"""A challenger in the shadow, in the API: it is asked for what the champion has answered, and changes no answer."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from tests.processes import eventually
from tests.unit.api_fixtures import features_of, onnx_model, running, service_of, settings
from tests.unit.models import WINE
from tests.unit.registry_fixtures import Registry, running_registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry


def configure(folder: Path, rollout: str) -> tuple[Path, Config]:
    path = folder / "wine.yml"
    path.write_text(yaml.safe_dump({**WINE, "retrain": {**WINE["retrain"], "rollout": rollout}}))
    return path, load_config(path)


def rows_in(folder: Path) -> list[dict[str, object]]:
    return [row for part in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def test_the_challenger_is_asked_beside_the_champion(registry: Registry, tmp_path: Path) -> None:
    """Its answers are in a log of their own, by the same ids; the client gets the champion's, and loses nothing."""
    path, config = configure(tmp_path, "shadow")
    model, layout = config.model, Layout(tmp_path / "data")
    registry.promote("3", onnx_model(model.features, model.categories))
    given = settings(layout.root, path, mlflow_tracking_uri=registry.url, model_poll_seconds=0.05)
    with running(given) as app:
        client, service = app.test_client(), service_of(app)
        eventually("the champion", lambda: service.follower.serving() is not None)
        assert client.get("/model").json["challenger"] == {"version": None, "rollout": "shadow", "last_error": None}
        assert client.post("/predict", json={"features": features_of(config)}).status_code == 200
        registry.put_on_trial("4", onnx_model(model.features, model.categories, seed=1))
        eventually("the challenger", lambda: client.get("/model").json["challenger"]["version"] == "4")
        asked = [{"features": features_of(config, first)} for first in (0.0, 100.0, 7.0)]
        answer = client.post("/predict", json={"instances": asked}).json["predictions"]
        assert {one["model_version"] for one in answer} == {"3"}
        registry.put_on_trial("5", b"no model")
        eventually("the refusal", lambda: "version 5" in str(client.get("/model").json["challenger"]["last_error"]))
        assert client.post("/predict", json={"features": features_of(config)}).status_code == 200
        registry.challenger = None
        eventually("the end", lambda: client.get("/model").json["challenger"]["last_error"] is None)
        counted = client.get("/metrics").text
    assert 'api_challenger_rows_total{outcome="answered"} 3.0' in counted
    logged = rows_in(layout.shadow)  # type: ignore[arg-type]
    assert [row["prediction_id"] for row in logged] == [one["prediction_id"] for one in answer]
    assert {row["model_version"] for row in logged} == {"4"}
    assert {row[model.prediction] for row in logged} <= set(model.categories)
    times = {row["prediction_id"]: row["timestamp"] for row in rows_in(layout.current)}  # type: ignore[arg-type]
    assert len(times) == 5
    assert all(row["timestamp"] == times[row["prediction_id"]] for row in logged)


def test_one_that_is_slow_or_fails_costs_no_answer(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it cannot keep up with is left out and counted, and what it fails at is logged without an answer."""
    path, config = configure(tmp_path, "shadow")
    model, layout = config.model, Layout(tmp_path / "data")
    registry.promote("3", onnx_model(model.features, model.categories))
    registry.put_on_trial("4", onnx_model(model.features, model.categories, seed=1))
    monkeypatch.setattr("api.challenger.MOST_WAITING", 4)
    given = settings(layout.root, path, mlflow_tracking_uri=registry.url, model_poll_seconds=0.05)
    with running(given) as app:
        client, challenger = app.test_client(), service_of(app).challenger
        assert challenger is not None
        eventually("both", lambda: challenger.serving() and service_of(app).follower.serving())

        def fail(*_: object) -> None:
            time.sleep(0.5)
            raise RuntimeError("broken")

        monkeypatch.setattr(challenger, "_answers", fail)
        started = time.monotonic()
        for _ in range(3):
            body = {"instances": [{"features": features_of(config)}] * 3}
            assert client.post("/predict", json=body).status_code == 200
        assert time.monotonic() - started < 0.5
        eventually("what it failed at", lambda: 'outcome="failed"} 3.0' in client.get("/metrics").text)
        assert 'api_challenger_rows_total{outcome="left_out"} 0.0' not in client.get("/metrics").text
    assert all(row[model.prediction] is None for row in rows_in(layout.shadow))  # type: ignore[arg-type]


def test_without_a_rollout_nobody_asks_for_a_challenger(registry: Registry, tmp_path: Path) -> None:
    """No thread, no log, no metric and no key of /model: the default is as it was."""
    path, config = configure(tmp_path, "direct")
    registry.promote("3", onnx_model(config.model.features, config.model.categories))
    registry.put_on_trial("4", b"never fetched")
    with running(settings(tmp_path / "data", path, mlflow_tracking_uri=registry.url, model_poll_seconds=0.05)) as app:
        client, service = app.test_client(), service_of(app)
        eventually("the champion", lambda: service.follower.serving() is not None)
        assert client.post("/predict", json={"features": features_of(config)}).status_code == 200
        assert service.challenger is None
        assert "challenger" not in client.get("/model").json
        assert "challenger" not in client.get("/metrics").text
        assert "challenger" not in json.dumps(client.get("/openapi.json").json["paths"])
    assert not Layout(tmp_path / "data").shadow.exists()  # type: ignore[union-attr]
