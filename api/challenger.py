"""A challenger in the shadow: the version on trial is asked for the champion's rows, and nobody gets its answers.

A thread of each worker follows the alias `challenger`, and asks its model for rows that are answered already. Where it
falls behind, rows are left out and counted: the trial compares fewer rows, and no client waits. What the challenger
answers goes to a log of its own, which the monitor joins with the champion's rows and their labels.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from api.log.append_log import AppendLog
from api.metrics import ChallengerMetrics
from api.model import PassedOver, Release, ServedModel, load_tried
from api.registry import RegistryUnusableError, aliased_release, download
from monitoring.contract.config import Model
from monitoring.contract.logins import Login
from monitoring.contract.names import CHALLENGER
from monitoring.contract.schemas import Row, row_id, row_time, shadow_row

logger = structlog.get_logger(__name__)

MOST_WAITING = 20_000  # rows that wait to be asked for; of more the newest are left out


@dataclass(frozen=True)
class Asked:
    """Rows of one request, as the log has them, and the values that the model is asked for."""

    rows: Sequence[Row]
    values: Sequence[Sequence[Any]]


class Challenger:
    """The version on trial in one worker."""

    def __init__(
        self,
        uri: str,
        model: Model,
        log: AppendLog,
        metrics: ChallengerMetrics,
        *,
        login: Login | None = None,
        poll_seconds: float,
    ) -> None:
        self.log = log
        self.error: str | None = None  # why the version on trial is not asked; None if all is well
        self._uri, self._login = uri.rstrip("/"), login
        self._model = model
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._served: ServedModel | None = None
        self._passed_over = PassedOver()
        self._waiting: deque[Asked] = deque()
        self._size = 0  # rows that wait
        self._changing = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="challenger", daemon=True)

    def start(self) -> None:
        """Follow the registry, and ask, in a background thread."""
        self.log.start()
        self._thread.start()

    def close(self) -> None:
        """Stop; what waits to be asked for is left out."""
        with self._changing:
            self._stopping = True
            self._changing.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=self._poll_seconds + 1)
        self.log.close()

    def serving(self) -> ServedModel | None:
        """Return the version that is on trial; None if none is."""
        return self._served

    def ask(self, rows: Sequence[Row], values: Sequence[Sequence[Any]]) -> None:
        """Have the challenger asked for rows that the champion has answered; return at once, and raise nothing."""
        if self._served is None:
            return
        with self._changing:
            if self._size + len(rows) > MOST_WAITING:
                self._metrics.asked("left_out", len(rows))
                return
            self._size += len(rows)
            self._waiting.append(Asked(rows, values))
            self._changing.notify()

    def look(self) -> None:
        """Ask the registry once which version is on trial, and load it if it is another."""
        try:
            release = aliased_release(self._uri, self._model.name, CHALLENGER, self._login)
            if release is None:
                self._swap(None)
            elif (self._served is None or self._served.release != release) and not self._passed_over.holds(release):
                self._swap(None)  # what was on trial is no longer
                self._load(release)
        except RegistryUnusableError as error:  # the version that is there goes on
            self.error = str(error)

    def answer(self, until: float = math.inf) -> None:
        """Ask the challenger for what waits, and log what it answers; begin nothing after a moment (monotonic)."""
        while self._waiting and not self._stopping and time.monotonic() < until:
            with self._changing:
                asked = self._waiting.popleft()
                self._size -= len(asked.rows)
            if (served := self._served) is None:
                continue
            try:
                answers = self._answers(served, asked.values)
            except Exception as error:
                logger.exception("challenger_failed", model=self._model.name, reason=str(error))
                answers = [None] * len(asked.rows)
            failed = sum(answer is None for answer in answers)
            try:
                self.log.append([_shadow(row, a, served) for row, a in zip(asked.rows, answers, strict=True)])
            except Exception as error:  # a full disk: the prediction log tells of it too
                logger.exception("challenger_not_logged", model=self._model.name, reason=str(error))
                self._metrics.asked("left_out", len(asked.rows))
                continue
            self._metrics.asked("failed", failed)
            self._metrics.asked("answered", len(answers) - failed)

    def _answers(self, served: ServedModel, values: Sequence[Sequence[Any]]) -> list[str | float | None]:
        """Return an answer for each row, None where there is none."""
        predicted, _ = served.onnx.predict(served.onnx.rows(values))
        given = served.onnx.answered(predicted)
        return [answer if is_given else None for answer, is_given in zip(predicted.tolist(), given, strict=True)]

    def _load(self, release: Release) -> None:
        try:
            content = download(self._uri, self._model.name, release, self._login)
            self._swap(load_tried(content, self._model, release))
        except RegistryUnusableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the champion serves
            self._passed_over.note(release, error)
            self.error = f"version {release.version}: {error}"
            logger.error("challenger_refused", model=self._model.name, reason=self.error)  # noqa: TRY400 - for a person

    def _swap(self, served: ServedModel | None) -> None:
        before, self._served, self.error = self._served, served, None
        if before is not served:
            self._metrics.version.set(float(served.release.version) if served else 0)
            version = served.release.version if served else None
            logger.info("challenger_changed", model=self._model.name, version=version)

    def _run(self) -> None:
        poll_at = 0.0
        while not self._stopping:
            try:
                if time.monotonic() >= poll_at:
                    poll_at = time.monotonic() + self._poll_seconds
                    self.look()
                self.answer(poll_at)
            except Exception as error:
                logger.exception("challenger_failed", model=self._model.name, reason=str(error))
            with self._changing:
                if not self._waiting and not self._stopping:
                    self._changing.wait(max(0.0, poll_at - time.monotonic()))


def _shadow(row: Row, prediction: str | float | None, served: ServedModel) -> Row:
    return shadow_row(
        prediction_id=row_id(row),
        timestamp=row_time(row),
        prediction=prediction,
        model_version=served.release.version,
    )
