"""Prefect, MLflow, the flows and the trigger as real processes, for the tests that look at the loop's second half."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import requests

from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference, read_reference, write_reference
from tests.processes import ROOT, answers, eventually, free_port, process
from tests.unit.flows_fixtures import draw_wine
from tests.unit.models import write_config

TOKEN = "a-token-for-tests"
COOLDOWN = 12.0
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


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
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # as in the stack; it starts nine more processes
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

        return dict(eventually(f"the end of flow run {run_id}", look, 120))

    def artifact(self, run_id: str) -> str:
        body = {"artifacts": {"key": {"any_": ["retrain-comparison"]}, "flow_run_id": {"any_": [run_id]}}}
        return str(requests.post(f"{self.prefect}/artifacts/filter", json=body, timeout=10).json()[0]["data"])

    def log_of(self, run_id: str) -> str:
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        lines = requests.post(f"{self.prefect}/logs/filter", json=body, timeout=10).json()
        return "\n".join(line["message"] for line in lines)

    def version_of(self, model: str, alias: str) -> str | None:
        answer = self.registry("registered-models/alias", name=model, alias=alias)
        return str(answer.json()["model_version"]["version"]) if answer.ok else None

    def tags(self, model: str, version: str) -> dict[str, str]:
        found = self.registry("model-versions/get", name=model, version=version).json()["model_version"]["tags"]
        return {tag["key"]: tag["value"] for tag in found}

    def registry(self, path: str, **parameters: str) -> requests.Response:
        return requests.get(f"{self.mlflow}/api/2.0/mlflow/{path}", params=parameters, timeout=10)

    def run_flow(self, flow: str, *alerts: dict[str, Any], **variables: str) -> dict[str, Any]:
        """Run a flow without a runner, once for each alert or without one, and return its newest run."""
        calls = [f"{flow}({alert!r}, return_state=True)" for alert in alerts] or [f"{flow}(return_state=True)"]
        self.execute("\n".join([f"from flows.{flow} import {flow}", *calls]), **variables)
        return self.newest_run(flow)

    def execute(self, code: str, ends: int = 0, **variables: str) -> None:
        """Run Python code in the environment of the flows; fail if it ends with another code."""
        command, environment = [sys.executable, "-c", code], self.environment(**variables)
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, timeout=200)
        assert done.returncode == ends, done.stderr.decode()


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Run a Prefect server and an MLflow server, each on SQLite in the folder."""
    prefect_port, mlflow_port = free_port(), free_port()
    found = Servers(f"http://127.0.0.1:{prefect_port}/api", f"http://127.0.0.1:{mlflow_port}", folder)
    prefect = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port)]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
    mlflow = [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(mlflow_port)]
    prefect_log, mlflow_log = folder / "prefect.log", folder / "mlflow.log"
    environment = found.environment()
    with ExitStack() as stack:
        first = stack.enter_context(
            process(prefect, prefect_log, {**environment, "PREFECT_HOME": str(folder / "prefect")})
        )
        second = stack.enter_context(process([*mlflow, "--workers", "1"], mlflow_log, environment))
        eventually("Prefect's start", answers(f"{found.prefect}/health", first, prefect_log), 120)
        eventually("MLflow's start", answers(f"{found.mlflow}/health", second, mlflow_log), 120)
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

    def notify(self, group: str, name: str = "ModelDrift", action: str = "retrain") -> dict[str, Any]:
        alert = {
            "status": "firing",
            "labels": {"alertname": name, "action": action},
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

        return dict(eventually("a run after the cooldown", look, 120))


@contextmanager
def serving(servers: Servers, folder: Path, name: str, **retrain: Any) -> Iterator[Loop]:
    """Run `python -m flows serve` and `python -m flows.trigger`, with a user's reference that has no predictions."""
    config_path = write_config(folder, name, **retrain)
    layout, config = Layout(folder / "data"), load_config(config_path)
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
    deployment = f"{servers.prefect}/deployments/name/rollback/on-alert"
    with ExitStack() as stack:
        trigger = stack.enter_context(process([sys.executable, "-m", "flows.trigger"], trigger_log, environment))
        flows = stack.enter_context(process([sys.executable, "-m", "flows", "serve"], flows_log, environment))
        eventually("the trigger's start", answers(f"{found.trigger}/ready", trigger, trigger_log), 120)
        served = '"event": "serving"'
        eventually("the bootstrap", lambda: flows.poll() is not None or served in flows_log.read_text(), 120)
        eventually("the deployment", answers(deployment, flows, flows_log), 120)
        yield found


def write_user_reference(layout: Layout, config: Config) -> None:
    """Write 300 rows, the first 20 of them without a label, none with a prediction."""
    rows = draw_wine(300)
    truths = [None if i < 20 else name for i, name in enumerate(rows["truth"].to_pylist())]
    rows = rows.set_column(4, "truth", pa.array(truths, pa.string()))
    write_reference(layout, config.model, rows.append_column("guess", pa.nulls(300, pa.string())), origin="user")


def now() -> int:
    return time.time_ns() // 1000
