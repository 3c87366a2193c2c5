"""The window as a sum of profiles: what reading all of its rows would give, whatever happens to the files."""

import os
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.log.quarantine import why_unreadable
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import covering, list_leftovers, list_parts, merged_name, part_name
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.contract.times import microseconds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.grid import Grid
from monitoring.window.window import ProfiledWindow
from tests.unit.mixed import tips, trip_rows, trips
from tests.unit.models import LOANS, loans
from tests.unit.monitor_fixtures import START, label_rows, log_rows, make_rows
from tests.unit.profile_strategies import same_profile

ROUNDS = int(os.environ.get("FUZZ_CASES", "1000")) // 50
BEGIN = microseconds(START)


def _grid(config: Config = LOANS, narrow: Collection[str] = ()) -> Grid:
    """Make the grid of a reference, of which some columns are of a narrower type than the log's."""
    rows = _rows(config, 120).astype(dict.fromkeys(narrow, "float32"))
    return grid_of(config.model, pa.Table.from_pandas(rows))


def _rows(config: Config, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw rows of a model; those of mixed features hold levels that the reference of 120 rows does not."""
    if not config.model.of_kind("categorical"):
        return make_rows(config, count, seed=seed)
    rows = pa.table(trip_rows(count, seed)).to_pandas()
    rows["zone"] = [f"{zone} {n % 7}" if n % 3 == seed % 3 else zone for n, zone in enumerate(rows["zone"])]
    rows["airport"] = rows["airport"].astype(object)
    return rows[[*config.model.features, config.model.prediction, config.model.target]]


class Log:
    """A log that several writers append to, whose parts are merged and removed, and whose labels come late."""

    def __init__(self, folder: Path, config: Config, random: np.random.Generator) -> None:
        self.layout, self.config, self.random = Layout(folder), config, random
        self.schema, self.now, self.count = log_schema(config.model), BEGIN, 0
        self.pool = _rows(config, 60, seed=int(random.integers(1000)))
        self.ids: list[str] = []
        self.unsealed: list[tuple[str, str]] = []

    def append(self) -> None:
        """Seal a part of rows that may repeat others, be older than those of other parts, and lack values."""
        size = int(self.random.integers(1, 40))
        self.now += int(self.random.integers(0, 50_000))
        times = self.now + np.sort(self.random.integers(-30_000, 30_000, size)) // 1000 * 1000
        rows = self.pool.iloc[self.random.integers(0, len(self.pool), size)].reset_index(drop=True)
        if self.random.random() < 0.3:
            rows.loc[self.random.random(size) < 0.2, self.config.model.features[0]] = np.nan
            rows.loc[self.random.random(size) < 0.2, self.config.model.features[-1]] = None
        rows.loc[self.random.random(size) < 0.5, self.config.model.target] = None
        ids = [self._id(int(time)) for time in times]
        table = pa.table(
            {
                **{name: pa.array(rows[name], from_pandas=True) for name in rows},
                "prediction_id": ids, "timestamp": pa.array(times).cast(pa.timestamp("us", "UTC")),
                "confidence": self.random.random(size), "model_version": ["1"] * size,
            }
        ).select(self.schema.names).cast(self.schema)  # fmt: skip
        table = table.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
        self._write(self.layout.current, table, part_name(int(times.min()), int(times.max()), size, "w", self.count))
        self.ids += ids

    def _id(self, time: int) -> str:
        milliseconds, tail = time // 1000, self.random.bytes(10).hex()
        return f"{milliseconds:012x}"[:8] + "-" + f"{milliseconds:012x}"[8:] + f"-7{tail[:3]}-8{tail[3:6]}-{tail[6:18]}"

    def _write(self, folder: Path, table: pa.Table, name: str, **options: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / name, **options)
        self.count += 1

    def label(self) -> None:
        """Label rows, some of them again, some in capitals, and some that are not in a part yet."""
        if not self.ids:
            return
        chosen = [
            str(i).upper() if self.random.random() < 0.2 else str(i)
            for i in self.random.choice(self.ids, int(self.random.integers(1, 20)))
        ]
        early = [self._id(self.now + 5_000)] if self.random.random() < 0.3 else []
        ids = chosen + early
        self.count += 1
        table = pa.table(
            {
                "prediction_id": ids,
                self.config.model.target: self._labels(len(ids)),
                "timestamp": pa.array([BEGIN + self.count * 1000 + n for n in range(len(ids))]).cast(
                    pa.timestamp("us", "UTC")
                ),
            },
            schema=labels_schema(self.config.model),
        )
        times = [int(i[:8] + i[9:13], 16) * 1000 for i in ids]
        self._write(self.layout.labels, table, part_name(min(times), max(times), len(ids), "l", self.count))

    def _labels(self, count: int) -> list[Any]:
        if self.config.model.categories:
            return [str(x) for x in self.random.choice(self.config.model.categories, count)]
        return [float(x) for x in self.random.choice([0.0, 0.1, 7.3, 1e9], count)]

    def merge(self) -> None:
        """Merge some parts of the log or of the labels."""
        folder = self.layout.current if self.random.random() < 0.7 else self.layout.labels
        self._tidy(folder)
        parts, _ = list_parts(folder)
        if len(parts) < 2:
            return
        chosen = [
            parts[i]
            for i in self.random.choice(len(parts), int(self.random.integers(2, len(parts) + 1)), replace=False)
        ]
        table = pa.concat_tables([pq.read_table(part.path, partitioning=None) for part in chosen])
        table = table.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
        table = table.replace_schema_metadata(covering(chosen))
        self._write(folder, table, merged_name(chosen), row_group_size=int(self.random.integers(5, 50)))
        if self.random.random() < 0.8:
            for part in chosen:
                part.path.unlink()

    def _tidy(self, folder: Path) -> None:
        """Remove what a merge left that died before its end."""
        for part in list_leftovers(folder):
            part.path.unlink()

    def remove(self) -> None:
        """Archive the oldest part, with what is left of those that it was merged from."""
        self._tidy(self.layout.current)
        parts, _ = list_parts(self.layout.current)
        if len(parts) > 3:
            parts[-1].path.unlink()


WINDOWS = [
    pytest.param({"rows": 100}, id="rows"),
    pytest.param({"rows": 7}, id="few rows"),
    pytest.param({"rows": 100_000}, id="all"),
    pytest.param({"duration": "1s"}, id="duration"),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("window", WINDOWS)
def test_the_sum_of_the_parts_is_the_window(tmp_path: Path, window: dict[str, Any]) -> None:
    """After any sequence of parts, late labels, merges and removals, and after a restart, every number agrees."""
    _follow(tmp_path, loans(window=window, minimum_rows=2), ROUNDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("config_of", "narrow"),
    [
        pytest.param(trips, [], id="regression"),
        pytest.param(trips, ["predicted_minutes"], id="narrow predictions"),
        pytest.param(tips, [], id="mixed kinds"),
    ],
)
def test_so_it_is_of_every_kind_and_task(
    tmp_path: Path, config_of: Callable[..., Config], narrow: list[str], window: dict[str, Any]
) -> None:
    """Levels, new ones too, errors and groups, whose losses late labels correct to the last bit."""
    config = config_of(window=window, minimum_rows=2)
    model = config.model.model_copy(update={"segments": ("zone", "airport", "distance")})
    _follow(tmp_path, config.model_copy(update={"model": model}), ROUNDS // 4, narrow)


def _follow(folder: Path, config: Config, rounds: int, narrow: Collection[str] = ()) -> None:
    window, grid = config.window, _grid(config, narrow)
    for seed in range(rounds):
        random = np.random.default_rng(seed)
        log = Log(folder / str(seed), config, random)
        watched = ProfiledWindow(log.layout, config, grid)
        after = None
        for _ in range(25):
            step = random.choice(
                ["append", "label", "merge", "remove", "restart", "after"], p=[0.4, 0.2, 0.2, 0.05, 0.1, 0.05]
            )
            if step == "restart":
                watched = ProfiledWindow(log.layout, config, grid)
            elif step == "after":
                after = max(after or 0, log.now - int(random.integers(0, 200_000)))
            else:
                getattr(log, step)()
            if random.random() < 0.6:
                now = START + timedelta(microseconds=log.now - BEGIN)
                rows = read_rows(log.layout, config.model, window, after, now)
                same_profile(watched.look(after, now).profile, profile_rows(grid, rows.table))


def _parts(folder: Path, config: Config, sizes: list[int]) -> Layout:
    """Write parts of so many rows, one after the other."""
    for n, size in enumerate(sizes):
        log_rows(folder, config, make_rows(config, size, seed=n), START + timedelta(minutes=n))
    return Layout(folder)


def test_a_restart_reads_profiles_and_not_rows(tmp_path: Path) -> None:
    """The profile of a large part is kept on disk: the part is not read again, and a damaged profile is made anew."""
    config = loans(window={"rows": 100_000})
    layout = _parts(tmp_path, config, [5_000, 50])
    grid = _grid(config)
    before = ProfiledWindow(layout, config, grid).look(None).profile
    (kept,) = (tmp_path / "_profiles").glob("*/*")
    large = layout.current / kept.name
    rows = large.read_bytes()
    large.write_bytes(b"these rows cannot be read")
    same_profile(ProfiledWindow(layout, config, grid).look(None).profile, before)
    kept.write_bytes(b"nor can this profile")
    large.write_bytes(rows)
    look = ProfiledWindow(layout, config, grid).look(None)
    same_profile(look.profile, before)
    assert not look.unreadable


def test_profiles_of_another_reference_are_removed(tmp_path: Path) -> None:
    """What is kept was counted against one reference, and is of no use for the next."""
    config = loans(window={"rows": 100_000})
    layout = _parts(tmp_path, config, [5_000])
    ProfiledWindow(layout, config, _grid(config)).look(None)
    other = grid_of(config.model, pa.Table.from_pandas(make_rows(config, 80, seed=9)))
    ProfiledWindow(layout, config, other).look(None)
    assert [path.name for path in (tmp_path / "_profiles").iterdir()] == [other.digest[:16]]


def test_a_part_that_cannot_be_read_is_named_and_the_others_count(tmp_path: Path) -> None:
    """Every look names it, and the window goes back to what lies before."""
    config = loans(window={"rows": 60})
    layout = _parts(tmp_path, config, [50, 40, 30])
    damaged = sorted(layout.current.iterdir())[1]
    damaged.write_bytes(b"damaged")
    watched = ProfiledWindow(layout, config, _grid(config))
    for _ in range(2):
        look = watched.look(None)
        assert [file.path for file in look.unreadable] == [damaged]
        assert look.profile.rows == 60
        assert look.profile.first < BEGIN + 60_000_000


@pytest.mark.parametrize("rows", [60, 1000])
def test_rows_without_a_time_are_in_no_window(tmp_path: Path, rows: int) -> None:
    """Both readers leave them out, name the file, and take a label of such a row for none of the window's."""
    config = loans(window={"rows": rows}, minimum_rows=2)
    layout, grid = _parts(tmp_path, config, [50, 40]), _grid(config)
    _, other = sorted(layout.current.iterdir())
    table = pq.read_table(other, partitioning=None)
    times = pa.array([None if n % 2 else t for n, t in enumerate(table["timestamp"].to_pylist())], TIMESTAMP)
    foreign = layout.current / "foreign.parquet"
    pq.write_table(table.drop_columns("timestamp").append_column("timestamp", times), foreign, row_group_size=10)
    other.unlink()
    label_rows(tmp_path, config, table["prediction_id"].to_pylist(), [config.model.categories[0]] * 40)
    read = read_rows(layout, config.model, config.window)
    look = ProfiledWindow(layout, config, grid).look(None)
    same_profile(look.profile, profile_rows(grid, read.table))
    assert look.profile.rows == min(rows, 70)
    for found in (read.unreadable, look.unreadable):
        assert [(file.path, file.reason) for file in found] == [(foreign, "20 of 40 rows have no timestamp")]
    assert why_unreadable(foreign, log_schema(config.model)) is None  # it is not quarantined


def test_rows_beyond_the_horizon_are_not_searched_for_repetitions(tmp_path: Path) -> None:
    """A row that repeats one of long ago counts as a new one; what lies within the horizon is still found."""
    config = loans(window={"rows": 1_000}, duplicate_horizon=100)
    watched = ProfiledWindow(Layout(tmp_path), config, _grid(config))
    for n, seed in enumerate([0, 1, 1, 2, 0]):
        log_rows(tmp_path, config, make_rows(config, 50, seed=seed), START + timedelta(minutes=n))
        profile = watched.look(None).profile
    assert profile.rows == 250
    assert profile.duplicated == 50
