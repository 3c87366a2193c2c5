"""What is exported: the snapshot as it is, for as long as it holds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from scipy import stats
from sklearn.datasets import load_digits

from monitoring.contract.config import Config
from monitoring.monitor import export_metrics_to_prometheus, generate_evidently_report
from monitoring.snapshot.exporter import SnapshotCollector
from monitoring.suite.assessment import adjust_p_values
from tests.processes import eventually
from tests.unit.models import GENRES, LOANS
from tests.unit.monitor_fixtures import labels_of, make_rows, names_in

DRIFT = {"loan_drift_p_value", "loan_drift_p_value_adjusted", "loan_ks_statistic", "drifted_features", "outliers",
         "prediction_drift_p_value", "evidently_test_status", "evidently_tests", "feature_distribution",
         "feature_correlation_shift", "model_accuracy"}  # fmt: skip


def _collector() -> tuple[SnapshotCollector, CollectorRegistry]:
    collector, registry = SnapshotCollector(), CollectorRegistry()
    registry.register(collector)
    return collector, registry


def _export(config: Config, reference: object, current: object) -> CollectorRegistry:
    collector, registry = _collector()
    report = generate_evidently_report(reference, current, config=config)  # type: ignore[arg-type]
    export_metrics_to_prometheus(report, collector)
    return registry


def test_two_frames_are_enough_with_the_default_config() -> None:
    """With two DataFrames and nothing else, the metrics stand in the process's registry."""
    reference, current = make_rows(GENRES, 300), make_rows(GENRES, 250, seed=1, shift=1)
    export_metrics_to_prometheus(generate_evidently_report(reference, current))
    value = prometheus_client.REGISTRY.get_sample_value
    expected = stats.ks_2samp(reference["mfcc_1"].astype("float64"), current["mfcc_1"].astype("float64"))
    assert value("mfcc_drift_p_value", {"feature": "mfcc_1"}) == expected.pvalue
    assert value("mfcc_ks_statistic", {"feature": "mfcc_1"}) == expected.statistic
    assert value("rowcount") == 250
    assert value("missing_values") == 0
    assert value("prediction_distribution", {"genre": "jazz"}) == (current["predicted_genre"] == "jazz").mean()


def test_names_and_labels_come_from_the_config() -> None:
    """Another model's metrics carry its prefix, its label and its features."""
    registry = _export(LOANS, make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1))
    assert labels_of(registry, "loan_drift_p_value", "feature") == {"age", "income", "debt", "years"}
    assert labels_of(registry, "prediction_distribution", "answer") == {"no", "yes"}
    assert names_in(registry) >= DRIFT


def test_adjusted_p_values_are_benjamini_hochbergs() -> None:
    """Each p-value is adjusted for all features that have one; worked by hand."""
    assert adjust_p_values({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04})
    assert adjust_p_values({}) == {}


@pytest.mark.parametrize("rows", [pytest.param(LOANS.minimum_rows - 1, id="too few"), pytest.param(0, id="none")])
def test_few_rows_are_counted_and_not_judged(rows: int) -> None:
    """Below minimum_rows there is the count and no drift value."""
    registry = _export(LOANS, make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1).head(rows))
    assert registry.get_sample_value("rowcount") == rows
    assert registry.get_sample_value("missing_values") == 0
    assert not names_in(registry) & DRIFT


def test_enough_rows_are_judged() -> None:
    """At minimum_rows drift values appear."""
    current = make_rows(LOANS, LOANS.minimum_rows, seed=1)
    assert names_in(_export(LOANS, make_rows(LOANS, 100), current)) >= DRIFT


def test_what_is_wrong_with_the_rows_is_counted() -> None:
    """Nulls, repeated rows, constants, wrong types: each in its own metric, and together in the score."""
    current = make_rows(LOANS, 100, seed=1).assign(years="many", debt=1.0)
    current.loc[:9, "age"] = None
    current.iloc[90] = current.iloc[91]
    value = _export(LOANS, make_rows(LOANS, 100), current).get_sample_value
    assert value("missing_values") == 10
    assert value("duplicated_rows") == 1
    assert value("constant_columns") == 2
    assert value("column_type_mismatches") == 1
    assert value("data_quality_score") == pytest.approx((400 - 10 - 100) / 400 * 0.99)


def test_drift_leaves_the_quality_score_alone() -> None:
    """Values far from the reference, but sound, score 1; they are outliers."""
    value = _export(LOANS, make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1, shift=50)).get_sample_value
    assert value("data_quality_score") == 1
    assert value("outliers", {"feature": "age"}) == 100
    assert value("drifted_features") == 1


def test_shares_of_bins_and_predictions_sum_to_one() -> None:
    """Distributions are shares, values outside the reference's range and unknown categories included."""
    current = make_rows(LOANS, 100, seed=1, shift=3)
    current.loc[:9, "prediction"] = "perhaps"
    registry = _export(LOANS, make_rows(LOANS, 100), current)
    samples = [s for family in registry.collect() for s in family.samples]
    for dataset in ("reference", "current"):
        labels = {"feature": "age", "dataset": dataset}
        shares = [s.value for s in samples if s.name == "feature_distribution" and labels.items() <= s.labels.items()]
        assert len(shares) == 10
        assert sum(shares) == pytest.approx(1)
    assert registry.get_sample_value("prediction_distribution", {"answer": "other"}) == 0.1
    assert sum(s.value for s in samples if s.name == "prediction_distribution") == pytest.approx(1)


def test_a_correlation_that_breaks_is_seen() -> None:
    """The shift is the window's correlation minus the reference's."""
    reference, current = make_rows(LOANS, 2_000), make_rows(LOANS, 200, seed=1)
    reference["income"] = reference["age"]
    current["income"] = -current["age"]
    registry = _export(LOANS, reference, current)
    shift = registry.get_sample_value("feature_correlation_shift", {"feature_a": "age", "feature_b": "income"})
    assert shift == pytest.approx(-2)


def test_statuses_count_the_verdicts() -> None:
    """Each test has a status, and evidently_tests adds them up."""
    current = make_rows(LOANS, 100, seed=1, shift=5)
    current["debt"] = None
    registry = _export(LOANS, make_rows(LOANS, 100), current)
    value = registry.get_sample_value
    assert value("evidently_test_status", {"test": "TestColumnDrift:age"}) == 0
    assert value("evidently_test_status", {"test": "TestColumnDrift:years"}) == 1
    assert value("evidently_tests", {"status": "error"}) == 1
    total = sum(s.value for f in registry.collect() for s in f.samples if s.name == "evidently_tests")
    assert total == len(labels_of(registry, "evidently_test_status", "test"))


def test_a_skipped_test_is_counted_and_has_no_status() -> None:
    """Without labels the scores' tests have neither passed nor failed, and are not gone without a word."""
    registry = _export(LOANS, make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1).assign(target=None))
    assert registry.get_sample_value("evidently_tests", {"status": "skipped"}) == 2
    assert registry.get_sample_value("evidently_tests", {"status": "error"}) == 0
    assert "TestF1Score" not in labels_of(registry, "evidently_test_status", "test")


def test_a_feature_without_values_has_no_series() -> None:
    """A feature that cannot be judged any more disappears, rather than keeping its last value."""
    collector, registry = _collector()
    reference, current = make_rows(LOANS, 100), make_rows(LOANS, 100, seed=1)
    export_metrics_to_prometheus(generate_evidently_report(reference, current, config=LOANS), collector)
    assert "debt" in labels_of(registry, "loan_drift_p_value", "feature")
    current["debt"] = None
    export_metrics_to_prometheus(generate_evidently_report(reference, current, config=LOANS), collector)
    for name in ("drift_p_value", "drift_p_value_adjusted", "ks_statistic", "effect_size"):
        assert labels_of(registry, f"loan_{name}", "feature") == {"age", "income", "years"}
    for name in ("outliers", "feature_distribution"):
        assert labels_of(registry, name, "feature") == {"age", "income", "years"}
    assert registry.get_sample_value("missing_values") == 100


def test_a_snapshot_expires() -> None:
    """A snapshot that no later one replaces in time is not shown as if it were the present."""
    collector, registry = _collector()
    snapshot = generate_evidently_report(make_rows(LOANS, 60), make_rows(LOANS, 60, seed=1), config=LOANS).snapshot
    collector.publish(snapshot, lifetime=0.3)
    assert registry.get_sample_value("rowcount") == 60
    eventually("the snapshot to expire", lambda: registry.get_sample_value("rowcount") is None, 5)
    collector.publish(replace(snapshot, rows=7), lifetime=60)
    assert registry.get_sample_value("rowcount") == 7


def test_nothing_is_exported_before_the_first_snapshot() -> None:
    """Registering the collector neither computes nor invents a value."""
    assert names_in(_collector()[1]) == set()


def test_columns_that_frames_lack_or_add_are_no_hindrance() -> None:
    """A missing feature counts as null, a foreign column is ignored, in whatever order they stand."""
    current = make_rows(LOANS, 100, seed=1).drop(columns="years").assign(extra="x")
    registry = _export(LOANS, make_rows(LOANS, 100), current[sorted(current)])
    assert registry.get_sample_value("missing_values") == 100
    assert labels_of(registry, "loan_drift_p_value", "feature") == {"age", "income", "debt"}


def _wide(features: int, rows: int, seed: int) -> pd.DataFrame:
    """Return rows whose features are products of the digits' pixels, and so depend on each other."""
    rng = np.random.default_rng(seed)
    pixels, digits = load_digits(return_X_y=True)
    left, right = np.random.default_rng(1).integers(0, 64, (2, features))
    places = rng.integers(0, len(pixels), rows)
    values = np.sqrt(pixels[places][:, left] * pixels[places][:, right]) + rng.standard_normal((rows, features)) / 5
    frame = pd.DataFrame(values, columns=[f"f{n}" for n in range(features)])
    return frame.assign(prediction=np.where(digits[places] < 5, "no", "yes"), outcome=None)


def _of_width(features: int) -> Config:
    model = LOANS.model.model_copy(update={"features": tuple(f"f{n}" for n in range(features))})
    return LOANS.model_copy(update={"model": model})


def _series(registry: CollectorRegistry) -> int:
    return sum(len(family.samples) for family in registry.collect())


def test_series_grow_linearly_with_the_features() -> None:
    """Twice as many features have about twice as many series, 40 each at most."""
    few, many = (_series(_export(_of_width(n), _wide(n, 400, seed=1), _wide(n, 300, seed=2))) for n in (30, 60))
    assert many / few == pytest.approx(2, abs=0.1)
    assert many <= 60 * 40


def test_the_largest_changes_of_correlations_are_exported() -> None:
    """Those of each feature, each pair once."""
    reference, current = _wide(20, 400, seed=1), _wide(20, 300, seed=2)
    current["f7"] = -current["f7"]
    registry = _export(_of_width(20), reference, current)
    names = [f"f{n}" for n in range(20)]
    shifts = (current[names].corr() - reference[names].corr()).abs()
    exported = {
        frozenset((s.labels["feature_a"], s.labels["feature_b"]))
        for family in registry.collect()
        for s in family.samples
        if s.name == "feature_correlation_shift"
    }
    assert exported == {frozenset((a, b)) for a in names for b in shifts[a].drop(a).nlargest(3).index}


def test_five_hundred_features_are_exported() -> None:
    """A width at which pairs of features would be 124,750 series."""
    registry = _export(_of_width(500), _wide(500, 400, seed=1), _wide(500, 300, seed=2))
    assert len(labels_of(registry, "loan_drift_p_value", "feature")) == 500
    assert _series(registry) <= 500 * 40


def test_missing_values_are_told_by_feature_beside_the_reference() -> None:
    """Shares of rows, and how likely so many are if they are no more frequent than in the reference."""
    reference, current = make_rows(LOANS, 1_000), make_rows(LOANS, 500, seed=1)
    reference.loc[:109, "age"] = None
    current.loc[:54, "age"] = None
    current.loc[:24, "debt"] = None
    value = _export(LOANS, reference, current).get_sample_value

    def of(name: str, feature: str) -> float | None:
        return value(name, {"feature": feature})

    assert (of("missing_share", "age"), of("reference_missing_share", "age")) == (0.11, 0.11)
    assert (of("missing_share", "debt"), of("reference_missing_share", "debt")) == (0.05, 0)
    expected = stats.fisher_exact([[25, 475], [0, 1_000]], alternative="greater").pvalue
    assert of("missing_p_value", "debt") == pytest.approx(expected)
    assert of("missing_p_value", "debt") < 1e-6
    assert of("missing_p_value", "age") > 0.4
    assert of("missing_p_value", "years") == 1


def test_a_column_of_another_type_has_no_share_of_missing_values() -> None:
    """It is counted as a mismatch; nor is anything missing where there are no rows."""
    current = make_rows(LOANS, 100, seed=1)
    registry = _export(LOANS, make_rows(LOANS, 100), current.assign(years="many"))
    assert "years" not in labels_of(registry, "missing_share", "feature")
    assert "missing_share" not in names_in(_export(LOANS, make_rows(LOANS, 100), current.head(0)))
