"""The harness of `make bench-loop`: rules, waits, faults and figures, on small made data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from prometheus_client.core import GaugeMetricFamily

from benchmarks.loop.alerting import Alerting, Route, Rule, notification_of, read_route, read_rules
from benchmarks.loop.data_dir import DataDir, write_config
from benchmarks.loop.episodes import episode_table
from benchmarks.loop.events import event_table
from benchmarks.loop.expressions import gauges_of, holds
from benchmarks.loop.servers import Clock, RegistryOf, ReplayedPrefect
from benchmarks.loop.summary import summarise, summary_table
from benchmarks.loop.traffic import FAULTS, Fault
from flows.registry.versions import Champion
from flows.training.export import export_onnx
from flows.training.pipeline import train
from flows.training.sample import sample_of
from flows.trigger.decision import Trigger
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.reference import read_reference

NOON = datetime(2013, 10, 20, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
RULE = Rule(
    "Drift", "max(drift_effect_size) >= 0.1 and on () max(drift_detected) == 1", 5 * MINUTE, {"action": "retrain"}
)


def gauges(**values: float) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {name: [({}, value)] for name, value in values.items()}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("a == 1", True, id="one series"),
        pytest.param("max(a) > 1", False, id="an aggregation"),
        pytest.param('max(a{kind="x"}) == 1', False, id="a matcher that meets none"),
        pytest.param("max(b) == 2 and on () max(a) == 1", True, id="and"),
        pytest.param("max(b) == 2 unless on () max(a) == 1", False, id="unless"),
        pytest.param("max(b) == 2 unless on () max(absent) == 1", True, id="unless of what is absent"),
        pytest.param("max(absent) == 0", False, id="what is absent has no value"),
    ],
)
def test_expressions(expression: str, *, expected: bool) -> None:
    assert holds(expression, gauges(a=1.0, b=2.0)) is expected


def test_an_expression_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="does not know"):
        holds("rate(a[5m]) > 1", {})


def test_gauges_are_read_as_they_are_scraped() -> None:
    family = GaugeMetricFamily("drift_cause", "The statistic.", labels=["kind"])
    family.add_metric(["distance"], 1)
    assert holds('drift_cause{kind="distance"} == 1', gauges_of([family]))


def test_the_rules_that_ask_for_flows_are_known_and_their_route() -> None:
    """Each can be evaluated: a rule that the replay does not understand fails here, and not after minutes."""
    rules = {rule.name: rule for rule in read_rules()}
    assert {"ModelDrift", "ModelTurnedBad"} <= set(rules)
    assert rules["ModelDrift"].hold == 5 * MINUTE
    for rule in rules.values():
        assert holds(rule.expression, {}) is False
    drift = gauges(drift_detected=1.0, drift_effect_size=0.2)
    bad = {**gauges(accuracy_drop_detected=1.0), "mlflow_version_alias": [({"alias": "previous"}, 1.0)]}
    assert holds(rules["ModelDrift"].expression, drift)
    assert holds(rules["ModelTurnedBad"].expression, bad)
    assert not holds(rules["ModelTurnedBad"].expression, {**bad, **drift})
    assert read_route().repeat == 15 * MINUTE


def test_an_alert_fires_after_its_time_and_is_told_again_until_it_is_over() -> None:
    alerting = Alerting([RULE], Route(10 * timedelta(seconds=1), 15 * MINUTE))
    on, off = gauges(drift_detected=1.0, drift_effect_size=0.2), gauges(drift_detected=0.0)
    assert list(alerting.observe(on, NOON)) == []
    assert alerting.take(NOON + 4 * MINUTE) is None
    took = []
    while due := alerting.take(NOON + 36 * MINUTE):
        took.append(((due.moment - NOON) / MINUTE, due.notification is not None))
    assert took == [(5, False), (5 + 1 / 6, True), (20 + 1 / 6, True), (35 + 1 / 6, True)]
    assert alerting.firing == ["Drift"]
    assert list(alerting.observe(off, NOON + HOUR)) == ["Drift"]
    assert alerting.take(NOON + 9 * HOUR) is None


class Registry(RegistryOf):
    def champion(self, name: str) -> str:  # noqa: ARG002 - as the registry's
        return "1"


def test_the_trigger_waits_in_simulated_time() -> None:
    """The real decision: after each run that concludes nothing it waits longer, by the replay's clock."""
    clock = Clock(NOON)
    prefect = ReplayedPrefect("replayed", clock=clock)
    trigger = Trigger(prefect, Registry("replayed"), "flights", 15 * MINUTE)
    notification, runs = notification_of(RULE, NOON), []
    for _ in range(24 * 4):
        decision = trigger.decide(notification, clock.now)
        if decision.outcome == "accepted":
            runs.append((clock.now - NOON) / HOUR)
            prefect.end(prefect.asked[-1], "TooFewLabels", "COMPLETED", clock.now)
        else:
            assert decision.outcome == "cooldown"
        clock.now += 15 * MINUTE
    assert runs == [0, 0.25, 1.25, 5.25, 21.25]


def rows_of(days: int = 2) -> pd.DataFrame:
    rng, n = np.random.default_rng(0), 48 * days
    times = pd.date_range(NOON, periods=n, freq="30min")
    late = rng.random(n) < 0.5
    return pd.DataFrame(
        {
            "timestamp": times,
            "distance": rng.normal(size=n) + 3 * late,
            "temp": np.where(np.arange(n) == 3, np.nan, 50.0),
            "sched_min": 600.0,
            "label": np.where(np.arange(n) == 5, None, np.where(late, "late", "punctual")),
        }
    )


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_changes_what_comes_while_it_is_there(kind: str) -> None:
    rows, fault = rows_of(), Fault(kind, NOON + 6 * HOUR, NOON + 12 * HOUR)
    changed = (fault.put_into(rows).fillna(0) != rows.fillna(0)).any(axis=1)
    assert set(np.flatnonzero(changed)) <= set(range(12, 24))
    assert changed.sum() == 12
    assert [moment for moment, _ in fault.changes] == [fault.begin, fault.end]


def test_faults_are_read_from_words() -> None:
    """Days begin at New York's midnight, before and after the clocks change."""
    fault = Fault.parse("hour@2013-10-20..2013-11-04")
    assert (fault.begin, fault.end) == (datetime(2013, 10, 20, 4, tzinfo=UTC), datetime(2013, 11, 4, 5, tzinfo=UTC))
    assert Fault.parse("km@2013-10-20").end is None
    for wrong in ("miles@2013-10-20", "km"):
        with pytest.raises(ValueError, match="is no fault"):
            Fault.parse(wrong)


def test_the_data_dir_is_what_the_services_read(tmp_path: Path) -> None:
    """The reference knows its times; the log holds the champion's answers, and labels find their rows."""
    config = load_config(write_config(tmp_path, ["distance", "temp"]))
    data, rows = DataDir(config, Layout(tmp_path / "data")), rows_of()
    data.write_reference(rows)
    reference = read_reference(data.layout, data.model, predicted=False).table
    assert reference["timestamp"].null_count == 0
    assert (reference["arrived"].null_count, reference["temp"].null_count) == (1, 1)
    exported = export_onnx(train(sample_of(reference, data.model)), data.model)
    champion = Champion("7", load_onnx(exported.SerializeToString(), data.model))
    logged = data.log(rows, champion)
    assert (data.ask(rows, champion)[0] == logged.predicted).all()
    labelled = logged[logged.label.notna()].iloc[:40]
    data.label(labelled, labelled.timestamp + 24 * HOUR)
    table = read_rows(data.layout, data.model, config.window).table
    assert len(table) == len(rows)
    assert len(table["arrived"].drop_null()) == 40
    assert pc.all(pc.equal(table["arrived"], pa.array(rows.label, pa.string(), from_pandas=True)).drop_null()).as_py()
    (part,) = data.layout.current.glob("*.parquet")
    assert set(pq.read_table(part)["model_version"].to_pylist()) == {"7"}


def event(hours: float, what: str, **about: Any) -> dict[str, Any]:
    return {"moment": (NOON + hours * HOUR).isoformat(), "what": what, "about": about}


def run(hours: float, outcome: str, labels: int) -> dict[str, Any]:
    about = {"flow": "retrain", "outcome": outcome, "message": "so it ended", "scores": None}
    return event(hours, "run", **about, labels_since_onset=labels, labels_since_reference=labels)


def reference(hours: float, middle: float) -> dict[str, Any]:
    span = {name: (NOON + at * HOUR).isoformat() for name, at in (("first", middle - 5), ("middle", middle))}
    last = (NOON + hours * HOUR).isoformat()
    return event(hours, "reference", origin="rebased", version="2", rows=500, accuracy=0.8, **span, last=last)


def replay() -> dict[str, Any]:
    """A change after two hours is found after three, and settled by the second re-base."""
    alarm = {"kind": "distance", "onset": (NOON + 2 * HOUR).isoformat(), "changed": ["temp down"], "effect": 0.3}
    held = {"alert": "ModelDrift", "outcome": "cooldown", "until": (NOON + 24 * HOUR).isoformat(), "inconclusive": 2}
    return {
        "name": "made",
        "begin": NOON.isoformat(),
        "end": (NOON + 48 * HOUR).isoformat(),
        "minimum_labels": 400,
        "looks": 48,
        "learning": 0,
        "in_alarm": 12,
        "accuracy": 0.8,
        "accuracy_alone": 0.75,
        "changes": [[(NOON + 2 * HOUR).isoformat(), "distance in kilometres"]],
        "events": [
            event(5, "alarm", **alarm),
            run(6, "TooFewLabels", 100),
            event(6, "decision", **held),
            event(7, "decision", **held),
            run(20, "TooFewLabels", 450),
            run(24, "Accepted", 800),
            reference(24, middle=1),
            event(24, "over"),
            event(25, "alarm", **alarm),
            run(40, "Promoted", 900),
            reference(40, middle=30),
        ],
    }


def test_the_figures_of_a_replay() -> None:
    found = summarise(replay())
    assert (found["runs"], found["runs_a_day"], found["most_runs_on_a_day"]) == (4, 2.0, 2)
    assert found["outcomes"] == {"TooFewLabels": 2, "Accepted": 1, "Promoted": 1}
    assert found["too_few_though_there_since_onset"] == 1
    assert (found["alarms"], found["alarms_soon_after_rebase"], found["share_in_alarm"]) == (2, 1, 0.25)
    (change,) = found["changes"]
    assert (change["hours_to_alarm"], change["hours_to_settled"], change["outcome"]) == (3, 38, "Promoted")
    assert "| 80.0%; 75.0% |" in summary_table([replay()])
    assert "| made | distance in kilometres | 10-20 10:00 | 3.0 h | 38.0 h, Promoted |" in summary_table([replay()])


def test_a_change_that_nobody_settles_is_never_settled() -> None:
    made = replay()
    made["events"] = made["events"][:8]
    (change,) = summarise(made)["changes"]
    assert (change["hours_to_alarm"], change["hours_to_settled"]) == (3, None)


def test_requests_that_are_held_back_are_one_line() -> None:
    lines = event_table(replay()).splitlines()
    assert len(lines) == 2 + len(replay()["events"])  # the change has a line, two requests have one
    assert "2 times until 10-21 08:00" in "\n".join(lines)
    assert any("**the data changes**" in line for line in lines)


def test_an_alarm_is_one_line_with_what_came_of_it() -> None:
    change, first, second = episode_table(replay()).splitlines()[2:]
    assert "**distance in kilometres**" in change
    assert "temp down; effect 0.30" in first
    assert "2 cooldown | 2 TooFewLabels, **Accepted** | 10-21 08:00, re-based: version 2" in first
    assert "**Promoted**" in second
