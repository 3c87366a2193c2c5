"""A folder of configs, each with its reference and log, and the fleet that watches it."""

from pathlib import Path
from typing import Any

import yaml

from monitoring.fleet.fleet import Fleet
from monitoring.settings import MonitorSettings
from tests.unit.models import _LOANS, loans
from tests.unit.monitor_fixtures import keep_reference, log_rows, make_rows

NOWHERE = "http://127.0.0.1:9"


class Folder:
    """A folder of configs, and DATA_DIR."""

    def __init__(self, root: Path) -> None:
        self.configs, self.data = root / "configs", root / "data"
        self.configs.mkdir()

    def write(self, name: str, file: str | None = None, **changes: Any) -> None:
        content = _LOANS | changes | {"model": {**_LOANS["model"], "name": name}}
        (self.configs / (file or f"{name}.yml")).write_text(yaml.safe_dump(content))

    def fill(self, name: str, rows: int = 120, shift: float = 0.0) -> None:
        self.write(name)
        config = loans(model={**_LOANS["model"], "name": name})
        keep_reference(self.data / name, config, make_rows(config, 200))
        log_rows(self.data / name, config, make_rows(config, rows, seed=1, shift=shift))

    def fleet(self, **settings: Any) -> Fleet:
        given = {"data_dir": self.data, "prometheus_api_url": NOWHERE, "drift_alarm": "off"} | settings
        return Fleet(self.configs, MonitorSettings(**given))


def look(fleet: Fleet) -> None:
    """Scan, and give each model its turn, as `run` does in threads."""
    fleet.scan()
    for name in fleet.members:
        fleet._look(name)
