"""Blocks of time that outcomes are judged by, of a length that the reference's outcomes tell.

Rows of one hour, or of one day of bad weather, are wrong together. A block is so long that those of one day, or of one
longer part of it, are no more alike than others: their means differ between such parts by no more than chance (one-way
analysis of variance, Fisher 1925), in 999 of 1,000 cases, for all lengths together (Bonferroni).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import fdtrc, stdtrit

from monitoring.alarms.e_detectors import Values
from monitoring.alarms.outcomes import JUDGES, Times
from monitoring.contract.config import Model
from monitoring.contract.reference import TIME, Reference

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Open = tuple[int, float, int]  # the block that rows still come into: its number, and its values' sum and number

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
LENGTHS = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY)
FEWEST = 10  # blocks of a reference: fewer do not tell how much they differ
CHANCE = 0.001  # that a length is taken for too short although its blocks are independent


@dataclass(frozen=True)
class Blocks:
    """A length in seconds, and the mean and standard deviation of the means of so many blocks of a reference."""

    seconds: float
    mean: float
    deviation: float
    number: int

    def margin(self, miscoverage: float) -> float:
        """Return how far the true mean may lie beyond that of the blocks, on one side, with this probability at most.

        It is Student's, which holds as far as means of many rows are normal.
        """
        return float(stdtrit(self.number - 1, 1 - miscoverage)) * self.deviation / math.sqrt(self.number)


def close_blocks(opened: Open, values: Values, times: Times, seconds: float) -> tuple[Open, Floats, Counts]:
    """Take in values (n,) of rows of these times (n,) in microseconds; those of closed blocks go to the open one.

    Return the block that is open then, and the values' sums and numbers (m,) of the blocks that have ended.
    """
    number, total, rows = opened
    blocks = np.append(number, np.maximum(times // round(seconds * 1e6), number))
    order = np.argsort(blocks, kind="stable")
    numbers, begins = np.unique(blocks[order], return_index=True)
    totals = np.add.reduceat(np.append(total, values)[order], begins)
    counts = np.add.reduceat(np.append(rows, np.ones(len(values), np.int64))[order], begins)
    ended = np.flatnonzero(counts[:-1])
    return (int(numbers[-1]), float(totals[-1]), int(counts[-1])), totals[ended], counts[ended]


def blocks_of(reference: Reference, model: Model) -> Blocks | None:
    """Return the shortest blocks that do not depend on each other, or the longest that the reference has enough of.

    None if it has no times, or is too short. Errors larger than a regression's `mae_bound` count as that.
    """
    if TIME.name not in reference.table.column_names:
        return None
    table = reference.table.sort_by(TIME.name)
    judged = JUDGES[model.task](table[model.prediction], table[model.target])
    times = table[TIME.name].filter(judged.is_valid()).cast("int64").to_numpy() / 1e6
    outcomes: Floats = judged.drop_null().cast(pa.float64()).to_numpy()
    if reference.performance is not None and reference.performance.mae_bound is not None:
        outcomes = outcomes.clip(max=reference.performance.mae_bound)
    found = None
    for seconds in LENGTHS:
        begins, means = _means(outcomes, times, seconds)
        if len(means) < FEWEST:
            break
        found = Blocks(seconds, float(means.mean()), float(means.std(ddof=1)), len(means))
        if not _alike(means, begins, seconds):
            break
    return found


def _means(outcomes: Floats, times: Floats, seconds: float) -> tuple[Floats, Floats]:
    """Return the begin and the mean of each block that has rows (blocks,), of outcomes (n,) at these times (n,)."""
    numbers, places, counts = np.unique(times // seconds, return_inverse=True, return_counts=True)
    means: Floats = np.bincount(places, outcomes) / counts
    return numbers * seconds, means


def _alike(means: Floats, begins: Floats, seconds: float) -> bool:
    """Say whether blocks' means (n,) within a longer part of time, of a day at most or of two blocks, are alike."""
    longer = [length for length in LENGTHS if length > seconds]
    longer = [length for length in longer if length <= DAY] or longer[:1]
    return any(_chance(means, begins // length) < CHANCE / len(longer) for length in longer)


def _chance(values: Floats, groups: Floats) -> float:
    """Return how likely groups (n,) of independent values (n,) differ by as much; 1 where there are too few."""
    _, places, counts = np.unique(groups, return_inverse=True, return_counts=True)
    between, within = len(counts) - 1, len(values) - len(counts)
    if not between or not within:
        return 1.0
    means = np.bincount(places, values) / counts
    explained = float((counts * (means - values.mean()) ** 2).sum())
    left = float(((values - means[places]) ** 2).sum())
    return float(fdtrc(between, within, explained / between / (left / within))) if left > 0 else float(explained <= 0)
