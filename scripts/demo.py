"""Drive the loop once, from the first prediction to the recovered alert: `python -m scripts.demo`.

The real stack runs in a temporary folder, with the waiting times of rules and routing divided by PACE; each hop is
read from a service's own public endpoint. Exit 0 when the loop has closed, else 1 with the name of the hop that failed.
"""

import argparse
import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import requests

from data.car_loans import car_loans
from data.drifts import DriftError, choose, load_drifts
from data.flights import flights
from data.simulate import Traffic, TrafficSettings
from monitoring.contract.config import Config, Model
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.names import CHAMPION
from monitoring.contract.plain_files import make_folder
from monitoring.contract.reference import InvalidReferenceError, read_reference
from scripts.stack import ROOT, Stack, ports_from_environment

PACE = 15
ROWS_A_SECOND = 60
JITTER = 0.005  # standard deviations: no row comes twice exactly
DRIFT, ANYWHERE = "gain", "units"  # the built-in case's, and one that fits any model
_TIMEOUT = 5


@dataclass(frozen=True)
class Example:
    """Rows that take another model through the loop: its config, its reference and the rows to send, and the fault."""

    config: Path
    rows: Callable[[], tuple[pa.Table, pa.Table]]
    drift: str

    def write(self, reference: Path, later: Path) -> None:
        """Write the reference, and the rows that follow it, as Parquet."""
        for path, table in zip((reference, later), self.rows(), strict=True):
            pq.write_table(table, path)


EXAMPLES = {
    "flights": Example(ROOT / "docs/examples/flights.yml", flights, "seconds"),
    "flights_late": Example(ROOT / "docs/examples/flights_late.yml", flights, "seconds"),
    "car_loans": Example(ROOT / "docs/examples/car_loans.yml", car_loans, "thousands"),
}


class HopError(DriftloopError):
    """A hop of the loop did not happen in time."""


@dataclass
class Demo:
    """A running stack and the clock of its hops."""

    stack: Stack
    config: Config
    process: subprocess.Popen[bytes]
    drift: str
    of_many: bool = False  # the stack has other models beside this one
    started: float = field(default_factory=time.monotonic)
    last: float = field(default_factory=time.monotonic)

    def hop(self, name: str, probe: Callable[[], str | None], seconds: float) -> str:
        """Poll until the probe answers with what it saw; print the hop and its seconds.

        Raises HopError when `seconds` have passed or the stack has stopped.
        """
        deadline = time.monotonic() + seconds
        seen: str | None = None
        trouble = "nothing yet"
        while seen is None:
            if self.process.poll() is not None:
                raise HopError(f"{name}: the stack stopped with exit status {self.process.returncode}")
            try:
                seen = probe()
            except (requests.RequestException, KeyError, IndexError, InvalidReferenceError) as error:
                trouble = f"{type(error).__name__}: {error}"
            if seen is None and time.monotonic() > deadline:
                raise HopError(f"{name}: not within {seconds:.0f} s; last answer: {trouble}")
            if seen is None:
                time.sleep(0.2)
        now = time.monotonic()
        print(f"{now - self.started:7.1f} s  +{now - self.last:5.1f} s  {name:<20} {seen}", flush=True)
        self.last = now
        return seen

    def get(self, service: str, path: str, **parameters: str) -> Any:
        """Return the JSON that a service answers."""
        answer = requests.get(self.stack.url(service) + path, params=parameters, timeout=_TIMEOUT)
        answer.raise_for_status()
        return answer.json()

    @property
    def layout(self) -> Layout:
        """Return where the model's files lie."""
        return Layout(self.stack.data / self.config.model.name if self.of_many else self.stack.data)

    @property
    def path(self) -> str:
        """Return where the API has the model."""
        return f"/models/{self.config.model.name}" if self.of_many else ""

    def own(self, metric: str) -> str:
        """Return the expression of one of the model's own metrics."""
        return f'{metric}{{model="{self.config.model.name}"}}' if self.of_many else metric

    def query(self, expression: str) -> float | None:
        """Return the value of a Prometheus expression, None if it has none."""
        result = self.get("prometheus", "/api/v1/query", query=expression)["data"]["result"]
        return float(result[0]["value"][1]) if result else None

    def value(self, metric: str) -> float | None:
        """Return the value of one of the model's own metrics, None if it has none."""
        return self.query(self.own(metric))

    def prefect(self, path: str, **body: Any) -> Any:
        """Return what Prefect answers to a filter."""
        answer = requests.post(f"{self.stack.url('prefect')}/api{path}", json=body, timeout=_TIMEOUT)
        answer.raise_for_status()
        return answer.json()

    def champion(self) -> str:
        """Return the champion's version in the registry."""
        name = self.config.model.name
        path = "/api/2.0/mlflow/registered-models/alias"
        return str(self.get("mlflow", path, name=name, alias=CHAMPION)["model_version"]["version"])

    # Each probe returns what it saw, or None while it has not happened yet.

    def ready(self) -> str | None:
        """See all services answer."""
        for service, path in (("api", "/ready"), ("monitor", "/health"), ("trigger", "/health")):
            self.get_ok(service, path)
        for service in ("prometheus", "alertmanager"):
            self.get_ok(service, "/-/ready")
        return f"model version {self.get('api', f'{self.path}/model')['version']} serves"

    def get_ok(self, service: str, path: str) -> None:
        """Raise requests.HTTPError unless a service answers 2xx."""
        requests.get(self.stack.url(service) + path, timeout=_TIMEOUT).raise_for_status()

    def calibrated(self) -> str | None:
        """See a full window tested, and the detector calibrated, without drift."""
        rows, detected = self.value("rowcount"), self.value("drift_detected")
        full = self.config.window.rows or self.config.minimum_rows
        if rows is None or detected is None or rows < min(full, 2 * self.config.minimum_rows):
            return None
        score, threshold = self.value("drift_alarm_score"), self.value("drift_alarm_threshold")
        return f"{rows:.0f} rows, drift score {score or 0:.1f} (threshold {threshold or 0:.1f})"

    def noticed(self) -> str | None:
        """See the detector's alarm, with the drift's onset and the feature that contributes most."""
        if self.value("drift_detected") != 1:
            return None
        onset = self.value("drift_onset_timestamp_seconds")
        blamed, contribution = self.own("drift_blamed"), self.own("drift_contribution")
        expression = f"{blamed} * on (feature) group_left () {contribution}"
        attributed = self.get("prometheus", "/api/v1/query", query=expression)
        first = max(attributed["data"]["result"], key=lambda one: float(one["value"][1]), default=None)
        if onset is None or first is None:
            return None
        began = f"{datetime.fromtimestamp(onset, UTC):%H:%M:%S}"
        return f"since {began}: {first['metric']['feature']} {first['metric']['direction']}"

    def alert(self, state: str) -> str | None:
        """See the alert that asks for retraining in a state."""
        for alert in self.get("prometheus", "/api/v1/alerts")["data"]["alerts"]:
            whose = not self.of_many or alert["labels"].get("model") == self.config.model.name
            if whose and alert["labels"].get("action") == "retrain" and alert["state"] == state:
                return f"{alert['labels']['alertname']} since {alert['activeAt'][11:19]}"
        return None

    def webhook(self) -> str | None:
        """See the trigger accept Alertmanager's notification."""
        accepted = self.query('trigger_notifications_total{outcome="accepted"}')
        return "Alertmanager -> trigger -> Prefect" if accepted else None

    def flow_run(self) -> dict[str, Any] | None:
        """Return the newest run of the flow `retrain`."""
        runs = self.prefect("/flow_runs/filter", flows={"name": {"any_": ["retrain"]}}, limit=1, sort="START_TIME_DESC")
        return runs[0] if runs else None

    def run_started(self) -> str | None:
        """See the retraining run at work."""
        run = self.flow_run()
        if run is None or run["state_type"] in {"SCHEDULED", "PENDING"}:
            return None
        return f"retrain/{run['name']}"

    def evaluated(self) -> str | None:
        """See the comparison of champion and candidate."""
        artifacts = self.prefect("/artifacts/filter", artifacts={"key": {"any_": ["retrain-comparison"]}}, limit=1)
        if artifacts:
            return "champion and candidate on the same held-out rows"
        run = self.flow_run()
        if run is not None and run["state_type"] in {"FAILED", "CRASHED", "COMPLETED"}:
            raise HopError(f"the run ended as {run['state_name']}: {run['state']['message']}")
        return None

    def promoted(self, former: str) -> str | None:
        """See the alias on another version."""
        version = self.champion()
        if version != former:
            return f"version {former} -> {version}"
        run = self.flow_run()
        if run is not None and run["state_type"] in {"FAILED", "CRASHED", "COMPLETED"}:
            raise HopError(f"the run ended without promotion as {run['state_name']}: {run['state']['message']}")
        return None

    def served(self, former: str) -> str | None:
        """See the API answer with another version, without having been restarted."""
        version = str(self.get("api", f"{self.path}/model")["version"])
        return f"version {version}" if version != former else None

    def rebased(self) -> str | None:
        """See the reference replaced by rows of the log."""
        reference = read_reference(self.layout, self.config.model)
        return f"{len(reference.table)} rows of the log" if reference.origin == "rebased" else None

    def resolved(self) -> str | None:
        """See the alert gone from Prometheus and from Alertmanager."""
        if self.alert("firing") or self.alert("pending"):
            return None
        active = self.get("alertmanager", "/api/v2/alerts", filter='action="retrain"', active="true")
        return None if active else "no alert that asks for retraining"

    def recovered(self) -> str | None:
        """See new rows tested against the new reference by a detector that is calibrated for it, without drift."""
        rows, detected = self.value("drift_rows_seen"), self.value("drift_detected")
        if rows is None or detected != 0 or rows < self.config.minimum_rows:
            return None
        return f"{rows:.0f} new rows, drift score {self.value('drift_alarm_score') or 0:.1f}"


def close_the_loop(demo: Demo, traffic: Traffic) -> str:
    """Go through the hops and return the former champion; raise HopError at the first that fails."""
    demo.hop("stack up", demo.ready, 480)
    former = demo.champion()
    demo.hop("reference ready", lambda: _reference(demo), 30)
    traffic.start()
    demo.hop(
        "first prediction",
        lambda: f"{traffic.counts().acknowledged} rows" if traffic.counts().acknowledged else None,
        20,
    )
    demo.hop("steady", demo.calibrated, 480)
    traffic.set_drifts([demo.drift])
    demo.hop("drift injected", lambda: demo.drift, 1)
    demo.hop("drift detected", demo.noticed, 180)
    demo.hop("alert firing", lambda: demo.alert("firing"), 180)
    demo.hop("webhook accepted", demo.webhook, 180)
    demo.hop("flow run started", demo.run_started, 180)
    demo.hop("candidate evaluated", demo.evaluated, 300)
    demo.hop("champion promoted", lambda: demo.promoted(former), 180)
    demo.hop("API serves it", lambda: demo.served(former), 90)
    demo.hop("reference re-based", demo.rebased, 90)
    demo.hop("alert resolved", demo.resolved, 180)
    demo.hop("recovered", demo.recovered, 480)  # a calibration again
    return former


def _reference(demo: Demo) -> str:
    reference = read_reference(demo.layout, demo.config.model)
    return f"{len(reference.table)} rows, origin {reference.origin}"


@contextlib.contextmanager
def running(stack: Stack, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the stack in the background, its output in `log`; stop all of it at the end."""
    held = stack.claim()
    try:
        stack.require_free_ports()
        stack.prepare()
        with log.open("wb") as output:
            process = subprocess.Popen(
                stack.command(),
                cwd=ROOT,
                env=stack.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=held,
            )
    finally:
        for descriptor in held:  # the stack's process has them
            os.close(descriptor)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def summary(demo: Demo, traffic: Traffic, former: str) -> str:
    """Return what happened, in a few lines."""
    name, version = demo.config.model.name, demo.champion()
    run = demo.get("mlflow", "/api/2.0/mlflow/model-versions/get", name=name, version=version)["model_version"][
        "run_id"
    ]
    metrics = demo.get("mlflow", "/api/2.0/mlflow/runs/get", run_id=run)["run"]["data"]["metrics"]
    scores = {metric["key"]: float(metric["value"]) for metric in metrics}
    counts, metric = traffic.counts(), demo.config.retrain.metric
    return (
        f"The loop has closed in {time.monotonic() - demo.started:.0f} s: {demo.drift} drift was noticed, "
        f"version {former} gave way to version {version}.\n"
        f"  {metric} on held-out rows after the drift: version {former} {scores[f'champion_{metric}']:.3f}, "
        f"version {version} {scores[f'candidate_{metric}']:.3f}\n"
        f"  rows sent {counts.sent}, acknowledged {counts.acknowledged}, refused or failed {counts.refused}"
    )


def main() -> None:
    """Run the demo in a temporary folder and remove it."""
    parser = argparse.ArgumentParser(
        description="Drive the loop once, from the first prediction to the recovered alert."
    )
    parser.add_argument("--reference", type=Path, help="a Parquet file of labelled rows to start from (default: drawn)")
    parser.add_argument("--example", choices=EXAMPLES, help="real rows and a model of another kind")
    parser.add_argument("--then", metavar="COMMAND", help="run this at the end, while the stack still runs")
    arguments = parser.parse_args()
    run_in_folder(lambda folder, log: run(folder, log, arguments))


def run_in_folder(work: Callable[[Path, Path], None]) -> NoReturn:
    """Do a demo's work in a temporary folder, with the services' output in a file of it; remove it and exit."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="driftloop-demo-"))
    log = folder / "stack.log"
    failed = True
    try:
        work(folder, log)
        failed = False
    except DriftloopError as error:
        sys.stderr.write(f"\nThe demo failed at: {error}\n")
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
    finally:
        if failed and log.exists():
            kept = Path(tempfile.gettempdir()) / "driftloop-demo.log"
            shutil.copy(log, kept)
            sys.stderr.write(f"What the services said is kept in {kept}; from its end:\n")
            sys.stderr.write("\n".join(_last_lines(log.read_text(errors="replace"))) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(failed)


def _last_lines(output: str) -> list[str]:
    """Return the end of the services' output; of the one that stopped first, if one did."""
    lines = output.splitlines()
    if stopped := re.search(r"(\S+) stopped \(rc=", output):
        lines = [line for line in lines if f" {stopped[1]} " in line]
    return lines[-25:]


def _drift_for(model: Model) -> str:
    """Return the built-in case's drift if it fits the model, else one that fits any."""
    try:
        choose(load_drifts(), [DRIFT], model)
    except DriftError:
        return ANYWHERE
    return DRIFT


def set_paces() -> None:
    """Let the services look more often than they would in life."""
    paces = {"MONITOR_INTERVAL_SECONDS": "2", "PREDICTION_LOG_SEAL_SECONDS": "1", "MODEL_POLL_SECONDS": "1"}
    os.environ.update(paces | {"TRIGGER_POLL_SECONDS": "1"})


def say_where(folder: Path, stack: Stack) -> None:
    """Print where everything lies, and which pages there are to look at."""
    print(f"Everything in {folder}, removed at the end; waiting times of rules and routing divided by {PACE}.")
    for service in ("monitor", "prefect", "mlflow"):
        print(f"  {service:<8} {stack.url(service)}")


def run_then(stack: Stack, command: str) -> None:
    """Run a command that finds the stack in its environment (PROMETHEUS_URL and so on); raise HopError if it fails."""
    urls = {f"{service.upper()}_URL": stack.url(service) for service in stack.ports}
    done = subprocess.run(shlex.split(command), cwd=ROOT, env={**os.environ, **urls}, check=False)
    if done.returncode:
        raise HopError(f"{command}: exit status {done.returncode}")


def run(folder: Path, log: Path, options: argparse.Namespace) -> None:
    """Start stack and traffic, close the loop, print the summary, run what shall be run then."""
    example = EXAMPLES.get(options.example)
    set_paces()
    stack = Stack(folder / "data", folder / "state", ports_from_environment(), pace=PACE)
    given = Path(os.environ.get("DRIFTLOOP_CONFIG", ROOT / "monitoring/config.yml"))
    config_path = (example.config if example else given).resolve()
    os.environ["DRIFTLOOP_CONFIG"] = str(config_path)
    config = load_config(config_path)
    reference, later = options.reference, None
    if example is not None:
        reference, later = folder / "reference.parquet", folder / "later.parquet"
        example.write(reference, later)
    if reference is not None:
        if not reference.is_file():
            raise HopError(f"reference: {reference} is not a file")
        make_folder(stack.data)
        shutil.copy(reference, Layout(stack.data).reference)
        read_reference(Layout(stack.data), config.model, predicted=False)
    say_where(folder, stack)
    # Noise on real rows would be drift: features that are nearly functions of each other would be so no more.
    settings = TrafficSettings(
        url=stack.url("api"),
        rate=ROWS_A_SECOND,
        tracks=later or reference,
        in_order=later is not None,
        jitter=JITTER,
        batch=5,
        label_delay=2,
        config=config_path,
    )
    traffic = Traffic(settings)
    with running(stack, log) as process:
        demo = Demo(stack, config, process, example.drift if example else _drift_for(config.model))
        try:
            former = close_the_loop(demo, traffic)
            print(summary(demo, traffic, former), flush=True)
            if options.then:
                run_then(stack, options.then)
        finally:
            traffic.stop()


if __name__ == "__main__":
    main()
