"""Groups of rows: counted as their rows are, tested within the false discovery rate, and what explains a change."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from monitoring.contract.config import Config
from monitoring.monitor import generate_evidently_report
from monitoring.page.page import create_app
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.grid import Grid
from monitoring.profile.segments import GROUPS_KEPT, OTHER
from monitoring.profile.two_sample_tests import Clustering, homogeneity
from monitoring.snapshot.segment_metrics import SHOWN, segment_metrics
from monitoring.snapshot.segments import LEAST_ROWS, LEVEL, Group, Segments, compare_groups
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.monitor_fixtures import START, keep_reference, label_rows, log_rows, monitor_of


def segmented(config: Config, *names: str) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"segments": names})})


TRIPS = segmented(trips(minimum_labels=30), "zone", "distance")
TIPS = segmented(tips(minimum_labels=30), "zone", "airport")


def table(rows: int, seed: int = 0, **columns: Any) -> pa.Table:
    return pa.table(trip_rows(rows, seed) | columns)


def compare(config: Config, reference: pa.Table, current: pa.Table) -> Segments:
    grid = grid_of(config.model, reference)
    found = compare_groups(profile_rows(grid, reference), profile_rows(grid, current))
    assert found is not None
    return found


def group_of(found: Segments, segment: str, name: str) -> Group:
    return next(one for one in found.groups if (one.segment, one.name) == (segment, name))


def moved(zone: str, rows: int = 3000, seed: int = 1) -> pa.Table:
    """Return rows of which one zone's trips are three times as long."""
    frame = table(rows, seed).to_pandas()
    frame.loc[frame["zone"] == zone, "distance"] *= 3
    return pa.Table.from_pandas(frame)


def test_a_group_is_counted_as_its_rows_are() -> None:
    """Rows, labels and the mean loss of each group are those of the rows that are picked by hand."""
    reference, current = table(800), table(700, 1)
    found = compare(TRIPS, reference, current)
    frame = current.to_pandas()
    errors = (frame["predicted_minutes"] - frame["minutes"]).abs()
    for zone, rows in frame.groupby("zone"):
        group = group_of(found, "zone", str(zone))
        assert (group.rows, group.labelled_rows) == (len(rows), len(rows))
        assert group.performance == pytest.approx(errors[rows.index].mean())
    quarters = [one for one in found.groups if one.segment == "distance"]
    assert sum(one.rows for one in quarters) == len(frame)
    assert all(one.reference_rows == pytest.approx(200, abs=15) for one in quarters)


def test_a_classs_groups_have_accuracies() -> None:
    """Answers to missing levels are a group of their own; few labels are no accuracy."""
    current = table(600, 1).to_pandas()
    current.loc[current.index[::2], "tip"] = None
    found = compare(TIPS, table(800), pa.Table.from_pandas(current))
    labelled = current[current["tip"].notna()]
    for airport, name in ((True, "true"), (False, "false")):
        rows = labelled[labelled["airport"] == airport]
        assert group_of(found, "airport", name).performance == pytest.approx((rows.predicted_tip == rows.tip).mean())
    missing = group_of(found, "airport", "(missing)")
    assert missing.rows == current["airport"].isna().sum()
    assert missing.performance is missing.drifted is None


def test_the_worst_group_comes_first_and_explains_the_change() -> None:
    """Of a change in one zone alone; the sentence says what is left without it."""
    found = compare(TRIPS, table(4000), moved("museum"))
    assert (found.groups[0].segment, found.groups[0].name) == ("zone", "museum")
    assert found.groups[0].drifted is not None
    assert found.groups[0].drifted[0].column == "distance"
    assert found.explanation is not None
    assert (found.explanation.segment, found.explanation.name) == ("zone", "museum")
    assert "of the difference is gone without zone = museum" in found.said[-1]
    assert found.explanation.share == pytest.approx(0.15, abs=0.03)


def test_a_change_of_all_groups_is_explained_by_none() -> None:
    """Each of them differs."""
    frame = table(3000, 1).to_pandas()
    frame["distance"] *= 3
    found = compare(segmented(trips(), "zone"), table(4000), pa.Table.from_pandas(frame))
    assert len(found.drifted) == 5
    assert found.explanation is None


def test_without_change_few_looks_find_a_group() -> None:
    """Fifty groups: by chance one look in twenty may find one."""
    rng = np.random.default_rng(7)
    features = {"distance": "numeric", "passengers": "numeric", "zone": "categorical", "shop": "categorical"}
    model = TRIPS.model.model_dump(exclude={"kinds"}) | {"features": features, "segments": ["shop"]}
    config = Config.model_validate({**TRIPS.model_dump(), "model": model})

    def rows(number: int, seed: int) -> pa.Table:
        return table(number, seed, shop=pa.array(rng.integers(0, 50, number).astype(str)))

    reference = rows(20_000, 0)
    grid = grid_of(config.model, reference)
    profile = profile_rows(grid, reference)
    looks = [compare_groups(profile, profile_rows(grid, rows(8_000, seed))) for seed in range(1, 41)]
    assert all(one is not None and one.tested == 50 for one in looks)
    assert sum(bool(one.drifted) for one in looks if one) <= 5  # 2 at most are expected


def days(number: int, seed: int, *, of_groups: bool = False, spread: float = 0.3) -> pa.Table:
    """Draw days of 300 rows, each with a mean distance of its own, or each group with one of its own."""
    rng = np.random.default_rng(seed)
    frame = table(number * 300, seed).to_pandas()
    day = np.repeat(np.arange(number), 300)
    group = np.unique(frame["zone"], return_inverse=True)[1] if of_groups else np.zeros(len(day), int)
    frame["distance"] *= np.exp(rng.normal(0, spread, (number, 5)))[day, group]
    frame["timestamp"] = START + pd.to_timedelta(day, "D") + pd.to_timedelta(np.tile(np.arange(300), number), "s")
    return pa.Table.from_pandas(frame)


def discoveries(reference: pa.Table, news: list[pa.Table], grid: Grid) -> int:
    ours = profile_rows(grid, reference)
    looks = [compare_groups(ours, profile_rows(grid, new)) for new in news]
    return sum(bool(one.drifted) for one in looks if one)


@pytest.mark.parametrize("of_groups", [False, True], ids=["shared", "each group's own"])
def test_days_that_differ_from_each_other_are_no_change(*, of_groups: bool) -> None:
    """Another day like them is none of the groups' faults; where rows have no times, nobody knows."""
    reference = days(40, 0, of_groups=of_groups)
    grids = [grid_of(TRIPS.model, one) for one in (reference, reference.drop_columns("timestamp"))]
    assert grids[0].segments.clusters is not None
    assert set(grids[0].segments.clusters.spans[:5]) == {40}
    assert grids[1].segments.clusters is None
    news = [days(2, seed, of_groups=of_groups) for seed in range(1, 31)]
    timed, untimed = (discoveries(reference, news, grid) for grid in grids)
    assert timed <= 5
    assert untimed >= 15


def test_a_wrong_clock_changes_no_span() -> None:
    """A row of 1970 and one of 2100 are days of their own; the days between are what they were."""
    frame = days(60, 0).to_pandas()
    frame.loc[0, "timestamp"] = datetime(1970, 1, 2, tzinfo=UTC)
    frame.loc[1, "timestamp"] = datetime(2100, 1, 2, tzinfo=UTC)
    grid = grid_of(TRIPS.model, pa.Table.from_pandas(frame))
    assert grid.segments.clusters is not None
    assert grid.segments.clusters.spans.max() >= 55


def test_a_group_of_few_days_is_not_tested() -> None:
    """How much its days differ cannot be told from three of them."""
    frame = days(40, 0).to_pandas()
    late = (frame["timestamp"] < START + timedelta(days=37)) & (frame["zone"] == "museum")
    frame.loc[late, "zone"] = "station"
    found = compare(TRIPS, pa.Table.from_pandas(frame), days(10, 1))
    museum = group_of(found, "zone", "museum")
    assert min(museum.rows, museum.reference_rows) >= LEAST_ROWS
    assert museum.drifted is None


def test_rare_values_make_no_discovery() -> None:
    """One flag in 5,000, and nulls: without change, as few looks find a group as where nothing is rare."""
    rng = np.random.default_rng(5)

    def rows(number: int) -> pa.Table:
        flags = np.where(rng.random(number) < 2e-4, "odd", "usual")
        nulls = rng.random(number) < 2e-5
        return table(
            number,
            int(rng.integers(1 << 30)),
            airport=pa.array(flags),
            passengers=pa.array(np.ones(number), mask=nulls),
        )

    reference = rows(60_000)
    grid = grid_of(segmented(trips(), "zone").model, reference)
    assert discoveries(reference, [rows(1_500) for _ in range(40)], grid) <= 4


def test_a_group_explains_nothing_without_the_rest_in_the_reference() -> None:
    """Where all of the reference is of one group, what is new is not in it."""
    frame = moved("museum").to_pandas()
    frame["zone"] = np.where(np.random.default_rng(0).random(len(frame)) < 0.4, "here", "there")
    frame.loc[frame["zone"] == "there", "distance"] *= 3
    config = segmented(trips(), "zone")
    found = compare(config, table(4000, zone=pa.array(["here"] * 4000)), pa.Table.from_pandas(frame))
    assert found.explanation is None


def test_a_group_whose_answers_fall_is_among_the_worst() -> None:
    """Also where nothing of its rows has changed."""
    frame = table(3000, 1).to_pandas()
    broken = frame["zone"] == "harbour"
    frame.loc[broken, "predicted_tip"] = np.where(frame.loc[broken, "tip"] == "yes", "no", "yes")
    found = compare(segmented(tips(minimum_labels=30), "zone"), table(4000), pa.Table.from_pandas(frame))
    assert (found.groups[0].name, found.groups[0].fall > 0.5) == ("harbour", True)


def test_the_test_is_chi_square_with_rare_cells_together() -> None:
    """Cells are put together until each is expected five times; clusters make it F, and a change less sure."""
    counts = np.array([[50, 50, 50], [70, 50, 30]])
    found = stats.chi2_contingency(counts, correction=False)
    assert homogeneity(counts).p_value == pytest.approx(found.pvalue, rel=1e-9)
    rare = np.array([[50, 50, 46, 3, 1], [70, 50, 30, 0, 0]])
    together = np.array([[50, 50, 50], [70, 50, 30]])
    assert homogeneity(rare).p_value == pytest.approx(homogeneity(together).p_value, rel=1e-9)
    assert homogeneity(np.array([[10_000, 0], [50, 1]])).p_value == 1.0
    clustered = homogeneity(counts, Clustering(2.0, 1.5, 11))
    assert clustered.p_value == pytest.approx(stats.f.sf(found.statistic / 2 / 2, 1.5, 10), rel=1e-9)
    assert clustered.effect <= 0.5 * np.abs(counts[0] / 150 - counts[1] / 150).sum() + 1e-12


def test_a_segment_of_very_many_levels_has_few_groups() -> None:
    """The reference's most frequent ones, and all others together; a group of few rows is not tested."""
    rows = 100_000
    names = np.random.default_rng(0).permutation(rows).astype(str)
    names[: rows // 2] = "mine"
    config = segmented(trips(), "zone")
    found = compare(config, table(rows, zone=pa.array(names)), table(1000, 1, zone=pa.array(names[-1000:])))
    assert len(found.groups) <= GROUPS_KEPT + 2
    assert group_of(found, "zone", OTHER).rows >= 900
    assert group_of(found, "zone", "mine").drifted is None
    assert f"at least {LEAST_ROWS} in window" in " ".join(found.said)


def test_series_are_few_however_many_groups_there_are() -> None:
    """Of the worst groups alone; whether one explains the change is there with its name."""
    zones = np.array([f"zone {n:02d}" for n in range(40)])
    rng = np.random.default_rng(0)
    tables = [table(8000, seed, zone=pa.array(zones[rng.integers(0, 40, 8000)])) for seed in (0, 1)]
    frame = tables[1].to_pandas()
    frame.loc[frame["zone"] == "zone 07", "distance"] *= 4
    found = compare(segmented(trips(), "zone"), tables[0], pa.Table.from_pandas(frame))
    families = {one.name: one for one in segment_metrics(found)}
    assert len(families["segment_rows"].samples) == SHOWN
    assert families["segments_tested"].samples[0].value == 40
    worst = max(families["segment_effect_size"].samples, key=lambda one: one.value)
    assert worst.labels == {"segment": "zone", "group": "zone 07"}
    assert not list(segment_metrics(None))
    assert all(one.drifted is None or all(c.adjusted_p_value < LEVEL for c in one.drifted) for one in found.groups)


def test_page_report_and_metrics_tell_the_groups(tmp_path: Path) -> None:
    """Labels come late; the worst group stands first, with its accuracy, and markup in a level stays text."""
    config = segmented(tips(minimum_labels=30, minimum_rows=100, window={"rows": 2000}), "zone", "airport")
    keep_reference(tmp_path, config, table(2000).to_pandas())
    rows = moved("museum", 1500).to_pandas()
    rows.loc[:60, "zone"] = "<b>new</b>"
    labels = rows["tip"].tolist()
    ids = log_rows(tmp_path, config, rows.assign(tip=None))
    label_rows(tmp_path, config, ids, labels, START + timedelta(hours=1))
    monitor, registry = monitor_of(tmp_path, config)
    monitor.cycle()
    museum = rows[rows["zone"] == "museum"]
    value = registry.get_sample_value("segment_performance", {"segment": "zone", "group": "museum"})
    assert value == pytest.approx((museum.predicted_tip == museum.tip).mean())
    client = create_app(monitor, registry, lambda: True).test_client()
    page, report = client.get("/").text, client.get("/report").text
    for text in (page, report):
        assert "Where is it worst?" in text
        assert "<b>new</b>" not in text
        assert "of the difference is gone without zone = museum" in text
    kept = json.loads(client.get("/report.json").text)
    assert kept["segments"]["groups"][0]["name"] == "museum"


def test_groups_have_names_of_their_own() -> None:
    """Numbers that are equal in six digits are told apart, and so is a level that is called as the group of none."""
    zones = np.where(np.arange(400) % 2, "(missing)", "museum")
    current = table(400, zone=zones, distance=1_000_000.0 + np.arange(400) / 400)
    names = [(one.segment, one.name) for one in compare(TRIPS, current, current).groups]
    assert len({*names}) == len(names)
    assert ("zone", '"(missing)"') in names


def test_segments_are_features() -> None:
    """Another name is refused with what there is, and so are names that stand twice."""
    model = TRIPS.model.model_dump(exclude={"kinds"})
    model["features"] = {"distance": "numeric", "zone": "categorical"}
    for wrong, said in ((["borough"], "'borough', which is no feature; there are"), (["zone", "zone"], "zone")):
        with pytest.raises(ValueError, match=said):
            Config.model_validate({**TRIPS.model_dump(), "model": model | {"segments": wrong}})


def test_the_functions_take_segments_too() -> None:
    """Frames with types as pandas writes them."""
    frames = [table(400, seed).to_pandas() for seed in (0, 1)]
    report = generate_evidently_report(*frames, config=TRIPS.model_copy(update={"minimum_rows": 100}))
    assert report.snapshot.segments is not None
    assert {one.segment for one in report.snapshot.segments.groups} == {"zone", "distance"}
