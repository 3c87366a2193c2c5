"""`make demo` as a test runs it: on free ports, in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.processes import ROOT

SERVICES = ("API", "MONITOR", "TRIGGER", "PROMETHEUS", "ALERTMANAGER", "PREFECT", "MLFLOW")

HOPS = (
    "first prediction",
    "reference ready",
    "drift injected",
    "drift detected",
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


@dataclass(frozen=True)
class Demo:
    """A demo that has run: what it printed, where, what was looked up before its stack stopped, what wanted out."""

    finished: subprocess.CompletedProcess[str]
    ports: list[int]
    folder: Path
    looked_up: Path
    attempts: list[str]


def run_demo(
    tmp_path: Path,
    ports: list[int],
    *arguments: str,
    program: str = "scripts.demo",
    surroundings: Mapping[str, str] = os.environ,
) -> subprocess.CompletedProcess[str]:
    environment = {
        **surroundings,
        **{f"{name}_PORT": str(port) for name, port in zip(SERVICES, ports, strict=True)},
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1150, check=False)
