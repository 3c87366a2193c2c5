"""From a metric to a notification: the real Prometheus and Alertmanager with the committed rules and routes.

Only their ends are the test's: an exporter in the monitor's place and a webhook receiver in the trigger's. The waiting
times are divided by 100, by the overlay that `make demo` uses.
"""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from monitoring.firing import AlertReader
from scripts.prometheus_tools import find_tools
from scripts.stack import Stack

CALM = {"rowcount": 1000.0, "missing_values": 0.0}
FEATURES = ("mfcc_1", "mfcc_2", "mfcc_3")


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def answer(self, status: int, body: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


class Exporter(Quiet):
    """The monitor's /metrics with chosen values."""

    values: ClassVar[dict[str, float]] = {}

    def do_GET(self) -> None:
        values = {**self.values, "monitor_last_success_timestamp_seconds": time.time()}
        self.answer(200, "".join(f"{name} {value}\n" for name, value in values.items()))


class Receiver(Quiet):
    """Keeps every notification; answers with the statuses that were ordered, then 200."""

    statuses: ClassVar[list[int]] = []
    notifications: ClassVar[list[tuple[int, str, dict[str, Any]]]] = []

    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.statuses.pop(0) if self.statuses else 200
        self.notifications.append((status, self.headers.get("Authorization", ""), body))
        self.answer(status)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def running(log: Path, *command: object) -> Iterator[None]:
    with log.open("w") as output:
        process = subprocess.Popen([str(c) for c in command], stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for(what: str, see: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (seen := see()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return seen


@dataclass(frozen=True)
class Alerting:
    """The running pair, and what the test sets and sees at its ends."""

    prometheus: str
    alertmanager: str
    token: str

    def set(self, **values: float) -> None:
        """Let the monitor export the values of a calm window, and these."""
        Exporter.values = {**CALM, **values}

    def drift(self, p_value: float) -> None:
        """Let every feature have this p-value, adjusted or not."""
        names = ("mfcc_drift_p_value", "mfcc_drift_p_value_adjusted")
        self.set(**{f'{name}{{feature="{feature}"}}': p_value for name in names for feature in FEATURES})

    def active_since(self, name: str) -> datetime:
        """Return when Prometheus saw the alert's condition first."""
        alerts = requests.get(f"{self.prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
        (since,) = (alert["activeAt"] for alert in alerts if alert["labels"]["alertname"] == name)
        return datetime.fromisoformat(since)

    def in_alertmanager(self, name: str) -> list[dict[str, Any]]:
        query = {"filter": f'alertname="{name}"'}
        alerts = requests.get(f"{self.alertmanager}/api/v2/alerts", params=query, timeout=5).json()
        assert isinstance(alerts, list), alerts
        return alerts

    def calm_down(self) -> None:
        """Wait until nothing drifts any more, then forget what was delivered."""
        self.set()
        drifting = ("MFCCFeatureDrift", "DataQualityIssue", "ModelDrift")
        wait_for("calm", lambda: not any(self.in_alertmanager(name) for name in drifting))
        Receiver.statuses.clear()
        Receiver.notifications.clear()


def ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/-/ready", timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    folder = tmp_path_factory.mktemp("alerting")
    with ExitStack() as stack:
        ports = {"monitor": stack.enter_context(serving(Exporter)), "trigger": stack.enter_context(serving(Receiver))}
        ports |= {name: free_port() for name in ("api", "prometheus", "alertmanager", "prefect")}
        local = Stack(folder / "data", folder / "state", ports, pace=100)
        local.prepare()
        tools = find_tools()
        for name, program, storage in (
            ("alertmanager", tools.alertmanager, "--storage.path"),
            ("prometheus", tools.prometheus, "--storage.tsdb.path"),
        ):
            options = [f"--config.file={local.state}/{name}/{name}.yml", f"{storage}={folder}/{name}"]
            options.append(f"--web.listen-address=127.0.0.1:{ports[name]}")
            # Prometheus drops what it would send before it knows its Alertmanager, and repeats it after a minute.
            options.append("--cluster.listen-address=" if name == "alertmanager" else "--rules.alert.resend-delay=3s")
            log = folder / f"{name}.log"
            stack.enter_context(running(log, program, *options))
            wait_for(f"{name}, see {log}", partial(ready, local.url(name)))
        token = (local.state / "webhook_token").read_text()
        yield Alerting(local.url("prometheus"), local.url("alertmanager"), token)


@pytest.fixture
def alerting(pair: Alerting) -> Alerting:
    pair.calm_down()
    return pair


def test_a_missions_alert_waits_its_time_and_reaches_alertmanager(alerting: Alerting) -> None:
    """Data quality degrades: held first, then in Alertmanager with its value, and over when it recovers."""
    alerting.set(missing_values=101)
    (alert,) = wait_for("DataQualityIssue in Alertmanager", lambda: alerting.in_alertmanager("DataQualityIssue"))
    held = datetime.fromisoformat(alert["startsAt"]) - alerting.active_since("DataQualityIssue")
    assert held.total_seconds() > 0.9  # 2m, divided
    assert alert["annotations"]["description"] == "101 missing values detected in current dataset"
    assert [receiver["name"] for receiver in alert["receivers"]] == ["people"]
    shown = AlertReader(alerting.prometheus).read()  # what the monitor's page shows
    told = {one.name: (one.severity, one.summary, one.series) for one in shown.firing}
    assert told["DataQualityIssue"] == ("critical", "Data quality degradation detected", 1)
    assert shown.problem is None
    assert "Watchdog" not in told
    alerting.set(missing_values=100)
    wait_for("DataQualityIssue resolved", lambda: not alerting.in_alertmanager("DataQualityIssue"))
    assert Receiver.notifications == []


def test_noise_in_one_look_does_not_reach_the_trigger(alerting: Alerting) -> None:
    """Features below 0.05 alarm people, one by one; nothing asks for retraining."""
    alerting.drift(0.01)
    wait_for("an alert per feature", lambda: len(alerting.in_alertmanager("MFCCFeatureDrift")) == len(FEATURES))
    assert all(alert["status"]["state"] == "active" for alert in alerting.in_alertmanager("MFCCFeatureDrift"))
    assert alerting.in_alertmanager("ModelDrift") == []
    assert Receiver.notifications == []


def test_drift_reaches_the_trigger_once_with_the_token_and_again_after_a_503(alerting: Alerting) -> None:
    """What a trigger without Prefect refuses for now is delivered again; many features make one notification."""
    Receiver.statuses += [503, 503]
    alerting.drift(0.00001)
    delivered = wait_for("a notification that was taken", lambda: [n for n in Receiver.notifications if n[0] == 200])
    assert [status for status, _, _ in Receiver.notifications] == [503, 503, 200]
    for _, authorization, body in Receiver.notifications:
        assert authorization == f"Bearer {alerting.token}"
        assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "retrain")
    (alert,) = delivered[0][2]["alerts"]
    assert alert["labels"] == {"alertname": "ModelDrift", "action": "retrain", "severity": "warning"}
    assert "1e-05 (threshold 0.001" in alert["annotations"]["description"]
    assert delivered[0][2]["groupKey"] == Receiver.notifications[0][2]["groupKey"]


def test_model_drift_speaks_for_its_features(alerting: Alerting) -> None:
    """Features' own alerts are muted while the model drifts; people hear of the drift as the trigger does."""
    alerting.drift(0.00001)
    (alert,) = wait_for("ModelDrift in Alertmanager", lambda: alerting.in_alertmanager("ModelDrift"))
    assert [receiver["name"] for receiver in alert["receivers"]] == ["retrain", "people"]
    wait_for(
        "the features' alerts to be muted",
        lambda: {a["status"]["state"] for a in alerting.in_alertmanager("MFCCFeatureDrift")} == {"suppressed"},
    )


def test_the_end_of_a_drift_asks_for_nothing_and_the_next_one_asks_again(alerting: Alerting) -> None:
    """No notification says `resolved`; another drift is another alert, with a start of its own."""
    alerting.drift(0.00001)
    wait_for("a notification", lambda: Receiver.notifications)
    alerting.set()
    wait_for("ModelDrift resolved", lambda: not alerting.in_alertmanager("ModelDrift"))
    alerting.drift(0.00001)

    def starts() -> set[str]:
        return {alert["startsAt"] for _, _, body in Receiver.notifications for alert in body["alerts"]}

    wait_for("a notification of the second drift", lambda: len(starts()) == 2)
    assert {body["status"] for _, _, body in Receiver.notifications} == {"firing"}


def test_a_service_that_is_gone_is_told_by_name(alerting: Alerting) -> None:
    """Nothing listens in the API's and Prefect's place; the watchdog goes its own way."""
    wait_for("TargetDown", lambda: len(alerting.in_alertmanager("TargetDown")) == 2)
    assert {alert["labels"]["job"] for alert in alerting.in_alertmanager("TargetDown")} == {"api", "prefect"}
    (watchdog,) = wait_for("Watchdog", lambda: alerting.in_alertmanager("Watchdog"))
    assert [receiver["name"] for receiver in watchdog["receivers"]] == ["watchdog"]
