"""Categorical features in profiles and verdicts: levels that are known, new, gone and missing."""

from itertools import permutations
from typing import Any

import pyarrow as pa
import pytest

from monitoring.contract.kinds import LONGEST_LEVEL
from monitoring.contract.values import UnfitColumnError
from monitoring.monitor import Report, report_on
from monitoring.profile.categorical import UNSEEN_KEPT
from monitoring.profile.columns import REST, LevelColumn, column_of
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import merge
from tests.unit.mixed import tips, trip_rows, trips

REFERENCE = pa.table(trip_rows(500))
GRID = grid_of(trips().model, REFERENCE)
ZONE = LevelColumn("zone", 0)


def _zones(zones: list[Any]) -> pa.Table:
    return pa.table({**trip_rows(len(zones), seed=1), "zone": zones})


def test_each_level_is_counted() -> None:
    """Those of the reference, new ones by name, empty texts and missing ones; numbers and booleans as text."""
    profile = profile_rows(GRID, _zones(["station", "station", "lido", "", None]))
    assert column_of(GRID, "zone") == ZONE
    assert ZONE.counts(profile) == {"station": 2, "lido": 1, "": 1}
    assert ZONE.void(profile) == (1, 1, 0, 0)
    assert profile_rows(GRID, _zones([7, 7, None])).unseen[0].named == {"7": 2}
    assert set(LevelColumn("airport", 1).known(profile)) == {"true", "false"}


def test_many_new_levels_are_counted_together_in_any_order() -> None:
    """The first names of the alphabet have exact counts; a name of many characters is cut."""
    names = [f"new {n:04d}" for n in range(UNSEEN_KEPT + 150)] + ["new 0001", "x" * 10_000]
    pieces = [profile_rows(GRID, _zones(names[n::3])) for n in range(3)]
    totals = [merge(GRID, order).unseen[0] for order in permutations(pieces)]
    assert all(total == totals[0] for total in totals)
    assert totals[0] == profile_rows(GRID, _zones(names)).unseen[0]
    assert len(totals[0].named) == UNSEEN_KEPT
    assert totals[0].named["new 0001"] == 2
    assert totals[0].unnamed == len(names) - UNSEEN_KEPT - 1
    assert ZONE.counts(merge(GRID, pieces))[REST] == totals[0].unnamed
    assert max(map(len, profile_rows(GRID, _zones(["y" * 10_000])).unseen[0].named)) == LONGEST_LEVEL


def test_rows_that_differ_in_a_level_alone_do_not_repeat() -> None:
    """Levels of the reference, and those that are new and not kept by name, are in the rows' hashes."""
    row = {name: column.slice(0, 1) for name, column in trip_rows(1).items()}
    zones = ["station", "museum", "station", *(f"new {n}" for n in range(300)), "new 7", None, ""]
    rows = pa.table({name: pa.concat_arrays([column] * len(zones)) for name, column in row.items()} | {"zone": zones})
    assert profile_rows(GRID, rows).duplicated == 2
    assert profile_rows(GRID, REFERENCE).duplicated == 0


def test_a_fraction_is_no_level() -> None:
    """The column and its type are told."""
    with pytest.raises(UnfitColumnError, match="column zone is double; it must be text"):
        profile_rows(GRID, _zones([0.5, 1.5]))


def _report(test: dict[str, Any], rows: pa.Table) -> Report:
    config = tips(drift={"default": {"test": "ks", "threshold": 0.05}, "categorical": test})
    grid = grid_of(config.model, REFERENCE)
    return report_on(config, profile_rows(grid, REFERENCE), profile_rows(grid, rows))


def _renamed(before: str, after: str | None, rows: int = 300) -> pa.Table:
    zones = trip_rows(rows, seed=1)["zone"].to_pylist()
    return _zones([after if zone == before else zone for zone in zones])


def test_a_verdict_names_levels_that_are_new_gone_and_missing() -> None:
    """In the words of that column's test."""
    report = _report({"test": "chi_square_two_sample", "threshold": 0.05}, _renamed("museum", "lido <b>"))
    assert report.run is not None
    found = {verdict.test: verdict.found for verdict in report.run.verdicts}
    assert "differs from the reference: p = " in found["TestColumnDrift:zone"]
    assert "Not in the reference: lido <b> (42). Gone: museum." in found["TestColumnDrift:zone"]
    assert "Missing in 0.7%, in the reference in 1.2%." in found["TestColumnDrift:airport"]
    assert "lido &lt;b&gt;" in report.run.html() or "lido <b>" not in report.run.html()


@pytest.mark.parametrize("test", ["psi", "jensenshannon", "total_variation"])
def test_a_distance_is_no_p_value(test: str) -> None:
    """Drift is a distance from the threshold on; a large one is not taken for a p-value that is large."""
    assessment = _report({"test": test, "threshold": 0.1}, _renamed("station", "lido")).snapshot.assessment
    assert assessment is not None
    zone, airport = assessment.features[2:]
    assert zone.drift.p_value is zone.adjusted_p_value is None
    assert zone.drift.distance is not None
    assert zone.drift.distance > 0.3
    assert zone.drift.drifted
    assert zone.adjusted_drift
    assert not airport.drift.drifted
    assert assessment.drift_remains


def test_a_category_has_a_shape_of_its_own() -> None:
    """Shares of the most frequent levels, of unseen ones, and the share of values that would have to change."""
    report = _report({"test": "chi_square_two_sample", "threshold": 0.05}, _renamed("station", "lido"))
    assert report.snapshot.assessment is not None
    zone = report.snapshot.assessment.features[2]
    assert (zone.ks_statistic, zone.outliers, zone.kind) == (None, None, "categorical")
    assert [one.name for one in zone.bins] == [
        "01: station", "02: old town", "03: museum", "04: harbour", "05: university", "06: unseen"
    ]  # fmt: skip
    assert zone.bins[-1].current == zone.effect_size or abs((zone.bins[-1].current or 0) - zone.effect_size) < 0.1
    assert zone.bins[0].current == 0.0
    assert report.snapshot.quality.unseen_categories["zone"] > 100


def test_a_test_of_one_column_takes_the_place_of_the_one_for_all() -> None:
    """Each feature has its test, and the one that is named has its own condition."""
    tests: list[Any] = [
        {"TestColumnShareOfMissingValues": {"lte": 0.0}},
        {"TestColumnShareOfMissingValues": {"column": "airport", "lte": 0.5}},
        "TestNumberOfOutListValues",
    ]
    config = trips(tests=tests)
    rows = _renamed("museum", "lido")
    report = report_on(config, profile_rows(GRID, REFERENCE), profile_rows(GRID, rows))
    assert report.run is not None
    found = {verdict.test: verdict.status for verdict in report.run.verdicts}
    assert found == {
        "TestColumnShareOfMissingValues:distance": "success",
        "TestColumnShareOfMissingValues:passengers": "success",
        "TestColumnShareOfMissingValues:zone": "success",
        "TestColumnShareOfMissingValues:airport": "success",
        "TestNumberOfOutListValues:zone": "fail",
        "TestNumberOfOutListValues:airport": "fail",
    }
    assert report.run.html()
