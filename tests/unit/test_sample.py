"""Sample data: figures of a collection, and rows drawn from them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sample import draw, draw_reference, draw_rows
from data.statistics import SHIPPED, SampleDataError, describe, dump, load_statistics, read_rows
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from tests.processes import ROOT

MODEL = load_config(ROOT / "monitoring/config.yml").model


def _model(**changes: object) -> Model:
    return Model.model_validate({**MODEL.model_dump(), **changes})


def test_reference_is_the_same_for_a_seed() -> None:
    """The same seed draws the same reference anywhere; another seed draws another."""
    assert draw_reference(MODEL, seed=3).equals(draw_reference(MODEL, seed=3))
    assert not draw_reference(MODEL, seed=3).equals(draw_reference(MODEL, seed=4))


def test_reference_has_the_collections_share_of_duplicates() -> None:
    """As many rows are exact copies, label included, as in the collection: about 1.1 %."""
    frame = draw_reference(MODEL, rows=2000).to_pandas()
    share = json.loads(SHIPPED.read_text())["duplicates_share"]
    assert len(frame) == 2000
    assert frame.duplicated().sum() == round(share * 2000) > 0


def test_reference_has_the_columns_of_the_config() -> None:
    """The reference has the features as float32 and the target, which only holds categories; nothing is null."""
    table = draw_reference(MODEL, rows=300)
    assert table.column_names == [*MODEL.features, MODEL.target]
    assert all(table.schema.field(name).type == pa.float32() for name in MODEL.features)
    assert set(table[MODEL.target].to_pylist()) == set(MODEL.categories)
    assert sum(column.null_count for column in table.columns) == 0


def test_drawn_rows_have_the_moments_of_each_category() -> None:
    """Means lie within 5 standard errors and spreads within 10 % of the figures, category by category."""
    statistics = load_statistics(MODEL)
    values, categories = draw(statistics, np.random.default_rng(1), 30_000)
    for name, of in statistics.categories.items():
        rows, deviation = values[categories == name], np.sqrt(np.diag(of.covariance))
        # clipping to the collection's range moves a mean a little: hence the 2 %
        allowed = 5 * deviation / np.sqrt(len(rows)) + 0.02 * deviation
        assert (np.abs(rows.mean(axis=0) - of.mean) < allowed).all(), name
        assert rows.std(axis=0) == pytest.approx(deviation, rel=0.1), name


def test_drawn_rows_have_the_quantiles_of_the_collection() -> None:
    """No feature's share of rows below a quantile of the real collection is off by more than 0.06."""
    shipped = json.loads(SHIPPED.read_text())
    values, _ = draw(load_statistics(MODEL), np.random.default_rng(2), 20_000)
    for column, name in enumerate(MODEL.features):
        shares = [(values[:, column] <= quantile).mean() for quantile in shipped["quantiles"][name]]
        assert shares == pytest.approx(shipped["quantile_levels"], abs=0.06), name


def test_mix_weighs_the_categories() -> None:
    """A mix of 3 to 1 draws these two categories so, and no other."""
    table = draw_rows(load_statistics(MODEL), np.random.default_rng(0), 4000, {"jazz": 3, "metal": 1})
    counts = {one["values"]: one["counts"] for one in table[MODEL.target].value_counts().to_pylist()}
    assert set(counts) == {"jazz", "metal"}
    assert counts["jazz"] == pytest.approx(3000, abs=150)


def test_a_config_of_fewer_columns_gets_its_own_in_its_order() -> None:
    """Features and categories that the config leaves out are left out; each keeps its own distribution."""
    model = _model(features=["mfcc_5", "mfcc_1"], categories=["rock", "jazz"], target="truth")
    table = draw_reference(model, rows=2000)
    assert table.column_names == ["mfcc_5", "mfcc_1", "truth"]
    whole = draw_rows(load_statistics(MODEL), np.random.default_rng(0), 5000, {"rock": 1, "jazz": 1})
    assert np.std(table["mfcc_1"]) == pytest.approx(np.std(whole["mfcc_1"]), rel=0.1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"features": ["mfcc_1", "sepal_width"]}, "sepal_width", id="feature"),
        pytest.param({"categories": ["rock", "shoegaze"]}, "shoegaze", id="category"),
    ],
)
def test_another_models_config_is_told_to_bring_its_own_reference(changes: dict[str, object], named: str) -> None:
    """Without figures for the config, the error names what is unknown and says what to do."""
    with pytest.raises(SampleDataError, match=rf"{named}.*put your own reference\.parquet"):
        draw_reference(_model(**changes))


def test_command_writes_a_reference_that_the_store_takes(tmp_path: Path) -> None:
    """`python -m data.sample` writes a file that fits the config, except for the prediction, and no other file."""
    command = [sys.executable, "-m", "data.sample", "--rows", "250", "--seed", "1"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={"DATA_DIR": str(tmp_path)})
    assert len(read_reference(Layout(tmp_path), MODEL, predicted=False).table) == 250
    assert [path.name for path in tmp_path.iterdir()] == ["reference.parquet"]


def _small_collection() -> tuple[np.ndarray, np.ndarray, Model]:
    values = np.array([[0.0, 1.0], [2.0, 3.0], [2.0, 3.0], [10.0, -1.0]])
    return values, np.array(["a", "a", "b", "b"]), _model(features=["f", "g"], categories=["b", "a"])


def test_statistics_are_the_collections_figures() -> None:
    """Counts, means, covariances, quantiles and the share of repeated rows are those of the rows."""
    figures = describe(*_small_collection())
    assert figures["rows"] == 4
    assert figures["duplicates_share"] == 0.25
    assert figures["categories"]["a"] == {"count": 2, "mean": [1.0, 2.0], "covariance": [[2.0, 2.0], [2.0, 2.0]]}
    assert figures["quantiles"]["f"][0] == 0.0
    assert figures["quantiles"]["f"][4] == 2.0
    assert figures["quantiles"]["f"][-1] == 10.0


def test_figures_are_written_sorted_and_alike() -> None:
    """The text is valid JSON, sorted, the same each time, and the shipped file is written by the same function."""
    text = dump(describe(*_small_collection()))
    assert text == dump(json.loads(text))
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert SHIPPED.read_text() == dump(json.loads(SHIPPED.read_text()))


def test_statistics_command_leaves_incomplete_rows_out(tmp_path: Path) -> None:
    """Rows without a label or with a null are no part of the figures; twice the same input gives the same file."""
    table = draw_reference(MODEL, rows=200)
    holes = table.set_column(0, MODEL.features[0], pa.array([None, *table[0].to_pylist()[1:]], pa.float32()))
    holes = holes.set_column(len(MODEL.features), MODEL.target, pa.array([*table[MODEL.target].to_pylist()[:-1], None]))
    pq.write_table(holes, tmp_path / "in.parquet")
    for name in ("one.json", "two.json"):
        command = [sys.executable, "-m", "data.statistics", "--input", tmp_path / "in.parquet", "--output", name]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, env=_environment())
    assert json.loads((tmp_path / "one.json").read_text())["rows"] == 198
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_column_that_stands_twice_is_named_in_one_line(tmp_path: Path) -> None:
    table = draw_reference(MODEL, rows=20)
    pq.write_table(table.append_column(MODEL.target, table[MODEL.target]), tmp_path / "in.parquet")
    command = [sys.executable, "-m", "data.statistics", "--input", "in.parquet", "--output", "o.json"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, env=_environment())
    assert (done.returncode, done.stderr) == (2, f"in.parquet: column {MODEL.target} stands more than once\n")


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "DRIFTLOOP_CONFIG": str(ROOT / "monitoring/config.yml")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"not Parquet", "not a readable Parquet file", id="not-parquet"),
        pytest.param(pa.table({"mfcc_1": [1.0]}), "lacks the columns mfcc_2", id="columns"),
        pytest.param(
            draw_reference(MODEL, 5).set_column(13, MODEL.target, pa.array(["polka"] * 5)), "polka", id="category"
        ),
        pytest.param(
            draw_reference(MODEL, 5).set_column(13, MODEL.target, pa.nulls(5, pa.string())), "no row", id="no-label"
        ),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, content: bytes | pa.Table, message: str) -> None:
    """A file that cannot be used says why."""
    path = tmp_path / "rows.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    with pytest.raises(SampleDataError, match=message):
        read_rows(path, MODEL)
