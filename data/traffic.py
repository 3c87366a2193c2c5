"""A client of the API: rows at a constant rate, labels that arrive later, drifts on demand."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Annotated, Any

import numpy as np
import requests
import structlog
from pydantic import BaseModel, ConfigDict, Field

from data.delivery import Delivery
from data.drifts import ActiveDrifts, choose, load_drifts
from data.sources import drawn, replayed, resampled
from data.statistics import Rows
from monitoring.contract.config_file import load_config

log = structlog.get_logger(__name__)

_STEP = 0.5  # seconds between checks for labels that are due
_SLACK = 0.1  # seconds that traffic may lag behind and catch up; what is later is left out, so that nothing bursts
_LABELS_A_REQUEST = 200
_LATER = 1.0  # seconds until labels that could not be posted are tried again
_GRACE = 30.0  # seconds that an unreachable API has for the last labels

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TrafficSettings(BaseModel):
    """What to send where; each field is an option of the command line too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="http://127.0.0.1:5050", pattern="^https?://", description="the API (default from API_URL: %(default)s)"
    )
    rate: Positive = Field(default=20.0, description="rows a second (default: %(default)s)")
    batch: int = Field(default=1, ge=1, le=100_000, description="rows a request; 1 sends single predictions")
    duration: Positive | None = Field(default=None, description="seconds to send for (default: until stopped)")
    rows: int | None = Field(default=None, gt=0, description="rows to send at most (default: no limit)")
    seed: int | None = Field(default=None, ge=0, description="the same seed gives the same rows (default: other ones)")
    label_delay: float = Field(default=5.0, ge=0, description="seconds until a row's label (default: %(default)s)")
    label_share: float = Field(default=1.0, ge=0, le=1, description="share of rows that get one (default: %(default)s)")
    tracks: Path | None = Field(default=None, description="Parquet of labelled rows to resample (default: drawn)")
    in_order: bool = Field(default=False, description="send the tracks as they are, one after the other (%(default)s)")
    jitter: float = Field(default=0.05, ge=0, description="noise on tracks, in standard deviations (%(default)s)")
    api_key_file: Path | None = Field(default=None, description="file with the API's key (default from API_KEY_FILE)")
    config: Path = Field(default=Path("monitoring/config.yml"), description="the model (default: %(default)s)")


@dataclass(frozen=True)
class Counts:
    """Rows and labels so far, by their outcome."""

    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    retries: int = 0
    labels: int = 0
    labels_refused: int = 0
    labels_due: int = 0


class Traffic:
    """A client in a thread of its own: start(), set_drifts([...]), counts(), stop()."""

    def __init__(self, settings: TrafficSettings, acknowledged: Callable[[list[str]], None] | None = None) -> None:
        """Tell `acknowledged` the prediction ids of each request that was answered, if it is given."""
        self._settings = settings
        self._acknowledged = acknowledged
        self._model = load_config(settings.config).model
        tracks = settings.tracks
        if tracks is None:
            self._source = drawn(self._model)
        elif settings.in_order:
            self._source = replayed(self._model, tracks)
        else:
            self._source = resampled(self._model, tracks, settings.jitter)
        self._rng = np.random.default_rng(settings.seed)
        self._known = load_drifts()
        self._drifts = ActiveDrifts()
        self._counts = Counts()
        self._due: deque[tuple[float, str, str | float]] = deque()  # when, prediction_id, label
        self._stopping = Event()
        key = settings.api_key_file.read_text().strip() if settings.api_key_file else None
        self._delivery = Delivery(settings.url, self._stopping, key)
        self._thread = Thread(target=self._run, name="traffic", daemon=True)
        self._error: Exception | None = None

    def start(self) -> None:
        """Start to send."""
        self._thread.start()

    def set_drifts(self, names: Iterable[str], strength: float = 1.0) -> None:
        """Let these drifts, and no others, act from the next request on; raise DriftError for an unknown one."""
        self._drifts = choose(self._known, names, self._model, strength)

    def counts(self) -> Counts:
        """Return the counts so far."""
        return replace(self._counts, retries=self._delivery.retries, labels_due=len(self._due))

    def wait(self, seconds: float) -> bool:
        """Wait for the end of a bounded run at most so long; return whether it has ended, raise what ended it badly."""
        self._thread.join(seconds)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop at once, without the labels that are still due; harmless if nothing runs."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            self._send_all()
            end = time.monotonic() + self._settings.label_delay + _GRACE
            while self._due and time.monotonic() < end and not self._stopping.wait(self._until_labels_due()):
                self._post_due_labels()
        except Exception as error:  # a thread's end must reach the one who waits for it
            self._error = error
            log.exception("traffic_failed")
        finally:
            self._delivery.close()

    def _send_all(self) -> None:
        settings = self._settings
        due = time.monotonic()
        end = due + settings.duration if settings.duration else math.inf
        left = settings.rows or math.inf
        while left > 0 and self._pause(due, end):
            rows = int(min(settings.batch, left))
            self._send(rows, end)
            left -= rows
            due = max(due + rows / settings.rate, time.monotonic() - _SLACK)

    def _pause(self, due: float, end: float) -> bool:
        """Wait until the next request is due, posting labels meanwhile; return whether there is to be one."""
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= end:
                return False
            if self._due and self._due[0][0] <= now - _STEP:  # not a request for every single label
                self._post_due_labels()
            elif now >= due:
                return True
            else:
                self._stopping.wait(min(due - now, end - now, _STEP))
        return False

    def _send(self, rows: int, end: float) -> None:
        drifts = self._drifts
        source = self._source
        values, true = source.draw(self._rng, rows, drifts.mix(source.baseline))
        instances = self._instances(drifts.apply(values, self._model.features, self._rng, source.levels))
        labels = drifts.relabel(true, self._model.categories, self._rng)
        body = {"features": instances[0]} if self._settings.batch == 1 else {"instances": instances}
        self._count(sent=rows)
        response = self._delivery.post("/predict", body, end)
        if response is None:
            return
        ids = _prediction_ids(response)
        if len(ids) != rows:
            self._count(refused=rows)
            log.warning("rows_refused", status=response.status_code, answer=response.text[:500])
            return
        self._count(acknowledged=rows)
        if self._acknowledged is not None:
            self._acknowledged(ids)
        labelled = self._rng.random(rows) < self._settings.label_share
        when = time.monotonic() + self._settings.label_delay
        self._due.extend((when, i, c) for i, c, yes in zip(ids, labels.tolist(), labelled, strict=True) if yes)

    def _instances(self, values: Rows) -> list[dict[str, float | str | None]]:
        names = self._model.features
        return [
            {name: None if value != value else value for name, value in zip(names, row, strict=True)}  # noqa: PLR0124
            for row in values.tolist()
        ]

    def _until_labels_due(self) -> float:
        first, last = self._due[0][0], self._due[-1][0]
        return max(0.0, min(first + _STEP, max(first, last)) - time.monotonic())

    def _post_due_labels(self) -> None:
        labels: list[dict[str, str | float]] = []
        while self._due and self._due[0][0] <= time.monotonic() and len(labels) < _LABELS_A_REQUEST:
            _, prediction_id, label = self._due.popleft()
            labels.append({"prediction_id": prediction_id, self._model.target: label})
        if labels:
            self._post_labels(labels)

    def _post_labels(self, labels: list[dict[str, Any]]) -> None:
        """Post labels; the answer tells of each whether it was of use."""
        response = self._delivery.post("/feedback", labels)
        if response is None:  # later, so that a broken feedback does not hold the predictions up
            when = time.monotonic() + _LATER
            self._due.extendleft((when, one["prediction_id"], one[self._model.target]) for one in reversed(labels))
            return
        refused = _refused_labels(response, len(labels))
        self._count(labels=len(labels) - len(refused), labels_refused=len(refused))
        if refused:
            log.warning("labels_refused", status=response.status_code, labels=len(refused), first=str(refused[0])[:500])

    def _count(self, **more: int) -> None:
        now = self._counts
        self._counts = replace(now, **{name: getattr(now, name) + number for name, number in more.items()})


def _prediction_ids(response: requests.Response) -> list[str]:
    """Return the ids in an answer of 200; none if it is another answer."""
    try:
        answer: Any = response.json() if response.ok else {}
        return [one["prediction_id"] for one in answer.get("predictions", [answer])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _refused_labels(response: requests.Response, sent: int) -> list[Any]:
    """Return what an answer says of each label that is of no use; of all, where it is none of 200."""
    if not response.ok:
        return [response.text] * sent
    return [result for result in response.json()["results"] if result["status"] in ("unknown", "invalid")]
