"""The test of a challenger: whether labels show that it is better than the champion, or worse.

Of each labelled row there is a difference from -1 to 1: what the champion loses minus what the challenger loses. A bet
on the challenger multiplies its stake by 1 + b d at a difference d, which is 1 at most on average while the challenger
is no better. So its wealth reaches 1 / level with a probability of `level` at most, however often it is looked at
(Ville 1939; Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"). The stake is
divided equally between several b. A bet on the champion tells in the same way that the challenger is worse.

Rows of one hour may be right or wrong together. Where the reference has shown that (`outcome_blocks`), a difference is
the mean of a block of time. A block ends with the first row of a later one; a row of an earlier time, whose label came
after that, counts in the block that is open. Means of many rows are much smaller than 1, and bets on them would be too:
they are divided by WIDTH times the root mean square of the blocks before, and what is beyond counts as that.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from monitoring.alarms.outcome_blocks import Floats, close_blocks
from monitoring.alarms.outcomes import Times

BETS: Floats = 0.9 * np.exp2(-np.arange(0.0, 7.0))
WIDTH, FEWEST = 4.0, 10  # root mean squares that a block's mean may be off; blocks before these are known
SIDES: Mapping[Literal["promote", "drop"], float] = {"promote": 1.0, "drop": -1.0}


class TrialTest:
    """The bets on a challenger and against it, on rows or on blocks of them."""

    def __init__(self, block: float = 0.0, state: Mapping[str, Any] | None = None) -> None:
        """Begin anew, or go on from a state; `block` is a block's length in seconds, 0 for rows by themselves."""
        self.block = block
        none = [0.0] * len(BETS)
        state = state or {
            "rows": 0,
            "total": 0.0,
            "open": [-1, 0.0, 0],
            "seen": [0, 0.0],
            "promote": none,
            "drop": none,
        }
        self.rows, self._total = int(state["rows"]), float(state["total"])
        number, total, rows = state["open"]
        self._open = int(number), float(total), int(rows)  # a block's number, and its differences' sum and number
        self._seen = int(state["seen"][0]), float(state["seen"][1])  # blocks that have ended, and their squares' sum
        self._logs = {side: np.array(state[side], np.float64) for side in SIDES}
        if any(logs.shape != BETS.shape for logs in self._logs.values()):
            raise ValueError("the state is of other bets")

    @property
    def difference(self) -> float | None:
        """Return the mean difference; None before the first row."""
        return self._total / self.rows if self.rows else None

    def score(self, side: Literal["promote", "drop"]) -> float:
        """Return log10 of the evidence that the challenger is better, or worse."""
        logs = self._logs[side]
        return float((np.logaddexp.reduce(logs) - math.log(len(logs))) / math.log(10))

    def add(self, differences: Floats, times: Times) -> None:
        """Take in differences (n,) from -1 to 1, in the order of their labels' arrival, and their rows' times (n,)."""
        if not len(differences):
            return
        self.rows += len(differences)
        self._total += float(differences.sum())
        self._bet(self._closed(differences, times) if self.block else differences)

    def scaled(self, means: Floats) -> Floats:
        """Return means (m,) as shares of their width, which the blocks before each of them tell."""
        number, squares = self._seen
        numbers, sums = number + np.arange(len(means) + 1), squares + np.append(0.0, (means**2).cumsum())
        self._seen = int(numbers[-1]), float(sums[-1])
        width = np.where(numbers < FEWEST, 1.0, WIDTH * np.sqrt(sums / np.maximum(numbers, 1)))[:-1]
        width = width.clip(min=1e-9, max=1.0)
        scaled: Floats = means.clip(-width, width) / width
        return scaled

    def to_dict(self) -> dict[str, Any]:
        """Return the state, as JSON takes it."""
        logs: dict[str, Any] = {side: logs.tolist() for side, logs in self._logs.items()}
        return {"rows": self.rows, "total": self._total, "open": list(self._open), "seen": [*self._seen], **logs}

    def _bet(self, differences: Floats) -> None:
        for side, sign in SIDES.items():
            self._logs[side] = self._logs[side] + np.log1p(sign * differences[:, None] * BETS).sum(axis=0)

    def _closed(self, differences: Floats, times: Times) -> Floats:
        """Return the means (m,) of the blocks that end with these rows, as shares of what they may be."""
        self._open, totals, counts = close_blocks(self._open, differences, times, self.block)
        return self.scaled(totals / counts)
