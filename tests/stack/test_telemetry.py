"""Nothing leaves the machine unless its owner says so."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stack import QUIET
from tests.processes import eventually
from tests.stack.demo_run import Demo
from tests.stack.watching import watching

ELSEWHERE = "203.0.113.1"  # for documentation; nobody has it
UDP = f"import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.connect(('{ELSEWHERE}', 9)); time.sleep(2)"
MLFLOW = "import mlflow, time; mlflow.set_tracking_uri('sqlite:///m.db'); mlflow.create_experiment('x'); time.sleep(2)"
EVIDENTLY = (
    "from evidently.telemetry import event_logger; event_logger.send_event('a', 'b'); import time; time.sleep(3)"
)
PREFECT = """
import uvloop
from prefect.server.database import provide_database_interface
from prefect.server.services import telemetry
from prefect.server.services.perpetual_services import get_enabled_perpetual_services

async def main():  # as the server does at its start, in the loop that the server runs in
    await provide_database_interface().create_db()
    for service in get_enabled_perpetual_services():
        if service.function.__module__ == telemetry.__name__:
            await service.function()

uvloop.run(main())
"""
ONNX = """
import time, onnx, onnxruntime
node = onnx.helper.make_node("Identity", ["x"], ["y"])
x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
graph = onnx.helper.make_graph([node], "g", [x], [y])
model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
time.sleep(60)
"""
UVLOOP = "import httpx, uvloop; uvloop.run(httpx.AsyncClient().get('https://elsewhere.invalid'))"


@pytest.mark.timeout(1200)
def test_nothing_leaves_the_machine_while_the_loop_closes(demo: Demo) -> None:
    """From start to recovery no service looks a foreign name up or opens a connection to another machine."""
    assert demo.finished.returncode == 0, demo.finished.stderr
    assert demo.attempts == []


def _attempts(folder: Path, code: str, *options: str, **switches: str) -> list[str]:
    """Run Python code until it ends or the first attempt is seen."""
    with watching(folder) as watch:
        environment = {**watch.environment(), "HOME": str(folder), "PREFECT_HOME": str(folder), **switches}
        command = [sys.executable, *options, "-c", code]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            eventually("the code to end or to try", lambda: process.poll() is not None or watch.seen(), 60)
        finally:
            process.kill()
            said = process.communicate()[1]
        if f"Errno {errno.ENETUNREACH}]" in said:
            pytest.skip("this machine has no way to another: the kernel refuses before there is a socket to see")
        return watch.seen()


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        pytest.param(f"import socket; socket.create_connection(('{ELSEWHERE}', 9), 1)", ELSEWHERE, id="an address"),
        pytest.param("import socket; socket.gethostbyname('elsewhere.invalid')", "elsewhere.invalid", id="a name"),
        pytest.param(
            f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{ELSEWHERE}', 9))",
            ELSEWHERE,
            id="a datagram",
        ),
        pytest.param(UVLOOP, "CONNECT elsewhere.invalid:443", id="past Python's sockets"),
    ],
)
def test_an_attempt_is_seen(tmp_path: Path, code: str, seen: str) -> None:
    """The watch sees what a process tries by each way, so its silence means something."""
    assert seen in " ".join(_attempts(tmp_path, code))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's list of sockets is Linux's")
def test_an_attempt_without_the_hook_is_seen(tmp_path: Path) -> None:
    """A program that no hook reaches is seen by the socket that it holds."""
    assert f"socket: {ELSEWHERE}" in " ".join(_attempts(tmp_path, UDP, "-I"))


QUICK = [
    pytest.param(MLFLOW, id="MLflow"),
    pytest.param(EVIDENTLY, id="Evidently"),
    pytest.param(PREFECT, id="Prefect"),
]


@pytest.mark.parametrize("code", [*QUICK, pytest.param(ONNX, id="ONNX Runtime")])
def test_a_library_left_alone_calls_home_and_is_seen(tmp_path: Path, code: str) -> None:
    """Without our switches it does, and the watch sees it: they are what keeps it quiet."""
    assert _attempts(tmp_path, code)


# ONNX Runtime sends what it has gathered after ten seconds and more; the demo's run is long enough to show it quiet.
@pytest.mark.parametrize("code", QUICK)
def test_our_switches_keep_a_library_quiet(tmp_path: Path, code: str) -> None:
    """With the stack's switches the same calls go nowhere."""
    assert _attempts(tmp_path, code, **QUIET) == []
