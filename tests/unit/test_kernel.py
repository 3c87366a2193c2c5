"""The kernel counts what a search of every value would."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from monitoring.profile.kernel import Marks, hash_rows

FINITE = st.floats(allow_nan=False, allow_infinity=False)
NEAR = st.one_of(st.integers(-3, 3).map(float), st.floats(-1, 1), st.sampled_from([-0.0, 5e-324, 1.7e308, -1.7e308]))


def search(marks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Count by looking each value up among the marks."""
    values = values[np.isfinite(values)]
    begins, ends = np.searchsorted(marks, values), np.searchsorted(marks, values, side="right")
    return np.bincount(begins + ends, minlength=2 * len(marks) + 1)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_values_are_counted_at_and_between_any_marks(data):
    """With any number of values, so that both methods of counting are tested: by bucket, and by sorting alone."""
    marks = np.unique(np.array(data.draw(st.lists(st.one_of(NEAR, FINITE), max_size=12))) + 0.0)
    some = data.draw(arrays.arrays(np.float64, st.integers(0, 50), elements=st.one_of(NEAR, st.floats())))
    values = np.concatenate([some, np.tile(marks, 3), np.random.default_rng(len(some)).normal(size=1500)])
    counts = Marks(marks).count(values)
    assert counts.tolist() == search(marks, values).tolist()


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(lambda rng, n: rng.normal(size=n), id="normal"),
        pytest.param(lambda rng, n: rng.lognormal(0, 3, size=n), id="skewed"),
        pytest.param(lambda rng, n: rng.poisson(3, size=n).astype(float), id="few-values"),
        pytest.param(lambda rng, n: rng.normal(size=n) * 1e300, id="huge"),
        pytest.param(lambda rng, n: rng.integers(-9, 9, size=n) * 5e-324, id="denormal"),
        pytest.param(lambda _, n: np.full(n, 7.0), id="constant"),
    ],
)
def test_many_values_of_any_shape_are_counted(draw):
    rng = np.random.default_rng(1)
    marks, values = np.unique(draw(rng, 1000)), draw(rng, 300_000)
    assert np.array_equal(Marks(marks).count(values), search(marks, values))


def test_rows_have_one_hash_if_and_only_if_they_are_equal():
    """Zeros of both signs are equal, and so are all kinds of NaN."""
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 4, size=(200_000, 6)).astype(float) / 4
    rows[rows == 0] = np.where(rng.random(np.count_nonzero(rows == 0)) < 0.5, 0.0, -0.0)
    odd = np.array([0x7FF8000000000000, 0xFFF8000000000001], np.uint64).view(np.float64)
    rows[rows == 0.75] = rng.choice(odd, np.count_nonzero(rows == 0.75))
    hashes = hash_rows(np.ascontiguousarray(rows.T), np.zeros(len(rows), np.uint64))
    plain = np.where(np.isnan(rows), 9.0, rows + 0.0)
    distinct, first = np.unique(plain, axis=0, return_inverse=True)
    assert len(np.unique(hashes)) == len(distinct)
    assert len({(f, h) for f, h in zip(first.ravel().tolist(), hashes.tolist(), strict=True)}) == len(distinct)
