"""What the stack depends on dies while rows come: predictions go on, the loop closes once, and somebody is told."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from data.simulate import Traffic
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from scripts.demo import Demo
from tests.processes import eventually
from tests.stack.faulty import OWN_CLOCKS, PACE, Faulty

pytestmark = [pytest.mark.timeout(600), pytest.mark.long]

MISSED = {"alertmanager": 8 * 60, "prometheus": 13 * 60}  # seconds: docs/runbooks/Watchdog.md


@dataclass(frozen=True)
class Episode:
    """A drift that has begun, and what was so before."""

    faulty: Faulty
    sent: Traffic
    former: str
    refused: int

    @property
    def demo(self) -> Demo:
        return self.faulty.demo

    def detected(self) -> None:
        eventually("the detection", lambda: self.demo.query("drift_detected") == 1, 60)

    def asked_for(self) -> None:
        eventually("ModelDrift", lambda: self.demo.alert("firing"), 60)

    def at_work(self) -> None:
        eventually("a run at work", lambda: (r := self.demo.flow_run()) and r["state_type"] == "RUNNING", 90)

    def closes(self) -> None:
        """Wait for the promotion, the new reference and the end of the alert; there was one promotion."""
        eventually("the promotion", lambda: self.demo.champion() != self.former, 180)
        champion = self.demo.champion()
        eventually("the API to serve it", lambda: self.faulty.served[-1] == champion, 30)
        eventually("the new reference", lambda: self.reference() == champion, 60)
        eventually("new rows without drift", self.demo.recovered, 90)
        self.faulty.wait_quiet()
        assert self.demo.champion() == champion
        assert self.faulty.served == [self.former, champion]
        assert self.sent.counts().refused == self.refused

    def reference(self) -> str | None:
        return read_reference(Layout(self.faulty.stack.data), self.demo.config.model).model_version


def begin(faulty: Faulty, sent: Traffic) -> Episode:
    """Let a drift begin that no champion has seen: each is stronger than the one before."""
    faulty.served[:] = faulty.served[-1:]
    faulty.episodes += 1
    episode = Episode(faulty, sent, faulty.demo.champion(), sent.counts().refused)
    sent.set_drifts(["gain"], strength=faulty.episodes)
    return episode


def test_a_bad_day(faulty: Faulty, sent: Traffic) -> None:
    """Within one episode of drift all of the loop dies, a part after the other; it closes, with one promotion."""
    episode = begin(faulty, sent)
    episode.detected()
    faulty.kill("monitor")
    faulty.kill("prefect")
    faulty.wait_firing("TargetDown", job="monitor")
    faulty.wait_firing("UpstreamDown", service="prefect")
    faulty.start("monitor")
    faulty.start("prefect")
    episode.asked_for()
    faulty.kill("trigger")
    faulty.wait_firing("TargetDown", job="trigger")
    (faulty.folder / "doom").write_text("version registered")
    faulty.start("trigger")
    eventually("the runner's death in the middle of a run", lambda: faulty.running["flows"].poll() is not None, 120)
    faulty.running.pop("flows")
    faulty.wait_firing("RunnerDown")
    faulty.start("flows")
    faulty.wait_firing("RetrainFailed", flow="retrain", state="CRASHED")
    episode.at_work()
    faulty.kill("mlflow")
    faulty.wait_firing("UpstreamDown", service="mlflow")
    faulty.start("mlflow")
    faulty.kill_one_worker()
    episode.closes()


NAMED_BY = {"UpstreamDown": "service", "TargetDown": "job"}  # the label that says which service it is
DEATHS = [
    pytest.param("prefect", Episode.detected, ["UpstreamDown", "TriggerFailing"], id="Prefect"),
    pytest.param("mlflow", Episode.at_work, ["UpstreamDown"], id="MLflow"),
    pytest.param("prometheus", Episode.detected, [], id="Prometheus"),
    pytest.param("alertmanager", Episode.asked_for, ["TargetDown"], id="Alertmanager"),
    pytest.param("monitor", Episode.detected, ["TargetDown"], id="the monitor"),
    pytest.param("trigger", Episode.detected, ["TargetDown", "AlertmanagerNotificationsFailing"], id="the trigger"),
    pytest.param("flows", Episode.detected, ["RunnerDown", "RetrainStuck"], id="the runner before it is asked"),
    pytest.param("flows", Episode.at_work, ["RunnerDown"], id="the runner at work"),
    pytest.param("api", Episode.detected, ["TargetDown"], id="the API"),
]


@pytest.mark.parametrize(("service", "moment", "alerts"), DEATHS)
def test_a_death_within_an_episode(
    faulty: Faulty, sent: Traffic, service: str, moment: Callable[[Episode], None], alerts: list[str]
) -> None:
    """One service dies where it hurts most; somebody is told, it comes back, and the episode ends in one promotion."""
    episode = begin(faulty, sent)
    moment(episode)
    faulty.kill(service)
    for alert in alerts:
        seconds = faulty.wait_firing(alert, **({NAMED_BY[alert]: service} if alert in NAMED_BY else {}))
        sys.stdout.write(f"{service}: {alert} after {seconds:.1f} s at a pace of {PACE}\n")
    if not alerts:
        eventually("the alarm outside", lambda: faulty.outside.alarms, MISSED[service] / PACE + OWN_CLOCKS)
    faulty.start(service)
    episode.closes()


def test_the_switch_outside_tells_when_alertmanager_or_prometheus_is_gone(faulty: Faulty) -> None:
    """Nobody inside can: what tells is that the pings of Watchdog stop, within the time that its runbook states."""
    outside = faulty.outside
    for service in ("alertmanager", "prometheus"):
        eventually("a ping", lambda: not outside.alarms, 60)
        faulty.kill(service)
        eventually("the alarm outside", lambda: outside.alarms, MISSED[service] / PACE + OWN_CLOCKS)
        faulty.start(service)
    eventually("pings again", lambda: not outside.alarms, 60)
