"""The sequential detector: what it detects, when it raises no alarm, and what it costs."""

import numpy as np
import pytest

from monitoring.alarms.drift.calibration import Calibration
from monitoring.alarms.drift.detector import DetectorStatus, DriftDetector
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.windows import BLOCK, window_statistics
from tests.unit.drift_fixtures import CATEGORIES, CHANGES, calibrated, draw, quick, reference, shifted

SECOND = 1_000_000


def _feed(
    detector: DriftDetector, rows: Observations, begin: int, promise: float = 1e5, piece: int = 137
) -> DetectorStatus:
    """Feed rows, a second apart, in pieces."""
    for start in range(0, len(rows), piece):
        part = rows.take(slice(start, start + piece))
        times = (begin + start + np.arange(len(part))) * SECOND
        detector.update(part, times, promise)
    return detector.status()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_kind_of_change_is_noticed_and_dated(change) -> None:
    """After 1,000 steady rows the alarm comes within 400 rows of the change, and puts its onset near it."""
    rng = np.random.default_rng(11)
    detector = DriftDetector(*calibrated())
    assert _feed(detector, draw(rng, 1_000), 0).alarm is None
    alarm = _feed(detector, change(rng, 400), 1_000).alarm
    assert alarm is not None
    assert 1_000 <= alarm.noticed / SECOND < 1_400
    assert abs(alarm.onset / SECOND - 1_000) < 120


def test_an_alarm_ends_when_the_rows_are_as_before() -> None:
    """The alarm is over once no window holds the changed rows, and the detector is ready for the next one."""
    rng = np.random.default_rng(12)
    detector = DriftDetector(*calibrated())
    assert _feed(detector, shifted(rng, 300), 0).alarm is not None
    after = _feed(detector, draw(rng, 4_000), 300)
    assert after.alarm is None
    assert detector.since >= 300 * SECOND
    assert _feed(detector, shifted(rng, 300), 4_300).alarm is not None


def test_steady_rows_raise_no_more_alarms_than_promised() -> None:
    """8 references, 40,000 rows each, one alarm in 10,000 promised: it is kept, and p-values alone would not."""
    alarms = naive = 0
    for seed in range(8):
        scores, calibration = calibrated(seed)
        detector = DriftDetector(scores, calibration)
        rng = np.random.default_rng([2, seed])
        begun: set[int] = set()
        for piece in range(80):
            rows = draw(rng, 500)
            status = _feed(detector, rows, piece * 500, promise=1e4, piece=500)
            begun |= {status.alarm.noticed} if status.alarm else set()
            windows = window_statistics(scores, calibration.lengths[:8], scores.sums(rows, BLOCK), 0, 0)
            naive += any((window.values > 4).any() for window in windows)
        alarms += len(begun)
    assert alarms <= 32
    assert naive > 64


def test_what_is_promised_less_often_takes_longer_to_notice() -> None:
    """A weaker promise is kept by a lower threshold, so that the same rows reach it sooner."""
    noticed = []
    for promise in (1e3, 1e6, 1e12):
        detector = DriftDetector(*calibrated())
        status = _feed(detector, shifted(np.random.default_rng(13), 400), 0, promise)
        assert status.alarm is not None
        assert status.threshold == pytest.approx(np.log10(promise))
        noticed.append(status.alarm.noticed)
    assert noticed == sorted(noticed)
    assert noticed[0] < noticed[-1]


def test_how_rows_are_delivered_does_not_matter() -> None:
    """Rows in pieces of any size give the score and the alarm that they give at once."""
    rows = draw(np.random.default_rng(14), 700)
    rows.features[500:, 0] += 0.8
    statuses = [_feed(DriftDetector(*calibrated()), rows, 0, piece=piece) for piece in (1, 3, 64, 700)]
    assert statuses[0].alarm is not None
    for status in statuses[1:]:
        assert status.score == pytest.approx(statuses[0].score)
        assert status.alarm == statuses[0].alarm


def test_memory_does_not_grow_with_the_rows() -> None:
    """What is kept of 30,000 rows is no more than of 15,000."""
    rng = np.random.default_rng(15)
    detector = DriftDetector(*calibrated())

    def kept() -> int:
        return sum(value.nbytes for value in vars(detector).values() if isinstance(value, np.ndarray)) + sum(
            rows.features.nbytes for rows in vars(detector).values() if isinstance(rows, Observations)
        )

    _feed(detector, draw(rng, 15_000), 0, piece=1_000)
    before = kept()
    _feed(detector, draw(rng, 15_000), 15_000, piece=1_000)
    assert kept() <= before


@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param(1, 5.0, id="a constant feature"),
        pytest.param(1, np.nan, id="a feature without a value"),
        pytest.param(1, np.inf, id="an infinite feature"),
    ],
)
def test_odd_references_calibrate_and_watch(column: int, value: float) -> None:
    """A feature without information in the reference causes no division by zero, and hides no change in another."""
    rng = np.random.default_rng(16)
    odd, steady, after = draw(rng, 100), draw(rng, 500), shifted(rng, 300)
    for rows in (odd, steady, after):
        rows.features[:, column] = value
    detector = DriftDetector(ReferenceScores(odd, CATEGORIES), quick(odd, populations=10))
    status = _feed(detector, steady, 0)
    assert np.isfinite(status.score)
    assert status.alarm is None
    assert _feed(detector, after, 500).alarm is not None


def test_a_value_never_seen_is_noticed_and_one_alone_is_forgiven() -> None:
    """100 rows without a missing value do not say that there are none: one is no alarm, and one in five is."""
    rng = np.random.default_rng(17)
    detector = DriftDetector(*calibrated())
    rows = draw(rng, 600)
    rows.features[300, 2] = np.nan
    assert _feed(detector, rows, 0).alarm is None
    rows = draw(rng, 300)
    rows.features[::5, 2] = np.nan
    assert _feed(detector, rows, 600).alarm is not None


@pytest.mark.parametrize("features", [1, 2, 60])
def test_any_number_of_features_is_watched(features: int) -> None:
    """One feature has no pairs; with 60 the axes fit their own rows, and new rows are still no drift."""
    mixing = np.linalg.cholesky(0.3 * np.ones((features, features)) + 0.7 * np.eye(features)).T
    rng = np.random.default_rng(20)

    def some(number: int) -> Observations:
        values = rng.standard_normal((number, features)) @ mixing
        return Observations(values, (values[:, 0] > 0).astype(np.int64))

    known, after = some(500), some(300)
    after.features[:, -1] += 1.5
    detector = DriftDetector(ReferenceScores(known, CATEGORIES), quick(known, populations=5))
    assert _feed(detector, some(1_500), 0).alarm is None
    assert _feed(detector, after, 1_500).alarm is not None


def test_a_reference_of_one_row_is_watched() -> None:
    """Of one row nothing follows, and nothing fails."""
    one = draw(np.random.default_rng(18), 1)
    detector = DriftDetector(ReferenceScores(one, CATEGORIES), quick(one, populations=5))
    assert np.isfinite(_feed(detector, draw(np.random.default_rng(19), 500), 0).score)


def test_a_calibration_survives_json() -> None:
    """What is read back gives the same thresholds; something else is refused."""
    calibration = calibrated()[1]
    again = Calibration.from_json(calibration.to_json())
    assert again.height(1e6) == calibration.height(1e6)
    assert again.rarity(9.0) == calibration.rarity(9.0)
    for text in ("{}", "[]", calibration.to_json().replace('"shift"', '"shape"')):
        with pytest.raises((KeyError, ValueError, TypeError)):
            Calibration.from_json(text)


def test_the_same_seed_calibrates_to_the_same() -> None:
    """A calibration can be repeated."""
    first, second = (quick(reference(), seed=5, populations=4) for _ in range(2))
    assert first.to_json() == second.to_json()
