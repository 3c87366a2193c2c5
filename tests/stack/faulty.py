"""The local stack of the Procfile, each service in the hands of a test that kills it and starts it again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
import yaml

from data.simulate import Traffic, TrafficSettings
from monitoring.contract.config_file import load_config
from scripts.demo import Demo
from scripts.stack import PORTS, ROOT, Stack
from tests.processes import eventually, free_ports
from tests.stack.promises import OWN_CLOCKS, PACE, fired, promised
from tests.stack.watchdog_receiver import Outside

DOOM = Path(__file__).parent / "doomed"
UNFINISHED = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
# What says nothing of the loop: it always fires, holds for a day, comes by chance, or tells that the machine is slow.
BESIDE = "Watchdog|RolledBack|MFCCFeatureDrift|PredictionDrift|EstimatedAccuracyLow|APILatencyHigh"
ENVIRONMENT = {
    "MONITOR_INTERVAL_SECONDS": "2",
    "PREDICTION_LOG_SEAL_SECONDS": "1",
    "MODEL_POLL_SECONDS": "1",
    "TRIGGER_POLL_SECONDS": "1",
    "TRIGGER_COOLDOWN_SECONDS": "10",  # longer than RetrainFailed waits
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS": "6",
}


@dataclass
class Faulty:
    """The running services by name, the demo's probes, the traffic, and the service outside."""

    stack: Stack
    folder: Path
    outside: Outside
    environment: dict[str, str]
    commands: dict[str, str]
    sent: Traffic
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    episodes: int = 0
    since: float = 0.0  # seconds since 1970: the fault that a case has brought on last, or its begin
    watched_enough: threading.Event = field(default_factory=threading.Event)
    spent: bool = False  # a case ends so that no other can go on from there

    def start(self, service: str, **environment: str) -> None:
        """Start a service, in a process group of its own; what is given comes on top of the stack's environment."""
        with (self.folder / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                ["sh", "-c", self.commands[service]],
                cwd=ROOT, env=self.environment | environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def note_fault(self) -> None:
        """Say that a fault is brought on now: what fired before tells of another."""
        self.since = time.time()

    def kill(self, service: str, number: int = signal.SIGKILL) -> None:
        """End a service with all of its processes."""
        self.note_fault()
        os.killpg(self.running[service].pid, number)
        self.running.pop(service).wait(120)

    def ended(self) -> list[str]:
        """Name the services that do not run."""
        return [one for one in self.commands if one not in self.running or self.running[one].poll() is not None]

    def kill_one_worker(self) -> None:
        """Kill a worker of the API; its master goes on."""
        master = self.running["api"].pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)

    def stop(self) -> None:
        """End all services; those that ignore it are killed."""
        for process in self.running.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @cached_property
    def demo(self) -> Demo:
        """The probes of `make demo`."""
        config = load_config(ROOT / "monitoring/config.yml")
        return Demo(self.stack, config, next(iter(self.running.values())), "gain")

    def champion(self) -> str:
        """Return the champion's version."""
        return str(eventually("the champion", self.demo.champion))

    def firing(self, alert: str) -> bool:
        """Say whether an alert fires."""
        return bool(self.demo.query(f'ALERTS{{alertstate="firing",alertname="{alert}"}}'))

    def wait_firing(self, alert: str, **labels: str) -> None:
        """Wait until an alert fires after the last fault; from its condition on it does so within its runbook's time.

        The time is Prometheus': a machine that is slow evaluates rules seldom, and no other number is right for it.
        """
        found = eventually(
            f"{alert} {labels}",
            lambda: fired(self.demo, alert, self.since, labels),
            promised(alert) / PACE + OWN_CLOCKS,
        )
        looks = f"{found.evaluations} evaluations of {promised(alert) / PACE:g}, {found.fired - self.since:.1f} s after"
        sys.stdout.write(f"{alert} {labels}: {looks}\n")
        assert found.evaluations + 1 <= promised(alert) / PACE, looks  # each a second; one is for the scrape

    def wait_all_firing(self, alerts: Mapping[str, dict[str, str]]) -> None:
        """Wait until each of these alerts, with its labels, fires; see `wait_firing`."""
        for alert, labels in alerts.items():
            self.wait_firing(alert, **labels)

    def wait_ready(self) -> None:
        """Wait until every service answers."""
        eventually("the start of all services", self.demo.ready, 120)

    def wait_quiet(self) -> None:
        """Wait until no alert says any more that something is down; some look back over minutes that have no pace."""
        down = 'count(ALERTS{alertname=~".*Down|RetrainFailed|ModelDrift"}) or vector(0)'
        eventually("the end of the alerts", lambda: self.demo.query(down) == 0, 60)

    def begin(self) -> None:
        """Wait for the start, then let rows come, and watch which versions answer."""
        self.wait_ready()
        self.sent.start()
        threading.Thread(target=self.watch_versions, daemon=True).start()

    def revive(self) -> None:
        """Start what does not run, and let Prometheus and Alertmanager forget what a former case has done."""
        (self.folder / "doom").unlink(missing_ok=True)
        for service in self.ended():
            self.start(service)
        for service in ("prometheus", "alertmanager"):
            self.kill(service)
            shutil.rmtree(self.stack.state / service / "data")
            self.start(service)

    def rest(self) -> None:
        """Wait until all services are up, no run is at work, the champion is served, and neither drift nor alert is."""
        self.wait_ready()
        eventually("the end of all runs", lambda: not self.runs(state={"type": {"any_": UNFINISHED}}), 120)
        eventually(
            "a window without drift", lambda: self.demo.calibrated() and not self.demo.query("drift_detected"), 120
        )
        champion, alarms = self.champion(), f'count(ALERTS{{alertname!~"{BESIDE}"}}) or vector(0)'
        eventually("the API to serve the champion", lambda: self.served[-1] == champion)
        eventually("the end of all alerts", lambda: self.demo.query(alarms) == 0)
        self.served[:] = [champion]
        self.note_fault()

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Return Prefect's runs of all flows, the newest first."""
        found: list[dict[str, Any]] = self.demo.prefect("/flow_runs/filter", flow_runs=filters, sort="START_TIME_DESC")
        return found

    def watch_versions(self) -> None:
        """Note each version that the API comes to serve, in their order."""
        while not self.watched_enough.wait(0.2):
            try:
                version = str(requests.get(f"{self.stack.url('api')}/model", timeout=5).json()["version"])
            except (requests.RequestException, KeyError):
                continue
            if not self.served or self.served[-1] != version:
                self.served.append(version)


def _with_outside(stack: Stack, url: str) -> None:
    """Switch the watchdog's receiver on, as the comment in alertmanager.yml says."""
    path = stack.state / "alertmanager/alertmanager.yml"
    settings = yaml.safe_load(path.read_text())
    (watchdog,) = [one for one in settings["receivers"] if one["name"] == "watchdog"]
    watchdog["webhook_configs"] = [{"url": url, "send_resolved": False}]
    path.write_text(yaml.safe_dump(settings))


@contextmanager
def running(folder: Path) -> Iterator[Faulty]:
    """Run the stack on free ports until the end of the block; it has only just been started, and no row is sent yet."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    stack, outside = Stack(folder / "data", folder / "state", ports, pace=PACE), Outside()
    stack.prepare()
    commands = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    commands["prometheus"] += f" --rules.alert.resend-delay={60 // PACE}s"
    doomed = {"PYTHONPATH": str(DOOM), "DOOM_FILE": str(folder / "doom")}
    environment = {**stack.environment(), **ENVIRONMENT, **doomed}
    faulty = Faulty(stack, folder, outside, environment, commands, Traffic(traffic(stack)))
    with outside.listening(), ExitStack() as ends:
        _with_outside(stack, outside.url)
        ends.callback(faulty.stop)
        for service in commands:
            faulty.start(service)
        ends.callback(faulty.watched_enough.set)
        ends.callback(faulty.sent.stop)
        yield faulty


def traffic(stack: Stack) -> TrafficSettings:
    """Rows with late labels."""
    return TrafficSettings(
        url=stack.url("api"), rate=60, batch=5, label_delay=1, jitter=0.005, seed=1,
        config=ROOT / "monitoring/config.yml",
    )  # fmt: skip
