"""A method as the harness sees it: watches over stretches of rows, and the variants that a peer is run in."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.alarms.rows import Floats, Rows

HEAD = 300  # steady rows before a shift

Numbers = npt.NDArray[np.intp]


class Watch(Protocol):
    """A stretch of rows and a detector that watches them."""

    rows: int

    def first(self, since: int, setting: float) -> int | None:
        """Return after which row a detector that is started anew after the row `since` raises its first alarm."""


@dataclass
class Scored:
    """Watch by scores that a threshold is laid on afterwards, so that every setting shares their computation.

    `score(since, begin, end)` gives the rows in (begin, end] that the method looks at, and its score there when it was
    started after the row `since`. How it was started is forgotten after `memory` rows.
    """

    rows: int
    score: Callable[[int, int, int], tuple[Numbers, Floats]]
    memory: int = 0
    block: int = 1_000
    _known: dict[tuple[int, int], tuple[Numbers, Floats]] = field(default_factory=dict)

    def first(self, since: int, setting: float) -> int | None:
        """See Watch; an alarm is a score above the setting."""
        begin = since
        while begin < self.rows:
            end = min((begin // self.block + 1) * self.block, self.rows)
            key = (max(since, begin - self.memory), begin)
            if key not in self._known:
                self._known[key] = self.score(*key, end)
            looks, scores = self._known[key]
            if (above := np.flatnonzero(scores > setting)).size:
                return int(looks[above[0]])
            begin = end
        return None


def ends(rows: Rows, size: int, begin: int, end: int) -> Numbers:
    """Return where the disjoint windows of a size end in (begin, end].

    Where in a window the shift falls is left to chance, which the first row's digits stand for: the first window begins
    that many rows late, before the shift at the latest.
    """
    late = int(abs(float(rows.features[0, 0])) * 1e4) % min(size, HEAD)
    looks = np.arange(late + size, end + 1, size)
    return looks[looks > begin]


@dataclass(frozen=True)
class Driven:
    """Watch by a detector that has to be driven anew for every setting: `drive(since, setting)` is `first`."""

    rows: int
    drive: Callable[[int, float], int | None]

    def first(self, since: int, setting: float) -> int | None:
        """See Watch."""
        return self.drive(since, setting)


@dataclass(frozen=True)
class Variant:
    """One way to run a peer: `text` says how, with the tuned setting as {0}.

    The tuning begins at `start`; a `step` makes alarms about ten times rarer. `said` turns the setting into the number
    that a user would write.
    """

    text: str
    watch: Callable[[Rows, Rows], Watch]
    start: float
    step: float = 1.0
    said: Callable[[float], float] = lambda setting: setting


@dataclass(frozen=True)
class Peer:
    """A method with its variants, of which the best is reported; the streams it is tuned on and its runs per shift.

    `check` fails if what is computed for the peer is not what its library says of these rows.
    """

    name: str
    label: str
    variants: tuple[Variant, ...]
    streams: int = 80
    runs: int = 40
    check: Callable[[Rows, Rows], None] | None = None


def power(setting: float) -> float:
    """Return the p-value of a setting that is its negative decimal logarithm."""
    return 10.0**-setting
