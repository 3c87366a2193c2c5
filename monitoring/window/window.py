"""The window as a sum of profiles: a part is read once, when it appears, and rows again only where the edge cuts.

The window is what `store.read_rows` reads: the newest rows by timestamp and id, or those of a duration. A part that
lies in it wholly counts with its profile, kept in memory and on disk. A part that the window's edge cuts counts by its
row groups, and where the edge cuts a row group its rows are read.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of, time_ranges
from monitoring.contract.parts import Part, Unreadable, covers, from_the_future, is_ours, list_parts, without_times
from monitoring.contract.rereading import attempts
from monitoring.contract.schemas import TIMESTAMP, log_schema
from monitoring.contract.times import BEFORE_ALL, Micros, before, latest_time
from monitoring.profile.allocator import release_memory
from monitoring.profile.counting import profile_rows
from monitoring.profile.distinct_rows import DistinctRows, Hashes, sort_distinct
from monitoring.profile.grid import Grid
from monitoring.profile.kernel import hash_ids
from monitoring.profile.profile import Profile, compact, merge
from monitoring.profile.threads import threads
from monitoring.window.late_labels import Cut, LateLabels
from monitoring.window.profile_cache import ProfileCache
from monitoring.window.row_owners import RowOwners

THREADS = 2  # that read and profile parts
LOADED_AT_ONCE = 8  # parts
KEPT_ROWS = 4096  # a part of at least so many rows has its profile kept on disk
TIMES = pa.schema([("timestamp", TIMESTAMP)])
NO_TIMES: npt.NDArray[np.int64] = np.empty(0, np.int64)


@dataclass(frozen=True)
class Block:
    """A part of the log, or one of its row groups, from the first to the last time in it, both included."""

    part: Part
    group: int | None
    first: Micros
    last: Micros
    rows: int

    @property
    def groups(self) -> list[int] | None:
        """Return the row groups to read; None for all."""
        return None if self.group is None else [self.group]


@dataclass(frozen=True)
class Span:
    """A span of time: later than `earliest`, and not later than `latest`."""

    earliest: Micros
    latest: Micros


@dataclass(frozen=True)
class WindowProfile:
    """What one look at the log found: the window's profile, and the files of which something was left out."""

    profile: Profile
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True)
class Division:
    """Blocks that lie in a window wholly, and blocks that its edge may cut; at `edge` or earlier begins the window."""

    inside: list[Block]
    cut: list[Block]
    edge: Micros

    @property
    def begin(self) -> Micros:
        """Return a time before which no row is in the window."""
        return min((block.first for block in (*self.inside, *self.cut)), default=self.edge)

    @property
    def cut_parts(self) -> list[Part]:
        """Return the parts that the edge cuts."""
        return list({block.part: None for block in (*self.inside, *self.cut) if block.group is not None})

    @property
    def whole_parts(self) -> list[Part]:
        """Return the parts that lie in the window wholly."""
        return [block.part for block in self.inside if block.group is None]


def divide(blocks: Iterable[Block], rows: int | None, span: Span) -> Division:
    """Divide the blocks of the newest `rows` rows in a span of time, by what is known without reading them."""
    earliest, latest = span.earliest, span.latest
    blocks = [block for block in blocks if block.last > earliest and block.first <= latest]
    edge = earliest
    if rows is not None:  # the oldest of these rows lies between two times: had all rows been first, or last, in theirs
        edge = max(edge, _reach(((min(b.last, latest), b.rows) for b in blocks), rows))
        reached = _reach(((b.first, b.rows) for b in blocks if b.last <= latest), rows)
        earliest = max(earliest, Micros(reached - 1))
    inside = [block for block in blocks if block.first > edge and block.last <= latest]
    cut = [b for b in blocks if (b.first <= edge or b.last > latest) and b.last > earliest]
    return Division(inside, cut, edge)


def _reach(times: Iterable[tuple[Micros, int]], rows: int) -> Micros:
    """Return the time down to which there are so many rows; -1 if there are fewer."""
    for time, count in sorted(times, reverse=True):
        rows -= count
        if rows <= 0:
            return time
    return BEFORE_ALL


class UnreadablePartError(DriftloopError):
    """A part cannot be read."""

    def __init__(self, part: Part, error: Exception) -> None:
        super().__init__(str(error))
        self.file = Unreadable(part.path, reason_of(error))


@contextlib.contextmanager
def _reading(part: Part) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise UnreadablePartError(part, error) from error


class TiedRows:
    """The last by id of the rows at one time, which the window's edge divides."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.table: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Take rows in, and let those go that are too many."""
        if self._number and len(rows):
            every = rows if self.table is None else pa.concat_tables([self.table, rows])
            self.table = every.sort_by("prediction_id").slice(max(0, len(every) - self._number))


class ProfiledWindow:
    """The window of one log against one reference, kept up to date at the cost of the rows that are new."""

    def __init__(self, layout: Layout, config: Config, grid: Grid) -> None:
        self.grid = grid
        self._layout = layout
        self._window = config.window
        self._horizon = config.duplicate_horizon
        self._schema = pa.schema([f for f in log_schema(config.model) if f.name != "model_version"])
        self._profiled = pa.schema([_as_codes(f) for f in self._schema if f.name != "prediction_id"])
        self._cache = ProfileCache(layout.root / "_profiles", grid)
        self._profiles: dict[Block, Profile] = {}  # of the blocks that lie in the window, without their rows' hashes
        self._sum: tuple[frozenset[Block], Profile] = (frozenset(), Profile.empty(grid, hashes=False))
        self._owners = RowOwners()  # of the rows of parts
        self._groups: dict[Part, list[Block]] = {}  # of the parts that the edge cuts
        self._hashes: dict[Block, Hashes] = {}  # of these groups' rows
        self._labels = LateLabels(layout, config.model)
        self._outside: set[str] = set()  # the parts of which no row was in the window when it was last looked at

    def look(self, after: Micros | None, now: datetime | None = None) -> WindowProfile:
        """Return the window's profile as of now; only rows later than `after` count.

        Rows more than an hour ahead of the clock and rows without a timestamp do not count; their files are named.
        """
        earliest = BEFORE_ALL if after is None else after
        if (duration := self._window.duration) is not None:
            earliest = max(earliest, before(now or datetime.now(UTC), duration))
        for attempt in attempts(self._layout.current):
            with attempt:
                look = self._look(Span(earliest, latest_time(now)))
                break
        return look

    def _look(self, span: Span) -> WindowProfile:
        parts, unreadable = list_parts(self._layout.current)
        listed = {part.name for part in parts}
        unreadable += [*without_times(parts), *from_the_future(parts, span.latest)]
        while True:
            try:
                division = self._divide(parts, span)
                self._take_in(division)
                rows, cut = self._read_cut(division, span)
            except UnreadablePartError as error:
                unreadable.append(error.file)
                parts = [part for part in parts if part.path != error.file.path]
            else:
                break
        unreadable += self._update_labels(division, listed)
        return WindowProfile(self._add_up(division, rows, cut), tuple(unreadable))

    def _divide(self, parts: Sequence[Part], span: Span) -> Division:
        """Divide the log by parts, and the parts that the edge may cut by their row groups."""
        whole = [Block(part, None, part.first, part.last, part.rows) for part in parts]
        coarse = divide(whole, self._window.rows, span)
        self._groups = {b.part: self._groups.get(b.part) or _row_groups(b.part) for b in coarse.cut}
        groups = [group for block in coarse.cut for group in self._groups[block.part]]
        return divide([*coarse.inside, *groups], self._window.rows, span)

    def _take_in(self, division: Division) -> None:
        """Profile what is new in the window, and count each row that occurs in several parts for one of them."""
        parts = [*division.whole_parts, *division.cut_parts]
        owners = [Block(p, None, p.first, p.last, p.rows) for p in parts if p.name not in self._owners]
        new = {block: None for block in (*owners, *division.inside) if block not in self._profiles}
        profiles = {block: profile for block in new if (profile := self._merged(block)) is not None}
        rest = [block for block in new if block not in profiles]
        profiles |= self._load_all(rest)
        self._owners.drop(self._owners.names - {part.name for part in parts})
        self._owners.add({block.part.name: (block.first, _hashes(profiles[block])) for block in owners})
        groups = [block for block in division.inside if block.group is not None]
        self._hashes = {b: _hashes(profiles[b]) if b in profiles else self._hashes[b] for b in groups}
        self._profiles = {b: compact(profiles[b]) if b in profiles else self._profiles[b] for b in division.inside}
        self._limit_horizon(division)
        if rest:
            self._cache.keep({part.name for part in parts})

    def _merged(self, block: Block) -> Profile | None:
        """Return a merged part's profile as the sum of those that it was merged from, if all of them are known."""
        known = {b.part.name: profile for b, profile in self._profiles.items() if b.group is None}
        names = covers(block.part) if block.group is None else ()
        if not names or not all(name in known and name in self._owners for name in names):
            return None
        hashes = sort_distinct(np.concatenate([self._owners.hashes(name) for name in names]))
        total = merge(self.grid, (known[name] for name in names), hashes=False)
        return replace(total, distinct=DistinctRows((hashes,)))

    def _load_all(self, blocks: Sequence[Block]) -> dict[Block, Profile]:
        """Load blocks side by side; after every few, give back what reading them took."""
        loaded: dict[Block, Profile] = {}
        with threads(THREADS) as pool:
            for start in range(0, len(blocks), LOADED_AT_ONCE):
                some = blocks[start : start + LOADED_AT_ONCE]
                loaded |= zip(some, pool.map(self._load, some), strict=True)
                release_memory()
        return loaded

    def _load(self, block: Block) -> Profile:
        """Read a block's rows and profile them, or read the profile that was kept of them."""
        lasting = block.group is None and block.rows >= KEPT_ROWS and is_ours(block.part)
        if lasting and (kept := self._cache.read(block.part.name)) is not None:
            return kept
        with _reading(block.part):
            tables = read_groups(block.part.path, self._profiled, block.groups)
            profile = merge(self.grid, (profile_rows(self.grid, _with_time(table)) for table in tables))
        if lasting:
            self._cache.write(block.part.name, profile)
        return profile

    def _limit_horizon(self, division: Division) -> None:
        """Let the hashes go of parts beyond the newest rows that are searched for repetitions."""
        if self._horizon is None:
            return
        newer = 0
        for part in sorted(division.whole_parts + division.cut_parts, key=lambda p: p.first, reverse=True):
            if newer >= self._horizon:
                self._owners.forget(part.name)
            newer += part.rows

    def _read_cut(self, division: Division, span: Span) -> tuple[Profile, Cut]:
        """Profile the rows of the window in the row groups that its edge cuts, and say where it cuts them."""
        room = None if self._window.rows is None else self._window.rows - sum(b.rows for b in division.inside)
        if room is not None and room <= 0:
            return Profile.empty(self.grid), Cut(division.edge, latest=span.latest)
        times = np.concatenate([NO_TIMES, *(self._times(block, span) for block in division.cut)])
        if room is None or room > len(times):
            begin, ties = span.earliest, 0
        else:
            begin = Micros(int(np.partition(times, len(times) - room)[len(times) - room]))
            ties = room - int(np.count_nonzero(times > begin))
        held = TiedRows(ties)
        pieces = self._cut_rows(division.cut, Span(begin, span.latest), held)
        later = merge(self.grid, (profile_rows(self.grid, rows) for rows in pieces))
        if held.table is None:
            return later, Cut(begin, latest=span.latest)
        keys = hash_ids(held.table["prediction_id"])
        return later + profile_rows(self.grid, held.table), Cut(begin, frozenset(keys.tolist()), span.latest)

    def _times(self, block: Block, span: Span) -> npt.NDArray[np.int64]:
        """Read the times of a block's rows that lie in a span."""
        with _reading(block.part):
            tables = [_with_time(table) for table in read_groups(block.part.path, TIMES, block.groups)]
            times = np.concatenate([NO_TIMES, *(t["timestamp"].cast(pa.int64()).to_numpy() for t in tables)])
        return times[(times > span.earliest) & (times <= span.latest)]

    def _cut_rows(self, blocks: Sequence[Block], span: Span, held: "TiedRows") -> Iterator[pa.Table]:
        """Yield the rows that lie in a span, a piece at a time; those at its very begin are held back."""
        for block in blocks:
            with _reading(block.part):
                for table in read_groups(block.part.path, self._schema, block.groups):
                    times = table["timestamp"].cast(pa.int64())
                    held.add(table.filter(pc.equal(times, span.earliest)))
                    yield table.filter(pc.and_(pc.greater(times, span.earliest), pc.less_equal(times, span.latest)))

    def _update_labels(self, division: Division, listed: set[str]) -> list[Unreadable]:
        present = [*division.whole_parts, *division.cut_parts]
        if any(part.name in self._outside for part in present):
            self._labels = LateLabels(self._layout, self.grid.model)  # those had let go of these parts
        self._outside = listed - {part.name for part in present}
        return self._labels.update(present, division.begin)

    def _add_up(self, division: Division, cut_rows: Profile, cut: Cut) -> Profile:
        blocks, total = self._sum
        wanted = frozenset(division.inside)
        if not blocks <= wanted:
            blocks, total = frozenset(), Profile.empty(self.grid, hashes=False)
        total = merge(self.grid, [total, *(self._profiles[b] for b in wanted - blocks)], hashes=False)
        self._sum = wanted, total
        whole, divided = ([part.name for part in parts] for parts in (division.whole_parts, division.cut_parts))
        hashes = sort_distinct(np.concatenate([*self._hashes.values(), _hashes(cut_rows)]))
        distinct = sum(map(self._owners.owned, whole)) + self._owners.count(divided, hashes)
        total = self._labels.apply(total + replace(cut_rows, distinct=None), whole, divided, cut)
        return replace(total, distinct=DistinctRows(elsewhere=distinct))


def _row_groups(part: Part) -> list[Block]:
    with _reading(part):
        return [Block(part, n, t.first, t.last, t.rows) for n, t in enumerate(time_ranges(part.path)) if t.rows]


def _as_codes(field: pa.Field) -> pa.Field:
    """Return a column of text as one of a dictionary, which is how Parquet holds it."""
    return field.with_type(pa.dictionary(pa.int32(), field.type)) if pa.types.is_string(field.type) else field


def _with_time(rows: pa.Table) -> pa.Table:
    """Return the rows that have a timestamp: without one, none is in a window."""
    return rows.filter(pc.is_valid(rows["timestamp"])) if rows["timestamp"].null_count else rows


def _hashes(profile: Profile) -> Hashes:
    assert profile.distinct is not None
    return profile.distinct.joined()
