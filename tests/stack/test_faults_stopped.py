"""A retraining whose process is stopped: real Prefect, runner and flows end it, tell, and go on with a rollback."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.stack.flows_servers import Loop, Servers, now, serving
from tests.unit.flows_fixtures import draw_wine, write_log

pytestmark = [pytest.mark.timeout(500), pytest.mark.long]  # Prefect's runner waits half a minute before it kills


@pytest.fixture
def loop(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    monkeypatch.setenv("FLOWS_RUN_SECONDS", "5")
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


def test_a_stopped_run_is_ended_and_what_waits_behind_it_goes_on(loop: Loop) -> None:
    """The retraining crashed; the rollback that was asked for meanwhile has ended by itself."""
    write_log(loop.layout, loop.config, draw_wine(400, shift=6, seed=2), start=now(), labels="late")
    first = loop.notify("drift")
    stopped = eventually("the retraining's process", lambda: holder(loop), 60)
    os.kill(stopped, signal.SIGSTOP)
    second = loop.notify("bad", "ModelTurnedBad", "rollback")
    ended = loop.servers.ended_run(first["flow_run_id"])
    ended = eventually(
        "the run to count as crashed",
        lambda: run if (run := loop.servers.ended_run(ended["id"]))["state_type"] == "CRASHED" else None,
        120,
    )
    assert "it had not ended within 5 s" in ended["state"]["message"]
    assert loop.servers.ended_run(second["flow_run_id"])["state_type"] == "COMPLETED"
    assert not Path(f"/proc/{stopped}").exists()
