"""Labels that come after their predictions, as changes of what the window's profile says of labels.

A label is looked up in the part that holds its row, once; what is kept of it is a few numbers. Which label counts is
the rule of windows in `monitoring.contract.labels`: it replaces the one that the row itself holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Model
from monitoring.contract.foreign_log import known_as
from monitoring.contract.labels import are_given, newest_places
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import UNREADABLE, read_groups, reason_of, time_ranges
from monitoring.contract.parts import Part, Unreadable, covers, is_ours, list_parts
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.schemas import TIMESTAMP, labels_schema, log_schema
from monitoring.profile.kernel import hash_ids
from monitoring.profile.label_scores import columns_read
from monitoring.profile.profile import Profile
from monitoring.window.label_changes import Matches, Segments, label_changes

MILLISECOND = 1000  # microseconds; an id tells the time of its row no finer
FOREVER = np.iinfo(np.int64).max
UNKNOWN = -1  # the time of a row whose id is none of ours


@dataclass(frozen=True)
class Cut:
    """Where a window begins: rows later than `time` are in it, and of those at that time the ones with these keys.

    Rows later than `latest` are not.
    """

    time: int
    keys: frozenset[int] = frozenset()
    latest: int = FOREVER

    def holds(self, matches: Matches) -> npt.NDArray[np.bool_]:
        """Return which of the labelled rows lie in the window."""
        at = (matches["time"] == self.time) & np.isin(matches["key"], list(self.keys))
        held: npt.NDArray[np.bool_] = ((matches["time"] > self.time) | at) & (matches["time"] <= self.latest)
        return held


class LateLabels:
    """The late labels of a window's rows, by the part that holds the row."""

    def __init__(self, layout: Layout, model: Model) -> None:
        self._folder = layout.labels
        self._model = model
        self._schema = pa.schema([field.with_nullable(True) for field in labels_schema(model)])
        self._rows_schema = pa.schema(
            [("prediction_id", pa.string()), ("timestamp", TIMESTAMP)]
            + [(name, model.rules.values) for name in (model.prediction, model.target)]
            + [field for field in log_schema(model) if field.name in {*columns_read(model)[1:], *model.segments}]
        )
        self._changes, self._segments = label_changes(model), Segments(model)
        values = [(name, self._changes.dtype) for name in ("label", "prediction", "inline")]
        arrays = [("cells", "i4", (len(model.scored),)), ("segments", "f8", (len(model.segments),))]
        self._kept = np.dtype([("key", "u8"), ("time", "i8"), ("moment", "i8"), *values, *arrays])
        self._clear()

    def _clear(self) -> None:
        """Forget all labels, so that they are read and looked up again."""
        self._known: set[str] = set()  # the parts that were there last
        self._left: set[str] = set()  # files of a log of others that were there, and whose labels were let go
        self._matches: dict[str, Matches] = {}
        self._read: set[str] = set()  # label parts
        self._waiting = self._schema.empty_table()  # labels whose row was not found yet
        self._searched: set[str] = set()  # parts of the log that hold none of these rows
        self._failed: dict[str, Unreadable] = {}  # of these, those that could not be searched

    def update(self, parts: Iterable[Part], begin: int) -> list[Unreadable]:
        """Take in the labels that are new, for rows of these parts; rows before `begin` are of no interest.

        Raise FileNotFoundError if a part was merged or archived meanwhile; nothing is lost then.
        """
        current = {part.name: part for part in parts}
        self._follow_merges(current)
        unreadable = self._read_new(min([begin, *(part.first for part in current.values())]))
        times = _times(self._waiting)
        new = [name for name in current if name not in self._searched] if len(self._waiting) else []
        times = self._search_all([current[name] for name in new], times)
        # Somebody else's id may tell another time than its row's: those that are left are looked for everywhere.
        self._search_all([current[name] for name in new], np.full(len(times), UNKNOWN))
        self._searched.update(new)
        self._waiting = self._waiting.filter(pa.array(_of_interest(_times(self._waiting), begin)))
        return [*unreadable, *self._failed.values()]

    def apply(self, profile: Profile, whole: Iterable[str], divided: Iterable[str], cut: Cut) -> Profile:
        """Return a window's profile with late labels, of rows in whole parts and in those that `cut` divides."""
        held = [self._matches[part] for part in whole if part in self._matches]
        held += [m[cut.holds(m)] for m in (self._matches[part] for part in divided if part in self._matches)]
        changed = self._changes.apply(profile, held)
        return self._segments.change(changed, held, self._changes) if self._model.segments else changed

    def _follow_merges(self, parts: Mapping[str, Part]) -> None:
        """Keep what is known of parts that were merged, and let go what is known of those that have gone."""
        self._left |= _files_of(self._known - parts.keys())
        if self._left & _files_of(parts.keys() - self._known):
            self._clear()  # a file of others was written anew, or away for a while: its labels are looked up again
        merges = {name: those for name in parts.keys() - self._known if (those := covers(parts[name]))}
        if not all(self._known.issuperset(those) for those in merges.values()):
            self._clear()  # merged from parts of which one was merged itself, or lay outside: all labels are read again
        for name, those in merges.items():
            if known := [self._matches[n] for n in those if n in self._matches]:
                self._matches[name] = _latest(known)
            if self._searched.issuperset(those):
                self._searched.add(name)
        self._matches = {name: matches for name, matches in self._matches.items() if name in parts}
        self._searched &= parts.keys()
        self._failed = {name: file for name, file in self._failed.items() if name in parts}
        self._known = set(parts)

    def _read_new(self, begin: int) -> list[Unreadable]:
        """Let the labels of new parts wait for their rows to be found."""
        parts, unreadable = list_parts(self._folder)
        tables = [self._waiting]
        for part in parts:
            those = covers(part)
            if part.name in self._read or (those and self._read.issuperset(those)):
                continue
            try:
                tables += list(self._labels_of(part, begin))
            except FileNotFoundError:
                raise
            except UNREADABLE as error:
                unreadable.append(Unreadable(part.path, reason_of(error)))
        bad = {file.path for file in unreadable}
        self._read = {part.name for part in parts if part.path not in bad}
        if len(tables) > 1:
            self._waiting = pa.concat_tables(tables)
            self._searched.clear()
        return unreadable

    def _labels_of(self, part: Part, begin: int) -> Iterator[pa.Table]:
        """Read a part's labels, without those of rows that are of no interest: a file of millions has few others."""
        if is_ours(part) and part.last + MILLISECOND < begin:  # ids that tell no time are of no interest either
            return
        for table in read_groups(part.path, self._schema):
            labels = table.filter(pc.and_(pc.is_valid(table["prediction_id"]), are_given(table[self._model.target])))
            yield labels.filter(pa.array(_of_interest(_times(labels), begin)))

    def _search_all(self, parts: Iterable[Part], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Look the waiting labels' rows up in parts, by these times; return the times of those that wait on."""
        for part in parts if len(times) else ():
            found = self._search(part, times)
            self._waiting, times = self._waiting.filter(pa.array(~found)), times[~found]
        return times

    def _search(self, part: Part, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Do what `_find` does; in a part that has been damaged since its profile was kept nothing is found."""
        try:
            return self._find(part, times)
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            self._failed[part.name] = Unreadable(part.path, reason_of(error))
            return np.zeros(len(times), np.bool_)

    def _find(self, part: Part, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Look the waiting labels' rows up in a part; return which were found."""
        near = (times == UNKNOWN) | ((times > part.first - MILLISECOND) & (times <= part.last))
        found = np.zeros(len(times), np.bool_)
        if not near.any():
            return found
        labels, asked = self._waiting.filter(pa.array(near)), times[near]
        groups = [g for g, t in enumerate(time_ranges(part.path)) if _any_in(asked, t.first, t.last)]
        matches = [self._matches[part.name]] if part.name in self._matches else []
        for rows in read_groups(part.path, self._rows_schema, groups):
            place = pc.index_in(
                labels["prediction_id"].combine_chunks(), value_set=rows["prediction_id"].combine_chunks()
            )
            found[np.flatnonzero(near)[place.is_valid().to_numpy(zero_copy_only=False)]] = True
            timed = rows["timestamp"].combine_chunks().take(place).is_valid()  # a row without a time is in no window
            matches.append(self._match(labels.filter(timed), rows.take(place.filter(timed))))
        if matches:
            self._matches[part.name] = _latest(matches)
        return found

    def _match(self, labels: pa.Table, rows: pa.Table) -> Matches:
        matches = np.empty(len(labels), self._kept)
        matches["key"] = hash_ids(labels["prediction_id"])
        matches["time"] = rows["timestamp"].cast(pa.int64()).to_numpy()
        matches["moment"] = labels["timestamp"].cast(pa.int64()).fill_null(0).to_numpy()
        matches["label"] = self._changes.encode(labels[self._model.target])
        matches["prediction"] = self._changes.encode(rows[self._model.prediction])
        matches["cells"] = self._changes.cells(rows)
        matches["inline"] = self._changes.encode(rows[self._model.target])
        matches["segments"] = self._segments.encode(rows)
        return matches


def _files_of(names: Iterable[str]) -> set[str]:
    """Return which files of a log of others these parts are, as they were or are now."""
    return {known[0] for name in names if (known := known_as(name))}


def _times(labels: pa.Table) -> npt.NDArray[np.int64]:
    """Return the times in the labels' ids (n), each as `Micros`."""
    milliseconds = [id_milliseconds(i) for i in labels["prediction_id"].to_pylist()]
    return np.array([UNKNOWN if ms is None else ms * MILLISECOND for ms in milliseconds], np.int64)


def _of_interest(times: npt.NDArray[np.int64], begin: int) -> npt.NDArray[np.bool_]:
    """Return which labels may be those of a row that is not before `begin`."""
    interest: npt.NDArray[np.bool_] = (times == UNKNOWN) | (times > begin - MILLISECOND)
    return interest


def _any_in(times: npt.NDArray[np.int64], first: int, last: int) -> bool:
    """Return whether an id of one of these times may be that of a row between first and last."""
    return bool(((times == UNKNOWN) | ((times > first - MILLISECOND) & (times <= last))).any())


def _latest(matches: Iterable[Matches]) -> Matches:
    """Return the latest label of each row."""
    every = np.concatenate(list(matches))
    latest: Matches = every[newest_places(pa.array(every["key"]), pa.array(every["moment"])).to_numpy()]
    return latest
