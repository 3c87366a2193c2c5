"""The loop in simulated time, hour by hour: rows and labels arrive, the monitor looks, alerts fire, flows run."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import pandas as pd
from prefect.client.schemas.objects import State

from benchmarks.loop.alerting import Alerting, Due
from benchmarks.loop.data_dir import DataDir
from benchmarks.loop.expressions import Gauges, gauges_of
from benchmarks.loop.servers import Asked, Clock, RegistryOf, ReplayedPrefect
from flows.bootstrap import bootstrap
from flows.registry.versions import Champion, load_champion, version_of
from flows.retrain import retrain
from flows.rollback import rollback
from flows.settings import TriggerSettings
from flows.trigger.decision import Trigger
from monitoring.alarms.accuracy import AccuracyVerdict
from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.alarms.sequential_tests import SequentialTests, Verdicts
from monitoring.contract.drift_state import Alarm
from monitoring.contract.history import read_history
from monitoring.contract.names import PREVIOUS
from monitoring.contract.reference import Reference, read_reference, reference_digest
from monitoring.contract.times import from_microseconds
from monitoring.snapshot.alarm_metrics import accuracy_metrics, drift_metrics

STEP = timedelta(hours=1)
LABELLED_AFTER = timedelta(days=1)
FLOWS: dict[str, Callable[..., Any]] = {"retrain": retrain, "rollback": rollback}
COOLDOWN = timedelta(seconds=TriggerSettings.model_fields["trigger_cooldown_seconds"].default)


@dataclass(frozen=True)
class Event:
    """Something that a person would have seen; `about` is JSON."""

    moment: datetime
    what: str
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Story:
    """What happened in a replay: its events, and the looks by what the monitor said."""

    events: list[Event] = field(default_factory=list)
    looks: int = 0
    in_alarm: int = 0
    learning: int = 0  # looks at which the alarm learned
    calibrations: list[float] = field(default_factory=list)  # seconds
    accuracy: float = 0.0  # of all answers whose row has a label
    accuracy_alone: float = 0.0  # what it would have been had the first champion answered every row
    say: Callable[[Event], None] = lambda _: None

    def tell(self, moment: datetime, what: str, **about: Any) -> None:
        """Add an event, and say it at once."""
        self.events.append(Event(moment, what, about))
        self.say(self.events[-1])


class Replay:
    """One DATA_DIR through a log's weeks; the environment names it, the config and MLflow, as the flows read them."""

    def __init__(self, data: DataDir, rows: pd.DataFrame, begin: datetime, end: datetime, story: Story) -> None:
        self.story = story
        self._data, self._rows, self._clock, self._end = data, rows, Clock(begin), end
        self._due = rows.timestamp + LABELLED_AFTER
        self._logged = pd.DataFrame()
        self._arrived = begin  # up to when rows and labels have arrived
        self._alerting = Alerting()
        self._prefect = ReplayedPrefect("replayed", clock=self._clock)
        self._trigger = Trigger(self._prefect, RegistryOf("replayed"), data.model.name, COOLDOWN)
        self._tests: SequentialTests | None = None
        self._reference: Reference | None = None
        self._champion: Champion | None = None
        self._previous: str | None = None
        self._alarm: Alarm | None = None
        self._learning = False
        self._inaccurate = False

    def run(self) -> Story:
        """Start as a user does, and go through all hours."""
        self._require(bootstrap(return_state=True))
        self._read_versions()
        first = self._champion
        assert first is not None
        while self._clock.now < self._end:
            hour = self._clock.now
            self._clock.now = min(hour + STEP, self._end)
            self._arrive(hour, self._clock.now)
            self._look()
            self.story.looks += 1
            self.story.in_alarm += self._alarm is not None
            self.story.learning += self._learning
            self._act(self._clock.now + STEP)
        if self._tests is not None:
            self._tests.stop()
        known = self._logged[self._logged.label.notna()]
        self.story.accuracy = float((known.predicted == known.label).mean())
        self.story.accuracy_alone = float((self._data.ask(known, first)[0] == known.label).mean())
        return self.story

    def _arrive(self, after: datetime, until: datetime) -> None:
        """Let the rows and the labels of an hour arrive."""
        assert self._champion is not None
        self._arrived = until
        times = self._rows.timestamp
        rows = self._rows[(times > after) & (times <= until)]
        if len(rows):
            self._logged = pd.concat([self._logged, self._data.log(rows, self._champion)])
        if len(self._logged):
            due = self._due.loc[self._logged.index]
            come = self._logged[(due > after) & (due <= until) & self._logged.label.notna()]
            if len(come):
                self._data.label(come, self._due.loc[come.index])

    def _look(self) -> None:
        """Let the monitor look, and Prometheus see what it exports."""
        if self._reference is None or reference_digest(self._data.layout) != self._reference.digest:
            self._read_reference()
        assert self._tests is not None
        verdicts = self._verdicts(self._tests)
        self._tell_alarms(verdicts)
        for name in self._alerting.observe(self._gauges(verdicts), self._clock.now):
            self.story.tell(self._clock.now, "resolved", alert=name)

    def _verdicts(self, tests: SequentialTests) -> Verdicts:
        """Return what the tests find; a calibration takes no time of the replay's, learning does."""
        begun, calibrating = time.perf_counter(), False
        while (verdicts := tests.update(self._clock.now)).drift.detector is None and not verdicts.drift.learning_until:
            calibrating = True
            time.sleep(0.1)
        if calibrating:
            self.story.calibrations.append(time.perf_counter() - begun)
        self._learning = verdicts.drift.learning_until is not None
        return verdicts

    def _read_reference(self) -> None:
        """Begin anew with the reference that is there now."""
        if self._tests is not None:
            self._tests.stop()
        self._reference = read_reference(self._data.layout, self._data.model)
        self._tests = SequentialTests(self._data.layout, self._data.config, self._reference)
        performance = self._reference.performance
        self.story.tell(
            self._clock.now,
            "reference",
            origin=self._reference.origin,
            version=self._reference.model_version,
            rows=len(self._reference.table),
            **_span(self._reference),
            accuracy=performance.accuracy if performance else None,
        )

    def _read_versions(self) -> None:
        """Serve the champion that there is now, and note the version that served before it."""
        self._champion = load_champion(self._data.model)
        self._previous = version_of(self._data.model.name, PREVIOUS)

    def _gauges(self, verdicts: Verdicts) -> Gauges:
        gauges = gauges_of([*drift_metrics(verdicts.drift), *accuracy_metrics(verdicts.accuracy, None)])
        if self._previous is not None:
            gauges["mlflow_version_alias"] = [({"alias": PREVIOUS, "version": self._previous}, 1.0)]
        return gauges

    def _tell_alarms(self, verdicts: Verdicts) -> None:
        alarm = verdicts.drift.alarm
        if self._alarm is not None and alarm is None:
            self.story.tell(self._clock.now, "over")
        if alarm is not None and alarm != self._alarm:
            self.story.tell(self._clock.now, "alarm", **_describe(alarm, verdicts.drift))
        self._alarm = alarm
        if (inaccurate := _is_inaccurate(verdicts.accuracy)) != self._inaccurate:
            self._inaccurate = inaccurate
            found = verdicts.accuracy
            about = {"right": found.right, "rows": found.rows, "at_promotion": found.at_promotion} if found else {}
            self.story.tell(self._clock.now, "accuracy alarm" if inaccurate else "accuracy alarm over", **about)

    def _act(self, until: datetime) -> None:
        """Let alerts fire, the trigger decide and flows run until the monitor's next look at new rows."""
        hour = self._clock.now
        while due := self._alerting.take(until):
            self._clock.now = max(due.moment, self._clock.now)
            if due.notification is None:
                self.story.tell(due.moment, "alert", alert=due.alert)
            else:
                self._decide(due)
        self._clock.now = hour

    def _decide(self, due: Due) -> None:
        assert due.notification is not None
        decision = self._trigger.decide(due.notification, self._clock.now)
        self.story.tell(self._clock.now, "decision", alert=due.alert, **decision.as_json())
        for asked in [one for one in self._prefect.asked if not one.run.ended]:
            self._run(asked)

    def _run(self, asked: Asked) -> None:
        """Run a flow that the trigger has asked for, and let the monitor see what came of it."""
        assert self._reference is not None
        labels = self._labels_since(self._reference.through)
        since_onset = self._labels_since(self._alarm.onset if self._alarm else None)
        begun = time.perf_counter()
        with patch("flows.rollback.datetime", wraps=datetime) as present:  # a rollback's window begins at the present
            present.now.return_value = self._clock.now
            state = FLOWS[asked.flow](asked.parameters["alert"], return_state=True)
        self._clock.now += timedelta(seconds=time.perf_counter() - begun)
        self._prefect.end(asked, str(state.name), state.type.value, self._clock.now)
        newest = next(iter(read_history(self._data.layout, 1)), None)
        self.story.tell(
            self._clock.now,
            "run",
            flow=asked.flow,
            outcome=state.name,
            message=state.message,
            labels_since_reference=labels,
            labels_since_onset=since_onset,
            scores=newest.model_dump(mode="json", include={"champion", "candidate", "rows"}) if newest else None,
        )
        self._read_versions()
        self._look()

    def _labels_since(self, moment: int | None) -> int:
        """Return how many rows later than a moment have their label by now."""
        if not len(self._logged):
            return 0
        there = self._logged.label.notna() & (self._due.loc[self._logged.index] <= self._arrived)
        after = pd.Timestamp(0, tz=UTC) if moment is None else pd.Timestamp(from_microseconds(moment))
        return int((there & (self._logged.timestamp > after)).sum())

    @staticmethod
    def _require(state: State[Any]) -> None:
        if not state.is_completed():
            raise RuntimeError(f"bootstrap has failed: {state.message}")


def _is_inaccurate(verdict: AccuracyVerdict | None) -> bool:
    return verdict is not None and verdict.detected


def _span(reference: Reference) -> dict[str, str]:
    """Return when the reference's first and last row came, and the one in the middle."""
    times = reference.table["timestamp"].to_pandas().sort_values()
    places = {"first": 0, "middle": len(times) // 2, "last": -1}
    return {name: times.iloc[place].isoformat() for name, place in places.items()}


def _describe(alarm: Alarm, verdict: DriftVerdict) -> dict[str, Any]:
    found = verdict.attribution
    columns = sorted((c for c in found.columns if c.direction), key=lambda c: -c.contribution) if found else []
    return {
        "kind": alarm.kind,
        "onset": from_microseconds(alarm.onset).isoformat(),
        "noticed": from_microseconds(alarm.noticed).isoformat(),
        "changed": [f"{c.column} {c.direction}" for c in columns[:3]],
        "effect": found.effect if found else None,
    }


def set_environment(folder: Path, config: Path) -> None:
    """Say to the flows of this process where their files are and which MLflow is theirs."""
    tracking = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ |= {"DATA_DIR": str(folder / "data"), "DRIFTLOOP_CONFIG": str(config), "MLFLOW_TRACKING_URI": tracking}
    mlflow.set_tracking_uri(tracking)
    mlflow.create_experiment("flights", artifact_location=(folder / "artifacts").as_uri())
