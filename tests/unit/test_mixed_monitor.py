"""Mixed features and a regression through the monitor: metrics, page and report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry
from sklearn.metrics import f1_score, precision_score, recall_score

from monitoring.contract.config import Config
from monitoring.contract.reference import Performance
from monitoring.monitor import DataError, export_metrics_to_prometheus, generate_evidently_report
from monitoring.page.page import create_app
from monitoring.snapshot.exporter import SnapshotCollector
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.monitor_fixtures import (
    keep_calibration,
    keep_reference,
    label_rows,
    labels_of,
    log_rows,
    monitor_of,
    names_in,
)

ERRORS = {"model_mae", "model_rmse", "model_mean_error", "model_r2", "error_distribution", "mean_label"}
MARKUP = "<script>alert(1)</script>"


def _rows(count: int, seed: int = 0) -> pd.DataFrame:
    return pa.table(trip_rows(count, seed)).to_pandas()


def _export(config: Config, current: pd.DataFrame) -> CollectorRegistry:
    collector, registry = SnapshotCollector(), CollectorRegistry()
    registry.register(collector)
    export_metrics_to_prometheus(generate_evidently_report(_rows(400), current, config=config), collector)
    return registry


def test_a_regression_has_errors_and_ranges_of_predictions() -> None:
    """And no accuracy; ranges are those of the reference's predictions."""
    current = _rows(300, seed=1)
    errors = current["predicted_minutes"] - current["minutes"]
    registry = _export(trips(), current)
    value = registry.get_sample_value
    assert value("model_mae") == pytest.approx(errors.abs().mean())
    assert value("model_rmse") == pytest.approx(np.sqrt((errors**2).mean()))
    assert value("model_mean_error") == pytest.approx(errors.mean())
    assert value("model_r2") == pytest.approx(1 - (errors**2).sum() / (current["minutes"].var(ddof=0) * 300))
    assert not {"model_accuracy", "model_f1"} & names_in(registry)
    ranges = labels_of(registry, "prediction_distribution", "bin")
    assert len(ranges) == 10
    assert ranges == labels_of(registry, "reference_distribution", "bin")
    assert sum(value("prediction_distribution", {"bin": name}) or 0 for name in ranges) == pytest.approx(1)
    assert value("labelled_rows") == 300


def test_errors_are_told_by_range() -> None:
    """Shares of errors sum up to one on both sides; labels' means over ranges, weighted, are the labels' mean."""
    current = _rows(300, seed=1)
    current["predicted_minutes"] += 50
    registry = _export(trips(), current)

    def series(name: str) -> dict[str, float]:
        bins = labels_of(registry, name, "bin")
        return {one: registry.get_sample_value(name, {"bin": one}) or 0.0 for one in bins}

    shares, reference = series("error_distribution"), series("reference_error_distribution")
    assert len(shares) == len(reference) == 10
    assert sum(shares.values()) == pytest.approx(1)
    assert sum(reference.values()) == pytest.approx(1)
    assert shares[max(shares)] > 0.9
    assert reference[max(reference)] < 0.1
    rows = series("labelled_predictions")
    assert sum(rows.values()) == registry.get_sample_value("labelled_rows")
    assert len(rows) == 10
    for name, column in (("mean_label", "minutes"), ("mean_prediction", "predicted_minutes")):
        means = series(name)
        assert sum(mean * rows[one] for one, mean in means.items()) == pytest.approx(current[column].sum())
    assert labels_of(registry, "reference_mean_label", "bin") <= rows.keys()


def test_errors_take_enough_labels() -> None:
    """Below minimum_labels the labels are counted and nothing is said of errors."""
    current = _rows(300, seed=1)
    current.loc[40:, "minutes"] = None
    registry = _export(trips(), current)
    assert registry.get_sample_value("labelled_rows") == 41 - 1
    assert not ERRORS & names_in(registry)


def test_what_means_nothing_for_a_kind_is_absent() -> None:
    """No KS statistic and no outliers of a category, no unseen values of a number, correlations of numbers alone."""
    current = _rows(300, seed=1)
    current.loc[:9, "zone"] = "lido"
    current.loc[10:11, "zone"] = None
    registry = _export(trips(), current)
    numbers, categories = {"distance", "passengers"}, {"zone", "airport"}
    for name in ("trip_ks_statistic", "outliers"):
        assert labels_of(registry, name, "feature") == numbers
    assert labels_of(registry, "unseen_categories", "feature") == categories
    assert labels_of(registry, "feature_correlation_shift", "feature_a") <= numbers
    for name in ("trip_effect_size", "trip_drift_p_value", "feature_distribution", "missing_share"):
        assert labels_of(registry, name, "feature") == numbers | categories
    value = registry.get_sample_value
    assert value("unseen_categories", {"feature": "zone"}) == 10
    assert value("missing_share", {"feature": "zone"}) == 2 / 300
    shares = [
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "feature_distribution"
        and {"feature": "zone", "dataset": "current"}.items() <= sample.labels.items()
    ]
    assert sum(shares) == pytest.approx(1)
    assert value("feature_distribution", {"feature": "zone", "dataset": "current", "bin": "06: unseen"}) == 10 / 298


def test_new_levels_leave_the_quality_score_alone_and_missing_ones_do_not() -> None:
    """A level that the reference does not hold is drift; none at all is bad data."""
    current = _rows(300, seed=1).assign(airport=True, zone="lido")
    assert _export(trips(), current).get_sample_value("data_quality_score") == 1
    current.loc[:29, "zone"] = None
    assert _export(trips(), current).get_sample_value("data_quality_score") == pytest.approx(1 - 30 / 1200)


def test_predictions_that_are_no_finite_numbers_lower_the_quality_score() -> None:
    """A regression answers with a number in every row, or something is wrong with the data."""
    current = _rows(300, seed=1)
    before = _export(trips(), current).get_sample_value("data_quality_score")
    current.loc[:19, "predicted_minutes"] = None
    current.loc[20:29, "predicted_minutes"] = np.inf
    assert before is not None
    after = _export(trips(), current).get_sample_value("data_quality_score")
    assert after == pytest.approx(before * (1 - 30 / 300))


@pytest.mark.filterwarnings("ignore")  # Evidently's own, of its pictures of errors
@pytest.mark.parametrize("engine", ["profile", "dataframe"])
@pytest.mark.parametrize("config_of", [trips, tips], ids=["regression", "classification"])
def test_the_monitor_watches_every_kind_and_task(tmp_path: Path, config_of: Callable[..., Config], engine: str) -> None:
    """A reference, a log and late labels as they come; the page and the report hold no level's markup."""
    config = config_of(engine=engine, tests=["TestColumnDrift", "TestColumnsType", _label_test(config_of)])
    model = config.model
    keep_reference(tmp_path, config, _rows(300))
    rows = _rows(200, seed=1)
    rows.loc[:40, "zone"] = MARKUP
    labels = rows[model.target].tolist()
    ids = log_rows(tmp_path, config, rows.assign(**{model.target: None}))
    label_rows(tmp_path, config, ids[:150], labels[:150])
    monitor, registry = monitor_of(tmp_path, config)
    monitor.cycle()
    assert monitor.state.problem is None
    assert registry.get_sample_value("labelled_rows") == 150
    assert registry.get_sample_value("evidently_tests", {"status": "error"}) == 0
    client = create_app(monitor, registry, lambda: True).test_client()
    for path in ("/", "/report"):
        text = client.get(path).text
        assert MARKUP not in text
        assert "zone" in text
    page = client.get("/").text
    assert "&lt;script&gt;" in page
    assert ("Mean absolute error" in page) == (config_of is trips)
    for told in (page, client.get("/report").text):
        assert ("Predicted against actual" in told) == (config_of is trips)
    assert (">Accuracy<" in page) == (config_of is tips)


@pytest.mark.parametrize(("positive", "of"), [("no", "no"), ("yes", "yes"), (None, "yes")])
def test_positive_says_whose_scores_they_are(positive: str | None, of: str) -> None:
    """F1, precision and recall are that category's; where the config does not say it, the last one's."""
    tests = ["TestF1Score", "TestPrecisionScore", "TestRecallScore", {"TestF1ByClass": {"gte": 0.1}}]
    model = tips().model.model_dump() | {"positive": positive}
    current = _rows(300, seed=1)
    report = generate_evidently_report(_rows(400), current, config=tips(model=model, tests=tests))
    assert report.run is not None
    labels, predictions = current["tip"], current["predicted_tip"]
    assert report.run.scores == pytest.approx(
        {
            "TestF1Score": f1_score(labels, predictions, pos_label=of),
            "TestPrecisionScore": precision_score(labels, predictions, pos_label=of),
            "TestRecallScore": recall_score(labels, predictions, pos_label=of),
            "TestF1ByClass:no": f1_score(labels, predictions, pos_label="no"),
            "TestF1ByClass:yes": f1_score(labels, predictions, pos_label="yes"),
        }
    )


def _label_test(config_of: Callable[..., Config]) -> Any:
    return {"TestValueMAE": {"lte": 10}} if config_of is trips else {"TestAccuracyScore": {"gte": 0.2}}


def test_the_page_names_the_levels_that_changed_and_the_errors_that_rose(tmp_path: Path) -> None:
    """The alarm's table has each level's shares before and now; what cannot be markup is not."""
    config = trips(false_alarm_every=100_000)
    known = _rows(400)
    errors = pa.array((known["predicted_minutes"] - known["minutes"]).abs())
    keep_reference(tmp_path, config, known, performance=Performance.of_errors(errors))
    keep_calibration(tmp_path, config)
    current = _rows(600, seed=1)
    current.loc[:299, "zone"] = MARKUP
    current["minutes"] += 40
    log_rows(tmp_path, config, current)
    monitor, registry = monitor_of(tmp_path, config, drift_alarm="on")
    monitor.cycle()
    text = create_app(monitor, registry, lambda: True).test_client().get("/").text
    assert "zone" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, never seen, 0.0% to " in text
    assert MARKUP not in text
    assert "The mean absolute error has risen above " in text


def test_a_category_that_no_row_has_is_not_scored() -> None:
    """Its tests are skipped and say so: a window without a rare category is no failure."""
    config = tips(tests=["TestAccuracyScore", "TestPrecisionByClass"])
    current = _rows(300, seed=1).assign(tip="no", predicted_tip="no")
    report = generate_evidently_report(_rows(400), current, config=config)
    assert report.snapshot.assessment is not None
    found = {v.test: (v.status, v.found) for v in report.snapshot.assessment.verdicts}
    assert found["TestPrecisionByClass:no"][0] == "success"
    assert found["TestPrecisionByClass:yes"] == (
        "skipped",
        "not run: no labelled row has yes, and none was answered with it",
    )


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
def test_bounds_of_the_config_count_in_two_frames(engine: str) -> None:
    """Neither the reference's range nor its values stand in for them."""
    tests = [
        {"TestNumberOfOutRangeValues": {"column": "distance", "left": -1000, "right": 1000, "lte": 0}},
        {"TestNumberOfOutListValues": {"column": "zone", "values": ["station"], "lte": 0}},
        {"TestColumnQuantile": {"column": "distance", "quantile": 0.5, "lte": 300}},
    ]
    current = _rows(300, seed=1)
    current.loc[:9, "distance"] = 5000.0
    report = generate_evidently_report(_rows(400), current, config=trips(tests=tests, engine=engine))
    said = {one.test.partition(":")[0]: (one.status, one.found) for one in report.run.verdicts}
    assert said["TestNumberOfOutRangeValues"][0] == "fail"
    assert "10" in said["TestNumberOfOutRangeValues"][1]
    assert said["TestNumberOfOutListValues"][0] == "fail"
    assert said["TestColumnQuantile"][0] == "success"


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
def test_errors_are_those_of_the_answers_as_they_were_given(engine: str) -> None:
    """Predictions are rounded to a narrower reference's type where they are compared, and nowhere else."""
    reference, current = (_rows(400, seed=seed) for seed in (0, 1))
    for rows in (reference, current):
        rows[["predicted_minutes", "minutes"]] += 1e9
    config = trips(tests=[{"TestValueMAE": {"lte": 5}}, "TestColumnDrift"], engine=engine)
    narrow = reference.astype({"predicted_minutes": "float32"})
    found = [generate_evidently_report(one, current, config=config).run for one in (reference, narrow)]
    texts = [next(v.found for v in run.verdicts if v.test == "TestValueMAE") for run in found]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("column", "values"),
    [("predicted_minutes", None), ("predicted_minutes", "long"), ("distance", None), ("distance", "far")],
)
def test_a_reference_without_numbers_is_no_crash(column: str, values: str | None) -> None:
    """Beside rows that hold float32: what it is, is said."""
    reference, current = _rows(400), _rows(300, seed=1).astype({column: "float32"})
    reference[column] = pd.Series([values] * len(reference), dtype=object)
    if column == "predicted_minutes" and values:
        with pytest.raises(DataError, match=r"column predicted_minutes is .*; it must be a number"):
            generate_evidently_report(reference, current, config=trips())
    else:
        assert generate_evidently_report(reference, current, config=trips()).run is not None


@pytest.mark.parametrize("engine", ["profile", "dataframe"])
def test_what_is_counted_is_named(engine: str) -> None:
    """Columns of another type, constant ones, those that lack values; and infinite values, which no drift test sees."""
    counts = ("TestNumberOfConstantColumns", "TestNumberOfColumnsWithMissingValues")
    tests = ["TestColumnsType", "TestColumnDrift", *({name: {"lte": 0}} for name in counts)]
    current = _rows(300, seed=1)
    current["passengers"] = "two"
    current.loc[:19, "distance"] = np.inf
    current.loc[:2, "zone"] = None
    report = generate_evidently_report(_rows(400), current, config=trips(tests=tests, engine=engine))
    said = {one.test: one.found for one in report.run.verdicts}
    assert said["TestColumnsType"].endswith(" passengers.")
    assert said["TestNumberOfConstantColumns"].endswith(" passengers.")
    missing = said["TestNumberOfColumnsWithMissingValues"]
    assert all(name in missing for name in ("distance", "passengers", "zone"))
    assert said["TestColumnDrift:distance"].endswith("20 values are infinite.")
