"""Watch processes for whatever they want from beyond this machine, without rights that a test does not have.

Three observers, for none sees all: a hook in every Python process; a proxy, which libraries offer what passes Python's
sockets by (uvloop, Go); and, on Linux, the kernel's list of sockets, read ten times a second.
"""

import contextlib
import ipaddress
import os
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.stack.watched.sitecustomize import is_here

HOOK = Path(__file__).parent / "watched"
PROC = Path("/proc")
TABLES = ("tcp", "tcp6", "udp", "udp6")

# What keeps libraries quiet on machines of tests, so that a test would see nothing where a user's machine speaks.
HUSHES = {
    "APPVEYOR", "BITBUCKET_BUILD_NUMBER", "BITBUCKET_COMMIT", "BUDDY", "BUILDKITE", "CI", "CIRCLECI", "CI_NAME",
    "CLOUD_RUN_EXECUTION", "CODEBUILD_BUILD_ARN", "CODEBUILD_BUILD_ID", "DO_NOT_TRACK", "DRONE", "GITHUB_ACTIONS",
    "GITLAB_CI", "ITERATIVE_DO_NOT_TRACK", "JENKINS_URL", "MLFLOW_DISABLE_TELEMETRY",
    "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "PREFECT_SERVER_ANALYTICS_ENABLED", "PYTEST_CURRENT_TEST",
    "PYTEST_VERSION", "SEMAPHORE", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS",
}  # fmt: skip


class _Proxy(socketserver.StreamRequestHandler):
    """Record whom a request is for, and refuse it."""

    def handle(self) -> None:
        asked = self.rfile.readline(1000).decode(errors="replace").strip()
        with self.server.attempts.open("a") as attempts:  # type: ignore[attr-defined]
            attempts.write(f"proxy: {asked}\n")
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


class Watch:
    """What the processes that are started with `environment` have tried."""

    def __init__(self, attempts: Path, proxy: str) -> None:
        self.attempts = attempts
        self._proxy = proxy

    def environment(self, given: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return what a process to be watched is started with: the hook, the proxy, and nothing that hushes it."""
        kept = {name: value for name, value in given.items() if name not in HUSHES}
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self._proxy)
        proxies |= {"NO_PROXY": "127.0.0.1,localhost,::1"}
        proxies |= {name.lower(): value for name, value in proxies.items()}
        return {**kept, **proxies, "PYTHONPATH": str(HOOK), "WATCH_FILE": str(self.attempts)}

    def seen(self) -> list[str]:
        """Return a line for each attempt."""
        return self.attempts.read_text().splitlines() if self.attempts.exists() else []


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """Observe until the end of the block."""
    attempts, done = folder / "attempts.txt", threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Proxy) as proxy:
        proxy.attempts = attempts  # type: ignore[attr-defined]
        threads = [threading.Thread(target=proxy.serve_forever, args=(0.05,))]
        if sys.platform == "linux":
            threads.append(threading.Thread(target=_poll, args=(attempts, done)))
        for thread in threads:
            thread.start()
        try:
            yield Watch(attempts, f"http://127.0.0.1:{proxy.server_address[1]}")
        finally:
            done.set()
            proxy.shutdown()
            for thread in threads:
                thread.join()


def _poll(attempts: Path, done: threading.Event) -> None:
    """Record each socket of a watched process, whatever it is written in, that has a peer beyond this machine."""
    marker = f"WATCH_FILE={attempts}".encode()
    seen: set[tuple[str, str]] = set()
    while not done.wait(0.1):
        peers = _peers()
        for process in _watched(marker) if peers else ():
            for inode in _sockets(process) & peers.keys():
                if (process.name, peers[inode]) not in seen:
                    seen.add((process.name, peers[inode]))
                    with attempts.open("a") as file:
                        file.write(f"socket: {peers[inode]} by {_command(process)!r}\n")


def _peers() -> dict[str, str]:
    """Return the sockets that have a peer beyond this machine: inode -> peer, from the kernel's tables."""
    peers = {}
    for table in TABLES:
        for line in (PROC / "net" / table).read_text().splitlines()[1:]:
            columns = line.split()
            if not is_here(peer := _address(columns[2].partition(":")[0])):
                peers[columns[9]] = peer
    return peers


def _address(digits: str) -> str:
    """Return an address of the kernel's tables: hexadecimal words of four bytes, each in the machine's own order."""
    words = [bytes.fromhex(digits[i : i + 8]) for i in range(0, len(digits), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    mapped = raw[-4:] if raw[:12] == b"\0" * 10 + b"\xff\xff" else raw
    return str(ipaddress.ip_address(mapped))


def _watched(marker: bytes) -> Iterator[Path]:
    for process in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            if marker in (process / "environ").read_bytes().split(b"\0"):
                yield process


def _sockets(process: Path) -> set[str]:
    inodes = set()
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = descriptor.readlink().name
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    return inodes


def _command(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return process.name
