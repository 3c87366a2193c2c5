"""What is usual at a time of the day and of the week: the part of a stream's rhythm that a mean can show."""

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from monitoring.contract.config import cycle_length

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]  # Micros

HOUR = 3_600_000_000  # microseconds
DAY = cycle_length("1d")
WEEK = cycle_length("7d")


@dataclass(frozen=True)
class Cycle:
    """A cycle's length in microseconds, a day or a week, and the time zone whose clocks it follows."""

    length: int
    zone: str


def local_times(times: Times, zone: str) -> Times:
    """Return the time that clocks in a zone show, in microseconds since 1970 there."""
    hours, places = np.unique(times // HOUR, return_inverse=True)
    place = ZoneInfo(zone)
    offsets = [
        round(datetime.fromtimestamp(int(hour) * 3600, UTC).astimezone(place).utcoffset().total_seconds() * 1e6)  # type: ignore[union-attr]
        for hour in hours
    ]
    return times + np.array(offsets, np.int64)[places]


class Usual:
    """What is usual of scores and predictions at a time of the day and, with a cycle of 7 days, of the week.

    The mean score and the share of each prediction in bins of time, shrunk towards what is usual on all days and
    overall, as if SHRINK rows of those stood in each bin.
    """

    DAY_BINS, WEEK_BINS, SHRINK = 96, 336, 30

    def __init__(self, columns: Floats, times: Times, cycle: Cycle) -> None:
        self.cycle = cycle
        day, week = self._bins(times)
        rest = columns - columns.mean(0)
        self._day = self._shrunk_means(rest, day, self.DAY_BINS)
        rest = rest - self._day[day]
        self._week = self._shrunk_means(rest, week, self.WEEK_BINS if cycle.length == WEEK else 1)

    def _bins(self, times: Times) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        local = local_times(times, self.cycle.zone)
        day = local % DAY // (DAY // self.DAY_BINS)
        week = local % WEEK // (WEEK // self.WEEK_BINS) if self.cycle.length == WEEK else np.zeros_like(day)
        return day, week

    def _shrunk_means(self, columns: Floats, bins: npt.NDArray[np.int64], number: int) -> Floats:
        counts = np.bincount(bins, minlength=number)[:, None]
        sums = np.stack([np.bincount(bins, column, number) for column in columns.T], axis=1)
        means: Floats = sums / (counts + self.SHRINK)
        return means

    def departures(self, times: Times) -> Floats:
        """Return how what is usual at these times (n,) departs from the mean over all (n, columns)."""
        day, week = self._bins(times)
        departures: Floats = self._day[day] + self._week[week]
        return departures
