"""What the harness needs of a method: watches over stretches of rows, and the variants that a peer is run in."""

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
class ScoredWatch:
    """Watch by scores, which are computed once for all settings: an alarm is a score above the setting.

    `score(since, begin, end)` returns the rows in (begin, end] at which the method tests, (n,), and its scores there,
    (n,), if it was started after the row `since`. The start has no influence after `memory` rows.
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
            places, scores = self._known[key]
            if (above := np.flatnonzero(scores > setting)).size:
                return int(places[above[0]])
            begin = end
        return None


def ends(rows: Rows, size: int, begin: int, end: int) -> Numbers:
    """Return the rows (n,) in (begin, end] at which the disjoint windows of a size end.

    Where in a window the shift falls is random: the first window begins some rows late, as many as the digits of the
    first row's first value say, and before the shift at the latest.
    """
    late = int(abs(float(rows.features[0, 0])) * 1e4) % min(size, HEAD)
    places = np.arange(late + size, end + 1, size)
    return places[places > begin]


@dataclass(frozen=True)
class RerunWatch:
    """Watch by a detector that has to be run again for every setting: `rerun(since, setting)` is `first`."""

    rows: int
    rerun: Callable[[int, float], int | None]

    def first(self, since: int, setting: float) -> int | None:
        """See Watch."""
        return self.rerun(since, setting)


@dataclass(frozen=True)
class Variant:
    """One way to run a peer: `text` says how, with the tuned setting as {0}.

    The tuning begins at `start`; a `step` makes alarms about ten times rarer. `shown` turns the setting into the number
    that a user of the method would configure.
    """

    text: str
    watch: Callable[[Rows, Rows], Watch]
    start: float
    step: float = 1.0
    shown: Callable[[float], float] = lambda setting: setting


@dataclass(frozen=True)
class Peer:
    """A method with its variants, of which the best is reported; the streams it is tuned on and its runs per shift.

    `check` fails if what is computed for the peer differs from what its library computes of these rows.
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
