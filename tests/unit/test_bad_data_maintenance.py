"""The API quarantines what nobody can read, and nothing else; merging and retiring go on."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from api.log.maintenance import Maintenance
from api.log.quarantine import why_unreadable
from api.log.retention import Retention
from monitoring.contract.parts import list_parts
from monitoring.contract.storage import place
from tests.unit.bad_files import UNREADABLE
from tests.unit.log_fixtures import FORM, Log, ids, read_ids, rows

OLD = 1_767_225_600_000_000  # microseconds since 1970


def maintenance(log: Log, patience: float = 0.0, **retention: timedelta) -> Maintenance:
    return Maintenance(log, Log(log.folder / "labels"), Retention(**retention), 60.0, patience)


def damage(path: Path) -> None:
    """Spoil the rows of a file and leave its footer."""
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])


def sealed(log: Log, batches: int, **about: int) -> list[list[str]]:
    """Seal parts of two rows each; return their ids, a list per part."""
    some = [rows(2, **about) for _ in range(batches)]
    for batch in some:
        log.append(batch)
        log.seal()
    return [sorted(ids(batch)) for batch in some]


@pytest.mark.parametrize(("name", "make"), UNREADABLE)
def test_what_nobody_can_read_is_quarantined(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    """Unreadable at two checks it is renamed, kept as it was, named with its reason and counted; the rows stay."""
    log = Log(tmp_path)
    kept = sealed(log, 1)
    make(tmp_path / name)
    plain = (tmp_path / name).is_file() and (tmp_path / name).stat().st_size < 1_000_000
    before = (tmp_path / name).read_bytes() if plain else None
    job = maintenance(log)
    with capture_logs() as logs:
        for _ in range(3):  # a file whose footer is whole waits for its turn to be read to the end
            job.once()
    quarantined = tmp_path / f"_bad-{name}"
    assert before is None or quarantined.read_bytes() == before
    assert not os.path.lexists(tmp_path / name)
    (line,) = [line for line in logs if line["event"] == "log_part_set_aside"]
    assert line["path"] == str(tmp_path / name)
    assert line["reason"]
    assert log.count("failures_total", stage="bad_part") == 1
    assert sorted(read_ids(tmp_path)) == sorted(i for batch in kept for i in batch)


def test_a_file_is_given_time(tmp_path: Path) -> None:
    """A file that is unreadable for less than the patience stays where it is, and one that is still written longer."""
    log, bad = Log(tmp_path), tmp_path / "from-elsewhere.parquet"
    bad.write_bytes(b"PAR1 half")
    patient = maintenance(log, patience=60.0)
    patient.once()
    patient.once()
    assert bad.exists()
    hasty = maintenance(log)
    for n in range(3):
        bad.write_bytes(b"PAR1 half" + b"." * n)
        hasty.once()
        assert bad.exists()
    hasty.once()
    assert not bad.exists()


def test_a_file_that_becomes_whole_is_read(tmp_path: Path) -> None:
    """What another tool was still writing is nobody's failure once it is there."""
    log = Log(tmp_path)
    (batch,) = sealed(log, 1)
    (part,) = list_parts(tmp_path)[0]
    content = Path(str(part.path)).read_bytes()
    bad = tmp_path / "from-elsewhere.parquet"
    bad.write_bytes(content[:100])
    job = maintenance(log)
    job.once()
    bad.write_bytes(content)
    job.once()
    job.once()
    assert bad.exists()
    assert log.count("failures_total", stage="bad_part") == 0
    assert set(read_ids(tmp_path)) == set(batch)


def test_merging_goes_on_around_a_damaged_part(tmp_path: Path) -> None:
    """Of 33 parts one has lost its rows: it alone is quarantined, the rest is merged, and every other row is there."""
    log = Log(tmp_path)
    batches = sealed(log, 33)
    victim = next(p for p in list_parts(tmp_path)[0] if p.path.read_bytes().find(batches[7][0].encode()) >= 0)
    damage(victim.path)
    job = maintenance(log)
    for _ in range(4):
        job.once()
    assert (tmp_path / f"_bad-{victim.name}").exists()
    assert log.count("parts_merged_total") == 2
    assert sorted(read_ids(tmp_path)) == sorted(i for n, batch in enumerate(batches) if n != 7 for i in batch)
    assert log.count("failures_total", stage="merge") <= 1


def test_retiring_goes_on_past_a_damaged_part(tmp_path: Path) -> None:
    """The oldest part cannot be archived: it is quarantined, and those behind it leave when their time has come."""
    log = Log(tmp_path / "log")
    sealed(log, 4, at=OLD)
    parts = list_parts(log.folder)[0]
    damage(parts[0].path)
    job = Maintenance(
        log,
        Log(tmp_path / "labels"),
        Retention(age=timedelta(days=1), archive=place(str(tmp_path / "archive"))),
        60.0,
        0.0,
    )
    for _ in range(4):
        job.once()
    assert list_parts(log.folder)[0] == []
    assert log.count("parts_retired_total") == 3
    assert (log.folder / f"_bad-{parts[0].name}").exists()


def test_a_part_that_was_merged_away_is_no_bad_part(tmp_path: Path) -> None:
    """A suspected file that is gone at the next check was merged, archived or moved by a person."""
    log = Log(tmp_path)
    bad = tmp_path / "from-elsewhere.parquet"
    bad.touch()
    job = maintenance(log)
    job.once()
    bad.unlink()
    job.once()
    assert log.count("failures_total", stage="bad_part") == 0
    assert [path.name for path in tmp_path.glob("_bad-*")] == []
    assert why_unreadable(bad, FORM.schema) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_stays(tmp_path: Path) -> None:
    """Trouble of the machine says nothing about a file."""
    bad = tmp_path / "from-elsewhere.parquet"
    bad.touch(mode=0)
    with pytest.raises(PermissionError):
        why_unreadable(bad, FORM.schema)


def test_a_part_from_the_future_is_merged_with_none(tmp_path: Path) -> None:
    """A wrong clock's parts stay by themselves, so that they can be told by their names; nothing of them is lost."""
    log = Log(tmp_path)
    now, ahead = sealed(log, 16), sealed(log, 16, at=4_102_444_800_000_000)
    maintenance(log).once()
    assert len(list_parts(tmp_path)[0]) == 1 + 16
    found = log.find([i for batch in [*now, *ahead] for i in batch], FORM.schema.names[-1])
    assert set(found) == {i for batch in [*now, *ahead] for i in batch}
