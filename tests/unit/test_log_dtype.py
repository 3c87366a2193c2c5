"""A value reads back as it was sent: as float64, or as float32 where the config says so."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from api.log.append_log import prediction_format
from api.log.maintenance import Maintenance
from api.log.retention import Retention
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.parts import list_parts
from tests.unit.api_fixtures import keep_champion, running, service_of, settings
from tests.unit.log_fixtures import ALL, Log, rows
from tests.unit.models import GENRES, WINE

SENT = [0.1, 12.7, 2**53, 16_777_217, -1e-300, 1 / 3, None, 5e-324]


@pytest.mark.parametrize(
    ("dtype", "read"),
    [
        pytest.param("float64", [0.1, 12.7, 2.0**53, 16_777_217.0, -1e-300, 1 / 3, None, 5e-324], id="float64"),
        pytest.param(
            "float32",
            [0.10000000149011612, 12.699999809265137, 2.0**53, 16_777_216.0, 0.0, 0.3333333432674408, None, 0.0],
            id="float32",
        ),
    ],
)
def test_a_value_reads_back_as_it_was_sent(tmp_path: Path, dtype: str, read: list[float | None]) -> None:
    """Through the API, its journal and a part, for other tools as for ours."""
    path = tmp_path / "wine.yml"
    path.write_text(yaml.safe_dump({**WINE, "model": {**WINE["model"], "dtype": dtype}}))
    config = load_config(path)
    keep_champion(tmp_path, config)
    with running(settings(tmp_path, path)) as app:
        instances = [{"acidity": value, "sugar": 1} for value in SENT]
        answer = app.test_client().post("/predict", json={"instances": instances})
        assert answer.status_code == 200, answer.text
        confidence = [one["confidence"] for one in json.loads(answer.data)["predictions"]]
        service_of(app).predictions.seal()
    frame = pd.read_parquet(tmp_path / "current.parquet")
    assert frame["acidity"].dtype == dtype
    assert [None if pd.isna(value) else value for value in frame["acidity"].tolist()] == read
    ours = read_rows(Layout(tmp_path), config.model, ALL).table["acidity"].to_pylist()
    assert Counter(ours) == Counter(read)  # ids of one request come in any order
    if dtype == "float64":
        assert frame["confidence"].tolist() == confidence


@pytest.mark.parametrize("merged", [False, True])
def test_old_parts_of_float32_are_read_beside_new_ones(tmp_path: Path, *, merged: bool) -> None:
    """A stack that goes over to float64 reads what it had; a merge keeps both kinds apart, and loses no row."""
    folder = tmp_path / "current.parquet"
    single, double = (GENRES.model.model_copy(update={"dtype": dtype}) for dtype in ("float32", "float64"))
    for model in (single, double):
        log = Log(folder, form=prediction_format(model))
        for _ in range(20):
            log.append(rows(1))
            log.seal()
    if merged:
        Maintenance(log, Log(tmp_path / "labels"), Retention(), 60.0).once()
        assert len(list_parts(folder)[0]) < 40
    for model in (single, double):
        found = read_rows(Layout(tmp_path), model, ALL)
        assert found.unreadable == ()
        assert found.table[model.features[0]].to_pylist() == [1.5] * 40
        assert str(found.table[model.features[0]].type) == {"float32": "float", "float64": "double"}[model.dtype]
    assert len(pd.read_parquet(folder)) == 40
