"""`python -m benchmarks.trials`: how often a trial promotes a challenger wrongly, and how many labels a gain takes.

Simulated trials of a classification and of a regression, looked at after every labelled row, as the monitor never does
more often. What is printed stands in docs/rollout.md.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from monitoring.alarms.trial_test import BETS, Floats, TrialTest

TRIALS, ROWS, LEVEL = 2000, 10_000, 0.05
DIFFER = 0.2  # share of the rows that one of two classifiers gets right and the other wrong
DAYS, A_DAY = 200, 50  # of rows that are wrong together by the day


def category(gain: float) -> Callable[[np.random.Generator], Floats]:
    """Draw differences of two classifiers, one more accurate by a gain."""

    def draw(random: np.random.Generator) -> Floats:
        drawn = random.random(ROWS)
        better = (DIFFER + gain) / 2
        return np.where(drawn < better, 1.0, np.where(drawn < DIFFER, -1.0, 0.0))

    return draw


def errors(gain: float) -> Callable[[np.random.Generator], Floats]:
    """Draw differences of two regressions' errors: lognormal, alike by 0.8, and of one smaller by a share."""

    def draw(random: np.random.Generator) -> Floats:
        common, own = random.normal(size=ROWS), random.normal(size=(2, ROWS))
        lost = np.exp(0.8 * (0.9 * common + math.sqrt(0.19) * own)) * np.array([[1.0], [1.0 - gain]])
        bound = math.exp(0.8 * 3.09)  # their 99.9 % quantile
        difference: Floats = np.diff((lost[::-1] / bound).clip(max=1.0), axis=0)[0]
        return difference

    return draw


def days(random: np.random.Generator, gain: float = 0.0) -> Floats:
    """Draw differences of two classifiers of which each has its own bad days, one more accurate by a gain."""
    drift = np.repeat(random.choice([-0.15, 0.15], DAYS), A_DAY)
    drawn = random.random(ROWS)
    return np.where(drawn < (DIFFER + drift + gain) / 2, 1.0, np.where(drawn < DIFFER, -1.0, 0.0))


def ends(differences: Floats, sign: float = 1.0) -> float:
    """Return after how many differences (n,) the evidence reaches the level first; infinity if it never does."""
    logs = np.log1p(sign * differences[:, None] * BETS).cumsum(axis=0)
    wealth = np.logaddexp.reduce(logs, axis=1) - math.log(len(BETS))
    reached = np.flatnonzero(wealth >= -math.log(LEVEL))
    return float(reached[0] + 1) if len(reached) else math.inf


def in_blocks(differences: Floats) -> Floats:
    """Return the means of the days' differences, as the test scales them."""
    scaled: Floats = TrialTest(1.0).scaled(differences.reshape(DAYS, A_DAY).mean(axis=1))
    return scaled


def outcomes(draw: Callable[[np.random.Generator], Floats]) -> tuple[Floats, Floats]:
    """Return when each trial would promote and when it would drop (trials,)."""
    seeds = np.random.SeedSequence(20).spawn(TRIALS)
    found = [(ends(one), ends(one, -1.0)) for one in (draw(np.random.default_rng(seed)) for seed in seeds)]
    promoted, dropped = np.array(found).T
    return promoted, dropped


def line(name: str, draw: Callable[[np.random.Generator], Floats]) -> str:
    """Return a row of the table."""
    promoted, dropped = outcomes(draw)
    wins = promoted < dropped
    when = promoted[wins]
    labels = f"{np.quantile(when, 0.5):,.0f} | {np.quantile(when, 0.9):,.0f}" if len(when) >= TRIALS / 10 else "- | -"
    loses = dropped < promoted
    return f"| {name} | {wins.mean():.1%} | {labels} | {loses.mean():.1%} | {(~wins & ~loses).mean():.1%} |"


def main() -> None:
    """Print the table."""
    require_same_bets()
    print("| the challenger | promoted | median labels | nine of ten by | dropped as worse | undecided |")
    print("|---|---|---|---|---|---|")
    for gain in (-0.02, 0.0, 0.01, 0.02, 0.05, 0.1):
        told = "as accurate" if not gain else f"{abs(gain):.0%} {'more' if gain > 0 else 'less'} accurate"
        print(line(f"{told}, right or wrong elsewhere in 20 % of rows", category(gain)))
    for gain in (-0.05, 0.0, 0.05, 0.1, 0.2):
        told = "as large" if not gain else f"{abs(gain):.0%} {'smaller' if gain > 0 else 'larger'}"
        print(line(f"regression, errors {told}", errors(gain)))
    print(line("as accurate, each with bad days, by rows", days))
    for gain in (0.0, 0.05, 0.1):
        told = "the same, by blocks of a day, which the columns count" if not gain else f"{gain:.0%} more accurate"
        print(line(told, partial(_blocked, gain=gain)))


def _blocked(random: np.random.Generator, gain: float) -> Floats:
    return in_blocks(days(random, gain))


def require_same_bets() -> None:
    """Hold the quick computation here against the monitor's own."""
    differences: npt.NDArray[np.float64] = category(0.05)(np.random.default_rng(1))
    place = int(ends(differences))
    test = TrialTest()
    test.add(differences[: place - 1], np.arange(place - 1))
    before = test.score("promote")
    test.add(differences[place - 1 : place], np.arange(1))
    assert before < -math.log10(LEVEL) <= test.score("promote") + 1e-12


if __name__ == "__main__":
    main()
