"""The examples of docs/examples, and the flights that one of them takes through the loop."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from data.drifts import choose, load_drifts
from data.flights import FEBRUARY, LATE, later_flights, read_flights, reference_flights
from data.sources import replayed
from data.statistics import SampleDataError
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from scripts.demo import EXAMPLES
from tests.processes import ROOT

CONFIGS = sorted((ROOT / "docs/examples").glob("*.yml"))


@pytest.fixture(scope="module")
def flights() -> pa.Table:
    return read_flights()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_examples_config_is_one(path: Path) -> None:
    """What docs/ shows is taken as it is."""
    assert load_config(path).model.features


def test_flights_are_in_time_order_and_have_landed(flights: pa.Table) -> None:
    """Each has both examples' labels."""
    times = flights["timestamp"].cast(pa.int64()).to_numpy()
    assert len(flights) == 327_346
    assert (np.diff(times) >= 0).all()
    assert flights["arr_delay"].null_count == 0
    assert pc.all(pc.equal(flights["late"], pc.greater(flights["arr_delay"], LATE))).as_py()


def test_the_example_goes_on_where_its_reference_ends(flights: pa.Table) -> None:
    """The reference is January's; the rows to send are all later ones, once each, week after week."""
    reference, later = reference_flights(flights, 1000), later_flights(flights)
    assert len(reference) == 1000
    assert len(later) == pc.sum(pc.greater_equal(flights["timestamp"], FEBRUARY)).as_py()
    first_week = flights.filter(pc.greater_equal(flights["timestamp"], FEBRUARY)).slice(0, 100)
    sent = later.slice(0, 7000).to_pylist()
    assert all(row in sent for row in first_week.drop_columns("timestamp").to_pylist())


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_demo_fits_its_config(tmp_path: Path, name: str) -> None:
    """The files that it writes, and its fault."""
    example, layout = EXAMPLES[name], Layout(tmp_path)
    config = load_config(example.config)
    try:
        example.write(layout.reference, tmp_path / "later.parquet")
    except SampleDataError as error:
        pytest.skip(str(error))
    reference = read_reference(layout, config.model, predicted=False)
    assert len(reference.table) >= config.retrain.minimum_labels
    assert choose(load_drifts(), [example.drift], config.model).drifts


def test_rows_are_replayed_in_their_order_and_begin_again(tmp_path: Path) -> None:
    """Without noise, whatever the requests' sizes are."""
    model = load_config(ROOT / "docs/examples/flights.yml").model
    columns = {name: [1.0, 2.0, 3.0] for name in model.of_kind("numeric")}
    levels = {name: ["a", None, "c"] for name in model.of_kind("categorical")}
    pq.write_table(pa.table({**columns, **levels, model.target: [5.0, 6.0, 7.0]}), tmp_path / "rows.parquet")
    draw, rng = replayed(model, tmp_path / "rows.parquet").draw, np.random.default_rng(0)
    drawn = [draw(rng, rows, {}) for rows in (2, 2)]
    assert [list(labels) for _, labels in drawn] == [[5.0, 6.0], [7.0, 5.0]]
    assert drawn[0][0].tolist() == [[1.0] * 3 + ["a"] * 3, [2.0] * 3 + [None] * 3]
