"""One stack for a state folder and for a DATA_DIR: a second is refused by name, until the first has ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.owner import LOCK, OwnedError, claim
from scripts.stack import PORTS, Stack
from tests.processes import ROOT, free_port

HOLDS = """
import os, sys
from pathlib import Path
from scripts.stack import PORTS, Stack
Stack(Path(sys.argv[1]), Path(sys.argv[2]), PORTS | {"api": 5999}).claim()
os.execv(sys.executable, [sys.executable, "-c", "print('held', flush=True); import time; time.sleep(600)"])
"""


@contextlib.contextmanager
def holder(data: Path, state: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process own the folders, as `make run` does: it claims them, and becomes the stack by exec."""
    command = [sys.executable, "-c", HOLDS, str(data), str(state)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("shared", ["data", "state"])
def test_a_second_stack_is_refused_by_name(tmp_path: Path, shared: str) -> None:
    """By process and ports, before it changes anything; a stack of folders of its own starts beside it."""
    ours, theirs = ({name: tmp_path / whose / name for name in ("data", "state")} for whose in ("ours", "theirs"))
    with holder(**theirs) as process:
        counted = theirs["state"] / "api-metrics" / "counter_1.db"
        counted.parent.mkdir()
        counted.touch()
        ours[shared] = theirs[shared]
        ports = {f"{name.upper()}_PORT": str(free_port()) for name in PORTS}
        options = ["--data", str(ours["data"]), "--state", str(ours["state"])]
        command = [sys.executable, "-m", "scripts.stack", *options]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **ports}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        for said in (str(theirs[shared]), f"the {shared} folder", f"process {process.pid}", "api 5999", "monitor 8000"):
            assert said in done.stderr
        assert counted.exists()
        own = Stack(tmp_path / "own/data", tmp_path / "own/state").claim()
    for descriptor in own:
        os.close(descriptor)


def test_the_folders_are_free_when_the_process_ends_however(tmp_path: Path) -> None:
    """Killed, it leaves the lock's file and no lock; what cannot be read of a former owner is no obstacle."""
    data, state = tmp_path / "data", tmp_path / "state"
    with holder(data, state) as process:
        with pytest.raises(OwnedError):
            Stack(data, state).claim()
        process.send_signal(signal.SIGKILL)
        process.wait()
        for descriptor in Stack(data, state).claim():
            os.close(descriptor)
    (data / LOCK).write_bytes(b"\xff" * 100)
    held = claim({"data": data, "state": data / "../data"}, PORTS)  # one folder by two names is one
    assert len(held) == 1
    (data / LOCK).write_text("[]")
    with pytest.raises(OwnedError, match="has not said which"):
        claim({"data": data}, PORTS)
    os.close(held[0])


def test_services_of_one_stack_share_its_folder(tmp_path: Path) -> None:
    """The lock is the stack's, not a service's: API, monitor and flows of it work in the folder as ever."""
    from flows.registry.publication import sole_run  # noqa: PLC0415
    from monitoring.contract.layout import Layout  # noqa: PLC0415
    from tests.unit.log_fixtures import Log, ids, read_ids, rows  # noqa: PLC0415

    held = claim({"data": tmp_path}, PORTS)
    sent = rows(2), rows(2)
    for some in sent:
        log = Log(tmp_path / "current.parquet")
        log.append(some)
        log.close()
    with sole_run(Layout(tmp_path), patience=0):
        assert set(read_ids(tmp_path / "current.parquet")) == ids(sent[0]) | ids(sent[1])
    os.close(held[0])
