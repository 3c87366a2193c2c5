"""Rows as they arrive: each row of a log once, whatever happens to the parts that hold it.

A part is immutable, so it is enough to remember which ones were taken, and how far. A merged part repeats rows of parts
that were there before: if those were all taken, so is it. If it also holds rows that never lay in a part that was seen
(16 small parts may come and be merged between two looks, and merged again), it is read, and what was taken before is
left out by the rows' keys. Keys are kept of the parts that may still be merged: 8 bytes a row, of some 200,000 rows at
most, since the API's maintenance merges what is more (`api.log.merging`).
"""

import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.names import LARGEST_PART
from monitoring.contract.part_reader import LARGE, UNREADABLE, read_groups, reason_of
from monitoring.contract.parts import Part, Unreadable, covered, is_merged, is_ours, list_parts
from monitoring.contract.rereading import attempts
from monitoring.contract.storage import Place, open_parquet
from monitoring.contract.times import Micros
from monitoring.profile.kernel import hash_ids

Keys = npt.NDArray[np.uint64]

FINAL_ROWS = LARGEST_PART // 2  # a part of so many rows is not merged again
PATIENCE = 60.0  # seconds until a part that could not be read is tried again
_NONE: Keys = np.empty(0, np.uint64)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it maps times to keys one to one


@dataclass(frozen=True)
class Taken:
    """How far a part was taken: its first row groups and some rows of a large next one; the rows have these keys.

    `before` are the keys of rows that were taken from other parts and may be in this one. first and last are the
    part's.
    """

    first: Micros
    last: Micros
    groups: int = 0
    done: bool = False
    keys: Keys = field(default_factory=lambda: _NONE)
    before: Keys = field(default_factory=lambda: _NONE)
    rows: int = 0

    def overlaps(self, part: Part) -> bool:
        """Say whether rows of this part may have come to lie in another."""
        return self.first <= part.last and part.first <= self.last


class LogCursor:
    """The rows of a log's folder that came since the last call, each once.

    The schema holds the columns to read, `prediction_id` and `timestamp` among them, by which a row is known. Rows
    are later than `after`; -1 takes every row, those without a timestamp too. In
    labels.parquet the timestamp is the label's.
    """

    def __init__(self, folder: Place, schema: pa.Schema, after: Micros) -> None:
        self._folder = folder
        self._schema = pa.schema([f.with_nullable(True) for f in schema])
        self._after = after
        self._taken: dict[str, Taken] = {}
        self._gone: dict[str, Taken] = {}  # of parts that may have been merged into one that cannot be read
        self._failed: dict[str, tuple[float, Unreadable]] = {}

    def take(self, limit: int) -> tuple[pa.Table, list[Unreadable]]:
        """Return about `limit` rows that were not returned before, of the oldest parts first, sorted by timestamp.

        Whole row groups, or pieces of large ones, are taken, so that there may be more; an empty table says that there
        are no further rows now. A part that cannot be read is named by every call, and tried again after a minute. A
        call that raises has taken nothing: OSError where storage cannot be reached, DriftloopError if the folder
        changes faster than it is read.
        """
        before = dict(self._taken), self._gone
        try:
            return self._take_all(limit)
        except BaseException:
            self._taken, self._gone = before
            raise

    def copy(self) -> "LogCursor":
        """Return another that goes on from here by itself."""
        other = LogCursor(self._folder, self._schema, self._after)
        other._taken, other._gone, other._failed = dict(self._taken), dict(self._gone), dict(self._failed)
        return other

    def state(self) -> dict[str, Any]:
        """Return what was taken, as JSON takes it; `restore` goes on from there."""
        return {
            group: {name: _to_list(one) for name, one in taken.items()}
            for group, taken in (("taken", self._taken), ("gone", self._gone))
        }

    @classmethod
    def restore(cls, folder: Place, schema: pa.Schema, after: Micros, state: Mapping[str, Any]) -> "LogCursor":
        """Go on from a state; raise KeyError, TypeError or ValueError if it is none."""
        restored = cls(folder, schema, after)
        restored._taken = {name: _from_list(one) for name, one in state["taken"].items()}
        restored._gone = {name: _from_list(one) for name, one in state["gone"].items()}
        return restored

    def _take_all(self, limit: int) -> tuple[pa.Table, list[Unreadable]]:
        tables = [self._schema.empty_table()]
        for attempt in attempts(self._folder):
            with attempt:
                parts, unreadable = list_parts(self._folder)
                self._follow(parts)
                self._read(parts, limit, tables)
                break
        rows = pa.concat_tables(tables).sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
        return rows, [*unreadable, *(file for _, file in self._failed.values())]

    def _follow(self, parts: Iterable[Part]) -> None:
        """Pass on what was taken of parts that were merged, and forget the parts that have gone."""
        present = {part.name: part for part in parts}
        gone = self._gone | {name: one for name, one in self._taken.items() if name not in present}
        new = [part for name, part in present.items() if name not in self._taken]
        covers = self._covers(new)
        orphans = gone.keys() - {name for names in covers.values() for name in names}
        begun = {part.name: self._begin(part, covers[part.name], gone, orphans) for part in new if part.name in covers}
        dark = [part for part in new if part.name not in covers]
        self._gone = {name: gone[name] for name in orphans if any(gone[name].overlaps(part) for part in dark)}
        self._taken = {name: one for name, one in self._taken.items() if name in present} | begun
        left = {name for name in present if name not in self._taken or not self._taken[name].done}
        self._failed = {name: failure for name, failure in self._failed.items() if name in left}

    def _covers(self, parts: Iterable[Part]) -> dict[str, tuple[str, ...]]:
        """Return what each part was merged from; of those that cannot be read nothing."""
        covers = {}
        for part in parts:
            try:
                covers[part.name] = covered(part)
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                self._fail(part, error)
        return covers

    def _begin(self, part: Part, covers: tuple[str, ...], gone: Mapping[str, Taken], orphans: Iterable[str]) -> Taken:
        """Return what was taken of a part before it was there."""
        fresh = Taken(part.first, part.last, done=part.last <= self._after)
        if fresh.done or not is_merged(part.name):
            return fresh
        known = [gone[name] for name in covers if name in gone]
        if len(known) == len(covers) and all(one.done for one in known):
            return replace(fresh, done=True, keys=_kept(part, [one.keys for one in known]))
        # What was taken may have been merged into a part that came and went unseen, and this one made of that.
        known += [gone[name] for name in orphans if gone[name].overlaps(part)]
        before = [keys for one in known for keys in (one.keys, one.before)]
        return replace(fresh, before=np.concatenate([_NONE, *before]))

    def _read(self, parts: Iterable[Part], limit: int, tables: list[pa.Table]) -> None:
        """Take from parts until there are enough rows."""
        for part in sorted(part for part in parts if part.name in self._taken):
            if part.name in self._failed and time.monotonic() < self._failed[part.name][0]:
                continue
            try:
                # a piece may hold no row that is new, which does not say that the next one holds none
                while not self._taken[part.name].done and (room := limit - sum(map(len, tables))) > 0:
                    self._taken[part.name], rows = self._take(part, self._taken[part.name], room)
                    tables += rows
                    self._failed.pop(part.name, None)
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                self._fail(part, error)

    def _take(self, part: Part, taken: Taken, room: int) -> tuple[Taken, list[pa.Table]]:
        """Read a part's next row groups."""
        groups, end = _next_groups(part.path, taken.groups, room)
        read, reached = self._read_on(part.path, groups, taken, room)
        tables, keys = [], [taken.keys]
        for table in read:
            rows = table
            if is_ours(part) and (part.rows < FINAL_ROWS or len(taken.before)):
                keys.append(_keys(table))
                rows = table.filter(pa.array(~np.isin(keys[-1], taken.before)))
            tables.append(rows if self._after < 0 else rows.filter(pc.greater(_times(rows), self._after)))
        if end and not reached:
            return Taken(part.first, part.last, groups.stop, done=True, keys=_kept(part, keys)), tables
        begin = groups.start if reached else groups.stop
        return replace(taken, groups=begin, rows=reached, keys=np.concatenate(keys)), tables

    def _read_on(self, path: Place, groups: range, taken: Taken, room: int) -> tuple[list[pa.Table], int]:
        """Read row groups, or the next piece of a large one; return how far that was read, 0 for to its end."""
        if len(groups) != 1 or (size := _size(path, groups.start)) <= LARGE:
            return list(read_groups(path, self._schema, groups)), 0
        tables, end = [], 0
        for table in read_groups(path, self._schema, groups):
            begin, end = end, end + len(table)
            if end > taken.rows:
                tables.append(table.slice(max(0, taken.rows - begin)))
            if end - taken.rows >= room:
                break
        return tables, end if end < size else 0

    def _fail(self, part: Part, error: Exception) -> None:
        self._failed[part.name] = time.monotonic() + PATIENCE, Unreadable(part.path, reason_of(error))


def _next_groups(path: Place, begin: int, room: int) -> tuple[range, bool]:
    """Return the row groups from `begin` that fill the room, a large one alone, and whether they are the last."""
    with open_parquet(path) as file:
        end = begin
        while end < file.num_row_groups and room > 0:
            rows = file.metadata.row_group(end).num_rows
            if rows > LARGE and end > begin:
                break
            room -= rows
            end += 1
        return range(begin, end), end == file.num_row_groups


def _size(path: Place, group: int) -> int:
    with open_parquet(path) as file:
        return int(file.metadata.row_group(group).num_rows)


def _times(rows: pa.Table) -> pa.ChunkedArray:
    return rows["timestamp"].cast(pa.int64())


def _keys(rows: pa.Table) -> Keys:
    """Return each row's key; a row of labels.parquet is known by its time too, for an id may be labelled again."""
    times = _times(rows).fill_null(0).to_numpy().astype(np.uint64)
    keys: Keys = hash_ids(rows["prediction_id"]) ^ (times * _SPREAD)
    return keys


def _kept(part: Part, keys: Iterable[Keys]) -> Keys:
    """Return the keys that are worth keeping: those of a part that may be merged."""
    return np.concatenate([_NONE, *keys]) if part.rows < FINAL_ROWS else _NONE


def _to_list(taken: Taken) -> list[Any]:
    keys = (base64.b64encode(keys.astype("<u8").tobytes()).decode() for keys in (taken.keys, taken.before))
    return [taken.first, taken.last, taken.groups, taken.done, *keys, taken.rows]


def _from_list(values: list[Any]) -> Taken:
    first, last, groups, done, *texts = values[:6]
    keys, before = (np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64) for text in texts)
    return Taken(first, last, groups, done, keys, before, *values[6:])  # a former version took whole row groups
