"""The quality score falls for repetitions that the reference does not explain, and for no others."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from monitoring.contract.config import Model
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import compact, merge
from monitoring.profile.serialised import from_bytes, to_bytes
from monitoring.snapshot.quality import measure_quality

RNG = np.random.default_rng(17)


def model_of(frame: pd.DataFrame) -> Model:
    names = tuple(str(name) for name in frame.columns if name not in ("prediction", "target"))
    return Model(
        name="m", features=names, prediction="prediction", target="target", label="kind", categories=["0", "1", "2"]
    )


def rows_of(values: np.ndarray, classes: np.ndarray) -> pd.DataFrame:
    frame = pd.DataFrame(values, columns=[f"x{n}" for n in range(values.shape[1])])
    return frame.assign(prediction=classes.astype(str), target=None)


def real(load) -> pd.DataFrame:
    values, classes = load(return_X_y=True)
    return rows_of(values, classes.astype(int) % 3)


def continuous(number: int) -> pd.DataFrame:
    return rows_of(RNG.standard_normal((number, 3)), RNG.integers(0, 3, number))


def whole_numbers(number: int, most: int) -> pd.DataFrame:
    return rows_of(RNG.binomial(most, 0.4, (number, 3)).astype(float), RNG.integers(0, 2, number))


def score(reference: pd.DataFrame, window: pd.DataFrame) -> float:
    model = model_of(reference)
    tables = [pa.Table.from_pandas(frame, preserve_index=False) for frame in (reference, window)]
    found = measure_quality(profile_rows(grid_of(model, tables[0]), tables[1])).score
    assert found is not None
    return found


@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
@pytest.mark.parametrize("rows", [100, 1_000, 20_000])
def test_coarse_rows_drawn_like_the_reference_cost_nothing(load, rows):
    """However many rows: each comes about as often as in the reference."""
    reference = real(load)
    assert score(reference, reference.sample(rows, replace=True, random_state=3)) > 0.99


@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_coarse_rows_cost_nothing_where_the_reference_holds_a_part_of_them(load):
    every = real(load)
    assert score(every.sample(frac=0.6, random_state=1), every.sample(5_000, replace=True, random_state=2)) > 0.98


@pytest.mark.parametrize("most", [5, 20, 100])
@pytest.mark.parametrize(("reference", "rows"), [(200, 1_000), (2_000, 1_000), (1_000, 20_000)])
def test_whole_numbers_that_repeat_by_chance_cost_nothing(most, reference, rows):
    """Also those combinations that the reference does not hold."""
    assert score(whole_numbers(reference, most), whole_numbers(rows, most)) > 0.98


@pytest.mark.parametrize(("reference", "rows"), [(1_000, 500), (1_000, 20_000), (200, 1_000)])
def test_continuous_rows_that_are_sent_twice_cost_half(reference, rows):
    window = continuous(rows // 2)
    assert score(continuous(reference), pd.concat([window, window])) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("often", [2, 3, 10])
@pytest.mark.parametrize("rows", [200, 2_000])
def test_rows_of_the_reference_that_are_sent_again_and_again_count(rows, often):
    """The whole reference, a half of it, and one whose rows are followed by as many that it does not hold."""
    reference = continuous(rows)
    assert score(reference, pd.concat([reference] * often)) == pytest.approx(1 / often, abs=0.01)
    half = reference.iloc[::2]
    assert score(reference, pd.concat([half] * often)) == pytest.approx(1 / often, abs=0.01)
    both = pd.concat([reference, continuous(rows)])
    assert score(reference, pd.concat([both] * often)) == pytest.approx(1 / often, abs=0.01)


def test_each_row_of_the_reference_once_is_no_repetition():
    reference = continuous(2_000)
    assert score(reference, reference.sample(frac=1, random_state=6)) == 1
    assert score(reference, pd.concat([reference.iloc[:500], continuous(500)])) == 1


@pytest.mark.parametrize("load", [load_breast_cancer, load_diabetes, None])
@pytest.mark.parametrize("rows", [1_000, 20_000])
@pytest.mark.parametrize("seed", range(4))
def test_rows_drawn_from_the_reference_cost_nothing(load, rows, seed):
    """Continuous ones too: how often each is drawn is left to chance, which is how data sets are made larger."""
    reference = continuous(1_500) if load is None else real(load)
    assert score(reference, reference.sample(rows, replace=True, random_state=seed)) > 0.99


def test_rows_of_the_reference_that_are_resent_do_not_excuse_others():
    reference, new = continuous(1_000), continuous(500)
    assert score(reference, pd.concat([reference, reference, new, new])) == pytest.approx(0.5, abs=0.01)


def test_one_repetition_of_continuous_rows_counts():
    window = continuous(100)
    window.iloc[7] = window.iloc[8]
    assert score(continuous(1_000), window) == pytest.approx(0.99)


@pytest.mark.parametrize("known", [pytest.param(True, id="the reference holds it"), pytest.param(False, id="new")])
@pytest.mark.parametrize("load", [load_iris, load_digits])
def test_a_client_that_hangs_on_one_coarse_row_is_seen(load, known):
    """Half of the window is one row."""
    reference = real(load)
    stuck = reference.iloc[[5] * 500].copy()
    if not known:
        stuck["x0"] = 99.0
    window = pd.concat([reference.sample(500, replace=True, random_state=4), stuck])
    assert score(reference, window) == pytest.approx(0.5, abs=0.02)


def test_a_row_that_is_frequent_in_the_reference_may_be_frequent():
    """Such as the empty request: a tenth of the reference, a tenth of the window."""
    reference, window = continuous(1_000), continuous(3_000)
    reference.iloc[:100, :3] = window.iloc[:300, :3] = 0.0
    assert score(reference, window) > 0.99


def test_the_score_is_that_of_any_division_of_the_rows():
    """In memory, kept without hashes, and read back: what is known of the reference's rows adds up."""
    reference, window = (pa.Table.from_pandas(f, preserve_index=False) for f in (real(load_iris), real(load_iris)))
    grid = grid_of(model_of(real(load_iris)), reference)
    pieces = [profile_rows(grid, window.slice(start, 40)) for start in range(0, len(window), 40)]
    whole = profile_rows(grid, window)
    added = merge(grid, [from_bytes(grid, to_bytes(piece)) for piece in pieces])
    assert measure_quality(added) == measure_quality(whole)
    kept = merge(grid, map(compact, pieces), hashes=False)
    assert kept.known.tolist() == whole.known.tolist()


def test_without_a_search_for_repetitions_there_is_no_score():
    table = pa.Table.from_pandas(continuous(50), preserve_index=False)
    grid = grid_of(model_of(continuous(1)), table)
    assert measure_quality(profile_rows(grid, table, hashes=False)).score is None
