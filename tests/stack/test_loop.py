"""The closed loop, once, with every real component."""

import re
import socket
from pathlib import Path

import pytest

from tests.processes import free_ports
from tests.stack.demo_run import HOPS, SERVICES, Demo, run_demo


@pytest.mark.timeout(1200)
def test_demo_closes_the_loop_and_leaves_nothing_behind(demo: Demo) -> None:
    """From the first prediction to the recovered alert, then no process, port or file is left."""
    finished = demo.finished
    assert finished.returncode == 0, finished.stdout + finished.stderr
    seen = re.findall(r"^ *[\d.]+ s  \+ *[\d.]+ s  (.{20}) ", finished.stdout, re.MULTILINE)
    assert set(HOPS) <= {hop.strip() for hop in seen}
    assert "refused or failed 0" in finished.stdout
    assert list(demo.folder.iterdir()) == []
    for port in demo.ports:
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
