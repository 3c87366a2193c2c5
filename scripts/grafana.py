"""Grafana beside the local processes, where its binary is on PATH: settings and dashboards as in containers."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
PORT = 3000
_HOMES = ("..", "../share/grafana", "../../usr/share/grafana", "/usr/share/grafana")  # an archive, Homebrew, packages

_OPEN = {"auth_anonymous_enabled": "true", "auth_disable_login_form": "true", "auth_basic_enabled": "false"}


@dataclass(frozen=True)
class Grafana:
    """An installed Grafana, by the folder of its pages and defaults."""

    home: Path

    def environment(self, state: Path, port: int, password: str | None) -> dict[str, str]:
        """Return what makes it serve the dashboards from a folder of state on 127.0.0.1.

        Without a password everybody may look and nobody may log in; with one it is the user admin's, as in containers.
        """
        told = {
            **{f"paths_{name}": str(state / name) for name in ("data", "logs", "plugins", "provisioning")},
            "server_http_addr": "127.0.0.1",
            "server_http_port": str(port),
            "server_root_url": f"http://127.0.0.1:{port}/",
            "log_level": "warn",
            **({"security_admin_password": password} if password else _OPEN),
        }
        return {
            **_quiet(),
            **{f"GF_{key.upper()}": value for key, value in told.items()},
            "GRAFANA_HOME": str(self.home),
        }


def find_grafana(path: str | None = None) -> Grafana | None:
    """Return the Grafana on PATH, or None where none is, or one whose pages are neither found nor in GRAFANA_HOME."""
    found = shutil.which("grafana", path=path)
    if found is None:
        return None
    homes = [Path(found).resolve().parent / home for home in _HOMES]
    if given := os.environ.get("GRAFANA_HOME"):
        homes = [Path(given)]
    return next((Grafana(home.resolve()) for home in homes if (home / "conf/defaults.ini").is_file()), None)


def dashboards_provider(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the committed provider of dashboards with their folder on this machine."""
    folder = str(ROOT / "grafana/dashboards").replace("$", "$$")  # Grafana takes $NAME for a variable
    providers = [{**one, "options": {**one["options"], "path": folder}} for one in content["providers"]]
    return {**content, "providers": providers}


def _quiet() -> dict[str, str]:
    """Return what Grafana is told in containers, but for what belongs to these: it calls nobody."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    told = compose["services"]["grafana"]["environment"]
    return {k: v for k, v in told.items() if k.startswith("GF_") and not v.startswith(("/", "http"))}
