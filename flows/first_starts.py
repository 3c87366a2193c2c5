"""The first starts of many models: a run of `bootstrap` for each as soon as its file is there, or changes."""

import threading
import time
import uuid
from pathlib import Path

import structlog

from flows.clients.prefect import DEPLOYMENT, Prefect, parameters_of, tags_of
from flows.watched_models import usable_models
from monitoring.contract.config import Config

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0


class FirstStarts:
    """Asks for the runs that are due in a folder of config files; one that fails is asked for again with its file."""

    def __init__(self, prefect: Prefect, folder: Path) -> None:
        self._prefect, self._folder = prefect, folder
        self._asked: dict[str, Config] = {}
        self._process = uuid.uuid4().hex  # a start of the service looks at each model once more

    def start(self) -> None:
        """Look for as long as the process lives."""
        threading.Thread(target=self._look_forever, name="first-starts", daemon=True).start()

    def look(self) -> None:
        """Ask for a run for each model that is new or whose config has changed."""
        models = usable_models(self._folder)
        for name, config in models.items():
            if self._asked.get(name) != config:
                deployment = self._prefect.deployment_id("bootstrap", DEPLOYMENT)
                key = f"{self._process}:{name}:{hash(repr(config))}"
                self._prefect.create_run(deployment, key, tags_of(name), parameters_of(name), who="the start")
                self._asked[name] = config
                log.info("first_start_asked_for", model=name)
        self._asked = {name: config for name, config in self._asked.items() if name in models}

    def _look_forever(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - Prefect may be away; looking must go on
                log.warning("first_starts_wait", reason=str(error) or repr(error))
            time.sleep(LOOK_SECONDS)
