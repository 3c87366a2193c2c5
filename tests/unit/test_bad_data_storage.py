"""Bad objects among parts in object storage are quarantined there; storage that is away makes none bad."""

from pathlib import Path

import pytest

from api.log.maintenance import Maintenance
from api.log.quarantine import why_unreadable
from api.log.retention import Retention
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.storage import Remote, list_names
from tests.unit.log_fixtures import ALL, FORM, MODEL, Log, ids, rows
from tests.unit.test_prediction_log_storage import bucket

__all__ = ["bucket"]  # the fixture


def put(place: Remote, content: bytes) -> None:
    filesystem, path = place.address
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def test_a_bad_object_is_quarantined(tmp_path: Path, bucket: str) -> None:
    """Under its new name in the same folder, with its content; the parts beside it are read."""
    layout = Layout(tmp_path, bucket)
    log, some = Log(layout.journals(layout.current), parts=layout.current), rows(2)
    log.append(some)
    log.seal()
    put(layout.current / "from-elsewhere.parquet", b"no Parquet")
    job = Maintenance(log, Log(tmp_path / "labels"), Retention(), 60.0, 0.0)
    for _ in range(2):
        job.once()
    found = read_rows(layout, MODEL, ALL)
    assert (set(found.table["prediction_id"].to_pylist()), found.unreadable) == (ids(some), ())
    assert "_bad-from-elsewhere.parquet" in list_names(layout.current)
    assert "from-elsewhere.parquet" not in list_names(layout.current)
    assert log.count("failures_total", stage="bad_part") == 1


def test_storage_that_is_away_makes_no_part_bad(tmp_path: Path, bucket: str) -> None:
    """An object that cannot be fetched is not judged."""
    away = Layout(tmp_path, f"{bucket.rpartition(':')[0]}:9").current
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        why_unreadable(away / "part.parquet", FORM.schema)
    assert why_unreadable(Layout(tmp_path, bucket).current / "gone.parquet", FORM.schema) is None
