"""What is usual at a time of the day and of the week: the part of a stream's rhythm that a mean can show."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from monitoring.contract.config import cycle_length

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]  # Micros
Bins = npt.NDArray[np.int64]

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
    overall, as if SHRINK rows of those stood in each bin; as many fewer as the time tells more of a column. One that
    follows from the time alone, such as `is_weekend`, is not shrunk: all that was left of it would be its rhythm.
    """

    DAY_BINS, WEEK_BINS, SHRINK = 96, 336, 30

    def __init__(self, columns: Floats, times: Times, cycle: Cycle, levels: Iterable[Floats] = ()) -> None:
        """Learn it from columns (n, k), and of each categorical feature from the indicators of its cells."""
        self.cycle = cycle
        bins = self._bins(times)
        self._means = self._learn(columns, *bins)
        self._levels = [self._learn(each, *bins) for each in levels]

    def _learn(self, columns: Floats, day: Bins, week: Bins) -> tuple[Floats, Floats]:
        """Return the means in each bin of the day, and what those of the week differ from them."""
        rest = columns - columns.mean(0)
        daily = self._shrunk_means(rest, day, self.DAY_BINS)
        rest = rest - daily[day]
        return daily, self._shrunk_means(rest, week, self.WEEK_BINS if self.cycle.length == WEEK else 1)

    def _bins(self, times: Times) -> tuple[Bins, Bins]:
        local = local_times(times, self.cycle.zone)
        day = local % DAY // (DAY // self.DAY_BINS)
        week = local % WEEK // (WEEK // self.WEEK_BINS) if self.cycle.length == WEEK else np.zeros_like(day)
        return day, week

    def _shrunk_means(self, columns: Floats, bins: Bins, number: int) -> Floats:
        counts = np.bincount(bins, minlength=number)[:, None]
        sums = np.stack([np.bincount(bins, column, number) for column in columns.T], axis=1)
        within = ((columns - (sums / np.maximum(counts, 1))[bins]) ** 2).sum(0)
        untold = within / np.maximum((columns**2).sum(0), 1e-12)  # share of the variance, 0 to 1
        means: Floats = sums / np.maximum(counts + self.SHRINK * untold, 1)
        return means

    def departures(self, times: Times) -> Floats:
        """Return how what is usual at these times (n,) departs from the mean over all (n, columns)."""
        day, week = self._bins(times)
        daily, weekly = self._means
        departures: Floats = daily[day] + weekly[week]
        return departures

    def level_departures(self, times: Times) -> Iterator[Floats]:
        """Yield the same of each categorical feature's cells (n, cells)."""
        day, week = self._bins(times)
        return (daily[day] + weekly[week] for daily, weekly in self._levels)
