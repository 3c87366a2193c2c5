"""schemathesis against a real server: whatever is sent, the answer is one that /openapi.json describes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.unit.api_fixtures import Gunicorn, gunicorn, keep_champion
from tests.unit.mixed import trips
from tests.unit.mixed_models import champion, lay_down
from tests.unit.models import GENRES

FUZZ = "FUZZ_CASES" in os.environ
CASES = min(int(os.environ.get("FUZZ_CASES", "1000")), 20_000)
KEY = "a-key-for-tests"


@pytest.fixture
def trips_server(tmp_path: Path) -> Iterator[Gunicorn]:
    """Serve a regression of features of both kinds."""
    config = lay_down(tmp_path, trips(), champion(trips().model))
    (tmp_path / "key").write_text(KEY)
    environment = {"API_KEY_FILE": str(tmp_path / "key"), "DRIFTLOOP_CONFIG": str(config)}
    with gunicorn(tmp_path / "data", "/ready", **environment) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder = tmp_path_factory.mktemp("spec")
    keep_champion(folder / "data", GENRES)
    (folder / "key").write_text(KEY)
    with gunicorn(folder / "data", "/ready", API_KEY_FILE=str(folder / "key")) as server:
        yield server


def run(server: Gunicorn, folder: Path, cases: int) -> int:
    """Send so many requests that the description allows or forbids, and return how many it were."""
    report = folder / "report.json"
    seed = [] if FUZZ else ["--seed=1"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{server.url}/openapi.json",
            f"--header=Authorization: Bearer {KEY}",
            f"--max-examples={cases // 8}",  # of an operation; four operations have bodies, the others few cases
            "--phases=coverage,fuzzing,stateful",
            "--continue-on-failure",
            "--no-shrink",
            f"--report-json-path={report}",
            *seed,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    generated: int = json.loads(report.read_text())["test_cases"]["generated"]
    return generated


@pytest.mark.timeout(0 if FUZZ else 120)
def test_every_answer_is_one_that_the_description_promises(server: Gunicorn, tmp_path: Path) -> None:
    """No 5xx, no status, header or schema that is not described, no bad data taken, no door without the key."""
    assert run(server, tmp_path, CASES) >= CASES


def test_the_server_lives_and_has_counted_no_failure(server: Gunicorn) -> None:
    """After all of that: the same workers, ready, and not one answer of 5xx among those counted."""
    assert requests.get(f"{server.url}/ready", timeout=10).ok
    counted = requests.get(f"{server.url}/metrics", timeout=10).text
    assert 'status="200"' in counted
    failed = re.findall(r'api_requests_total{endpoint="(?!ready).*status="5.*', counted)  # ready: while it started
    assert not failed
    assert len(re.findall("Booting worker", server.log.read_text())) == len(server.workers())


@pytest.mark.timeout(0 if FUZZ else 60)
def test_a_regression_of_levels_keeps_its_description_too(trips_server: Gunicorn, tmp_path: Path) -> None:
    """Texts, numbers and booleans for levels, and numbers for labels; rows were taken, and nothing has failed."""
    assert run(trips_server, tmp_path, CASES // 4) >= CASES // 4
    test_the_server_lives_and_has_counted_no_failure(trips_server)
    assert not re.search(r"api_predictions_total 0\.0", requests.get(f"{trips_server.url}/metrics", timeout=10).text)
