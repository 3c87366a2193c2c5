"""Two-sample chi-square where most levels are rare."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from monitoring.profile.two_sample_tests import two_sample_chi_square


@pytest.mark.parametrize(
    ("levels", "power", "sizes"),
    [
        pytest.param(100, 1.0, (5000, 200), id="window"),
        pytest.param(300, 2.0, (50_000, 500), id="steep"),
        pytest.param(300, 1.0, (2000, 200), id="long-tail"),
    ],
)
def test_rare_levels_are_no_drift(levels: int, power: float, sizes: tuple[int, int]) -> None:
    """Of two samples of one population one in twenty has a p-value below 0.05, whatever the levels' shares are."""
    rng = np.random.default_rng(1)
    shares = 1 / np.arange(1, levels + 1) ** power
    shares /= shares.sum()
    draws = [[Counter(rng.choice(levels, size, p=shares).tolist()) for size in sizes] for _ in range(400)]
    p_values = np.array([two_sample_chi_square(*({str(k): n for k, n in side.items()} for side in d)) for d in draws])
    assert stats.binomtest(int((p_values < 0.05).sum()), 400, 0.05, alternative="greater").pvalue > 0.001
    assert stats.binomtest(int((p_values < 0.01).sum()), 400, 0.01, alternative="greater").pvalue > 0.001


def test_two_categories_are_tested_as_they_are() -> None:
    """There is nothing to put together, and a category that has vanished is found."""
    assert two_sample_chi_square({"a": 990, "b": 10}, {"a": 1000}) == pytest.approx(
        stats.chi2_contingency([[990, 10], [1000, 0]], correction=False).pvalue
    )
    assert two_sample_chi_square({"a": 500, "b": 300, "c": 200}, {"a": 300, "b": 200}) < 1e-20
