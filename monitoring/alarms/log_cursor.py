"""A cursor over a log: it returns each row once, in about the order of arrival, while parts are merged and removed.

Parts are immutable, so the cursor remembers which parts it has taken, and how far. A merged part repeats the rows of
the parts that it was made from: if all of those were taken, so is it. It may also hold rows of parts that the cursor
never saw, because 16 small parts can come and be merged between two calls, and merged again. Such a part is read, and
rows that were taken before are left out by their keys. Keys are kept of the parts that may still be merged: 8 bytes a
row, of some 200,000 rows at most, since the API's maintenance merges what is more (`api.log.merging`).
"""

import base64
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.foreign_log import known_as
from monitoring.contract.names import LARGEST_PART
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of
from monitoring.contract.parts import Part, Unreadable, covered, is_merged, is_ours, list_parts
from monitoring.contract.rereading import attempts
from monitoring.contract.storage import LARGE, Place, open_parquet
from monitoring.contract.times import BEFORE_ALL, Micros
from monitoring.profile.kernel import hash_ids

Keys = npt.NDArray[np.uint64]

FINAL_ROWS = LARGEST_PART // 2  # a part of so many rows is not merged again
RETRY_SECONDS = 60.0  # until a part that could not be read is tried again
REMEMBERED = 1000  # files of a watched log that were deleted, the newest by their rows: one may be written anew
_NO_KEYS: Keys = np.empty(0, np.uint64)
_TIME_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it maps times to keys one to one


@dataclass(frozen=True)
class PartProgress:
    """How far a part was taken: its first `groups` row groups, and the first `rows` rows of a large next one.

    `keys` (n,) are those of the rows that were taken from it. `before` (k,) are those of rows that were taken from
    other parts and may be in this one. `first` and `last` are the part's times. Rows up to `after` were taken from
    files of a watched log whose place this one took; `until` is the last time of all that was taken.
    """

    first: Micros
    last: Micros
    groups: int = 0
    done: bool = False
    keys: Keys = field(default_factory=lambda: _NO_KEYS)
    before: Keys = field(default_factory=lambda: _NO_KEYS)
    rows: int = 0
    after: Micros = BEFORE_ALL
    until: Micros = BEFORE_ALL

    def overlaps(self, part: Part) -> bool:
        """Return whether rows of this part may have been merged into another."""
        return self.first <= part.last and part.first <= self.last


class LogCursor:
    """Reads a log's folder from call to call, each row once.

    The schema holds the columns to read, `prediction_id` and `timestamp` among them, which identify a row. Only rows
    later than `after` are taken; BEFORE_ALL takes every row, those without a timestamp too. In labels.parquet the
    timestamp is the label's.
    """

    def __init__(self, folder: Place, schema: pa.Schema, after: Micros) -> None:
        self._folder = folder
        self._schema = pa.schema([f.with_nullable(True) for f in schema])
        self._after = after
        self._taken: dict[str, PartProgress] = {}
        self._gone: dict[str, PartProgress] = {}  # removed parts that may have been merged into one that cannot be read
        self._failed: dict[str, tuple[float, Unreadable]] = {}

    def take(self, limit: int) -> tuple[pa.Table, list[Unreadable]]:
        """Return about `limit` rows that were not returned before, of the oldest parts first, sorted by timestamp.

        They may be more, because row groups, or pieces of large ones, are taken whole. An empty table means that there
        are no further rows now. A part that cannot be read is reported by every call, and tried again after a minute.
        Raise OSError where storage cannot be reached, DriftloopError if the folder changes faster than it is read; a
        call that raises has taken nothing.
        """
        before = dict(self._taken), self._gone
        try:
            return self._take_all(limit)
        except BaseException:
            self._taken, self._gone = before
            raise

    def copy(self) -> "LogCursor":
        """Return an independent cursor at the same position."""
        other = LogCursor(self._folder, self._schema, self._after)
        other._taken, other._gone, other._failed = dict(self._taken), dict(self._gone), dict(self._failed)
        return other

    def state(self) -> dict[str, Any]:
        """Return the position, as JSON takes it; `restore` goes on from there."""
        return {
            group: {name: _to_list(one) for name, one in taken.items()}
            for group, taken in (("taken", self._taken), ("gone", self._gone))
        }

    @classmethod
    def restore(cls, folder: Place, schema: pa.Schema, after: Micros, state: Mapping[str, Any]) -> "LogCursor":
        """Return a cursor at the position of a state; raise KeyError, TypeError or ValueError if it is none."""
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
        """Carry over what was taken of parts that have been merged, and forget the parts that were removed."""
        present = {part.name: part for part in parts}
        gone = self._gone | {name: one for name, one in self._taken.items() if name not in present}
        new = [part for name, part in present.items() if name not in self._taken]
        merged_from = self._merged_from(new)
        unaccounted = gone.keys() - {name for names in merged_from.values() for name in names}
        begun = {
            part.name: self._initial_progress(part, merged_from[part.name], gone, unaccounted)
            for part in new
            if part.name in merged_from
        }
        unread = [part for part in new if part.name not in merged_from]
        files = {known[0] for name in present if (known := known_as(name))}
        deleted = [name for name in unaccounted if (known := known_as(name)) and known[0] not in files]
        kept = {*sorted(deleted, key=lambda name: gone[name].last)[-REMEMBERED:]}
        self._gone = {
            name: gone[name]
            for name in unaccounted
            if name in kept or any(gone[name].overlaps(part) for part in unread)
        }
        self._taken = {name: one for name, one in self._taken.items() if name in present} | begun
        left = {name for name in present if name not in self._taken or not self._taken[name].done}
        self._failed = {name: failure for name, failure in self._failed.items() if name in left}

    def _merged_from(self, parts: Iterable[Part]) -> dict[str, tuple[str, ...]]:
        """Return the names of the parts that each part was merged from; parts that cannot be read are absent."""
        merged_from = {}
        for part in parts:
            try:
                merged_from[part.name] = covered(part)
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                self._record_failure(part, error)
        return merged_from

    def _initial_progress(
        self, part: Part, merged_from: tuple[str, ...], gone: Mapping[str, PartProgress], unaccounted: Iterable[str]
    ) -> PartProgress:
        """Return how far a new part counts as taken, for what was taken of the parts that it was merged from."""
        fresh = PartProgress(part.first, part.last, done=part.last <= self._after)
        if not fresh.done and (written := _written_before(part, gone)) is not None:
            return _continued(part, fresh, *written)
        if not fresh.done and (after := _taken_before(part, gone)) is not None:
            return replace(fresh, done=part.last <= after, after=after, until=after)
        if fresh.done or not is_merged(part.name):
            return fresh
        known = [gone[name] for name in merged_from if name in gone]
        if len(known) == len(merged_from) and all(one.done for one in known):
            return replace(fresh, done=True, keys=_keys_to_keep(part, [one.keys for one in known]))
        # Parts that were taken may have been merged into one that came and went unseen, and this one made of that.
        known += [gone[name] for name in unaccounted if gone[name].overlaps(part)]
        before = [keys for one in known for keys in (one.keys, one.before)]
        return replace(fresh, before=np.concatenate([_NO_KEYS, *before]))

    def _read(self, parts: Iterable[Part], limit: int, tables: list[pa.Table]) -> None:
        """Take rows from the oldest parts until there are enough of them."""
        for part in sorted(part for part in parts if part.name in self._taken):
            if part.name in self._failed and time.monotonic() < self._failed[part.name][0]:
                continue
            try:
                # a piece without a new row may be followed by one with some
                while not self._taken[part.name].done and (room := limit - sum(map(len, tables))) > 0:
                    self._taken[part.name], rows = self._take(part, self._taken[part.name], room)
                    tables += rows
                    self._failed.pop(part.name, None)
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                self._record_failure(part, error)

    def _take(self, part: Part, taken: PartProgress, room: int) -> tuple[PartProgress, list[pa.Table]]:
        """Read a part's next row groups; return the new progress, and the new rows."""
        groups, end = _next_groups(part.path, taken.groups, room)
        read, reached = self._read_on(part.path, groups, taken, room)
        tables, keys = [], [taken.keys]
        for table in read:
            rows = table
            if is_ours(part) and (part.rows < FINAL_ROWS or len(taken.before)):
                keys.append(_keys(table))
                rows = table.filter(pa.array(~np.isin(keys[-1], taken.before)))
            after = max(self._after, taken.after)
            tables.append(rows if after < 0 else rows.filter(pc.greater(_times(rows), after)))
        if end and not reached:
            return PartProgress(part.first, part.last, groups.stop, done=True, keys=_keys_to_keep(part, keys)), tables
        begin = groups.start if reached else groups.stop
        until = _last(read, taken.until)
        return replace(taken, groups=begin, rows=reached, keys=np.concatenate(keys), until=until), tables

    def _read_on(self, path: Place, groups: range, taken: PartProgress, room: int) -> tuple[list[pa.Table], int]:
        """Read row groups, or the next piece of a large one; return also how many of its rows are read, 0 for all."""
        if len(groups) != 1 or (size := _size(path, groups.start)) <= LARGE:
            return list(_without(read_groups(path, self._schema, groups), taken.rows)), 0
        tables, end = [], 0
        for table in read_groups(path, self._schema, groups):
            begin, end = end, end + len(table)
            if end > taken.rows:
                tables.append(table.slice(max(0, taken.rows - begin)))
            if end - taken.rows >= room:
                break
        return tables, end if end < size else 0

    def _record_failure(self, part: Part, error: Exception) -> None:
        self._failed[part.name] = time.monotonic() + RETRY_SECONDS, Unreadable(part.path, reason_of(error))


def _written_before(part: Part, gone: Mapping[str, PartProgress]) -> tuple[PartProgress, int] | None:
    """Return how far the same file was taken before it was written anew, and its rows then; None for any other."""
    this = known_as(part.name)
    found = [
        (one, known[1]) for name, one in gone.items() if this and (known := known_as(name)) and known[0] == this[0]
    ]
    return max(found, key=lambda pair: pair[1], default=None)


def _taken_before(part: Part, gone: Mapping[str, PartProgress]) -> Micros | None:
    """Return the last time of rows that were taken from files whose place this one took; None if none were."""
    if not part.replaces:
        return None
    places = {*part.replaces}
    files = [one for name, one in gone.items() if (known := known_as(name)) and known[0] in places]
    return max(
        (one.last if one.done else one.until for one in files if one.done or one.until > BEFORE_ALL), default=None
    )


def _continued(part: Part, fresh: PartProgress, before: PartProgress, rows: int) -> PartProgress:
    """Return the progress in a file that was written anew, as if its new rows stood behind those that it had."""
    with open_parquet(part.path) as file:
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    left = rows if before.done else sum(sizes[: before.groups]) + before.rows
    for group, size in enumerate(sizes):
        if left < size:
            return replace(fresh, groups=group, rows=left, until=before.until)
        left -= size
    return replace(fresh, groups=len(sizes), done=True)


def _without(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield tables without their first rows."""
    for table in tables:
        yield table.slice(min(rows, len(table)))
        rows -= min(rows, len(table))


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


def _last(tables: Iterable[pa.Table], before: Micros) -> Micros:
    """Return the last time in tables, or the one before them if that is later."""
    return Micros(max([before, *(time for rows in tables if (time := pc.max(_times(rows)).as_py()) is not None)]))


def _keys(rows: pa.Table) -> Keys:
    """Return each row's key (n,), of its id and its time: in labels.parquet an id may come again with another label."""
    times = _times(rows).fill_null(0).to_numpy().astype(np.uint64)
    keys: Keys = hash_ids(rows["prediction_id"]) ^ (times * _TIME_FACTOR)
    return keys


def _keys_to_keep(part: Part, keys: Iterable[Keys]) -> Keys:
    """Return the keys (n,) as one array if the part may be merged again, else none."""
    return np.concatenate([_NO_KEYS, *keys]) if part.rows < FINAL_ROWS else _NO_KEYS


def _to_list(taken: PartProgress) -> list[Any]:
    keys = (base64.b64encode(keys.astype("<u8").tobytes()).decode() for keys in (taken.keys, taken.before))
    return [taken.first, taken.last, taken.groups, taken.done, *keys, taken.rows, taken.after, taken.until]


def _from_list(values: list[Any]) -> PartProgress:
    first, last, groups, done, *texts = values[:6]
    keys, before = (np.frombuffer(base64.b64decode(text), "<u8").astype(np.uint64) for text in texts)
    later = values[6:]  # a state of a former version has fewer
    return PartProgress(first, last, groups, done, keys, before, *later)
