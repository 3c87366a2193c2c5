"""The containers' proxy, its configuration as committed, before a real API: where this machine has a haproxy."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.processes import ROOT, answers, eventually, free_port, process
from tests.unit.api_fixtures import features_of, gunicorn, keep_champion
from tests.unit.models import GENRES
from tests.unit.test_abuse_slow import smuggled_requests_are_refused

HAPROXY = shutil.which("haproxy")
CONFIG = ROOT / "api/proxy/haproxy.cfg"
LIMIT = 400
pytestmark = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed; the containers have it")


def local(text: str, port: int, api: int) -> str:
    """Return the configuration with local addresses, and nothing else changed."""
    text = re.sub(r"server-template api 10 api:5050", f"server api 127.0.0.1:{api}", text)
    text = text.replace("resolvers docker init-addr none", "").replace("bind :5050", f"bind 127.0.0.1:{port}")
    return text.replace("bind :8404", f"bind 127.0.0.1:{free_port()}")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("proxied") / "data"
    keep_champion(data, GENRES)
    with gunicorn(data, "/ready") as server:
        yield server.url


@contextmanager
def proxy(folder: Path, api: str, wait_for: str) -> Iterator[str]:
    """Run the proxy before an API, and yield its address."""
    port = free_port()
    (folder / "haproxy.cfg").write_text(local(CONFIG.read_text(), port, int(api.rpartition(":")[2])))
    assert HAPROXY is not None
    command = [HAPROXY, "-db", "-f", str(folder / "haproxy.cfg")]
    url, log = f"http://127.0.0.1:{port}", folder / "log"
    with process(command, log, {**os.environ, "API_RATE_LIMIT": str(LIMIT)}) as child:
        eventually("the proxy to pass requests on", answers(f"{url}{wait_for}", child, log), 20)
        yield url


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, api: str) -> Iterator[str]:
    with proxy(tmp_path_factory.mktemp("proxy"), api, "/ready") as url:
        yield url


def test_an_api_without_a_model_logs_what_others_predict_and_says_what_it_lacks(tmp_path: Path) -> None:
    """It is not ready and lives: the proxy passes on what it can do, and its own reason for what it cannot."""
    (tmp_path / "data").mkdir()
    with gunicorn(tmp_path / "data", "/health") as server, proxy(tmp_path, server.url, "/health") as url:
        row = {"features": features_of(GENRES), GENRES.model.prediction: "rock"}
        logged = requests.post(f"{url}/log", json={"rows": [row]}, timeout=30)
        assert (logged.status_code, logged.json()["logged"]) == (200, 1)
        refused = requests.post(f"{url}/predict", json={"features": features_of(GENRES)}, timeout=30)
        assert (refused.status_code, refused.json()["reason"]) == (503, "no_model")


def test_the_committed_configuration_is_sound() -> None:
    """haproxy itself says so, and warns of nothing."""
    assert HAPROXY is not None
    command = [HAPROXY, "-c", "-f", str(CONFIG)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "API_RATE_LIMIT": "1"}
    )
    assert "WARNING" not in done.stderr + done.stdout


def test_slow_clients_end_at_the_proxy(url: str) -> None:
    """Two hundred that hold back head or body: others are served meanwhile, and after ten seconds they hear why."""
    slow_clients_end(url)


def slow_clients_end(url: str) -> None:
    """Let 200 clients hold back their requests; fail unless they are cut off and others are served."""
    port = int(url.rpartition(":")[2])
    with ExitStack() as stack:
        begun, socks = time.monotonic(), []
        for number in range(200):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            part = b"P" if number % 2 else b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n{"
            sock.sendall(part)
            socks.append(sock)
        for _ in range(50):
            asked = time.monotonic()
            assert requests.get(f"{url}/model", timeout=30).ok
            assert time.monotonic() - asked < 1
        answers = [sock.makefile("rb").read() for sock in socks]
        assert 8 < time.monotonic() - begun < 20
    head, _, rest = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    assert json.loads(rest)["reason"] == "too_slow"


def test_the_proxy_passes_no_smuggled_request_on(url: str, api: str) -> None:
    """It has the API's opinion of where a request ends, or refuses the request itself."""
    smuggled_requests_are_refused(url, api)


def test_too_many_requests_of_one_address_are_a_429(url: str) -> None:
    """A problem that says when to come back; other addresses are served."""
    many_requests_end(url, LIMIT)
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        sock.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def many_requests_end(url: str, limit: int) -> None:
    """Send more requests than the limit allows; fail unless the last ones are told when to come back."""
    with requests.Session() as session:
        statuses = [session.get(f"{url}/health", timeout=10).status_code for _ in range(limit + 50)]
    assert statuses.index(429) > limit // 2
    assert set(statuses) == {200, 429}
    answer = requests.get(f"{url}/health", timeout=10)
    assert (answer.headers["Content-Type"], answer.headers["Retry-After"]) == ("application/problem+json", "10")
    assert answer.json()["reason"] == "rate_limit"
