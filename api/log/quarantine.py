"""Files that no reader can use are quarantined: renamed to `_bad-…`, which every reader passes over, and kept.

A file is given time, for another tool may still be writing it: two checks a minute apart must find it unreadable and
unchanged. Errors of the machine or of the storage say nothing about a file and are raised.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitoring.contract.part_reader import UNREADABLE, read_file, reason_of
from monitoring.contract.parts import Unreadable
from monitoring.contract.storage import Place, Stamp, open_parquet, quarantine, read_bytes, stamp

PATIENCE = 60.0  # seconds


def why_unreadable(path: Place, schema: pa.Schema, *, whole: bool = True) -> str | None:
    """Return why nobody can read a file as the schema; None if it can be read, or is gone.

    Without `whole` only its footer is read. Raise OSError if the machine or the storage fails, MemoryError if memory
    does.
    """
    try:
        # an object is fetched first: what a storage says while it is read has no number either
        source = None if isinstance(path, Path) else pa.BufferReader(read_bytes(path))
    except FileNotFoundError:
        return None
    try:
        with open_parquet(path) if source is None else pq.ParquetFile(source) as file:
            for _ in read_file(file, schema, None if whole else ()):
                pass
    except FileNotFoundError:
        return None
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's: what a file holds has no number
        return reason_of(error)
    return None


class QuarantineWatch:
    """The files of one folder that could not be read, until they are quarantined, are whole, or are gone."""

    def __init__(self, schema: pa.Schema, patience: float = PATIENCE) -> None:
        self._schema = schema
        self._patience = patience
        self._bad: dict[Place, tuple[Stamp, float]] = {}  # as it was when it was first unreadable, and when that was
        self._sound: dict[Place, Stamp] = {}  # read to the end
        self._opened: dict[Place, Stamp] = {}  # the footer at least
        self._failing: dict[Place, str] = {}  # what the system refuses to read or to rename, and why

    @property
    def suspected(self) -> set[str]:
        """Return the names of the files that were unreadable when they were last looked at, and are still there."""
        return {path.name for path in (*self._bad, *self._failing)}

    @property
    def failing(self) -> list[Unreadable]:
        """Name the files that the system refused to read, which says nothing about them, or to rename."""
        return [Unreadable(path, reason) for path, reason in self._failing.items()]

    def check(self, listed: Iterable[Place], doubted: Iterable[Place]) -> Iterator[tuple[Unreadable, str]]:
        """Quarantine the files that have been unreadable for long enough; yield each by its former path, and its name.

        Of the listed files of this machine each footer is read once, and at each check one file to its end, so that the
        whole log is read again and again at next to no cost. Doubted and suspected ones are read to the end now. A file
        that the system refuses is `failing`, and keeps no other from being looked at.
        """
        listed = list(listed)
        known = [*self._bad, *self._failing]
        doubts = dict.fromkeys([*known, *doubted, *self._unread(listed)])
        self._forget({*listed, *doubts})
        for path in doubts:
            try:
                found = stamp(path)
                reason = None if found is None else why_unreadable(path, self._schema)
                self._failing.pop(path, None)
                if found is None or reason is None:
                    self._clear(path, found)
                elif self._is_due(path, found):
                    name = quarantine(path)
                    self._clear(path, None)
                    yield Unreadable(path, reason), name
            except OSError as error:
                self._failing[path] = reason_of(error)

    def _unread(self, paths: Iterable[Place]) -> Iterator[Place]:
        """Yield the files of this machine whose footer is bad, and one that was not yet read to its end."""
        deep = False
        for path in paths:
            if not isinstance(path, Path) or (found := stamp(path)) is None or self._sound.get(path) == found:
                continue
            if path in self._bad or path in self._failing:  # looked at anyway, and no other's turn
                continue
            if not deep or (self._opened.get(path) != found and self._is_doubtful(path)):
                deep = True
                yield path
            self._opened[path] = found

    def _is_doubtful(self, path: Place) -> bool:
        """Say whether a file's footer cannot be read, for whatever reason."""
        try:
            return why_unreadable(path, self._schema, whole=False) is not None
        except OSError:
            return True

    def _is_due(self, path: Place, found: Stamp) -> bool:
        first, since = self._bad.get(path, (None, 0.0))
        if first != found:  # seen for the first time, or being written
            self._bad[path] = found, time.monotonic()
            return False
        return time.monotonic() - since >= self._patience

    def _clear(self, path: Place, found: Stamp | None) -> None:
        self._bad.pop(path, None)
        if found is not None:
            self._sound[path] = found

    def _forget(self, present: set[Place]) -> None:
        self._sound = {path: found for path, found in self._sound.items() if path in present}
        self._opened = {path: found for path, found in self._opened.items() if path in present}
