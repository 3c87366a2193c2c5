"""What the stack survives: killed processes, a memory hog, a restart, the loss of its volumes."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.containers.compose import PROJECT, Compose
from tests.processes import eventually

pytestmark = pytest.mark.timeout(3600)


def model_digest(stack: Compose) -> str:
    """Return the digest of the champion's model, as MLflow serves it from its artifacts."""
    registry = "http://127.0.0.1:5000/api/2.0"
    version = {"name": "genre-classifier", "version": stack.champion()}
    asked, login = f"{registry}/mlflow/model-versions/get-download-uri", stack.mlflow_login
    answer = requests.get(asked, params=version, auth=login, timeout=10)
    path = answer.json()["artifact_uri"].removeprefix("mlflow-artifacts:/")
    model = requests.get(f"{registry}/mlflow-artifacts/artifacts/{path}/model.onnx", auth=login, timeout=10)
    model.raise_for_status()
    return hashlib.sha256(model.content).hexdigest()


def kept(stack: Compose) -> dict[str, Any]:
    """Return what must not get lost."""
    reference = stack.python("monitor", "print(len(open('/data/reference.parquet', 'rb').read()))")
    return {
        "rows": sorted(stack.logged()),
        "champion": stack.champion(),
        "model": model_digest(stack),
        "flow runs": stack.flow_runs(),
        "reference": reference,
    }


def all_sealed(stack: Compose, ids: list[str]) -> None:
    eventually("the rows to be sealed into parts", lambda: set(ids) <= set(stack.logged()), 30)


@pytest.mark.long
@pytest.mark.usefixtures("at_rest")
def test_a_killed_process_comes_back_in_every_service(stack: Compose) -> None:
    """Everything is killed at once, in whatever order it comes back; the stack heals by itself and keeps its rows."""
    ids = stack.predict(5)
    for service in stack.services():
        stack.execute(service, "sh", "-c", "kill -9 -1", check=False)
    eventually("a restart of every container", lambda: all(c["RestartCount"] >= 1 for c in stack.lasting()), 60)
    eventually("every container to be healthy", lambda: not stack.unhealthy(), 240)
    all_sealed(stack, ids)
    assert stack.predict(1)


def test_a_memory_hog_is_contained(stack: Compose) -> None:
    """A process that wants more than its service's limit is killed, and nothing beside it is hurt."""
    before = {c["Name"]: c["RestartCount"] for c in stack.containers()}
    done = stack.execute("api", "python", "-c", "hog = b'x' * (3 << 30); print(len(hog))", check=False)
    assert (done.returncode, done.stdout) == (137, "")
    eventually("every container to be healthy", lambda: not stack.unhealthy(), 60)
    after = {c["Name"]: c["RestartCount"] for c in stack.containers()}
    assert {name for name in after if after[name] != before[name]} <= {f"{PROJECT}-api-1"}
    assert stack.predict(1)


def test_down_and_up_lose_nothing(stack: Compose) -> None:
    """`make down` and `make up`: rows, reference, registry, flow runs and time series are as before."""
    all_sealed(stack, stack.predict(20))
    before, series = kept(stack), "count(count_over_time(api_requests_total[1h]))"
    seen = stack.query(series)
    stack.down()
    assert not stack.run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={PROJECT}").stdout
    stack.up()
    assert {**kept(stack), "flow runs": before["flow runs"]} == before
    assert before["flow runs"].items() <= stack.flow_runs().items()  # the start has added a bootstrap
    assert seen is not None
    assert (stack.query(series) or 0) >= seen


def test_a_backup_restores_onto_empty_volumes(stack: Compose, tmp_path: Path) -> None:
    """backup, purge, restore, up: nothing is missing, and rows that were written after the backup are gone."""
    all_sealed(stack, stack.predict(20))
    before = kept(stack)
    stack.run("scripts/backup", str(tmp_path / "backup"))
    later = stack.predict(3)
    refused = stack.run("scripts/restore", str(tmp_path / "backup"), check=False)
    assert refused.returncode == 1
    assert "has data already" in refused.stderr
    assert stack.run("scripts/purge", input="no\n", check=False).returncode == 1
    eventually("every container to be healthy still", lambda: not stack.unhealthy(), 60)
    stack.run("scripts/purge", input=f"{PROJECT}\n")
    assert not stack.run(
        "docker", "volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={PROJECT}"
    ).stdout
    stack.run("scripts/restore", str(tmp_path / "backup"))
    stack.up()
    restored = kept(stack)
    assert {**restored, "flow runs": before["flow runs"]} == before
    assert before["flow runs"].items() <= restored["flow runs"].items()
    assert not set(later) & set(restored["rows"])
