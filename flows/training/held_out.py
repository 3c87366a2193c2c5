"""Which rows are held out to compare champion and candidate on: rows that neither has seen.

The rows come after the champion's reference and after the newest row that the champion has learned from, so it has seen
none of them; the candidate learns from those that are not held out.

Rows that follow a cycle depend on their neighbours in time: they share an hour's weather, or a customer's visit. A row
that is held out at random has its neighbours in the training, and a candidate that has learned the hour by heart would
look better than it will be (Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial,
hierarchical, or phylogenetic structure"). There whole blocks of time are held out. Elsewhere rows are drawn at random,
stratified by label, which needs fewer of them: by category, or by the fifth of all numbers that it lies in.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from flows.training.sample import FOLDS, Places, Sample
from flows.training.tasks import TASKS

BLOCKS = 48  # of a cycle: half an hour of a day
DAY = 86_400.0  # seconds
_DRAWS = 200  # of blocks, of which the one is taken whose labels are most like all rows'


@dataclass(frozen=True)
class Split:
    """Places (k,) of the rows to learn from and of those held out."""

    training: Places
    held: Places


def blocks_of(times: npt.NDArray[np.int64], cycle: float) -> Places:
    """Return the number of the block of time that each row lies in (n,); `times` are microseconds, `cycle` seconds.

    Rows that span no whole cycle, as hours of a week, would lie in too few blocks: theirs are those of a day.
    """
    if len(times) and np.ptp(times) < cycle * 1e6:
        cycle = min(cycle, DAY)
    numbers = times // max(1, round(cycle * 1e6 / BLOCKS))
    return np.asarray(np.unique(numbers, return_inverse=True)[1], dtype=np.intp)


def split_rows(sample: Sample, share: float, seed: int, blocks: Places | None = None) -> Split:
    """Hold out a share of the rows: whole blocks if there are some, else at random; the same for the same seed.

    Categories, or fifths of numbers, with fewer rows than there are folds are too rare to be held out: they stay in
    training.
    """
    if blocks is not None and (held := _held_blocks(sample, share, seed, blocks)) is not None:
        return Split(np.flatnonzero(~held), np.flatnonzero(held))
    strata = TASKS[sample.task].strata(sample.labels)
    labels, places, counts = np.unique(strata, return_inverse=True, return_counts=True)
    rare = counts[places] < FOLDS
    common = np.flatnonzero(~rare)
    size = max(round(share * len(common)), len(labels) - (counts < FOLDS).sum())
    kept, held = train_test_split(common, test_size=size, random_state=seed, stratify=strata[common])
    return Split(np.concatenate([kept, np.flatnonzero(rare)]), held)


def _held_blocks(sample: Sample, share: float, seed: int, blocks: Places) -> npt.NDArray[np.bool_] | None:
    """Return which rows are held out (n,), in whole blocks; None if no draw leaves enough of the categories to learn.

    Of several draws that one counts in which each label's share is nearest to what it is to be.
    """
    strata = TASKS[sample.task].strata(sample.labels)
    labels, places, counts = np.unique(strata, return_inverse=True, return_counts=True)
    common, number = counts >= FOLDS, int(blocks.max()) + 1
    per_block = np.zeros((number, len(labels)))
    np.add.at(per_block, (blocks, places), 1)
    rng = np.random.default_rng(seed)
    size = min(max(round(share * number), 1), number - 1)
    if not size:
        return None
    draws = np.zeros((_DRAWS, number))
    for draw in draws:
        draw[rng.choice(number, size, replace=False)] = 1
    inside = draws @ per_block
    fits = np.all((inside > 0) & (counts - inside >= FOLDS) | ~common, axis=1)
    if not fits.any():
        return None
    apart = np.abs(inside - share * counts).sum(axis=1)
    best = draws[np.argmin(np.where(fits, apart, np.inf))].astype(bool)
    return np.asarray(best[blocks] & common[places])
