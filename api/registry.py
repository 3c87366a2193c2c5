"""Following the registry: the version that the alias `champion` points at is the one that serves."""

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import structlog

from api.bounded_get import BoundedGet, TooLargeError, UnansweredError
from api.handover import Handover
from api.metrics import APIMetrics
from api.model import (
    ModelRefusedError,
    ModelUnprovenError,
    PassedOver,
    Release,
    ServedModel,
    Stamp,
    load_tried,
)
from api.serving import Serving
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.logins import Login
from monitoring.contract.names import (
    CHAMPION,
    LEAD_SECONDS,
    MODEL_FILE,
    MODEL_SHA256,
    ONNX_FILE,
    PYFUNC_FILE,
    SERVES_FROM,
)

logger = structlog.get_logger(__name__)

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; no such alias
_FORBIDDEN = 403
_REQUESTS = BoundedGet()
_LOOK_SECONDS = 0.2  # between two looks for what the leader has laid ready


class RegistryUnusableError(DriftloopError):
    """The registry gave no usable answer."""


def champion_release(uri: str, name: str, login: Login | None = None) -> Release | None:
    """Ask which version is champion; None if there is no such model or alias yet."""
    return aliased_release(uri, name, CHAMPION, login)


def aliased_release(uri: str, name: str, alias: str, login: Login | None = None) -> Release | None:
    """Ask which version the alias points at; None if there is no such model or alias yet."""
    answer = _get(f"{uri}/api/2.0/mlflow/registered-models/alias", login, name=name, alias=alias)
    # With accounts MLflow refuses to look for an alias of a model that is not there.
    models = f"{uri}/api/2.0/mlflow/registered-models/get"
    if _is_absent(answer) or (answer.status_code == _FORBIDDEN and _is_absent(_get(models, login, name=name))):
        return None
    version = _json(answer)["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
    return Release(
        str(version["version"]),
        int(version["creation_timestamp"]),
        tags.get(MODEL_SHA256),
        _seconds(tags.get(SERVES_FROM)),
        PYFUNC_FILE if tags.get(MODEL_FILE) == PYFUNC_FILE else ONNX_FILE,
    )


def _is_absent(answer: requests.Response) -> bool:
    return answer.status_code in (400, 404) and any(code in answer.text for code in _ABSENT)


def _seconds(moment: str | None) -> float | None:
    """Return a tag's time in seconds since 1970; None for one that a hand has written so that it is none."""
    try:
        return datetime.fromisoformat(moment).timestamp() if moment else None
    except (ValueError, OverflowError):
        return None


def download(uri: str, name: str, release: Release, login: Login | None = None) -> bytes:
    """Download a version's artifact through the tracking server.

    Raise ModelUnprovenError if it is larger than a copy may be, RegistryUnusableError if it does not come.
    """
    answer = _get(f"{uri}/api/2.0/mlflow/model-versions/get-download-uri", login, name=name, version=release.version)
    artifacts = urlsplit(_json(answer)["artifact_uri"])
    if artifacts.scheme != "mlflow-artifacts":
        raise RegistryUnusableError(
            f"version {release.version} lies at {artifacts.geturl()}, which MLflow does not serve"
        )
    path = quote(f"{artifacts.path.strip('/')}/{release.file}")
    answer = _get(f"{uri}/api/2.0/mlflow-artifacts/artifacts/{path}", login)
    if not answer.ok:
        raise RegistryUnusableError(f"{answer.url}: {answer.status_code} {answer.reason}")
    return answer.content


def _get(url: str, login: Login | None, **query: str) -> requests.Response:
    try:
        return _REQUESTS.get(url, query, login)
    except TooLargeError as error:
        raise ModelUnprovenError(f"{url}: {error}") from error
    except UnansweredError as error:
        raise RegistryUnusableError(f"{url}: {error}") from error
    except requests.RequestException as error:
        raise RegistryUnusableError(f"{url}: {type(error).__name__}") from error


def _json(answer: requests.Response) -> Any:
    if not answer.ok:
        raise RegistryUnusableError(f"{answer.url}: {answer.status_code} {answer.text[:200]}")
    try:
        return answer.json()
    except requests.JSONDecodeError as error:
        raise RegistryUnusableError(f"{answer.url}: the answer is not JSON") from error


class Follower:
    """Has the champion served: from the local copy at first, then from the registry, whenever the alias moves.

    Of all workers that share the folder of the copy, one at a time asks the registry: the leader (`api.handover`).
    """

    def __init__(
        self,
        uri: str,
        model: Model,
        cache: Path,
        metrics: APIMetrics,
        *,
        login: Login | None = None,
        poll_seconds: float,
        patience: float = 30.0,  # seconds that the leader waits for workers that live and are not ready
        awaited: str = "",  # how the first champion comes to be
    ) -> None:
        self._error: str | None = None
        self._uri = uri.rstrip("/")
        self._login = login
        self._model = model
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._patience = patience
        self._awaited = awaited
        self._passed_over = PassedOver()
        self._unkept: str | None = None  # why no copy could be kept the last time
        self._leads = False
        self._handover = Handover(cache, model.name)
        self._serving = Serving(self._handover, model, metrics)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-champion", daemon=True)

    @property
    def error(self) -> str | None:
        """Say why this worker lacks a model, or why the leader cannot follow the registry; None if all is well."""
        if self._serving.error or self._error or self._leads:
            return self._serving.error or self._error
        return self._handover.told() or None

    def start(self) -> None:
        """Load the local copy if there is one, then follow the registry in a background thread."""
        try:
            self._handover.join()
        except OSError as error:
            self._fail("copy_failed", f"the folder of the local copy cannot be written: {error}")
        self._serving.current()
        self._thread.start()

    def serving(self) -> ServedModel | None:
        """Return the model to answer with, as it is at this moment for all workers; None if there is none."""
        return self._serving.current()

    def close(self) -> None:
        """Stop following; a download under way is not waited for."""
        self._stop.set()

    def look(self, *, asks: bool = True) -> None:
        """Do this worker's part once: load what is laid ready; the leader also asks the registry, if it is time to."""
        try:
            self._serving.prepare()
            self._serving.current()
            led, self._leads = self._leads, self._handover.leads()
            if self._leads and (asks or not led):
                self._take_over()
            elif asks and not self._leads:
                self._handover.join()
                self._error = None
        except RegistryUnusableError as error:
            self._fail("unreachable", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the former version serves on
            self._fail("failed", repr(error))

    def _follow(self) -> None:
        poll_at = 0.0
        while not self._stop.is_set():
            if due := time.monotonic() >= poll_at:
                self._serving.retry()
            self.look(asks=due)
            if due:
                poll_at = time.monotonic() + self._poll_seconds
            self._stop.wait(min(_LOOK_SECONDS, self._poll_seconds))
        self._handover.leave()

    def _take_over(self) -> None:
        """Ask the registry once, and have the champion's version served if it is another one that fits."""
        release = champion_release(self._uri, self._model.name, self._login)
        if release is None:
            hint = f"; {self._awaited}" if self._awaited else ""
            self._note(f"the registry has no {self._model.name} with the alias {CHAMPION} yet{hint}")
            return
        if self._serving.holds(release):
            self._note(None)
            return
        if self._unkept and self._handover.alone and self._serving.serves(release):
            self._note(self._unkept)  # another try would change nothing
            return
        if self._passed_over.holds(release):
            return
        try:
            self._try_and_serve(release, download(self._uri, self._model.name, release, self._login))
        except RegistryUnusableError:
            raise
        except (ModelRefusedError, ModelUnprovenError) as error:
            self._passed_over.note(release, error)
            self._fail("refused", f"version {release.version}: {error}")
        except Exception as error:
            self._passed_over.note(release, error)
            raise

    def _try_and_serve(self, release: Release, content: bytes) -> None:
        served = load_tried(content, self._model, release)
        try:
            stamp = self._handover.stage(release, content)
        except OSError as error:
            self._serve_unkept(served, error)
            return
        self._unkept = None
        self._serving.take(stamp, served)
        self._change_together(release, stamp)

    def _change_together(self, release: Release, stamp: Stamp) -> None:
        """Wait until all workers are ready, and until the agreed moment; then let all of them change over."""
        replaces = self._serving.current() is not None
        deadline = time.monotonic() + self._patience
        while (waiting := self._handover.unready(stamp)) and time.monotonic() < deadline:
            if self._stop.wait(0.02):
                return
        ahead = (release.serves_from or 0) - time.time()
        if replaces and 0 < ahead <= 2 * LEAD_SECONDS and self._stop.wait(ahead):
            return
        logger.info("model_committed", model=self._model.name, version=release.version, workers_not_ready=waiting)
        self._handover.commit()
        self._serving.current()
        self._note(None)

    def _serve_unkept(self, served: ServedModel, error: OSError) -> None:
        """Without a file nothing can be agreed upon: the model serves only where none does, or nobody else can know."""
        self._passed_over.note(served.release, error)
        self._unkept = f"the local copy cannot be written: {error}"
        if self._handover.alone or self._serving.current() is None:
            self._serving.serve_alone(served)
        self._fail("copy_failed", self._unkept)

    def _note(self, state: str | None) -> None:
        """Keep what the last poll found, and log it once when it changes."""
        if state != self._error:
            logger.info("model_poll_changed", model=self._model.name, state=state or "follows the registry")
        self._error = state
        self._handover.tell(state or "")

    def _fail(self, outcome: str, reason: str) -> None:
        self._metrics.model_loads.labels(outcome).inc()
        if reason != self._error:
            logger.error("model_poll_failed", model=self._model.name, outcome=outcome, reason=reason)
        self._error = reason
        self._handover.tell(reason)
