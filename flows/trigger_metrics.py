"""What the trigger exports: its own outcomes, and the flows' states as of the last poll."""

import threading
from collections import Counter as Tally
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flows.upstream import Prefect, RejectedError, Run, UnavailableError

log = structlog.get_logger(__name__)

FLOWS = ("bootstrap", "retrain")
STATES = ("COMPLETED", "FAILED", "CRASHED", "PENDING", "RUNNING", "SCHEDULED", "CANCELLED")
OUTCOMES = ("accepted", "known", "cooldown", "ignored", "refused", "failed")


class TriggerMetrics:
    """The counters; each outcome is there from the start, at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.notifications = Counter(
            "trigger_notifications",
            "Notifications from Alertmanager, by what came of them.",
            ["outcome"],
            registry=registry,
        )
        self.poll_failures = Counter(
            "trigger_prefect_poll_failures", "Polls of Prefect's flow runs that failed.", registry=registry
        )
        for outcome in OUTCOMES:
            self.notifications.labels(outcome)


@dataclass(frozen=True)
class FlowHistory:
    """One flow's newest runs, the newest first, and when it last completed (seconds since 1970)."""

    runs: tuple[Run, ...]
    last_success: float | None


class FlowStates(Collector):
    """The flows' histories, polled in the background; after a failed poll their series are absent."""

    def __init__(self, prefect: Prefect, metrics: TriggerMetrics, seconds: float) -> None:
        self._prefect, self._metrics, self._seconds = prefect, metrics, seconds
        self._histories: dict[str, FlowHistory] | None = None

    @property
    def known(self) -> bool:
        """Say whether the last poll went well."""
        return self._histories is not None

    def start(self) -> None:
        """Poll for as long as the process lives."""
        threading.Thread(target=self._poll_forever, name="prefect-poll", daemon=True).start()

    def poll(self) -> None:
        """Read the flows' newest runs from Prefect."""
        try:
            self._histories = {flow: self._read(flow) for flow in FLOWS}
        except (UnavailableError, RejectedError, ValueError, KeyError) as error:
            self._histories = None
            self._metrics.poll_failures.inc()
            log.warning("prefect_poll_failed", reason=str(error))

    def _poll_forever(self) -> None:
        pause = threading.Event()
        while True:
            self.poll()
            pause.wait(self._seconds)

    def _read(self, flow: str) -> FlowHistory:
        completed = self._prefect.newest_runs(flow, limit=1, state={"type": {"any_": ["COMPLETED"]}})
        ends = [run.end_time.timestamp() for run in completed if run.end_time]
        return FlowHistory(tuple(self._prefect.newest_runs(flow)), ends[0] if ends else None)

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last poll."""
        last = GaugeMetricFamily("flow_last_run_state", "1 for the state of the newest run.", labels=["flow", "state"])
        outcome = GaugeMetricFamily(
            "flow_last_run_outcome",
            "1 for the state's name, such as Promoted, of the newest run.",
            labels=["flow", "outcome"],
        )
        success = GaugeMetricFamily(
            "flow_last_success_timestamp_seconds", "When a run last completed, seconds since 1970.", labels=["flow"]
        )
        runs = GaugeMetricFamily("flow_runs", "The newest 200 runs by state.", labels=["flow", "state"])
        for flow, history in (self._histories or {}).items():
            newest = history.runs[0] if history.runs else None
            tally = Tally(run.state_type for run in history.runs)
            for state in STATES:
                last.add_metric([flow, state], float(newest is not None and newest.state_type == state))
                runs.add_metric([flow, state], tally[state])
            if newest is not None and newest.state_name:
                outcome.add_metric([flow, newest.state_name], 1)
            if history.last_success is not None:
                success.add_metric([flow], history.last_success)
        yield from (last, outcome, success, runs)
