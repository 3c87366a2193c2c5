"""The models that one worker process serves: that of one config file, or one for each file of a folder.

Each model has a Service, which starts, fails, follows its champion and ends by itself. Each worker looks at the folder
every second, so that a file that is added, changed or removed counts without a restart.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

import structlog

from api.metrics import RequestMetrics, render
from api.problems import Problem, shown
from api.service import Service
from api.settings import APISettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config, printable
from monitoring.contract.model_folder import ModelFile, ModelFolder

_LOOK_SECONDS = 1.0  # between two looks at the folder
_POLLS = 5  # of the registry a second, by all models together
_SLOWEST_POLL = 5.0  # seconds, well within the LEAD_SECONDS that a change-over is announced ahead
_RETRY_SECONDS = 5

logger = structlog.get_logger(__name__)


class Fleet:
    """The models of one worker, by name; that of the first file is meant by paths without a name."""

    def __init__(self, settings: APISettings) -> None:
        """Start each model; raise ConfigError if the config is one file and cannot be used, or the folder not read."""
        self.keys = settings.read_keys()  # of which clients must send one to write
        self.many = settings.driftloop_config.is_dir()
        self.first = ""  # none, where the first file was faulty from the start
        self._settings = settings
        self._folder = ModelFolder(settings.driftloop_config, patient=True)
        self._taken: Mapping[str, ModelFile] = {}  # the files, as they were last taken over
        self._services: dict[str, Service] = {}
        self._unstarted: dict[str, str] = {}  # why a model cannot be started, by its name
        self._leaving: list[Service] = []  # which requests may still use
        self._uses: Counter[int] = Counter()  # requests under way, by their service's identity
        self._using = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-folder", daemon=True)
        self._take_over(self._folder.look() if self.many else self._only())
        self.metrics = RequestMetrics("") if self.many else self._services[self.first].metrics  # of no model's requests
        if self.many:
            self._thread.start()

    @property
    def services(self) -> dict[str, Service]:
        """Return the models that are served, by name, in the files' order."""
        return dict(self._services)

    @property
    def faults(self) -> dict[str, str]:
        """Return why a file of the folder cannot be used, or a model not be started, by its name."""
        return {printable(path.name): reason for path, reason in self._folder.faults.items()} | self._unstarted

    @contextmanager
    def used(self, name: str) -> Iterator[Service]:
        """Yield a model's service, which is not closed meanwhile; raise the Problem of one that is not there."""
        with self._using:
            service = self._services.get(name)
            if service is None:
                raise self._absent(name)
            self._uses[id(service)] += 1
        try:
            yield service
        finally:
            with self._using:
                self._uses[id(service)] -= 1

    def metrics_of(self, name: str) -> RequestMetrics:
        """Return what counts the requests for a model; those for an unknown one are no model's."""
        service = self._services.get(name)
        return self.metrics if service is None else service.metrics

    def model_of(self, path: str) -> str:
        """Return which of many models a path is about; empty if there is only one, or none of that name."""
        if not self.many:
            return ""
        _, top, name, *_ = [*unquote(path).split("/", 3), "", ""]  # whole, as whoever routes it does
        name = name if top == "models" else self.first
        return name if name in self._services else ""

    def render(self) -> bytes:
        """Return the metrics of all workers, as Prometheus text."""
        metrics = [self.metrics, *(service.metrics for service in self.services.values())]
        return render([each.registry for each in dict.fromkeys(metrics)])

    def wait_until_warm(self) -> None:
        """Wait until each model has done what takes long at its start."""
        for service in self.services.values():
            if service.extractor is not None:
                service.extractor.warmed_up.wait()

    def close(self) -> None:
        """Stop the threads and seal the journals."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for service in (*self._services.values(), *self._leaving):
            service.close()

    def look(self) -> None:
        """Look at the folder: start what is new, start anew what has changed, and end what is gone."""
        self._close_unused()
        models = self._folder.look()
        if models is not self._taken:
            self._take_over(models)

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                logger.exception("model_folder_failed", folder=str(self._folder.folder))

    def _only(self) -> Mapping[str, ModelFile]:
        """Return the model of the one config file; raise ConfigError if that cannot be used."""
        path = self._settings.driftloop_config
        config = load_config(path)
        return {config.model.name: ModelFile(path, config)}

    def _take_over(self, models: Mapping[str, ModelFile]) -> None:
        """Serve these models and no others."""
        faults: dict[str, str] = {}
        started = {name: self._started(file.config, len(models), faults) for name, file in models.items()}
        self._serve({name: service for name, service in started.items() if service is not None})
        self.first = self._folder.first if self.many else next(iter(models))
        self._taken, self._unstarted = models, faults

    def _started(self, config: Config, models: int, faults: dict[str, str]) -> Service | None:
        """Return a model's service, started anew if it has changed; None, and why, if it does not start."""
        name = config.model.name
        serving = self._services.get(name)
        if serving is not None and _is_served_as(serving.config, config):
            return serving
        settings = self._settings
        if self.many:
            poll = max(settings.model_poll_seconds, min(_SLOWEST_POLL, models / _POLLS))
            settings = settings.of_model(name).model_copy(update={"model_poll_seconds": poll})
        try:
            service = Service.start(settings, config, keys=self.keys, many=self.many, former=serving)
        except Exception as error:
            if not self.many:
                raise
            logger.exception("model_not_started", model=name)
            faults[name] = f"the model {name} cannot be started: {error!r}"
            return serving
        if self.many:
            logger.info("model_started" if serving is None else "model_started_anew", model=name)
        return service

    def _serve(self, services: dict[str, Service]) -> None:
        """Serve these from now on; those that are served no longer are closed once no request uses them."""
        with self._using:
            before, self._services = self._services, services
        for name, service in before.items():
            if services.get(name) is service:
                continue
            self._leaving.append(service)
            if name not in services:
                logger.info("model_ended", model=name)
                service.metrics.ended()

    def _close_unused(self) -> None:
        for service in list(self._leaving):
            if not self._uses[id(service)]:
                del self._uses[id(service)]
                service.close()
                self._leaving.remove(service)

    def _absent(self, name: str) -> Problem:
        """Return the 503 of a model whose file is faulty, by its stem, or that cannot be started; else the 404."""
        faults = self.faults
        for file in (f"{name}.yml", f"{name}.yaml", name):
            if file in faults:
                return Problem(503, "model_unavailable", faults[file], retry_after=_RETRY_SECONDS)
        if not name:
            why = "; ".join(faults.values()) or f"{self._folder.folder} has no *.yml"
            return Problem(503, "model_unavailable", f"there is no first model: {why}", retry_after=_RETRY_SECONDS)
        return Problem(404, "unknown_model", f"there is no model {shown(name)}; GET /models lists what there is")


def _is_served_as(before: Config, now: Config) -> bool:
    """Say whether a change of the config is none to the API."""
    return (before.model, before.retrain.rollout) == (now.model, now.retrain.rollout)
