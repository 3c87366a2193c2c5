"""Repeated rows that the reference does not explain: coarse values repeat by chance, the more so the more rows.

A row that the reference holds is expected as often as it occurs there. Rows that it does not hold may repeat as those
do that it holds once (Good 1953: what was not seen is like what was seen once). Continuous rows do not meet the
reference's at all, so that each repetition counts. Rows of the reference itself that are sent again all equally often
are no draw either: chance spreads how often each comes.
"""

import numpy as np

from monitoring.profile.profile import Counts, Profile

BEYOND_CHANCE = 4  # standard errors of the difference of two counts
_UNSEEN = 9  # a count of none may stand for so many: Poisson's upper limit at as many standard errors


def count_unexplained(profile: Profile) -> float | None:
    """Return how many rows repeat others beyond what the reference explains; None if nobody looked for repetitions."""
    if profile.distinct is None:
        return None
    known, counts = profile.known, profile.grid.known.counts
    times = profile.rows / max(int(counts.sum()), 1)  # the window's rows for each of the reference's
    expected = counts * times
    chance = 1 + expected + BEYOND_CHANCE * np.sqrt(expected * (1 + times))
    beyond = np.where(known > chance, known - np.maximum(expected, 1), 0).sum()
    once = known[counts == 1]
    most = int(chance[counts == 1].max(initial=0))
    resent = _resent(once, most)
    drawn = once[(once <= most) & ~np.isin(once, list(resent))]
    others = profile.rows - int(known.sum())
    different = len(profile.distinct) - int(np.count_nonzero(known))
    wanted = others - _explained(drawn, others, times)
    beyond += sum((often - 1) * rows for often, rows in resent.items())
    return float(beyond) + others * max(0.0, 1 - different / max(wanted, 1))


def _resent(once: Counts, most: int) -> dict[int, float]:
    """Return, by how often they occur, how many of the rows that the reference holds once occur so often by no chance.

    Rows that are drawn occur in Poisson's numbers, each with a mean of its own. Whatever the means are, the number N(r)
    of rows that occur r times is then at most √(N(r-1) * N(r+1) * (r+1)/r): the moments of a mixture are log-convex.
    """
    number = np.bincount(np.minimum(once, most + 2), minlength=most + 3)
    often = np.arange(2, most + 1)
    before, here, after = number[often - 1], number[often], number[often + 1]
    ratio = (often + 1) / often
    highest = np.sqrt(_upper(before) * _upper(after) * ratio)
    sent = here > highest + BEYOND_CHANCE * np.sqrt(highest)
    beyond = here - np.sqrt(before * after * ratio)
    return dict(zip(often[sent].tolist(), beyond[sent].tolist(), strict=True))


def _upper(count: Counts) -> Counts:
    return np.maximum(count, _UNSEEN)


def _explained(once: Counts, others: int, times: float) -> float:
    """Return how many of the other rows may repeat, given how often those occur that the reference holds once.

    No larger a share than of these, and no more than Good's formula with its error says: of the values with which the
    reference and a sample `times` as large meet in c and k rows, there are times * (c + 1) / k as many as of those with
    c + 1 and k - 1.
    """
    rows = int(once.sum())
    if not rows:
        return 0.0
    share = (rows - int(np.count_nonzero(once)) + 1) / (rows + 1)
    repeating = once / (once + 1)
    most = times * (repeating.sum() + BEYOND_CHANCE * np.sqrt((repeating**2).sum()))
    return min(others * share, float(most))
