"""The loop acts on harm: what becomes of a change that does the champion none, with the real Prefect and MLflow."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import requests

from monitoring.contract.config_file import load_config
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from tests.processes import answers, eventually, free_port, process
from tests.stack.flows_servers import TOKEN, Loop, Servers, now, write_user_reference
from tests.unit.flows_fixtures import draw_wine, harmless, write_drift_state, write_log
from tests.unit.models import write_config

pytestmark = pytest.mark.timeout(600)

ALERT = {
    "groupKey": "drift",
    "champion": "1",
    "count": 1,
    "alerts": [{"name": "ModelDrift", "labels": {}, "startsAt": "2026-11-25T08:00:00Z", "fingerprint": "harm"}],
}
# A run that is killed where the champion's new reference is staged and not in its place.
DOOMED = f"""
import os, signal, sys
from flows.retrain import retrain

def kill(event, about):
    if event == "driftloop.step" and about[0] == "reference staged":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
retrain({ALERT!r})
"""


class Harmless:
    """A champion, and a log in which the data changed at `onset` and the answers stay as right as they were."""

    def __init__(self, servers: Servers, folder: Path, name: str) -> None:
        self.servers, self.name = servers, name
        path = write_config(folder, name)
        self.layout, self.config = Layout(folder / "data"), load_config(path)
        self.variables = {"DATA_DIR": str(folder / "data"), "DRIFTLOOP_CONFIG": str(path)}
        write_user_reference(self.layout, self.config)
        servers.run_flow("bootstrap", **self.variables)
        self.before = read_reference(self.layout, self.config.model)
        self.change(seed=1)

    def change(self, seed: int) -> None:
        start = now()
        write_log(self.layout, self.config, draw_wine(200, seed=seed), start=start - 900_000_000, writer=f"a{seed}")
        rows = harmless(draw_wine(400, seed=seed + 1))
        self.onset, self.newest = write_log(self.layout, self.config, rows, start=start, writer=f"b{seed}")
        write_drift_state(self.layout, self.config, self.onset)


@pytest.fixture(scope="module")
def found(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Harmless:
    return Harmless(servers, tmp_path_factory.mktemp("harmless"), "claret")


def test_a_change_that_does_no_harm_is_accepted(found: Harmless) -> None:
    """The champion stays and says why, and the reference is the rows since the onset as it predicts them."""
    servers, model = found.servers, found.config.model
    run = servers.run_flow("retrain", ALERT, **found.variables)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Accepted"), run["state"]["message"]
    assert servers.version_of(model.name, "champion") == "1"
    assert servers.version_of(model.name, "previous") is None
    tags = servers.tags(model.name, "1")
    assert "labelled rows that it has not seen" in tags["accepted_because"]
    assert tags["accepted_at"] > run["start_time"][:19]
    candidate = servers.tags(model.name, "2")
    assert (candidate["gate"], candidate["learned_through"]) == ("refused", str(found.newest))

    after = read_reference(found.layout, model)
    assert (after.origin, after.model_version, after.through) == ("rebased", "1", found.newest)
    assert len(after.table) == 400
    right = np.mean(np.array(after.table["guess"].to_pylist()) == np.array(after.table["truth"].to_pylist()))
    assert after.performance is not None
    assert found.before.performance is not None
    assert (after.performance.accuracy, after.performance.rows) == (right, 400)
    assert after.performance.promised == found.before.performance.accuracy
    assert "The change is accepted" in servers.artifact(run["id"])
    episode = read_history(found.layout)[0]
    assert (episode.outcome, episode.version, episode.reference_digest) == ("Accepted", "1", after.digest)


def test_an_acceptance_that_is_killed_is_completed_by_the_next_run(found: Harmless) -> None:
    """What is staged for the champion gets into its place, once, and nothing else moves."""
    servers, model = found.servers, found.config.model
    found.change(seed=5)
    servers.execute(DOOMED, ends=-signal.SIGKILL, **found.variables)
    assert read_reference(found.layout, model).through != found.newest
    run = servers.run_flow("retrain", ALERT, **found.variables)
    assert run["state_name"] == "Rebased", run["state"]["message"]
    after = read_reference(found.layout, model)
    assert (after.model_version, after.through, len(after.table)) == ("1", found.newest, 400)
    assert servers.version_of(model.name, "champion") == "1"
    assert not list((found.layout.root / "_references").glob("_next-*"))


def test_notify_runs_nothing(servers: Servers, tmp_path: Path) -> None:
    """With `retrain.mode: notify` the trigger answers and counts, and Prefect hears of nothing."""
    path, token, log = write_config(tmp_path, "notes", mode="notify"), tmp_path / "token", tmp_path / "log"
    token.write_text(TOKEN)
    port = free_port()
    loop = Loop(servers, f"http://127.0.0.1:{port}", Layout(tmp_path), load_config(path), path)
    variables = {**loop.variables, "TRIGGER_PORT": str(port), "WEBHOOK_TOKEN_FILE": str(token)}
    runs = {"flows": {"name": {"any_": ["retrain"]}}}
    before = requests.post(f"{servers.prefect}/flow_runs/count", json=runs, timeout=10).json()
    with process([sys.executable, "-m", "flows.trigger"], log, servers.environment(**variables)) as trigger:
        eventually("the trigger's start", answers(f"{loop.trigger}/ready", trigger, log), 120)
        assert loop.notify("drift")["outcome"] == "notified"
        text = requests.get(f"{loop.trigger}/metrics", timeout=10).text
    assert 'trigger_notifications_total{outcome="notified"} 1.0' in text
    assert requests.post(f"{servers.prefect}/flow_runs/count", json=runs, timeout=10).json() == before
