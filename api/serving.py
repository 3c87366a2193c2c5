"""The model that a worker answers with: that of the committed copy, from the moment that it is committed."""

import threading
from dataclasses import dataclass

import structlog

from api.handover import Handover
from api.metrics import APIMetrics
from api.model import (
    CopyDamagedError,
    CopyUnreadableError,
    ModelRefusedError,
    ModelUnprovenError,
    Release,
    ServedModel,
    Stamp,
    load,
    read_copy,
)
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError

logger = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Prepared:
    """What was loaded from the file that is laid ready; None if it cannot be served."""

    stamp: Stamp
    served: ServedModel | None


class Serving:
    """One worker's models: the one that serves and, during a change, the next."""

    def __init__(self, handover: Handover, model: Model, metrics: APIMetrics) -> None:
        self.error: str | None = None
        self._served: ServedModel | None = None
        self._handover = handover
        self._model = model
        self._metrics = metrics
        self._seen: Stamp | None = None  # the committed file that was looked at last
        self._intact = False  # it holds what serves
        self._behind = False  # it may hold another version, which this worker cannot load
        self._prepared: _Prepared | None = None
        self._changing = threading.Lock()

    def current(self) -> ServedModel | None:
        """Return the model to answer with; None if there is none.

        The committed file is looked at in each call: what was committed before the call is what the caller gets.
        """
        if self._handover.committed() != self._seen:
            self._change_over()
        return self._served

    def holds(self, release: Release) -> bool:
        """Say whether all is done for a version: it serves, and its file is committed and can be read."""
        return self.serves(release) and self._intact

    def serves(self, release: Release) -> bool:
        """Say whether a version serves, be it from a file or not."""
        served = self.current()
        return served is not None and served.release == release

    def prepare(self) -> None:
        """Load what is laid ready, if it is another file than before, beside what serves, and say so."""
        stamp = self._handover.staged()
        if stamp is None or (self._prepared and self._prepared.stamp == stamp):
            return
        served: ServedModel | None = None
        try:
            copy = read_copy(self._handover.staged_path)
            if copy is None:  # it is committed already
                return
            stamp = copy.stamp
            served = load(copy.content, self._model, copy.release, "registry")
        except (CopyUnreadableError, ModelUnprovenError) as error:
            self._refuse("the next model", error)
            return
        except ModelRefusedError as error:
            self._refuse("the next model", error)
        self.take(stamp, served)

    def take(self, stamp: Stamp, served: ServedModel | None) -> None:
        """Have the model of the file that is laid ready at hand, and say that it is."""
        with self._changing:
            self._prepared = _Prepared(stamp, served)
        if served is not None:
            self._handover.ready(stamp)

    def serve_alone(self, served: ServedModel) -> None:
        """Serve a model that cannot be kept in a file, until another one is committed."""
        with self._changing:
            self._swap(served, "loaded")

    def retry(self) -> None:
        """Try once more to load what the others serve."""
        if self._behind:
            self._seen = None

    def _change_over(self) -> None:
        with self._changing:
            while (stamp := self._handover.committed()) != self._seen:
                prepared, self._prepared = self._prepared, None
                if prepared and prepared.stamp == stamp and prepared.served:
                    self._swap(prepared.served, "loaded")
                    self._intact = True
                    self._seen = stamp  # last: by it requests know that nothing is left to do
                else:
                    self._seen = self._load_committed(stamp)

    def _load_committed(self, stamp: Stamp | None) -> Stamp | None:
        """Load the committed copy, while requests wait, and return which file it was.

        A worker that cannot load what the others serve, or not even read it, has no model until it can: it must not
        stay behind them. A file that is no copy was never committed: what serves serves on.
        """
        release = None
        self._intact = False
        try:
            copy = read_copy(self._handover.path)
            if copy is None:
                return None
            stamp, release = copy.stamp, copy.release
            if self._served is None:
                self._swap(load(copy.content, self._model, release, "local copy"), "loaded")
            elif self._served.release != release:
                self._swap(load(copy.content, self._model, release, "registry"), "late")
            self._intact, self.error = True, None
        except (CopyUnreadableError, ModelUnprovenError) as error:
            self._refuse("local copy", error)
            self._served, self._behind = None, True
        except ModelRefusedError as error:
            self._refuse("local copy", error)
            if release and self._served:
                self._served, self._behind = None, True
        return stamp

    def _swap(self, served: ServedModel, outcome: str) -> None:
        before, self._served = self._served, served
        self._behind, self.error = False, None
        self._metrics.serves(served.release.version, before.release.version if before else None)
        self._metrics.model_loads.labels(outcome).inc()
        logger.info(
            "model_loaded",
            model=self._model.name,
            version=served.release.version,
            before=before.release.version if before else None,
            source=served.source,
            outcome=outcome,
        )

    def _refuse(self, which: str, error: DriftloopError) -> None:
        outcomes = {CopyDamagedError: "copy_damaged", CopyUnreadableError: "failed", ModelUnprovenError: "failed"}
        self._metrics.model_loads.labels(outcomes.get(type(error), "refused")).inc()
        reason = f"{which}: {error}"
        if reason != self.error:
            logger.error("model_copy_refused", model=self._model.name, reason=reason)
        self.error = reason
