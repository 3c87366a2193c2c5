"""Parts in object storage, against a local server that speaks S3; journals stay on this machine."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
import requests

from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.config_file import load_config
from monitoring.contract.journals import list_journals
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import covered, list_parts
from monitoring.contract.storage import place
from tests.processes import eventually
from tests.unit.api_fixtures import features_of, gunicorn, keep_champion
from tests.unit.log_fixtures import ALL, MODEL, Log, ids, rows
from tests.unit.log_traffic import Traffic
from tests.unit.models import write_config
from tests.unit.object_storage import KEY, served_folder

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve a bucket; yield the URI of a folder in it."""
    with served_folder(monkeypatch) as uri:
        yield uri


def test_parts_go_to_storage_and_come_back(tmp_path: Path, bucket: str) -> None:
    """Sealed, recovered and merged there; readers see each row once, look-ups find it, and no journal leaves."""
    layout = Layout(tmp_path, bucket)
    log = Log(layout.journals(layout.current), parts=layout.current)
    some = [rows(2, "pop") for _ in range(20)]
    for batch in some:
        log.append(batch)
        log.seal()
    lost = rows(3)
    orphan = Log(log.folder, parts=layout.current)
    orphan.append(lost)
    orphan._journal.close()  # its process died
    log.recover()
    Maintenance(log, Log(tmp_path / "labels"), Retention(), 60.0).once()
    parts, unreadable = list_parts(layout.current)
    assert (len(parts), unreadable) == (20 - 16 + 1 + 1, [])
    assert any(covered(part) for part in parts)
    found = read_rows(layout, MODEL, ALL).table["prediction_id"].to_pylist()
    assert sorted(found) == sorted(i for batch in [*some, lost] for i in ids(batch))
    targets = {i: target for i, (target, _) in log.find(ids(some[0]) | ids(lost), MODEL.target).items()}
    assert targets == dict.fromkeys(ids(some[0]), "pop") | dict.fromkeys(ids(lost))
    assert [path.name for path in log.folder.iterdir()] == ["_upkeep"]


def test_old_parts_go_to_the_archive(tmp_path: Path, bucket: str) -> None:
    """From storage to an archive in storage, by date, where pandas reads them."""
    layout, archive = Layout(tmp_path, bucket), place(bucket) / "archive"
    log = Log(layout.journals(layout.current), parts=layout.current)
    old, new = rows(2, at=1_790_000_000_000_000), rows(2)
    for batch in (old, new):
        log.append(batch)
        log.seal()
    Maintenance(log, Log(tmp_path / "labels"), Retention(age=timedelta(days=1), archive=archive), 60.0).once()
    assert set(read_rows(layout, MODEL, ALL).table["prediction_id"].to_pylist()) == ids(new)
    filesystem, path = (archive / "current.parquet").address
    frame = pd.read_parquet(path, filesystem=filesystem)
    assert set(frame["prediction_id"]) == ids(old)
    assert set(frame["date"].astype(str)) == {"2026-09-21"}


def test_storage_that_is_away_costs_no_row(tmp_path: Path, bucket: str) -> None:
    """While the storage cannot be reached requests are taken; their journals wait for it."""
    layout = Layout(tmp_path, bucket.replace("s3://log-", "s3://not-there-"))
    log, some = Log(layout.journals(layout.current), parts=layout.current), rows(2)
    log.append(some)
    log.seal()
    assert log.count("failures_total", stage="seal") == 1
    log.parts = Layout(tmp_path, bucket).current
    assert len(list_journals(log.folder)) == 1
    log.seal()
    assert set(read_rows(Layout(tmp_path, bucket), MODEL, ALL).table["prediction_id"].to_pylist()) == ids(some)


def test_a_server_on_storage_loses_nothing_when_it_is_killed(tmp_path: Path, bucket: str) -> None:
    """DATA_DIR is the URI: workers are killed under load, and each acknowledged id is in the bucket exactly once."""
    config, local = write_config(tmp_path), tmp_path / "data"
    keep_champion(local, load_config(config))
    settings = {"DATA_DIR": bucket, "LOCAL_DIR": str(local), "DRIFTLOOP_CONFIG": str(config), **KEY}
    with gunicorn(local, **settings) as server:
        traffic = Traffic(server.url, load_config(config), clients=2)
        for kill in range(1, 5):
            eventually("traffic", lambda kill=kill: len(traffic.acknowledged) > 100 * kill)
            os.kill(server.workers()[0], signal.SIGKILL)
            eventually("a new worker", lambda: len(server.workers()) == 2)
        acknowledged = traffic.stop()
        eventually("the journals to be sealed", lambda: not list_journals(local / "current.parquet"))
    assert [path.name for path in (local / "current.parquet").glob("*.parquet")] == []
    table = read_rows(Layout(local, bucket), load_config(config).model, ALL).table
    found = table["prediction_id"].to_pylist()
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_servers_with_a_disk_each_share_the_parts(tmp_path: Path, bucket: str) -> None:
    """As the Helm chart runs them: one merges, and is given labels and others' rows; the other predicts alone.

    A worker of each is killed meanwhile, and one server is gone before the other. Each acknowledged row is in the
    bucket exactly once, with parts merged; a label finds the other server's row once that is in a part, and rows that
    are sent again are known.
    """
    config, places = write_config(tmp_path), [tmp_path / name / "data" for name in ("first", "more")]
    model, features = load_config(config).model, features_of(load_config(config))
    for local in places:
        keep_champion(local, load_config(config))
    shared = {"DATA_DIR": bucket, "DRIFTLOOP_CONFIG": str(config), "PREDICTION_LOG_SEAL_SECONDS": "0.2", **KEY}
    settings = [{**shared, "LOCAL_DIR": str(local)} for local in places]
    with gunicorn(places[0], **settings[0]) as first:
        with gunicorn(places[1], **settings[1], PREDICTION_LOG_MERGE="off") as more:
            traffic = [Traffic(server.url, load_config(config), clients=1) for server in (first, more)]
            eventually("traffic", lambda: all(len(one.acknowledged) > 100 for one in traffic))
            for server in (first, more):
                os.kill(server.workers()[0], signal.SIGKILL)
            theirs = {
                "rows": [{"prediction_id": "theirs", "features": features, model.prediction: model.categories[0]}]
            }
            told = [requests.post(f"{first.url}/log", json=theirs, timeout=10).json() for _ in range(2)]
            label = {"prediction_id": traffic[1].acknowledged[0], model.target: model.categories[0]}
            eventually("the label's row", lambda: requests.post(f"{first.url}/feedback", json=label, timeout=10).ok)
            layout = Layout(places[0], bucket)
            eventually("a merged part", lambda: any(covered(part) for part in list_parts(layout.current)[0]))
            acknowledged = [i for one in traffic for i in one.stop()]
        assert list_journals(places[1] / "current.parquet") == []  # it took its leave
        eventually("the journals to be sealed", lambda: not list_journals(places[0] / "current.parquet"))
    assert [(one["logged"], one["known"]) for one in told] == [(1, 0), (0, 1)]
    found = read_rows(layout, model, ALL).table["prediction_id"].to_pylist()
    assert len(found) == len(set(found))
    assert {*acknowledged, "theirs"} <= set(found)
