"""A retraining whose process is stopped: real Prefect, runner and flows end it, tell, and go on with a rollback."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.processes import eventually, slowness
from tests.stack.flows_servers import Loop, Servers, now, serving
from tests.unit.flows_fixtures import draw_wine, write_log

pytestmark = [pytest.mark.timeout(1500), pytest.mark.long]  # Prefect's runner waits half a minute before it kills


@pytest.fixture
def limit() -> int:
    """Return the seconds that a run may take: it counts from PENDING, and its process must have begun by then."""
    return round(60 * slowness())


@pytest.fixture
def loop(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> Iterator[Loop]:
    monkeypatch.setenv("FLOWS_RUN_SECONDS", str(limit))
    with serving(servers, tmp_path, "stopped") as found:
        yield found


def holder(loop: Loop) -> int | None:
    """Return the process that holds the flows' lock, once there is one."""
    lock = (loop.layout.root / "_flows.lock").stat()
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "FLOCK" in fields and fields[5].endswith(f":{lock.st_ino}"):
            return int(fields[4])
    return None


def in_state(loop: Loop, run_id: str, *states: str) -> dict[str, Any]:
    """Wait for a run to be in one of the states; a busy machine takes minutes to start its process."""

    def look() -> Any:
        run = requests.get(f"{loop.servers.prefect}/flow_runs/{run_id}", timeout=60).json()
        return run if run["state_type"] in states else None

    return dict(eventually(f"run {run_id} to be {' or '.join(states)}", look, 600))


def test_a_stopped_run_is_ended_and_what_waits_behind_it_goes_on(loop: Loop, limit: int) -> None:
    """The retraining counts as crashed; the rollback that was asked for meanwhile is taken up."""
    write_log(loop.layout, loop.config, draw_wine(400, shift=6, seed=2), start=now(), labels="late")
    first = loop.notify("drift")
    stopped = eventually("the retraining's process", lambda: holder(loop), 600)
    os.kill(stopped, signal.SIGSTOP)
    second = loop.notify("bad", "ModelTurnedBad", "rollback")
    ended = in_state(loop, first["flow_run_id"], "CRASHED")
    assert f"it had not ended within {limit} s" in ended["state"]["message"]
    in_state(loop, second["flow_run_id"], "PENDING", "RUNNING", "COMPLETED", "CANCELLING", "CRASHED")
    assert not Path(f"/proc/{stopped}").exists()
