"""Which ids may be in the log, and when their rows came: a file of this machine that all workers share.

It holds the ids that others made: our own tell their rows' time. An id is entered before its row is written, so that
none of the log's is missing here, wherever a process is killed. Whether the row is there the log itself says.
"""

import contextlib
import hashlib
import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import structlog

from monitoring.contract.plain_files import OddEntryError, make_folder, open_plain, set_aside
from monitoring.contract.times import Micros

logger = structlog.get_logger(__name__)

Times = Mapping[str, Micros]

_WHOLE = 1  # the file's version once it holds the ids of the whole log
_ASKED = 10_000  # ids in one question
_BUSY_SECONDS = 10.0
_SLICES = 64  # of the keys: so many calls of `forget` go through all


class IdIndex:
    """The ids of a log by 64-bit keys, with their rows' times; two ids of one key cost a look into the log.

    Who adds holds the log's lock. Each method raises OSError where the file cannot be used; a damaged one is removed,
    and made again from the log.
    """

    def __init__(self, path: Path, read_log: Callable[[], Iterable[Times]], *, durable: bool) -> None:
        self._path = path
        self._read_log = read_log
        self._durable = durable
        self._connection: sqlite3.Connection | None = None
        self._opened = 0  # the file's inode
        self._lock = threading.Lock()

    def add(self, times: Times) -> bool:
        """Enter ids unless one of them may be there already; return whether they were entered."""
        rows = [(_key(i), time) for i, time in times.items()]
        with self._used() as connection:
            connection.execute("BEGIN IMMEDIATE")
            before = connection.total_changes
            connection.executemany("INSERT OR IGNORE INTO ids VALUES (?, ?)", rows)
            new = connection.total_changes - before == len(rows)
            connection.execute("COMMIT" if new else "ROLLBACK")
        return new

    def put(self, times: Times) -> None:
        """Enter ids, whatever is there."""
        with self._used() as connection:
            connection.execute("BEGIN IMMEDIATE")
            _put(connection, times)
            connection.execute("COMMIT")

    def times(self, ids: Iterable[str]) -> dict[str, Micros]:
        """Return the ids that may be in the log, each with its row's time."""
        if not self._path.exists():
            return {}
        keys = {_key(i): i for i in ids}
        asked = list(map(str, keys))
        found: dict[str, Micros] = {}
        with self._used() as connection:
            for start in range(0, len(asked), _ASKED):
                some = ",".join(asked[start : start + _ASKED])
                rows = connection.execute(f"SELECT key, time FROM ids WHERE key IN ({some})")  # noqa: S608 - numbers
                found |= {keys[key]: Micros(time) for key, time in rows}
        return found

    def forget(self, before: Micros) -> None:
        """Let go ids of rows that were before that time: those of one slice of all, so that nobody waits long."""
        if not self._path.exists():
            return
        width = 2**64 // _SLICES
        first = random.randrange(_SLICES) * width - 2**63  # noqa: S311 - nothing depends on which comes first
        with self._used() as connection:
            connection.execute(
                "DELETE FROM ids WHERE key BETWEEN ? AND ? AND time < ?", (first, first + width - 1, before)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._shut()

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._open()
            except sqlite3.Error as error:
                self._give_up(error)
                raise OSError(f"its index of ids: {error}") from error
            except BaseException:
                self._shut()
                raise

    def _open(self) -> sqlite3.Connection:
        """Open the file, or the one that has taken its place."""
        make_folder(self._path.parent)
        try:
            descriptor = open_plain(self._path, os.O_RDWR | os.O_CREAT)
        except OddEntryError as error:
            logger.error("log_id_index_set_aside", reason=str(error), kept_as=set_aside(self._path))  # noqa: TRY400
            raise OSError(f"its index of ids {error}") from error
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
        if self._connection is None or inode != self._opened:
            self._shut()
            self._connection, self._opened = self._connect(), inode
            self._fill(self._connection)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        return connection

    def _fill(self, connection: sqlite3.Connection) -> None:
        """Enter the ids of a log that had no such file: one process does, while the others wait."""
        if _version(connection) == _WHOLE:
            return
        connection.execute("BEGIN IMMEDIATE")
        if _version(connection) != _WHOLE:
            connection.execute("CREATE TABLE IF NOT EXISTS ids (key INTEGER PRIMARY KEY, time INTEGER NOT NULL)")
            for times in self._read_log():
                _put(connection, times)
            connection.execute(f"PRAGMA user_version = {_WHOLE}")
        connection.execute("COMMIT")

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _give_up(self, error: sqlite3.Error) -> None:
        """Close the file after an error, and remove one that is damaged."""
        with contextlib.suppress(sqlite3.Error):
            self._shut()
        if type(error) is sqlite3.DatabaseError:  # its subclasses tell of a full disk, a lock and the like
            logger.error("log_id_index_damaged", path=str(self._path), error=str(error))
            for end in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + end).unlink(missing_ok=True)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _put(connection: sqlite3.Connection, times: Times) -> None:
    connection.executemany("INSERT OR REPLACE INTO ids VALUES (?, ?)", sorted((_key(i), t) for i, t in times.items()))


def _key(prediction_id: str) -> int:
    digest = hashlib.blake2b(prediction_id.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
