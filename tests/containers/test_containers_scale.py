"""Several API containers: one log, one sum."""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest
import requests

from tests.containers.compose import PROJECT, Compose
from tests.processes import eventually

pytestmark = pytest.mark.timeout(1200)

REPLICAS = 3


@pytest.fixture(scope="module")
def scaled(stack: Compose) -> Iterator[Compose]:
    stack.up("--scale", f"api={REPLICAS}")
    eventually("Prometheus to find every replica", lambda: stack.query('sum(up{job="api"})') == REPLICAS, 60)
    yield stack
    stack.run("docker", "rm", "--force", *(f"{PROJECT}-api-{number}" for number in range(2, REPLICAS + 1)))


def send(stack: Compose, requests_: int, threads: int = 6) -> tuple[list[str], int]:
    """Send single-row requests at once from several clients; return the acknowledged ids and the failures."""
    ids: list[str] = []
    failed: list[str] = []

    def client() -> None:
        for _ in range(requests_ // threads):
            try:
                with requests.Session() as session:
                    ids.extend(stack.predict(1, session))
            except requests.RequestException as error:
                failed.append(repr(error))

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return ids, len(failed)


def test_replicas_share_the_traffic_and_one_log(scaled: Compose) -> None:
    """Every row is in the log once, each replica took some, and their metrics add up to what was sent."""
    total = "sum(api_predictions_total) or vector(0)"
    before = scaled.query(total)
    assert before is not None
    logged_before = len(scaled.logged())
    ids, failed = send(scaled, 300)
    assert (len(ids), failed) == (300, 0)
    eventually("the log to hold them", lambda: set(ids) <= set(scaled.logged()), 30)
    logged = scaled.logged()
    assert len(logged) == len(set(logged)) == logged_before + 300
    eventually("the metrics to add up", lambda: scaled.query(total) == before + 300, 30)
    assert scaled.query("count(sum by (instance) (api_predictions_total) > 0)") == REPLICAS


def test_a_killed_replica_loses_and_doubles_nothing(scaled: Compose) -> None:
    """One replica is killed under traffic: what was acknowledged is in the log, once; the others go on."""
    sent: list[tuple[list[str], int]] = []
    traffic = threading.Thread(target=lambda: sent.append(send(scaled, 600)))
    traffic.start()
    scaled.run("docker", "exec", f"{PROJECT}-api-2", "sh", "-c", "kill -9 -1", check=False)
    traffic.join()
    ids, failed = sent[0]
    assert [c["Name"] for c in scaled.containers("api") if c["RestartCount"]] == [f"/{PROJECT}-api-2"]
    assert failed <= 30  # those that it had taken, and those until the proxy saw that it was gone
    eventually("the log to hold what was acknowledged", lambda: set(ids) <= set(scaled.logged()), 60)
    assert not [one for one, times in Counter(scaled.logged()).items() if times > 1]
    eventually("the replica to be back", lambda: not scaled.unhealthy(), 120)
