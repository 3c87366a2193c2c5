"""A test's deadline grows with what the machine takes for a known piece of work, and ends all the same."""

import itertools
import time

import pytest

from tests.processes import Patience, eventually


def outlasted(patience: Patience) -> float:
    while not patience.ended():
        time.sleep(0.01)
    return patience.waited


@pytest.mark.parametrize("times", [1.0, 3.0])
def test_a_wait_lasts_as_many_times_longer_as_the_machine_is_slower(times: float) -> None:
    assert outlasted(Patience(0.2, lambda: times)) >= 0.2 * times


def test_the_slowest_measure_of_a_wait_counts() -> None:
    """A machine that was busy in the middle has lost that time, even if it is quiet again at the end."""
    measures = itertools.chain([2.0, 3.0], itertools.repeat(1.0))
    patience = Patience(0.2, lambda: next(measures))
    assert outlasted(patience) >= 0.2 * 3
    assert patience.slowness == 3


def test_what_is_there_early_costs_no_measure() -> None:
    measured: list[float] = []
    patience = Patience(3600, lambda: measured.append(1.0) or 1.0)  # type: ignore[func-returns-value]
    assert not patience.ended()
    assert measured == []


def test_a_wait_in_vain_says_for_what_how_long_and_on_what_machine() -> None:
    with pytest.raises(AssertionError, match=r"waited \d+ s for the moon \(0 s .* as slow .*\); last seen: None"):
        eventually("the moon", lambda: None, 0)
