"""`model.columns`: files of others, with their own names for the log's columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.__main__ import main
from monitoring.backtest.log_rows import open_labels, open_log
from monitoring.contract.column_names import absent, our_names, with_our_names
from monitoring.contract.config import Config
from monitoring.contract.listing import DatasetError
from monitoring.contract.names import ORIGIN
from monitoring.contract.part_reader import read_groups, read_part, time_ranges
from monitoring.contract.reference import parse_reference
from monitoring.contract.schemas import log_schema
from monitoring.contract.storage import LARGE, named
from monitoring.contract.times import Micros, microseconds
from monitoring.offline.dataset import demands_of, profile_locally
from monitoring.profile.counting import grid_of
from tests.unit.models import WINE
from tests.unit.monitor_fixtures import START, make_rows

COLUMNS = {"timestamp": "event_time", "prediction_id": "request", "confidence": "score"}
THEIRS = Config.model_validate({**WINE, "model": {**WINE["model"], "columns": COLUMNS}})
MODEL = THEIRS.model


def their_rows(count: int = 400, seed: int = 0) -> pd.DataFrame:
    """Make rows as another system logs them; `timestamp` is there too, and means something else."""
    rows = make_rows(THEIRS, count, seed)
    return rows.assign(
        event_time=pd.date_range(START, periods=count, freq="min"),
        request=[f"r-{n}" for n in range(count)],
        score=0.75,
        timestamp="loaded at night",
    )


def test_a_file_s_own_name_goes_before_ours_and_ours_before_none():
    columns = MODEL.names
    assert our_names(["event_time", "timestamp", "acidity"], columns) == ["timestamp", None, "acidity"]
    assert our_names(["timestamp", "acidity"], columns) == ["timestamp", "acidity"]
    assert absent(["timestamp", "prediction_id", "acidity"], columns) == [
        "score, which model.columns names for confidence"
    ]
    renamed = with_our_names(pa.table({"timestamp": ["x"], "event_time": [1]}), columns)
    assert renamed.to_pydict() == {"timestamp": [1]}


@pytest.mark.parametrize("rows", [pytest.param(300, id="small groups"), pytest.param(LARGE + 10, id="one large group")])
def test_rows_are_read_by_our_names(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    their_rows(rows).to_parquet(path, row_group_size=10_000_000 if rows > LARGE else 100)
    theirs = named(path, MODEL.names)
    table = pa.concat_tables(read_groups(theirs, log_schema(MODEL)))
    assert table["prediction_id"].to_pylist()[:2] == ["r-0", "r-1"]
    assert set(table["confidence"].to_pylist()) == {0.75}
    assert table["timestamp"][0].as_py() == START
    assert time_ranges(theirs)[0].first == microseconds(START)
    after = Micros(microseconds(START) + 99 * 60_000_000)
    assert len(pa.concat_tables(read_part(theirs, log_schema(MODEL), after))) == rows - 100


def test_folders_may_name_a_column_too(tmp_path):
    """As of a job that writes a folder a day."""
    rows = their_rows(600).drop(columns=["event_time", "timestamp"])
    rows["event_time"] = np.where(np.arange(600) < 300, "2026-01-01", "2026-01-02")
    rows.to_parquet(tmp_path / "log", partition_cols=["event_time"])
    log = open_log(str(tmp_path / "log"), MODEL, None, None)
    assert [len(table) for table in log.read()] == [300, 300]


def test_a_data_set_is_profiled_and_replayed_by_our_names(tmp_path):
    path = tmp_path / "rows.parquet"
    their_rows().to_parquet(path)
    made = profile_locally(grid_of(MODEL, pa.Table.from_pandas(make_rows(THEIRS, 200))), str(path))
    assert made.profile.rows == 400
    assert made.profile.first == microseconds(START)
    assert sum(len(table) for table in open_log(str(path), MODEL, None, None).read()) == 400
    labels = pd.DataFrame({"request": ["r-1"], "truth": ["red"], "event_time": [START]})
    labels.to_parquet(tmp_path / "labels.parquet")
    (found,) = open_labels(str(tmp_path / "labels.parquet"), MODEL).read()
    assert found["prediction_id"].to_pylist() == ["r-1"]


def test_a_reference_knows_its_times_by_their_name(tmp_path):
    path = tmp_path / "reference.parquet"
    table = pa.Table.from_pandas(their_rows(), preserve_index=False)
    pq.write_table(table.replace_schema_metadata({ORIGIN: "rebased"}), path)
    reference = parse_reference(path.read_bytes(), path, MODEL)
    assert reference.table["timestamp"][0].as_py() == START
    assert reference.origin == "rebased"


def test_a_name_that_is_not_there_is_an_error_by_both_names(tmp_path):
    path = tmp_path / "rows.parquet"
    their_rows().drop(columns=["event_time", "timestamp"]).to_parquet(path)
    grid = grid_of(MODEL, pa.Table.from_pandas(make_rows(THEIRS, 200)))
    with pytest.raises(DatasetError, match="has no column event_time, which model"):
        profile_locally(grid, str(path), demands=demands_of(MODEL))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        pytest.param({"timestamp": "acidity"}, "acidity", id="a feature's name"),
        pytest.param({"timestamp": "prediction_id"}, "prediction_id", id="another column's name"),
        pytest.param({"timestamp": "t", "prediction_id": "t"}, "more than once: t", id="one name for two"),
        pytest.param({"acidity": "a"}, "columns", id="a column that the config names anyway"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_by_check_config(tmp_path: Path, capsys, columns, says):
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump({**WINE, "model": {**WINE["model"], "columns": columns}}))
    assert main(["check-config", "--config", str(path)]) == 2
    assert says in capsys.readouterr().err


def test_files_of_ours_are_read_under_any_mapping(tmp_path):
    schema = log_schema(MODEL)
    pq.write_table(schema.empty_table(), tmp_path / "ours.parquet")
    (table,) = read_groups(named(tmp_path / "ours.parquet", MODEL.names), schema)
    assert table.column_names == schema.names
