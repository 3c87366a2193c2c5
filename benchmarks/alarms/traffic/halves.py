"""Nothing has changed: the reference is a random half of an autumn's flights, the log the other half in true order.

So the reference covers every hour, weekday and week, and every alarm is a false one.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmarks.alarms.traffic import flights, watch

FIRST, LAST = "2013-09-01", "2013-12-01"
UNITS = ("rows", "days")


@dataclass(frozen=True)
class Half:
    """A half that was watched; `seconds` is how long its calibration took."""

    features: str
    unit: str
    number: int
    days: float
    share: float
    alarms: list[dict[str, object]]
    anew: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Tell whether no more alarms came than were promised, with a new start after each too."""
        return max(len(self.alarms), self.anew) <= round(self.days / watch.PROMISED_DAYS)


def halves(unit: str, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a reference and a log: random halves of the rows or of the days, the same for the same number."""
    rows, rng = flights.between(FIRST, LAST), np.random.default_rng([7, number])
    if unit == "rows":
        known = rng.random(len(rows)) < 0.5  # noqa: PLR2004 - a half
    else:
        day = rows.timestamp.dt.tz_convert(flights.ZONE).dt.dayofyear.to_numpy()
        every = rng.permutation(np.unique(day))
        known = np.isin(day, every[: len(every) // 2])
    return rows[known].reset_index(drop=True), rows[~known].reset_index(drop=True)


def one(job: tuple[str, str, int]) -> dict[str, object]:
    """Watch one half: the set of features, the unit, the number of the half."""
    features, unit, number = job
    model = flights.model(features)
    rows, later = halves(unit, number)
    words = model.words(rows)
    reference, log = model.observe(rows), model.observe(later, words=words)
    begun = time.perf_counter()
    known = watch.Watch.of(reference, len(flights.CATEGORIES), words)
    seconds = time.perf_counter() - begun
    found = watch.replay(known, log, tuple(model.names), watch.promised_rows(log))
    return asdict(
        Half(features, unit, number, found.days, found.share, [vars(a) for a in found.alarms], found.anew, seconds)
    )


def jobs(sets: list[str], units: list[str], number: int) -> list[tuple[str, str, int]]:
    """Return every half that is to be watched."""
    return [(features, unit, n) for features in sets for unit in units for n in range(number)]


def table(found: list[dict[str, object]]) -> str:
    """Return what was found as Markdown, a line per set of features and unit."""
    return "\n".join(_lines([Half(**one) for one in found]))  # type: ignore[arg-type]


def _lines(found: list[Half]) -> Iterator[str]:
    yield (
        "| features | halves of | keep the promise | alarms in a half: median, most | with a new start after each | "
        "time in alarm: mean, most |"
    )
    yield "|---|---|---|---|---|---|"
    for features, unit in dict.fromkeys((h.features, h.unit) for h in found):
        several = [h for h in found if (h.features, h.unit) == (features, unit)]
        alarms, anew = [len(h.alarms) for h in several], [h.anew for h in several]
        shares = [h.share for h in several]
        yield (
            f"| `{features}` | {unit} | {sum(h.kept for h in several)} of {len(several)} | "
            f"{np.median(alarms):g}, {max(alarms)} | {np.median(anew):g}, {max(anew)} | "
            f"{np.mean(shares):.1%}, {max(shares):.1%} |"
        )
