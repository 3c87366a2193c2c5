"""The log under a real gunicorn with two workers that are killed."""

import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests

from monitoring.contract.journals import list_journals
from tests.processes import eventually
from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, keep_champion
from tests.unit.log_traffic import Traffic
from tests.unit.models import GENRES

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gunicorn]:
    data = tmp_path / "data"
    keep_champion(data, GENRES)
    with gunicorn(data) as server:
        yield server


def logged(data: Path) -> list[str]:
    return list(pd.read_parquet(data / "current.parquet", columns=["prediction_id"])["prediction_id"])


def test_a_killed_server_recovers_at_its_next_start(server: Gunicorn) -> None:
    """Master and workers die at once: the next start seals what they left."""
    traffic = Traffic(server.url, GENRES)
    eventually("traffic", lambda: len(traffic.acknowledged) > 300)
    server.kill()
    acknowledged = traffic.stop()
    server.restart()
    eventually("the journals to be sealed", lambda: not list_journals(server.data / "current.parquet"))
    found = logged(server.data)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_a_graceful_stop_leaves_parts_alone(server: Gunicorn) -> None:
    """SIGTERM under load: the workers seal before they end, though a client keeps an idle connection open."""
    with requests.Session() as idle:
        idle.get(f"{server.url}/health", timeout=10)
        traffic = Traffic(server.url, GENRES)
        eventually("traffic", lambda: len(traffic.acknowledged) > 300)
        server.stop()
    acknowledged = traffic.stop()
    assert list_journals(server.data / "current.parquet") == []
    assert set(acknowledged) <= set(logged(server.data))


def test_metrics_are_those_of_all_workers(server: Gunicorn) -> None:
    """Whichever worker answers, /metrics counts all of them, and a killed worker's counts stay."""

    def rows() -> float:
        text = requests.get(f"{server.url}/metrics", timeout=10).text
        assert 'api_model_info{version="3"} 1.0' in text
        (found,) = re.findall(r"^prediction_log_rows_total (\S+)$", text, re.MULTILINE)
        return float(found)

    for _ in range(40):
        requests.post(f"{server.url}/predict", json={"features": features_of(GENRES)}, timeout=10)
    assert {rows() for _ in range(8)} == {40.0}
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually("a new worker", lambda: len(server.workers()) == 2 and victim not in server.workers())
    eventually("the model's gauge", lambda: requests.get(f"{server.url}/metrics", timeout=10).ok)
    assert rows() == 40.0


def test_labels_from_two_workers_at_once_are_one(server: Gunicorn) -> None:
    """The same label sent to several workers together is logged once; a row in any worker's journal is known."""
    answers = requests.post(f"{server.url}/predict", json={"instances": [features_of(GENRES)] * 30}, timeout=10).json()[
        "predictions"
    ]
    outcomes: dict[str, list[str]] = {answer["prediction_id"]: [] for answer in answers}

    def send() -> None:
        for prediction_id, told in outcomes.items():
            label = {"prediction_id": prediction_id, "actual_genre": "rock"}
            answer = requests.post(f"{server.url}/feedback", json=label, timeout=10).json()
            told.append(answer["results"][0]["status"])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {tuple(sorted(told)) for told in outcomes.values()} == {("accepted", "known", "known", "known")}


def test_a_large_upload_gets_its_answer(server: Gunicorn) -> None:
    """A client that sends 50 MB reads the 413, not a connection that was reset."""
    answer = requests.post(f"{server.url}/predict", files={"file": ("a.wav", b"\0" * 50_000_000)}, timeout=60)
    assert answer.status_code == 413
    assert "25 MB" in answer.json()["detail"]


def test_logs_are_json_lines(server: Gunicorn) -> None:
    """gunicorn's own lines and ours are JSON objects of the same service."""
    lines = server.log.read_text().splitlines()
    assert len(lines) > 3
    assert all(line.startswith('{"service": "api"') for line in lines)
