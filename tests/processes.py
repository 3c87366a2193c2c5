"""Real processes and servers in tests: free ports, runs that end with a block, and waits that say for what."""

import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[1]


# What every service of ours begins with, as nice as the work that steps back furthest: the calibration of the alarms.
UNIT = "import os; os.nice(5); import pandas, sklearn.linear_model"
UNIT_SECONDS = 1.6  # of a start of Python with it, on two quiet cores: the machine that deadlines are given for


def slowness() -> float:
    """Return how many times as long as on a quiet machine a known piece of work takes now; at least 1."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", UNIT], cwd=ROOT, check=True)
    return max(1.0, (time.monotonic() - begun) / UNIT_SECONDS)


class Patience:
    """A deadline in the seconds of a quiet machine. It is later by as much as this one proves to be slower.

    What is there within half of the time costs nothing. From then on the machine is measured, beside the polls: in the
    middle, and whenever the time seems to be up. So the deadline grows with the slowest that was seen.
    """

    def __init__(self, seconds: float, measure: Callable[[], float] = slowness) -> None:
        self.slowness = 1.0
        self._seconds, self._measure = seconds, measure
        self._begun = time.monotonic()
        self._next = seconds / 2
        self._measuring: threading.Thread | None = None

    @property
    def waited(self) -> float:
        """The seconds so far."""
        return time.monotonic() - self._begun

    def ended(self) -> bool:
        """Say whether the time is up, by a measure that was begun after it."""
        if self._measuring is None and self.waited >= self._next:
            self._measuring = threading.Thread(target=self._take, daemon=True)
            self._measuring.start()
        if self._measuring is None or self._measuring.is_alive():
            return False
        self._measuring = None
        deadline = self._seconds * self.slowness
        up = self._next >= deadline
        self._next = max(self._next, deadline)
        return up

    def _take(self) -> None:
        self.slowness = max(self.slowness, self._measure())


def eventually(what: str, probe: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll until the probe's answer is true; fail naming what was waited for and what was seen last.

    `seconds` are those of a quiet machine: see Patience. A server that does not answer yet, or whose answer lacks
    something, is seen like any other answer.
    """
    patience = Patience(seconds)
    while True:
        try:
            seen = probe()
        except (requests.RequestException, KeyError, IndexError) as error:
            seen, last = None, repr(error)
        else:
            last = repr(seen)
        if seen:
            return seen
        assert not patience.ended(), (
            f"waited {patience.waited:.0f} s for {what} ({seconds:g} s if this machine was not {patience.slowness:.1f} "
            f"times as slow as a quiet one); last seen: {last}"
        )
        time.sleep(min(0.5, 0.05 + patience.waited / 50))


def free_ports(count: int) -> list[int]:
    """Return different ports that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def free_port() -> int:
    return free_ports(1)[0]


@contextmanager
def process(
    command: Sequence[object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process whose output goes to a file; end it with the block."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def answers(url: str, child: subprocess.Popen[bytes], log: Path) -> Callable[[], bool]:
    """Return a probe of whether a process of ours answers there; it fails, with its log, if the process has ended."""

    def probe() -> bool:
        assert child.poll() is None, log.read_text()
        return requests.get(url, timeout=5).ok

    return probe


class QuietHandler(BaseHTTPRequestHandler):
    """Answers in plain text, and logs nothing."""

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def answer(self, status: int, body: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[int]:
    """Let a server answer in a thread until the end of the block; give its port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
