"""Accuracy without labels: an estimate from calibrated confidences, as good as its interval says."""

import numpy as np
import pyarrow as pa
import pytest

from flows.training.reliability import fit_reliability_curve, kept_performance
from monitoring.alarms.accuracy_estimate import estimate_accuracy
from monitoring.contract.reference import Performance, ReliabilityCurve
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
        estimate = estimate_accuracy(performance, _profile(confidence), 200)
        assert estimate is not None
        inside += estimate.low <= right.mean() <= estimate.high
        off.append(estimate.accuracy - right.mean())
    assert 0.91 <= inside / 300 <= 0.99  # three standard deviations to either side
    assert abs(np.mean(off)) < 0.01


def test_a_window_of_unsure_rows_is_estimated_lower() -> None:
    """The estimate follows the confidences, by what they are worth and not by what they say."""
    performance = _performance(np.random.default_rng(2), 5_000)
    unsure, sure = (estimate_accuracy(performance, _profile(np.full(500, c)), 200) for c in (0.4, 0.9))
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
            estimate = estimate_accuracy(performance, _profile(_draw(random, rows)[0]), 100)
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
    assert estimate_accuracy(performance, _profile(confidence), 200) is None


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
