"""What Prometheus and Alertmanager, with the Procfile's flags, let anybody do who reaches them: docs/security.md."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from scripts.stack import PORTS, ROOT, Stack
from tests.processes import answers, eventually, free_port, process

SILENCE = {
    "matchers": [{"name": "alertname", "value": "ModelDrift", "isRegex": False, "isEqual": True}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2099-01-01T00:00:00Z",
    "createdBy": "anybody",
    "comment": "no password was asked for",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("doors")
    stack = Stack(folder / "data", folder / "state", {name: free_port() for name in PORTS})
    stack.prepare()
    procfile = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
    with ExitStack() as running:
        for name in ("prometheus", "alertmanager"):
            log = folder / f"{name}.log"
            child = running.enter_context(process(["sh", "-c", procfile[name]], log, stack.environment()))
            eventually(f"{name}'s start", answers(f"{stack.url(name)}/-/ready", child, log), 30)
        yield stack


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/-/quit", id="stop it"),
        pytest.param("POST", "/-/reload", id="reload its configuration"),
        pytest.param("POST", "/api/v1/admin/tsdb/delete_series?match[]=up", id="delete series"),
        pytest.param("POST", "/api/v1/admin/tsdb/snapshot", id="fill the disk with snapshots"),
        pytest.param("POST", "/api/v1/write", id="write series"),
        pytest.param("POST", "/api/v1/otlp/v1/metrics", id="write series by OTLP"),
    ],
)
def test_prometheus_lets_nobody_change_anything(stack: Stack, method: str, path: str) -> None:
    """Its admin API, its lifecycle API and its receivers are off."""
    assert requests.request(method, f"{stack.url('prometheus')}{path}", timeout=10).status_code >= 400


def test_alertmanager_takes_silences_and_alerts_of_anybody(stack: Stack) -> None:
    """It asks for nothing: who reaches it can silence an alert, or ask for a retraining by an alert of their own."""
    url = stack.url("alertmanager")
    made = requests.post(f"{url}/api/v2/silences", json=SILENCE, timeout=10)
    assert made.status_code == 200
    assert requests.delete(f"{url}/api/v2/silence/{made.json()['silenceID']}", timeout=10).status_code == 200
    alert = {"labels": {"alertname": "ModelDrift", "action": "retrain"}}
    assert requests.post(f"{url}/api/v2/alerts", json=[alert], timeout=10).status_code == 200


def test_a_foreign_page_cannot_read_metrics_by_your_browser(stack: Stack) -> None:
    """Prometheus names no other origin; by itself it would allow all."""
    url, foreign = stack.url("prometheus"), "http://elsewhere.example"
    answer = requests.get(f"{url}/api/v1/query?query=up", headers={"Origin": foreign}, timeout=10)
    assert answer.ok
    assert "Access-Control-Allow-Origin" not in answer.headers
    own = requests.get(f"{url}/api/v1/query?query=up", headers={"Origin": url}, timeout=10)
    assert own.headers["Access-Control-Allow-Origin"] == url


def test_a_foreign_page_can_reach_alertmanager_by_your_browser(stack: Stack) -> None:
    """Alertmanager has no such flag and allows every origin: what docs/security.md warns of. Red once that is over."""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    headers = {"Origin": "http://elsewhere.example", **asks}
    answer = requests.options(f"{stack.url('alertmanager')}/api/v2/silences", headers=headers, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
