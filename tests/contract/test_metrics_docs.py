"""docs/metrics.md and the code name the same metrics."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from api.metrics import APIMetrics, ChallengerMetrics
from flows.clients.mlflow import MLflow
from flows.clients.prefect import Prefect
from flows.trigger.metrics import TriggerMetrics, Watched, watch
from monitoring.alarms.loss import LossTest
from monitoring.alarms.loss_estimate import LossEstimate
from monitoring.alarms.trial_watch import TrialVerdict
from monitoring.contract.reference import Performance, ReliabilityCurve
from monitoring.contract.trial import Trial
from monitoring.fleet.fleet import Fleet
from monitoring.fleet.fleet_metrics import FleetCollector
from monitoring.monitor import export_metrics_to_prometheus, generate_evidently_report
from monitoring.settings import MonitorSettings
from monitoring.snapshot.alarm_metrics import loss_estimate_metrics, loss_metrics
from monitoring.snapshot.exporter import SnapshotCollector
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.models import GENRES
from tests.unit.monitor_fixtures import keep_calibration, keep_reference, log_rows, make_rows, monitor_of

DOCS = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
ROW = re.compile(
    r"^\| `(?P<name>[a-z][a-z0-9_]*)(?:\{(?P<labels>[a-z_,]+)\})?` \| (?P<unit>[^|]+) \| (?P<meaning>.+) \|$"
)


PREFIX = {"feature_prefix": "mfcc"}
BY_DISTANCE = {"default": {"test": "ks", "threshold": 0.05}, "categorical": {"test": "psi", "threshold": 0.1}}


def _documented(section: str) -> dict[str, frozenset[str]]:
    """Return the metrics in a section's tables, each with its labels."""
    _, _, rest = DOCS.partition(f"\n## {section}\n")
    lines = rest.partition("\n## ")[0].splitlines()
    rows = [match for line in lines if (match := ROW.fullmatch(line))]
    assert len(rows) == len([line for line in lines if line.startswith("| `")]), "a row of the table has another form"
    return {row["name"]: frozenset((row["labels"] or "").split(",")) - {""} for row in rows}


def _exported(registry: CollectorRegistry) -> dict[str, frozenset[str]]:
    """Return the names that a scrape shows, each with the labels of its series."""
    families: Iterable[Any] = registry.collect()
    shown = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {frozenset(s.labels) - {"le"} for s in family.samples if not s.name.endswith("_created")}
        shown[name] = frozenset[str]().union(*labels)
    return shown


def test_the_monitors_metrics_are_documented(tmp_path: Path) -> None:
    """Every metric of a cycle in which nothing is absent is documented with its labels, and no other is."""
    performance = Performance(0.7, 300, ReliabilityCurve((0.0, 1.0), (0.1, 0.9), (150, 150)))
    keep_reference(tmp_path, GENRES, make_rows(GENRES, 300), performance=performance)
    keep_calibration(tmp_path, GENRES, populations=3)
    log_rows(tmp_path, GENRES, make_rows(GENRES, 300, seed=1, shift=3.0))
    monitor, registry = monitor_of(tmp_path, GENRES, drift_alarm="on")
    monitor.cycle()
    shown = _exported(registry) | _of_errors() | _of_a_trial() | _of_many_models(tmp_path)
    in_groups = trips(metrics=PREFIX)
    in_groups = in_groups.model_copy(update={"model": in_groups.model.model_copy(update={"segments": ("zone",)})})
    for config in (in_groups, tips(metrics=PREFIX, drift=BY_DISTANCE)):  # what a genre's config has not
        others = CollectorRegistry()
        collector = SnapshotCollector()
        others.register(collector)
        frames = [pa.table(trip_rows(600, seed)).to_pandas().assign(confidence=0.8) for seed in (0, 1)]
        frames[1].loc[frames[1]["zone"] == "station", "distance"] *= 9  # which explains what differs
        export_metrics_to_prometheus(generate_evidently_report(*frames, config=config), collector)
        shown = _exported(others) | shown
    assert shown == _documented("Monitor")


def _of_many_models(folder: Path) -> dict[str, frozenset[str]]:
    """Return the metrics of a monitor of many models, one of whose files is faulty."""
    configs, registry = folder / "configs", CollectorRegistry()
    configs.mkdir()
    (configs / "faulty.yml").write_text("model: [")
    fleet = Fleet(configs, MonitorSettings(data_dir=folder))
    fleet.scan()
    registry.register(FleetCollector(fleet))
    return _exported(registry)


def _of_a_trial() -> dict[str, frozenset[str]]:
    """Return the metrics of a challenger on trial."""
    registry, collector = CollectorRegistry(), SnapshotCollector()
    registry.register(collector)
    trial = Trial(version="4", champion="3", mode="shadow", began=datetime.now(UTC))
    losses = {"champion_loss": 0.3, "challenger_loss": 0.2}
    scores = {"score_promote": 0.4, "score_drop": -0.4, "threshold": 1.3}
    found = TrialVerdict(trial, answered=9, rows=8, unanswered=0, needed=400, block=0.0, **losses, **scores)
    quiet = generate_evidently_report(make_rows(GENRES, 20), make_rows(GENRES, 20), config=GENRES).snapshot
    collector.publish(replace(quiet, trial=found))
    return {name: labels for name, labels in _exported(registry).items() if name.startswith("rollout_")}


def _of_errors() -> dict[str, frozenset[str]]:
    """Return the metrics of the test of a regression's errors."""
    test = LossTest(Performance(None, 400, mae=2.0, mae_bound=20.0, mae_deviation=2.0))
    test.add(np.array([1.0]), 1_000)
    families = [*loss_metrics(test.verdict()), *loss_estimate_metrics(LossEstimate(4.0, 3.0, 5.0, 300, 6.0, 10))]
    return {family.name: frozenset() for family in families}


def test_the_apis_metrics_are_documented() -> None:
    """Every metric of the API is documented, and no other is."""
    metrics = APIMetrics(GENRES.model)
    ChallengerMetrics(metrics.make)
    assert {*_exported(metrics.registry)} == {*_documented("API")}


def test_the_triggers_metrics_are_documented() -> None:
    """Every metric of the trigger is documented, and no other is."""
    registry = CollectorRegistry()
    TriggerMetrics(registry)
    watch(Prefect(""), MLflow(""), Watched(lambda: ["model"]), 1, registry)
    assert {*_exported(registry)} == {*_documented("Trigger")}


@pytest.mark.parametrize("section", [pytest.param(s, id=s.lower()) for s in ("Monitor", "API", "Trigger")])
def test_each_definition_is_complete(section: str) -> None:
    """A section's tables have rows of a name, a unit and a meaning, and no name has two."""
    names = re.findall(r"^\| `([a-z0-9_]+)", DOCS, flags=re.MULTILINE)
    assert len(names) == len(set(names))
    assert _documented(section)


def test_the_missions_names_are_exported() -> None:
    """The names that dashboards and rules elsewhere rely on are there, exactly, and say what the mission says."""
    export_metrics_to_prometheus(generate_evidently_report(make_rows(GENRES, 250), make_rows(GENRES, 250, seed=1)))
    value = REGISTRY.get_sample_value
    assert value("mfcc_drift_p_value", {"feature": "mfcc_13"}) is not None
    assert value("prediction_distribution", {"genre": "rock"}) is not None
    for name in ("data_quality_score", "rowcount", "missing_values"):
        assert value(name) is not None
    assert {family.name: family.documentation for family in REGISTRY.collect()}.items() >= {
        "mfcc_drift_p_value": "MFCC feature drift p-value",
        "prediction_distribution": "Genre prediction frequency",
        "data_quality_score": "Overall data quality",
        "rowcount": "Number of prediction records",
        "missing_values": "Count of missing values",
    }.items()
