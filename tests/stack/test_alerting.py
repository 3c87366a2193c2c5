"""From a metric to a notification: the real Prometheus and Alertmanager with the committed rules and routes.

Only their ends are the test's: an exporter in the monitor's place and a webhook receiver in the trigger's. The waiting
times are divided by 100, by the overlay that `make demo` uses.
"""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import requests

from monitoring.page.firing_alerts import AlertReader
from scripts.prometheus_tools import find_tools
from scripts.stack import Stack
from tests.processes import QuietHandler, answers, eventually, free_port, process, serving

CALM = {"rowcount": 1000.0, "missing_values": 0.0, "drift_detected": 0.0, "drift_alarm_threshold": 6.7}
FEATURES = ("mfcc_1", "mfcc_2", "mfcc_3")
NOISE = {f'mfcc_drift_p_value{{feature="{feature}"}}': 0.01 for feature in FEATURES}
ONSET = 1773500966.0
RAISED = (
    "MFCCFeatureDrift", "DataQualityIssue", "DriftDetected", "ModelDrift", "ModelDriftMinor", "AccuracyDropDetected",
    "EstimatedAccuracyLow", "ModelTurnedBad",
)  # fmt: skip


class Exporter(QuietHandler):
    """The monitor's /metrics with chosen values."""

    values: ClassVar[dict[str, float]] = {}

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        values = {**self.values, "monitor_last_success_timestamp_seconds": time.time()}
        self.answer(200, "".join(f"{name} {value}\n" for name, value in values.items()))


class Receiver(QuietHandler):
    """Keeps every notification; answers with the statuses that were ordered, then 200."""

    statuses: ClassVar[list[int]] = []
    notifications: ClassVar[list[tuple[int, str, dict[str, Any]]]] = []

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        self.answer(200)

    def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.statuses.pop(0) if self.statuses else 200
        self.notifications.append((status, self.headers.get("Authorization", ""), body))
        self.answer(status)


@dataclass(frozen=True)
class Alerting:
    """The running pair, and what the test sets and sees at its ends."""

    prometheus: str
    alertmanager: str
    token: str

    def set(self, **values: float) -> None:
        """Let the monitor export the values of a calm window, and these."""
        Exporter.values = {**CALM, **values}

    def drift(self, effect: float) -> None:
        """Let the detector have found a drift of this effect, of which the second feature has the largest share."""
        blame = {
            f'drift_{name}{{feature="{feature}"{label}}}': value
            for feature, share in zip(FEATURES, (0.2, 0.7, 0.1), strict=True)
            for name, label, value in (("contribution", "", share), ("blamed", ',direction="up"', 1.0))
        }
        found = {"drift_onset_timestamp_seconds": ONSET, "drift_effect_size": effect}
        self.set(**NOISE, **blame, **found, drift_detected=1.0, drift_alarm_score=7.4)

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
        eventually("calm", lambda: not any(self.in_alertmanager(name) for name in RAISED))
        Receiver.statuses.clear()
        Receiver.notifications.clear()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    folder = tmp_path_factory.mktemp("alerting")
    with ExitStack() as stack:
        ends = {"monitor": Exporter, "trigger": Receiver}
        servers = {name: ThreadingHTTPServer(("127.0.0.1", 0), handler) for name, handler in ends.items()}
        ports = {name: stack.enter_context(serving(server)) for name, server in servers.items()}
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
            child = stack.enter_context(process([program, *options], log))
            eventually(f"{name}, see {log}", answers(f"{local.url(name)}/-/ready", child, log))
        token = (local.state / "webhook_token").read_text()
        yield Alerting(local.url("prometheus"), local.url("alertmanager"), token)


@pytest.fixture
def alerting(pair: Alerting) -> Alerting:
    pair.calm_down()
    return pair


def test_a_missions_alert_waits_its_time_and_reaches_alertmanager(alerting: Alerting) -> None:
    """Data quality degrades: held first, then in Alertmanager with its value, and over when it recovers."""
    alerting.set(missing_values=101)
    (alert,) = eventually("DataQualityIssue in Alertmanager", lambda: alerting.in_alertmanager("DataQualityIssue"))
    held = datetime.fromisoformat(alert["startsAt"]) - alerting.active_since("DataQualityIssue")
    assert held.total_seconds() > 0.9  # 2m, divided
    assert alert["annotations"]["value"] == "101 missing values"
    assert [receiver["name"] for receiver in alert["receivers"]] == ["people"]
    shown = AlertReader(alerting.prometheus).read()  # what the monitor's page shows
    told = {one.name: (one.severity, one.summary, one.series) for one in shown.firing}
    assert told["DataQualityIssue"] == ("critical", "Data quality degradation detected", 1)
    assert shown.problem is None
    assert "Watchdog" not in told
    alerting.set(missing_values=100)
    eventually("DataQualityIssue resolved", lambda: not alerting.in_alertmanager("DataQualityIssue"))
    assert Receiver.notifications == []


def test_noise_in_one_look_does_not_reach_the_trigger(alerting: Alerting) -> None:
    """Features below 0.05 alarm people, one by one; nothing asks for retraining."""
    alerting.set(**NOISE)
    eventually("an alert per feature", lambda: len(alerting.in_alertmanager("MFCCFeatureDrift")) == len(FEATURES))
    assert all(alert["status"]["state"] == "active" for alert in alerting.in_alertmanager("MFCCFeatureDrift"))
    assert alerting.in_alertmanager("ModelDrift") == []
    assert Receiver.notifications == []


def test_drift_reaches_the_trigger_once_with_the_token_and_again_after_a_503(alerting: Alerting) -> None:
    """What a trigger without Prefect refuses for now is delivered again; many features make one notification."""
    Receiver.statuses += [503, 503]
    alerting.drift(0.42)
    delivered = eventually("a notification that was taken", lambda: [n for n in Receiver.notifications if n[0] == 200])
    assert [status for status, _, _ in Receiver.notifications] == [503, 503, 200]
    for _, authorization, body in Receiver.notifications:
        assert authorization == f"Bearer {alerting.token}"
        assert (body["version"], body["status"], body["receiver"]) == ("4", "firing", "trigger")
    (alert,) = delivered[0][2]["alerts"]
    assert alert["labels"] == {"alertname": "ModelDrift", "action": "retrain", "severity": "warning"}
    described = alert["annotations"]["description"]
    assert "0.42 (threshold 0.1). Columns that changed: mfcc_2 (up), mfcc_1 (up), mfcc_3 (up). " in described
    assert delivered[0][2]["groupKey"] == Receiver.notifications[0][2]["groupKey"]


def states(alerting: Alerting, name: str) -> set[str]:
    return {alert["status"]["state"] for alert in alerting.in_alertmanager(name)}


def muted_in(alerting: Alerting, name: str) -> bool:
    return states(alerting, name) == {"suppressed"}


def test_model_drift_speaks_for_its_features(alerting: Alerting) -> None:
    """At once it is told that there is a drift; when its size is told, that and features' own alerts are muted."""
    alerting.drift(0.42)
    (alert,) = eventually("DriftDetected in Alertmanager", lambda: alerting.in_alertmanager("DriftDetected"))
    held = datetime.fromisoformat(alert["startsAt"]) - alerting.active_since("DriftDetected")
    assert held.total_seconds() < 0.1
    assert "since 2026-03-14 15:09:26 UTC: score 7.4, threshold 6.7" in alert["annotations"]["description"]
    (alert,) = eventually("ModelDrift in Alertmanager", lambda: alerting.in_alertmanager("ModelDrift"))
    assert [receiver["name"] for receiver in alert["receivers"]] == ["trigger", "people"]
    for muted in ("MFCCFeatureDrift", "DriftDetected"):
        eventually(f"{muted} to be muted", partial(muted_in, alerting, muted))
    assert not muted_in(alerting, "ModelDrift")


def test_a_minor_drift_asks_for_nothing(alerting: Alerting) -> None:
    """People hear of a change that is certain and small; the trigger does not."""
    alerting.drift(0.04)
    (alert,) = eventually("ModelDriftMinor in Alertmanager", lambda: alerting.in_alertmanager("ModelDriftMinor"))
    assert [receiver["name"] for receiver in alert["receivers"]] == ["people"]
    eventually("DriftDetected to be muted", lambda: muted_in(alerting, "DriftDetected"))
    assert alerting.in_alertmanager("ModelDrift") == []
    assert Receiver.notifications == []


def test_what_labels_say_mutes_what_is_estimated_without_them(alerting: Alerting) -> None:
    """An estimated fall is told while labels are awaited, and not beside a measured one."""
    fallen = {"model_accuracy_estimate": 0.6, "model_accuracy_estimate_threshold": 0.66}
    alerting.set(**fallen)
    eventually("EstimatedAccuracyLow", lambda: states(alerting, "EstimatedAccuracyLow") == {"active"})
    alerting.set(**fallen, accuracy_drop_detected=1.0, accuracy_alarm_score=5.1, accuracy_alarm_threshold=4.3)
    eventually("AccuracyDropDetected", lambda: states(alerting, "AccuracyDropDetected") == {"active"})
    eventually("the estimate to be muted", lambda: muted_in(alerting, "EstimatedAccuracyLow"))


def test_a_model_that_turned_bad_asks_for_a_rollback_until_there_is_none_to_go_back_to(alerting: Alerting) -> None:
    """The trigger is told which flow is requested; the alert ends when there is no target any more."""
    fallen = {"accuracy_drop_detected": 1.0, "accuracy_alarm_score": 5.1, "accuracy_alarm_threshold": 4.3}
    alerting.set(**fallen, **{'mlflow_version_alias{alias="previous",version="2"}': 1.0})
    _, _, body = eventually("a notification", lambda: Receiver.notifications)[0]
    assert [alert["labels"]["action"] for alert in body["alerts"]] == ["rollback"]
    assert "A rollback to version 2 is asked for." in body["alerts"][0]["annotations"]["description"]
    alerting.set(**fallen)
    eventually("ModelTurnedBad resolved", lambda: not alerting.in_alertmanager("ModelTurnedBad"))


def test_the_end_of_a_drift_asks_for_nothing_and_the_next_one_asks_again(alerting: Alerting) -> None:
    """No notification says `resolved`; another drift is another alert, with a start of its own."""
    alerting.drift(0.42)
    eventually("a notification", lambda: Receiver.notifications)
    alerting.set()
    eventually("ModelDrift resolved", lambda: not alerting.in_alertmanager("ModelDrift"))
    alerting.drift(0.42)

    def starts() -> set[str]:
        return {alert["startsAt"] for _, _, body in Receiver.notifications for alert in body["alerts"]}

    eventually("a notification of the second drift", lambda: len(starts()) == 2)
    assert {body["status"] for _, _, body in Receiver.notifications} == {"firing"}


def test_a_service_that_is_gone_is_told_by_name(alerting: Alerting) -> None:
    """Nothing listens in the API's and Prefect's place; the watchdog goes its own way."""
    eventually("TargetDown", lambda: len(alerting.in_alertmanager("TargetDown")) == 2)
    assert {alert["labels"]["job"] for alert in alerting.in_alertmanager("TargetDown")} == {"api", "prefect"}
    (watchdog,) = eventually("Watchdog", lambda: alerting.in_alertmanager("Watchdog"))
    assert [receiver["name"] for receiver in watchdog["receivers"]] == ["watchdog"]
