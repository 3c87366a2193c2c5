"""Slow clients: hundreds of them hold connections, and never a thread that others wait for."""

import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.processes import eventually
from tests.unit.api_fixtures import Gunicorn, features_of, gunicorn, keep_champion, tone, wav
from tests.unit.models import GENRES

SLOW = 200
READERS = 16  # two for each thread of both workers
BOUND = 1.0  # seconds; alone a request takes milliseconds
ROW = json.dumps({"features": features_of(GENRES)}).encode()
BATCH = json.dumps({"instances": [features_of(GENRES)] * 20_000}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    data = tmp_path_factory.mktemp("slow") / "data"
    keep_champion(data, GENRES)
    with gunicorn(data, "/ready") as server:
        yield server


def connect(server: Gunicorn, window: int = 0) -> socket.socket:
    sock = socket.socket()
    if window:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.settimeout(30)
    url = urlsplit(server.url)
    sock.connect((url.hostname, url.port))
    return sock


def head(length: int | str, *more: str) -> bytes:
    lines = ["POST /predict HTTP/1.1", "Host: api", "Content-Type: application/json", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def worst_of(server: Gunicorn, seconds: float, meanwhile: Callable[[], None]) -> float:
    """Ask on new connections for that long, and return the longest that an answer took."""
    worst, until = 0.0, time.monotonic() + seconds
    while time.monotonic() < until:
        meanwhile()
        for ask in (
            lambda: requests.post(
                f"{server.url}/predict", ROW, headers={"Content-Type": "application/json"}, timeout=30
            ),
            lambda: requests.get(f"{server.url}/health", timeout=30),
        ):
            begun = time.monotonic()
            assert ask().status_code == 200
            worst = max(worst, time.monotonic() - begun)
        time.sleep(0.02)
    return worst


def metrics(server: Gunicorn) -> str:
    """Return the metrics, of all but single rows."""
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    singles = float(text.partition('api_batch_size_bucket{le="1.0"} ')[2].partition("\n")[0])
    return re.sub(r"(?<=api_batch_size_count )(\S+)", lambda count: str(float(count[0]) - singles), text)


@contextmanager
def crowd(server: Gunicorn, sends: bytes, window: int = 0) -> Iterator[list[socket.socket]]:
    """Connect many clients, each of whom sends that and then takes its time."""
    with ExitStack() as stack:
        socks = [stack.enter_context(connect(server, window)) for _ in range(SLOW)]
        for sock in socks:
            sock.sendall(sends)
        yield socks


BEGINNINGS = [
    pytest.param(b"", b"", id="silent"),
    pytest.param(b"P", b"", id="one byte and no more"),
    pytest.param(b"POST /predict HTTP/1.1\r\nX: ", b"x", id="a head byte by byte"),
    pytest.param(head(len(ROW)), b" ", id="a small body byte by byte"),
    pytest.param(head(40_000_000) + b" " * 1000, b" ", id="a large body byte by byte"),
    pytest.param(head(90_000_000), b" ", id="a body over the limit byte by byte"),
    pytest.param(head(5).replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"5\r\n0\r\n", b"", id="chunk"),
]


@pytest.mark.parametrize(("beginning", "drop"), BEGINNINGS)
def test_slow_senders_keep_nobody_waiting(server: Gunicorn, beginning: bytes, drop: bytes) -> None:
    """Ordinary requests are answered within a second, whatever part of their request the slow ones hold back."""
    with crowd(server, beginning) as socks:

        def drip() -> None:
            for sock in socks if drop else ():
                sock.sendall(drop)

        worst = worst_of(server, 1, drip)
    assert worst < BOUND


def test_slow_readers_keep_nobody_waiting(server: Gunicorn) -> None:
    """Answers of megabytes that nobody reads wait outside of the threads, and for all of them there is a limit."""
    with ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(connect(server, 4096)).sendall(head(len(BATCH)) + BATCH)
        eventually("the batches to be computed", lambda: f"api_batch_size_count {READERS}.0" in metrics(server))
        worst = worst_of(server, 2, lambda: None)
    assert worst < BOUND


def test_clients_that_do_not_close_keep_nobody_waiting(server: Gunicorn) -> None:
    """A client that asks for the connection's end and leaves its own side open costs the others nothing."""
    with crowd(server, b"GET /health HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n"):
        worst = worst_of(server, 2, lambda: None)
    assert worst < BOUND


def test_a_stalled_request_is_told_why_it_ends(server: Gunicorn) -> None:
    """After ten seconds without a byte: 408, a problem, and the connection's end."""
    with connect(server) as sock:
        sock.sendall(head(len(ROW)) + ROW[:-1])
        begun = time.monotonic()
        answer = sock.makefile("rb").read()
    assert 8 < time.monotonic() - begun < 20
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["reason"] == "too_slow"


def test_a_slow_upload_is_taken(server: Gunicorn) -> None:
    """A clip that comes in small pieces over seconds is predicted as any other."""
    sent = requests.Request("POST", server.url, files={"file": ("a.wav", io.BytesIO(wav(tone(3.0)).read()))}).prepare()
    with connect(server) as sock:
        sock.sendall(head(len(sent.body)).replace(b"application/json", sent.headers["Content-Type"].encode()))
        for at in range(0, len(sent.body), 8_000):
            sock.sendall(sent.body[at : at + 8_000])
            time.sleep(0.02)
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_requests_may_follow_each_other_unasked(server: Gunicorn) -> None:
    """Two requests in one packet, one of them chunked, get two answers in their order."""
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connect(server) as sock:
        sock.sendall(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROW), ROW) + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = b""
        while b'"alive"' not in answers:
            more = sock.recv(65_536)
            assert more, answers
            answers += more
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert b"prediction_id" in answers.split(b"HTTP/1.1 200 OK")[1]


@pytest.mark.parametrize(
    ("sends", "status"),
    [
        pytest.param(b"GET /health HTTP/1.1\r\n" + b"X: " + b"x" * 70_000, 431, id="endless header"),
        pytest.param(head("5", "Transfer-Encoding: chunked") + b"x", 400, id="two lengths"),
        pytest.param(head("5x") + ROW, 400, id="no length"),
        pytest.param(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"zz\r\n", 400, id="chunk"),
        pytest.param(head(46_000_000, "Expect: 100-continue") + b"x" * 46_000_000, 413, id="over the limit"),
    ],
)
def test_a_request_that_is_none_is_refused_at_once(server: Gunicorn, sends: bytes, status: int) -> None:
    """4xx while the client still listens, and no thread waits for the rest."""
    with connect(server) as sock:
        sock.sendall(sends)
        answer = sock.makefile("rb").read()
    assert f"HTTP/1.1 {status} ".encode() in answer


def test_no_request_is_smuggled_in_another(server: Gunicorn) -> None:
    """A whole POST as body of a GET, its length padded to 16 digits and more: one answer, and no row is logged."""
    smuggled_requests_are_refused(server.url, server.url)


def smuggled_requests_are_refused(url: str, api: str) -> None:
    """Hide a row in another request; fail unless that has one answer, and no row is in the log."""
    hidden = head(len(ROW)) + ROW

    def logged() -> float:
        text = requests.get(f"{api}/metrics", timeout=30).text
        return float(text.partition("\nprediction_log_rows_total ")[2].partition("\n")[0])

    before, address = logged(), urlsplit(url)
    padded = (f"{len(hidden):016d}", f"{len(hidden):040d}", f"+{len(hidden)}")
    for first in ("GET /health", "GET /ready", "POST /feedback"):
        for length, status in [*((one, 400) for one in padded), (f"{len(hidden)}", 200)]:
            if status == 200 and first != "GET /health":
                continue
            with socket.create_connection((address.hostname, address.port), timeout=30) as sock:
                lines = f"{first} HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
                sock.sendall(lines.encode() + hidden)
                answers = sock.makefile("rb").read()
            assert answers.startswith(f"HTTP/1.1 {status} ".encode()), (first, length, answers[:200])
            assert answers.count(b"HTTP/1.1 ") == 1
    assert logged() == before


def test_the_server_ends_in_time_with_idle_clients(tmp_path: Path) -> None:
    """Connections that wait for nothing do not hold up a stop."""
    keep_champion(tmp_path / "data", GENRES)
    with gunicorn(tmp_path / "data", "/ready") as server, connect(server), connect(server) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(65_536).startswith(b"HTTP/1.1 200 ")  # the body may come in a packet of its own
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 6
