"""What the drift alarm promises, how far its calibration supports that, and which rhythm it knows, in words."""

import math
from dataclasses import dataclass

from monitoring.alarms.drift.rhythm import SECONDS, Rhythm, amount, duration
from monitoring.alarms.drift.usual import WEEK

EXTRAPOLATED = "extrapolated, by a Gumbel law fitted to the highest scores of rows without change"


@dataclass(frozen=True)
class Support:
    """The rows between false alarms that are promised, and those that the calibration has seen without change.

    `rate` is the rows per second by which both become times, 0 if it is not known.
    """

    promised: float
    supported: float
    rate: float
    rhythm: Rhythm

    @property
    def factor(self) -> float:
        """Return how many times as far the promise reaches as the rows that support it: 1 or more, inf without any."""
        return max(1.0, self.promised / self.supported) if self.supported else math.inf

    @property
    def cycle_seconds(self) -> float:
        """Return the length of the rhythm's cycle, 0 without one."""
        return self.rhythm.cycle.length / 1e6 if self.rhythm.cycle else 0.0

    @property
    def promised_said(self) -> str:
        """Return the promise in words."""
        if not self.rate:
            return f"on average at most one false alarm in {self.promised:,.0f} rows; their time is not known yet"
        time = f"{duration(self.promised / self.rate)} at {amount(self.rate * SECONDS['days'])} rows a day"
        return f"on average at most one false alarm in {self.promised:,.0f} rows ({time})"

    @property
    def supported_said(self) -> str:
        """Return what supports the promise, and what does not, in words."""
        if not self.supported:
            return "nothing: the alarm takes the reference's rows for independent of each other, and they are not."
        time = f" ({duration(self.supported / self.rate)})" if self.rate else ""
        found = f"{self.supported:,.0f} rows without change{time}, {self.source}"
        if self.factor == 1 and self.rhythm.dependent is None:
            return f"{found}. They cover the promise if that is so, which a reference without times does not tell."
        if self.factor == 1:
            return f"{found}. They cover the promise."
        return f"{found}. The promise reaches {amount(self.factor)} times as far; beyond them it is {EXTRAPOLATED}."

    @property
    def source(self) -> str:
        """Return in words where the rows come from that support the promise."""
        if self.rhythm.cycle is None:
            return "drawn from the reference one by one, so for traffic whose rows do not depend on each other"
        own = f"{self.rhythm.cycles} {self._cycle}s"
        if self.rhythm.earlier:
            return f"those before the reference was re-based: the calibration uses their {own} again and again"
        return f"the reference's own: the calibration uses its {own} again and again, which makes no new ones"

    @property
    def rhythm_said(self) -> str:
        """Return which rhythm is in the alarm in words, or why none is and what follows."""
        if self.rhythm.cycle is None:
            return f"no daily or weekly one is in the alarm: {self.rhythm.said}. {self.rhythm.advice}".rstrip()
        where = "before the reference was re-based" if self.rhythm.earlier else "in the reference"
        learned = f"a {self._cycle}, learned from {self.rhythm.cycles} of them {where}"
        return f"{learned}: rows are held against what is usual at their time of the {self._cycle}."

    @property
    def _cycle(self) -> str:
        assert self.rhythm.cycle is not None
        return "week" if self.rhythm.cycle.length == WEEK else "day"
