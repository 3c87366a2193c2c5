"""Which ids may be in the log, and when their rows came: a folder of this machine that all workers share.

It holds the ids that others made: our own tell their rows' time. An id is entered before its row is written, so that
none of the log's is missing here, wherever a process is killed. Whether the row is there the log itself says.

An id is a key of 64 bits. New ones are appended to the tail, which each worker has in memory; a full tail becomes a
sorted run, and runs of a size become one, as in a log-structured merge tree (O'Neil and others, 1996). So what a
request costs hardly grows with the log.
"""

import errno
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from monitoring.contract.plain_files import OddEntryError, discard, make_folder, open_plain
from monitoring.contract.rereading import attempts
from monitoring.contract.storage import replaced, sync
from monitoring.contract.times import Micros

logger = structlog.get_logger(__name__)

Times = Mapping[str, Micros]
Pairs = npt.NDArray[np.int64]  # (n, 2): keys and times, by key

TAIL = 65_536  # ids; of more the tail becomes a run
FAN = 16  # runs of a size that become one
LARGEST = 1 << 21  # ids of a run that others become: a merge takes some 60 bytes of memory for each

_PAIR = 16  # bytes
_NONE: Pairs = np.empty((0, 2), np.int64)
_NAME = re.compile(r"([0-9]+)-([0-9]+)\.(run|tail)", re.ASCII)


@dataclass(frozen=True, order=True)
class _File:
    """A run of the tails from `first` to `last`, or the tail that is written."""

    first: int
    last: int
    kind: str

    @property
    def name(self) -> str:
        return f"{self.first}-{self.last}.{self.kind}"

    def within(self, other: "_File") -> bool:
        """Say whether its ids are another's too."""
        return self != other and other.kind == "run" and other.first <= self.first and self.last <= other.last


class IdIndex:
    """The ids of a log by their keys, with their rows' times; two ids of one key cost a look into the log.

    Who adds or forgets holds the log's lock. Each method raises OSError where the files cannot be used; damaged ones
    are removed, and made again from the log.
    """

    def __init__(self, folder: Path, read_log: Callable[[], Iterable[Times]], *, durable: bool) -> None:
        self._folder = folder
        self._read_log = read_log
        self._durable = durable
        self._listed: list[_File] = []
        self._runs: dict[_File, Pairs] = {}
        self._tail: _File | None = None
        self._recent: dict[int, int] = {}  # of the tail, as far as it was read
        self._read = 0  # bytes of the tail
        self._lock = threading.Lock()

    def times(self, ids: Iterable[str]) -> dict[str, Micros]:
        """Return the ids that may be in the log, each with its row's time."""
        keys = {_key(i): i for i in ids}
        with self._lock:
            self._follow()
            return {keys[key]: at for key, at in self._find(list(keys))}

    @property
    def complete(self) -> bool:
        """Say whether the whole log was read, as of the last look: another's id that is not here is not in it then."""
        return any(file.first == 0 for file in self._runs)

    def add(self, times: Times) -> bool:
        """Enter ids unless one of them may be there already; return whether they were entered."""
        pairs = {_key(i): at for i, at in times.items()}
        with self._lock:
            self._prepare()
            if len(pairs) < len(times) or next(self._find(list(pairs)), None):
                return False
            self._append(pairs)
            return True

    def put(self, times: Times) -> None:
        """Enter ids, whatever is there; the newest time of a key counts."""
        with self._lock:
            self._prepare()
            self._append({_key(i): at for i, at in times.items()})

    def forget(self, before: Micros) -> None:
        """Let go the runs of which each row was before that time."""
        if not self._folder.exists():
            return
        with self._lock:
            self._prepare()
            for file, pairs in list(self._runs.items()):
                if len(pairs) and file.first and pairs[:, 1].max() < before:  # the first says that all was read
                    (self._folder / file.name).unlink()

    def _find(self, keys: list[int]) -> Iterator[tuple[int, Micros]]:
        """Yield the keys that are there, each with its newest time."""
        left = np.sort(np.array([key for key in keys if key not in self._recent], np.int64))
        yield from ((key, Micros(self._recent[key])) for key in keys if key in self._recent)
        for file in sorted(self._runs, reverse=True):
            pairs = self._runs[file]
            if not len(pairs) or not len(left):
                continue
            places = np.minimum(np.searchsorted(pairs[:, 0], left), len(pairs) - 1)
            there = pairs[places, 0] == left
            yield from ((int(key), Micros(int(at))) for key, at in pairs[places[there]])
            left = left[~there]

    def _append(self, pairs: Mapping[int, int]) -> None:
        """Write pairs behind the tail, all or none, and begin another when it is full."""
        if not pairs:
            return
        assert self._tail is not None
        data = _array(pairs).astype("<i8").tobytes()
        descriptor = open_plain(self._folder / self._tail.name, os.O_RDWR | os.O_APPEND)
        try:
            os.ftruncate(descriptor, self._read)  # what a killed process has left of a pair
            written = os.write(descriptor, data)
            if written == len(data) and self._durable:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if written < len(data):  # the next one cuts it off
            raise OSError(errno.ENOSPC, "No space left for the index of ids")
        self._read += len(data)
        self._recent |= pairs
        if len(self._recent) >= TAIL:
            self._freeze()

    def _freeze(self) -> None:
        """Make a run of the tail, and of runs of its size one."""
        assert self._tail is not None
        number = self._tail.first
        self._write(_File(number, number, "run"), _array(self._recent))
        for alike in iter(self._mergeable, []):
            merged = np.concatenate([self._runs[file] for file in alike])
            self._write(_File(alike[0].first, alike[-1].last, "run"), merged)
            for file in alike:
                del self._runs[file]
        self._clear()
        self._begin(number + 1)

    def _mergeable(self) -> list[_File]:
        """Return the newest runs that are to become one: so many of a size, or larger ones that lie between."""
        files = sorted(self._runs)[-FAN:]
        sizes = [len(self._runs[file]) for file in files]
        fit = len(files) == FAN and files[0].first and sum(sizes) <= LARGEST and max(sizes) < FAN * min(sizes)
        return files if fit else []

    def _write(self, file: _File, pairs: Pairs) -> None:
        """Write a run; of a key that stands several times the last counts."""
        last = pairs[::-1]
        _, places = np.unique(last[:, 0], return_index=True)
        with replaced(self._folder / file.name) as temporary:
            temporary.write_bytes(last[places].astype("<i8").tobytes())
        self._runs[file] = _load(self._folder / file.name)

    def _begin(self, number: int) -> None:
        tail = _File(number, number, "tail")
        os.close(open_plain(self._folder / tail.name, os.O_RDWR | os.O_CREAT))
        if self._durable:
            sync(self._folder)
        self._tail = tail

    def _clear(self) -> None:
        """Forget the tail."""
        self._tail, self._recent, self._read = None, {}, 0

    def _prepare(self) -> None:
        """Follow what others wrote, tidy up behind a killed process, and read the log where nothing is there yet."""
        make_folder(self._folder)
        self._follow()
        if not self.complete:
            self._read_whole_log()
        live = {*self._runs, self._tail}
        for file in self._listed:
            if file not in live:
                discard(self._folder / file.name)
        if self._tail is None:
            self._begin(max((file.last for file in (*self._listed, *self._runs)), default=0) + 1)
        self._listed = self._list()

    def _read_whole_log(self) -> None:
        """Make runs of what the log holds; an empty one, of the number 0, says at the end that it is all there."""
        for file in self._listed:
            discard(self._folder / file.name)
        self._forget_files()
        now = time.time_ns() // 1_000_000  # other names than those of files that were there before
        for number, pairs in enumerate(_gathered(self._read_log()), now + 1):
            self._write(_File(number, number, "run"), pairs)
        self._write(_File(0, now, "run"), _NONE)

    def _follow(self) -> None:
        """Take in what others wrote since; raise OSError if a file is damaged, after all were removed."""
        for attempt in attempts(self._folder):
            with attempt:
                try:
                    if (listed := self._list()) != self._listed:
                        self._take_in(listed)
                    self._read_tail()
                except FileNotFoundError:
                    self._forget_files()
                    raise
                except (OddEntryError, ValueError) as error:
                    self._remove_all(error)
                break

    def _take_in(self, listed: list[_File]) -> None:
        """Load the runs that are new, and let go those whose ids others have; the last tail is the one that counts."""
        live = [file for file in listed if not any(file.within(other) for other in listed)]
        runs = [file for file in live if file.kind == "run"]
        self._runs = {
            file: self._runs[file] if file in self._runs else _load(self._folder / file.name) for file in runs
        }
        tail = next((file for file in reversed(live) if file.kind == "tail"), None)
        if tail != self._tail:
            self._clear()
            self._tail = tail
        self._listed = listed

    def _read_tail(self) -> None:
        """Read what others have appended to the tail."""
        if self._tail is None:
            return
        descriptor = open_plain(self._folder / self._tail.name)
        try:
            size = os.fstat(descriptor).st_size // _PAIR * _PAIR
            if size < self._read:  # what could not be written whole was cut off
                self._recent, self._read = {}, 0
            new = np.frombuffer(os.pread(descriptor, size - self._read, self._read), "<i8").reshape(-1, 2)
        finally:
            os.close(descriptor)
        self._recent.update(zip(new[:, 0].tolist(), new[:, 1].tolist(), strict=True))
        self._read = size

    def _list(self) -> list[_File]:
        """List the files, oldest first; of runs that begin alike the larger one is the later."""
        try:
            with os.scandir(self._folder) as entries:
                named = [match for entry in entries if (match := _NAME.fullmatch(entry.name))]
        except FileNotFoundError:
            return []
        return sorted(_File(int(match[1]), int(match[2]), match[3]) for match in named)

    def _forget_files(self) -> None:
        """Take nothing for read."""
        self._listed, self._runs = [], {}
        self._clear()

    def _remove_all(self, error: Exception) -> None:
        logger.error("log_id_index_damaged", folder=str(self._folder), error=str(error))
        for file in self._list():
            discard(self._folder / file.name)
        self._forget_files()
        raise OSError(f"its index of ids: {error}") from error


def _load(path: Path) -> Pairs:
    """Map a run (n, 2) into memory, which all workers share; only we write it, and it is never cut off."""
    descriptor = open_plain(path)
    try:
        size = os.fstat(descriptor).st_size
        if size % _PAIR:
            raise ValueError(f"{path.name} is cut off")
        if not size:
            return _NONE
        with open(descriptor, "rb", closefd=False) as file:
            pairs: Pairs = np.asarray(np.memmap(file, "<i8", "r")).reshape(-1, 2)
    finally:
        os.close(descriptor)
    if (pairs[1:, 0] <= pairs[:-1, 0]).any():
        raise ValueError(f"{path.name} is not in order")
    return pairs


def _gathered(read: Iterable[Times]) -> Iterator[Pairs]:
    """Yield the ids that are read, as pairs (n, 2) in no order, so many at a time as a run may have."""
    waiting, count = [_NONE], 0
    for times in read:
        waiting.append(_array({_key(i): at for i, at in times.items()}))
        count += len(times)
        if count >= LARGEST:
            yield np.concatenate(waiting)
            waiting, count = [_NONE], 0
    if count:
        yield np.concatenate(waiting)


def _array(pairs: Mapping[int, int]) -> Pairs:
    columns = (np.fromiter(values, np.int64, len(pairs)) for values in (pairs.keys(), pairs.values()))
    return np.column_stack(list(columns))


def _key(prediction_id: str) -> int:
    digest = hashlib.blake2b(prediction_id.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
