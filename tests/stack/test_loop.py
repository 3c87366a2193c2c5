"""The closed loop, once, with every real component."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("API", "MONITOR", "TRIGGER", "PROMETHEUS", "ALERTMANAGER", "PREFECT", "MLFLOW")
HOPS = (
    "first prediction",
    "reference ready",
    "drift injected",
    "p-value fell",
    "alert firing",
    "webhook accepted",
    "flow run started",
    "candidate evaluated",
    "champion promoted",
    "API serves it",
    "reference re-based",
    "alert resolved",
    "recovered",
)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def run_demo(tmp_path: Path, ports: list[int], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        **{f"{name}_PORT": str(port) for name, port in zip(SERVICES, ports, strict=True)},
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "scripts.demo", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=420, check=False)


@pytest.mark.timeout(450)
def test_demo_closes_the_loop_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """From the first prediction to the recovered alert, then no process, port or file is left."""
    ports = free_ports(len(SERVICES))
    finished = run_demo(tmp_path, ports)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    seen = re.findall(r"^ *[\d.]+ s  \+ *[\d.]+ s  (.{20}) ", finished.stdout, re.MULTILINE)
    assert set(HOPS) <= {hop.strip() for hop in seen}
    assert "refused or failed 0" in finished.stdout
    assert list(tmp_path.iterdir()) == []
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_demo_names_a_port_that_is_taken(tmp_path: Path) -> None:
    """A second stack on the same ports is refused before anything is started."""
    ports = free_ports(len(SERVICES))
    with socket.create_server(("127.0.0.1", ports[1])):
        finished = run_demo(tmp_path, ports)
    assert finished.returncode == 1
    assert f"{ports[1]} (monitor: set MONITOR_PORT to another)" in finished.stderr


def test_demo_refuses_a_reference_that_does_not_fit(tmp_path: Path) -> None:
    """A file that is not a reference is refused with what is wrong with it."""
    wrong = tmp_path / "wrong.parquet"
    wrong.write_bytes(b"not Parquet")
    finished = run_demo(tmp_path, free_ports(len(SERVICES)), "--reference", str(wrong))
    assert finished.returncode == 1
    assert "is not a readable Parquet file" in finished.stderr
