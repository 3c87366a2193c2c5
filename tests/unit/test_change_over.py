"""Answers never go back, over real servers: what one client was answered, no later request falls behind.

With FUZZ_CASES in the environment it is 20 promotions and 5 rollbacks; otherwise a few of each.
"""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from monitoring.contract.config_file import load_config
from monitoring.contract.names import LEAD_SECONDS
from tests.unit.answer_order import CLIENTS, Change, asking, overlap, require_no_way_back
from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, onnx_model
from tests.unit.models import write_config
from tests.unit.registry_fixtures import Registry, running_registry

COUNTED = "FUZZ_CASES" in os.environ
PROMOTIONS, ROLLBACKS = (20, 5) if COUNTED else (2, 1)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as registry:
        yield registry


def kill_a_worker(servers: list[Gunicorn], dice: random.Random) -> None:
    victims = [worker for server in servers for worker in server.workers()]
    with suppress(ProcessLookupError):
        os.kill(dice.choice(victims), signal.SIGKILL)


def late_loads(server: Gunicorn) -> float:
    """Return how often a request has waited for a worker that had not loaded the model in time."""
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    found = re.findall(r'^api_model_loads_total{outcome="late"} (\S+)$', text, re.MULTILINE)
    return sum(map(float, found))


def not_waited_for(log: Path) -> int:
    """Return how many workers lived and were not ready when a leader's patience ended: the machine was busy."""
    return sum(map(int, re.findall(r'"workers_not_ready": ?(\d+)', log.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    "shared",
    [
        pytest.param(True, id="one DATA_DIR"),
        pytest.param(False, id="one registry", marks=pytest.mark.skipif(not COUNTED, reason="takes minutes")),
    ],
)
@pytest.mark.timeout(1200 if COUNTED else 240)
def test_answers_never_go_back(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str], *, shared: bool
) -> None:
    """Two API containers, promotions and rollbacks in random order, and a worker killed in the middle of every other.

    No request fails; the connections that a killed worker had are lost with it, which HTTP clients try again. With a
    DATA_DIR in common answers never go back anywhere. With the registry alone they do not within a container, and the
    containers change over at the moment that the flow has named: how far apart they were is printed.
    """
    config_path = write_config(tmp_path)
    config = load_config(config_path)
    content = onnx_model(config.model.features, config.model.categories)
    registry.promote("1", content)
    environment = {
        "MLFLOW_TRACKING_URI": registry.url,
        "MODEL_POLL_SECONDS": "0.2" if shared else "1",
        "DRIFTLOOP_CONFIG": str(config_path),
        "API_WORKERS": "2",
    }
    dice = random.Random(20_261_127)
    changes = dice.sample([True] * PROMOTIONS + [False] * ROLLBACKS, PROMOTIONS + ROLLBACKS)
    kills, newest, former = 0, 1, "1"
    with ExitStack() as stack:
        folders = [tmp_path / "data", tmp_path / ("data" if shared else "other")]
        servers = [stack.enter_context(gunicorn(folder, **environment)) for folder in folders]
        clients = stack.enter_context(asking([server.url for server in servers], features_of(config)))
        changed = [Change(time.monotonic(), "1")]
        clients.wait_for("1")
        for place, promotes in enumerate(changes):
            newest += promotes
            version = str(newest) if promotes or former == changed[-1].version else former
            former = changed[-1].version
            moment = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS)
            changed.append(Change(time.monotonic(), version))
            registry.promote(version, content, **({} if shared else {"serves_from": moment.isoformat()}))
            if place % 2:
                clients.wait_for_answers(dice.randrange(100))  # anywhere in the change
                kill_a_worker(servers, dice)
                kills += 1
            clients.wait_for(version)
        answers = clients.stop()
        late = sum(map(late_loads, servers))
    assert {answer.status for answer in answers} == {200}
    assert clients.broken <= CLIENTS * kills
    # no request has waited for a model, unless its worker was just starting, or was not ready for half a minute
    assert late <= kills + not_waited_for(servers[0].log)
    if shared:
        require_no_way_back(answers, changed)
    for server in servers:
        require_no_way_back([answer for answer in answers if answer.url == server.url], changed)
    with capsys.disabled():
        done = f"{len(answers)} answers, {len(changes)} changes, {kills} kills, {clients.broken} connections broken"
        print(f" {done}, {late:g} late loads, longest overlap {overlap(answers, changed):.3f} s ", end="")  # noqa: T201
