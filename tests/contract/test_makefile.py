"""Set-up takes the newest Python that the lock serves, and says what to do where there is none."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

TOOLS = ("awk", "bash", "grep", "mkdir", "touch")


def _python(path: Path, version: str | None) -> None:
    """Put something there that says it is a Python of a version, or, with None, a shim that finds none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    minor = int(version.partition(".")[2]) if version else 0
    says = f"echo {version}; exit {int(not 11 <= minor <= 13)}" if version else "exit 127"
    path.write_text(f"#!/bin/bash\n{says}\n")
    path.chmod(0o755)


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder that holds what set-up reads, with the folder `bin` alone on PATH."""
    (folder / "scripts").mkdir()
    for name in ("Makefile", "pyproject.toml", "scripts/prometheus_tools.py", "uv.lock"):
        shutil.copy(ROOT / name, folder / name)
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder)}
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        pytest.param({"python3.11": "3.11", "python3.13": "3.13", "python3": "3.11"}, "python3.13", id="the newest"),
        pytest.param({"python3.13": None, "python3.12": "3.12"}, "python3.12", id="a shim that finds none"),
        pytest.param({"python3": "3.12"}, "python3", id="python3 alone"),
    ],
)
def test_the_newest_python_that_is_served_is_taken(there: dict[str, str | None], taken: str, tmp_path: Path) -> None:
    """Of those on PATH; a name that cannot be run is passed over."""
    for name, version in there.items():
        _python(tmp_path / "bin" / name, version)
    done = _make(tmp_path, "--dry-run", "setup")
    assert f" {taken} -m venv .venv " in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("version", "arguments", "said"),
    [
        pytest.param(None, [], "No Python 3.11, 3.12 or 3.13 is on PATH. Install one", id="none"),
        pytest.param("3.14", [], "No Python 3.11, 3.12 or 3.13 is on PATH. Install one", id="too new"),
        pytest.param("3.10", ["PYTHON=python3"], "python3 is not Python 3.11, 3.12 or 3.13; say where", id="too old"),
        pytest.param(None, ["PYTHON=/no/python3"], "/no/python3 is not there; say where Python is", id="not there"),
    ],
)
def test_set_up_says_what_to_do(version: str | None, arguments: list[str], said: str, tmp_path: Path) -> None:
    """Where no Python can be taken, in one sentence, before anything is made."""
    _python(tmp_path / "bin/python3", version)
    done = _make(tmp_path, "setup", *arguments)
    assert done.returncode
    assert said in done.stdout, done.stderr
    assert not (tmp_path / ".venv").exists()


def test_another_python_has_an_environment_of_its_own(tmp_path: Path) -> None:
    """`make test PYTHON=python3.12` beside a .venv of 3.11 leaves that as it is."""
    _python(tmp_path / "bin/python3.12", "3.12")
    _python(tmp_path / ".venv/bin/python", "3.11")
    other = _make(tmp_path, "--dry-run", "test", "PYTHON=python3.12").stdout
    assert "python3.12 -m venv .local/python3.12 " in other
    assert ".local/python3.12/bin/python -m pytest" in other
    assert ".venv/bin" not in other


def test_pyproject_and_make_serve_the_same_versions() -> None:
    """The range stands in both."""
    served = re.search(
        r'^requires-python = ">=3\.(\d+),<3\.(\d+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert served
    first, after = map(int, served.groups())
    assert f"(3, {first}) <= v <= (3, {after - 1})" in (ROOT / "Makefile").read_text()
