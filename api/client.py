"""Logs a service's predictions to `POST /log` of driftloop, in the background. Copy this one file into your service.

    log = LogClient("http://driftloop-api:5050", prediction="predicted_minutes")
    prediction_id = log.log({"distance": 2.5, "zone": "airport"}, 11.0)

It needs `requests` and nothing else. `log` returns at once and never raises. Rows wait in memory, up to a number of
bytes; of more the oldest are dropped. Rows are sent again until the API has them, which is safe because their ids are
made here. What was refused or dropped is counted (`counts`) and told in the log of Python's `logging`.
"""

import atexit
import json
import logging
import math
import os
import random
import re
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import requests

logger = logging.getLogger("driftloop.client")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATIENCE = (5.0, 30.0)  # seconds to connect, and between two bytes of an answer
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a batch is sent again
_TELL_SECONDS = 60.0
_LOST = "predictions are not logged, of all so far: %s; the last because %s"
_MISSING = ("NAType", "NaTType")
_ROW = re.compile(r"rows\[([0-9]+)\]")
_LOGGED = {"logged", "known"}  # numbers in an answer
_OK, _TOO_LARGE, _UNFIT = 200, 413, (400, 413, 415, 422)


class LogClient:
    """Logs predictions, in batches, from a thread that each process starts with its first row.

    `prediction` is the name of the prediction's field, as `model.prediction` in the config of the API at `url`. `model`
    is the model's name, where the API has many; without it the first one is meant. `key` is an API key, if it asks for
    one. At most `most_bytes` of rows wait, and are sent when there are `batch_rows` of
    them or the first has waited for `batch_seconds`.
    """

    def __init__(
        self,
        url: str,
        *,
        prediction: str = "prediction",
        model: str | None = None,
        key: str | None = None,
        batch_rows: int = 500,
        batch_seconds: float = 1.0,
        most_bytes: int = 64_000_000,
    ) -> None:
        self._url = url.rstrip("/") + ("/log" if model is None else f"/models/{quote(model, safe='')}/log")
        self._prediction = prediction
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key.strip()}"
        self._batch_rows = batch_rows
        self._batch_seconds = batch_seconds
        self._most_bytes = most_bytes
        self.begin()
        _CLIENTS.add(self)

    def begin(self) -> None:
        """Begin anew, as a process that was forked does: the rows that wait are its parent's, and so is the thread."""
        self._counts: Counter[str] = Counter()
        self._waiting: deque[bytes] = deque()
        self._sending: list[bytes] = []  # taken out of these, and not answered yet
        self._bytes = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = self._given_up = False
        self._why = ""  # a batch could not be sent the last time
        self._told: dict[str, float] = {}  # when, by what
        self._untold: tuple[dict[str, int], str] | None = None  # what was lost since the log told of it

    def log(
        self,
        features: Mapping[str, Any],
        prediction: Any,
        *,
        prediction_id: str | None = None,
        timestamp: datetime | None = None,
        **more: Any,
    ) -> str:
        """Take a row to be logged, and return its id, by which labels come later.

        `more` are fields like `confidence`, `model_version`, `probabilities`, or the label. A number that is none
        (NaN) is missing, and so are pandas' NA and NaT; numpy's numbers are numbers. `timestamp` is now, unless it is
        given, and in UTC, unless it says otherwise.
        """
        now = datetime.now(UTC)
        try:
            moment = now if timestamp is None else _in_utc(timestamp)
            prediction_id = _new_id(moment) if prediction_id is None else str(prediction_id)
            row = {name: _present(value) for name, value in more.items()}
            row |= {"features": {name: _present(value) for name, value in features.items()}}
            row |= {self._prediction: _present(prediction), "prediction_id": prediction_id}
            row |= {"timestamp": moment.isoformat()}
            self._take(json.dumps(row, default=_plain, allow_nan=False).encode())
        except Exception as error:  # noqa: BLE001 - the caller's request goes on, whatever this is
            self._lose("refused", 1, f"a row cannot be written: {error!r}")
        return str(_new_id(now) if prediction_id is None else prediction_id)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many rows were `logged`, `known` already, `refused`, `dropped`, and are `waiting` now.

        `failures` are the times that a batch could not be sent and was kept.
        """
        with self._changed:
            names = ("logged", "known", "refused", "dropped", "failures")
            return {name: self._counts[name] for name in names} | {"waiting": len(self._waiting)}

    def close(self, seconds: float = 5.0) -> None:
        """Send what waits, within so many seconds; what is left then is dropped, and so are later rows."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
            left = len(self._waiting) + len(self._sending)
            self._waiting.clear()
            self._sending.clear()
            self._bytes = 0
        if left:
            self._lose("dropped", left, "the client was closed before they were sent and answered")
        if self._untold is not None:  # a short job hears of all of them too
            logger.warning(_LOST, *self._untold)
            self._untold = None

    def _take(self, row: bytes) -> None:
        dropped = 0
        with self._changed:
            if self._closed:
                dropped = 1
            else:
                self._waiting.append(row)
                self._bytes += len(row)
                while self._bytes > self._most_bytes and self._waiting:
                    self._bytes -= len(self._waiting.popleft())
                    dropped += 1
                if self._thread is None:
                    self._start()
                if len(self._waiting) in (1, self._batch_rows):
                    self._changed.notify_all()
        if dropped:
            self._lose("dropped", dropped, "too many rows wait, or the client is closed")

    def _start(self) -> None:
        """Start the thread; where none can be had, the next row tries again."""
        thread = threading.Thread(target=self._run, name="driftloop-log", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._tell("predictions wait for a thread that sends them: %s", error)
        else:
            self._thread = thread

    def _lose(self, what: str, rows: int, why: str) -> None:
        """Count rows that are lost, and tell of all of them once in a while."""
        with self._changed:
            self._counts[what] += rows
            lost = {name: self._counts[name] for name in ("refused", "dropped")}
        self._untold = None if self._tell(_LOST, lost, why) else (lost, why)

    def _tell(self, message: str, *about: object) -> bool:
        """Log a message, unless it was logged a moment ago; return whether it was."""
        with self._changed:
            if time.monotonic() - self._told.get(message, float("-inf")) < _TELL_SECONDS:
                return False
            self._told[message] = time.monotonic()
        logger.warning(message, *about)
        return True

    def _run(self) -> None:
        session, pause = requests.Session(), 0.0
        while batch := self._next_batch():
            try:
                wait = self._send(session, batch)
            except Exception as error:  # noqa: BLE001 - the rows are kept, and the thread goes on
                wait, self._why = 0.0, repr(error)
            if wait is None:
                pause = 0.0
                continue
            self._keep(batch)
            pause = min(_LONGEST_PAUSE, max(wait, 2 * pause, _FIRST_PAUSE))
            self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that clients do not come back in step

    def _next_batch(self) -> list[bytes]:
        """Wait for rows and take a batch of them; none means that the client is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            deadline = time.monotonic() + self._batch_seconds
            while len(self._waiting) < self._batch_rows and not self._closed and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())
            batch = [self._waiting.popleft() for _ in range(min(self._batch_rows, len(self._waiting)))]
            self._bytes -= sum(map(len, batch))
            self._sending = batch
            return batch

    def _send(self, session: requests.Session, batch: list[bytes]) -> float | None:
        """Send a batch, and take out of it what was logged or refused.

        Return None if that is all, else how many seconds to wait, at least, before the rest is sent again.
        """
        rows = most = len(batch)
        while batch:
            status, said, wait = self._post(session, batch[:rows])
            if status == _OK:
                with self._changed:
                    if not self._given_up:
                        self._counts.update({name: int(said[name]) for name in _LOGGED})
                    del batch[:rows]
                rows = most
            elif status == _TOO_LARGE and rows > 1:
                rows = most = rows // 2
            elif status in _UNFIT:
                first, end = _refused_rows(said, rows)
                self._lose("refused", end - first, str(said.get("detail", status)))
                del batch[first:end]
                rows = first or 1  # those before it are sound; the ones behind it may be as bad
            else:
                return wait
            rows = min(rows, len(batch))
        return None

    def _post(self, session: requests.Session, rows: list[bytes]) -> tuple[int, dict[str, Any], float]:
        """Return the answer's status and content, and how many seconds the API asks to wait; 0 is no answer."""
        body = b'{"rows": [' + b",".join(rows) + b"]}"
        try:
            answer = session.post(self._url, body, headers=self._headers, timeout=_PATIENCE)
            content = answer.json() if answer.status_code in (_OK, *_UNFIT) else {}
        except (requests.ConnectionError, requests.Timeout) as error:
            self._why = str(error)
            return 0, {}, 0.0
        except (requests.RequestException, ValueError) as error:  # its text may hold the header, and so the key
            self._why = type(error).__name__
            return 0, {}, 0.0
        if not isinstance(content, dict) or (answer.status_code == _OK and not content.keys() >= _LOGGED):
            self._why = f"{answer.text[:100]!r} is no answer of the API's"
            return 0, {}, 0.0
        self._why = f"the API answered {answer.status_code}"
        return answer.status_code, content, _seconds(answer.headers.get("Retry-After"))

    def _keep(self, batch: list[bytes]) -> None:
        """Put rows back that could not be sent, as the oldest of all, as far as there is room, and tell why."""
        self._tell("predictions wait to be sent to %s again, because %s", self._url, self._why)
        with self._changed:
            self._counts["failures"] += 1
            while batch and not self._given_up and self._bytes + len(batch[-1]) <= self._most_bytes:
                self._bytes += len(batch[-1])
                self._waiting.appendleft(batch.pop())
        if batch:
            self._lose("dropped", len(batch), "there was no room, or no time, to send them again")

    def _sleep(self, seconds: float) -> None:
        """Wait so long; no longer than a moment once the client is being closed."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while time.monotonic() < deadline and not self._given_up:
                if self._closed:
                    deadline = min(deadline, time.monotonic() + _FIRST_PAUSE)
                self._changed.wait(max(0.0, deadline - time.monotonic()))


_CLIENTS: weakref.WeakSet[LogClient] = weakref.WeakSet()


def _begin_all() -> None:
    for client in list(_CLIENTS):
        client.begin()


def _close_all() -> None:
    for client in list(_CLIENTS):
        client.close()


os.register_at_fork(after_in_child=_begin_all)
atexit.register(_close_all)


def _refused_rows(problem: Mapping[str, Any], rows: int) -> tuple[int, int]:
    """Return the rows to give up, from and to: the one that the API names, or all, where it names none."""
    named = _ROW.match(str(problem.get("field")))
    place = int(named[1]) if named else rows
    return (place, place + 1) if place < rows else (0, rows)


def _new_id(moment: datetime) -> str:
    """Return a UUID of version 7: it carries the row's time, by which a label finds the row fastest."""
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    noise = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | (noise >> 64 & 0xFFF) << 64 | 2 << 62 | noise & (2**62 - 1)
    return str(UUID(int=value))


def _in_utc(moment: datetime) -> datetime:
    """Return a time that says its zone: UTC, unless it says another."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _present(value: Any) -> Any:
    """Return a value, or None for one that is missing: NaN, or what pandas has for that."""
    if isinstance(value, dict):
        return {name: _present(one) for name, one in value.items()}
    value = _plain(value) if hasattr(value, "item") else value
    missing = type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value))
    return None if missing else value


def _plain(value: Any) -> Any:
    """Return what JSON can write of a number of numpy's, or of a time."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is neither text nor a number")


def _seconds(retry_after: str | None) -> float:
    try:
        return min(_LONGEST_PAUSE, max(0.0, float(retry_after or 0)))
    except ValueError:
        return 0.0
