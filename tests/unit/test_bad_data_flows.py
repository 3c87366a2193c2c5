"""Collecting rows to retrain on, from a log in which files and values are bad."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flows.registry.publication import stage
from flows.training.collection import collect, require_reference, shortage
from flows.training.export import export_onnx
from flows.training.pipeline import predict_out_of_fold, train, with_predictions
from flows.training.sample import sample_of
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import InvalidReferenceError
from tests.unit.bad_files import UNREADABLE
from tests.unit.flows_fixtures import START, draw_wine, write_log
from tests.unit.mixed import trip_rows, trips
from tests.unit.models import wine
from tests.unit.monitor_fixtures import log_rows


def rebase(layout: Layout, config: Config) -> int:
    """Collect, train and stage a reference, as the flow `retrain` does; return its rows."""
    collected = collect(layout, config, None)
    assert shortage(collected, config) is None
    sample = sample_of(collected.table, config.model)
    pipeline = train(sample)
    export_onnx(pipeline, config.model)
    predicted = predict_out_of_fold(sample)
    stage(layout, config.model, "2", with_predictions(collected.table, config.model, pipeline, predicted), origin="x")
    return len(collected.table)


@pytest.mark.parametrize("folder", ["current.parquet", "labels.parquet"])
@pytest.mark.parametrize(("name", "make"), UNREADABLE)
def test_a_file_that_cannot_be_read_costs_itself_alone(
    tmp_path: Path, folder: str, name: str, make: Callable[[Path], None]
) -> None:
    """Every other row is collected with its label, and the file is named with the reason."""
    config, layout = wine(tmp_path), Layout(tmp_path)
    name = name.replace("1767225600", str(START // 10**6))
    write_log(layout, config, draw_wine(700), labels="late")
    make(tmp_path / folder / name)
    collected = collect(layout, config, None)
    assert len(collected.table) == 700
    (file,) = collected.unreadable
    assert file.removeprefix(f"{tmp_path / folder / name}: ") not in ("", file)


def test_labels_of_unknown_categories_make_no_reference_unusable(tmp_path: Path) -> None:
    """A label that the config does not name is left out; the reference that follows can be read."""
    config, layout = wine(tmp_path), Layout(tmp_path)
    drawn = draw_wine(200)
    truths = pa.array(["pink"] * 20 + drawn["truth"].to_pylist()[20:])
    write_log(layout, config, drawn.set_column(drawn.schema.get_field_index("truth"), "truth", truths))
    assert rebase(layout, config) == 180


@pytest.mark.parametrize(
    "value", [pytest.param(np.inf, id="infinite"), pytest.param(np.nan, id="NaN"), pytest.param(1e38, id="huge")]
)
def test_extreme_values_make_no_reference_unusable(tmp_path: Path, value: float) -> None:
    """Some rows hold values that are no measurements."""
    config, layout = wine(tmp_path), Layout(tmp_path)
    drawn = draw_wine(200)
    sugar = np.where(np.arange(200) % 10 == 0, np.float32(value), drawn["sugar"].to_numpy()).astype(np.float32)
    write_log(layout, config, drawn.set_column(drawn.schema.get_field_index("sugar"), "sugar", pa.array(sugar)))
    assert rebase(layout, config) > 100


def test_a_feature_that_has_gone_is_said_before_a_model_is_promoted(tmp_path: Path) -> None:
    """All of the rows lack a feature: there can be no reference of them, and the one in use stays."""
    config, layout = wine(tmp_path), Layout(tmp_path)
    drawn = draw_wine(200)
    nulls = pa.nulls(200, pa.float32())
    write_log(layout, config, drawn.set_column(drawn.schema.get_field_index("sugar"), "sugar", nulls))
    with pytest.raises(InvalidReferenceError, match="column sugar has no value"):
        rebase(layout, config)
    assert not layout.reference.exists()


def test_rows_that_no_reference_could_hold_are_refused_before_a_model_is_trained(tmp_path: Path) -> None:
    """An id that is declared a category has more levels than a reference may have, once enough rows are looked at."""
    rows = pd.DataFrame({name: column.to_pandas() for name, column in trip_rows(10_050).items()})
    config, layout = (
        trips(retrain={"rows": 20_000, "minimum_labels": 100, "holdout": 0.3, "minimum_gain": 0.0}),
        Layout(tmp_path),
    )
    log_rows(tmp_path, config, rows.assign(zone=[f"order {n}" for n in range(len(rows))]))
    with pytest.raises(InvalidReferenceError, match=r"(?s)10,050 labelled rows.*retrain\.rows.*zone holds 10,050 dist"):
        require_reference(collect(layout, config, None), config)
    few = trips(retrain={"rows": 5_000, "minimum_labels": 100, "holdout": 0.3, "minimum_gain": 0.0})
    require_reference(collect(layout, few, None), few)
