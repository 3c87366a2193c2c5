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
from tests.unit.models import GENRES

FUZZ = "FUZZ_CASES" in os.environ
CASES = min(int(os.environ.get("FUZZ_CASES", "1000")), 20_000)
KEY = "a-key-for-tests"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    folder = tmp_path_factory.mktemp("spec")
    keep_champion(folder / "data", GENRES)
    (folder / "key").write_text(KEY)
    with gunicorn(folder / "data", "/ready", API_KEY_FILE=str(folder / "key")) as server:
        yield server


@pytest.mark.timeout(0 if FUZZ else 120)
def test_every_answer_is_one_that_the_description_promises(server: Gunicorn, tmp_path: Path) -> None:
    """No 5xx, no status, header or schema that is not described, no bad data taken, no door without the key."""
    report = tmp_path / "report.json"
    seed = [] if FUZZ else ["--seed=1"]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={Path(__file__).with_name('schemathesis.toml')}",
            "run",
            f"{server.url}/openapi.json",
            f"--header=Authorization: Bearer {KEY}",
            f"--max-examples={CASES // 5}",  # of an operation; two operations have bodies, the others few cases
            "--phases=coverage,fuzzing,stateful",
            "--continue-on-failure",
            "--no-shrink",
            f"--report-json-path={report}",
            *seed,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert json.loads(report.read_text())["test_cases"]["generated"] >= CASES


def test_the_server_lives_and_has_counted_no_failure(server: Gunicorn) -> None:
    """After all of that: the same workers, ready, and not one answer of 5xx among those counted."""
    assert requests.get(f"{server.url}/ready", timeout=10).ok
    counted = requests.get(f"{server.url}/metrics", timeout=10).text
    assert 'status="200"' in counted
    failed = re.findall(r'api_requests_total{endpoint="(?!ready).*status="5.*', counted)  # ready: while it started
    assert not failed
    assert len(re.findall("Booting worker", server.log.read_text())) == len(server.workers())
