"""The closed loop, inside containers."""

import sys

import pytest
import requests

from tests.containers.compose import Compose
from tests.processes import eventually

pytestmark = pytest.mark.timeout(1200)


def firing(stack: Compose, label: str) -> list[str]:
    url, login = "http://127.0.0.1:9093/api/v2/alerts", stack.login("alertmanager")
    alerts = requests.get(url, params={"filter": label}, auth=login, timeout=10).json()
    return [alert["labels"]["alertname"] for alert in alerts]


def test_every_target_is_scraped(stack: Compose) -> None:
    """Prometheus reaches every service, the exporters and the proxy too."""
    url, login = "http://127.0.0.1:9090/api/v1/targets", stack.login("prometheus")
    targets = requests.get(url, auth=login, timeout=10).json()["data"]["activeTargets"]
    assert {target["labels"]["job"] for target in targets} >= {
        "api",
        "monitor",
        "trigger",
        "prefect",
        "cadvisor",
        "node",
    }
    eventually("every target to be up", lambda: stack.query("count(up == 0) or vector(0)") == 0, 60)
    eventually("cAdvisor's series", lambda: stack.query("count(container_memory_working_set_bytes)"), 60)


def test_writing_takes_the_key(stack: Compose) -> None:
    """What the proxy publishes refuses rows without the API key."""
    body = {"features": {"mfcc_1": 1.0}}
    assert requests.post("http://127.0.0.1:5050/predict", json=body, timeout=10).status_code == 401
    assert requests.post("http://127.0.0.1:5050/predict", json=body, headers=stack.key, timeout=10).status_code == 200


def test_the_trigger_asks_for_its_token(stack: Compose) -> None:
    """The trigger's published port answers whoever asks how it is, and takes alerts from who has the token alone."""
    assert requests.get("http://127.0.0.1:5080/ready", timeout=10).status_code == 200
    assert requests.post("http://127.0.0.1:5080/alerts", json={}, timeout=10).status_code == 401


def test_prefect_asks_for_its_password(stack: Compose) -> None:
    """Prefect's API is closed without the password, and open with it."""
    url = "http://127.0.0.1:4200/api/flow_runs/filter"
    assert requests.post(url, json={}, timeout=10).status_code == 401
    assert stack.flow_runs()


def test_the_loop_closes(stack: Compose) -> None:
    """Drift, alert, retraining, promotion, recovery: nobody does anything but send rows."""
    former = stack.champion()
    arguments = ("--rate=60", "--batch=5", "--label-delay=2", "--drift=gain", "--drift-after=25")
    with stack.simulator(*arguments) as counts:
        eventually("ModelDrift to reach Alertmanager", lambda: "ModelDrift" in firing(stack, 'action="retrain"'), 180)
        version = eventually("another champion", lambda: (v := stack.champion()) != former and v, 180)
        served = eventually("the API to serve it", lambda: _served() == version, 60)
        assert served
        eventually("the alert to resolve", lambda: not firing(stack, 'action="retrain"'), 120)
        eventually(
            "new rows without drift", lambda: stack.query("drift_detected == bool 0 and drift_rows_seen > 200"), 180
        )
        told = counts()
    assert set(stack.flow_runs().values()) == {"COMPLETED"}
    assert (told["refused"], told["labels_refused"]) == (0, 0)
    assert told["acknowledged"] > 1000


def _served() -> str:
    return str(requests.get("http://127.0.0.1:5050/model", timeout=10).json()["version"])


def test_make_rollback_goes_back_by_hand(stack: Compose) -> None:
    """The version that the loop has replaced is champion again, and the API serves it."""
    promoted = stack.champion()
    said = stack.run("scripts/rollback", sys.executable).stdout
    assert f"in place of version {promoted}: a person asked for it" in said
    champion = stack.champion()
    assert int(champion) < int(promoted)
    eventually("the API to serve it", lambda: _served() == champion, 60)
    assert stack.run("scripts/rollback", sys.executable, check=False).returncode == 2  # there is no second rollback
