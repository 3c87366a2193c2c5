"""A hundred random SIGKILLs of workers and master under load: each acknowledged id is in the log exactly once."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from monitoring.contract.config_file import load_config
from monitoring.contract.journals import list_journals
from monitoring.contract.parts import covered, list_parts
from tests.processes import eventually
from tests.unit.api_fixtures import Gunicorn, gunicorn, keep_champion
from tests.unit.log_traffic import Readers, Traffic
from tests.unit.models import write_config

KILLS = 100
WORKERS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Gunicorn]:
    config = write_config(tmp_path)  # a model without an audio path: its workers are up at once
    keep_champion(tmp_path / "data", load_config(config))
    settings = {"API_WORKERS": str(WORKERS), "PREDICTION_LOG_SEAL_SECONDS": "0.2", "DRIFTLOOP_CONFIG": str(config)}
    with gunicorn(tmp_path / "data", **settings) as server:
        yield server


def kill_some(server: Gunicorn, dice: random.Random) -> int:
    """Kill a worker, or all of them, or the master alone, or everything; return how many processes that was."""
    workers = server.workers()
    match dice.choices(["worker", "workers", "master", "all"], [80, 10, 3, 7])[0]:
        case "worker" if workers:
            victims = [dice.choice(workers)]
        case "workers":
            victims = workers
        case "master":
            victims = [server.master]
        case _:
            victims = [server.master, *workers]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself, with its master
            os.kill(pid, signal.SIGKILL)
    if server.master in victims:
        server.wait()
        eventually("the orphaned workers to end, with those just begun", lambda: not server.listens())
        server.start()
    return len(victims)


@pytest.mark.timeout(400)
def test_nothing_is_lost_or_doubled_under_a_hundred_kills(server: Gunicorn, tmp_path: Path) -> None:
    """Clients remember each acknowledged id, readers look all the time, and processes die at random.

    Readers see each id at most once and never fewer than before; in the end every acknowledged id is there once, for
    them and for pandas, and parts have been merged under way.
    """
    config = load_config(tmp_path / "wine.yml")
    folder = server.data / "current.parquet"
    dice = random.Random(20_261_124)
    traffic, readers = Traffic(server.url, config), Readers(server.data, config)
    killed = 0
    while killed < KILLS:
        more = len(traffic.acknowledged) + dice.randrange(1, 400)
        eventually("more answers", lambda more=more: len(traffic.acknowledged) >= more)
        killed += kill_some(server, dice)
    acknowledged = traffic.stop()
    eventually("the journals to be sealed", lambda: not list_journals(folder))
    assert readers.stop() > KILLS
    server.stop()
    found = list(pd.read_parquet(folder, columns=["prediction_id"])["prediction_id"])
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert len(acknowledged) == len(set(acknowledged)) > 100 * KILLS
    assert any(covered(part) for part in list_parts(folder)[0])
