"""What the servers of the Procfile let anybody do who reaches them, and pages of other sites: docs/security.md."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import requests

from scripts.stack import PORTS, ROOT, Stack
from tests.processes import answers, eventually, free_port, process

pytestmark = pytest.mark.timeout(600)

HEALTH = {"prometheus": "/-/ready", "alertmanager": "/-/ready", "prefect": "/api/health"}
FOREIGN = "http://elsewhere.example"
RUNS = "/api/flow_runs/filter"
FOREIGN_PAGES = [
    pytest.param({"Origin": FOREIGN}, id="another origin"),
    pytest.param({"Origin": "null"}, id="no origin"),
    pytest.param({"Host": "elsewhere.example", "Origin": FOREIGN}, id="a name made to point here"),
    pytest.param({"Host": "elsewhere.example"}, id="that name without an origin"),
]
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
    logs = {name: folder / f"{name}.log" for name in HEALTH}
    with ExitStack() as running:
        children = {
            name: running.enter_context(process(["sh", "-c", procfile[name]], logs[name], stack.environment()))
            for name in HEALTH
        }
        for name, path in HEALTH.items():
            eventually(f"{name}'s start", answers(f"{stack.url(name)}{path}", children[name], logs[name]), 240)
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
    url = stack.url("prometheus")
    answer = requests.get(f"{url}/api/v1/query?query=up", headers={"Origin": FOREIGN}, timeout=10)
    assert answer.ok
    assert "Access-Control-Allow-Origin" not in answer.headers
    own = requests.get(f"{url}/api/v1/query?query=up", headers={"Origin": url}, timeout=10)
    assert own.headers["Access-Control-Allow-Origin"] == url


def test_a_foreign_page_can_reach_alertmanager_by_your_browser(stack: Stack) -> None:
    """Alertmanager has no such flag and allows every origin: what docs/security.md warns of. Red once that is over."""
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    headers = {"Origin": FOREIGN, **asks}
    answer = requests.options(f"{stack.url('alertmanager')}/api/v2/silences", headers=headers, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("headers", FOREIGN_PAGES)
def test_a_foreign_page_cannot_use_prefect(stack: Stack, headers: dict[str, str]) -> None:
    """It starts runs: what a page sends is refused before it is looked at."""
    answer = requests.post(f"{stack.url('prefect')}{RUNS}", json={}, headers=headers, timeout=30)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_foreign_page_cannot_listen_to_prefects_events(stack: Stack) -> None:
    """Browsers ask nobody before they open a websocket to another site."""
    key = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": f"{'A' * 22}==",
        "Sec-WebSocket-Version": "13",
    }
    headers = {**key, "Origin": FOREIGN, "Sec-WebSocket-Protocol": "prefect"}
    answer = requests.get(f"{stack.url('prefect')}/api/events/out", headers=headers, timeout=30)
    assert answer.status_code == 403


def test_prefects_own_pages_and_clients_are_served(stack: Stack) -> None:
    """By both names of this machine; its pages name their origin, clients none."""
    url = stack.url("prefect")
    for address in (url, url.replace("127.0.0.1", "localhost")):
        host = address.removeprefix("http://")
        for headers in ({"Host": host}, {"Host": host, "Origin": address}):
            assert requests.post(f"{url}{RUNS}", json={}, headers=headers, timeout=30).status_code == 200
        asks = {"Origin": address, "Access-Control-Request-Method": "POST"}  # its pages call the first name by either
        allowed = requests.options(f"{url}{RUNS}", headers=asks, timeout=30).headers["Access-Control-Allow-Origin"]
        assert allowed == address
