"""What the flows read from a log of mixed features: rows to learn from, changes, and what a rollback goes by."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uuid_utils

from flows.registry.versions import Champion
from flows.rollback_gate import compare_versions
from flows.training.changepoint import last_changepoint
from flows.training.collection import Collected, collect, shortage
from flows.training.columns import comparable
from flows.training.export import export_onnx
from flows.training.pipeline import train
from flows.training.sample import feature_matrix, kinds_of, sample_of
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.onnx.model import load_onnx
from monitoring.contract.parts import part_name
from monitoring.contract.schemas import TIMESTAMP, log_schema, reference_schema
from monitoring.contract.values import conform
from tests.unit.flows_fixtures import START
from tests.unit.mixed import tips, trip_rows, trips


def rows_of(config: Config, rows: int, seed: int = 0, **columns: Any) -> pa.Table:
    """Draw rows of a model, with some columns replaced."""
    return conform(pa.table({**trip_rows(rows, seed), **columns}), reference_schema(config.model))


def write_log(layout: Layout, config: Config, rows: pa.Table, version: str = "1") -> None:
    """Write one part of the log with labels, a row per millisecond."""
    times = START + 1000 * np.arange(len(rows))
    table = rows.append_column("timestamp", pa.array(times, TIMESTAMP))
    ids = [str(uuid_utils.uuid7(nanoseconds=int(moment) * 1000)) for moment in times]
    table = table.append_column("prediction_id", pa.array(ids))
    table = table.append_column("confidence", pa.nulls(len(rows), pa.float64()))
    table = table.append_column("model_version", pa.array([version] * len(rows)))
    schema = log_schema(config.model)
    path = layout.current / part_name(int(times[0]), int(times[-1]), len(rows), "w", 1)
    path.parent.mkdir(parents=True)
    pq.write_table(table.select(schema.names).cast(schema), path)


def test_labels_and_levels_that_no_reference_may_hold_are_left_out(tmp_path: Path) -> None:
    """An infinite label is none; an empty level, one that is too long and an infinite number are missing values."""
    config, layout = trips(), Layout(tmp_path)
    rows = rows_of(config, 300)
    minutes = np.array(rows["minutes"].to_pylist())
    minutes[:20], minutes[20:30] = np.inf, np.nan
    zones = rows["zone"].to_pylist()
    zones[40], zones[41] = "", "x" * 200
    distance = np.array(rows["distance"].to_pylist())
    distance[42] = np.inf
    columns = {"minutes": pa.array(minutes), "zone": pa.array(zones), "distance": pa.array(distance)}
    for name, column in columns.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    write_log(layout, config, rows)
    found = collect(layout, config, None)
    assert len(found.table) == 270
    assert found.table["zone"].to_pylist()[10:12] == [None, None]
    assert found.table["distance"].to_pylist()[12] is None
    assert shortage(found, config) is None


def test_numbers_that_are_all_one_are_too_few(tmp_path: Path) -> None:
    """A model cannot be made of them, and the run says so."""
    config = trips()
    rows = rows_of(config, 200, minutes=pa.array([3.0] * 200))
    collected = Collected(rows, 200, 200, None, None, (), ())
    assert shortage(collected, config) == "labels that differ are needed; all 200 are 3"


@pytest.mark.parametrize("changed", [True, False])
def test_a_change_of_the_mix_of_levels_is_a_changepoint(*, changed: bool) -> None:
    """From there on the rows are collected; without one it is none."""
    config = tips()
    zones = trip_rows(800)["zone"].to_pylist()
    if changed:
        zones[500:] = np.random.default_rng(1).choice(["harbour", "museum"], 300).tolist()
    rows = rows_of(config, 800, zone=pa.array(zones))
    found = last_changepoint(comparable(feature_matrix(rows, config.model), kinds_of(config.model)))
    assert found == pytest.approx(500, abs=20) if changed else found == 0


@pytest.mark.parametrize("config", [pytest.param(trips(), id="regression"), pytest.param(tips(), id="classification")])
@pytest.mark.parametrize("turned_bad", [True, False])
def test_a_rollback_goes_by_the_errors_that_labels_show(tmp_path: Path, config: Config, *, turned_bad: bool) -> None:
    """The former version is favoured where the champion's logged answers are significantly worse, and not else."""
    model = config.model
    exported = export_onnx(train(sample_of(rows_of(config, 500), model)), model)
    former = Champion("1", load_onnx(exported.SerializeToString(), model))
    rows = rows_of(config, 300, 1)
    answers = rows[model.target].to_pylist()
    if turned_bad:
        answers = np.random.default_rng(0).permutation(np.array(answers, dtype=object)).tolist()
    place = rows.schema.get_field_index(model.prediction)
    rows = rows.set_column(place, model.prediction, pa.array(answers, model.rules.values))
    layout = Layout(tmp_path)
    write_log(layout, config, rows, "2")
    found = compare_versions(layout, config, "2", former, after=None)
    assert found is not None
    assert (found.rows, found.favours_former) == (300, turned_bad)
    assert "on 300 labelled rows that version 2 answered it is " in found.describe()
