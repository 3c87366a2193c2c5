"""The files in which each worker counts, for `/metrics` of any of them: prometheus_client's, made safe on a full disk.

prometheus_client maps files into memory that are all hole. A write into a hole that the disk has no room for ends the
process by SIGBUS. Here a file's blocks are allocated before anything is written into them. What finds no room is
counted in the process alone, and written down once there is room; `/metrics` shows what is written down.
"""

import os
import stat
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import prometheus_client.values
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

_FIRST = 1 << 16  # bytes
_ENTRY = 4 + 8 + 16  # bytes beside a key: its length, padding at the most, value and timestamp
_RETRY = 1.0  # seconds between two tries to get room
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def use_metric_files() -> None:
    """Let prometheus_client count in such files, in this process; the folder is PROMETHEUS_MULTIPROC_DIR's."""
    prometheus_client.values.MmapedDict = MetricFile  # type: ignore[attr-defined, assignment]  # MmapedValue alone uses it


class MetricFile:
    """One worker's values of one kind, by key: what MmapedValue uses of a MmapedDict; want of room is no error."""

    def __init__(self, filename: str) -> None:
        self._path = Path(filename)
        self._file: MmapedDict | None = None
        self._keys: set[str] = set()  # that are in the file
        self._homeless: dict[str, tuple[float, float]] = {}  # values that are not, each with its timestamp
        self._next_try = 0.0

    def read_value(self, key: str) -> tuple[float, float]:
        """Return a value and its timestamp; both are 0 for one that was never written."""
        if key in self._keys or (key not in self._homeless and self._place(key)):
            assert self._file is not None
            value: tuple[float, float] = self._file.read_value(key)  # type: ignore[no-untyped-call]
            return value
        return self._homeless.setdefault(key, (0.0, 0.0))

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        """Write a value down, in the file if it has room."""
        if self._homeless and time.monotonic() >= self._next_try:
            self._place_all()
        if key in self._keys or (key not in self._homeless and self._place(key)):
            assert self._file is not None
            self._file.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
        else:
            self._homeless[key] = (value, timestamp)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()  # type: ignore[no-untyped-call]

    def _place_all(self) -> None:
        """Write down what had no room, for as long as there is room now."""
        for key, (value, timestamp) in [*self._homeless.items()]:
            if not self._place(key):
                return
            assert self._file is not None
            self._file.write_value(key, value, timestamp)  # type: ignore[no-untyped-call]
            del self._homeless[key]

    def _place(self, key: str) -> bool:
        """Make room for a key, and say whether there is; after a refusal the disk is left alone for a moment."""
        if time.monotonic() < self._next_try:
            return False
        try:
            if self._file is None:
                _create(self._path)
                self._file = MmapedDict(str(self._path))  # type: ignore[no-untyped-call]
                self._keys = {name for name, _, _ in self._file.read_all_values()}  # type: ignore[no-untyped-call]
            _make_room(self._path, _ENTRY + len(key.encode()))
        except OSError:
            self._next_try = time.monotonic() + _RETRY
            return False
        self._keys.add(key)
        return True


def _create(path: Path) -> None:
    """Make a file that has its blocks before it has its name: a reader finds none that is empty."""
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(path if path.exists() else temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _allocate(descriptor, _FIRST)
        if not path.exists():
            temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _make_room(path: Path, wanted: int) -> None:
    """Let a file grow, by doubling as MmapedDict does, until so many bytes more fit; raise OSError for want of room."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        (used,) = struct.unpack("i", os.pread(descriptor, 4, 0))
        while used + wanted > size:
            size *= 2
            _allocate(descriptor, size)
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, size: int) -> None:
    """Give a file blocks up to a size, the holes in it too, or raise OSError and leave its size."""
    before = os.fstat(descriptor).st_size
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:  # macOS
            for begin in range(before, size, _FIRST):
                os.pwrite(descriptor, bytes(min(_FIRST, size - begin)), begin)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


class MetricFiles:
    """A collector of what all workers have written down."""

    def collect(self) -> Iterable[Metric]:
        """Merge the plain files of the folder; what else lies there is passed over."""
        files = [str(path) for path in sorted(Path(os.environ[_FOLDER]).glob("*.db")) if _is_whole(path)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return merged


def _is_whole(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:  # of a worker that has just ended
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size >= _FIRST
