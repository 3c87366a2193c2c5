"""Kills between each two steps of appending, sealing, recovery, merging and retention: nothing is lost or doubled."""

import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.journals import list_journals
from tests.processes import ROOT
from tests.unit.kills import killed_at, steps_of
from tests.unit.log_fixtures import MODEL, Log, ids, line, logged, read_ids, rows

DAY = 86_400_000_000
OLD = 1_790_000_000_000_000 // DAY * DAY  # a midnight, in microseconds since 1970

Work = Callable[[Path], None]


def seal(folder: Path) -> None:
    log = Log(folder, fsync=True)
    log.append(_NEW)
    log.seal()


def recover(folder: Path) -> None:
    Log(folder).recover()


def maintain(folder: Path, retention: Retention | None = None) -> None:
    Maintenance(Log(folder), Log(folder / "labels"), retention or Retention(), 60.0).once()


def archive(folder: Path) -> None:
    maintain(folder, Retention(age=timedelta(days=1), archive=folder / "archive"))


_NEW = rows(3)
_ORPHANS = [rows(2), rows(3)]
_SEALED = [rows(1, at=OLD + 1000 * n) for n in range(16)]
_TWO_DAYS = [*rows(2, at=OLD + DAY - 1), *rows(2, at=OLD + DAY + 1)]


def nothing(_folder: Path) -> None:
    """Begin with an empty log."""


def orphans(folder: Path) -> None:
    """Leave two dead writers' journals: one with a line that is damaged, one with a torn one."""
    (folder / "_journal-dead-1.jsonl").write_bytes(line(_ORPHANS[0]) + b"[[1]]\n")
    (folder / "_journal-dead-2.jsonl").write_bytes(line(_ORPHANS[1]) + line(rows(2))[:-9])


def small_parts(folder: Path) -> None:
    """Seal as many small parts as are merged at once."""
    log = Log(folder)
    for some in _SEALED:
        log.append(some)
        log.seal()


def old_part(folder: Path) -> None:
    """Seal a part of two days, long ago."""
    log = Log(folder)
    log.append(_TWO_DAYS)
    log.seal()


# what lies there, what is done, the rows that were acknowledged before
CASES = {
    "seal": (nothing, seal, []),
    "recover": (orphans, recover, [row for some in _ORPHANS for row in some]),
    "merge": (small_parts, maintain, [row for some in _SEALED for row in some]),
    "archive": (old_part, archive, _TWO_DAYS),
}
EACH_CASE = pytest.mark.parametrize("case", CASES)


def copy(folder: Path, name: str) -> Path:
    """Copy a folder next to itself."""
    return Path(shutil.copytree(folder, folder.with_name(f"{folder.name}-{name}")))


def prepared(tmp_path: Path, prepare: Work) -> Path:
    folder = tmp_path / "log"
    folder.mkdir(parents=True)
    prepare(folder)
    return folder


def everything(folder: Path) -> list[str]:
    """Return the ids that readers see in the log and, where they have left the log, in the archive."""
    found = read_ids(folder)
    if any(folder.glob("archive/**/part-*")):
        archived = pd.read_parquet(folder / "archive", columns=["prediction_id"])["prediction_id"]
        found += [i for i in archived if i not in found]
    return found


@EACH_CASE
def test_a_kill_between_any_two_steps_loses_and_doubles_nothing(tmp_path: Path, case: str) -> None:
    """Killed after each step, then recovered: every acknowledged row is there once, and no litter is left.

    Whoever reads before the recovery sees no row twice, and none less than before the kill.
    """
    prepare, work, acknowledged = CASES[case]
    origin = prepared(tmp_path, prepare)
    unkilled = copy(origin, "unkilled")
    steps = steps_of(lambda: work(unkilled))
    for step in range(len(steps)):
        folder = copy(origin, str(step))
        before = everything(folder)
        killed_at(step, lambda folder=folder: work(folder))
        found = everything(folder)
        assert len(found) == len(set(found)), steps[step]
        assert set(before) <= set(found), steps[step]
        check_recovered(folder, work, ids(acknowledged), steps[step])


@pytest.mark.parametrize("case", ["seal", "recover"])
def test_a_recovery_may_be_killed_too(tmp_path: Path, case: str) -> None:
    """Killed after each step, and the recovery after each of its own: the next one puts all right."""
    prepare, work, acknowledged = CASES[case]
    origin = prepared(tmp_path, prepare)
    unkilled = copy(origin, "unkilled")
    for step in range(len(steps_of(lambda: work(unkilled)))):
        folder = copy(origin, str(step))
        killed_at(step, lambda folder=folder: work(folder))
        unkilled_again = copy(folder, "unkilled")
        for again in range(len(steps_of(lambda twin=unkilled_again: recover(twin)))):
            twin = copy(folder, str(again))
            killed_at(again, lambda twin=twin: recover(twin))
            check_recovered(twin, recover, ids(acknowledged), f"{step}, {again}")


def check_recovered(folder: Path, work: Work, acknowledged: set[str], where: str) -> None:
    """Recover and do the work that was cut off again, unless it was an append; then look at what lies there."""
    recover(folder)
    (work if work is archive else maintain)(folder)
    found = everything(folder)
    assert len(found) == len(set(found)), where
    assert acknowledged <= set(found) <= acknowledged | ids(_NEW), where
    assert len(ids(_NEW) & set(found)) in (0, len(_NEW)), where  # the request as a whole, or nothing of it
    assert sorted(logged(folder)) == sorted(read_ids(folder)), where  # what pandas sees
    assert list_journals(folder) == [], where
    assert list(folder.rglob("*.tmp")) == [], where
    assert Log(folder).find(logged(folder), MODEL.target).keys() == set(logged(folder)), where


def test_every_named_point_is_reached(tmp_path: Path) -> None:
    """The cases above pass all of the points that the code names; those of `ingest` are in its own tests."""
    sources = [*ROOT.glob("api/log/**/*.py"), *ROOT.glob("monitoring/**/*.py")]
    sources = [path for path in sources if path.parent.name != "batch"]
    named = {name for path in sources for name in re.findall(r'\bstep\("([^"]+)"\)', path.read_text())}
    reached = set()
    for name, (prepare, work, _) in CASES.items():
        folder = prepared(tmp_path / name, prepare)
        steps = steps_of(lambda folder=folder, work=work: work(folder))
        reached |= set(steps)
        if name == "merge":  # and what one leaves that is killed before it removed the first source
            folder = prepared(tmp_path / "leftovers", prepare)
            killed_at(steps.index("parts merged"), lambda folder=folder: maintain(folder))
            reached |= set(steps_of(lambda folder=folder: maintain(folder)))
    assert reached == named
