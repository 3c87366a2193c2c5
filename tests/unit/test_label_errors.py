"""A regression's errors as exact sums: equal for any division of the rows, and after any correction."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from monitoring.profile.label_errors import LARGEST_KEPT, ErrorSums, exact_sum

NUMBERS = st.floats(-1e100, 1e100)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NUMBERS, st.sampled_from([0.0, -0.0, 5e-324, 1e100, -1e100, 0.1]))))
def test_a_sum_is_exact(values: list[float]) -> None:
    """As that of fractions, whatever the sizes and signs."""
    assert Fraction(exact_sum(np.array(values, np.float64)), 1 << 1126) == sum(map(Fraction, values))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_rows_may_come_in_any_order_and_be_taken_back(data: st.DataObject) -> None:
    """Sums over pieces are those over all rows, and without some of the rows those over the others."""
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n = data.draw(st.integers(0, 300))
    labels = rng.normal(size=n) * 10.0 ** rng.integers(-9, 9, n)
    predictions = labels + rng.choice([0.0, 0.1, 5.0], n)
    place = rng.integers(0, 3, n)
    pieces = [ErrorSums.of(predictions[place == p], labels[place == p]) for p in data.draw(st.permutations(range(3)))]
    whole = ErrorSums.of(predictions, labels)
    assert sum(pieces, ErrorSums()) == whole
    rest = ErrorSums.of(predictions[place != 0], labels[place != 0])
    left = whole - ErrorSums.of(predictions[place == 0], labels[place == 0])
    assert (left.rows, left.squared, left.label_squared) == (rest.rows, rest.squared, rest.label_squared)
    assert left.r2 == rest.r2 or np.isnan(left.r2)
    if left.largest and not np.isnan(left.largest_absolute):
        assert left.largest_absolute == rest.largest_absolute


def test_scores_are_those_of_scikit_learn() -> None:
    """Rows without a label, or with one that is no finite number, are not scored."""
    rng = np.random.default_rng(1)
    labels = rng.lognormal(size=2_000) + 1e6
    predictions = labels + rng.normal(size=2_000)
    sums = ErrorSums.of(np.append(predictions, [1.0, np.nan, 2.0]), np.append(labels, [np.nan, 1.0, np.inf]))
    assert sums.rows == 2_000
    assert sums.mean_absolute == pytest.approx(mean_absolute_error(labels, predictions), rel=1e-12)
    assert sums.root_mean_squared == pytest.approx(root_mean_squared_error(labels, predictions), rel=1e-12)
    assert sums.r2 == pytest.approx(r2_score(labels, predictions), rel=1e-12)
    assert sums.deviation == pytest.approx((predictions - labels).std(ddof=1), rel=1e-12)
    assert sums.largest_absolute == np.abs(predictions - labels).max()


def test_labels_that_are_all_alike_have_no_spread() -> None:
    """Not even the one that rounding makes of 0.1."""
    assert ErrorSums.of(np.full(7, 0.1), np.full(7, 0.1)).r2 == 1.0
    assert ErrorSums.of(np.full(7, 0.3), np.full(7, 0.1)).r2 == 0.0
    assert np.isnan(ErrorSums.of(np.ones(1), np.ones(1)).r2)


def test_the_largest_error_is_unknown_rather_than_wrong() -> None:
    """Once corrections have taken back all that were kept, nobody knows which of the others is the largest."""
    predictions = np.arange(1.0, LARGEST_KEPT + 11)
    sums = ErrorSums.of(predictions, np.zeros(len(predictions)))
    wrong = predictions > 10
    left = sums - ErrorSums.of(predictions[wrong], np.zeros(int(wrong.sum())))
    assert left.rows == 10
    assert np.isnan(left.largest_absolute)
    corrected = left + ErrorSums.of(predictions[wrong], np.full(int(wrong.sum()), -100.0))
    assert corrected.largest_absolute == predictions.max() + 100
