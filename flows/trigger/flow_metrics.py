"""The flows' runs as metrics, as of the last poll of Prefect."""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flows.clients.prefect import DEPLOYMENT, NEWEST, WAITING, FlowRun, Prefect, tags_of
from flows.clients.rest import UnavailableError
from flows.trigger.notification import ACTIONS
from flows.trigger.polling import Poll
from flows.trigger.waiting import held_until, inconclusive, newest_episode, newest_first

FLOWS = ("bootstrap", "retrain", "rollback")
STATES = ("COMPLETED", "FAILED", "CRASHED", "PENDING", "RUNNING", "SCHEDULED", "CANCELLING", "CANCELLED")
_OWN = 20  # newest runs of a model that are asked for if others' are too many
_COMPLETED = 20  # newest completed runs that are looked at for one that is not dated ahead of the clock


@dataclass(frozen=True)
class FlowHistory:
    """One flow's newest runs, the newest first, and when it last completed (seconds since 1970).

    Runs that are dated ahead of the clock come last; `ahead` counts them.
    `served`: whether a runner asks for its runs; None for a flow that no alert asks for.
    """

    runs: tuple[FlowRun, ...]
    last_success: float | None
    served: bool | None
    ahead: int

    @property
    def last_duration(self) -> float | None:
        """Return the seconds that the newest run took that has ended."""
        return next((run.seconds for run in self.runs if run.seconds is not None), None)


FlowHistories = Mapping[tuple[str, str | None], FlowHistory]  # by flow, and by which of many models


def read_histories(prefect: Prefect, models: Sequence[str | None] = (None,)) -> FlowHistories:
    """Ask Prefect for the flows' newest runs: three requests per flow, of a bounded size.

    Of many models each has a history of its own; that of no model is of all runs. Two more requests are about each
    model of which others' runs have left few among the newest.
    """
    found = {flow: _read_histories(prefect, flow, models) for flow in FLOWS}
    return {(flow, model): history for flow, histories in found.items() for model, history in histories.items()}


def _read_histories(prefect: Prefect, flow: str, models: Sequence[str | None]) -> Mapping[str | None, FlowHistory]:
    now = datetime.now(UTC)
    all_runs = _of_each(prefect, flow, models, NEWEST)
    # Asked after the runs: one that ends in between is never shown as completed beside an older success.
    limit = _COMPLETED if None in models else NEWEST
    completed = _of_each(prefect, flow, models, limit, state={"type": {"any_": ["COMPLETED"]}})
    served = _is_served(prefect, flow) if flow in ACTIONS else None
    histories = {}
    for model in models:
        own = tuple(newest_first(all_runs[model], now))
        ends = [run.end_time.timestamp() for run in newest_first(completed[model], now) if run.end_time]
        histories[model] = FlowHistory(own, ends[0] if ends else None, served, sum(run.is_ahead(now) for run in own))
    return histories


def _of_each(
    prefect: Prefect, flow: str, models: Sequence[str | None], limit: int, **run_filter: Any
) -> Mapping[str | None, list[FlowRun]]:
    """Return the newest runs of each model; that of no model are all runs."""
    found = prefect.newest_runs(flow, limit=limit, **run_filter)
    whose = {model: [run for run in found if model in (None, run.model)] for model in models}
    if len(found) == limit:
        for model, runs in whose.items():
            if model is not None and len(runs) < _OWN:
                whose[model] = prefect.newest_runs(flow, limit=_OWN, tags={"all_": tags_of(model)}, **run_filter)
    return whose


def _is_served(prefect: Prefect, flow: str) -> bool:
    try:
        return prefect.deployment_status(flow, DEPLOYMENT) == "READY"
    except UnavailableError as error:
        if error.status == HTTPStatus.NOT_FOUND:  # no runner has ever served it
            return False
        raise


class FlowStates(Collector):
    """The series of the flows' histories; absent after a poll that failed."""

    def __init__(self, poll: Poll[FlowHistories], cooldown: timedelta, *, many: bool = False) -> None:
        self._poll, self._cooldown, self._labels = poll, cooldown, ["flow", *(["model"] if many else [])]

    def collect(self) -> Iterator[Metric]:
        """Yield the series of the last poll."""
        yield from self._states()
        yield from self._waits()

    def _histories(self) -> Iterator[tuple[list[str], FlowHistory]]:
        """Yield each history with the values of its labels."""
        for (flow, model), history in (self._poll.seen or {}).items():
            yield ([flow] if model is None else [flow, model]), history

    def _waits(self) -> Iterator[Metric]:
        """Yield how long the alert of each flow's newest run has to wait before it may ask again, and why."""
        failed = GaugeMetricFamily(
            "flow_inconclusive_runs",
            "Runs for the alert of the newest run that could conclude nothing.",
            labels=self._labels,
        )
        held = GaugeMetricFamily(
            "flow_held_until_timestamp_seconds",
            "Until when the alert of the newest run may not ask again, seconds since 1970.",
            labels=self._labels,
        )
        for whose, history in self._histories():
            if whose[0] in ACTIONS and history.runs:
                runs = newest_episode(history.runs)
                failed.add_metric(whose, inconclusive(runs))
                if runs[0].ended and (until := held_until(runs, self._cooldown, datetime.now(UTC))):
                    held.add_metric(whose, until.timestamp())
        yield from (failed, held)

    def _states(self) -> Iterator[Metric]:
        last = GaugeMetricFamily(
            "flow_last_run_state", "1 for the state of the newest run.", labels=[*self._labels, "state"]
        )
        outcome = GaugeMetricFamily(
            "flow_last_run_outcome",
            "1 for the state's name, such as Promoted, of the newest run.",
            labels=[*self._labels, "outcome"],
        )
        success = GaugeMetricFamily(
            "flow_last_success_timestamp_seconds", "When a run last completed, seconds since 1970.", labels=self._labels
        )
        duration = GaugeMetricFamily(
            "flow_last_run_duration_seconds", "Seconds that the newest run took that has ended.", labels=self._labels
        )
        runs = GaugeMetricFamily("flow_runs", "The newest 200 runs by state.", labels=[*self._labels, "state"])
        served = GaugeMetricFamily("flow_runner_up", "1 while a runner asks for the flow's runs.", labels=self._labels)
        waiting = GaugeMetricFamily("flow_runs_waiting", "Runs asked for that have not begun.", labels=self._labels)
        ahead = GaugeMetricFamily("flow_runs_ahead_of_clock", "Runs dated ahead of the clock.", labels=self._labels)
        for whose, history in self._histories():
            newest = history.runs[0] if history.runs else None
            tally = Tally(run.state_type for run in history.runs)
            for state in STATES:
                last.add_metric([*whose, state], float(newest is not None and newest.state_type == state))
                runs.add_metric([*whose, state], tally[state])
            waiting.add_metric(whose, sum(tally[state] for state in WAITING))
            ahead.add_metric(whose, history.ahead)
            if newest is not None and newest.state_name:
                outcome.add_metric([*whose, newest.state_name], 1)
            values = ((success, history.last_success), (duration, history.last_duration), (served, history.served))
            for family, value in values:
                if value is not None:
                    family.add_metric(whose, value)
        yield from (last, outcome, success, duration, runs, waiting, ahead, served)
