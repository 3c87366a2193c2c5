"""The simulator's rows of models with categories, and of regressions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.drifts import NEW_LEVEL, ActiveDrifts, DriftError, choose, load_drifts
from data.sources import Source, resampled
from data.statistics import SampleDataError
from monitoring.contract.config import Config
from tests.unit.mixed import ZONES, tips, trip_rows, trips

KNOWN = load_drifts()


def source_of(folder: Path, config: Config, **columns: pa.Array) -> Source:
    """Return a source of the rows of a reference."""
    path = folder / "reference.parquet"
    pq.write_table(pa.table({**trip_rows(400), **columns}), path)
    return resampled(config.model, path, jitter=0.01)


@pytest.mark.parametrize("config", [pytest.param(trips(), id="regression"), pytest.param(tips(), id="classification")])
def test_rows_of_the_reference_come_again_with_their_labels(tmp_path: Path, config: Config) -> None:
    """Levels are the file's, booleans as text, some missing; numbers are near the file's, and none is the same."""
    source, given = source_of(tmp_path, config), trip_rows(400)
    values, labels = source.draw(np.random.default_rng(0), 2000, source.baseline)
    assert set(values[:, 2]) == set(ZONES)
    assert set(values[:, 3]) == {"true", "false", None}
    distances = values[:, 0].astype(float)
    assert np.median(distances) == pytest.approx(np.median(given["distance"].to_numpy()), rel=0.1)
    assert not np.isin(distances, given["distance"].to_numpy()).any()
    assert set(labels.tolist()) <= set(given[config.model.target].to_pylist())
    again, _ = source.draw(np.random.default_rng(0), 2000, source.baseline)
    assert (again[:, :3] == values[:, :3]).all()


def after(folder: Path, name: str, strength: float = 1.0) -> tuple[Source, np.ndarray, np.ndarray]:
    """Return a source, some of its rows, and these after a drift."""
    config = trips()
    source = source_of(folder, config)
    values, _ = source.draw(np.random.default_rng(0), 3000, {})
    drifts = choose(KNOWN, [name], config.model, strength)
    return source, values, drifts.apply(values, config.model.features, np.random.default_rng(1), source.levels)


def test_new_levels_come_and_the_rest_stays(tmp_path: Path) -> None:
    """A third of the rows has a level never seen; half of that at half the strength."""
    for strength in (1.0, 0.5):
        _, before, moved = after(tmp_path, "new_levels", strength)
        new = moved[:, 2] == NEW_LEVEL
        assert np.mean(new) == pytest.approx(0.33 * strength, abs=0.03)
        assert (moved[~new, 2] == before[~new, 2]).all()
        assert (moved[:, :2] == before[:, :2]).all()


def test_another_mix_keeps_to_known_levels(tmp_path: Path) -> None:
    """Rare levels grow and frequent ones shrink."""
    source, before, moved = after(tmp_path, "other_mix")
    assert set(moved[:, 2]) == set(source.levels["zone"])
    assert np.mean(moved[:, 2] == "station") < np.mean(before[:, 2] == "station") - 0.05
    assert np.mean(moved[:, 2] == "harbour") > np.mean(before[:, 2] == "harbour") + 0.02


def test_numbers_drift_beside_levels(tmp_path: Path) -> None:
    """Other units fit a mixed model too, and leave its levels alone."""
    _, before, moved = after(tmp_path, "units")
    assert moved[:, 0].astype(float) == pytest.approx(1.5 * before[:, 0].astype(float))
    assert (moved[:, 2] == before[:, 2]).all()


def test_wrong_numbers_are_in_another_unit() -> None:
    """A regression's labels have no next category."""
    drifts = choose(KNOWN, ["wrong_labels"], trips().model)
    assert drifts.relabel(np.array([2.0, 4.0]), (), np.random.default_rng(0)).tolist() == [3.0, 6.0]
    assert ActiveDrifts().relabel(np.array([2.0]), (), np.random.default_rng(0)).tolist() == [2.0]


def test_a_mix_of_categories_is_none_of_a_regression() -> None:
    """The drift is refused by what it names."""
    with pytest.raises(DriftError, match="knows nothing of blues"):
        choose(KNOWN, ["genre_mix"], trips().model)


def test_labels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """The file, the column and what is wrong are told."""
    with pytest.raises(SampleDataError, match="column minutes is string"):
        source_of(tmp_path, trips(), minutes=pa.array(["ten"] * 400))
    with pytest.raises(SampleDataError, match="minutes holds infinite values"):
        source_of(tmp_path, trips(), minutes=pa.array([float("inf")] * 400))
