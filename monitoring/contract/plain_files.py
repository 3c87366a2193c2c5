"""The one way to open what lies in a folder that others write to as well: plain files alone, and without waiting.

In such a folder may lie anything: a FIFO, whose reader waits for ever; a device; a link that leads nowhere or in a
circle; a folder with a part's name; a file of a terabyte, all of it holes. Each is refused by what it is, so that one
odd entry costs its own content and nothing else. Nothing is mapped into memory: of a file that another process cuts off
meanwhile a reader gets an error, and not SIGBUS.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from monitoring.contract.errors import DriftloopError

LARGEST = 1 << 30  # bytes of a file that is read at once: none of ours comes near
BAD = "_bad-"  # what is set aside is named so; readers pass over names that begin with _
_LONGEST_NAME = 255  # bytes, on every common file system
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class OddEntryError(DriftloopError, ValueError):
    """What lies there is no plain file, or none that a file of ours could be; it says what it is."""


def open_plain(path: Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a plain file and return its descriptor, which does not outlive an exec; never wait.

    A link is followed for reading alone. Raise FileNotFoundError if nothing is there, OddEntryError if it is no plain
    file, PermissionError or another OSError if the system refuses it.
    """
    writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if not (writes and not os.path.lexists(path)):
        stat_plain(path, follow=not writes)  # before: opening a device may already do something
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if writes else 0), mode)
    except OSError as error:
        _require_even(path, error)
        raise
    try:
        _require_plain(os.fstat(descriptor))  # after: it may have been changed for another
    except OddEntryError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a plain file's descriptor for reading, as `open_plain` does, and close it."""
    descriptor = open_plain(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def stat_plain(path: Path, *, follow: bool = True) -> os.stat_result:
    """Return what the system says of a plain file, or of the one a link leads to; raise as `open_plain` does."""
    try:
        found = path.stat(follow_symlinks=follow)
    except FileNotFoundError:
        if path.is_symlink():
            raise OddEntryError("is a link that leads nowhere") from None
        raise
    except OSError as error:
        _require_even(path, error)
        raise
    _require_plain(found)
    return found


def _require_plain(found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    raise OddEntryError("is " + next((name for fits, name in _KINDS if fits(found.st_mode)), "a link"))


def _require_even(path: Path, error: OSError) -> None:
    """Raise OddEntryError where the system's error says no more than that the entry is odd."""
    if error.errno == errno.ELOOP:
        reason = "is a link that leads in a circle" if path.is_symlink() else "is behind such a link"
        raise OddEntryError(reason) from error
    if error.errno in (errno.ENXIO, errno.ENODEV, errno.EISDIR):
        raise OddEntryError("is no plain file") from error


def read_plain(path: Path, largest: int = LARGEST) -> bytes:
    """Return a plain file's content; raise as `open_plain` does, and OddEntryError for a file that is far too large."""
    with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        require_size(descriptor, largest)
        return file.read()


def require_size(descriptor: int, largest: int = LARGEST) -> None:
    """Raise OddEntryError if a file is larger than that, whether or not it is mostly holes."""
    size = os.fstat(descriptor).st_size
    if size > largest:
        raise OddEntryError(
            f"is {size / 1e6:,.0f} MB large; no file that belongs here is larger than {largest / 1e6:,.0f}"
        )


def list_plain(folder: Path, pattern: str) -> list[Path]:
    """List the plain files in a folder whose names match; links, and what is none, are left out."""
    return [path for path in folder.glob(pattern) if not path.is_symlink() and path.is_file()]


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for this account alone (0700); one that is there stays."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def fitting(name: str, *, before: str = "", after: str = "") -> str:
    """Return a file's name with something before and after it, shortened where the file system takes no longer one."""
    room = _LONGEST_NAME - len(os.fsencode(before + after))
    raw = os.fsencode(name)
    if len(raw) > room:
        digest = "~" + hashlib.sha256(raw).hexdigest()[:16]
        name = raw[: room - len(digest)].decode(errors="ignore") + digest
    return before + name + after


def set_aside(path: Path) -> str:
    """Rename an entry, of whatever kind, to a name that every reader passes over; return that name.

    One that is gone is no error. Raise OSError if the system does not allow it.
    """
    name = fitting(path.name, before=BAD)
    if os.path.lexists(path.with_name(name)):
        name = fitting(path.name, before=BAD, after=f".{secrets.token_hex(4)}")
    with contextlib.suppress(FileNotFoundError):
        path.rename(path.with_name(name))
    return name


def discard(path: Path) -> None:
    """Remove a file that nobody needs; one that cannot be removed stays, and costs nothing but its room."""
    with contextlib.suppress(OSError):
        path.unlink()


def discard_tree(path: Path) -> None:
    """Remove a folder that nobody needs, with all in it, or what lies in its place; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:  # of a FIFO rmtree would wait for a writer
        discard(path)


def readable(path: object) -> str:
    """Return a path as text that every encoding takes: what is no UTF-8 in it stands as an escape."""
    return str(path).encode(errors="backslashreplace").decode()
