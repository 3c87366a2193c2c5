"""Following the registry: the version that the alias `champion` points at is the one that serves."""

import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import structlog

from api.bounded_get import BoundedGet, UnansweredError
from api.metrics import APIMetrics
from api.model import (
    CopyDamagedError,
    ModelRefusedError,
    Release,
    ServedModel,
    copy_path,
    load,
    load_copy,
    require_finite,
    require_intact,
    save_copy,
)
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.names import CHAMPION, MODEL_SHA256

logger = structlog.get_logger(__name__)

_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # no such model; no such alias
_REQUESTS = BoundedGet()


class RegistryUnusableError(DriftloopError):
    """The registry gave no usable answer."""


def champion_release(uri: str, name: str) -> Release | None:
    """Ask which version the alias points at; None if there is no such model or alias yet."""
    answer = _get(f"{uri}/api/2.0/mlflow/registered-models/alias", name=name, alias=CHAMPION)
    if answer.status_code in (400, 404) and any(code in answer.text for code in _ABSENT):
        return None
    version = _json(answer)["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version.get("tags", [])}
    return Release(str(version["version"]), int(version["creation_timestamp"]), tags.get(MODEL_SHA256))


def download(uri: str, name: str, release: Release) -> bytes:
    """Download a version's model.onnx through the tracking server."""
    answer = _get(f"{uri}/api/2.0/mlflow/model-versions/get-download-uri", name=name, version=release.version)
    artifacts = urlsplit(_json(answer)["artifact_uri"])
    if artifacts.scheme != "mlflow-artifacts":
        raise RegistryUnusableError(
            f"version {release.version} lies at {artifacts.geturl()}, which MLflow does not serve"
        )
    path = quote(f"{artifacts.path.strip('/')}/model.onnx")
    answer = _get(f"{uri}/api/2.0/mlflow-artifacts/artifacts/{path}")
    if not answer.ok:
        raise RegistryUnusableError(f"{answer.url}: {answer.status_code} {answer.reason}")
    return answer.content


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes one file of that name from the next; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _get(url: str, **query: str) -> requests.Response:
    try:
        return _REQUESTS.get(url, query)
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
    """Serves the champion: first from the local copy, then from the registry, swapped in place as the alias moves."""

    def __init__(self, uri: str, model: Model, cache: Path, metrics: APIMetrics, poll_seconds: float) -> None:
        self.served: ServedModel | None = None
        self.error: str | None = None
        self.polled_at: float | None = None
        self._uri = uri.rstrip("/")
        self._model = model
        self._cache = cache
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._refused: Release | None = None
        self._copy_seen: tuple[int, int] | None = None
        self._swapping = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-champion", daemon=True)

    def start(self) -> None:
        """Load the local copy if there is one, then follow the registry in a background thread."""
        self._load_copy()
        self._thread.start()

    def serving(self) -> ServedModel | None:
        """Return the model that serves; a worker without one loads the copy that another may have kept meanwhile.

        So a client that one worker told it was ready is not turned away by the next.
        """
        if self.served is None:
            self._load_copy()
        return self.served

    def _load_copy(self) -> None:
        with self._swapping:
            stamp = _stamp(copy_path(self._cache, self._model.name))
            if self.served is not None or stamp == self._copy_seen:
                return
            self._copy_seen = stamp  # one that is refused is not tried again
            try:
                if served := load_copy(self._cache, self._model):
                    self._swap(served)
            except ModelRefusedError as error:
                damaged = isinstance(error, CopyDamagedError)
                self._fail("copy_damaged" if damaged else "refused", f"local copy: {error}")

    def close(self) -> None:
        """Stop following; a download under way is not waited for."""
        self._stop.set()

    def poll(self) -> None:
        """Ask the registry once, and serve the champion's version from now on if it is another one that fits."""
        try:
            self._take_over()
        except RegistryUnusableError as error:
            self._fail("unreachable", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the former version serves on
            self._fail("failed", repr(error))

    def _take_over(self) -> None:
        release = champion_release(self._uri, self._model.name)
        if release is None:
            self._note(f"the registry has no {self._model.name} with the alias {CHAMPION} yet")
            return
        if self.served is not None and release == self.served.release:
            self._note(None)
            return
        if release == self._refused:
            return
        content = download(self._uri, self._model.name, release)
        try:
            require_intact(content, release)
            require_finite(content, self._model)
            served = load(content, self._model, release, "registry")
        except ModelRefusedError as error:
            self._refused = release
            self._fail("refused", f"version {release.version}: {error}")
            return
        problem = self._keep_copy(release, content)
        with self._swapping:
            self._swap(served)
        if problem is None:
            self._note(None)
        else:
            self._fail("copy_failed", problem)

    def _keep_copy(self, release: Release, content: bytes) -> str | None:
        """Keep the copy for the next start and the other workers; return why it cannot be kept."""
        try:
            save_copy(self._cache, self._model.name, release, content)
        except OSError as error:
            return f"the local copy cannot be written: {error}"
        return None

    def _swap(self, served: ServedModel) -> None:
        before, self.served = self.served, served
        self._metrics.serves(served.release.version, before.release.version if before else None)
        self._metrics.model_loads.labels("loaded").inc()
        logger.info(
            "model_loaded",
            version=served.release.version,
            before=before.release.version if before else None,
            source=served.source,
        )

    def _note(self, state: str | None) -> None:
        """Keep what the last poll found, and log it once when it changes."""
        if state != self.error:
            logger.info("model_poll_changed", state=state or "follows the registry")
        self.error = state

    def _fail(self, outcome: str, reason: str) -> None:
        self._metrics.model_loads.labels(outcome).inc()
        if reason != self.error:
            logger.error("model_poll_failed", outcome=outcome, reason=reason)
        self.error = reason

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self.polled_at = time.time()
            self._stop.wait(self._poll_seconds)
