"""Requests and responses that wait for each other: a file of this machine that all workers share.

The two halves of an inference may reach different workers. One that waits for too long is dropped, and so are the
oldest when there are too many.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from monitoring.contract.errors import DriftloopError
from monitoring.contract.plain_files import OddEntryError, make_folder, open_plain, set_aside

PATIENCE = 300.0  # seconds that a half waits
MOST = 10_000  # halves
MOST_BYTES = 64_000_000
_BUSY_SECONDS = 10.0
_TABLE = (
    "CREATE TABLE IF NOT EXISTS halves "
    "(key TEXT, kind TEXT, arrived REAL, size INTEGER, content BLOB, PRIMARY KEY (key, kind))"
)
_ORDER = "CREATE INDEX IF NOT EXISTS ages ON halves (arrived, size)"


class HalfTooLargeError(DriftloopError):
    """A half is larger than all that may wait; it was not kept."""


class Halves:
    """The halves that wait. Each method raises OSError where the file cannot be used; a damaged one is removed."""

    def __init__(
        self, path: Path, *, patience: float = PATIENCE, most: int = MOST, most_bytes: int = MOST_BYTES
    ) -> None:
        self._path = path
        self._patience = patience
        self._most = most
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def meet(self, key: str, kind: str, other: str, content: bytes) -> tuple[bytes | None, int]:
        """Return the other half, or keep this one where there is none; and how many others were dropped.

        The other half stays until `forget`, so that a killed process leaves it for who asks again. Raise
        HalfTooLargeError if this one cannot be kept.
        """
        with self._used() as connection:
            oldest = time.time() - self._patience
            dropped = connection.execute("DELETE FROM halves WHERE arrived < ?", (oldest,)).rowcount
            row = connection.execute("SELECT content FROM halves WHERE key = ? AND kind = ?", (key, other)).fetchone()
            if row is not None:
                return row[0], dropped
            if len(content) > self._most_bytes:
                raise HalfTooLargeError(
                    f"has {len(content):,} bytes; {self._most_bytes:,} may wait for their other half"
                )
            values = (key, kind, time.time(), len(content), content)
            connection.execute("INSERT OR REPLACE INTO halves VALUES (?, ?, ?, ?, ?)", values)
            return None, dropped + self._make_room(connection)

    def forget(self, key: str) -> None:
        """Let both halves go."""
        with self._used() as connection:
            connection.execute("DELETE FROM halves WHERE key = ?", (key,))

    def _make_room(self, connection: sqlite3.Connection) -> int:
        dropped = 0
        count, size = connection.execute("SELECT count(*), total(size) FROM halves").fetchone()
        while count > self._most or size > self._most_bytes:
            oldest, its_size = connection.execute("SELECT rowid, size FROM halves ORDER BY arrived LIMIT 1").fetchone()
            connection.execute("DELETE FROM halves WHERE rowid = ?", (oldest,))
            count, size, dropped = count - 1, size - its_size, dropped + 1
        return dropped

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        with self._lock:
            make_folder(self._path.parent)
            try:
                os.close(open_plain(self._path, os.O_RDWR | os.O_CREAT))
                with contextlib.closing(
                    sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
                ) as connection:
                    connection.execute("PRAGMA synchronous = OFF")
                    connection.execute("BEGIN IMMEDIATE")
                    connection.execute(_TABLE)
                    connection.execute(_ORDER)
                    yield connection
                    connection.execute("COMMIT")
            except OddEntryError as error:
                set_aside(self._path)
                raise OSError(f"its waiting halves: {error}") from error
            except sqlite3.Error as error:
                if type(error) is sqlite3.DatabaseError:
                    self._path.unlink(missing_ok=True)
                raise OSError(f"its waiting halves: {error}") from error
