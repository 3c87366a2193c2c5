"""Accuracy without labels: an estimate from calibrated confidences, as good as its interval says."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from flows.training.candidate import kept_performance
from flows.training.reliability import fit_reliability_curve
from monitoring.alarms.accuracy_estimate import AccuracyEstimator, Estimate, threshold_of, vary
from monitoring.contract.reference import Performance, Reference, ReliabilityCurve
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import make_rows

MODEL = LOANS.model
ROWS = pa.Table.from_pandas(make_rows(LOANS, 1_000), preserve_index=False)
GRID = grid_of(MODEL, ROWS)
WIDE = np.arange(500) / 500


def _profile(confidence: np.ndarray) -> Profile:
    rows = ROWS.slice(0, len(confidence))
    return profile_rows(GRID, rows.append_column("confidence", pa.array(confidence, pa.float32())))


def _reference(right: np.ndarray, performance: Performance | None, times: list[datetime] | None = None) -> Reference:
    columns = {MODEL.prediction: np.where(right, "yes", "no"), MODEL.target: ["yes"] * len(right)}
    table = pa.table(columns | ({"timestamp": times} if times is not None else {}))
    return Reference(table, "", None, "test", "1", performance)


def _estimate(performance: Performance | None, confidence: np.ndarray, minimum_rows: int) -> Estimate | None:
    """Estimate by a reference without times; its outcomes set no more than the threshold."""
    reference = _reference(np.arange(1_000) % 5 > 0, performance)
    return AccuracyEstimator(reference, MODEL).estimate(_profile(confidence), minimum_rows)


def _days(random: np.random.Generator, days: int, deviation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return confidence and outcomes of days with 250 rows each, right in 80 % but for what a day adds."""
    share = 0.8 + np.repeat(random.normal(0, deviation, days), 250)
    return share.astype(np.float32), random.random(len(share)) < share


def _timed(right: np.ndarray, confidence: np.ndarray, shuffle: np.random.Generator) -> AccuracyEstimator:
    """Return an estimator whose reference has times, in a file of another order."""
    begin, order = datetime(2026, 1, 1, tzinfo=UTC), shuffle.permutation(len(right))
    performance = Performance(float(right.mean()), len(right), fit_reliability_curve(confidence, right))
    times = [begin + timedelta(minutes=int(n)) for n in order]
    return AccuracyEstimator(_reference(right[order], performance, times), MODEL)


def _chance(confidence: np.ndarray) -> np.ndarray:
    """Return how often a model that is too sure of itself is right."""
    return 0.25 + 0.6 * confidence


def _draw(random: np.random.Generator, rows: int, low: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    confidence = random.uniform(low, 1.0, rows)
    return confidence.astype(np.float32), random.random(rows) < _chance(confidence)


def _performance(random: np.random.Generator, rows: int) -> Performance:
    confidence, right = _draw(random, rows)
    return Performance(float(right.mean()), rows, fit_reliability_curve(confidence, right))


@pytest.mark.parametrize("low", [pytest.param(0.3, id="as at promotion"), pytest.param(0.8, id="surer rows")])
def test_the_interval_holds_the_true_accuracy_as_often_as_it_says(low: float) -> None:
    """Over 300 promotions and windows it holds the window's accuracy in 95 %, where confidence means what it did."""
    random, inside, off = np.random.default_rng(1), 0, []
    for _ in range(300):
        performance = _performance(random, 600)
        confidence, right = _draw(random, 400, low)
        estimate = _estimate(performance, confidence, 200)
        assert estimate is not None
        inside += estimate.low <= right.mean() <= estimate.high
        off.append(estimate.accuracy - right.mean())
    assert 0.91 <= inside / 300 <= 0.99  # three standard deviations to either side
    assert abs(np.mean(off)) < 0.01


def test_a_window_of_unsure_rows_is_estimated_lower() -> None:
    """The estimate follows the confidences, by what they are worth and not by what they say."""
    performance = _performance(np.random.default_rng(2), 5_000)
    unsure, sure = (_estimate(performance, np.full(500, c), 200) for c in (0.4, 0.9))
    assert unsure is not None
    assert sure is not None
    assert unsure.accuracy == pytest.approx(_chance(np.array(0.4)), abs=0.05)
    assert sure.accuracy == pytest.approx(_chance(np.array(0.9)), abs=0.05)


def test_more_rows_narrow_the_interval_and_neither_source_of_error_is_forgotten() -> None:
    """Few rows at promotion keep it wide however long the window, and a short window however many rows then."""
    random = np.random.default_rng(3)
    widths = {}
    for known in (100, 10_000):
        performance = _performance(random, known)
        for rows in (100, 1_000):
            estimate = _estimate(performance, _draw(random, rows)[0], 100)
            assert estimate is not None
            assert estimate.rows == rows
            assert 0 <= estimate.low < estimate.accuracy < estimate.high <= 1
            widths[known, rows] = estimate.high - estimate.low
    assert widths[10_000, 1_000] < 0.5 * widths[10_000, 100]
    assert widths[10_000, 1_000] < 0.5 * widths[100, 1_000]
    assert widths[100, 1_000] < widths[100, 100]


@pytest.mark.parametrize(
    ("performance", "confidence"),
    [
        pytest.param(None, WIDE, id="nothing measured"),
        pytest.param(Performance(0.8, 100), WIDE, id="a user's own predictions"),
        pytest.param(Performance(0.8, 100, ReliabilityCurve((0.5,), (0.8,), (100,))), WIDE[:199], id="too few rows"),
        pytest.param(
            Performance(0.8, 100, ReliabilityCurve((0.5,), (0.8,), (100,))), WIDE * np.nan, id="no confidences"
        ),
    ],
)
def test_there_is_no_estimate_without_a_reliability_curve_or_rows(
    performance: Performance | None, confidence: np.ndarray
) -> None:
    """Nothing is better than a number that nobody can vouch for."""
    assert _estimate(performance, confidence, 200) is None


def test_where_days_differ_a_day_ten_points_below_raises_no_alarm() -> None:
    """Days like it are in the reference, whose order is that of its times; a fixed five points would alarm."""
    random = np.random.default_rng(5)
    confidence, right = _days(random, 60, 0.06)
    estimate = _timed(right, confidence, random).estimate(_profile(np.full(250, 0.7, np.float32)), 200)
    assert estimate is not None
    assert estimate.threshold is not None
    assert estimate.chunks == 60
    assert 0.5 < estimate.threshold < estimate.accuracy < 0.74
    assert estimate.high - estimate.low > 4 * 0.06  # the interval knows that days differ, too


def test_where_days_are_alike_a_fall_of_five_points_raises_an_alarm() -> None:
    """The whole interval would have to be five points lower to alarm by a fixed five."""
    random = np.random.default_rng(6)
    confidence = random.uniform(0.6, 1.0, 50_000).astype(np.float32)
    right = random.random(50_000) < confidence
    window = random.uniform(0.6, 0.9, 1_000).astype(np.float32)
    estimate = _timed(right, confidence, random).estimate(_profile(window), 200)
    assert estimate is not None
    assert estimate.threshold is not None
    assert estimate.accuracy < estimate.threshold < right.mean() - 0.03
    assert estimate.high > right.mean() - 0.05


@pytest.mark.parametrize("deviation", [pytest.param(0.0, id="days alike"), pytest.param(0.05, id="days differ")])
@pytest.mark.parametrize("rows", [pytest.param(250, id="window of a day"), pytest.param(1_000, id="of four")])
def test_a_window_like_the_reference_is_hardly_ever_below_the_threshold(deviation: float, rows: int) -> None:
    """Not even its true share is, from twelve days of reference, in one of a hundred."""
    random, below = np.random.default_rng(7), 0
    for _ in range(300):
        right, (_, new) = _days(random, 12, deviation)[1], _days(random, 4, deviation)
        variation = vary(right, rows, timed=True)
        assert variation is not None
        assert variation.chunks == 12 if rows == 250 else 10
        below += new[:rows].mean() < threshold_of(float(right.mean()), variation)
    assert below <= 3


def test_without_times_the_threshold_is_of_the_sampling_error() -> None:
    """Rows that are sorted by their outcome, as a user's file may be, are no spans of time."""
    right = np.arange(2_000) < 1_600
    variation = vary(right, 1_000, timed=False)
    assert variation is not None
    assert (variation.chunks, variation.between) == (0, 0.0)
    assert threshold_of(0.8, variation) == pytest.approx(0.8 - 3 * (0.16 / 1_000 + 0.16 / 2_000) ** 0.5, abs=1e-3)


@pytest.mark.parametrize("timed", [pytest.param(True, id="with times"), pytest.param(False, id="without")])
def test_too_few_rows_tell_no_threshold(*, timed: bool) -> None:
    """Ten chunks of twenty rows are the least."""
    assert vary(np.ones(199, bool), 200, timed=timed) is None
    assert vary(np.ones(200, bool), 200, timed=timed) is not None


def test_the_reliability_curve_ascends_and_its_knots_have_rows_enough() -> None:
    """At most ten knots, which together hold every row, and whose accuracies never fall."""
    confidence, right = _draw(np.random.default_rng(4), 777)
    calibration = fit_reliability_curve(confidence, right)
    assert 3 <= len(calibration.rows) <= 10
    assert sum(calibration.rows) == 777
    assert min(calibration.rows) >= 77
    assert list(calibration.accuracy) == sorted(calibration.accuracy)
    assert list(calibration.confidence) == sorted(calibration.confidence)
    weighted = np.average(calibration.accuracy, weights=calibration.rows)
    assert weighted == pytest.approx(right.mean())


@pytest.mark.parametrize(
    ("confidence", "right", "knots"),
    [
        pytest.param([0.7], [True], 1, id="one row"),
        pytest.param(np.linspace(0, 1, 19).tolist(), [False] * 9 + [True] * 10, 1, id="few rows"),
        pytest.param([0.9] * 50, [True, False] * 25, 1, id="one confidence"),
        pytest.param([0.5] * 5 + [1.0] * 95, [False] * 5 + [True] * 95, 2, id="sure and unsure"),
        pytest.param([0.5] * 99 + [1.0], [False] * 99 + [True], 2, id="a single one at the top"),
        pytest.param([0.2, 0.4, 0.6, 0.8] * 10, [True, True, False, False] * 10, 1, id="the surer, the worse"),
    ],
)
def test_the_reliability_curve_of_odd_rows(confidence: list[float], right: list[bool], knots: int) -> None:
    """Whatever rows there are, there is a reliability curve."""
    calibration = fit_reliability_curve(np.array(confidence, np.float32), np.array(right))
    assert len(calibration.rows) == knots
    assert sum(calibration.rows) == len(right)


def test_a_users_predictions_are_measured_where_they_have_labels() -> None:
    """Rows without label or prediction do not count; with none at all nothing is known."""
    columns = {MODEL.prediction: ["yes", "no", None, "yes", "no"], MODEL.target: ["yes", "yes", "yes", None, "no"]}
    table = pa.table(columns)
    assert kept_performance(table, MODEL) == Performance(2 / 3, 3)
    assert kept_performance(table.slice(2, 2), MODEL) is None
