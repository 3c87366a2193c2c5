"""The append-only logs of predictions and of labels: journals, and the immutable parts that they are sealed into."""

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pyarrow as pa
import structlog

from api.log.halves import Halves
from api.log.id_index import IdIndex
from api.log.journal import Journal
from api.log.journal_lines import LogFormat, all_ids, first_line
from api.log.own_ids import may_be_own
from api.log.sealing import Sealed, seal, seal_orphan
from api.metrics import LogMetrics
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.journals import find_in_journal, list_journals
from monitoring.contract.layout import ID_INDEX, LOG_LOCK
from monitoring.contract.locks import FolderLock, LockedError, NoTurnError
from monitoring.contract.part_reader import UNREADABLE, read_groups
from monitoring.contract.parts import Part, list_parts
from monitoring.contract.plain_files import OddEntryError, make_folder, read_plain, set_aside
from monitoring.contract.prediction_ids import id_milliseconds
from monitoring.contract.rereading import attempts
from monitoring.contract.row_lookup import Target, find_timed, id_times
from monitoring.contract.schemas import (
    TIMESTAMP,
    Row,
    label_time,
    labels_schema,
    log_schema,
    row_id,
    row_time,
    shadow_schema,
)
from monitoring.contract.storage import Place
from monitoring.contract.times import Micros

logger = structlog.get_logger(__name__)

LOCK_PATIENCE = 10.0  # seconds that a request waits for others to look up and append: a back-fill takes some
_IDS = pa.schema([("prediction_id", pa.string()), ("timestamp", TIMESTAMP)])
_SPACE_SECONDS = 0.1  # between two checks of the disk's free space: a system call per request would cost throughput


class LogUnavailableError(DriftloopError):
    """The log could not be written; nothing of the request is in it."""


def prediction_format(model: Model) -> LogFormat:
    """Return the format of current.parquet; a part's range is that of its rows' timestamps."""
    return LogFormat(log_schema(model), row_time, order=("timestamp", "prediction_id"))


def shadow_format(model: Model) -> LogFormat:
    """Return the format of shadow.parquet; a part's range is that of its rows' timestamps."""
    return LogFormat(shadow_schema(model), row_time, order=("timestamp", "prediction_id"))


def label_format(model: Model) -> LogFormat:
    """Return the format of labels.parquet; a part's range is that of the labelled predictions."""
    return LogFormat(labels_schema(model), _labelled_at, order=("prediction_id", "timestamp"), more=1)


def _labelled_at(row: Row) -> Micros:
    if (time := label_time(row)) is not None:
        return time
    milliseconds = id_milliseconds(row_id(row))
    if milliseconds is None:
        raise ValueError(f"{row_id(row)!r} is not a prediction's id")
    return Micros(milliseconds * 1000)


@dataclass(frozen=True)
class Sealing:
    """When a journal becomes a part: after these seconds or rows.

    With fsync a row also survives a power loss. While fewer bytes than the reserve are free, no row is taken.
    """

    seconds: float
    rows: int
    fsync: bool = False
    reserve: int = 0


class AppendLog:
    """A log that several processes append to; each has its own journal, and any of them recovers a dead one's.

    The journals lie in a folder of this machine, the parts beside them or in object storage.
    """

    def __init__(
        self,
        folder: Path,
        form: LogFormat,
        metrics: LogMetrics,
        sealing: Sealing,
        parts: Place | None = None,
    ) -> None:
        self.folder = folder
        self.parts = folder if parts is None else parts
        self.form = form
        self.metrics = metrics
        self._sealing = sealing
        self._writer = secrets.token_hex(6)
        self._segment = 0
        self._journal: Journal | None = None
        self._opened = 0.0
        self._space_seen = float("-inf")
        self._lock = threading.Lock()  # the journal
        self._turns = FolderLock(folder / LOG_LOCK, LOCK_PATIENCE)
        self._full: list[Journal] = []  # closed for appending, not sealed yet
        self._seal_lock = threading.Lock()  # the list of full journals
        self._wake = threading.Event()
        self.halves = Halves(folder / "_halves.sqlite")
        self.ids = IdIndex(folder / ID_INDEX, self._given_ids, durable=sealing.fsync)
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Recover what dead processes left, then seal and recover in a background thread."""
        self._thread = threading.Thread(target=self._run, name=f"seal-{self.folder.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and seal what there is; what cannot be sealed is left to whoever recovers the log next."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self.seal()
        with self._seal_lock:
            while self._full:
                self._full.pop().close()

    def append(self, rows: list[Row]) -> None:
        """Append a request's rows, all or none; when this returns they survive a killed process.

        Raise LogUnavailableError if the disk does not take them, or is nearly full.
        """
        line = orjson.dumps(rows, option=orjson.OPT_APPEND_NEWLINE)
        try:
            with self._lock:
                journal = self._writable()
                if time.monotonic() - self._space_seen > _SPACE_SECONDS:
                    self._require_space()
                    self._space_seen = time.monotonic()
                end = journal.append(line, len(rows))
            if self._sealing.fsync:
                journal.commit(end)
        except OSError as error:
            raise self.unavailable(error) from error
        self.metrics.rows.inc(len(rows))
        if journal.rows >= self._sealing.rows:
            self._wake.set()

    def unavailable(self, error: OSError) -> LogUnavailableError:
        """Count and log that nothing can be appended, and return the error that says so."""
        self.metrics.failed("append")
        logger.error("log_append_failed", folder=str(self.folder), error=str(error))
        return LogUnavailableError(f"{self.folder.name} cannot be written: {error.strerror or error}")

    def _writable(self) -> Journal:
        if self._journal is not None and (self._journal.broken or self._journal.full):
            self._full.append(self._journal)
            self._journal = None
        if self._journal is None:
            self._journal = self._open()
        self._journal.keep_name()
        return self._journal

    def _open(self) -> Journal:
        make_folder(self.folder)
        while True:
            self._segment += 1
            head = first_line(self.form.schema)
            if journal := Journal.create(self.folder, self._writer, self._segment, head, durable=self._sealing.fsync):
                self._opened = time.monotonic()
                return journal

    def _require_space(self) -> None:
        disk = os.statvfs(self.folder)
        free = disk.f_bavail * disk.f_frsize
        if free < self._sealing.reserve:
            raise OSError(errno.ENOSPC, f"only {free / 1e6:.0f} MB of its disk are free")

    def probe(self) -> str | None:
        """Return why the log cannot be written now, or None if it can."""
        path = self.folder / f"_probe-{self._writer}-{threading.get_ident()}"  # two may ask at once
        try:
            make_folder(self.folder)
            path.write_bytes(b"ready\n")
            path.unlink()
            self._require_space()
        except OSError as error:
            return f"{self.folder.name} cannot be written: {error.strerror}"
        return None

    def find(self, ids: Iterable[str], column: str) -> dict[str, tuple[Target, Micros]]:
        """Look ids up in every process's journals and in the parts.

        Return those that are there, each with that column and the row's time. Raise LogUnavailableError if the index of
        ids cannot be read.
        """
        times = self._times(ids)
        wanted = set(times)
        found: dict[str, tuple[Target, Micros]] = {}
        # Journals first: what is sealed meanwhile is in a part before its journal goes.
        for path in list_journals(self.folder):
            rows = find_in_journal(_content(path), wanted, column, self.form.schema, loads=orjson.loads)
            found |= {i: (value, at) for i, value, at in rows}
        found |= self._in_parts({i: time for i, time in times.items() if i not in found}, column)
        if not self.ids.complete:  # an id that another made may tell another time than its row's
            found |= self._in_parts({i: None for i in times if i not in found and not may_be_own(i)}, column)
        return found

    def _in_parts(self, times: Mapping[str, Micros | None], column: str) -> dict[str, tuple[Target, Micros]]:
        return {i: (value, at) for i, value, at in find_timed(self.parts, times, column, self._values(column))}

    def _times(self, ids: Iterable[str]) -> dict[str, Micros | None]:
        """Return when each id's row came, as the index or the id itself tells; None where neither does."""
        told = id_times(ids)
        try:
            return told | self.ids.times(told)
        except OSError as error:
            raise self.unavailable(error) from error

    def newest(self, times: Mapping[str, Micros], column: str) -> dict[str, tuple[Micros, str | float]]:
        """Look ids up whose predictions' times are known; return of each the newest row's own time and that column.

        An id without a row that has a value there is left out.
        """
        wanted = set(times)
        found: list[tuple[str, Target, Micros]] = []
        for path in list_journals(self.folder):
            found += find_in_journal(_content(path), wanted, column, self.form.schema, loads=orjson.loads)
        found += find_timed(self.parts, times, column, self._values(column))
        newest: dict[str, tuple[Micros, str | float]] = {}
        for prediction_id, value, moment in found:
            if value is not None and (prediction_id not in newest or newest[prediction_id][0] <= moment):
                newest[prediction_id] = moment, value
        return newest

    def forget_ids(self) -> None:
        """Let go ids of which all rows were retired; raise OSError if the index of ids cannot be used."""
        with self.exclusive():
            journals = list_journals(self.folder)  # before the parts, as in `find`
            times = [time for path in journals for _, time in all_ids(_content(path), self.form)]
            times += [part.first for part in list_parts(self.parts)[0]]
            if times:
                self.ids.forget(min(times))

    def _given_ids(self) -> Iterator[dict[str, Micros]]:
        """Read the ids that others made, a number at a time, each with its row's time."""
        for path in list_journals(self.folder):
            yield {i: time for i, time in all_ids(_content(path), self.form) if not may_be_own(i)}
        for attempt in attempts(self.parts):
            with attempt:
                for part in list_parts(self.parts)[0]:
                    yield from self._given_ids_of(part)
                break

    def _given_ids_of(self, part: Part) -> Iterator[dict[str, Micros]]:
        try:
            for table in read_groups(part.path, _IDS):
                pairs = zip(
                    table["prediction_id"].to_pylist(), table["timestamp"].cast(pa.int64()).to_pylist(), strict=True
                )
                yield {i: Micros(time) for i, time in pairs if i and time is not None and not may_be_own(i)}
        except FileNotFoundError:
            raise
        except UNREADABLE as error:
            self._fail("recover", Path(part.name), error)

    def _values(self, column: str) -> pa.DataType:
        return self.form.schema.field(column).type

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep every other process and thread out of this block, to look up and append as one step.

        Raise LogUnavailableError if the folder cannot be written, or others keep this request out for too long.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._turns.held())
            except OSError as error:
                raise self.unavailable(error) from error
            except NoTurnError as error:  # honest contention: the client asks again
                logger.warning("log_busy", folder=str(self.folder), reason=str(error))
                raise LogUnavailableError(f"{self.folder.name} is busy: {error}") from error
            except LockedError as error:
                self.metrics.failed("lock")
                logger.error("log_locked", folder=str(self.folder), reason=str(error))  # noqa: TRY400
                raise LogUnavailableError(f"{self.folder.name} is locked: {error}") from error
            yield

    def seal(self) -> None:
        """Seal this process's journals into parts; one that cannot be sealed now stays and is tried again."""
        with self._seal_lock:
            with self._lock:
                if self._journal is not None:
                    self._full.append(self._journal)
                    self._journal = None
            for journal in list(self._full):
                journal.finish()
                try:
                    journal.keep_name()
                    self._report(journal.path, seal(journal.path, self.parts, self.form))
                except UNREADABLE as error:
                    self._fail("seal", journal.path, error)
                else:
                    self._full.remove(journal)
                    journal.close()

    def recover(self) -> None:
        """Seal the journals that dead processes left; what only has the name of one is set aside."""
        for path in list_journals(self.folder, plain=False):
            self._set_aside(path, "is no plain file")
        for path in list_journals(self.folder):
            try:
                if sealed := seal_orphan(path, self.parts, self.form):
                    logger.info("log_journal_recovered", journal=path.name, rows=sealed.rows)
                    self._report(path, sealed)
            except OddEntryError as error:
                self._set_aside(path, str(error))
            except UNREADABLE as error:
                self._fail("recover", path, error)

    def _set_aside(self, path: Path, reason: str) -> None:
        self.metrics.failed("recover")
        try:
            kept = set_aside(path)
        except OSError as error:
            self._fail("recover", path, error)
        else:
            logger.error("log_journal_set_aside", path=str(path), reason=reason, kept_as=kept)

    def _report(self, path: Path, sealed: Sealed) -> None:
        if sealed.part:
            self.metrics.parts.inc()
        if sealed.torn_bytes:  # never acknowledged, so nothing is lost
            logger.info("log_torn_line_dropped", journal=path.name, bytes=sealed.torn_bytes)
        if sealed.quarantined:
            self.metrics.failed("corrupt", sealed.corrupt_lines)
            logger.error(
                "log_lines_corrupt", journal=path.name, lines=sealed.corrupt_lines, kept_in=str(sealed.quarantined)
            )

    def _fail(self, stage: str, path: Path, error: Exception) -> None:
        self.metrics.failed(stage)
        logger.error("log_seal_failed", stage=stage, journal=path.name, error=str(error))

    def _due(self) -> bool:
        if self._full:
            return True
        journal = self._journal
        return journal is not None and (
            journal.rows >= self._sealing.rows or time.monotonic() - self._opened >= self._sealing.seconds
        )

    def _run(self) -> None:
        recovered = float("-inf")
        while not self._stopping:
            try:
                if time.monotonic() - recovered >= self._sealing.seconds:
                    self.recover()
                    recovered = time.monotonic()
                if self._due():
                    self.seal()
            except Exception:
                self.metrics.failed("sealer")
                logger.exception("log_sealer_failed", folder=str(self.folder))
            self._wake.wait(min(1.0, self._sealing.seconds))
            self._wake.clear()


def _content(path: Path) -> bytes:
    """Return what a journal holds; nothing of one that is gone, or that `recover` cannot read either and tells of."""
    try:
        return read_plain(path)
    except (OSError, OddEntryError):
        return b""
