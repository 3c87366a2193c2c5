"""Retention: by age and by size, to nowhere or to an archive by date; labels leave after their predictions."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from api.log.append_log import label_format
from api.log.id_index import TAIL
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.errors import ConfigError
from monitoring.contract.journals import list_journals
from monitoring.contract.parts import list_parts
from monitoring.contract.times import Micros
from tests.unit.api_fixtures import running, service_of, settings
from tests.unit.log_fixtures import MODEL, Log, ids, logged, rows, write_part

DAY = 86_400_000_000
OLD = 1_790_000_000_000_000 // DAY * DAY  # a midnight, in microseconds since 1970


def look_after(predictions: Log, retention: Retention) -> None:
    labels = Log(predictions.folder.with_name("labels.parquet"), form=label_format(MODEL))
    Maintenance(predictions, labels, retention, 60.0).once()


def test_without_limits_everything_stays(tmp_path: Path) -> None:
    """The log keeps what it is not told to drop."""
    write_part(tmp_path / "log", count=10, at=0)
    look_after(Log(tmp_path / "log"), Retention())
    assert len(logged(tmp_path / "log")) == 10


def test_rows_leave_by_age(tmp_path: Path) -> None:
    """A part goes when its newest row is too old: not a row is dropped early."""
    log, old, new = Log(tmp_path / "log"), rows(3, at=OLD), rows(2)
    for some in (old, [*rows(1, at=OLD), *new]):
        log.append(some)
        log.seal()
    look_after(log, Retention(age=timedelta(days=7)))
    assert len(logged(log.folder)) == 3
    assert ids(new) < set(logged(log.folder))
    assert log.count("parts_retired_total") == 1


def test_ids_stay_while_a_journal_has_their_rows(tmp_path: Path) -> None:
    """Backdated rows that are not sealed yet are older than each part."""
    log, new = Log(tmp_path / "log"), rows(2)
    log.append(rows(1, at=OLD + 1))
    log.append(rows(1, at=OLD))  # in the journal still
    write_part(log.folder, count=1, at=1)
    log.ids.put({"old": Micros(OLD)})
    log.ids.put({f"old/{n}": Micros(OLD + 5) for n in range(TAIL)})
    look_after(log, Retention(age=timedelta(days=7), size=10**9))
    assert log.ids.times(["old"]) == {"old": OLD}
    log.seal()
    log.append(new)
    look_after(log, Retention(age=timedelta(days=7)))
    assert log.ids.times(["old"]) == {}


def test_rows_leave_by_size(tmp_path: Path) -> None:
    """The oldest parts go until the others fit."""
    parts = [write_part(tmp_path / "log", count=1000, at=day * 86_400) for day in range(5)]
    sizes = [Path(str(part.path)).stat().st_size for part in parts]
    look_after(Log(tmp_path / "log"), Retention(size=sum(sizes[-2:]) + 10))
    assert [part.name for part in list_parts(tmp_path / "log")[0]] == [part.name for part in parts[:-3:-1]]


def test_the_archive_is_by_date(tmp_path: Path) -> None:
    """A part whose rows are of two days is in two folders, which pandas reads with their dates, each row once."""
    log = Log(tmp_path / "current.parquet")
    first, second = rows(2, at=OLD + DAY - 1), rows(3, at=OLD + DAY)
    log.append([*first, *second])
    log.seal()
    look_after(log, Retention(age=timedelta(days=1), archive=tmp_path / "archive"))
    assert logged(log.folder) == []
    frame = pd.read_parquet(tmp_path / "archive/current.parquet")
    dates = frame.groupby(frame["date"].astype(str))["prediction_id"].agg(set).to_dict()
    assert dates == {"2026-09-21": ids(first), "2026-09-22": ids(second)}
    assert len(frame) == 5


def test_a_part_that_cannot_be_archived_stays(tmp_path: Path) -> None:
    """Nothing leaves the log before it is in the archive; the failure is counted."""
    log, old = Log(tmp_path / "log"), rows(3, at=OLD)
    log.append(old)
    log.seal()
    (tmp_path / "archive").write_text("a file in the folder's place")
    look_after(log, Retention(age=timedelta(days=1), archive=tmp_path / "archive"))
    assert set(logged(log.folder)) == ids(old)
    assert log.count("failures_total", stage="retire") == 1


def test_labels_leave_after_their_predictions(tmp_path: Path) -> None:
    """A label stays as long as its prediction may be in the log."""
    predictions = Log(tmp_path / "current.parquet")
    labels = Log(tmp_path / "labels.parquet", form=label_format(MODEL))
    old, new = rows(2, at=OLD), rows(2)
    for some in (old, new):
        predictions.append(some)
        predictions.seal()
        labels.append([[row[0], "rock", row[1]] for row in some])
        labels.seal()
    keep = Retention(age=timedelta(days=1))
    Maintenance(predictions, labels, Retention(age=timedelta(days=40_000)), 60.0).once()
    assert set(logged(labels.folder)) == ids(old) | ids(new)
    Maintenance(predictions, labels, keep, 60.0).once()
    assert set(logged(labels.folder)) == ids(new)


def test_the_settings_reach_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PREDICTION_LOG_KEEP and PREDICTION_LOG_ARCHIVE, as a user sets them; a bad value is named."""
    write_part(tmp_path / "current.parquet", count=10, at=-10_000_000)
    chosen = settings(tmp_path, prediction_log_keep="30d", prediction_log_archive=str(tmp_path / "archive"))
    with running(chosen) as app:
        service_of(app).maintenance.once()
    assert logged(tmp_path / "current.parquet") == []
    assert len(list((tmp_path / "archive").rglob("*.parquet/date=*/part-*"))) == 1
    monkeypatch.setenv("PREDICTION_LOG_KEEP", "a while")
    with pytest.raises(ConfigError, match="PREDICTION_LOG_KEEP"):
        type(chosen).read()


def test_the_lag_is_how_long_rows_have_been_in_a_journal(tmp_path: Path) -> None:
    """Neither sealed rows nor backdated ones lag, whatever their age."""
    log = Log(tmp_path / "log")
    log.append(rows(1, at=OLD))
    log.append(rows(1))
    look_after(log, Retention())
    assert log.metrics.lag.collect()[0].samples[0].value == pytest.approx(0, abs=5)
    (journal,) = list_journals(tmp_path / "log")
    begun = re.sub(rb'(?<="begun":)[0-9]+', str(OLD).encode(), journal.read_bytes(), count=1)
    with journal.open("r+b") as file:  # in its place: the log appends to this very file
        file.write(begun)
    look_after(log, Retention())
    expected = datetime.now(UTC).timestamp() - OLD / 1e6
    assert log.metrics.lag.collect()[0].samples[0].value == pytest.approx(expected, abs=5)
    log.seal()
    look_after(log, Retention())
    assert log.metrics.lag.collect()[0].samples[0].value == 0
