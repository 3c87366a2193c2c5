"""Run the whole stack as local processes: `python -m scripts.stack`.

The committed Prometheus and Alertmanager configurations name the services as Docker Compose does (`api:5050`). Here
they are rendered into a folder of state with the local addresses, and scripts.local runs the Procfile.
"""

import argparse
import configparser
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from monitoring.contract.config_file import load_config
from monitoring.contract.config_values import parse_duration
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import discard_tree, make_folder
from monitoring.contract.reference import read_reference
from scripts.grafana import PORT as GRAFANA_PORT
from scripts.grafana import Grafana, dashboards_provider, find_grafana
from scripts.make_secrets import USER, web_config
from scripts.owner import claim
from scripts.prometheus_tools import ToolsError, find_tools

ROOT = Path(__file__).resolve().parent.parent
PORTS = {
    "api": 5050,
    "monitor": 8000,
    "trigger": 5080,
    "prometheus": 9090,
    "alertmanager": 9093,
    "prefect": 4200,
    "mlflow": 5000,
}
# No library calls home. Evidently and Prefect's clients heed the first; the others want a switch of their own.
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
# A service's name in the committed configurations, where it differs from its name here.
_COMPOSE_NAMES = {"prefect-server": "prefect", "localhost": "prometheus"}
SECRETS = (
    "alertmanager_password",
    "api_key",
    "grafana_password",
    "mlflow_admin_password",
    "mlflow_api_password",
    "mlflow_flows_password",
    "mlflow_session_key",
    "mlflow_trigger_password",
    "monitor_password",
    "prefect_password",
    "prometheus_password",
)
_LOGINS = {"basic_auth", "basicAuth", "basicAuthUser", "secureJsonData"}  # Prometheus' and Grafana's names
_TIMES = {"for", "scrape_interval", "evaluation_interval", "group_wait", "group_interval", "repeat_interval"}


class StackError(DriftloopError):
    """The local stack cannot be started."""


@dataclass(frozen=True)
class Stack:
    """Where a local stack keeps its data and state, and on which ports it listens.

    `pace` divides every waiting time of the rules and of the routing: 1 leaves them as they are committed.
    """

    data: Path
    state: Path
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    pace: int = 1
    auth: bool = False  # ask for passwords and the API's key, as in containers
    grafana: Grafana | None = None  # beside the others, on the port `grafana`

    @property
    def secrets(self) -> Path:
        """Return the folder of passwords and keys, which are made where `auth` is on."""
        return self.state / "secrets"

    def url(self, service: str) -> str:
        """Return a service's address."""
        return f"http://127.0.0.1:{self.ports[service]}"

    def environment(self) -> dict[str, str]:
        """Return what the processes of the Procfile read."""
        tools = find_tools()
        path = os.pathsep.join([str(Path(sys.executable).parent), str(tools.prometheus.parent), os.environ["PATH"]])
        local = {
            **QUIET,
            **{f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()},
            **{f"{name.upper()}_URL": self.url(name) for name in ("api", "prometheus", "alertmanager")},
            "PREFECT_UI_URL": self.url("prefect"),
            "MLFLOW_UI_URL": self.url("mlflow"),
            "PREFECT_API_URL": f"{self.url('prefect')}/api",
            "MLFLOW_TRACKING_URI": self.url("mlflow"),
            "DATA_DIR": str(self.data),
            "STATE_DIR": str(self.state),
            "WEBHOOK_TOKEN_FILE": str(self.state / "webhook_token"),
            "TMPDIR": str(self.state / "tmp"),
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_SERVER_METRICS_ENABLED": "true",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(_both_names(self.url("prefect"))),
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",  # the models are small; threads of several processes would wait for each other
            "PATH": path,
        }
        local["AUTH"] = "true" if self.auth else ""
        return {**os.environ, **local, **(self._logins() if self.auth else {}), **self._grafana()}

    def _grafana(self) -> dict[str, str]:
        told = {"GRAFANA_HOME": str(self.grafana.home) if self.grafana else ""}  # scripts.local starts it by this
        if self.grafana:
            password = (self.secrets / "grafana_password").read_text() if self.auth else None
            told |= self.grafana.environment(self.state / "grafana", self.ports["grafana"], password)
        return told

    def _logins(self) -> dict[str, str]:
        """Return what the processes ask for, and what they send to each other."""
        prefect = f"{USER}:{(self.secrets / 'prefect_password').read_text()}"
        return {
            "API_KEY_FILE": str(self.secrets / "api_key"),
            "MONITOR_PASSWORD_FILE": str(self.secrets / "monitor_password"),
            "PROMETHEUS_PASSWORD_FILE": str(self.secrets / "prometheus_password"),
            "PREFECT_SERVER_API_AUTH_STRING": prefect,
            "PREFECT_API_AUTH_STRING": prefect,
            "MLFLOW_AUTH_CONFIG_PATH": str(self.state / "basic_auth.ini"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": (self.secrets / "mlflow_session_key").read_text(),
            "MLFLOW_TRACKING_USERNAME": "flows",  # of all processes: whoever runs one reads the secrets of all
            "MLFLOW_TRACKING_PASSWORD_FILE": str(self.secrets / "mlflow_flows_password"),
        }

    def claim(self) -> list[int]:
        """Take data and state for this stack alone; return the descriptors that hold them, as `scripts.owner` does.

        Raise OwnedError, which names the stack that has one of them.
        """
        return claim({"data": self.data, "state": self.state}, self.ports)

    def prepare(self) -> None:
        """Write the state folder, which is this stack's: webhook token, configurations of what is not ours."""
        make_folder(self.data)
        for folder in ("prometheus/rules", "alertmanager", "prefect", "tmp"):
            make_folder(self.state / folder)
        # Counters of a former run's processes, which may not have had the time to remove them.
        discard_tree(self.state / "api-metrics")
        make_folder(self.state / "api-metrics")
        token = self.state / "webhook_token"
        if not token.exists():
            _write_private(token, secrets.token_urlsafe(32))
        if self.auth:
            self._make_logins()
        self._render(ROOT / "prometheus/prometheus.yml", self.state / "prometheus/prometheus.yml")
        self._render(ROOT / "alertmanager/alertmanager.yml", self.state / "alertmanager/alertmanager.yml")
        shutil.copytree(ROOT / "alertmanager/templates", self.state / "alertmanager/templates", dirs_exist_ok=True)
        for rules in (ROOT / "monitoring/alert_rules").glob("*_alerts.yml"):
            self._render(rules, self.state / "prometheus/rules" / rules.name)
        if self.grafana is not None:
            for file in ("dashboards/driftloop.yml", "datasources/prometheus.yml"):
                make_folder((self.state / "grafana/provisioning" / file).parent)
                self._render(ROOT / "grafana/provisioning" / file, self.state / "grafana/provisioning" / file)

    def _make_logins(self) -> None:
        """Make the secrets that are missing, and the configurations that ask for them."""
        make_folder(self.secrets)
        made = {name: self._secret(name) for name in SECRETS}
        try:
            for server in ("prometheus", "alertmanager"):
                _write_private(self.secrets / f"{server}_web", web_config(made[f"{server}_password"].encode()).decode())
        except OSError as error:
            raise StackError(f"AUTH needs a C library with bcrypt: {error}") from error
        accounts = configparser.ConfigParser()
        accounts.read(ROOT / "flows/basic_auth.ini")
        database = f"sqlite:///{self.state}/mlflow_auth.db"
        accounts["mlflow"]["database_uri"] = database.replace("%", "%%")
        with (self.state / "basic_auth.ini").open("w", encoding="utf-8") as file:
            accounts.write(file)

    def _secret(self, name: str) -> str:
        path = self.secrets / name
        if not path.exists():
            _write_private(path, secrets.token_hex(32))
        return path.read_text(encoding="ascii")

    def _render(self, source: Path, target: Path) -> None:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        if "scrape_configs" in content:
            content["scrape_configs"] = self._local_jobs(content["scrape_configs"])
        if "providers" in content:
            content = dashboards_provider(content)
        text = yaml.safe_dump(self._localised(content), sort_keys=False, width=1000)
        target.write_text(text, encoding="utf-8")

    def _local_jobs(self, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out jobs that run in containers alone; name the targets that are found in DNS there."""
        local = [job for job in jobs if job["job_name"] in self.ports]
        for job in local:
            if found := job.pop("dns_sd_configs", None):
                job["static_configs"] = [
                    {"targets": [f"{name}:{one['port']}" for one in found for name in one["names"]]}
                ]
        return local

    def _localised(self, node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            asked = {k: v for k, v in node.items() if self.auth or k not in _LOGINS}
            return {k: self._localised(v, k) for k, v in asked.items()}
        if isinstance(node, list):
            return [self._localised(v, key) for v in node]
        if key in {"credentials_file", "password_file", "basicAuthPassword"}:  # the last is `$__file{path}`
            return str(node).replace("/run/secrets", str(self.state if key == "credentials_file" else self.secrets))
        if key in _TIMES:
            return f"{max(1, round(parse_duration(node).total_seconds() / self.pace))}s"
        if key in {"targets", "url"}:
            return re.sub(r"([a-z][a-z-]*):(\d{4})\b", self._local_address, node)
        return node

    def _local_address(self, match: re.Match[str]) -> str:
        service = _COMPOSE_NAMES.get(match[1], match[1])
        return f"127.0.0.1:{self.ports[service]}" if service in self.ports else match[0]

    def require_free_ports(self) -> None:
        """Raise StackError that names each port that is taken."""
        taken = []
        for name, port in self.ports.items():
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    taken.append(f"{port} ({name}: set {name.upper()}_PORT to another)")
        if taken:
            raise StackError(f"already in use on 127.0.0.1: {', '.join(taken)}")

    def command(self) -> list[str]:
        """Return the command that runs the Procfile in the foreground."""
        return [sys.executable, "-m", "scripts.local"]


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="ascii")


def _both_names(url: str) -> tuple[str, str]:
    """Return a local address by both names that a person may type."""
    return url, url.replace("127.0.0.1", "localhost")


def ports_from_environment(*, grafana: bool = False) -> dict[str, int]:
    """Return the ports, each the default or what <NAME>_PORT says; Grafana's only where it is started."""
    ports = {}
    for name, default in (PORTS | ({"grafana": GRAFANA_PORT} if grafana else {})).items():
        value = os.environ.get(f"{name.upper()}_PORT", str(default))
        if not value.isdigit() or not 0 < int(value) < 1 << 16:
            raise StackError(f"{name.upper()}_PORT = {value!r}: takes a port number from 1 to 65535")
        ports[name] = int(value)
    return ports


def auth_from_environment() -> bool:
    """Return whether AUTH asks for passwords; raise StackError where it is neither true nor false."""
    value = os.environ.get("AUTH", "").lower()
    if value not in ("", "true", "false"):
        raise StackError(f"AUTH = {value!r}: takes true or false")
    return value == "true"


def require_usable(data: Path) -> None:
    """Raise ConfigError or InvalidReferenceError now, with all that is wrong, and not a service at a time later."""
    config = load_config(os.environ.get("DRIFTLOOP_CONFIG", ROOT / "monitoring/config.yml"))
    if Layout(data).reference.exists():
        read_reference(Layout(data), config.model, predicted=False)


def ready(stack: Stack) -> dict[str, str]:
    """Make sure that a stack can run, and take its folders for this process; return the environment of its processes.

    Raise DriftloopError or ToolsError with what is in the way.
    """
    stack.claim()  # held by this process, which is the stack's from the exec on
    stack.require_free_ports()
    require_usable(stack.data)
    stack.prepare()
    return stack.environment()


def become(stack: Stack, environment: Mapping[str, str]) -> NoReturn:
    """Run the stack's processes in the place of this one, Ctrl-C included."""
    command = stack.command()
    os.chdir(ROOT)
    os.execve(command[0], command, environment)  # noqa: S606 - see above


def _say_where(stack: Stack) -> None:
    """Print each service's address, and who may come in."""
    pages = {"the monitor's page": "monitor", "the API": "api", "Prefect": "prefect", "MLflow": "mlflow"}
    pages |= {"Prometheus": "prometheus", "Alertmanager": "alertmanager", "the trigger": "trigger"}
    pages |= {"Grafana": "grafana"} if stack.grafana else {}
    print("Starting; the first start trains a model and takes about a minute. Ctrl-C stops everything.")
    for page, service in pages.items():
        print(f"  {page:<19} {stack.url(service)}")
    if stack.auth:
        print(f"  passwords and the API's key are in {stack.secrets}; the user is {USER}, MLflow's and Grafana's admin")
    if stack.grafana is None:
        given = "" if stack.ports["prometheus"] == PORTS["prometheus"] else f"PROMETHEUS_URL={stack.url('prometheus')} "
        print("  Grafana is started too where `grafana`, of a package or an archive from grafana.com, is on PATH;")
        print(f"    without it `{given}make dashboards-preview` draws the dashboards in .local/dashboards")


def main() -> None:
    """Start the stack in the foreground; Ctrl-C stops all of it."""
    parser = argparse.ArgumentParser(description="Run the whole stack as local processes.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DATA_DIR", ROOT / "data")))
    parser.add_argument("--state", type=Path, default=ROOT / ".local/state", help="databases, tokens, time series")
    arguments = parser.parse_args()
    try:
        grafana = find_grafana()
        ports = ports_from_environment(grafana=grafana is not None)
        data, state = arguments.data.resolve(), arguments.state.resolve()
        stack = Stack(data, state, ports, auth=auth_from_environment(), grafana=grafana)
        environment = ready(stack)
    except (DriftloopError, ToolsError) as error:
        sys.exit(f"driftloop: {error}")
    _say_where(stack)
    sys.stdout.flush()
    become(stack, environment)


if __name__ == "__main__":
    main()
