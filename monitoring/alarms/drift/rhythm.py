"""Rhythm: whether a reference's rows depend on each other in time, in which cycle, and what is usual at a time of it.

Traffic has a day, a week and weather. Rows that come one after the other are then alike, and a window of them differs
from the reference more than as many rows drawn one by one would. What that means for an alarm is learned from whole
cycles in their own order, see `cycles`; here it is found which cycle that is.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import stats

from monitoring.alarms.drift.scores import Observations, ReferenceScores
from monitoring.alarms.drift.usual import Cycle, Floats, local_times
from monitoring.contract.config import CYCLES, cycle_length
from monitoring.contract.rhythm_rows import FEWEST_CYCLES, count_cycles

LEVEL = 1e-4  # of the test for dependence: below it rows are held to depend on each other
CHUNK = 25  # rows at least, of the chunks whose means are compared
MOST_CHUNKS = 200
SECONDS = {"days": 86_400, "hours": 3600, "minutes": 60}

PERIODS = {"1d": "day", "7d": "week"}
BROKEN = "hours that are unlike the average count as drift, and alarms come far more often than promised"
IF_ANY = f"On traffic with a day or a week {BROKEN}"
HELP = "rows of two days at least, of two weeks where weekends differ"


@dataclass(frozen=True)
class Rhythm:
    """A reference's rhythm: its cycle, None without one, how many of them hold rows, and why.

    `said` is a clause for people: what was found, or why nothing was. Without a cycle `advice` are sentences: what
    follows where traffic has one all the same, and what helps. `dependent` says whether the rows depend on those
    before them, by the test or by config.yml's word; None where it is not known. The rhythm was found in `earlier` rows
    where the reference is too short, as one is that was re-based: then the reference tells the level alone.
    """

    cycle: Cycle | None
    cycles: int
    said: str
    advice: str = ""
    dependent: bool | None = False
    earlier: bool = False


NO_RHYTHM = Rhythm(None, 0, "none was looked for")


def find_rhythm(
    rows: Observations, categories: int, asked: str, zone: str, earlier: Observations | None = None
) -> Rhythm:
    """Find the rhythm of a reference's rows; `asked` is config.yml's `rhythm`: auto, none, 1d or 7d.

    Where they span less than two cycles of the rhythm that `earlier` rows have, it is that one.
    """
    if earlier is not None and rows.times is not None:
        found = find_rhythm(earlier, categories, asked, zone)
        local = pa.array(local_times(rows.times, zone))
        if found.cycle and count_cycles(local, found.cycle.length) < FEWEST_CYCLES:
            return replace(found, said=f"{found.said} before the reference was re-based", earlier=True)
    if asked == "none":
        return Rhythm(None, 0, "config.yml says that there is none", f"{IF_ANY}: set rhythm to auto.")
    if rows.times is None or not len(rows):
        follows = f"It has one, as config.yml says, so {BROKEN}" if asked in CYCLES else IF_ANY
        return Rhythm(
            None,
            0,
            "the reference does not know its rows' times",
            f"{follows}: give reference.parquet a column timestamp, and {HELP}.",
            dependent=True if asked in CYCLES else None,
        )
    local = local_times(rows.times, zone)
    span = int(local.max() - local.min())
    spans = f"the reference spans {duration(span / 1e6)}"
    dependent = asked != "auto" or are_dependent(rows, categories)
    names = [asked] if asked in CYCLES else sorted(CYCLES, key=CYCLES.__getitem__, reverse=True)
    for name in names:
        length = cycle_length(name)
        if (cycles := count_cycles(pa.array(local), length)) >= FEWEST_CYCLES:
            if not dependent:
                return Rhythm(None, 0, f"{spans}, and its rows do not depend on those before them")
            said = f"a {PERIODS[name]}, from {cycles} of them"
            return Rhythm(Cycle(length, zone), cycles, said, dependent=True)
    short = f"{spans}, and a rhythm is learned from {FEWEST_CYCLES} {PERIODS[names[-1]]}s at least"
    follows = f"Its rows depend on those before them, so {BROKEN}" if dependent else IF_ANY
    return Rhythm(None, 0, short, f"{follows}: give reference.parquet {HELP}.", dependent)


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which there are two."""
    unit, length = next(((unit, of) for unit, of in SECONDS.items() if seconds >= 2 * of), ("seconds", 1))
    return f"{amount(seconds / length)} {unit}"


def amount(number: float) -> str:
    """Write a number to two digits, or to the next whole one."""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"  # noqa: PLR2004 - two digits


def are_dependent(rows: Observations, categories: int) -> bool:
    """Say whether rows depend on those before them: whether the means of chunks in the order of time differ.

    Of each feature's normal scores, each level and each prediction the means of up to 200 chunks are held against what
    rows drawn one by one would give, by a chi-squared test of their squares, with Bonferroni's correction.
    """
    assert rows.times is not None
    number = min(MOST_CHUNKS, len(rows) // CHUNK)
    if number < 2:  # noqa: PLR2004 - nothing to compare
        return False
    rows = rows.take(np.argsort(rows.times, kind="stable"))
    scores = ReferenceScores(rows, categories).centred(rows)
    columns = np.concatenate(
        [scores, ~np.isfinite(rows.features), rows.predictions[:, None] == np.arange(categories)], axis=1, dtype=float
    )
    edges = np.linspace(0, len(rows), number + 1).astype(np.intp)
    squares = [_squares(each, edges) for each in (columns, *rows.levels.indicators())]
    p_values = stats.chi2.sf(np.concatenate(squares), number - 1)
    return bool(p_values.min(initial=1.0) * len(p_values) < LEVEL)


def _squares(columns: Floats, edges: npt.NDArray[np.intp]) -> Floats:
    """Return for each column (n, k) that varies the sum of its chunks' squared means, in their deviations."""
    columns = columns[:, columns.std(0) > 0]
    columns = (columns - columns.mean(0)) / columns.std(0)
    sums = np.add.reduceat(columns, edges[:-1], axis=0)
    squares: Floats = (sums**2 / np.diff(edges)[:, None]).sum(0)
    return squares
