"""Trigger, flows, Prefect and MLflow together, as real processes: from a notification to a re-based reference."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import requests
import yaml

from monitoring.history import read_history
from monitoring.schema import Config, load_config
from monitoring.store import Layout, Reference, read_reference, write_reference
from tests.unit.flows_fixtures import draw_wine, write_config, write_log

pytestmark = pytest.mark.timeout(500)

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-tests"
COOLDOWN = 12.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def eventually(what: str, look: Callable[[], Any], seconds: float = 120) -> Any:
    """Look until there is something; fail naming what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class Servers:
    """Where the servers answer, and the environment that the flows run in."""

    prefect: str
    mlflow: str
    folder: Path

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            **os.environ,
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_TRACKING_URI": self.mlflow,
            "PREFECT_API_URL": self.prefect,
            "PREFECT_HOME": str(self.folder / "prefect-client"),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            **variables,
        }

    def newest_run(self, flow: str) -> dict[str, Any]:
        body = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
        return dict(requests.post(f"{self.prefect}/flow_runs/filter", json=body, timeout=10).json()[0])

    def ended_run(self, run_id: str) -> dict[str, Any]:
        def look() -> Any:
            run = requests.get(f"{self.prefect}/flow_runs/{run_id}", timeout=10).json()
            return run if run["state_type"] in ENDED else None

        return dict(eventually(f"the end of flow run {run_id}", look))

    def artifact(self, run_id: str) -> str:
        body = {"artifacts": {"key": {"any_": ["retrain-comparison"]}, "flow_run_id": {"any_": [run_id]}}}
        return str(requests.post(f"{self.prefect}/artifacts/filter", json=body, timeout=10).json()[0]["data"])

    def version_of(self, model: str, alias: str) -> str | None:
        answer = self.registry("registered-models/alias", name=model, alias=alias)
        return str(answer.json()["model_version"]["version"]) if answer.ok else None

    def tags(self, model: str, version: str) -> dict[str, str]:
        found = self.registry("model-versions/get", name=model, version=version).json()["model_version"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    def registry(self, path: str, **parameters: str) -> requests.Response:
        return requests.get(f"{self.mlflow}/api/2.0/mlflow/{path}", params=parameters, timeout=10)

    def run_flow(self, flow: str, **variables: str) -> dict[str, Any]:
        """Run a flow without a runner, and return its run."""
        call = f"from flows.{flow} import {flow}; {flow}(return_state=True)"
        command = [sys.executable, "-c", call]
        environment = self.environment(**variables)
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=200)
        return self.newest_run(flow)


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose output goes to a file; end it with the block."""
    with log.open("wb") as file:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def answers(url: str, child: subprocess.Popen[bytes], log: Path) -> Callable[[], bool]:
    def look() -> bool:
        assert child.poll() is None, log.read_text()
        try:
            return requests.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    return look


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A Prefect server and an MLflow server, each on SQLite in a folder of its own."""
    folder = tmp_path_factory.mktemp("servers")
    prefect_port, mlflow_port = free_port(), free_port()
    found = Servers(f"http://127.0.0.1:{prefect_port}/api", f"http://127.0.0.1:{mlflow_port}", folder)
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port)]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    mlflow = [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(mlflow_port)]
    prefect_log, mlflow_log = folder / "prefect.log", folder / "mlflow.log"
    environment = found.environment()
    with ExitStack() as stack:
        first = stack.enter_context(
            process(prefect, {**environment, "PREFECT_HOME": str(folder / "prefect")}, prefect_log)
        )
        second = stack.enter_context(process([*mlflow, "--workers", "1"], environment, mlflow_log))
        eventually("Prefect's start", answers(f"{found.prefect}/health", first, prefect_log))
        eventually("MLflow's start", answers(f"{found.mlflow}/health", second, mlflow_log))
        yield found


@dataclass(frozen=True)
class Loop:
    """A served deployment with its trigger, on the wine model."""

    servers: Servers
    trigger: str
    layout: Layout
    config: Config
    config_path: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"DATA_DIR": str(self.layout.root), "DRIFTLOOP_CONFIG": str(self.config_path)}

    def reference(self) -> Reference:
        return read_reference(self.layout, self.config.model)

    def notify(self, group: str) -> dict[str, Any]:
        alert = {
            "status": "firing",
            "labels": {"alertname": "ModelDrift", "action": "retrain"},
            "startsAt": "2026-11-23T13:00:00Z",
            "fingerprint": "c0ffee",
        }
        answer = requests.post(
            f"{self.trigger}/alerts",
            json={"version": "4", "groupKey": group, "alerts": [alert]},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def notify_until_accepted(self, group: str) -> dict[str, Any]:
        """Repeat a notification, as Alertmanager does, until the cooldown lets it through."""

        def look() -> dict[str, Any] | None:
            answer = self.notify(group)
            return answer if answer["outcome"] == "accepted" else None

        return dict(eventually("a run after the cooldown", look))


@pytest.fixture(scope="module")
def loop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """`python -m flows serve` and `python -m flows.trigger`, with a user's reference that has no predictions."""
    folder = tmp_path_factory.mktemp("loop")
    layout, config_path = Layout(folder / "data"), write_config(folder)
    config = load_config(config_path)
    write_user_reference(layout, config)
    port, token = free_port(), folder / "token"
    token.write_text(TOKEN)
    found = Loop(servers, f"http://127.0.0.1:{port}", layout, config, config_path)
    variables = {
        **found.variables,
        "TRIGGER_PORT": str(port),
        "TRIGGER_COOLDOWN_SECONDS": str(COOLDOWN),
        "TRIGGER_POLL_SECONDS": "1",
        "WEBHOOK_TOKEN_FILE": str(token),
    }
    environment = servers.environment(**variables)
    flows_log, trigger_log = folder / "flows.log", folder / "trigger.log"
    deployment = f"{servers.prefect}/deployments/name/retrain/on-alert"
    with ExitStack() as stack:
        trigger = stack.enter_context(process([sys.executable, "-m", "flows.trigger"], environment, trigger_log))
        flows = stack.enter_context(process([sys.executable, "-m", "flows", "serve"], environment, flows_log))
        eventually("the trigger's start", answers(f"{found.trigger}/ready", trigger, trigger_log))
        eventually("the deployment", answers(deployment, flows, flows_log))
        yield found


def write_user_reference(layout: Layout, config: Config) -> None:
    """Write 300 rows, the first 20 of them without a label, none with a prediction."""
    rows = draw_wine(300)
    truths = [None if i < 20 else name for i, name in enumerate(rows["truth"].to_pylist())]
    rows = rows.set_column(4, "truth", pa.array(truths, pa.string()))
    write_reference(layout, config.model, rows.append_column("guess", pa.nulls(300, pa.string())), origin="user")


def now() -> int:
    return time.time_ns() // 1000


def test_bootstrap_publishes_a_champion_and_fills_the_reference(loop: Loop) -> None:
    """The user's rows stay as they are and get predictions; the model is fetched as the API fetches it."""
    servers, reference = loop.servers, loop.reference()
    assert servers.newest_run("bootstrap")["state_name"] == "Promoted"
    assert servers.version_of("wine", "champion") == "1"
    assert (reference.origin, reference.model_version, reference.through) == ("user", "1", None)
    assert reference.table["acidity"].to_pylist() == draw_wine(300)["acidity"].to_pylist()
    assert reference.table["truth"].null_count == 20
    assert reference.table["guess"].null_count == 0
    guesses, truths = (np.array(reference.table[c].to_pylist()[20:]) for c in ("guess", "truth"))
    assert np.mean(guesses == truths) > 0.9

    uri = servers.registry("model-versions/get-download-uri", name="wine", version="1").json()["artifact_uri"]
    path = uri.removeprefix("mlflow-artifacts:/")
    model = requests.get(f"{servers.mlflow}/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx", timeout=10)
    session = onnxruntime.InferenceSession(model.content, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"]) == ["red", "white"]
    assert json.loads(properties["features"]) == list(loop.config.model.features)
    labels, probabilities = session.run(["label", "probabilities"], {"features": np.full((2, 4), np.nan, np.float32)})
    assert (len(labels), probabilities.shape) == (2, (2, 2))


def test_second_bootstrap_changes_nothing(loop: Loop) -> None:
    """A restart finds everything in place."""
    before = loop.layout.reference.read_bytes()
    run = loop.servers.run_flow("bootstrap", **loop.variables)
    assert run["state_name"] == "Ready"
    assert loop.layout.reference.read_bytes() == before
    assert loop.servers.version_of("wine", "champion") == "1"


def test_alert_that_keeps_firing_is_known_then_held_then_tried_again_until_it_promotes(loop: Loop) -> None:
    """Too few labels end the first run without a candidate; with labels the repeated alert brings a champion."""
    servers, before = loop.servers, loop.reference()
    first = loop.notify("drift")
    assert first["outcome"] == "accepted"
    assert loop.notify("drift") == {**first, "outcome": "known"}
    ended = servers.ended_run(first["flow_run_id"])
    assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "TooFewLabels")
    assert "100 labelled rows are needed" in ended["state"]["message"]
    assert "Too few labels" in servers.artifact(ended["id"])
    assert servers.version_of("wine", "champion") == "1"
    held = loop.notify("drift")
    assert held["outcome"] == "cooldown"
    assert held["until"] > ended["end_time"]
    assert loop.notify("another alert")["outcome"] == "cooldown"

    write_log(loop.layout, loop.config, draw_wine(200, seed=1), start=now() - 900_000_000)
    _, newest = write_log(loop.layout, loop.config, draw_wine(400, shift=6, seed=2), start=now(), labels="late")
    second = loop.notify_until_accepted("drift")
    assert second["flow_run_id"] != first["flow_run_id"]
    ended = servers.ended_run(second["flow_run_id"])
    assert (ended["state_name"], ended["state_type"]) == ("Promoted", "COMPLETED"), ended["state"]["message"]

    assert servers.version_of("wine", "champion") == "2"
    assert servers.version_of("wine", "previous") == "1"
    tags = servers.tags("wine", "2")
    assert tags["gate"] == "passed"
    assert tags["flow_run_id"] == ended["id"]
    assert json.loads(tags["alert"])["alerts"][0]["fingerprint"] == "c0ffee"
    assert tags["reference_digest"] == before.digest
    assert json.loads(tags["log_parts"])["count"] == 1
    assert tags["promoted_at"] > ended["start_time"][:19]
    after = loop.reference()
    assert (after.origin, after.model_version, after.through) == ("rebased", "2", newest)
    assert after.table["acidity"].to_pylist() == draw_wine(400, shift=6, seed=2)["acidity"].to_pylist()
    assert np.mean(np.array(after.table["guess"].to_pylist()) == np.array(after.table["truth"].to_pylist())) > 0.9
    assert (loop.layout.root / "_references" / f"{before.digest}.parquet").exists()
    report = servers.artifact(ended["id"])
    assert "| accuracy |" in report
    assert "/#/models/wine/versions/2" in report
    newest, short, first = read_history(loop.layout)
    assert (newest.outcome, newest.flow_run_id, newest.version) == ("Promoted", ended["id"], "2")
    assert newest.asked is not None
    assert newest.asked.name == "ModelDrift"
    assert newest.champion is not None
    assert newest.candidate is not None
    assert newest.candidate.accuracy > newest.champion.accuracy
    assert newest.reference_digest == after.digest
    assert (short.outcome, short.version, short.reference_digest) == ("TooFewLabels", "1", before.digest)
    assert (first.flow, first.outcome, first.version) == ("bootstrap", "Promoted", "1")


def test_the_trigger_exports_the_runs_and_the_versions(loop: Loop) -> None:
    """What the real servers said last: the promotion, how long it took, and what the candidate measured."""

    def look() -> dict[str, float] | None:
        text = requests.get(f"{loop.trigger}/metrics", timeout=10).text
        found = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
        both = ('mlflow_champion_version{model="wine"}', 'flow_last_run_outcome{flow="retrain",outcome="Promoted"}')
        return found if [found.get(name) for name in both] == [2, 1] else None

    found = eventually("the promotion in the trigger's metrics", look)
    assert found['flow_runs{flow="retrain",state="COMPLETED"}'] == 2
    assert found['flow_runs_waiting{flow="retrain"}'] == 0
    assert 0 < found['flow_last_run_duration_seconds{flow="retrain"}'] < 200
    assert found['mlflow_model_versions{model="wine"}'] == 2
    assert found['mlflow_version_alias{alias="previous",model="wine",version="1"}'] == 1
    created = found['mlflow_version_created_timestamp_seconds{gate="passed",model="wine",version="2"}']
    assert created <= found['flow_last_success_timestamp_seconds{flow="retrain"}']
    assert found['mlflow_version_metric{metric="candidate_accuracy",model="wine",version="2"}'] > 0.9
    assert found['upstream_up{service="prefect"}'] == found['upstream_up{service="mlflow"}'] == 1


def test_gate_refuses_a_candidate_that_gains_too_little(loop: Loop, tmp_path: Path) -> None:
    """It is registered for people to look at, and neither alias nor reference moves."""
    champion, before = loop.servers.version_of("wine", "champion"), loop.reference()
    write_log(loop.layout, loop.config, draw_wine(300, shift=6, seed=3), start=now(), writer="gate")
    strict = write_config(tmp_path, minimum_gain=0.9)
    run = loop.servers.run_flow("retrain", **{**loop.variables, "DRIFTLOOP_CONFIG": str(strict)})
    assert run["state_name"] == "NotPromoted", run["state"]["message"]
    candidate = str(int(champion or 0) + 1)
    assert loop.servers.tags("wine", candidate)["gate"] == "refused"
    assert loop.servers.version_of("wine", "champion") == champion
    assert loop.reference().digest == before.digest
    assert f"refused version {candidate}" in loop.servers.artifact(run["id"])


def test_run_after_one_that_was_cut_off_completes_its_publication(loop: Loop) -> None:
    """The alias had moved and the reference had not: the next run puts it into its place."""
    champion = loop.servers.version_of("wine", "champion")
    staged = Layout(loop.layout.root / "_references" / f"_next-{champion}")
    rows = draw_wine(50, seed=9)
    rows = rows.append_column("guess", rows["truth"])
    write_reference(staged, loop.config.model, rows, origin="rebased", model_version=champion, through=5)
    run = loop.servers.run_flow("retrain", **loop.variables)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Rebased")
    assert loop.reference().through == 5
    assert not staged.root.exists()


def test_first_start_without_a_reference_draws_the_sample(servers: Servers, tmp_path: Path) -> None:
    """With the committed config, nothing else is needed; the sample's predictions are honest."""
    run = servers.run_flow("bootstrap", DATA_DIR=str(tmp_path))
    assert run["state_name"] == "Promoted", run["state"]["message"]
    model = load_config(ROOT / "monitoring/config.yml").model
    reference = read_reference(Layout(tmp_path), model)
    assert (reference.origin, reference.model_version) == ("sample", servers.version_of(model.name, "champion"))
    guesses, truths = (np.array(reference.table[c].to_pylist()) for c in (model.prediction, model.target))
    assert 0.4 < np.mean(guesses == truths) < 0.85


def test_changed_features_bring_a_new_version(servers: Servers, tmp_path: Path) -> None:
    """A champion that takes other features than the config is replaced, and is not judged by the former one's rows."""
    path = write_config(tmp_path)
    settings = yaml.safe_load(path.read_text())
    settings["model"]["name"] = "cider"
    path.write_text(yaml.safe_dump(settings))
    config = load_config(path)
    variables = {"DATA_DIR": str(tmp_path / "data"), "DRIFTLOOP_CONFIG": str(path)}
    write_user_reference(Layout(tmp_path / "data"), config)
    servers.run_flow("bootstrap", **variables)
    _, newest = write_log(Layout(tmp_path / "data"), config, draw_wine(30))
    settings["model"]["features"].remove("density")
    path.write_text(yaml.safe_dump(settings))
    run = servers.run_flow("bootstrap", **variables)
    assert run["state_name"] == "Promoted", run["state"]["message"]
    assert servers.version_of("cider", "champion") == "2"
    assert json.loads(servers.tags("cider", "2")["features"]) == ["acidity", "sugar", "alcohol"]
    assert read_reference(Layout(tmp_path / "data"), load_config(path).model).through == newest


def test_reference_that_does_not_fit_stops_the_start(servers: Servers, tmp_path: Path) -> None:
    """`python -m flows serve` exits non-zero with the list of what does not fit, and registers nothing."""
    config = load_config(write_config(tmp_path))
    write_user_reference(Layout(tmp_path), config)
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("sugar", "salt").replace("name: wine", "name: misfit"))
    environment = servers.environment(DATA_DIR=str(tmp_path), DRIFTLOOP_CONFIG=str(path))
    command = [sys.executable, "-m", "flows", "serve"]
    stopped = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert stopped.returncode == 1
    assert "column salt is missing" in stopped.stdout
    assert servers.version_of("misfit", "champion") is None


def test_start_names_the_server_that_it_waits_for(tmp_path: Path, servers: Servers) -> None:
    """With nobody there it says so, and gives up when the time is up."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    environment = servers.environment(DATA_DIR=str(tmp_path), MLFLOW_TRACKING_URI=nowhere, FLOWS_WAIT_SECONDS="1")
    command = [sys.executable, "-m", "flows", "serve"]
    stopped = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert stopped.returncode == 1
    assert f"MLflow did not answer at {nowhere}" in stopped.stdout
