"""The local stack of the Procfile, each service in the hands of a test that kills it and starts it again."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

from data.simulate import Traffic, TrafficSettings
from monitoring.contract.config_file import load_config
from scripts.demo import Demo
from scripts.stack import PORTS, ROOT, Stack
from tests.processes import QuietHandler, eventually, free_ports, serving

PACE = 30  # divides the waiting times of rules and routes
OWN_CLOCKS = 12.0  # seconds beside them that no pace divides: scrapes, polls, evaluations, a busy machine
PERIOD, GRACE = 360, 120  # seconds: what docs/runbooks/Watchdog.md tells the service outside to wait
DOOM = Path(__file__).parent / "doomed"
ENVIRONMENT = {
    "MONITOR_INTERVAL_SECONDS": "2",
    "PREDICTION_LOG_SEAL_SECONDS": "1",
    "MODEL_POLL_SECONDS": "1",
    "TRIGGER_POLL_SECONDS": "1",
    "TRIGGER_COOLDOWN_SECONDS": "5",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_FOREMAN_DEPLOYMENT_LAST_POLLED_TIMEOUT_SECONDS": "6",
}


def promised(alert: str) -> float:
    """Return the seconds within which an alert fires, as its runbook says."""
    text = (ROOT / f"docs/runbooks/{alert}.md").read_text()
    found = re.search(r"^Fires within (\d+) (seconds?|minutes?)", text, re.MULTILINE)
    assert found, f"docs/runbooks/{alert}.md does not say within what time the alert fires"
    return int(found[1]) * (60 if found[2].startswith("minute") else 1)


class Outside:
    """A service on another machine that expects Alertmanager's pings, and raises its own alarm when they stop."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.url = ""

    @property
    def alarms(self) -> bool:
        """Say whether no ping has come for longer than Watchdog's runbook allows."""
        return time.monotonic() - self.last > (PERIOD + GRACE) / PACE

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take pings until the end of the block."""
        outside = self

        class Ping(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
                outside.last = time.monotonic()
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(200)

        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Ping)) as port:
            self.url = f"http://127.0.0.1:{port}/ping"
            yield


@dataclass
class Faulty:
    """The running services by name, the demo's probes, the traffic, and the service outside."""

    stack: Stack
    folder: Path
    outside: Outside
    environment: dict[str, str]
    commands: dict[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    episodes: int = 0

    def start(self, service: str, **environment: str) -> None:
        """Start a service, in a process group of its own; what is given comes on top of the stack's environment."""
        with (self.folder / f"{service}.log").open("ab") as log:
            self.running[service] = subprocess.Popen(
                ["sh", "-c", self.commands[service]],
                cwd=ROOT, env=self.environment | environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill(self, service: str, number: int = signal.SIGKILL) -> None:
        """End a service with all of its processes."""
        os.killpg(self.running[service].pid, number)
        self.running.pop(service).wait(30)

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
        return Demo(self.stack, config, self.running["api"], "gain")

    def firing(self, alert: str, **labels: str) -> bool:
        """Say whether an alert fires."""
        selector = ",".join(f'{name}="{value}"' for name, value in {"alertname": alert, **labels}.items())
        return bool(self.demo.query(f'ALERTS{{alertstate="firing",{selector}}}'))

    def wait_firing(self, alert: str, **labels: str) -> float:
        """Wait until an alert fires, within its runbook's time; return the seconds that it took."""
        begun = time.monotonic()
        eventually(f"{alert} {labels}", lambda: self.firing(alert, **labels), promised(alert) / PACE + OWN_CLOCKS)
        return time.monotonic() - begun

    def wait_quiet(self) -> None:
        """Wait until no alert says any more that something is down; some look back over minutes that have no pace."""
        down = 'count(ALERTS{alertname=~".*Down|RetrainFailed|ModelDrift"}) or vector(0)'
        eventually("the end of the alerts", lambda: self.demo.query(down) == 0, 60)

    def watch_versions(self, stopped: threading.Event) -> None:
        """Note each version that the API comes to serve, in their order."""
        while not stopped.wait(0.2):
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
    """Run the stack on free ports until the end of the block."""
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    stack, outside = Stack(folder / "data", folder / "state", ports, pace=PACE), Outside()
    stack.prepare()
    commands = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    commands["prometheus"] += f" --rules.alert.resend-delay={60 // PACE}s"
    doomed = {"PYTHONPATH": str(DOOM), "DOOM_FILE": str(folder / "doom")}
    faulty = Faulty(stack, folder, outside, {**stack.environment(), **ENVIRONMENT, **doomed}, commands)
    with outside.listening():
        _with_outside(stack, outside.url)
        try:
            for service in commands:
                faulty.start(service)
            eventually("the start of all services", faulty.demo.ready, 120)
            yield faulty
        finally:
            faulty.stop()


@contextmanager
def traffic(faulty: Faulty) -> Iterator[Traffic]:
    """Send rows with late labels until the end of the block, and watch which versions answer them."""
    settings = TrafficSettings(
        url=faulty.stack.url("api"), rate=60, batch=5, label_delay=1, jitter=0.005, seed=1,
        config=ROOT / "monitoring/config.yml",
    )  # fmt: skip
    sent, stopped = Traffic(settings), threading.Event()
    with ExitStack() as stack:
        watcher = threading.Thread(target=faulty.watch_versions, args=(stopped,))
        watcher.start()
        stack.callback(watcher.join)
        stack.callback(stopped.set)
        sent.start()
        stack.callback(sent.stop)
        yield sent
