"""The stack under `docker compose`, as its user sees it: the files as they are, the commands of the Makefile."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import requests

from tests.processes import ROOT, eventually

PROJECT = "driftloop-test"
PROMETHEUS = "http://127.0.0.1:9090"
ENDING = ("secrets", "databases")  # services that do their work at each start, and end
PACE = 15  # by which the rules' and the routes' waiting times are divided, as in `make demo`
_WAITS = re.compile(r"^(\s*)(for|scrape_interval|evaluation_interval|group_wait|group_interval|repeat_interval): (\w+)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def paced(source: Path, target: Path) -> Path:
    """Copy a configuration, a file or a folder, with shorter waiting times; containers may read the copy."""
    if source.is_dir():
        target.mkdir()
        for file in source.glob("*_alerts.yml"):
            paced(file, target / file.name)
    else:
        target.write_text("".join(_paced(line) for line in source.read_text().splitlines(keepends=True)))
    target.chmod(0o755 if target.is_dir() else 0o644)
    return target


def _paced(line: str) -> str:
    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[3][:-1]) * _SECONDS[match[3][-1]]
        return f"{match[1]}{match[2]}: {max(1, round(seconds / PACE))}s"

    return _WAITS.sub(shorter, line)


@dataclass(frozen=True)
class Compose:
    """One project; `environment` is what is set beside the process's own."""

    environment: dict[str, str]
    _read: dict[str, dict[str, str]] = field(default_factory=dict)

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository; fail with its output."""
        environment = {**os.environ, "COMPOSE_PROJECT_NAME": PROJECT, **self.environment}
        options = {"capture_output": True, "text": True, "timeout": 900, **options}
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False, **options)
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def compose(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`."""
        return self.run("docker", "compose", *arguments, **options)

    def execute(self, service: str, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's first container."""
        return self.compose("exec", "-T", service, *command, **options)

    def python(self, service: str, code: str, **options: Any) -> str:
        """Run Python in a service's container; return what it prints."""
        return str(self.execute(service, "python", "-c", code, **options).stdout).strip()

    def up(self, *arguments: str) -> str:
        """`make up`; return what it prints."""
        return self.run("scripts/up", *arguments).stdout

    def down(self) -> None:
        """`make down`."""
        self.compose("--profile", "demo", "down", "--remove-orphans")

    def services(self) -> list[str]:
        """Name the services that have containers, but for those that end."""
        return sorted({c["Config"]["Labels"]["com.docker.compose.service"] for c in self.lasting()})

    def lasting(self) -> list[dict[str, Any]]:
        """Return what `docker inspect` says of the containers that are to run."""
        return [c for c in self.containers() if c["Config"]["Labels"]["com.docker.compose.service"] not in ENDING]

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Return what `docker inspect` says of the project's containers, or of one service's."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).stdout.split()
        inspected: list[dict[str, Any]] = json.loads(self.run("docker", "inspect", *ids).stdout)
        return inspected

    def unhealthy(self) -> list[str]:
        """Name the containers that are not healthy."""
        return [c["Name"] for c in self.lasting() if c["State"].get("Health", {}).get("Status") != "healthy"]

    def heal(self) -> None:
        """Start what does not run, and wait until all is healthy: what a case begins from, whatever went before it."""
        for stopped in [c["Name"] for c in self.lasting() if not c["State"]["Running"]]:
            self.run("docker", "start", stopped)
        eventually("every container to be healthy", lambda: not self.unhealthy(), 240)

    def situation(self) -> str:
        """Return the containers with their states, the alerts, and the last lines that each service has said."""
        alerts = requests.get(f"{PROMETHEUS}/api/v1/query?query=ALERTS", auth=self.login("prometheus"), timeout=10).text
        listed, said = self.compose("ps", "--all", check=False), self.compose("logs", "--tail", "8", check=False)
        return f"{listed.stdout}\n{alerts}\n{said.stdout}"

    @cached_property
    def key(self) -> dict[str, str]:
        """The header that lets a client write; who may use the engine reads the key where it is handed over."""
        key = self.execute("api", "cat", "/run/secrets/api_key").stdout
        return {"Authorization": f"Bearer {key}"}

    @cached_property
    def prefect_login(self) -> tuple[str, str]:
        """User and password of Prefect's API."""
        return "driftloop", self.execute("prefect-server", "cat", "/run/secrets/prefect_password").stdout

    def login(self, service: str, user: str = "driftloop", secret: str = "") -> tuple[str, str]:
        """User and password of a service, read where it is handed over; `secret` where it is not named after it."""
        return user, self.secrets(service)[secret or f"{service}_password"]

    def secrets(self, service: str) -> dict[str, str]:
        """Return what a service reads, by name."""
        if service not in self._read:
            said = self.execute(service, "sh", "-c", "cd /run/secrets; grep -H '' *").stdout
            self._read[service] = dict(line.split(":", 1) for line in said.splitlines())
        return self._read[service]

    @property
    def mlflow_login(self) -> tuple[str, str]:
        """The account that reads the registry."""
        return self.login("api", "api", "mlflow_api_password")

    def predict(self, rows: int, session: requests.Session | None = None) -> list[str]:
        """Send rows in one request; return their ids."""
        instances = [{"mfcc_1": -100.0 - i, "mfcc_2": 110.0 + i} for i in range(rows)]
        post = (session or requests).post
        answer = post("http://127.0.0.1:5050/predict", json={"instances": instances}, headers=self.key, timeout=30)
        answer.raise_for_status()
        return [one["prediction_id"] for one in answer.json()["predictions"]]

    def logged(self) -> list[str]:
        """Return the id of each row of the log, as often as it stands there for a reader."""
        code = """
from pathlib import Path
import pyarrow.parquet as pq
from monitoring.contract.parts import list_parts

def read():
    parts, _ = list_parts(Path("/data/current.parquet"))
    return [one for part in parts for one in pq.ParquetFile(part.path).read(["prediction_id"])[0].to_pylist()]

while True:
    try:
        print(*read(), sep="\\n")
        break
    except FileNotFoundError:  # merged meanwhile
        continue
"""
        return self.python("monitor", code).split()

    def query(self, expression: str, at: float | None = None) -> float | None:
        """Return the value of a Prometheus expression; None if it has none."""
        parameters: dict[str, Any] = {"query": expression, **({"time": at} if at else {})}
        url, login = f"{PROMETHEUS}/api/v1/query", self.login("prometheus")
        answer = requests.get(url, params=parameters, auth=login, timeout=10)
        result = answer.json()["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def champion(self) -> str:
        """Return the champion's version in the registry."""
        url = "http://127.0.0.1:5000/api/2.0/mlflow/registered-models/alias"
        named = {"name": "genre-classifier", "alias": "champion"}
        answer = requests.get(url, params=named, auth=self.mlflow_login, timeout=10)
        return str(answer.json()["model_version"]["version"])

    def flow_runs(self) -> dict[str, str]:
        """Return the state of each flow run in Prefect."""
        url = "http://127.0.0.1:4200/api/flow_runs/filter"
        answer = requests.post(url, json={}, auth=self.prefect_login, timeout=10)
        answer.raise_for_status()
        return {run["id"]: run["state_type"] for run in answer.json()}

    @contextmanager
    def simulator(self, *arguments: str) -> Iterator[Callable[[], dict[str, Any]]]:
        """Run the simulator of the profile `demo`; yields what tells its counts."""
        name = f"{PROJECT}-traffic"
        self.compose("--profile", "demo", "build", "--quiet", "simulator")
        self.compose("run", "--detach", "--no-deps", "--name", name, "simulator", *arguments)

        def counts() -> dict[str, Any]:
            lines = self.run("docker", "logs", name).stdout.splitlines()
            told = [json.loads(line) for line in lines if '"sent"' in line]
            return told[-1] if told else {}

        try:
            yield counts
        finally:
            self.run("docker", "rm", "--force", name)
