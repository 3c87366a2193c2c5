"""Real processes and servers in tests: free ports, runs that end with a block, and waits that say for what."""

import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).parents[1]


def eventually(what: str, probe: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll until the probe's answer is true; fail naming what was waited for and what was seen last.

    A server that does not answer yet, or whose answer lacks something, is seen like any other answer.
    """
    begun = time.monotonic()
    while True:
        try:
            seen = probe()
        except (requests.RequestException, KeyError, IndexError) as error:
            seen, last = None, repr(error)
        else:
            last = repr(seen)
        if seen:
            return seen
        waited = time.monotonic() - begun
        assert waited < seconds, f"waited {seconds:g} s for {what}; last seen: {last}"
        time.sleep(min(0.5, 0.05 + waited / 50))


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
