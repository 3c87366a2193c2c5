"""The append-only log: journals, parts, recovery, and a disk that refuses."""

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from uuid_utils import uuid7

from api.log.append_log import LogUnavailableError
from api.log.sealing import seal
from monitoring.contract.journals import list_journals
from monitoring.contract.parts import list_parts
from tests.processes import ROOT, eventually
from tests.unit.log_fixtures import FORM, MODEL, Log, ids, line, logged, rows


def orphan(folder: Path, content: bytes, name: str = "_journal-dead-1.jsonl") -> Path:
    """Leave a journal as a killed process does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


@contextmanager
def disk_refuses_beyond(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with capture_logs():  # pytest's own capture is a file too
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_rows_are_in_the_part_that_their_journal_becomes(tmp_path: Path) -> None:
    """Sealing turns a journal into one part, whose name tells the range and the count, and removes it."""
    log, first, second = Log(tmp_path), rows(3), rows(2, "pop")
    log.append(first)
    log.append(second)
    assert logged(tmp_path) == []
    log.seal()
    assert set(logged(tmp_path)) == ids(first) | ids(second)
    assert list_journals(tmp_path) == []
    ((part,), unreadable) = list_parts(tmp_path)
    assert (part.first, part.last, part.rows, unreadable) == (first[0][1], second[0][1], 5, [])
    assert (log.count("rows_total"), log.count("parts_sealed_total")) == (5, 1)


def test_a_journal_that_could_not_be_sealed_at_the_end_is_left_to_the_next(tmp_path: Path) -> None:
    """In this process too, where a model may end and begin again: its lock is given up."""
    parts, row = tmp_path / "parts", rows(1)
    parts.write_text("no folder")
    log = Log(tmp_path / "log", parts=parts)
    log.append(row)
    log.close()
    assert (log.count("failures_total", stage="seal"), len(list_journals(tmp_path / "log"))) == (1, 1)
    parts.unlink()
    Log(tmp_path / "log", parts=parts).recover()
    assert set(logged(parts)) == ids(row)


def test_nothing_becomes_no_part(tmp_path: Path) -> None:
    """Sealing without rows, or twice, writes no file."""
    log = Log(tmp_path)
    log.seal()
    log.append(rows(1))
    log.seal()
    log.seal()
    assert len(list(tmp_path.iterdir())) == 1


def test_sealing_again_gives_the_same_part(tmp_path: Path) -> None:
    """A process that dies between the part and the journal's removal leaves no row twice."""
    content = line(rows(3)) + line(rows(2))
    first = seal(orphan(tmp_path, content), tmp_path, FORM)
    assert isinstance(first.part, Path)
    before = first.part.read_bytes()
    again = seal(orphan(tmp_path, content), tmp_path, FORM)
    assert again == first
    assert first.part.read_bytes() == before
    assert len(logged(tmp_path)) == 5


@pytest.mark.parametrize(
    "sealing", [pytest.param({"seconds": 0.2}, id="age"), pytest.param({"rows": 3, "seconds": 30.0}, id="rows")]
)
def test_the_background_thread_seals(tmp_path: Path, sealing: dict[str, Any]) -> None:
    """A journal is sealed by itself when it is old enough or long enough."""
    log = Log(tmp_path, **sealing)
    log.start()
    log.append(rows(3))
    eventually("the journal to be sealed", lambda: len(logged(tmp_path)) == 3)
    log.close()


def test_closing_seals(tmp_path: Path) -> None:
    """A graceful stop leaves parts alone."""
    log, some = Log(tmp_path), rows(4)
    log.start()
    log.append(some)
    log.close()
    assert set(logged(tmp_path)) == ids(some)
    assert list_journals(tmp_path) == []


def test_orphans_are_recovered_and_living_journals_left_alone(tmp_path: Path) -> None:
    """Any process seals a dead one's journal; the journal of a living writer is not touched."""
    living, other, kept, lost = Log(tmp_path), Log(tmp_path), rows(2), rows(3)
    living.append(kept)
    orphan(tmp_path, line(lost))
    other.recover()
    assert set(logged(tmp_path)) == ids(lost)
    assert len(list_journals(tmp_path)) == 1
    living.append(more := rows(1))
    living.seal()
    assert set(logged(tmp_path)) == ids(lost) | ids(kept) | ids(more)


def test_recovery_by_several_at_once_is_one_recovery(tmp_path: Path) -> None:
    """Workers that start together recover every row exactly once."""
    lost = [rows(5) for _ in range(20)]
    for number, some in enumerate(lost):
        orphan(tmp_path, line(some), f"_journal-dead-{number}.jsonl")
    threads = [threading.Thread(target=Log(tmp_path).recover) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(logged(tmp_path)) == sorted(i for some in lost for i in ids(some))
    assert list_journals(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 50, 200])
def test_a_torn_last_line_was_never_acknowledged(tmp_path: Path, cut: int) -> None:
    """A request whose line was cut by a kill is dropped as a whole, even where some of its rows are complete."""
    whole, torn = rows(2), rows(2)
    orphan(tmp_path, line(whole) + line(torn)[:-cut])
    log = Log(tmp_path)
    log.recover()
    assert set(logged(tmp_path)) == ids(whole)
    assert log.count("failures_total", stage="corrupt") == 0


@pytest.mark.parametrize(
    "corrupt",
    [
        pytest.param(b"\0" * 300, id="zeros"),
        pytest.param(b"[[1, 2]]", id="too few columns"),
        pytest.param(b'{"a": 1}', id="an object"),
        pytest.param(line([["id", "yesterday", *rows(1)[0][2:]]])[:-1], id="no timestamp"),
        pytest.param(line([[None, *rows(1)[0][1:]]])[:-1], id="no id"),
        pytest.param(line([[*rows(1)[0][:2], "x", *rows(1)[0][3:]]])[:-1], id="text for a number"),
        pytest.param(b"", id="empty line"),
    ],
)
def test_a_corrupt_line_is_quarantined(tmp_path: Path, corrupt: bytes) -> None:
    """A damaged line costs no other row, and is kept in a file for a person, counted and not silently lost."""
    first, last = rows(2), rows(3)
    orphan(tmp_path, line(first) + corrupt + b"\n" + line(last))
    log = Log(tmp_path)
    assert log.find(ids(first) | ids(last), MODEL.target).keys() == ids(first) | ids(last)
    log.recover()
    assert set(logged(tmp_path)) == ids(first) | ids(last)
    assert (tmp_path / "_corrupt-dead-1.jsonl").read_bytes() == corrupt + b"\n"
    assert log.count("failures_total", stage="corrupt") == 1
    assert list_journals(tmp_path) == []


def test_litter_of_a_killed_sealer_is_removed(tmp_path: Path) -> None:
    """The half written part of a process that was killed while it sealed is nobody's data, and goes."""
    some = rows(2)
    path = orphan(tmp_path, line(some))
    (tmp_path / "_part-1-2-2-dead-1.parquet.4711.tmp").write_bytes(b"PAR1 half")
    foreign = tmp_path / "_part-1-2-2-other-1.parquet.4711.tmp"
    foreign.write_bytes(b"PAR1 half")
    Log(tmp_path).recover()
    assert set(logged(tmp_path)) == ids(some)
    assert not path.exists()
    assert [p.name for p in tmp_path.glob("*.tmp")] == [foreign.name]


def test_rows_are_found_wherever_they_are(tmp_path: Path) -> None:
    """A look-up sees another process's journal, a dead one's and parts, and is not disturbed by sealing."""
    other, dead, sealed = rows(2, "pop"), rows(2, "jazz"), rows(2)
    one, two = Log(tmp_path), Log(tmp_path)
    two.append(sealed)
    two.seal()
    two.append(other)
    orphan(tmp_path, line(dead))
    wanted = ids(other) | ids(dead) | ids(sealed)
    found = one.find([*wanted, str(uuid7()), "nonsense"], MODEL.target)
    assert {i: target for i, (target, _) in found.items()} == {
        **dict.fromkeys(ids(other), "pop"),
        **dict.fromkeys(ids(dead), "jazz"),
        **dict.fromkeys(ids(sealed)),
    }


def test_look_ups_never_miss_a_row_that_is_being_sealed(tmp_path: Path) -> None:
    """While journals become parts, every acknowledged row is found at any moment."""
    log, reader, known, missed = Log(tmp_path), Log(tmp_path), [], []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            wanted = list(known[-50:])
            missed.extend(set(wanted) - reader.find(wanted, MODEL.target).keys())

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(60):
        some = rows(2)
        log.append(some)
        known.extend(ids(some))
        log.seal()
    stop.set()
    thread.join()
    assert missed == []


def test_a_full_disk_refuses_the_request_as_a_whole(tmp_path: Path) -> None:
    """A write that the disk takes in part is cut back: the request fails, its neighbours are whole."""
    log, before, refused, after = Log(tmp_path), rows(2), rows(50), rows(2)
    log.append(before)
    (journal,) = list_journals(tmp_path)
    size = journal.stat().st_size
    with disk_refuses_beyond(size + 100):
        for _ in range(3):
            with pytest.raises(LogUnavailableError, match=r"cannot be written"):
                log.append(refused)
    assert journal.stat().st_size == size
    log.append(after)
    log.seal()
    assert set(logged(tmp_path)) == ids(before) | ids(after)
    assert (log.count("failures_total", stage="append"), log.count("rows_total")) == (3, 4)


def test_a_part_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    """Sealing onto a full disk keeps the journal and counts; the next try makes it good."""
    log, some = Log(tmp_path), rows(2)
    log.append(some)
    with disk_refuses_beyond(10):
        log.seal()
    assert logged(tmp_path) == []
    assert log.count("failures_total", stage="seal") == 1
    assert log.find(ids(some), MODEL.target).keys() == ids(some)
    log.seal()
    assert set(logged(tmp_path)) == ids(some)
    assert [p for p in tmp_path.iterdir() if not p.name.startswith("part-")] == []


def test_a_folder_that_cannot_be_made_refuses(tmp_path: Path) -> None:
    """Where DATA_DIR is not a folder, appending fails as a whole and the probe says why."""
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    log = Log(blocked / "current.parquet")
    with pytest.raises(LogUnavailableError):
        log.append(rows(1))
    assert "cannot be written" in str(log.probe())


def test_threads_share_a_log(tmp_path: Path) -> None:
    """Appends from many threads, while the journal is sealed under them, keep every row once."""
    log, all_rows = Log(tmp_path, seconds=0.05), [[rows(3) for _ in range(50)] for _ in range(6)]
    log.start()
    threads = [threading.Thread(target=lambda some: [log.append(r) for r in some], args=(some,)) for some in all_rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(logged(tmp_path)) == sorted(i for some in all_rows for r in some for i in ids(r))


_WRITER = """
import sys
from pathlib import Path
import structlog
from tests.unit.log_fixtures import Log, rows
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for what is acknowledged
log = Log(Path(sys.argv[1]), seconds=0.05, rows=40)
log.start()
while True:
    some = rows(5)
    log.append(some)
    print(" ".join(row[0] for row in some), flush=True)
"""


@pytest.mark.parametrize("life", [0.05, 0.3, 0.6])
def test_acknowledged_rows_survive_a_kill_at_any_moment(tmp_path: Path, life: float) -> None:
    """A process is killed while it appends and seals: what it acknowledged is in the log exactly once."""
    folder = tmp_path / "current.parquet"
    command = [sys.executable, "-c", _WRITER, str(folder)]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    killer = threading.Timer(life, os.kill, (writer.pid, signal.SIGKILL))
    killer.start()
    acknowledged = (first + writer.stdout.read()).decode().split()
    writer.stdout.close()
    writer.wait()
    Log(folder).recover()
    found = logged(folder)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)
    assert list_journals(folder) == []
