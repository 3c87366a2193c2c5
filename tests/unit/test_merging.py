"""Merging: which parts, what is in the merged one, and that a reader sees each row once at any moment."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.log.merging import FAN, GROUP_ROWS, merge, plan
from monitoring.contract.names import LARGEST_PART
from monitoring.contract.parts import Part, covered, list_leftovers, list_parts, merged_name, part_name
from monitoring.contract.storage import remove
from tests.unit.log_fixtures import FORM, WIDER, Log, ids, logged, read_ids, rows, write_part

_numbers = itertools.count()


def part(rows: int, first: int = 0) -> Part:
    name = part_name(first, first + 10, rows, "w", next(_numbers))
    return Part(first + 10, first, rows, Path(name))


def settle(parts: list[Part]) -> list[Part]:
    """Merge by name alone, without files, until nothing is left to merge."""
    while groups := plan(parts):
        gone = {one.name for group in groups for one in group}
        made = [
            Part(max(p.last for p in g), min(p.first for p in g), sum(p.rows for p in g), Path(merged_name(g)))
            for g in groups
        ]
        parts = [one for one in parts if one.name not in gone] + made
    return parts


def test_a_week_leaves_few_files() -> None:
    """5 predictions a second, sealed every 10 s by each of two workers, are some hundred files after a week."""
    parts: list[Part] = []
    most = 0
    for tick in range(7 * 24 * 360):
        parts += [part(25, tick * 10), part(25, tick * 10)]
        if tick % 50 == 0:
            parts = settle(parts)
            most = max(most, len(parts))
    assert sum(one.rows for one in parts) == 7 * 24 * 3600 * 5
    assert most + 100 < 250


@given(st.lists(st.integers(1, LARGEST_PART), max_size=80))
def test_a_plan_takes_each_part_once_and_ends(sizes: list[int]) -> None:
    """Whatever lies there: groups share no part, none is too large or alone, and in the end few are small."""
    parts = [part(size, place) for place, size in enumerate(sizes)]
    groups = plan(parts)
    taken = [one.name for group in groups for one in group]
    assert len(taken) == len(set(taken))
    assert all(len(group) > 1 and sum(one.rows for one in group) <= LARGEST_PART for group in groups)
    left = settle(parts)
    assert sum(one.rows for one in left) == sum(sizes)
    assert sum(one.rows <= LARGEST_PART // 2 for one in left) <= 4 * (FAN - 1) + 1


def test_neighbours_in_time_are_merged(tmp_path: Path) -> None:
    """A recovered journal's part from long ago does not make a merged part of all times more than once."""
    parts = [part(20, place * 100) for place in range(3 * FAN)]
    groups = plan([*parts[FAN:], *parts[:FAN]])
    assert [[one.first for one in group] for group in groups] == [
        [place * 100 for place in range(start, start + FAN)] for start in (0, FAN, 2 * FAN)
    ]


def _sealed(folder: Path, batches: Sequence[list[list[Any]]]) -> list[Part]:
    log = Log(folder)
    for batch in batches:
        log.append(batch)
        log.seal()
    return list_parts(folder)[0]


def test_a_merged_part_has_the_rows_in_order(tmp_path: Path) -> None:
    """It holds every row once, sorted, in row groups with statistics, names what it covers, and is all that is left."""
    batches = [rows(3) for _ in range(5)]
    parts = _sealed(tmp_path, batches)
    (path,) = merge(tmp_path, parts, FORM)
    ((merged,), unreadable) = list_parts(tmp_path)
    assert unreadable == []
    assert merged.path == path
    assert set(covered(merged)) == {one.name for one in parts}
    assert (merged.rows, merged.first) == (15, min(one.first for one in parts))
    assert sorted(read_ids(tmp_path)) == sorted(row[0] for batch in batches for row in batch)
    frame = pd.read_parquet(tmp_path)
    assert list(frame["prediction_id"]) == list(frame.sort_values(["timestamp", "prediction_id"])["prediction_id"])
    assert pq.read_metadata(path).row_group(0).column(1).statistics.has_min_max


def test_row_groups_are_small(tmp_path: Path) -> None:
    """The edge of a window reads one row group, not the whole of a large part."""
    parts = [write_part(tmp_path, count=GROUP_ROWS, at=place) for place in range(3)]
    (path,) = merge(tmp_path, parts, FORM)
    footer = pq.read_metadata(path)
    assert [footer.row_group(group).num_rows for group in range(footer.num_row_groups)] == [GROUP_ROWS] * 3


def test_merging_again_gives_the_same_part(tmp_path: Path) -> None:
    """The same parts give the same file, byte for byte: a merge that is done again after a kill changes nothing."""
    parts = _sealed(tmp_path, [rows(2) for _ in range(4)])
    content = {one.name: Path(str(one.path)).read_bytes() for one in parts}
    (path,) = merge(tmp_path, parts, FORM)
    before = Path(str(path)).read_bytes()
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    assert merge(tmp_path, list(reversed(parts)), FORM) == [path]
    assert Path(str(path)).read_bytes() == before


def test_what_a_merged_part_covers_does_not_count(tmp_path: Path) -> None:
    """Between a merge's two steps both lie there: readers see the merged part alone, and the others are leftovers."""
    some = [rows(2) for _ in range(3)]
    parts = _sealed(tmp_path, some)
    content = {one.name: Path(str(one.path)).read_bytes() for one in parts}
    merge(tmp_path, parts, FORM)
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    late = rows(1)  # a journal that is recovered late: as old, not covered
    _sealed(tmp_path, [[[late[0][0], some[0][0][1], *late[0][2:]]]])
    assert len(read_ids(tmp_path)) == 7
    assert set(read_ids(tmp_path)) == {i for batch in [*some, late] for i in ids(batch)}
    assert {one.name for one in list_leftovers(tmp_path)} == set(content)


def test_schemas_are_merged_apart(tmp_path: Path) -> None:
    """A config that gains a feature starts new parts: merging neither drops the feature nor invents it elsewhere."""
    old, new = [rows(1) for _ in range(2)], [rows(1, form=WIDER) for _ in range(2)]
    parts = _sealed(tmp_path, old)
    wide = Log(tmp_path, form=WIDER)
    for batch in new:
        wide.append(batch)
        wide.seal()
    parts = list_parts(tmp_path)[0]
    assert len(merge(tmp_path, parts, FORM)) == 2
    assert set(read_ids(tmp_path)) == {i for batch in [*old, *new] for i in ids(batch)}
    names = sorted(len(pq.read_schema(one.path)) for one in list_parts(tmp_path)[0])
    assert names == [len(FORM.schema), len(FORM.schema) + 1]


def test_a_damaged_merged_part_hides_nothing(tmp_path: Path) -> None:
    """A merged part whose footer cannot be read covers nothing: where its parts lie there still, they count."""
    some = [rows(2) for _ in range(3)]
    parts = _sealed(tmp_path, some)
    (tmp_path / merged_name(parts)).write_bytes(b"PAR1 damaged")
    assert len(list_parts(tmp_path)[0]) == 4
    assert set(logged(tmp_path, skip=merged_name(parts))) == {i for batch in some for i in ids(batch)}


def test_a_part_of_a_listing_may_be_gone(tmp_path: Path) -> None:
    """Reading what was merged away says so, and removing it twice is no error."""
    parts = _sealed(tmp_path, [rows(1), rows(1)])
    merge(tmp_path, parts, FORM)
    with pytest.raises(FileNotFoundError):
        pq.read_table(parts[0].path)
    remove(parts[0].path)
