"""A data folder that is deleted or moved under a running API: what it has acknowledged since is in the log."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.config_file import load_config
from tests.processes import ROOT
from tests.unit.api_fixtures import features_of, keep_champion, running, service_of, settings

CONFIG = load_config(ROOT / "monitoring/config.yml")


def rows_of(log: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in sorted(log.glob("*.parquet"))])


@pytest.mark.parametrize("harm", ["deleted", "moved"])
def test_what_was_acknowledged_is_in_the_log(tmp_path: Path, harm: str) -> None:
    """Predictions of both kinds and labels, before and after; each once."""
    data = tmp_path / "data"
    keep_champion(data, CONFIG)
    with running(settings(data)) as app:
        client, service = app.test_client(), service_of(app)

        def send(first: float, given: str) -> list[str]:
            body: dict[str, Any] = {"features": features_of(CONFIG, first)}
            made = client.post("/predict", json=body)
            row = {**body, "prediction_id": given, CONFIG.model.prediction: CONFIG.model.categories[0]}
            logged = client.post("/log", json={"rows": [row]})
            ids = [made.json["prediction_id"], given]
            labels = [{"prediction_id": one, CONFIG.model.target: CONFIG.model.categories[1]} for one in ids]
            told = client.post("/feedback", json=labels)
            assert [made.status_code, logged.status_code, told.status_code] == [200] * 3, (logged.json, told.json)
            return ids

        ids = send(1.0, "first")
        if harm == "deleted":
            shutil.rmtree(data)
        else:
            data.rename(tmp_path / "elsewhere")
        ids += send(2.0, "second")
        for log in (service.predictions, service.labels):
            log.seal()
    for name in ("current.parquet", "labels.parquet"):
        assert sorted(rows_of(data / name)["prediction_id"].to_pylist()) == sorted(ids), name
