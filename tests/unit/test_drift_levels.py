"""The drift detector on mixed features and on a regression: cells, alarms, and whom they blame."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from monitoring.alarms.drift.attribution import Attribution, attribute_for
from monitoring.alarms.drift.calibration import Calibration, calibrate
from monitoring.alarms.drift.detector import DriftDetector
from monitoring.alarms.drift.levels import FIRST, NO_VALUE, RARE, UNSEEN
from monitoring.alarms.drift.rhythm import find_rhythm
from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import DAY
from monitoring.alarms.drift.vocabulary import MOST_IN_ALL, MOST_NAMED, FeatureLevels, Vocabulary, rows_of
from monitoring.contract.config import Config
from monitoring.contract.drift_state import Alarm
from tests.unit.mixed import tips, trip_rows, trips

CONFIGS = pytest.mark.parametrize("config", [pytest.param(trips(), id="trips"), pytest.param(tips(), id="tips")])
REFERENCE_ROWS = 600
CHANGE = 400  # the row from which a log differs


def table(rows: int, seed: int) -> pa.Table:
    """Return rows as files hold them for both models."""
    columns = pa.table(trip_rows(rows, seed))
    columns = columns.set_column(columns.schema.get_field_index("airport"), "airport", _text(columns["airport"]))
    return columns.append_column("timestamp", pa.array(np.arange(rows) * 1_000_000, pa.timestamp("us", tz="UTC")))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string())


def changed(rows: pa.Table, column: str, seed: int, share: float, level: str | None) -> pa.Table:
    """Return rows of which some of those from CHANGE on have another level."""
    values = rows[column].to_pylist()
    picked = np.random.default_rng(seed).random(len(values)) < share
    values = [level if place >= CHANGE and picked[place] else value for place, value in enumerate(values)]
    return rows.set_column(rows.schema.get_field_index(column), column, pa.array(values, pa.string()))


@cache
def known(task: str) -> tuple[Vocabulary, Observations, ReferenceScores, Calibration]:
    """Return what is known of the reference of a model, and a calibration of few populations."""
    model = {"regression": trips(), "classification": tips()}[task].model
    rows = table(REFERENCE_ROWS, 1).drop_columns("timestamp")
    observed = rows_of(rows, model)
    calibration = calibrate(observed, len(model.categories), 1, populations=24)
    return Vocabulary.of(rows, model), observed, ReferenceScores(observed, len(model.categories)), calibration


def watch(config: Config, log: pa.Table) -> tuple[Alarm | None, Attribution | None]:
    """Return the first alarm of a log, and what it is attributed to at the log's end."""
    words, reference, scores, calibration = known(config.model.task)
    rows = rows_of(log, config.model, words)
    assert rows.times is not None
    detector = DriftDetector(scores, calibration)
    detector.update(rows, rows.times, 1e5)
    alarm = detector.status().alarm
    if alarm is None:
        return None, None
    around = detector.around(alarm.onset)
    return alarm, attribute_for(config.model, scores, None, reference, around, vocabulary=words)


@CONFIGS
def test_steady_rows_raise_no_alarm(config: Config) -> None:
    """Of rows like the reference's, none of three logs is in alarm at its end."""
    assert [watch(config, table(3_000, seed))[0] for seed in (2, 3, 4)] == [None] * 3


@CONFIGS
@pytest.mark.parametrize(
    ("column", "level", "direction"),
    [
        pytest.param("zone", "marina", "unseen", id="a level that the reference has not"),
        pytest.param("zone", "harbour", "mix", id="a level that grows"),
        pytest.param("zone", None, "missing", id="no value"),
        pytest.param("airport", "true", "mix", id="two levels"),
    ],
)
def test_a_change_of_levels_is_found_and_named(config: Config, column: str, level: str | None, direction: str) -> None:
    """The alarm comes, blames the column, and says which level grew from which share to which."""
    alarm, found = watch(config, changed(table(900, 5), column, 6, 0.3, level))
    assert alarm is not None
    assert alarm.noticed > CHANGE * 1_000_000
    assert alarm.kind.startswith("level")
    assert found is not None
    assert [one.column for one in found.columns] == [*config.model.features, config.model.prediction]
    by_name = {one.column: one for one in found.columns}
    assert by_name[column].direction == direction
    assert 0.1 < by_name[column].effect < 0.4
    grown = {one.level: one for one in by_name[column].levels if one.now > one.before}
    if level is not None:
        assert grown[level].now - grown[level].before > 0.1
        assert grown[level].unseen == (level == "marina")


def test_a_level_that_vanishes_is_found() -> None:
    """Its share falls to nothing, and it is named."""
    log = table(1_500, 7)
    kept = pa.array([at < CHANGE or zone != "station" for at, zone in enumerate(log["zone"].to_pylist())])
    alarm, found = watch(trips(), log.filter(kept))
    assert alarm is not None
    assert found is not None
    zone = next(one for one in found.columns if one.column == "zone")
    assert (zone.direction, zone.levels[0].level, zone.levels[0].now) == ("mix", "station", 0.0)
    assert zone.levels[0].before == pytest.approx(0.4, abs=0.1)


def test_a_regressions_prediction_is_a_number_that_is_blamed() -> None:
    """Ten minutes more are told as the prediction's, and as no category's."""
    log = table(900, 8)
    minutes = log["predicted_minutes"].to_numpy() + 10.0 * (np.arange(900) >= CHANGE)
    place = log.schema.get_field_index("predicted_minutes")
    alarm, found = watch(trips(), log.set_column(place, "predicted_minutes", pa.array(minutes)))
    assert alarm is not None
    assert found is not None
    assert (found.columns[-1].column, found.columns[-1].direction) == ("predicted_minutes", "up")
    assert max(found.columns, key=lambda one: one.contribution).column == "predicted_minutes"


def test_a_regressions_answers_that_fail_are_missing() -> None:
    """A log in which half of the predictions are null is in alarm for them."""
    log = table(900, 9)
    place = log.schema.get_field_index("predicted_minutes")
    mask = (np.arange(900) >= CHANGE) & (np.arange(900) % 2 == 0)
    alarm, found = watch(
        trips(), log.set_column(place, "predicted_minutes", pa.array(log["predicted_minutes"].to_numpy(), mask=mask))
    )
    assert alarm is not None
    assert found is not None
    assert (found.columns[-1].column, found.columns[-1].direction) == ("predicted_minutes", "missing")


def test_unseen_levels_are_named_from_their_first_row_on() -> None:
    """Of a column that is blamed: one row is too few for a test of its share, and yet it is there. Others are not."""
    log = changed(table(460, 10), "zone", 6, 0.9, "marina")
    values = [*log["zone"].to_pylist()[:-1], "pier"]
    log = log.set_column(log.schema.get_field_index("zone"), "zone", pa.array(values))
    known("regression")[0].features[0].code(pa.chunked_array([["quay"]]))  # came long ago
    found = watch(trips(), log)[1]
    assert found is not None
    zone = next(one for one in found.columns if one.column == "zone")
    unseen = {one.level for one in zone.levels if one.unseen}
    assert unseen == {"marina", "pier"}


def test_cells_hold_frequent_levels_rare_ones_unseen_ones_and_none() -> None:
    """A level of one row alone is unseen among the reference's own rows, and rare in the log: Good's rule."""
    column = pa.chunked_array([["a"] * 60 + ["b"] * 30 + ["c"] * 3 + ["d"] + [None] * 6])
    words = FeatureLevels.of(column, 1)
    assert (words.levels.to_pylist(), words.frequent, words.cells) == (["a", "b", "c", "d"], 2, FIRST + 2)
    asked = pa.chunked_array([["a", "b", "c", "d", "e", "", None]])
    own = words.place(words.code(asked), own=True).tolist()
    assert own == [FIRST, FIRST + 1, RARE, UNSEEN, UNSEEN, UNSEEN, NO_VALUE]
    logged = words.place(words.code(asked), own=False).tolist()
    assert logged == [FIRST, FIRST + 1, RARE, RARE, UNSEEN, UNSEEN, NO_VALUE]
    assert [words.name(code) for code in words.code(asked)] == ["a", "b", "c", "d", "e", "", None]


def test_names_of_unseen_levels_are_bounded() -> None:
    """Beyond a number of them they are counted and no longer named, so that a stream of ids takes no memory."""
    words = FeatureLevels.of(pa.chunked_array([["a", "a"]]), 1)
    codes = words.code(pa.chunked_array([[f"id {n}" for n in range(MOST_NAMED + 50)]]))
    assert len(words.unseen) == MOST_NAMED
    assert words.name(int(codes[0])) == "id 0"
    assert words.name(int(codes[-1])) is None
    assert set(words.place(codes, own=False).tolist()) == {UNSEEN}


def test_score_columns_are_bounded() -> None:
    """Thirty features of 300 levels have 10 counted levels each, and three cells more."""
    column = pa.chunked_array([[f"level {n % 300}" for n in range(30_000)]])
    cells = [FeatureLevels.of(column, 30).cells for _ in range(30)]
    assert sum(cells) == MOST_IN_ALL + 3 * 30


def test_features_may_all_be_categories() -> None:
    """A classification without any number is calibrated and watched."""
    config = tips(
        model={
            **tips().model.model_dump(),
            "features": ("zone", "airport"),
            "kinds": dict.fromkeys(("zone", "airport"), "categorical"),
        }
    )
    rows = table(REFERENCE_ROWS, 1).drop_columns("timestamp")
    words, observed = Vocabulary.of(rows, config.model), rows_of(rows, config.model)
    detector = DriftDetector(ReferenceScores(observed, 2), calibrate(observed, 2, 1, populations=10))
    log = rows_of(changed(table(900, 5), "zone", 6, 0.5, "marina"), config.model, words)
    assert log.times is not None
    detector.update(log, log.times, 1e5)
    assert detector.status().alarm is not None


def test_a_calibration_with_levels_is_kept_and_read_back() -> None:
    """Its statistics of levels are part of it."""
    calibration = known("regression")[3]
    assert calibration.kinds[-3:] == ("level", "levels", "levels of several")
    assert Calibration.from_json(calibration.to_json()).kinds == calibration.kinds


def _days(seed: int, days: int, begin: int = 0) -> pa.Table:
    """Return rows of some days: by day there is one level, by night another, and numbers follow neither."""
    rng = np.random.default_rng(seed)
    times = (begin * DAY + np.sort(rng.integers(0, days * DAY, days * 300))).astype(np.int64)
    by_day = np.abs(times % DAY / DAY - 0.5) + rng.normal(0, 0.05, len(times)) < 0.25
    rows = pa.table(trip_rows(len(times), seed))
    zone = np.where(by_day, "office", np.where(rng.random(len(times)) < 0.5, "bar", "home"))
    rows = rows.set_column(rows.schema.get_field_index("zone"), "zone", pa.array(zone))
    rows = rows.set_column(rows.schema.get_field_index("airport"), "airport", _text(rows["airport"]))
    return rows.append_column("timestamp", pa.array(times, pa.timestamp("us", tz="UTC")))


def test_levels_with_a_rhythm_are_no_drift_and_a_change_in_one_is() -> None:
    """Days and nights of two weeks are learned; offices that come at all hours are found and blamed."""
    model = trips().model
    reference = _days(1, 14)
    words, observed = Vocabulary.of(reference, model), rows_of(reference, model)
    rhythm = find_rhythm(observed, 0, "auto", "UTC")
    assert rhythm.cycle is not None
    calibration = calibrate(observed, 0, 1, populations=16, rhythm=rhythm)
    scores = ReferenceScores(observed, 0, rhythm.cycle)
    after = rows_of(_days(2, 3, 14), model, words)
    assert after.times is not None
    detector = DriftDetector(scores, calibration)
    detector.update(after, after.times, 1e4)
    assert detector.status().alarm is None
    log = changed(_days(3, 3, 17), "zone", 4, 0.4, "office")
    rows = rows_of(log, model, words)
    assert rows.times is not None
    detector.update(rows, rows.times, 1e4)
    alarm = detector.status().alarm
    assert alarm is not None
    around = detector.around(alarm.onset)
    found = attribute_for(model, scores, calibration.deviations, observed, around, vocabulary=words)
    zone = next(one for one in found.columns if one.column == "zone")
    assert zone.direction == "mix"
    assert zone.levels[0].level == "office"
    assert 0.05 < zone.effect < 0.5
