"""The first starts of many models: a run of `bootstrap` for each as soon as its file is there, or changes.

One that fails is asked for again, in waits that grow: MLflow may have been away, or a file not been there yet.
"""

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from flows.clients.prefect import DEPLOYMENT, WAITING, FlowRun, Prefect, parameters_of, tags_of
from monitoring.contract.config import Config
from monitoring.contract.model_folder import ModelFolder

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0  # seconds from a run that failed to the next
_FAILED = {"FAILED", "CRASHED"}


@dataclass
class _Start:
    """What was asked for a model: its config, the run until that has gone well, the next moment, and how often."""

    config: Config
    run_id: str | None = None
    due: float = 0.0
    failures: int = 0


class FirstStarts:
    """Asks for the runs that are due in a folder of config files."""

    def __init__(self, prefect: Prefect, models: ModelFolder, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefect, self._models, self._clock = prefect, models, clock
        self._starts: dict[str, _Start] = {}

    def start(self) -> None:
        """Look for as long as the process lives."""
        threading.Thread(target=self._look_forever, name="first-starts", daemon=True).start()

    def look(self) -> None:
        """Ask for a run for each model that is new, whose config has changed, or whose last run has failed."""
        models = self._models.look()
        self._starts = {name: one for name, one in self._starts.items() if name in models}
        for name, file in models.items():
            one = self._starts.get(name)
            if one is None or one.config != file.config:
                one = self._starts[name] = _Start(file.config)
                self._ask(name, one)
            elif one.run_id is not None:
                self._follow(name, one)

    def _ask(self, name: str, one: _Start) -> None:
        deployment = self._prefect.deployment_id("bootstrap", DEPLOYMENT)
        waiting = {"type": {"any_": list(WAITING)}}
        queued = self._prefect.newest_runs("bootstrap", limit=1, tags={"all_": tags_of(name)}, state=waiting)
        one.run_id = queued[0].id if queued else self._request(name, deployment).id

    def _request(self, name: str, deployment: str) -> FlowRun:
        log.info("first_start_asked_for", model=name)
        key = uuid.uuid4().hex
        run, _ = self._prefect.create_run(deployment, key, tags_of(name), parameters_of(name), who="the start")
        return run

    def _follow(self, name: str, one: _Start) -> None:
        """Ask again for a run that has failed, after a while."""
        if one.due:
            if self._clock() >= one.due:
                one.due = 0.0
                self._ask(name, one)
            return
        run = self._prefect.run(str(one.run_id))
        if run.state_type in _FAILED:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**one.failures)
            one.failures, one.due = one.failures + 1, self._clock() + pause
            log.warning("first_start_failed", model=name, flow_run_id=run.id, again_in_seconds=pause)
        elif run.ended:
            one.run_id = None

    def _look_forever(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - Prefect may be away; looking must go on
                log.warning("first_starts_wait", reason=str(error) or repr(error))
            time.sleep(LOOK_SECONDS)
