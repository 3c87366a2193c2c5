"""One journal of the log: a file that one process appends to until it is sealed into a part.

A request is one line, written by one `write` and acknowledged after it: a line without its newline was never
acknowledged, so a request is in the log as a whole or not at all. The writer holds the file's flock while it lives; a
journal whose flock is free belongs to a dead process.
"""

import contextlib
import errno
import os
import threading
from pathlib import Path

from monitoring.contract.journals import JOURNAL_NAME
from monitoring.contract.locks import lock
from monitoring.contract.plain_files import make_folder
from monitoring.contract.storage import step, sync

LARGEST = 1 << 28  # bytes: one that has grown to this is sealed, and another begun


class Journal:
    """The journal that this process appends to."""

    def __init__(self, path: Path, descriptor: int, *, durable: bool = False) -> None:
        self.path = path
        self._durable = durable
        self.rows = 0
        self.broken = False  # nothing may be appended any more
        self._descriptor = descriptor
        self._file = _file_of(os.fstat(descriptor))
        self._size = self._synced = 0  # bytes of whole lines, and of those that a power loss does not take
        self._syncing = self._refused = False
        self._turn = threading.Condition()

    @classmethod
    def create(cls, folder: Path, writer: str, segment: int, first_line: bytes, *, durable: bool) -> "Journal | None":
        """Create and lock a journal; return None if another process took the empty file for a dead one's."""
        path = folder / f"_journal-{writer}-{segment}.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        step("journal created")
        if not lock(descriptor):
            os.close(descriptor)
            return None
        step("journal locked")
        journal = cls(path, descriptor, durable=durable)
        try:
            journal.append(first_line, 0)
            if durable:
                sync(folder)  # a file whose name is lost is lost
                step("journal's name synced")
        except OSError:
            path.unlink()
            os.close(descriptor)
            raise
        return journal

    def append(self, line: bytes, rows: int) -> int:
        """Write a request's line as a whole and return where it ends, or raise OSError and leave nothing of it.

        If not even the cutting back works, the journal is `broken`: nothing may be written behind the torn line.
        """
        with self._turn:
            if self.broken:
                raise OSError(errno.EIO, "The journal has just failed")
            try:
                if os.write(self._descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, "No space left for the whole line")  # noqa: TRY301 - as write would
            except OSError:
                self.broken = True
                os.ftruncate(self._descriptor, self._size)
                self.broken = False
                raise
            step("line written")
            self._size += len(line)
            self.rows += rows
            return self._size

    def commit(self, end: int) -> None:
        """Return when what was written up to there survives a power loss; raise OSError if it does not.

        One fsync serves all requests that were written before it began. Those of one that fails are cut off again.
        """
        with self._turn:
            while self._synced < end:
                if self._refused:
                    raise OSError(errno.EIO, "The disk did not confirm the write")
                if self._syncing:
                    self._turn.wait()
                else:
                    self._sync()

    def _sync(self) -> None:
        """Sync what is written, while others go on writing."""
        self._syncing, end = True, self._size
        self._turn.release()
        try:
            os.fdatasync(self._descriptor)
            step("lines synced")
            confirmed = True
        except OSError:
            confirmed = False
        finally:
            self._turn.acquire()
            self._syncing = False
            self._turn.notify_all()
        if confirmed:
            self._synced = end
            return
        self.broken = self._refused = True  # after a failed fsync the kernel may forget what it could not write
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, self._synced)

    def keep_name(self) -> None:
        """Write the journal down again if its name is gone, as with a folder that was deleted or moved.

        What was acknowledged is in the log then, and not in a file that nobody can open. Raise OSError if it cannot be.
        """
        with self._turn:
            if self._has_name():
                return
            while self._syncing:
                self._turn.wait()
            self._write_again()

    def _has_name(self) -> bool:
        try:
            return _file_of(os.stat(self.path)) == self._file  # noqa: PTH116 - each append asks
        except FileNotFoundError:
            return False

    def _write_again(self) -> None:
        make_folder(self.path.parent)
        begun = self.path.with_name(f"_again{self.path.name}")
        descriptor = os.open(begun, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            lock(descriptor)
            content = os.pread(self._descriptor, self._size, 0)
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, "No space left for the whole journal")  # noqa: TRY301 - as write would
            begun.rename(self.path)
            if self._durable:
                sync(self.path.parent)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._descriptor)
        self._descriptor, self._synced = descriptor, 0
        self._file = _file_of(os.fstat(descriptor))

    @property
    def full(self) -> bool:
        """Say whether it is as large as a journal may become."""
        return self._size >= LARGEST

    def finish(self) -> None:
        """Answer those who wait for the disk; call it when nobody appends any more."""
        with contextlib.suppress(OSError):  # each of them is told
            self.commit(self._size)

    def close(self) -> None:
        """Give up the lock."""
        os.close(self._descriptor)


def _file_of(found: os.stat_result) -> tuple[int, int]:
    """Return what tells a file from any other while it is open."""
    return found.st_dev, found.st_ino


def identity(path: Path) -> tuple[str, int]:
    """Return a journal's writer and number, which the part that it becomes has in its name."""
    match = JOURNAL_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not a journal")
    return match[1], int(match[2])
