"""The overall verdict goes by the calibrated alarms, and not by single p-values."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from monitoring.alarms.accuracy import AccuracyVerdict
from monitoring.alarms.drift.detector import Alarm, DetectorStatus
from monitoring.alarms.drift.drift_watch import DriftVerdict
from monitoring.contract.times import Micros
from monitoring.snapshot.snapshot import Assessment, ColumnDrift, FeatureDrift, Quality, Snapshot, Verdict


def column(name: str, p_value: float) -> ColumnDrift:
    return ColumnDrift(name, "ks", 0.05, p_value, drifted=p_value < 0.05)


def snapshot(*verdicts: Verdict, p_values: tuple[float, ...] = (0.6, 0.6), adjusted: float = 0.6, mix: float = 0.6):
    features = tuple(
        FeatureDrift(column(f"x{n}", p), adjusted, 0.1, 0.1, 0, bins=()) for n, p in enumerate(p_values, start=1)
    )
    return Snapshot(
        feature_prefix="x",
        label="kind",
        taken_at=datetime.now(UTC),
        rows=500,
        minimum_rows=100,
        first=None,
        last=None,
        labelled_rows=0,
        quality=Quality(0, 0, 0, 0, 1.0, {}),
        predictions={},
        confidence={},
        reference_rows=500,
        reference_predictions={},
        reference_missing_shares={},
        missing_p_values={},
        reference_origin=None,
        assessment=Assessment(verdicts, features, column("kind", mix), (), None, None),
    )


def alarm(*, holds: bool) -> DriftVerdict:
    found = Alarm("shift", Micros(1_000_000), Micros(2_000_000)) if holds else None
    return DriftVerdict(1.0, 1e6, DetectorStatus(5000, 7.0 if holds else 1.0, 6.0, found))


ONE_P_VALUE = Verdict("TestColumnDrift:x1", "fail", "x1 differs")
COUNTED = Verdict("TestNumberOfDriftedColumns", "fail", "1 of 2")
BAD_DATA = Verdict("TestNumberOfRowsWithMissingValues", "fail", "40 rows")


@pytest.mark.parametrize(
    "drift", [pytest.param(None, id="no detector"), pytest.param(alarm(holds=False), id="silent alarm")]
)
def test_single_p_values_do_not_count(drift: DriftVerdict | None) -> None:
    """A p-value of 0.03 that nothing remains of after adjusting is shown, and the model is well."""
    seen = replace(snapshot(ONE_P_VALUE, COUNTED, p_values=(0.03, 0.6)), drift=drift)
    assert seen.verdict == "passing"


def test_an_alarm_counts_whatever_the_tests_say() -> None:
    assert replace(snapshot(), drift=alarm(holds=True)).verdict == "failing"


def test_a_silent_alarm_speaks_before_adjusted_p_values() -> None:
    """The window is looked at again and again, so even an adjusted p-value is small sooner or later without cause."""
    seen = snapshot(ONE_P_VALUE, p_values=(0.001, 0.6), adjusted=0.002)
    assert replace(seen, drift=alarm(holds=False)).verdict == "passing"


@pytest.mark.parametrize(
    "drift", [pytest.param(None, id="no detector"), pytest.param(DriftVerdict(0.4, 1e6), id="it is being calibrated")]
)
@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(snapshot(ONE_P_VALUE, p_values=(0.001, 0.6), adjusted=0.002), id="a feature"),
        pytest.param(snapshot(mix=0.001), id="the mix of predictions"),
    ],
)
def test_without_an_alarm_what_remains_after_adjusting_counts(seen: Snapshot, drift: DriftVerdict | None) -> None:
    assert replace(seen, drift=drift).verdict == "failing"


@pytest.mark.parametrize("status", ["fail", "error"])
def test_every_other_test_counts(status: str) -> None:
    """Bad data turn the verdict with a silent alarm too, and so does any test that could not run."""
    seen = replace(snapshot(replace(BAD_DATA, status=status)), drift=alarm(holds=False))
    assert seen.verdict == "failing"
    unknown = replace(snapshot(replace(ONE_P_VALUE, status="error")), drift=alarm(holds=False))
    assert unknown.verdict == "failing"


def test_a_fallen_accuracy_counts() -> None:
    fallen = AccuracyVerdict(0.9, 500, 400, 7.0, 6.0, detected=True, since=380, floor=0.85, right=300)
    assert replace(snapshot(), drift=alarm(holds=False), accuracy=fallen).verdict == "failing"
