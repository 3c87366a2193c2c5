"""Whatever lies in a shared folder, under whatever name: it is named, and it stops nothing but itself."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from structlog.testing import capture_logs

from api.log.append_log import LogUnavailableError
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from api.metrics import APIMetrics, render
from flows.registry.publication import BusyError, complete, sole_run, stage
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.locks import FolderLock, LockedError, _Waiter
from monitoring.contract.part_reader import UNREADABLE, read_file
from monitoring.contract.parts import list_parts
from monitoring.contract.plain_files import OddEntryError, make_folder, read_plain, readable, set_aside
from monitoring.contract.reference import InvalidReferenceError, read_reference, reference_digest
from monitoring.contract.storage import open_parquet, place, replaced
from monitoring.snapshot.report_archive import ReportArchive
from tests.processes import ROOT, eventually
from tests.unit.bad_files import ODD
from tests.unit.kills import forked
from tests.unit.log_fixtures import MODEL, Log, ids, read_ids, rows
from tests.unit.models import LOANS, loans
from tests.unit.monitor_fixtures import keep_reference, make_rows, monitor_of

OLD = 1_767_225_600_000_000  # microseconds since 1970
PLACES = [pytest.param(make, id=kind) for kind, make in ODD.items()]
NOBODY = 65_534
BYTES = os.fsdecode(b"from-\xff\xfe-elsewhere.parquet")  # no UTF-8
LONG = "x" * 246 + ".parquet"  # 254 bytes

# what each of the log's names would be taken for
NAMES = (
    f"part-{OLD}-{OLD + 1}-2-0badc0de-1.parquet",
    f"part-{OLD}-{OLD + 1}-{'9' * 90}-0badc0de-1.parquet",
    f"part-{OLD}-{OLD + 1}-2-0badc0de-x.parquet",
    f"part-{OLD}-{OLD + 1}-2-merged-0123456789abcdef.parquet",
    "_part-1-merged-2.parquet.0123.tmp",
    "_journal-0badc0de-1.jsonl",
    "_journal-0badc0de-\u0661.jsonl",
    "_lock",
    "_upkeep",
    "foreign.parquet",
    LONG,
    BYTES,
)


def maintenance(log: Log, **retention: object) -> Maintenance:
    return Maintenance(log, Log(log.folder / "labels"), Retention(**retention), 60.0, 0.0)  # type: ignore[arg-type]


def sealed(log: Log, batches: int, **about: int) -> set[str]:
    some = [rows(2, **about) for _ in range(batches)]
    for batch in some:
        log.append(batch)
        log.seal()
    return {i for batch in some for i in ids(batch)}


@pytest.mark.parametrize(
    "make", [*PLACES, pytest.param(Path.mkdir, id="a folder"), pytest.param(Path.touch, id="empty")]
)
def test_odd_entries_under_every_name_stop_nothing(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Appending, sealing, recovering, merging, retiring, labels and look-ups all go on; readers see every row."""
    log = Log(tmp_path / "log")
    kept = sealed(log, 16)
    old = sealed(log, 1, at=OLD)
    for name in NAMES:
        make(log.folder / name)
    job = maintenance(log, age=timedelta(days=1), archive=place(str(tmp_path / "archive")))
    with capture_logs() as told:
        for _ in range(3):
            log.recover()
            job.once()
        with log.exclusive():
            kept |= sealed(log, 1)
    assert log.count("parts_merged_total") >= 1
    assert log.count("parts_retired_total") >= 1
    assert not {*log.find(old, "actual_genre")}
    assert set(log.find(kept, "actual_genre")) == kept
    assert sorted(read_ids(log.folder)) == sorted(kept)
    named = "".join(str(line) for line in told)
    assert all(name in named for name in ("foreign.parquet", "_journal-0badc0de-1")) or make is Path.touch
    log.close()


def test_what_another_may_not_read_stops_nothing(tmp_path: Path) -> None:
    """Files of mode 000, as parts, journals and locks: they stay, are named each time, and all else goes on."""
    if os.geteuid() == 0:
        os.chown(tmp_path, NOBODY, NOBODY)
        for folder in tmp_path.parents:
            if not folder.stat().st_mode & 0o005:
                folder.chmod(folder.stat().st_mode | 0o055)

    def work() -> None:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        log = Log(tmp_path / "log")
        kept = sealed(log, 16)
        for name in ("foreign.parquet", NAMES[0], NAMES[3], "_journal-0badc0de-1.jsonl"):
            (log.folder / name).touch(mode=0)
        job = maintenance(log, age=timedelta(days=1))
        with capture_logs() as told:
            for _ in range(3):
                log.recover()
                job.once()
        assert log.count("parts_merged_total") == 1
        assert set(log.find(kept, "actual_genre")) == kept
        assert (log.folder / "foreign.parquet").exists()
        assert log.count("failures_total", stage="part_refused") > 0
        assert log.count("failures_total", stage="upkeep") == 0
        assert "foreign.parquet" in str(told)

    assert forked(work) == 0


@pytest.mark.parametrize("make", PLACES)
def test_the_monitor_and_the_flows_pass_odd_state_by(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Where state, history, reports, kept references and locks lie: nobody waits, and the cycle succeeds."""
    layout = Layout(tmp_path)
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    for name in (
        "_drift/_state.json",
        "_drift/_accuracy.json",
        "_history/00000000000000000001-ab.json",
        "_reports/20260101T000000.000Z-passing-1.html",
        "_references/odd.parquet",
        "_references/_next-odd",
        "_rhythm/odd.parquet",
        "_profiles/odd",
        "_flows.lock",
    ):
        make_folder((tmp_path / name).parent)
        make(tmp_path / name)
    monitor, _ = monitor_of(tmp_path, loans(minimum_rows=500), drift_alarm="on")
    monitor.cycle()
    monitor.stop()
    assert monitor.state.problem is None
    assert read_history(layout) == []
    archive = ReportArchive(tmp_path / "_reports", 1)
    assert archive.read("20260101T000000.000Z-passing-1", ".html") is None
    with sole_run(layout, patience=0), pytest.raises(BusyError), sole_run(layout, patience=0):
        pass
    stage(layout, LOANS.model, "2", read_reference(layout, LOANS.model).table, origin="rebased")
    assert complete(layout, "2")
    assert read_reference(layout, LOANS.model).model_version == "2"


@pytest.mark.parametrize("make", PLACES)
def test_a_reference_that_is_odd_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """By what it is, and at once; the monitor says so on its page."""
    layout = Layout(tmp_path)
    make(layout.reference)
    with pytest.raises(InvalidReferenceError):
        read_reference(layout, LOANS.model)
    with pytest.raises(OddEntryError):
        reference_digest(layout)


def test_a_lock_that_is_never_given_up_holds_no_thread(tmp_path: Path) -> None:
    """One request waits for a while, each later one is refused at once; when it is free again, all is as before."""
    held = (tmp_path / "_lock").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    turns = FolderLock(tmp_path / "_lock", patience=0.2)
    refused = []

    def ask() -> None:
        try:
            with turns.held():
                pass
        except LockedError as error:
            refused.append(str(error))

    ask()
    waiting = threading.active_count()
    for _ in range(100):
        ask()
    assert threading.active_count() == waiting  # the kernel's queue holds one, which is no request's
    assert refused == ["_lock is held by another process"] * 101
    held.close()
    eventually("the one that waited in the kernel to have had it", lambda: threading.active_count() < waiting, 10)
    with turns.held():
        pass
    inside, most = [0], [0]

    def take_turns() -> None:
        for _ in range(20):
            with FolderLock(tmp_path / "_lock", patience=60).held():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)  # another thread's chance to be inside too
                inside[0] -= 1

    threads = [threading.Thread(target=take_turns) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_feedback_is_refused_while_another_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request hears 503, and it is counted; nothing else of the log waits."""
    monkeypatch.setattr("api.log.append_log.LOCK_PATIENCE", 0.1)
    log = Log(tmp_path / "log")
    log.append(rows(1))
    with (log.folder / "_lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LogUnavailableError, match="is locked"), log.exclusive():
            pass
        log.append(rows(1))
        log.seal()
    assert log.count("failures_total", stage="lock") == 1
    log.close()


def queued(lock: Path) -> int:
    """Return how many wait in the kernel's queue for a lock."""
    inode = lock.stat().st_ino
    waiting = (line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line)
    return sum(fields[6].endswith(f":{inode}") for fields in waiting)


def holding(lock: AbstractContextManager[None], until: Callable[[], Any], *, at_once: bool = True) -> threading.Thread:
    """Hold a lock in a thread until that is true; return when it is held, or at once if others hold it still."""
    held = threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            eventually("the holder's time", until)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    if at_once:
        eventually("the lock", held.is_set)
    return thread


def test_slow_honest_holders_are_no_failure_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other processes or of this one: who waits for too long hears 503 all the same, and tries again."""
    monkeypatch.setattr("api.log.append_log.LOCK_PATIENCE", 2.0)
    log, ended = Log(tmp_path / "log"), threading.Event()
    path = log.folder / "_lock"
    first = holding(FolderLock(path, 60).held(), lambda: queued(path) == 2)
    second = holding(FolderLock(path, 60).held(), ended.is_set, at_once=False)
    eventually("the second to wait", lambda: queued(path) == 1)
    with pytest.raises(LogUnavailableError, match="is busy"), log.exclusive():
        pass
    ended.set()
    first.join()
    second.join()
    ended.clear()
    third = holding(log.exclusive(), ended.is_set)
    with pytest.raises(LogUnavailableError, match="is busy"), log.exclusive():
        pass
    ended.set()
    third.join()
    with log.exclusive():
        pass
    assert log.count("failures_total", stage="lock") == 0
    log.close()


def test_a_lock_whose_file_is_removed_meanwhile_is_waited_for_by_its_name(tmp_path: Path) -> None:
    """Who has waited for the removed one does not hold the lock beside whoever holds the new one."""
    path, ended = tmp_path / "_lock", threading.Event()
    before = FolderLock(path, 60).held()
    before.__enter__()
    waits = holding(FolderLock(path, 60).held(), lambda: True, at_once=False)
    eventually("the other to wait", lambda: queued(path) == 1)
    path.unlink()
    after = holding(FolderLock(path, 60).held(), ended.is_set)
    before.__exit__(None, None, None)
    eventually("the other to wait again", lambda: queued(path) == 1 or not waits.is_alive())
    assert waits.is_alive()
    ended.set()
    waits.join()
    after.join()


def test_who_has_waited_for_a_turn_does_not_wait_as_long_again(tmp_path: Path) -> None:
    """One deadline is for both: for this process's other requests, and for the lock."""
    turns, ended = FolderLock(tmp_path / "_lock", patience=600), threading.Event()
    other = holding(FolderLock(turns.path, 60).held(), ended.is_set)
    with pytest.raises(LockedError):
        turns._take(time.monotonic(), turns._dated())
    ended.set()
    other.join()


def test_a_lock_that_the_system_refuses_is_not_taken(tmp_path: Path) -> None:
    """Its error is told."""
    descriptor = os.open(tmp_path, os.O_PATH)
    waiter = _Waiter(descriptor)
    os.close(descriptor)
    waiter.start()
    waiter.join()
    assert not waiter.taken
    assert waiter.error is not None


def test_folders_and_files_are_this_accounts_alone(tmp_path: Path) -> None:
    """0700 and 0600 where we make them, whatever the umask; what was there stays as it was."""
    before = os.umask(0)
    try:
        theirs = tmp_path / "theirs"
        theirs.mkdir(mode=0o755)
        log = Log(theirs / "data" / "log")
        log.append(rows(1))
        with log.exclusive():
            pass
        maintenance(log).once()
        with replaced(theirs / "data/_drift/_state.json") as temporary:
            temporary.touch()
    finally:
        os.umask(before)
    assert theirs.stat().st_mode & 0o777 == 0o755
    for path in (theirs / "data").rglob("*"):
        if path.is_dir():
            assert path.stat().st_mode & 0o777 == 0o700, path
        elif path.name != "_state.json":  # by its folder
            assert path.stat().st_mode & 0o777 == 0o600, path
    log.close()


def test_a_file_that_is_cut_off_under_its_reader_is_an_error(tmp_path: Path) -> None:
    """Nothing is mapped into memory: the process that reads it lives, and takes no part of it for the whole."""
    path, schema = tmp_path / "x.parquet", pa.schema([pa.field("a", pa.float64())])
    table = pa.table({"a": pa.array(range(600_000), pa.float64())})

    def spoiled(size: int, group: int) -> None:
        pq.write_table(table, path, row_group_size=group, compression="none", use_dictionary=False)
        with open_parquet(path) as file:
            assert next(read_file(file, schema, [0])).num_rows > 0
            os.truncate(path, size)
            with pytest.raises(UNREADABLE):
                [*read_file(file, schema)]

    def work() -> None:
        for size in (0, 100, 1_000_000):
            for group in (50_000, 600_000):
                spoiled(size, group)

    assert forked(work) == 0


def test_one_file_for_another_between_look_and_open(tmp_path: Path) -> None:
    """What is read is what was looked at: a name that leads elsewhere afterwards changes nothing."""
    one, other = tmp_path / "x.parquet", tmp_path / "other"
    pq.write_table(pa.table({"a": [1]}), one)
    pq.write_table(pa.table({"a": [2]}), other)
    with open_parquet(one) as file:
        other.replace(one)
        assert file.read()["a"].to_pylist() == [1]


def test_a_name_is_taken_twice(tmp_path: Path) -> None:
    """What is set aside never takes the place of what was set aside before, and fits the file system's names."""
    for kind in (Path.mkdir, Path.touch, Path.mkdir):
        kind(tmp_path / LONG)
        set_aside(tmp_path / LONG)
        kind(tmp_path / "x")
        set_aside(tmp_path / "x")
    assert len(list(tmp_path.iterdir())) == 6
    assert all(path.name.startswith("_bad-") for path in tmp_path.iterdir())


def test_a_folder_in_the_place_of_a_file_makes_room(tmp_path: Path) -> None:
    """A state file that somebody has made a folder of is written all the same; the folder is kept."""
    (tmp_path / "state.json" / "full").mkdir(parents=True)
    with replaced(tmp_path / "state.json") as temporary:
        temporary.write_text("{}")
    assert (tmp_path / "state.json").read_text() == "{}"
    assert (tmp_path / "_bad-state.json/full").is_dir()


def test_the_page_and_the_log_show_a_name_of_no_encoding(tmp_path: Path) -> None:
    """As escapes, which every encoding takes."""
    from monitoring.page.page import create_app  # noqa: PLC0415 - slow

    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    make_folder(tmp_path / "current.parquet")
    (tmp_path / "current.parquet" / BYTES).write_text("no Parquet")
    monitor, registry = monitor_of(tmp_path, loans(minimum_rows=500), drift_alarm="off")
    with capture_logs() as told:
        monitor.cycle()
    answer = create_app(monitor, registry, lambda: True).test_client().get("/")
    assert answer.status_code == 200
    assert r"from-\udcff\udcfe-elsewhere.parquet" in answer.text
    assert r"from-\udcff\udcfe-elsewhere.parquet" in next(t["path"] for t in told if t["event"] == "part_unreadable")
    assert readable(BYTES).encode()


def test_a_scrape_passes_odd_files_by(tmp_path: Path) -> None:
    """A FIFO, an empty file and a folder among the workers' metrics."""
    os.mkfifo(tmp_path / "counter_1.db")
    (tmp_path / "counter_2.db").touch()
    (tmp_path / "gauge_livemax_3.db").mkdir()
    code = "from api.metrics import APIMetrics, render; from tests.unit.models import GENRES as g;"
    code += "m = APIMetrics(g.model); m.rejected.labels('odd').inc(); print(render([m.registry]).decode())"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert 'api_rejected_requests_total{reason="odd"} 1.0' in done.stdout, done.stderr


def test_a_locale_of_another_encoding_changes_no_file(tmp_path: Path) -> None:
    """Turkey's i and ASCII alone: what is written and read does not go by the account's locale."""
    code = """if True:
        import locale, sys
        from pathlib import Path
        from scripts.stack import Stack
        from monitoring.contract.config_file import load_config
        from tests.unit.log_fixtures import Log, ids, read_ids, rows
        assert locale.getencoding().upper() != "UTF-8", locale.getencoding()
        Stack(Path(sys.argv[1]) / "data", Path(sys.argv[1]) / "state").prepare()
        config = load_config("monitoring/config.yml")
        log, sent = Log(Path(sys.argv[1]) / "log"), rows(2)
        log.append(sent); log.seal()
        assert set(read_ids(log.folder)) == ids(sent)
        """
    odd = {**os.environ, "LC_ALL": "POSIX", "LANG": "tr_TR.ISO-8859-9", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=odd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    other = tmp_path / "other"
    code = code.replace('assert locale.getencoding().upper() != "UTF-8", locale.getencoding()', "")
    subprocess.run([sys.executable, "-c", code, str(other)], cwd=ROOT, check=True, capture_output=True)
    rules = "state/prometheus/rules/model_alerts.yml"
    assert (tmp_path / rules).read_bytes() == (other / rules).read_bytes()


def test_a_file_that_grows_while_it_is_read_and_one_that_is_far_too_large(tmp_path: Path) -> None:
    """The first is read as far as it goes; of the second nothing is, however few blocks it has."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    assert read_plain(path) == b"x" * 10
    with pytest.raises(OddEntryError, match="0 MB large"):
        read_plain(path, largest=9)
    os.truncate(path, 1 << 40)
    with pytest.raises(OddEntryError, match="MB large"):
        read_plain(path)


def test_an_error_of_the_system_is_told_as_it_is(tmp_path: Path) -> None:
    """It is not its own cause: who follows the causes of an error comes to an end."""
    with pytest.raises(OSError, match="too long") as told:
        read_plain(tmp_path / ("x" * 300))
    assert told.value.__cause__ is None


def test_each_stage_of_the_logs_failures_is_counted_from_the_start() -> None:
    """The lock's too: a counter that begins at 1 has not increased, for Prometheus."""
    metrics = APIMetrics(MODEL)
    assert b'labels_log_failures_total{stage="lock"} 0.0' in render([metrics.registry])


def test_parts_are_named_in_ascii_digits(tmp_path: Path) -> None:
    """A name in other digits, or of more rows than anybody has, is a foreign file's, which is placed by its rows."""
    for name in (f"part-{OLD}-{OLD + 1}-\u0662-w-1.parquet", f"part-{OLD}-{OLD + 1}-{'9' * 30}-w-1.parquet"):
        (tmp_path / name).touch()
    parts, unreadable = list_parts(tmp_path)
    assert (parts, len(unreadable)) == ([], 2)
