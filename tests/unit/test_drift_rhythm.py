"""The drift alarm on traffic with a day and with weather: quiet on more of the same, it finds and blames a change."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from monitoring.alarms.drift.attribution import Attribution, attribute
from monitoring.alarms.drift.calibration import Calibration, calibrate, supported_rows
from monitoring.alarms.drift.detector import DriftDetector
from monitoring.alarms.drift.matching import matched_sample
from monitoring.alarms.drift.rhythm import NO_RHYTHM, find_rhythm
from monitoring.alarms.drift.scores import LEAST_VARIANCE, Observations, ReferenceScores
from monitoring.alarms.drift.usual import DAY, HOUR, WEEK, Cycle, Usual

A_DAY = 200  # rows
MINIMUM_EFFECT = 0.1  # from which an alarm asks for a retraining
MONDAY = 1_767_571_200_000_000  # 2026-01-05 00:00 UTC


def traffic(seed: int, days: int, *, begin: int = 0) -> Observations:
    """Make rows of which one feature follows the hour, one a weather that lasts for a day, and one neither."""
    rng = np.random.default_rng(seed)
    times = MONDAY + (begin * DAY + np.sort(rng.integers(0, days * DAY, days * A_DAY)))
    hours = times % DAY / HOUR
    weather = np.zeros(len(times))
    for i in range(1, len(times)):
        weather[i] = 0.99 * weather[i - 1] + rng.normal(0, 0.14)
    features = np.stack(
        [np.sin(hours / 24 * 2 * np.pi) + rng.normal(0, 0.3, len(times)), weather, rng.normal(size=len(times))], axis=1
    )
    return Observations(features, (hours > 12 + rng.normal(0, 2, len(times))).astype(np.int64), times)


@cache
def _calibrated() -> tuple[Observations, Calibration]:
    reference = traffic(1, 56)
    return reference, calibrate(reference, 2, 1, populations=20, rhythm=find_rhythm(reference, 2, "auto", "UTC"))


def _alarms(rows: Observations, calibration: Calibration) -> list[str]:
    reference, _ = _calibrated()
    detector = DriftDetector(ReferenceScores(reference, 2, calibration.rhythm.cycle), calibration)
    assert rows.times is not None
    detector.update(rows, rows.times, 30 * A_DAY)
    alarm = detector.status().alarm
    return [alarm.kind] if alarm else []


@pytest.mark.parametrize(
    ("asked", "days", "cycle", "cycles"),
    [("auto", 28, WEEK, 4), ("auto", 5, DAY, 5), ("1d", 28, DAY, 28), ("7d", 5, None, 0), ("none", 28, None, 0)],
)
def test_the_cycle_is_found_or_asked_for(asked: str, days: int, cycle: int | None, cycles: int) -> None:
    """The longest of which the reference spans two; what was found is said."""
    found = find_rhythm(traffic(3, days), 2, asked, "Europe/Berlin")
    assert (found.cycle, found.cycles) == (cycle and Cycle(cycle, "Europe/Berlin"), cycles)
    assert found.said


def test_rows_that_do_not_depend_on_each_other_have_no_rhythm() -> None:
    """The same rows in another order of time, and rows without times."""
    rows = traffic(4, 28)
    assert rows.times is not None
    mixed = Observations(rows.features, rows.predictions, np.random.default_rng(5).permutation(rows.times))
    assert find_rhythm(mixed, 2, "auto", "UTC").cycle is None
    timeless = find_rhythm(Observations(rows.features, rows.predictions), 2, "auto", "UTC")
    assert (timeless.cycle, timeless.said) == (None, "the reference does not know its rows' times")


@pytest.mark.parametrize(
    ("days", "asked", "advised"),
    [
        pytest.param(None, "auto", "a column timestamp, and rows of two days at least", id="no times"),
        pytest.param(1, "auto", "Its rows depend on those before them, so hours that are unlike", id="too short"),
        pytest.param(13, "7d", "give reference.parquet rows of two days at least", id="less than two weeks"),
        pytest.param(28, "none", "set rhythm to auto", id="not wanted"),
    ],
)
def test_without_a_rhythm_it_is_said_what_follows_and_what_helps(days: int | None, asked: str, advised: str) -> None:
    """That alarms come more often than promised, and what to give the reference."""
    rows = traffic(6, days or 28)
    found = find_rhythm(rows if days else Observations(rows.features, rows.predictions), 2, asked, "UTC")
    assert found.cycle is None
    assert advised in found.advice
    assert "far more often than promised" in found.advice


def test_more_of_the_same_traffic_raises_no_alarm() -> None:
    """Three further weeks raise none, where the alarm for rows drawn one by one is raised within a day."""
    reference, calibration = _calibrated()
    further = traffic(2, 21, begin=56)
    assert _alarms(further, calibration) == []
    assert _alarms(further.take(slice(0, A_DAY)), calibrate(reference, 2, 1, populations=20)) != []


@pytest.mark.parametrize(("column", "by"), [(0, 1.0), (2, 1.0), (1, 6.0)])
def test_a_change_under_the_rhythm_raises_one(column: int, by: float) -> None:
    """A feature is another from a moment on; the weather's level is found by its jump."""
    _, calibration = _calibrated()
    rows = traffic(2, 14, begin=56)
    rows.features[10 * A_DAY :, column] += by
    assert _alarms(rows.take(slice(0, 12 * A_DAY)), calibration) != []


def test_weather_that_is_another_after_a_pause_is_no_jump() -> None:
    """In one go it would be one: what persists for a day does not change within rows."""
    _, calibration = _calibrated()
    rows = traffic(17, 2)
    assert rows.times is not None
    later = np.arange(len(rows)) >= A_DAY
    for part, level in ((~later, -1.3), (later, 1.3)):
        rows.features[part, 1] += level - rows.features[part, 1].mean()
    assert any("jump" in kind for kind in _alarms(rows, calibration))
    paused = replace(rows, times=rows.times + later * 3 * DAY)
    assert not any("jump" in kind for kind in _alarms(paused, calibration))


def _attribute(before: Observations, since: Observations, calibration: Calibration) -> Attribution:
    reference, _ = _calibrated()
    scores = ReferenceScores(reference, 2, calibration.rhythm.cycle)
    names = ("hourly", "weather", "steady", "prediction")
    return attribute(names, scores, calibration.deviations, reference, (before, since))


@pytest.mark.parametrize(("column", "name", "by"), [(0, "hourly", 1.0), (2, "steady", 1.0), (1, "weather", 6.0)])
def test_an_alarm_blames_the_column_that_changed(column: int, name: str, by: float) -> None:
    """And no other, however far the hour or the weather is from the reference's mean; it began when the change did."""
    reference, calibration = _calibrated()
    rows = traffic(2, 14, begin=56)
    rows.features[10 * A_DAY :, column] += by
    detector = DriftDetector(ReferenceScores(reference, 2, calibration.rhythm.cycle), calibration)
    assert rows.times is not None
    for end in range(A_DAY // 4, len(rows), A_DAY // 4):
        piece = slice(end - A_DAY // 4, end)
        detector.update(rows.take(piece), rows.times[piece], 30 * A_DAY)
        if alarm := detector.status().alarm:
            break
    assert alarm
    found = _attribute(*detector.around(alarm.onset), calibration)
    assert {one.column: one.direction for one in found.columns if one.direction} == {name: "up"}
    assert {one.column for one in found.columns if one.effect > 0} == {name}
    assert found.effect > MINIMUM_EFFECT
    assert abs(np.searchsorted(rows.times, alarm.onset) - 10 * A_DAY) <= A_DAY // 10


def test_another_time_of_the_day_is_no_effect() -> None:
    """Windows of some hours in which nothing has changed blame nobody; against all hours, each would be a change."""
    _, calibration = _calibrated()
    one_by_one = replace(calibration, deviations=None, rhythm=NO_RHYTHM)
    rows, blamed, effects, before = traffic(12, 21, begin=56), 0, [], []
    for begin in range(A_DAY, len(rows) - A_DAY, A_DAY + A_DAY // 3):
        around = rows.take(slice(0, begin)), rows.take(slice(begin, begin + A_DAY // 4))
        found = _attribute(*around, calibration)
        blamed += any(one.direction for one in found.columns)
        effects.append(found.effect)
        before.append(_attribute(*around, one_by_one).effect)
    assert blamed <= 1  # by chance
    assert max(effects) < MINIMUM_EFFECT < min(before)


def test_rows_are_matched_by_their_time_of_the_cycle() -> None:
    """Those of a Saturday night are held against other Saturday nights, across the week's end too."""
    reference = traffic(1, 56)
    rows, times = traffic(2, 7, begin=56), traffic(2, 7, begin=56).times
    assert times is not None
    week = (times - MONDAY) % WEEK / HOUR
    night = rows.take(np.flatnonzero((week >= 6 * 24 + 22) | (week < 2)))  # Sunday night
    matched = matched_sample(reference, night, Cycle(WEEK, "UTC"), 500, np.random.default_rng(1))
    assert matched.rows.times is not None
    hours = ((matched.rows.times - MONDAY) % WEEK / HOUR + 12) % 168
    assert hours.min() > 8
    assert hours.max() < 16
    assert 50 < len(matched.rows) <= matched.of + 1


def test_a_calibration_is_read_back_as_it_was_written() -> None:
    """With its rhythm and the deviations."""
    _, calibration = _calibrated()
    again = Calibration.from_json(calibration.to_json())
    assert again.rhythm == calibration.rhythm
    assert again.support(1e6, 0.1) == calibration.support(1e6, 0.1)
    assert again.deviations is not None
    assert calibration.deviations is not None
    np.testing.assert_allclose(again.deviations.values, calibration.deviations.values, atol=1e-4)


def test_deviations_follow_the_density() -> None:
    """Twice as many rows in the same time deviate by as much more as they have the same in common."""
    _, calibration = _calibrated()
    assert calibration.deviations is not None
    denser = calibration.at_density(2).deviations
    assert denser is not None
    weather = 1
    assert (denser.values[8:, weather] > calibration.deviations.values[8:, weather]).all()


def test_with_a_rhythm_the_references_own_time_supports_a_promise() -> None:
    """Eight weeks, whatever is drawn from them; at a lower rate fewer rows, of a thinned reference more."""
    _, calibration = _calibrated()
    own, rate = 56 * A_DAY, A_DAY / 86_400
    found = calibration.support(12 * own, rate)
    assert found.supported == pytest.approx(own)
    assert found.factor == pytest.approx(12)
    assert calibration.support(own, 0).supported == own
    assert calibration.support(own, rate / 2).supported == pytest.approx(own / 2)
    assert calibration.at_density(3).support(own, 3 * rate).supported == pytest.approx(3 * own)
    for part in (
        f"{own:,} rows without change (56 days)",
        "8 weeks",
        "12 times as far",
        "extrapolated, by a Gumbel law",
    ):
        assert part in found.supported_said
    assert "(672 days at 200 rows a day)" in found.promised_said
    assert found.rhythm_said.startswith("a week, learned from 8 of them")


def test_rows_drawn_one_by_one_support_as_many_as_are_drawn() -> None:
    """Whatever the reference's rows, thinned or not; a promise up to there is covered."""
    rows = traffic(7, 1)
    calibration = calibrate(Observations(rows.features, rows.predictions), 2, 1, populations=5)
    found = calibration.support(60_000, 0)
    assert (found.supported, found.factor) == (60_000, 1)
    assert "They cover the promise." in found.supported_said
    assert "rows do not depend on each other" in found.supported_said
    assert calibration.at_density(10).support(60_000, 1).supported == 60_000


@pytest.mark.parametrize("absent", ["populations", "reference_rows", "dependent"])
def test_a_calibration_of_an_earlier_version_is_made_anew(absent: str) -> None:
    """It does not know what supports its promise."""
    _, calibration = _calibrated()
    values = json.loads(calibration.to_json())
    del (values["rhythm"] if absent == "dependent" else values)[absent]
    with pytest.raises(ValueError, match=absent):
        Calibration.from_json(json.dumps(values))


def test_a_reference_of_a_day_is_matched_by_the_time_of_the_day() -> None:
    """It has no rows of the other days of the week."""
    reference, since = traffic(1, 1), traffic(2, 1, begin=4)
    noon = since.take(np.flatnonzero((since.times % DAY // HOUR) == 12))  # type: ignore[operator]
    matched = matched_sample(reference, noon, Cycle(WEEK, "UTC"), 500, np.random.default_rng(1))
    assert matched.rows.times is not None
    hours = matched.rows.times % DAY / HOUR
    assert hours.min() > 9
    assert hours.max() < 16


def test_a_cycle_that_is_asked_for_and_cannot_be_learned_supports_nothing() -> None:
    """config.yml says that there is one, and the reference has no times."""
    rows = traffic(4, 28)
    found = find_rhythm(Observations(rows.features, rows.predictions), 2, "7d", "UTC")
    assert found.dependent
    assert found.advice.startswith("It has one, as config.yml says")
    assert supported_rows(found, len(rows)) == 0


def test_what_follows_from_the_time_alone_is_wholly_usual() -> None:
    """Next to nothing is left of a flag of the weekend, and next to nothing of noise is usual."""
    times = traffic(1, 28).times
    assert times is not None
    weekend = ((times - MONDAY) % WEEK >= 5 * DAY).astype(np.float64)
    noise = np.random.default_rng(1).normal(size=len(times))
    columns = np.stack([weekend, noise], axis=1)
    usual = Usual(columns, times, Cycle(WEEK, "UTC")).departures(times)
    assert (usual[:, 0] - weekend).std() < 0.1 * weekend.std()
    assert usual[:, 1].std() < 0.25


def test_what_bins_leave_of_a_column_that_follows_from_the_time_is_not_magnified() -> None:
    """Rows of one bin come one after the other: measured by so little, the first ones of a day would be a change."""
    times = traffic(1, 28).times
    assert times is not None
    minute = np.floor(times % DAY / HOUR * 60)
    features = np.stack([minute, np.random.default_rng(1).normal(size=len(times))], axis=1)
    rows = Observations(features, np.zeros(len(times), np.int64), times)
    covariance = ReferenceScores(rows, 1, Cycle(DAY, "UTC")).covariance
    assert covariance[0, 0] >= LEAST_VARIANCE
    assert covariance[1, 1] == pytest.approx(1, abs=0.1)
    assert (ReferenceScores(rows, 1).covariance.diagonal() > 0.9).all()
