"""How all workers that share the folder of the local copy change over to another model at one moment.

The file `<name>.champion` is what serves: each request looks which file that is, by one `stat`, and is answered by the
model that was loaded from that very file. To change the model

1. the leader, who is the worker that holds the lock `<name>.leader`, lays the next one ready as `<name>.next`;
2. each worker loads it beside the one that serves, and says so in its own file `<name>.worker-…`, which it holds a lock
   on while it lives;
3. when all who live have said so, or its patience ends, the leader renames `next` to `champion`.

The kernel renames in one step. Whoever has an answer of the new model knows that the step was done, so a request that
is sent after that sees the new file, in whichever worker or container of this machine: answers never go back. A
worker that was not ready, or starts just then, finds a file that it does not know, and loads it before it answers.
"""

import contextlib
import errno
import os
import secrets
from pathlib import Path

from api.model import Release, Stamp, copy_path, save_copy, stamp_of
from monitoring.contract.locks import lock, open_lock
from monitoring.contract.plain_files import OddEntryError, discard, make_folder, open_plain, read_plain
from monitoring.contract.storage import rename_over, step, sync


class Handover:
    """One worker's part in it. Locks end with their process, and nobody waits for one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.staged_path = copy_path(folder, name, "next")
        self.path = copy_path(folder, name)
        self.alone = False  # the folder takes no lock, so that nothing can be agreed upon in it
        self._folder = folder
        self._name = name
        self._leader_path = copy_path(folder, name, "leader")
        self._leader: int | None = None
        self._told: str | None = None
        self._member_path = self.path
        self._member: int | None = None

    def committed(self) -> Stamp | None:
        """Return which file serves; None if there is none."""
        return stamp_of(self.path)

    def staged(self) -> Stamp | None:
        """Return which file is laid ready; None if there is none."""
        return stamp_of(self.staged_path)

    def join(self) -> None:
        """Become one of those whom the leader waits for; raise OSError if the folder cannot be written."""
        if self._member is not None:
            return
        make_folder(self._folder)
        while self._member is None:
            path = copy_path(self._folder, self._name, f"worker-{secrets.token_hex(8)}")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                if _keep_locked(descriptor):  # else another took it for a dead worker's
                    self._member_path, self._member = path, descriptor
            except OSError:
                discard(path)
                raise
        self._living()

    def ready(self, stamp: Stamp) -> None:
        """Say that this worker has loaded the file that is laid ready; raise OSError if the disk is full."""
        if self._member is not None:
            _write(self._member, _text(stamp))

    def leads(self) -> bool:
        """Say whether this worker is the leader; become it if nobody is."""
        if self._leader is not None and self._is_in_place(self._leader):
            return True
        self._close_leader()
        try:
            descriptor = open_lock(self._leader_path)
            leads = _keep_locked(descriptor)
        except OSError as error:
            self.alone = error.errno not in (errno.EMFILE, errno.ENFILE)
            return self.alone
        self.alone = False
        if leads:
            self._leader, self._told = descriptor, None
        return leads

    def stage(self, release: Release, content: bytes) -> Stamp:
        """Lay a model ready for all workers, and return which file it is; raise OSError if it cannot be written."""
        save_copy(self._folder, self._name, release, content, ending="next")
        stamp = self.staged()
        if stamp is None:
            raise FileNotFoundError(self.staged_path)
        step("model staged")
        return stamp

    def unready(self, stamp: Stamp) -> int:
        """Count the living workers that have not loaded that file."""
        return sum(ready != _text(stamp) for ready in self._living())

    def commit(self) -> None:
        """Let what is laid ready serve, from this moment on and everywhere."""
        rename_over(self.staged_path, self.path)
        step("model committed")
        sync(self._folder)

    def tell(self, state: str) -> None:
        """Let the other workers know how the leader fares."""
        if self._leader is not None and state != self._told:
            with contextlib.suppress(OSError):  # a full disk: they know the former state
                _write(self._leader, state.encode())
                self._told = state

    def told(self) -> str:
        """Return what the leader has told last."""
        try:
            return read_plain(self._leader_path).decode(errors="replace")
        except (OSError, OddEntryError):
            return ""

    def leave(self) -> None:
        """Give up the leader's place, and be waited for no longer."""
        self._close_leader()
        if self._member is not None:
            self._member_path.unlink(missing_ok=True)
            os.close(self._member)
            self._member = None

    def _living(self) -> list[bytes]:
        """Return what each living worker has said, and forget those that are dead."""
        said = [_read_living(member) for member in self._folder.glob(f"{self._name}.worker-*")]
        return [one for one in said if one is not None]

    def _close_leader(self) -> None:
        if self._leader is not None:
            os.close(self._leader)
            self._leader = None

    def _is_in_place(self, descriptor: int) -> bool:
        """Say whether the lock that is held is still the one that others would try."""
        try:
            return os.fstat(descriptor).st_ino == self._leader_path.stat().st_ino
        except OSError:
            return False


def _keep_locked(descriptor: int) -> bool:
    """Lock a file; close it if another holds it. Raise OSError, and close it, where the file system has no locks."""
    try:
        locked = lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    if not locked:
        os.close(descriptor)
    return locked


def _read_living(member: Path) -> bytes | None:
    """Return what a worker has said; None for one that is dead, whose file is removed."""
    try:
        descriptor = open_plain(member)
    except (OSError, OddEntryError):  # it has just ended, or never was one
        return None
    try:
        if not lock(descriptor):
            return os.read(descriptor, 100)
        member.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))


def _text(stamp: Stamp) -> bytes:
    return " ".join(map(str, stamp)).encode()
