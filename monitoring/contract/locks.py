"""Locks between processes: the flock of a file, which its holder gives up however it ends, and nobody waits long for.

Whoever may open a lock's file may hold it for ever, so its file and the folder that we make for it are this account's
alone (0600, 0700), and who finds it held goes without after a time.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from monitoring.contract.errors import DriftloopError
from monitoring.contract.plain_files import OddEntryError, make_folder, open_plain, set_aside

logger = structlog.get_logger(__name__)


class LockedError(DriftloopError):
    """Another holds the lock, and has not given it up in time."""


def lock(descriptor: int) -> bool:
    """Take the flock of a file that still has a name; return False if another holds it or removed the file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


def open_lock(path: Path) -> int:
    """Open a lock's file, made where there is none; what is no plain file is set aside. Raise OSError."""
    make_folder(path.parent)
    for _ in range(3):
        try:
            return open_plain(path, os.O_RDWR | os.O_CREAT)
        except OddEntryError as error:
            logger.error("lock_set_aside", path=str(path), reason=str(error), kept_as=set_aside(path))  # noqa: TRY400
        except FileNotFoundError:  # removed between two looks at it
            continue
    raise BlockingIOError(f"{path.name} changes faster than it can be opened")


class _Waiter(threading.Thread):
    """Waits in the kernel's queue for a lock that another holds, for as long as somebody wants it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="lock", daemon=True)
        self._descriptor = descriptor
        self._taken = threading.Event()
        self._settling = threading.Lock()
        self._wanted = True

    def run(self) -> None:
        """Take the lock; give it up at once if nobody wants it any more."""
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._settling:
            self._taken.set()
            if not self._wanted:
                os.close(self._descriptor)

    def wait(self, patience: float) -> bool:
        """Say whether the lock is taken within so many seconds; if not, it is not wanted any more."""
        if self._taken.wait(patience):
            return True
        with self._settling:
            self._wanted = self._taken.is_set()
        return self._wanted


class FolderLock:
    """A lock that threads of several processes take in turn, each for a moment.

    Who does not get it within `patience` seconds is refused. While the lock is held for longer than that, nobody waits
    for it at all: each further request is refused at once, so that a lock that is never given up holds no thread.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self._patience = patience
        self._turn = threading.Lock()  # of this process's threads
        self._stuck: _Waiter | None = None  # of a request that was refused

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in this block. Raise LockedError if another holds it, OSError if it cannot be opened."""
        if not self._turn.acquire(timeout=self._patience):
            raise LockedError(f"{self.path.name} is held by other requests")
        try:
            descriptor = self._take()
            try:
                yield
            finally:
                os.close(descriptor)
        finally:
            self._turn.release()

    def _take(self) -> int:
        descriptor = open_lock(self.path)
        try:
            if lock(descriptor):
                self._stuck = None
                return descriptor
            waits = self._stuck is None or not self._stuck.is_alive()
        except BaseException:
            os.close(descriptor)
            raise
        if waits:
            waiter = _Waiter(descriptor)
            waiter.start()
            if waiter.wait(self._patience):
                return descriptor
            self._stuck = waiter  # which closes the descriptor when it ends
        else:
            os.close(descriptor)
        raise LockedError(f"{self.path.name} is held by another process")
