"""Far more requests than the API can serve: it refuses most at once, keeps what it took, and goes on."""

import json
import socket
import statistics
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from benchmarks.open_loop import Call, OpenLoop, poisson, post
from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.processes import eventually
from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, keep_champion
from tests.unit.models import GENRES

ROWS = 50  # of a request
RATE, SECONDS = 1_500, 3  # requests; two cores serve less than half of it
PREDICT = post("/predict", json.dumps({"instances": [features_of(GENRES)] * ROWS}).encode())
FEEDBACK = post("/feedback", json.dumps({"prediction_id": "0", GENRES.model.target: "rock"}).encode())
LARGE = post("/predict", json.dumps({"instances": [features_of(GENRES)] * 5_000}).encode())
HEALTH = b"GET /health HTTP/1.1\r\nHost: api\r\n\r\n"


@contextmanager
def asking(url: str, *paths: str) -> Iterator[Counter[tuple[str, int]]]:
    """Ask for these over and over; count the answers by path and status."""
    stopping, found = threading.Event(), Counter[tuple[str, int]]()

    def ask() -> None:
        while not stopping.is_set():
            found.update((path, requests.get(url + path, timeout=60).status_code) for path in paths)
            stopping.wait(0.1)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield found
    finally:
        stopping.set()
        thread.join()


def counted(server: Gunicorn, series: str) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    return float(text.partition(f"\n{series} ")[2].partition("\n")[0] or 0)


def count_ready(server: Gunicorn) -> int:
    """Return how many workers have said that the last thing that takes long is done."""
    return server.log.read_text(encoding="utf-8").count("audio_warmed_up")


def logged(server: Gunicorn) -> list[str]:
    rows = read_rows(Layout(server.data), GENRES.model, Window(rows=10**9))
    assert rows.unreadable == ()
    return list(rows.table["prediction_id"].to_pylist())


def test_overload(tmp_path: Path) -> None:
    """Who is refused is told so quickly and when to come again; who was answered is in the log, exactly once."""
    keep_champion(tmp_path / "data", GENRES)
    with gunicorn(tmp_path / "data", "/ready") as server:
        address = urlsplit(server.url)
        paths = ("/health", "/ready", "/model", "/metrics")
        eventually("every worker to be ready", lambda: count_ready(server) == len(server.workers()), 60)
        with OpenLoop(address.hostname, address.port) as clients, asking(server.url, *paths) as meanwhile:
            calls = clients.run([PREDICT] * 9 + [FEEDBACK], poisson(RATE, SECONDS, seed=0))
        shed = {
            name: counted(server, f'api_requests_shed_total{{endpoint="{name}"}}') for name in ("predict", "feedback")
        }
        answered = counted(server, 'api_requests_total{endpoint="predict",method="POST",status="503"}')
        eventually("twenty answers in a row", lambda: all(predicts(server) for _ in range(20)), 10)
        afterwards = 20
        server.stop()
        ids = logged(server)
    by_status = {
        status: [call for call in calls if call.status == status] for status in {call.status for call in calls}
    }
    assert by_status.keys() == {200, 404, 503}  # the feedback is about no prediction
    check_refusals(by_status[503])
    assert statistics.median(c.seconds for c in by_status[503]) < statistics.median(c.seconds for c in by_status[200])
    acknowledged = [one["prediction_id"] for call in by_status[200] for one in json.loads(call.body)["predictions"]]
    assert len(acknowledged) == ROWS * len(by_status[200])
    assert Counter(acknowledged) <= Counter(ids)
    assert len(ids) == len(set(ids)) >= len(acknowledged) + afterwards
    assert sum(shed.values()) == len(by_status[503])
    assert answered == shed["predict"] > shed["feedback"] > 0
    assert not [one for one in meanwhile if one[1] != 200]
    assert {path for path, _ in meanwhile} == set(paths)


def check_refusals(refused: list[Call]) -> None:
    """Fail unless most were refused, each as a problem that says when to come again."""
    assert len(refused) > RATE * SECONDS / 4
    for call in refused:
        assert call.header("Content-Type") == "application/problem+json"
        assert int(call.header("Retry-After") or 0) > 0
        problem = json.loads(call.body)
        assert (problem["status"], problem["reason"]) == (503, "overloaded")


def predicts(server: Gunicorn) -> bool:
    return requests.post(f"{server.url}/predict", json={"features": features_of(GENRES)}, timeout=60).ok


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Gunicorn, tuple[str, int]]]:
    """Yield a worker of one thread that has far more to do than it can begin soon."""
    keep_champion(tmp_path / "data", GENRES)
    with (
        gunicorn(tmp_path / "data", "/ready", API_WORKERS="1", API_THREADS="1") as server,
        ExitStack() as stack,
    ):
        address = urlsplit(server.url)
        where = (str(address.hostname), int(address.port or 0))
        stopping = threading.Event()
        stack.callback(stopping.set)
        for _ in range(30):
            threading.Thread(target=keep_busy, args=(where, stopping), daemon=True).start()
        eventually("a request to be refused", lambda: ask(where, PREDICT).startswith(b"HTTP/1.1 503 "), 60)
        yield server, where


def keep_busy(where: tuple[str, int], stopping: threading.Event) -> None:
    """Ask for a large batch again and again, whatever the answer is."""
    while not stopping.is_set():
        with suppress(OSError):
            ask(where, LARGE)


def refused_by(where: tuple[str, int], *requests: bytes, until: bytes = b"}") -> bytes:
    """Return the answers to these requests, the first of which is refused: now and then one is let in."""

    def once() -> bytes | None:
        answers = ask(where, *requests, until=until)
        return answers if answers.startswith(b"HTTP/1.1 503 ") else None

    return eventually("a request to be refused", once, 60)


def ask(where: tuple[str, int], *requests: bytes, until: bytes = b"}") -> bytes:
    """Send the requests on one connection, each after the answer to the one before; return all answers."""
    answers = b""
    with socket.create_connection(where, timeout=60) as sock:
        for request in requests:
            sock.sendall(request)
            answer = b""
            while not answer.endswith(until) and (more := sock.recv(65_536)):
                answer += more
            answers += answer
    return answers


def test_a_refused_client_keeps_its_connection(busy: tuple[Gunicorn, tuple[str, int]]) -> None:
    """Its next request is read where it begins; what it asks about the server is answered."""
    answers = refused_by(busy[1], PREDICT, HEALTH, PREDICT)
    assert answers.count(b"HTTP/1.1 ") == 3
    assert b"Connection: keep-alive" in answers
    assert answers.count(b'{"status":"alive"}') == 1


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(PREDICT.replace(b"Host", b"Connection: Close\r\nHost"), id="asks for the end"),
        pytest.param(PREDICT.replace(b"HTTP/1.1", b"HTTP/1.0"), id="knows of no second request"),
        pytest.param(PREDICT + HEALTH, id="has sent the next one already"),
        pytest.param(PREDICT.replace(b"Host", b"Expect: 100-continue\r\nHost")[:200], id="asks before it sends"),
    ],
)
def test_a_refused_client_that_does_not_go_on_is_let_go(
    busy: tuple[Gunicorn, tuple[str, int]], request_: bytes
) -> None:
    """One answer, which is the refusal, and the connection's end."""
    answers = refused_by(busy[1], request_, until=b"no end")  # it would wait for a minute's end, were there none
    assert b"Connection: close" in answers
    assert answers.count(b"HTTP/1.1 ") == 1
