"""The API beside a real MLflow server: it follows the alias, and does without the server."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from flows.registry import versions
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.pyfunc import bundle
from tests.processes import ROOT, answers, eventually, free_port
from tests.unit.answer_order import Change, asking, require_no_way_back
from tests.unit.api_fixtures import features_of, gunicorn, onnx_model
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import GENRES, WINE
from tests.unit.test_pyfunc import logged

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


@pytest.mark.filterwarnings("ignore")  # MLflow's client, not ours
def test_a_pyfunc_is_registered_on_a_server_swapped_and_taken_back(tmp_path: Path, registry: MLflow) -> None:
    """A server asks for the run of a version's source; while models and processes change no request fails."""
    config = tmp_path / "wine.yml"
    config.write_text(yaml.safe_dump({**WINE, "model": {**WINE["model"], "pyfunc": {"seconds": 30}}}))
    layout, model = Layout(tmp_path / "data"), load_config(config).model
    layout.root.mkdir()
    pq.write_table(draw_wine(300, seed=8), layout.reference)
    environment = {"MLFLOW_TRACKING_URI": registry.url, "DRIFTLOOP_CONFIG": str(config), "MODEL_POLL_SECONDS": "0.3"}
    command = [sys.executable, "-m", "flows", "register", "--pyfunc", "--model", str(logged(tmp_path))]
    told = {**os.environ, **environment, "DATA_DIR": str(layout.root), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "other").mkdir()
    other = bundle(logged(tmp_path / "other", 'pd.DataFrame({"white": white * 0, "red": white * 0 + 1})'))
    second = versions.register(other, model, parameters={}, metrics={}, tags={"origin": "registered"}).version
    with gunicorn(layout.root, wait_for="/health", **environment) as server:

        def answer() -> tuple[str, str]:
            row = dict.fromkeys(model.features, 1.0)
            asked = requests.post(f"{server.url}/predict", json={"features": row}, timeout=30)
            assert asked.status_code == 200, asked.text
            found = asked.json()
            return found["model_version"], found[model.label]

        def serves(version: str) -> Callable[[], bool]:
            return lambda: answer()[0] == version

        eventually("a model", lambda: requests.get(f"{server.url}/ready", timeout=30).status_code == 200, 60)
        assert answer()[0] == "1"
        registered = mlflow.MlflowClient().set_registered_model_alias
        registered(model.name, "champion", second)
        eventually("version 2", serves(second), 60)
        assert answer() == (second, "red")
        registered(model.name, "champion", "1")
        eventually("version 1 again", serves("1"), 60)
