"""Servers to measure: an application under gunicorn with the API's own settings, the sample's model, wrk as client."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import requests

from api.model import Release, save_copy
from data.sample import draw_reference
from flows.training.export import export_onnx
from flows.training.pipeline import choose_recipe, train
from flows.training.sample import sample_of
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config

ROOT = Path(__file__).parents[1]
MODEL = load_config(ROOT / "monitoring/config.yml").model
CATEGORY = MODEL.categories[0]
CONNECTIONS = 16
WORKERS = 2
PATIENCE = 120  # seconds


def features(row: int = 0) -> dict[str, float]:
    """Return one row of the sample, as a client sends it."""
    return {name: round(values[row], 4) for name, values in _SAMPLE.items()}


_SAMPLE = draw_reference(MODEL).select(MODEL.features).to_pydict()


def keep_champion(data: Path, model: Model = MODEL, reference: pa.Table | None = None) -> None:
    """Train a model by the default trainer and lay down its local copy: the API serves it without a registry.

    It learns from a reference, by default the built-in model's sample.
    """
    sample = sample_of(draw_reference(model) if reference is None else reference, model)
    exported = export_onnx(train(sample, choose_recipe(sample, model.rules.metrics[0])), model)
    save_copy(data / "_model", model.name, Release("1", 1), exported.SerializeToString())


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time that its workers have taken."""
        workers = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in workers]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(name: str, data: Path, **environment: str) -> Iterator[Server]:
    """Serve one of benchmarks.applications by two workers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "-c", "api/gunicorn.conf.py", f"benchmarks.applications:{name}()"]
    settings = {
        "DATA_DIR": str(data),
        "API_PORT": str(port),
        "API_WORKERS": str(WORKERS),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
    }
    variables = {**os.environ, **settings, **environment}
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.DEVNULL)
    try:
        _wait(process, server := Server(f"http://127.0.0.1:{port}", process.pid))
        yield server
    finally:
        process.terminate()
        process.wait(60)


def _wait(process: subprocess.Popen[bytes], server: Server) -> None:
    """Wait until every worker is ready, its audio path warm: warming up takes seconds of a core."""
    deadline = time.monotonic() + PATIENCE
    in_turn = 0
    while in_turn < 20 * WORKERS:  # whichever worker answers
        assert process.poll() is None, "the server ended"
        assert time.monotonic() < deadline, f"the server was not ready within {PATIENCE} s"
        try:
            ready = requests.get(f"{server.url}/ready", timeout=5).ok
        except requests.RequestException:  # not up yet
            ready = False
        in_turn = in_turn + 1 if ready else 0
        time.sleep(0.02 if ready else 0.2)


def load(server: Server, body: Any, seconds: int, connections: int = CONNECTIONS) -> tuple[float, float]:
    """Send a body over and over by wrk; return the answers a second and the CPU seconds of each.

    All are 200, but for at most one of a hundred, which the API may refuse where the disk makes it late.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        sys.exit("wrk is not on PATH; on Debian: apt install wrk")
    script = Path(__file__).with_name("post.lua")
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"{server.url}/predict"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(orjson.dumps(body))
        file.flush()
        environment = {**os.environ, "BODY_FILE": file.name}
        begun = server.cpu_seconds()
        out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    assert "Socket errors" not in out, out
    assert refused is None or int(refused[1]) <= 0.01 * int(re.search(r"(\d+) requests in", out)[1]), out
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    return rate, (server.cpu_seconds() - begun) / (rate * seconds)
