"""The local processes: what dies is run again, what cannot start stops all, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, eventually

RUN = "import sys; from pathlib import Path; from scripts.local import main; main(Path(sys.argv[1]))"


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc/self").exists() else True


def pids(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()] if path.exists() else []


@contextmanager
def running(folder: Path, **commands: str) -> Iterator[subprocess.Popen[str]]:
    procfile = folder / "Procfile"
    procfile.write_text("".join(f"{name}: {command}\n" for name, command in commands.items()))
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(procfile)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)


def test_a_process_that_is_killed_runs_again_and_its_children_do_not(tmp_path: Path) -> None:
    """They hold its port and its output; the other processes go on."""
    with running(
        tmp_path,
        one="sleep 600 & echo $! >> children; echo $$ >> one; wait",
        other="echo $$ >> other; exec sleep 600",
    ) as child:
        eventually("the first start", lambda: len(pids(tmp_path / "one")) == len(pids(tmp_path / "other")) == 1)
        os.kill(pids(tmp_path / "one")[0], signal.SIGKILL)
        eventually("the second start", lambda: len(pids(tmp_path / "one")) == 2)
        eventually("the second start's child", lambda: len(pids(tmp_path / "children")) == 2)
        assert not lives(pids(tmp_path / "children")[0])
        assert lives(pids(tmp_path / "other")[0])
        child.send_signal(signal.SIGTERM)
        said, _ = child.communicate(timeout=30)
    assert "one ended with -9; it is started again in 1 s" in " ".join(said.split()).replace("| ", "")
    assert len(pids(tmp_path / "other")) == 1
    started = [pid for name in ("one", "other", "children") for pid in pids(tmp_path / name)]
    eventually("the end of all", lambda: not any(map(lives, started)))


def test_a_process_that_cannot_start_stops_all_with_its_reason(tmp_path: Path) -> None:
    """A wrong setting is not tried again and again."""
    with running(tmp_path, good="exec sleep 600", bad="sleep 0.5; echo PORT = 0 is none; exit 3") as child:
        said, _ = child.communicate(timeout=30)
    assert child.returncode == 3
    assert "PORT = 0 is none" in said
    assert "started again" not in said
