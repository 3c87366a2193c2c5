"""A disk that is really full, of data and metrics together: the API lives, says so, and goes on when there is room."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.processes import ROOT, eventually
from tests.unit.api_fixtures import Gunicorn, features_of, keep_champion
from tests.unit.full_disk import fill
from tests.unit.models import GENRES

KEY = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/tmp")}


def on_small_disk(disk: Path, megabytes: int) -> tuple[str, ...]:
    """Return what goes before a command, so that it finds a disk of that size there; skip where that needs rights."""
    script = f'mount -t tmpfs -o size={megabytes}m,mode=0700 tmpfs "{disk}" && exec "$@"'
    if shutil.which("unshare"):
        for rights in (("-m",), ("-r", "-m")):
            within = ("unshare", *rights, "sh", "-c", script, "sh")
            if subprocess.run([*within, "true"], capture_output=True, check=False).returncode == 0:
                return within
    pytest.skip("no small disk can be mounted here: that takes unshare, and the right to make a mount namespace")


@pytest.mark.parametrize("when", ["full", "later"])
def test_counting_needs_no_room(tmp_path: Path, when: str) -> None:
    """Where a file of metrics would have to grow on a full disk, nothing ends, and every count is there afterwards."""
    command = [*on_small_disk(tmp_path, 1), sys.executable, "-m", "tests.unit.full_disk", str(tmp_path), when]
    environment = {**KEY, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "counted"), done.stderr[-2000:]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Gunicorn, Path]]:
    """Start the API with data, metrics and temporary files on a disk of 16 MB; yield it, and the disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    keep_champion(tmp_path, GENRES)

    class Small(Gunicorn):
        within = on_small_disk(disk, 16)

    server = Small(
        disk / "data",
        "/model",
        MODEL_CACHE_DIR=str(tmp_path / "_model"),
        PROMETHEUS_MULTIPROC_DIR=str(disk / "metrics"),
        PREDICTION_LOG_RESERVE_MB="0",
    )
    try:
        yield server, Path(f"/proc/{server.master}/root{disk}")
    finally:
        server.stop()


def test_the_api_outlives_a_full_disk(server: tuple[Gunicorn, Path]) -> None:
    """Predictions are 503, metrics and health are 200, no worker ends; with room again each is 200, and counted."""
    api, disk = server
    workers = api.workers()
    row = {"features": features_of(GENRES)}

    def ask() -> int:
        return requests.post(f"{api.url}/predict", json={"instances": [row["features"]] * 50}, timeout=60).status_code

    eventually("a first answer", lambda: ask() == 200, 60)
    filler = fill(disk)
    eventually("a refusal", lambda: ask() == 503, 60)
    for path in ("/metrics", "/health", "/model"):
        assert requests.get(f"{api.url}{path}", timeout=60).status_code == 200
    for status in (400, 404, 405, 415, 422):  # each is a series that is new
        assert status_of(api, status) == status
    assert requests.get(f"{api.url}/metrics", timeout=60).status_code == 200
    assert api.workers() == workers
    filler.unlink()
    eventually("an answer", lambda: ask() == 200, 60)
    eventually("the refusals to be counted", lambda: ask() == 200 and _refused(api) >= 1, 60)
    assert api.workers() == workers


def status_of(api: Gunicorn, status: int) -> int:
    """Send a request that is answered with this status."""
    url = f"{api.url}/predict"
    match status:
        case 404:
            return requests.get(f"{api.url}/nowhere", timeout=60).status_code
        case 405:
            return requests.get(url, timeout=60).status_code
        case 415:
            return requests.post(url, data="text", headers={"Content-Type": "text/plain"}, timeout=60).status_code
        case 400:
            return requests.post(url, data="{", headers={"Content-Type": "application/json"}, timeout=60).status_code
    return requests.post(url, json={"features": {"unknown": 1}}, timeout=60).status_code


def _refused(api: Gunicorn) -> float:
    text = requests.get(f"{api.url}/metrics", timeout=60).text
    return sum(float(found) for found in re.findall(r'api_requests_total\{[^}]*status="503"\} (\S+)', text))
