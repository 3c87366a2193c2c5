"""A champion that turns bad, or cannot be loaded: the rollback, with the real Prefect, MLflow, trigger and API."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pyarrow as pa
import pytest
import requests

from monitoring.contract.history import read_history
from monitoring.contract.reference import Reference
from tests.processes import ROOT, eventually, process
from tests.stack.flows_servers import Loop, Servers, now, serving
from tests.unit.api_fixtures import Gunicorn, gunicorn
from tests.unit.flows_fixtures import draw_wine, write_log

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]  # MLflow's client, not ours

OPPOSITE = {"red": "white", "white": "red"}
MODEL = "port"
# After a promotion, a rollback that is killed where the alias has moved and the reference has not.
DOOMED = """
import os, signal, sys
from flows.retrain import retrain
from flows.rollback import rollback

def kill(event, about):
    if event == "os.rename" and str(about[1]) == {reference!r}:
        os.kill(os.getpid(), signal.SIGKILL)

retrain()
sys.addaudithook(kill)
rollback()
"""


@pytest.fixture(scope="module")
def loop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with serving(servers, tmp_path_factory.mktemp("loop"), MODEL) as found:
        yield found


def opposite(rows: pa.Table) -> pa.Table:
    """Return the rows with each label wrong: what a broken source of labels says."""
    wrong = [OPPOSITE[name] for name in rows["truth"].to_pylist()]
    return rows.set_column(rows.schema.get_field_index("truth"), "truth", pa.array(wrong))


def label_wrongly(loop: Loop, seed: int) -> None:
    """Let the labels' source be broken: what learns from it passes the gate, and is worse."""
    write_log(loop.layout, loop.config, opposite(draw_wine(400, seed=seed)), start=now(), writer=f"wrong{seed}")


def promote_bad(loop: Loop, seed: int) -> str:
    """Let the flow promote what learned from wrong labels; return the version."""
    label_wrongly(loop, seed)
    run = loop.servers.run_flow("retrain", **loop.variables)
    assert run["state_name"] == "Promoted", run["state"]["message"]
    return champion(loop)


def answer(loop: Loop, version: str, seed: int, *, right: bool) -> int:
    """Let a version answer 300 rows, whose true labels come late; return the time of the last."""
    rows = draw_wine(300, seed=seed)
    answers = (rows if right else opposite(rows))["truth"].to_pylist()
    answered = {"version": version, "answers": answers, "writer": f"answers{seed}"}
    return write_log(loop.layout, loop.config, rows, start=now(), labels="late", **answered)[1]


def champion(loop: Loop) -> str:
    return loop.servers.version_of(MODEL, "champion") or ""


def by_hand(loop: Loop) -> subprocess.CompletedProcess[str]:
    """Run what `make rollback` runs."""
    environment = loop.servers.environment(**loop.variables)
    command = [sys.executable, "-m", "flows", "rollback"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)


def same(found: Reference, before: Reference, version: str) -> bool:
    """Say whether it is the same reference again, and its version's."""
    assert (found.model_version, found.origin, found.performance) == (version, before.origin, before.performance)
    return bool(found.table.equals(before.table))


def alert(version: str) -> dict[str, Any]:
    one = {"name": "ModelTurnedBad", "labels": {}, "startsAt": "2026-11-25T08:00:00Z", "fingerprint": "bad"}
    return {"groupKey": "bad", "champion": version, "count": 1, "alerts": [one]}


def test_a_promoted_model_that_turns_bad_is_rolled_back_once(loop: Loop) -> None:
    """The alert asks, labels bear it out: the former version and reference are back; asking again changes nothing."""
    before = loop.reference()
    assert promote_bad(loop, seed=1) == "2"
    last = answer(loop, "2", seed=2, right=False)
    asked = loop.notify("bad", "ModelTurnedBad", "rollback")
    assert asked["outcome"] == "accepted"
    ended = loop.servers.ended_run(asked["flow_run_id"])
    assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "RolledBack"), ended["state"]["message"]
    assert champion(loop) == "1"
    assert loop.servers.version_of(MODEL, "previous") is None
    tags = loop.servers.tags(MODEL, "2")
    assert tags["rolled_back_because"] == "the alert ModelTurnedBad asked for it"
    assert loop.servers.tags(MODEL, "1")["serves_from"] > tags["rolled_back_at"] > tags["promoted_at"]
    after = loop.reference()
    assert same(after, before, "1")
    assert after.through is not None
    assert after.through >= last
    episode = read_history(loop.layout)[0]
    assert (episode.flow, episode.outcome, episode.version) == ("rollback", "RolledBack", "1")
    assert episode.reference_digest == after.digest
    assert episode.champion is not None
    assert episode.candidate is not None
    assert (episode.champion.version, episode.candidate.version, episode.rows) == ("2", "1", 300)
    assert episode.champion.accuracy < 0.1
    assert episode.candidate.accuracy > 0.9

    assert loop.notify("bad", "ModelTurnedBad", "rollback")["outcome"] == "cooldown"
    again = by_hand(loop)
    assert again.returncode == 2
    assert "NothingToRollBackTo: version 1 has replaced none, or the way back was gone already" in again.stdout
    assert (champion(loop), loop.reference().digest) == ("1", after.digest)


def test_the_trigger_exports_the_rollback(loop: Loop) -> None:
    """The newest run's outcome, by which people are told."""

    def look() -> bool:
        text = requests.get(f"{loop.trigger}/metrics", timeout=10).text
        return 'flow_last_run_outcome{flow="rollback",outcome="NothingToRollBackTo"} 1.0' in text

    eventually("the outcome in the trigger's metrics", look, 120)


def test_an_alias_moved_by_hand_is_taken_back_unless_labels_speak_for_it(loop: Loop) -> None:
    """An alert takes back nothing that is good, nor what it is not about; what is bad goes once more."""
    before = loop.reference()
    mlflow.set_tracking_uri(loop.servers.mlflow)
    mlflow.MlflowClient().set_registered_model_alias(MODEL, "champion", "2")
    answer(loop, "2", seed=3, right=True)
    run = loop.servers.run_flow("rollback", alert("1"), alert("2"), **loop.variables)
    assert (run["state_name"], champion(loop)) == ("NotRolledBack", "2"), run["state"]["message"]
    by_hand = "`make rollback` asks for neither alert nor labels"
    assert by_hand in run["state"]["message"]
    about = "the alert is about version 1, and version 2 is champion now"
    assert read_history(loop.layout)[1].message == f"{about}. {by_hand}"
    answer(loop, "2", seed=4, right=False)
    answer(loop, "2", seed=5, right=False)
    run = loop.servers.run_flow("rollback", alert("2"), **loop.variables)
    assert (run["state_name"], champion(loop)) == ("RolledBack", "1"), run["state"]["message"]
    assert same(loop.reference(), before, "1")


def test_a_rollback_killed_between_alias_and_reference_is_completed(loop: Loop) -> None:
    """The next run puts the reference into its place, and does not go back further."""
    before = loop.reference()
    label_wrongly(loop, seed=6)
    loop.servers.execute(DOOMED.format(reference=str(loop.layout.reference)), -signal.SIGKILL, **loop.variables)
    assert (champion(loop), loop.reference().model_version) == ("1", "3")
    run = loop.servers.run_flow("rollback", **loop.variables)
    assert (run["state_name"], champion(loop)) == ("RolledBack", "1")
    assert "cut off" in run["state"]["message"]
    assert same(loop.reference(), before, "1")
    assert loop.servers.version_of(MODEL, "previous") is None


@contextmanager
def api(loop: Loop, folder: Path) -> Iterator[Gunicorn]:
    environment = {
        "DRIFTLOOP_CONFIG": str(loop.config_path),
        "MLFLOW_TRACKING_URI": loop.servers.mlflow,
        "MODEL_POLL_SECONDS": "0.3",
        "API_WORKERS": "1",
    }
    with gunicorn(folder / "data", wait_for="/ready", **environment) as server:
        yield server


def about(server: Gunicorn) -> dict[str, Any]:
    return dict(requests.get(f"{server.url}/model", timeout=10).json())


def artifact(loop: Loop, version: str) -> Path:
    """Return where the server keeps a version's model.onnx."""
    uri = loop.servers.registry("model-versions/get-download-uri", name=MODEL, version=version).json()["artifact_uri"]
    return loop.servers.folder / "artifacts" / uri.removeprefix("mlflow-artifacts:/").strip("/") / "model.onnx"


def flip(path: Path) -> None:
    """Flip a bit in a weight, whichever estimator the trainer chose: it remains a model that loads."""
    graph = onnx.load(path).graph
    attributes = [one for node in graph.node for one in node.attribute]
    tensors = map(onnx.numpy_helper.to_array, [*(one.t for one in attributes if one.HasField("t")), *graph.initializer])
    weights = [np.float32(value) for one in attributes for value in one.floats]
    weights += [value for one in tensors if one.dtype.kind == "f" for value in one.ravel()]
    content = bytearray(path.read_bytes())
    content[content.index(max(weights, key=abs).tobytes())] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_artifact_leaves_the_old_champion_and_is_rolled_back(loop: Loop, tmp_path: Path) -> None:
    """Flipped, cut off or deleted: the API serves on, the flows start and say what helps, and rollback repairs."""
    with api(loop, tmp_path) as server:
        assert about(server)["version"] == "1"
        server.stop()
        bad = promote_bad(loop, seed=7)
        path = artifact(loop, bad)
        flip(path)
        server.start()
        eventually("the refusal", lambda: "the file is damaged" in str(about(server)["last_poll_error"]), 120)
        assert (about(server)["version"], about(server)["source"]) == ("1", "local copy")
        features = {"acidity": 1.0, "sugar": 0.0, "alcohol": 0.0, "density": 0.0}
        answered = requests.post(f"{server.url}/predict", json={"features": features}, timeout=10)
        assert answered.json()["model_version"] == "1"
        counted = requests.get(f"{server.url}/metrics", timeout=10).text
        assert re.search(r'api_model_loads_total{outcome="refused"} [1-9]', counted)

        path.write_bytes(path.read_bytes()[:1000])
        environment = loop.servers.environment(**loop.variables)
        log = tmp_path / "flows.log"
        with process([sys.executable, "-m", "flows", "serve"], log, environment):
            eventually("the flows' start", lambda: '"event": "serving"' in log.read_text(), 120)
        assert "`make rollback` goes back from it" in log.read_text()
        path.unlink()

        done = by_hand(loop)
        assert (done.returncode, champion(loop)) == (0, "1"), done.stdout + done.stderr
        eventually("the API to follow", lambda: about(server)["last_poll_error"] is None, 120)
        assert about(server)["version"] == "1"
