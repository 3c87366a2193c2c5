"""Locks between processes: the flock of a file, which its holder gives up however it ends, and nobody waits long for.

Whoever may open a lock's file may hold it for ever, so its file and the folder that we make for it are this account's
alone (0600, 0700), and who finds it held goes without after a time.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from monitoring.contract.errors import DriftloopError
from monitoring.contract.plain_files import OddEntryError, make_folder, open_plain, set_aside

logger = structlog.get_logger(__name__)


class LockedError(DriftloopError):
    """Another holds the lock, and has not given it up in time."""


class NoTurnError(DriftloopError):
    """Others use the lock one after another, and this one's turn has not come in time."""


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
    """Waits in the kernel's queue for a lock that another holds, and lets go of it: the caller's descriptor holds it.

    Where the caller has closed that meanwhile, nobody wants the lock any more, and it is free again at once.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="lock", daemon=True)
        self._descriptor = os.dup(descriptor)
        self.taken = False
        self.error: OSError | None = None

    def run(self) -> None:
        """Take the lock."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self.taken = True
        except OSError as error:
            self.error = error
        finally:
            os.close(self._descriptor)


class FolderLock:
    """A lock that threads of several processes take in turn, each for a moment.

    Who does not get it within `patience` seconds is refused. Who takes it dates its file: so a lock that goes from one
    to the next, which is busy, is told from one that its holder keeps. While it is kept for longer than the patience,
    nobody waits for it at all: each further request is refused at once, and one that is never given up holds no thread.
    """

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path
        self._patience = patience
        self._turn = threading.Lock()  # of this process's threads
        self._stuck: _Waiter | None = None  # of a request that was refused

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock in this block.

        Raise NoTurnError if others use it all the time, LockedError if one keeps it, OSError if it cannot be opened.
        """
        deadline = time.monotonic() + self._patience
        dated = self._dated()
        if not self._turn.acquire(timeout=self._patience):
            raise NoTurnError(f"other requests use {self.path.name}")
        try:
            descriptor = self._take(deadline, dated)
            try:
                yield
            finally:
                os.close(descriptor)
        finally:
            self._turn.release()

    def _dated(self) -> int | None:
        """Return when somebody last took the lock, by the clock of whoever it was."""
        try:
            return self.path.stat(follow_symlinks=False).st_mtime_ns
        except OSError:
            return None

    def _take(self, deadline: float, dated: int | None) -> int:
        while True:
            descriptor = open_lock(self.path)
            try:
                self._wait(descriptor, deadline, dated)
                if os.fstat(descriptor).st_nlink:
                    os.utime(descriptor)
                    self._stuck = None
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # removed meanwhile: another may hold the file that has its name now
            if time.monotonic() >= deadline:
                raise NoTurnError(f"{self.path.name} is removed all the time")

    def _wait(self, descriptor: int, deadline: float, dated: int | None) -> None:
        """Lock an open file by then; `dated` is as it was when the request came."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._stuck is not None and self._stuck.is_alive():
                raise LockedError(f"{self.path.name} is held by another process") from None
        else:
            return
        waiter = _Waiter(descriptor)
        waiter.start()
        waiter.join(max(0.0, deadline - time.monotonic()))
        if waiter.error is not None:
            raise waiter.error
        if waiter.taken:
            return
        if os.fstat(descriptor).st_mtime_ns != dated:
            raise NoTurnError(f"other requests use {self.path.name}")
        self._stuck = waiter
        raise LockedError(f"{self.path.name} is held by another process")
