"""Grafana as a local process: where its pages lie, what it is told, and that it is left out where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.grafana import find_grafana
from scripts.local import PROCFILE
from scripts.stack import PORTS, Stack
from tests.processes import ROOT

SAYS = """#!{python}
import json, os, sys
print(json.dumps([sys.argv[1:], {{k: v for k, v in os.environ.items() if k.startswith("GF_")}}]))
"""


def install(folder: Path, binary: str, home: str) -> str:
    """Put a Grafana that only says how it was started where an archive or a package puts it; return its PATH."""
    for path in (folder / binary, folder / home / "conf/defaults.ini"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAYS.format(python=sys.executable))
        path.chmod(0o755)
    return str((folder / binary).parent)


def run(procfile: Path, *lines: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run lines of a Procfile to their end, as `make run` does."""
    procfile.write_text("".join(f"{line}\n" for line in lines))
    main = "import sys; from pathlib import Path; from scripts.local import main; main(Path(sys.argv[1]))"
    command = [sys.executable, "-c", main, str(procfile)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def started(stack: Stack, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the arguments and settings that come in by the committed line."""
    line = next(line for line in PROCFILE.read_text().splitlines() if line.startswith("grafana: "))
    environment = stack.environment()
    environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
    done = run(tmp_path / "Procfile", line, environment=environment)
    said = next(line for line in done.stdout.splitlines() if "[[" in line)
    arguments, settings = json.loads(said[said.index("[[") :])
    return arguments, settings


@pytest.mark.parametrize(
    ("binary", "home"),
    [
        pytest.param("grafana-12/bin/grafana", "grafana-12", id="archive"),
        pytest.param("usr/sbin/grafana", "usr/share/grafana", id="package"),
        pytest.param("grafana/bin/grafana", "grafana/share/grafana", id="Homebrew"),
    ],
)
def test_its_pages_are_found_beside_the_binary(tmp_path: Path, binary: str, home: str) -> None:
    """A link on PATH leads to them too; without them, or without a binary, there is none to start."""
    path = install(tmp_path, binary, home)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/grafana").symlink_to(tmp_path / binary)
    for one in (path, str(tmp_path / "links")):
        found = find_grafana(one)
        assert found is not None
        assert found.home == tmp_path / home
    (tmp_path / home / "conf/defaults.ini").unlink()
    if not Path("/usr/share/grafana").exists():
        assert find_grafana(path) is None
    assert find_grafana(str(tmp_path)) is None


@pytest.mark.parametrize("auth", [False, True], ids=["open", "AUTH"])
def test_it_has_the_dashboards_and_asks_as_the_others_do(tmp_path: Path, *, auth: bool) -> None:
    """The provisioning names the local Prometheus and the folder of the dashboards; nobody is called at home."""
    grafana = find_grafana(install(tmp_path, "bin/grafana", "."))
    stack = Stack(tmp_path / "data", tmp_path / "state", {**PORTS, "grafana": 3131}, auth=auth, grafana=grafana)
    stack.prepare()
    arguments, settings = started(stack, tmp_path)
    assert arguments == ["server", "--homepath", str(tmp_path)]
    assert settings["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert settings["GF_SERVER_HTTP_PORT"] == "3131"
    assert settings["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
    assert not [value for value in settings.values() if "/run/secrets" in value]
    provisioning = Path(settings["GF_PATHS_PROVISIONING"])
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards/driftloop.yml").read_text())["providers"]
    assert source["url"] == "http://127.0.0.1:9090"
    assert len(list(Path(provider["options"]["path"]).glob("*.json"))) == 3
    if auth:
        secret = stack.secrets / "prometheus_password"
        assert source["secureJsonData"] == {"basicAuthPassword": f"$__file{{{secret}}}"}
        assert settings["GF_SECURITY_ADMIN_PASSWORD"] == (stack.secrets / "grafana_password").read_text()
        assert "GF_AUTH_ANONYMOUS_ENABLED" not in settings
    else:
        assert not source.keys() & {"basicAuth", "basicAuthUser", "secureJsonData"}
        assert settings["GF_AUTH_ANONYMOUS_ENABLED"] == settings["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"


def test_without_one_nothing_is_started_in_its_place(tmp_path: Path) -> None:
    """The other processes run as ever."""
    environment = Stack(tmp_path / "data", tmp_path / "state").environment()
    done = run(
        tmp_path / "Procfile", "one: echo ends; exit 3", "grafana: echo starts; exit 4", environment=environment
    )  # fmt: skip
    assert done.returncode == 3
    assert "starts" not in done.stdout
