"""The sequential test of harm to a regression: its bound, its promise, and which labels count."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from monitoring.alarms.harm_watch import HarmWatch
from monitoring.alarms.loss import LossTest, LossVerdict, upper_bound
from monitoring.alarms.outcome_blocks import Blocks, blocks_of
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Performance, Reference, read_reference
from monitoring.snapshot.alarm_metrics import loss_metrics
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.monitor_fixtures import START, keep_reference, label_rows, log_rows

PROMISE = 10_000
MODEL = trips().model


def errors(rng: np.random.Generator, rows: int, mean: float = 2.0) -> np.ndarray:
    """Draw absolute errors with a heavy tail, as arrival delays have."""
    return mean * rng.lognormal(-0.5, 1.0, rows)


def measured(seed: int, rows: int = 1_000) -> Performance:
    return Performance.of_errors(pa.array(errors(np.random.default_rng(seed), rows)))


def add(test: LossTest, values: np.ndarray, promise: float = PROMISE) -> LossVerdict:
    test.add(values, promise)
    return test.verdict()


@pytest.mark.parametrize("rows", [30, 300, 3_000])
@pytest.mark.parametrize(
    ("a", "b"),
    [pytest.param(0.3, 3.0, id="skewed"), pytest.param(0.05, 0.05, id="none or all"), pytest.param(2, 2, id="even")],
)
def test_the_bound_holds_the_true_mean(rows: int, a: float, b: float) -> None:
    """Whatever the values are like, the mean lies above the bound in one promotion of twenty at most."""
    rng = np.random.default_rng(1)
    drawn = rng.beta(a, b, (400, rows))
    bounds = np.array([upper_bound(float(of.mean()), float(of.std()), rows) for of in drawn])
    assert (bounds < a / (a + b)).mean() <= 0.05
    assert upper_bound(0.1, 0.05, 10 * rows) < upper_bound(0.1, 0.05, rows) <= upper_bound(0.1, None, rows) <= 1


def test_a_mean_of_one_has_no_bound_below() -> None:
    """A model that is always as wrong as can be leaves nothing to test."""
    assert upper_bound(1.0, 0.0, 100) == 1.0
    with pytest.raises(ValueError, match="leaves nothing to test"):
        LossTest(Performance(None, 100, mae=2.0, mae_bound=2.0, mae_deviation=0.0))


def test_the_promise_holds_at_the_edge_of_what_is_promised() -> None:
    """Where errors are as large as is no harm yet, false alarms come as seldom as promised."""
    rng, alarms, rows = np.random.default_rng(5), 0, 0
    performance = measured(1)
    test = LossTest(performance)
    assert performance.mae_bound is not None
    share = test.ceiling / performance.mae_bound
    for _ in range(1_500):
        some = np.where(rng.random(40) < share, performance.mae_bound, 0.0)  # the most that a mean can vary
        verdict = add(test, some, 500)
        if verdict.detected:
            assert verdict.since is not None
            rows, alarms, test = rows + verdict.since, alarms + 1, LossTest(performance)
        elif verdict.rows > 4_000:
            rows, test = rows + verdict.rows, LossTest(performance)
    assert rows / max(alarms, 1) > 500


def test_a_rise_is_found_and_the_alarm_stays_until_labels_refute_it() -> None:
    """Errors half as large again are found within 1,000 labels; the alarm ends when they are what they were."""
    rng, false, found, over = np.random.default_rng(7), 0, 0, 0
    for seed in range(20):
        test = LossTest(measured(seed, 2_000))
        false += add(test, errors(rng, 2_000)).detected
        found += add(test, errors(rng, 1_000, 3.0)).detected
        lasting = add(test, errors(rng, 1_000, 4.0))
        assert lasting.detected
        assert lasting.score is not None
        assert lasting.score > lasting.threshold
        over += not add(test, errors(rng, 6_000, 1.8)).detected
    assert false <= 1
    assert found >= 19
    assert over >= 18


def test_a_verdict_is_in_the_targets_unit() -> None:
    """The mean since the promotion, the ceiling and the bound are minutes, as the errors are."""
    performance = measured(1)
    verdict = add(LossTest(performance), np.array([1.0, 2.0, 6.0, np.inf]))
    assert verdict.bound == performance.mae_bound
    assert verdict.mae == pytest.approx((9.0 + verdict.bound) / 4)
    assert verdict.at_promotion == performance.mae
    assert performance.mae is not None
    assert performance.mae * 1.05 < verdict.ceiling < performance.mae * 1.6
    assert LossTest(performance).verdict().mae is None


def test_larger_errors_are_exported() -> None:
    """The metrics say what the verdict says; without one there are none."""
    verdict = add(LossTest(measured(1)), errors(np.random.default_rng(1), 2_000, 8.0))
    shown = {family.name: family.samples[0].value for family in loss_metrics(verdict)}
    assert shown["loss_rise_detected"] == 1
    assert shown["loss_alarm_score"] > shown["loss_alarm_threshold"] == verdict.threshold
    assert (shown["loss_ceiling"], shown["loss_test_rows"]) == (verdict.ceiling, 2_000)
    assert list(loss_metrics(None)) == []


def test_how_labels_are_batched_and_restarts_do_not_matter() -> None:
    """One update with many rows finds what an update after each, with a restart before it, would have found."""
    rng = np.random.default_rng(3)
    values = np.concatenate([errors(rng, 300, mean) for mean in (2.0, 6.0, 1.0)])
    whole, single = LossTest(measured(1)), LossTest(measured(1))
    whole.add(values, 1_000)
    alarms = []
    for value in values:
        single = LossTest(measured(1), json.loads(json.dumps(single.to_dict())))
        single.add(np.array([value]), 1_000)
        alarms.append(single.verdict().detected)
    assert any(alarms)
    ours, theirs = whole.verdict(), single.verdict()
    assert (ours.score, ours.mae) == (pytest.approx(theirs.score), pytest.approx(theirs.mae))
    assert replace(ours, score=None, mae=None) == replace(theirs, score=None, mae=None)


def _rows(count: int, seed: int) -> pd.DataFrame:
    rows = pa.table(trip_rows(count, seed)).to_pandas()
    return rows.assign(airport=rows.airport.map({True: "true", False: "false"}), minutes=None)


def _watch(folder: Path, performance: Performance | None, state: object = None) -> HarmWatch:
    reference = pa.table(trip_rows(50)).to_pandas()
    reference["airport"] = reference.airport.map({True: "true", False: "false"})
    keep_reference(folder, trips(), reference, performance=performance)
    return HarmWatch(Layout(folder), trips(), read_reference(Layout(folder), MODEL), state)


def test_late_labels_of_a_regression_count_once_by_their_errors(tmp_path: Path) -> None:
    """The first of two labels counts, after a restart too; an answer that is no number is not judged."""
    rows = _rows(6, 1)
    rows["predicted_minutes"] = [10.0, 12.0, 14.0, np.nan, None, 16.0]
    ids = log_rows(tmp_path, trips(), rows)
    performance = Performance(None, 400, mae=2.0, mae_bound=20.0, mae_deviation=2.0)
    watch = _watch(tmp_path, performance)
    late = START + timedelta(seconds=1)
    label_rows(tmp_path, trips(), ids[:5], [11.0, 9.0, 14.0, 10.0, 10.0], late)
    verdict = watch.update(PROMISE)
    assert isinstance(verdict, LossVerdict)
    assert (verdict.rows, verdict.mae) == (3, pytest.approx(4 / 3))
    watch = _watch(tmp_path, performance, json.loads(json.dumps(watch.to_dict())))
    label_rows(tmp_path, trips(), [ids[0], ids[5]], [99.0, 16.5], late + timedelta(seconds=1))
    verdict = watch.update(PROMISE)
    assert isinstance(verdict, LossVerdict)
    assert (verdict.rows, verdict.mae) == (4, pytest.approx(4.5 / 4))


def test_a_label_that_waits_for_its_row_outlives_a_restart(tmp_path: Path) -> None:
    """A number waits as a number."""
    watch = _watch(tmp_path, measured(1))
    ids = log_rows(tmp_path, trips(), _rows(2, 1).assign(predicted_minutes=10.0))
    (part,) = Layout(tmp_path).current.glob("*")
    hidden = part.rename(tmp_path / part.name)
    label_rows(tmp_path, trips(), ids, [11.0, 12.0], START + timedelta(seconds=1))
    verdict = watch.update(PROMISE)
    assert verdict is not None
    assert (verdict.rows, verdict.waiting) == (0, 2)
    watch = _watch(tmp_path, measured(1), json.loads(json.dumps(watch.to_dict())))
    hidden.rename(part)
    verdict = watch.update(PROMISE)
    assert isinstance(verdict, LossVerdict)
    assert (verdict.rows, verdict.mae, verdict.waiting) == (2, pytest.approx(1.5), 0)


@pytest.mark.parametrize(
    "performance",
    [
        pytest.param(None, id="not measured"),
        pytest.param(Performance(0.8, 400), id="of the other task"),
        pytest.param(Performance(None, 3, mae=1.0, mae_bound=1.2, mae_deviation=0.1), id="three rows"),
        pytest.param(Performance(None, 400, mae=0.0, mae_bound=0.0, mae_deviation=0.0), id="no errors"),
    ],
)
def test_there_is_no_verdict_where_there_is_nothing_to_test(tmp_path: Path, performance: Performance | None) -> None:
    """A reference that tells no errors, or too few, is no failure."""
    watch = _watch(tmp_path, performance)
    assert watch.update(PROMISE) is None
    assert _watch(tmp_path, performance, watch.to_dict()).update(PROMISE) is None


def test_a_classification_is_not_held_to_errors(tmp_path: Path) -> None:
    """What a regression achieved, before the config's task was changed, is nothing to a classification."""
    rows = pa.table(trip_rows(50)).to_pandas()
    rows["airport"] = rows.airport.map({True: "true", False: "false"})
    keep_reference(tmp_path, tips(), rows, performance=measured(1))
    watch = HarmWatch(Layout(tmp_path), tips(), read_reference(Layout(tmp_path), tips().model))
    assert watch.update(PROMISE) is None


def test_rows_of_one_bad_day_are_one_value_and_a_lasting_fault_is_found() -> None:
    """Days that differ as the reference's do raise no alarm by blocks; twice the errors do, after a restart too."""
    rng = np.random.default_rng(2)
    days = 2.0 * rng.lognormal(-0.1, 0.4, 60)
    values = np.concatenate([errors(rng, 100, day) for day in days])
    performance = Performance.of_errors(pa.array(values))
    blocks = Blocks(86_400.0, float(values.mean()), float(days.std()), 60)
    test, times = LossTest(performance, blocks=blocks), np.repeat(np.arange(60), 100) * 86_400_000_000
    test.add(values, PROMISE, times)
    assert not test.verdict().detected
    test = LossTest(performance, json.loads(json.dumps(test.to_dict())), blocks=blocks)
    test.add(2.5 * values, PROMISE, times + 60 * 86_400_000_000)
    assert test.verdict().detected
    assert test.verdict().block == 86_400


def test_blocks_are_as_long_as_rows_are_wrong_together() -> None:
    """A minute where they are not; a day or more where days differ; none without times, or for a few minutes."""
    rng = np.random.default_rng(4)

    def reference(losses: np.ndarray, every: float, *, timed: bool = True) -> Reference:
        times = (np.arange(len(losses)) * every * 1e6).astype(np.int64)
        columns = {MODEL.prediction: np.zeros(len(losses)), MODEL.target: losses}
        if timed:
            columns["timestamp"] = pa.array(times).cast(pa.timestamp("us", "UTC"))
        return Reference(pa.table(columns), "", None, "user", None, Performance.of_errors(pa.array(losses)))

    alone = blocks_of(reference(errors(rng, 20_000), 30.0), MODEL)
    days = np.repeat(rng.lognormal(0, 0.5, 60), 200)
    together = blocks_of(reference(errors(rng, len(days)) * days, 432.0), MODEL)
    assert alone is not None
    assert together is not None
    assert alone.seconds == 60
    assert together.seconds >= 86_400
    assert blocks_of(reference(errors(rng, 20_000), 30.0, timed=False), MODEL) is None
    assert blocks_of(reference(errors(rng, 300), 1.0), MODEL) is None
