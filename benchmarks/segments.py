"""What groups of rows cost in a cycle, and how often they are said to differ where nothing has changed.

Real flights: the reference is every other day of February and March, held against the days between, as a window of one
day and of seven. Simulated rows that do not depend on each other are held against more of them, in 50 groups.

    python -m benchmarks.segments [--looks 400]
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from data.flights import read_flights
from monitoring.contract.config import Config
from monitoring.monitor import report_on
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile, merge
from monitoring.snapshot.segments import Segments, compare_groups

EXAMPLE = Path(__file__).parent.parent / "docs/examples/flights.yml"
DAY = 86_400_000_000  # microseconds
NEW_ROWS = 1_000
ROUNDS = 15


def config_of(segments: Sequence[str]) -> Config:
    """Return the example's config with segments."""
    content = yaml.safe_load(EXAMPLE.read_text())
    content["model"]["segments"] = list(segments)
    return Config.model_validate(content)


def flights() -> pa.Table:
    """Return the flights of February and March, answered with their delay at departure."""
    rows = read_flights().drop_columns("late")
    begin, end = (pa.scalar(datetime(2013, month, 1, tzinfo=UTC), pa.timestamp("us", "UTC")) for month in (2, 4))
    rows = rows.filter(pc.and_(pc.greater_equal(rows["timestamp"], begin), pc.less(rows["timestamp"], end)))
    return rows.append_column("predicted_arr_delay", rows["dep_delay"].cast(pa.float64()))


def days_of(rows: pa.Table) -> np.ndarray[Any, Any]:
    """Return the number of each row's day (n,)."""
    days = rows["timestamp"].cast(pa.int64()).to_numpy() // DAY
    return np.asarray(days - days.min())


def cost(rows: pa.Table) -> None:
    """Print what a cycle takes: 1,000 new rows are profiled, and a window of all is judged, with groups and without."""
    print("| segments | groups | a cycle | ÷ without |\n|---|---|---|---|")
    without = 0.0
    for segments in ((), ("dest",), ("carrier", "origin", "dest", "hour", "distance")):
        config = config_of(segments)
        grid = grid_of(config.model, rows)
        taken = _cycle(config, grid, profile_rows(grid, rows), rows.slice(0, NEW_ROWS))
        without = without or taken
        names, groups = ", ".join(segments) or "-", grid.segments.shape[0]
        print(f"| {names} | {groups} | {taken * 1e3:.0f} ms | {taken / without:.2f} |")


def _cycle(config: Config, grid: Grid, window: Profile, new: pa.Table) -> float:
    """Return the median seconds of a cycle."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        report_on(config, window, window + profile_rows(grid, new), drawn=False)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def false_on_flights(rows: pa.Table) -> None:
    """Print how often days between the reference's are said to differ, with its times and without."""
    config = config_of(("carrier", "origin", "dest"))
    days = days_of(rows)
    reference, others = rows.filter(pa.array(days % 2 == 0)), np.unique(days[days % 2 == 1])
    for told, known in (("with", reference), ("without", reference.drop_columns("timestamp"))):
        grid = grid_of(config.model, known)
        ours = profile_rows(grid, reference)
        daily = [profile_rows(grid, rows.filter(pa.array(days == day))) for day in others]
        for number in (1, 7):
            windows = [merge(grid, daily[n : n + number]) for n in range(0, len(daily) - number + 1, number)]
            what = f"flights, reference {told} times, windows of {number} day{'s' if number > 1 else ''}"
            _say(what, [compare_groups(ours, one) for one in windows])


def false_of_independent_rows(looks: int) -> None:
    """Print how often 50 groups of rows that do not depend on each other are said to differ."""
    rng = np.random.default_rng(50)
    config = config_of(("dest",))
    sizes = {"carrier": 16, "origin": 3, "dest": 50}

    def rows(number: int) -> pa.Table:
        names = ("dep_delay", "distance", "hour", "predicted_arr_delay")
        levels = {name: rng.integers(0, size, number).astype(str) for name, size in sizes.items()}
        return pa.table({name: rng.normal(0, 1, number) for name in names} | levels)

    def look() -> Segments | None:  # each with a reference of its own: one that is odd would be found in every look
        reference = rows(20_000)
        grid = grid_of(config.model, reference)
        return compare_groups(profile_rows(grid, reference), profile_rows(grid, rows(10_000)))

    _say("independent rows, 50 groups, windows of 10,000", [look() for _ in range(looks)])


def _say(what: str, looks: list[Segments | None]) -> None:
    found = list(_given(looks))
    tested, drifted = sum(one.tested for one in found), sum(len(one.drifted) for one in found)
    some, share = sum(bool(one.drifted) for one in found) / len(found), drifted / max(1, tested)
    print(f"| {what} | {len(found)} | {some:.1%} | {drifted:,} of {tested:,} | {share:.2%} |")


def _given(looks: list[Segments | None]) -> Iterator[Segments]:
    yield from (one for one in looks if one is not None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", type=int, default=400)
    options = parser.parse_args()
    rows = flights()
    cost(rows)
    print("\n| without change | looks | with a discovery | groups said to differ | share |\n|---|---|---|---|---|")
    false_of_independent_rows(options.looks)
    false_on_flights(rows)


if __name__ == "__main__":
    main()
