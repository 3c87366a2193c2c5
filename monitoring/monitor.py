"""The monitor's loop: window, suite, snapshot, metrics, reports.

`generate_evidently_report` and `export_metrics_to_prometheus` are the two steps of a cycle, and stand by themselves
for whoever has two DataFrames.
"""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import prometheus_client
import structlog
from prometheus_client import CollectorRegistry

from monitoring.alarms.accuracy_estimate import AccuracyEstimator
from monitoring.alarms.loss_estimate import LossEstimator
from monitoring.alarms.sequential_tests import SequentialTests, Verdicts
from monitoring.alarms.trial_watch import TrialVerdict, TrialWatch
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.log_reader import read_rows
from monitoring.contract.part_reader import schemas_of
from monitoring.contract.parts import Unreadable, list_parts
from monitoring.contract.reference import InvalidReferenceError, Reference, read_reference
from monitoring.contract.storage import Place, Stamp, stamp_of
from monitoring.contract.times import BEFORE_ALL, from_microseconds
from monitoring.contract.values import UnfitColumnError, narrowed, narrowest
from monitoring.profile.allocator import release_memory
from monitoring.profile.bounds import Bounds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile
from monitoring.settings import MonitorSettings
from monitoring.snapshot import quality
from monitoring.snapshot.exporter import CycleMetrics, SnapshotCollector
from monitoring.snapshot.report_archive import ReportArchive
from monitoring.snapshot.snapshot import Origin, Snapshot
from monitoring.suite.assessment import assess
from monitoring.suite.frames import Frames, to_arrow
from monitoring.suite.suite import SuiteRun, run_suite
from monitoring.window.window import ProfiledWindow

log = structlog.get_logger(__name__)

# A snapshot holds for this many intervals: one slow or failed cycle is no gap, and a stuck monitor shows no old values.
LIFETIME_INTERVALS = 3
BIN = "bin"  # the label of ranges of a regression's predictions


class DataError(DriftloopError):
    """The data has nothing to do with the config."""


@dataclass(frozen=True)
class Report:
    """What was found, and Evidently's suite that found it; without enough rows there is no suite."""

    snapshot: Snapshot
    run: SuiteRun | None


def generate_evidently_report(
    reference_data: pd.DataFrame, current_data: pd.DataFrame, *, config: Config | None = None
) -> Report:
    """Hold current rows against reference rows: counts for any number of rows, an assessment for enough of them.

    Without a config it is that of DRIFTLOOP_CONFIG, or the built-in one. Raise DataError if the frames hold none of
    the config's features, or a column that cannot be what the config says.
    """
    config = config or _default_config()
    model = config.model
    for name, data in (("reference", reference_data), ("current", current_data)):
        if not set(model.features) & set(data.columns):
            raise DataError(f"the {name} data holds none of the config's features: {', '.join(model.features)}")
    try:
        ours, theirs = (to_arrow(data, model) for data in (reference_data, current_data))
        ours = narrowed(ours, narrowest([theirs.schema], model.numbers))
        grid = grid_of(model, ours, Bounds.of(config))
        reference, current = profile_rows(grid, ours), profile_rows(grid, theirs)
        frames = Frames.of(ours, theirs, model) if config.engine == "dataframe" else None
    except UnfitColumnError as error:
        raise DataError(str(error)) from error
    return report_on(config, reference, current, frames)


def report_on(
    config: Config, reference: Profile, current: Profile, frames: Frames | None = None, *, drawn: bool = True
) -> Report:
    """Hold the current rows' profile against the reference's; with `frames` of the same rows, by Evidently's engine.

    Not `drawn`, the run gives no HTML.
    """
    enough = current.rows >= config.minimum_rows
    run = run_suite(config, reference, current, frames, drawn=drawn) if enough else None
    return Report(extract_prometheus_metrics(run, config, reference, current), run)


def extract_prometheus_metrics(
    monitoring_suite: SuiteRun | None, config: Config, reference: Profile, current: Profile
) -> Snapshot:
    """Return what is exported of two profiles and of the suite that judged them; without a suite there are counts."""
    model = config.model
    return Snapshot(
        feature_prefix=config.metrics.feature_prefix,
        label=model.label or BIN,
        taken_at=datetime.now(UTC),
        rows=current.rows,
        minimum_rows=config.minimum_rows,
        first=from_microseconds(current.first) if current.last >= 0 else None,
        last=from_microseconds(current.last) if current.last >= 0 else None,
        labelled_rows=current.labelled,
        quality=quality.measure_quality(current),
        predictions=quality.share_predictions(current, reference),
        confidence=quality.confidence_quantiles(current),
        reference_rows=reference.rows,
        reference_predictions=quality.share_predictions(reference, reference),
        reference_missing_shares=quality.missing_shares(reference),
        missing_p_values=quality.missing_p_values(reference, current),
        reference_origin=None,
        assessment=assess(config, monitoring_suite, reference, current) if monitoring_suite else None,
        segments=monitoring_suite.segments if monitoring_suite else None,
    )


def export_metrics_to_prometheus(
    evidently_results: Report, collector: SnapshotCollector | None = None, lifetime: float = float("inf")
) -> None:
    """Publish what was found; without a collector of one's own, in prometheus_client's default registry."""
    (collector or _default_collector()).publish(evidently_results.snapshot, lifetime)


@functools.cache
def _default_config() -> Config:
    configured = os.environ.get("DRIFTLOOP_CONFIG")
    return load_config(configured or Path(__file__).with_name("config.yml"))


@functools.cache
def _default_collector() -> SnapshotCollector:
    collector = SnapshotCollector()
    prometheus_client.REGISTRY.register(collector)
    return collector


@dataclass(frozen=True)
class Watched:
    """A reference, its profile, the window held against it, the tests that look at each row once, and the estimator."""

    reference: Reference
    profile: Profile
    window: ProfiledWindow
    tests: SequentialTests | None
    trials: TrialWatch
    estimator: AccuracyEstimator
    loss_estimator: LossEstimator


@dataclass(frozen=True)
class MonitorState:
    """What the page shows: the last report, when a cycle last succeeded, why no later one did, and what it left out.

    While it is `waiting` for a first reference, the problem is no failure.
    """

    report: Report | None = None
    last_success: datetime | None = None
    problem: str | None = None
    waiting: bool = False
    unreadable: tuple[Unreadable, ...] = ()


class CycleError(DriftloopError):
    """A cycle could not be finished."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(reason)
        self.stage = stage


class WaitingForReferenceError(DriftloopError):
    """A first start: the flow `bootstrap` has not made, or not completed, the reference yet."""


@contextlib.contextmanager
def _stage(name: str) -> Iterator[None]:
    try:
        yield
    except (WaitingForReferenceError, CycleError):  # a stage within this one knows better
        raise
    except DriftloopError as error:
        raise CycleError(name, str(error)) from error
    except Exception as error:
        raise CycleError(name, f"{type(error).__name__}: {error}") from error


def _origin(reference: Reference) -> Origin:
    through = None if reference.through is None else from_microseconds(reference.through)
    return Origin(reference.origin, reference.model_version, reference.digest, through)


class Monitor:
    """Looks at the window again and again, and keeps what it saw last."""

    def __init__(self, config: Config, settings: MonitorSettings, registry: CollectorRegistry) -> None:
        self.config = config
        self.settings = settings
        self.archive = ReportArchive(settings.data_dir / "_reports", settings.reports_kept)
        self.state = MonitorState()
        self._layout = settings.layout(config.model)
        self._collector = SnapshotCollector()
        self._metrics = CycleMetrics(registry)
        self._reference: tuple[Stamp, Watched] | None = None
        self._verdicts: tuple[SequentialTests, Verdicts, float] | None = None  # what was said last, until when it holds
        self._unreadable: frozenset[Place] = frozenset()
        self._cycle_seconds = 0.0
        self._reported_verdict = ""
        self._reported_at = 0.0
        registry.register(self._collector)

    @property
    def fresh(self) -> bool:
        """Return whether a cycle succeeded within the last few intervals."""
        last = self.state.last_success
        return last is not None and (datetime.now(UTC) - last).total_seconds() < self._lifetime

    @property
    def _lifetime(self) -> float:
        return LIFETIME_INTERVALS * max(self.settings.monitor_interval_seconds, self._cycle_seconds)

    def run(self, stop: threading.Event) -> None:
        """Run a cycle every interval until told to stop."""
        while not stop.is_set():
            started = time.monotonic()
            self.cycle()
            stop.wait(max(0.0, self.settings.monitor_interval_seconds - (time.monotonic() - started)))

    def cycle(self) -> None:
        """Look at the window once; a failure is logged, counted and shown, never raised."""
        started = time.monotonic()
        try:
            report = self._look()
        except WaitingForReferenceError as waiting:
            if self.state.problem is None:
                log.warning("waiting_for_reference", reason=str(waiting))
            self.state = replace(self.state, problem=str(waiting), waiting=True)
        except CycleError as error:
            self.note_failure(error.stage, str(error), error)
        else:
            self._cycle_seconds = time.monotonic() - started
            self._publish(report)
            self._archive(report)
        release_memory()

    def note_failure(self, stage: str, reason: str, error: Exception) -> None:
        """Log, count and show why a cycle came to nothing."""
        log.error("cycle_failed", stage=stage, reason=reason, exc_info=error)
        self._metrics.failures.labels(stage).inc()
        self.state = replace(self.state, problem=f"{stage}: {reason}", waiting=False)

    def _look(self) -> Report:
        watched = self._read_reference()
        reference = watched.reference
        with _stage("read"):
            current, frames, unreadable = self._read_window(watched)
        verdicts = self._test(watched.tests)
        if verdicts is not None:
            later = (*verdicts.drift.unreadable, *(verdicts.harm.unreadable if verdicts.harm else ()))
            unreadable += tuple(file for file in later if file not in unreadable)
        self._note_unreadable(unreadable)
        with _stage("suite"):
            report = report_on(self.config, watched.profile, current, frames)
        snapshot = replace(
            report.snapshot,
            reference_origin=_origin(reference),
            # without their files: the snapshot is kept as JSON
            drift=replace(verdicts.drift, unreadable=()) if verdicts else None,
            accuracy=replace(verdicts.accuracy, unreadable=()) if verdicts and verdicts.accuracy else None,
            loss=replace(verdicts.loss, unreadable=()) if verdicts and verdicts.loss else None,
            estimate=watched.estimator.estimate(current, self.config.minimum_rows),
            loss_estimate=watched.loss_estimator.estimate(current, self.config.minimum_rows),
            trial=self._follow_trial(watched.trials),
        )
        return replace(report, snapshot=snapshot)

    def _test(self, tests: SequentialTests | None) -> Verdicts | None:
        """Let the sequential tests look; where they fail, what they said last holds for a while, as snapshots do."""
        if tests is None:
            return None
        try:
            self._verdicts = tests, tests.update(), time.monotonic() + self._lifetime
        except Exception as error:
            log.exception("alarms_failed", reason=str(error))
            self._metrics.failures.labels("alarms").inc()
        if self._verdicts is None or self._verdicts[0] is not tests or time.monotonic() >= self._verdicts[2]:
            return None
        return self._verdicts[1]

    def _follow_trial(self, trials: TrialWatch) -> TrialVerdict | None:
        """Let the trial of a challenger go on, if one is on; failing to is no failed cycle."""
        try:
            return trials.update()
        except Exception as error:
            log.exception("trial_failed", reason=str(error))
            self._metrics.failures.labels("trial").inc()
            return None

    def stop(self) -> None:
        """End what runs in the background."""
        if self._reference is not None and self._reference[1].tests is not None:
            self._reference[1].tests.stop()

    def _read_window(self, watched: Watched) -> tuple[Profile, Frames | None, tuple[Unreadable, ...]]:
        """Return the window's profile; for Evidently's own engine its rows too."""
        if self.config.engine == "profile":
            look = watched.window.look(watched.reference.through)
            return look.profile, None, look.unreadable
        model = self.config.model
        rows = read_rows(self._layout, model, self.config.window, after=watched.reference.through)
        frames = Frames.of(watched.reference.table, rows.table, model)
        return profile_rows(watched.profile.grid, rows.table), frames, rows.unreadable

    def _read_reference(self) -> Watched:
        """Read the reference, again only when its file was replaced."""
        with _stage("reference"):
            try:
                version = stamp_of(self._layout.reference.stat())
            except FileNotFoundError as error:
                self._reference = None
                raise self._absent(f"{self._layout.reference}: there is no reference") from error
            if self._reference is None or self._reference[0] != version:
                reference = self._load_reference()
                self.stop()
                self._reference = (version, self._watch(reference))
                log.info("reference_read", origin=reference.origin, rows=len(reference.table))
            return self._reference[1]

    def _watch(self, reference: Reference) -> Watched:
        reference = self._as_logged(reference)
        grid = grid_of(self.config.model, reference.table, Bounds.of(self.config))
        window = ProfiledWindow(self._layout, self.config, grid)
        tests = SequentialTests(self._layout, self.config, reference) if self.settings.drift_alarm == "on" else None
        model = self.config.model
        estimators = AccuracyEstimator(reference, model), LossEstimator(reference, model, grid)
        trials = TrialWatch(self._layout, self.config, reference)
        return Watched(reference, profile_rows(grid, reference.table), window, tests, trials, *estimators)

    def _as_logged(self, reference: Reference) -> Reference:
        """Return the reference in the narrower type where parts of the log hold a number in one, as old ones may."""
        after = BEFORE_ALL if reference.through is None else reference.through
        with _stage("read"):
            paths = [part.path for part in list_parts(self._layout.current)[0] if part.last > after]
            dated = (schema for schema in schemas_of(paths) if "timestamp" in schema.names)  # no window has others
            types = narrowest(dated, self.config.model.numbers)
        return replace(reference, table=narrowed(reference.table, types))

    def _load_reference(self) -> Reference:
        try:
            return read_reference(self._layout, self.config.model)
        except InvalidReferenceError as error:
            read_reference(self._layout, self.config.model, predicted=False)  # raises if more is wrong
            raise self._absent(f"{self._layout.reference}: holds no predictions") from error

    def _absent(self, what: str) -> DriftloopError:
        """Return the error for a reference that bootstrap makes or completes: before the first success, no failure."""
        if self.state.last_success is None:
            return WaitingForReferenceError(f"{what} yet; {self.config.first_model}")
        return InvalidReferenceError(what)

    def _note_unreadable(self, unreadable: tuple[Unreadable, ...]) -> None:
        """Count and log each unreadable file once, however many cycles meet it."""
        files = {file.path: file for file in reversed(unreadable)}  # the first reason that is given
        for path, file in files.items():
            if path not in self._unreadable:
                log.error("part_unreadable", path=file.shown, reason=file.reason)
                self._metrics.failures.labels("read_part").inc()
        self._unreadable = frozenset(files)
        self._metrics.unreadable.set(len(files))
        self.state = replace(self.state, unreadable=tuple(files.values()))

    def _publish(self, report: Report) -> None:
        export_metrics_to_prometheus(report, self._collector, self._lifetime)
        self._metrics.seconds.set(self._cycle_seconds)
        self._metrics.last_success.set(report.snapshot.taken_at.timestamp())
        self.state = replace(
            self.state, report=report, last_success=report.snapshot.taken_at, problem=None, waiting=False
        )
        log.info("cycle_done", rows=report.snapshot.rows, verdict=report.snapshot.verdict, seconds=self._cycle_seconds)

    def _archive(self, report: Report) -> None:
        """Keep a report now and then, and whenever the verdict changes; failing to is no failed cycle."""
        verdict = report.snapshot.verdict
        due = time.monotonic() - self._reported_at >= self.settings.report_interval_seconds
        if report.run is None or not (due or verdict != self._reported_verdict):
            return
        try:
            kept = self.archive.write(report.snapshot, report.run.html())
        except Exception as error:
            log.exception("report_failed", reason=str(error))
            self._metrics.failures.labels("report").inc()
            return
        self._reported_verdict, self._reported_at = verdict, time.monotonic()
        log.info("report_kept", id=kept, verdict=verdict)
