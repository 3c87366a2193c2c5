"""The models that one worker process serves: that of one config file, or one for each file of a folder.

Each model has a Service, which starts, fails, follows its champion and ends by itself. Each worker looks at the folder
every second, so that a file that is added, changed or removed counts without a restart.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import structlog

from api.metrics import RequestMetrics, render
from api.problems import Problem, shown
from api.service import Service
from api.settings import APISettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_configs, printable
from monitoring.contract.errors import ConfigError
from monitoring.contract.storage import Stamp, stamp

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
        self.faults: dict[str, str] = {}  # why a file of the folder cannot be used, by its name
        self._settings = settings
        self._folder = settings.driftloop_config
        self._services: dict[str, Service] = {}
        self._names: dict[Path, str] = {}  # of the models, as their files could be read last
        self._seen: dict[Path, Stamp | None] | None = None  # the files, as they were last taken over
        self._missing: set[str] = set()  # models without a file at the last look
        self._leaving: list[Service] = []  # which requests may still use
        self._uses: Counter[int] = Counter()  # requests under way, by their service's identity
        self._using = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follow-folder", daemon=True)
        self._take_over(settings.read_configs())
        self.metrics = RequestMetrics("") if self.many else self._services[self.first].metrics  # of no model's requests
        if self.many:
            self._thread.start()

    @property
    def services(self) -> dict[str, Service]:
        """Return the models that are served, by name, in the files' order."""
        return dict(self._services)

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
        _, top, name, *_ = [*path.split("/", 3), "", ""]
        name = unquote(name) if top == "models" else self.first
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
        try:
            files = {path: stamp(path) for path in self._folder.iterdir()}
            if files != self._seen or self._missing:
                self._take_over(load_configs(self._folder))
                self._seen = files
        except (OSError, ConfigError) as error:  # each model serves on as it did
            self._seen = None
            self._tell({**self.faults, str(self._folder): f"{self._folder}: cannot be listed: {error}"})

    def _follow(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                logger.exception("model_folder_failed", folder=str(self._folder))

    def _take_over(self, configs: dict[Path, Config | ConfigError]) -> None:
        """Serve the models of these files and no others, but for two that are served as they were.

        These are the model of a file that cannot be used any more, and for one look that of a file that is gone: an
        editor may be about to put another in its place.
        """
        found: dict[str, Service] = {}
        faults: dict[str, str] = {}
        sound = {path: config for path, config in configs.items() if isinstance(config, Config)}
        for path, config in sound.items():
            self._names[path] = name = config.model.name
            service = self._started(config, len(sound), faults)
            if service is not None:
                found[name] = service
        faults |= {
            printable(path.name): str(error) for path, error in configs.items() if isinstance(error, ConfigError)
        }
        faulty = {self._names.get(path, "") for path in configs.keys() - sound.keys()}
        gone = self._services.keys() - found.keys() - faulty
        ended, self._missing = gone & self._missing, gone - self._missing
        kept = {name: service for name, service in self._services.items() if name not in ended}
        self._serve(kept | found, [*map(self._names.get, configs)])
        self._names = {path: name for path, name in self._names.items() if path in configs}
        self.first = self._names.get(next(iter(configs), self._folder), "")
        self._tell(faults)

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
            service = Service.start(settings, config, keys=self.keys, many=self.many)
        except Exception as error:
            if not self.many:
                raise
            logger.exception("model_not_started", model=name)
            faults[name] = f"the model {name} cannot be started: {error!r}"
            return serving
        if self.many:
            logger.info("model_started" if serving is None else "model_started_anew", model=name)
        return service

    def _serve(self, services: dict[str, Service], order: list[str | None]) -> None:
        """Serve these from now on; those that are served no longer are closed once no request uses them."""
        services = {name: services[name] for name in dict.fromkeys([*order, *services]) if name in services}
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

    def _tell(self, faults: dict[str, str]) -> None:
        for file, fault in faults.items():
            if self.faults.get(file) != fault:
                logger.error("config_unusable", file=file, reason=fault)
        self.faults = faults

    def _absent(self, name: str) -> Problem:
        """Return the 503 of a model whose file is faulty, by its stem or by the name that it had; else the 404."""
        files = {printable(path.name) for path, named in self._names.items() if named == name}
        for file in (*files, f"{name}.yml", f"{name}.yaml", name):
            if file in self.faults:
                return Problem(503, "model_unavailable", self.faults[file], retry_after=_RETRY_SECONDS)
        if not name:
            why = "; ".join(self.faults.values()) or f"{self._folder} has no *.yml"
            return Problem(503, "model_unavailable", f"there is no first model: {why}", retry_after=_RETRY_SECONDS)
        return Problem(404, "unknown_model", f"there is no model {shown(name)}; GET /models lists what there is")


def _is_served_as(before: Config, now: Config) -> bool:
    """Say whether a change of the config is none to the API."""
    return (before.model, before.retrain.rollout) == (now.model, now.retrain.rollout)
