"""The API beside a real MLflow server: it follows the alias, and does without the server."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pytest
import requests

from tests.processes import answers, eventually, free_port
from tests.unit.answer_order import Change, asking, require_no_way_back
from tests.unit.api_fixtures import features_of, gunicorn, onnx_model
from tests.unit.models import GENRES

pytestmark = pytest.mark.timeout(600)


class MLflow:
    """A real MLflow server with SQLite, on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        switches = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, **switches, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        eventually("MLflow to answer", answers(f"{self.url}/health", self._process, self._folder / "mlflow.log"), 120)

    def stop(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, 15)
            self._process.wait(30)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[MLflow]:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    server = MLflow(folder)
    mlflow.set_tracking_uri(server.url)
    try:
        yield server
    finally:
        server.stop()


def register(content: bytes) -> str:
    """Register an ONNX model as the flows do, and return its version."""
    name = GENRES.model.name
    with mlflow.start_run():
        logged = mlflow.onnx.log_model(onnx.load_from_string(content), name="model", registered_model_name=name)
    return str(logged.registered_model_version)


def promote(version: str) -> None:
    mlflow.MlflowClient().set_registered_model_alias(GENRES.model.name, "champion", version)


@pytest.mark.filterwarnings("ignore")  # MLflow's client, not ours
def test_the_champion_is_followed_without_a_failed_request(tmp_path: Path, registry: MLflow) -> None:
    """No model, a first champion, a swap under load, a model that does not fit, and a registry that is gone."""
    model = GENRES.model
    environment = {"MLFLOW_TRACKING_URI": registry.url, "MODEL_POLL_SECONDS": "0.3"}
    with gunicorn(tmp_path / "data", wait_for="/health", **environment) as server:

        def about() -> Any:
            return requests.get(f"{server.url}/model", timeout=10).json()

        assert requests.get(f"{server.url}/ready", timeout=10).status_code == 503
        promote(register(onnx_model(model.features, model.categories, seed=1)))
        eventually("version 1", lambda: about().get("version") == "1")

        def shares() -> Any:
            answer = requests.post(f"{server.url}/predict", json={"features": features_of(GENRES)}, timeout=10)
            return answer.json()["probabilities"]

        former = shares()
        second = register(onnx_model(model.features, model.categories, seed=2))
        with asking([server.url], features_of(GENRES)) as clients:
            changes = [Change(time.monotonic(), "1")]
            clients.wait_for("1")
            changes.append(Change(time.monotonic(), "2"))
            promote(second)
            clients.wait_for("2")
            assert about()["version"] == "2"
            answers = clients.stop()
        assert {answer.status for answer in answers} == {200}
        assert clients.broken == 0
        require_no_way_back(answers, changes)
        present = shares()
        assert present != former

        promote(register(onnx_model(model.features[:3], model.categories)))
        eventually("the refusal", lambda: "version 3: its features" in str(about()["last_poll_error"]))
        assert about()["version"] == "2"
        metrics = requests.get(f"{server.url}/metrics", timeout=10).text
        assert 'api_model_info{version="1"} 0.0' in metrics
        assert 'api_model_info{version="2"} 1.0' in metrics
        assert 'api_model_loads_total{outcome="refused"}' in metrics

        registry.stop()
        server.restart()
        assert about()["version"] == "2"
        assert about()["source"] == "local copy"
        assert shares() == present
