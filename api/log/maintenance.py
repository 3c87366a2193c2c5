"""Maintenance of the logs' folders: merge and retire parts, quarantine bad ones, finish what a killed process began.

It runs in a thread of each of the API's workers: they are there whenever a log grows, so that no further service has
to be run and watched. Of all processes on a folder one at a time is at work, the one that holds its lock, which a
killed one gives up at once.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from api.log.append_log import AppendLog
from api.log.journal import identity
from api.log.merging import merge, plan
from api.log.quarantine import PATIENCE, QuarantineWatch
from api.log.retention import Retention, expired, retire
from api.log.sealing import first_time
from monitoring.contract.errors import DriftloopError
from monitoring.contract.journals import list_journals
from monitoring.contract.locks import lock, open_lock
from monitoring.contract.part_reader import UNREADABLE
from monitoring.contract.parts import Part, is_ours, list_leftovers, list_parts, writer_of
from monitoring.contract.plain_files import discard, readable
from monitoring.contract.storage import Place, remove, step
from monitoring.contract.times import Micros, latest_time, microseconds

logger = structlog.get_logger(__name__)

_FAILURES = (*UNREADABLE, DriftloopError)


class Maintenance:
    """Maintains the prediction log, and its labels and what a challenger answered, which are retired after it."""

    def __init__(
        self,
        predictions: AppendLog,
        labels: AppendLog,
        retention: Retention,
        seconds: float,
        patience: float = PATIENCE,
        *,
        shadow: AppendLog | None = None,
    ) -> None:
        self._predictions = predictions
        self._logs = (predictions, labels, *(() if shadow is None else (shadow,)))
        self._retention = retention
        self._seconds = seconds
        self._quarantine = {log: QuarantineWatch(log.form.schema, patience) for log in self._logs}
        self._doubted: set[Place] = set()  # parts that could not be merged or retired
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Run every so many seconds, in a background thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop, after the merge that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def once(self) -> None:
        """Maintain once each folder that no other process is at work on."""
        for log in self._logs:
            try:
                with _locked(log.folder) as locked:
                    if locked:
                        self._maintain(log)
            except _FAILURES as error:
                _fail(log, "upkeep", error)

    def _maintain(self, log: AppendLog) -> None:
        _finish_merges(log)
        log.metrics.lag.set(_lag(log))
        self._quarantine_bad(log)
        self._retire(log)
        # a part from the future stays by itself: merged with others it could not be told from them by its name
        for group in plan([part for part in self._settled(log) if part.last <= latest_time()]):
            if self._stop.is_set():
                return
            self._merge(log, group)
        log.metrics.files.set(len(list_parts(log.parts)[0]))

    def _quarantine_bad(self, log: AppendLog) -> None:
        parts, unreadable = list_parts(log.parts)
        paths = [file.path for file in unreadable if file.path != log.parts]
        doubted, self._doubted = self._doubted, set()
        watch = self._quarantine[log]
        for file, name in watch.check([part.path for part in parts], [*paths, *doubted]):
            log.metrics.failed("bad_part")
            logger.error("log_part_set_aside", path=file.shown, reason=file.reason, kept_as=readable(name))
        for file in watch.failing:  # each time, for as long as it is so
            log.metrics.failed("part_refused")
            logger.error("log_part_refused", path=file.shown, reason=file.reason)

    def _settled(self, log: AppendLog) -> list[Part]:
        """List our parts that can be read and whose journal is gone: no other will ever be sealed from it again."""
        parts = [part for part in list_parts(log.parts)[0] if is_ours(part)]
        journals = {identity(path) for path in list_journals(log.folder)}
        suspected = self._quarantine[log].suspected
        return [part for part in parts if writer_of(part) not in journals and part.name not in suspected]

    def _retire(self, log: AppendLog) -> None:
        if log is self._predictions:
            gone = expired(self._settled(log), self._retention, datetime.now(UTC))
        else:
            gone = self._without_predictions(log) if self._retention.limited else []
        archive = self._retention.archive / log.folder.name if self._retention.archive else None
        for part in gone:
            try:
                retire(part, archive)
            except _FAILURES as error:
                _fail(log, "retire", error, part=part.name)
                self._doubted.add(part.path)
                return
            log.metrics.retired.inc()
            logger.info("log_part_retired", part=part.name, rows=part.rows, archive=str(archive) if archive else None)
        if self._retention.limited:
            log.forget_ids()

    def _without_predictions(self, log: AppendLog) -> list[Part]:
        """Return the parts of labels, or of what a challenger answered, whose predictions were all retired."""
        predictions, _ = list_parts(self._predictions.parts)
        first = min((part.first for part in predictions), default=Micros(0))
        oldest = Micros(first - first % 1000)  # ids hold milliseconds
        return [part for part in self._settled(log) if part.last < oldest]

    def _merge(self, log: AppendLog, group: list[Part]) -> None:
        try:
            for path in merge(log.parts, group, log.form):
                log.metrics.merged.inc()
                logger.info("log_parts_merged", part=path.name)
        except _FAILURES as error:  # of a damaged part, say; its group waits until that is quarantined
            _fail(log, "merge", error, parts=[part.name for part in group])
            self._doubted.update(part.path for part in group)

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.once()
            except Exception:
                self._predictions.metrics.failed("upkeep")
                logger.exception("log_upkeep_failed", stage="upkeep")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock in this block; yield whether it is held, without waiting for another."""
    descriptor = open_lock(folder / "_upkeep")
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)


def _lag(log: AppendLog) -> float:
    """Return for how many seconds the oldest journal with rows has been written; 0 without one."""
    times = [time for path in list_journals(log.folder) if (time := first_time(path, log.form)) is not None]
    return max(0.0, (microseconds(datetime.now(UTC)) - min(times)) / 1e6) if times else 0.0


def _finish_merges(log: AppendLog) -> None:
    """Finish what a killed process had begun to merge."""
    for part in list_leftovers(log.parts):
        try:
            remove(part.path)
        except OSError as error:  # a folder with a part's name, say
            _fail(log, "upkeep", error, part=part.name)
        step("leftover removed")
    if isinstance(log.parts, Path):
        for litter in log.parts.glob("_part-*-merged-*.tmp"):
            discard(litter)


def _fail(log: AppendLog, stage: str, error: Exception, **about: object) -> None:
    log.metrics.failed(stage)
    logger.error("log_upkeep_failed", stage=stage, folder=str(log.parts), error=str(error), **about)
