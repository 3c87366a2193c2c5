"""What the disk confirms and what it has room for: group commit, a failing sync, a disk that is nearly full."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from api.log.append_log import LogUnavailableError
from monitoring.contract.journals import list_journals
from tests.processes import eventually
from tests.unit.api_fixtures import features_of, keep_champion, running, service_of, settings
from tests.unit.kills import forked, on_step, steps_of
from tests.unit.log_fixtures import Log, ids, logged, rows
from tests.unit.models import GENRES

ROOM = 2_000_000_000  # bytes: so much that what others write at the same time does not matter
WRITING, SYNCED = "line written", "lines synced"


def test_with_fsync_a_row_is_on_the_disk_before_its_answer(tmp_path: Path) -> None:
    """The journal's name is synced once, each line before its append returns; without the setting nothing is."""

    def append(*, fsync: bool) -> list[str]:
        log = Log(tmp_path, fsync=fsync)
        return steps_of(lambda: [log.append(rows(1)) for _ in range(2)] and None)

    start = ["journal created", "journal locked", WRITING]
    assert append(fsync=True) == [*start, "journal's name synced", WRITING, SYNCED, WRITING, SYNCED]
    assert append(fsync=False) == [*start, WRITING, WRITING]


def test_one_sync_serves_all_requests_in_flight(tmp_path: Path) -> None:
    """Sixteen clients at once: far fewer syncs than requests, and no answer without a sync after the request came."""
    report = tmp_path / "report.json"

    def measure() -> None:
        syncs = [0]
        on_step(lambda name: syncs.__setitem__(0, syncs[0] + (name == SYNCED)))
        log = Log(tmp_path / "log", fsync=True)
        begin = threading.Barrier(16)

        def client() -> None:
            begin.wait()
            for _ in range(40):
                before = syncs[0]
                log.append(rows(1))
                assert syncs[0] > before

        threads = [threading.Thread(target=client) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.seal()
        report.write_text(json.dumps(syncs[0]))

    assert forked(measure) == 0
    assert len(logged(tmp_path / "log")) == 16 * 40
    assert json.loads(report.read_text()) < 16 * 40 / 3


def test_what_the_disk_does_not_confirm_is_refused(tmp_path: Path) -> None:
    """After a failed sync the request is refused and its journal not written again; the next one has a new journal."""
    log, kept, after = Log(tmp_path, fsync=True), rows(2), rows(3)
    log.append(kept)
    journal = log._journal
    assert journal is not None
    disk = os.dup(journal._descriptor)
    read, write = os.pipe()
    os.dup2(write, journal._descriptor)  # takes what is written, and cannot be synced
    with pytest.raises(LogUnavailableError):
        log.append(rows(1))
    os.dup2(disk, journal._descriptor)
    for descriptor in (disk, read, write):
        os.close(descriptor)
    log.append(after)
    assert len(list_journals(tmp_path)) == 2
    log.seal()
    assert sorted(logged(tmp_path)) == sorted(ids(kept) | ids(after))
    assert log.count("failures_total", stage="append") == 1


def test_a_request_is_one_write(tmp_path: Path) -> None:
    """10,000 instances are one write to the journal, as one instance is."""
    log = Log(tmp_path)
    log.append(rows(1))
    before = _writes()
    log.append(rows(10_000))
    assert _writes() == before + 1


def _writes() -> int:
    lines = Path("/proc/thread-self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("syscw")).split()[1])


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """Make an app whose disk has room for little more than its reserve."""
    keep_champion(tmp_path, GENRES)
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    if free < 2 * ROOM:
        pytest.skip(f"needs {2 * ROOM / 1e9:.0f} GB of free disk")
    with running(settings(tmp_path, prediction_log_reserve_mb=(free - ROOM) // 1_000_000)) as app:
        yield app


def test_a_disk_that_is_nearly_full_refuses_and_recovers(app: Flask, tmp_path: Path) -> None:
    """With less than the reserve free, /ready and /predict are 503 and nothing is written; with room, both are 200."""
    client, log = app.test_client(), service_of(app).predictions
    eventually("readiness", lambda: client.get("/ready").status_code == 200, 90)
    accepted: list[str] = []

    def ask() -> TestResponse:
        answer = client.post("/predict", json={"instances": [features_of(GENRES)] * 5})
        accepted.extend(p["prediction_id"] for p in answer.json.get("predictions", []))
        return answer

    assert ask().status_code == 200
    (journal,) = list_journals(log.folder)
    with (tmp_path / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, 2 * ROOM)
        eventually("a refusal", lambda: ask().status_code == 503)
        before = journal.read_bytes()
        for answer in (ask(), client.get("/ready")):
            assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
            assert "of its disk are free" in answer.json["detail"]
            assert int(answer.headers["Retry-After"]) > 0
        assert journal.read_bytes() == before
    (tmp_path / "filler").unlink()
    assert client.get("/ready").status_code == 200
    eventually("an answer", lambda: ask().status_code == 200)
    log.seal()
    assert sorted(logged(log.folder)) == sorted(accepted)
