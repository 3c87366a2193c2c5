"""Which rows a candidate learns from, and how champion and reference change places safely."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from flows.registry.publication import KEPT, BusyError, complete, sole_run, stage
from flows.registry.tags import describe_names
from flows.training.changepoint import last_changepoint
from flows.training.collection import collect, newest_row, shortage
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import (
    InvalidReferenceError,
    Performance,
    ReliabilityCurve,
    read_reference,
    write_reference,
)
from monitoring.contract.times import Micros
from tests.unit.flows_fixtures import START, draw_wine, write_log
from tests.unit.models import wine


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return wine(tmp_path)


def noise(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 6)).astype(np.float32)


def test_rows_without_a_change_are_all_kept() -> None:
    """Without a change no row is dropped: at most one of 60 streams without a change is cut."""
    assert sum(last_changepoint(noise(800, seed)) > 0 for seed in range(60)) <= 1


@pytest.mark.parametrize("change", [pytest.param(600, id="late"), pytest.param(150, id="early")])
def test_tail_begins_at_a_clear_change(change: int) -> None:
    """The rows before a large shift of one feature do not enter, to the row."""
    rows = noise(800)
    rows[change:, 2] += 8
    assert last_changepoint(rows) == change


def test_newest_of_several_changes_counts() -> None:
    """After a drift and its return, only what came after the return is kept."""
    rows = noise(1200)
    rows[300:700, 1] -= 8
    assert last_changepoint(rows) == 700


def test_moderate_change_is_found_nearby() -> None:
    """Two thirds of a standard deviation is found within some rows of its place."""
    rows = noise(1000, seed=4)
    rows[600:, 0] += 0.68
    assert abs(last_changepoint(rows) - 600) < 60


def test_values_that_go_missing_are_a_change() -> None:
    """A feature that is no longer sent is a change of distribution."""
    rows = noise(600)
    rows[400:, 3] = np.nan
    assert last_changepoint(rows) == 400


def rhythmic(rows: int, seed: int, per_day: int = 450) -> np.ndarray:
    """A time of day, weather that persists for days, and a feature that knows of neither."""
    rng = np.random.default_rng(seed)
    weather = np.zeros(rows)
    for i, step in enumerate(rng.normal(size=rows)):
        weather[i] = 0.99 * weather[i - 1] + 0.14 * step
    day = np.sin(2 * np.pi * np.arange(rows) / per_day) + 0.3 * rng.normal(size=rows)
    return np.column_stack([day, weather + 0.5 * day, rng.normal(size=rows)])


def test_a_rhythm_and_weather_are_no_change() -> None:
    """Rows that follow the day and the weather are one distribution; that of independent rows would be cut."""
    cut = [last_changepoint(rhythmic(4000, seed)) for seed in range(12)]
    assert sum(place > 0 for place in cut) <= 1


def test_a_change_on_traffic_with_a_rhythm_is_found() -> None:
    """A feature that depends on no time moves by half a standard deviation."""
    for seed in range(3):
        rows = rhythmic(4000, seed)
        rows[2500:, 2] += 1.0
        assert abs(last_changepoint(rows) - 2500) <= 25


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_few_rows_are_all_kept(rows: int) -> None:
    """Too few rows to test are taken to hold no change."""
    assert last_changepoint(noise(rows)) == 0


def test_collection_takes_labelled_rows_since_the_change(layout: Layout, config: Config) -> None:
    """Rows before the change and rows without a label are left out; late labels are joined."""
    write_log(layout, config, draw_wine(300), start=START)
    first, last = write_log(layout, config, draw_wine(200, shift=9, seed=1), start=START + 10**9, labels="late")
    _, newest = write_log(layout, config, draw_wine(50, shift=9, seed=2), start=START + 2 * 10**9, labels="none")
    collected = collect(layout, config, after=None)
    assert (collected.rows, collected.rows_since_change, len(collected.table)) == (550, 250, 200)
    assert (collected.since, collected.through) == (first, newest)
    assert collected.table["timestamp"].cast(pa.int64()).to_pylist()[-1] == last
    assert len(collected.parts) == 2
    assert "200 of 250 rows since the last change, at 20" in collected.describe()
    assert shortage(collected, config) is None


def test_collection_takes_the_rows_since_the_onset(layout: Layout, config: Config) -> None:
    """The alarm knows since when; the rows tell no changepoint, and none is looked for."""
    write_log(layout, config, draw_wine(300), start=START)
    first, newest = write_log(layout, config, draw_wine(200, seed=1), start=START + 10**9)
    collected = collect(layout, config, None, onset=Micros(first))
    assert (collected.rows, collected.rows_since_change, len(collected.table)) == (500, 200, 200)
    assert (collected.since, collected.through, collected.older, collected.changed) == (first, newest, 0, True)
    assert collect(layout, config, None, onset=Micros(newest + 1)).rows_since_change == 0
    assert collect(layout, config, None, onset=Micros(1)).rows_since_change == 500


@pytest.mark.parametrize(
    ("cycle", "older"),
    [
        pytest.param(0.1, 0, id="shorter than since the onset"),
        pytest.param(0.25, 50, id="somewhat longer"),
        pytest.param(3600, 200, id="much longer: no more than since the onset"),
    ],
)
def test_rows_before_the_onset_complete_a_cycle(layout: Layout, config: Config, cycle: float, older: int) -> None:
    """Up to as many as there are since; a row comes each millisecond."""
    write_log(layout, config, draw_wine(600), start=START)
    onset = Micros(START + 400_000)
    collected = collect(layout, config, None, onset=onset, cycle=cycle)
    assert (collected.older, len(collected.table)) == (older, 200 + older)
    assert collected.table["timestamp"].cast(pa.int64())[collected.older].as_py() == onset
    assert f"{older} from before it" in collected.describe() or not older


def test_labels_from_before_the_onset_do_not_suffice(layout: Layout, config: Config) -> None:
    """They say nothing about the present."""
    write_log(layout, config, draw_wine(600), start=START)
    collected = collect(layout, config, None, onset=Micros(START + 540_000), cycle=3600)
    assert len(collected.table) == 120
    reason = shortage(collected, config) or ""
    assert "100 labelled rows are needed: 60 of 60" in reason
    assert "40 more labels of such rows would do (retrain.minimum_labels)" in reason


def test_collection_starts_after_the_reference(layout: Layout, config: Config) -> None:
    """Rows that are in the reference are not learnt from twice."""
    _, last = write_log(layout, config, draw_wine(300), start=START)
    write_log(layout, config, draw_wine(30, seed=1), start=START + 10**9)
    collected = collect(layout, config, after=last)
    assert collected.rows == 30
    assert "100 labelled rows are needed: 30 of 30 rows have a label" in (shortage(collected, config) or "")


def test_empty_log_is_a_shortage(layout: Layout, config: Config) -> None:
    """No rows at all is a reason, not an error."""
    assert "0 of 0 rows" in (shortage(collect(layout, config, None), config) or "")
    assert newest_row(layout) == 0


def test_one_category_is_a_shortage(layout: Layout, config: Config) -> None:
    """Enough labels of one category alone teach nothing."""
    rows = draw_wine(300)
    write_log(layout, config, rows.set_column(4, "truth", pa.array(["red"] * 300)))
    reason = shortage(collect(layout, config, None), config) or ""
    assert "those that have them: red. Labels of another category would do" in reason


def test_unreadable_part_is_named(layout: Layout, config: Config) -> None:
    """A part that is not Parquet costs its rows alone, and is told of."""
    write_log(layout, config, draw_wine(150))
    broken = layout.current / "part-1790000000000000-1790000000000001-2-x-1.parquet"
    broken.write_bytes(b"nonsense")
    collected = collect(layout, config, None)
    assert len(collected.table) == 150
    assert str(broken) in collected.unreadable[0]


def reference_rows(seed: int) -> pa.Table:
    table = draw_wine(40, seed=seed)
    return table.append_column("guess", table["truth"])


def test_staged_reference_takes_its_place_once_its_version_is_champion(layout: Layout, config: Config) -> None:
    """A publication that was cut off after the alias moved is completed by whoever comes next, once."""
    write_reference(layout, config.model, reference_rows(1), origin="sample", model_version="1")
    before = read_reference(layout, config.model)
    measured = Performance(0.9, 30, ReliabilityCurve((0.5,), (0.9,), (100,)))
    stage(layout, config.model, "2", reference_rows(2), origin="rebased", through=77, performance=measured)
    assert read_reference(layout, config.model).digest == before.digest
    assert complete(layout, "2")
    after = read_reference(layout, config.model)
    assert (after.origin, after.model_version, after.through) == ("rebased", "2", 77)
    assert after.performance == measured
    assert after.table["acidity"].to_pylist() == reference_rows(2)["acidity"].to_pylist()
    assert (layout.root / "_references" / f"{before.digest}.parquet").exists()
    assert not complete(layout, "2")


def test_staged_reference_of_a_version_that_never_became_champion_is_dropped(layout: Layout, config: Config) -> None:
    """A publication that was cut off before the alias moved leaves nothing behind."""
    write_reference(layout, config.model, reference_rows(1), origin="sample", model_version="1")
    before = layout.reference.read_bytes()
    stage(layout, config.model, "2", reference_rows(2), origin="rebased")
    assert not complete(layout, "1")
    assert layout.reference.read_bytes() == before
    assert not complete(layout, "2")


def test_reference_that_would_be_refused_is_not_staged(layout: Layout, config: Config) -> None:
    """What the monitor could not read stops the publication before the alias moves."""
    rows = reference_rows(1)
    bad = rows.set_column(4, "truth", pa.array(["rosé"] * 40))
    with pytest.raises(InvalidReferenceError, match="truth holds rosé"):
        stage(layout, config.model, "2", bad, origin="rebased")


def test_replaced_references_are_kept_up_to_a_bound(layout: Layout, config: Config) -> None:
    """The newest replaced references stay, older ones go."""
    for version in range(KEPT + 5):
        stage(layout, config.model, str(version), reference_rows(version), origin="rebased")
        complete(layout, str(version))
        for age, path in enumerate(sorted((layout.root / "_references").glob("*.parquet"), key=os.path.getmtime)):
            os.utime(path, (1_000_000 + version * 100 + age, 1_000_000 + version * 100 + age))
    assert len(list((layout.root / "_references").glob("*.parquet"))) == KEPT


def test_two_runs_do_not_work_on_the_same_files(layout: Layout) -> None:
    """A second process waits its patience and gives up; it gets the files when the first one dies."""
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, layout.root / "_flows.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BusyError, match="still at work"), sole_run(layout, patience=0.3):
            pytest.fail("two runs at once")
        holder.kill()
    with sole_run(layout, patience=5):
        pass


def test_list_of_names_has_a_bound() -> None:
    """A tag names the newest parts, counts all and has a digest of all."""
    few, many = describe_names(["a", "b"]), describe_names([f"part-{i:016d}" for i in range(10_000)])
    assert '"count": 10000' in many
    assert len(many) < 500
    assert few != describe_names(["a", "c"])
