"""What appending one row costs at any size of the log, against reading and rewriting the whole file.

All logs are appended to in turn, in one process; figures are medians. The naive way is pandas: read the Parquet file,
add a row, write it again.

    python -m benchmarks.prediction_log_append [--rows 10000000] [--appends 20000]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from api.log.append_log import AppendLog
from benchmarks.logs import make_rows, open_log
from benchmarks.rows import END, draw_log, write_log, write_part
from benchmarks.servers import MODEL
from monitoring.contract.layout import Layout

FEW = 10_000
MANY_PARTS = 1_000
WRITERS = 16
NAIVE_SIZES = (200, 10_000, 100_000, 1_000_000)


def seconds_of(work: Callable[[], None]) -> float:
    """Return how long something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def prepare(folder: Path, rows: int) -> dict[str, AppendLog]:
    """Make logs of different sizes, each with a row appended already."""
    sizes = {f"{FEW:,} rows": FEW, f"{rows:,} rows": rows}
    folders = {}
    for name, size in sizes.items():
        layout = Layout(folder / name.replace(" ", "-"))
        write_log(layout, MODEL, size)
        folders[name] = layout.current
    name = f"{FEW:,} rows in {MANY_PARTS:,} parts, {WRITERS} writers"
    folders[name] = folder / "parts"
    folders[name].mkdir()
    for part in range(MANY_PARTS):
        write_part(folders[name], draw_log(MODEL, FEW // MANY_PARTS, part, END + part * 10_000), part)
    for _ in range(WRITERS - 1):
        open_log(folders[name]).append(make_rows(1))
    logs = {name: open_log(place) for name, place in folders.items()}
    for log in logs.values():
        log.append(make_rows(1))
    return logs


def compare(logs: dict[str, AppendLog], appends: int) -> dict[str, list[float]]:
    """Append to each log in turn, in changing order."""
    seconds: dict[str, list[float]] = {name: [] for name in logs}
    for turn in range(appends):
        for name, log in sorted(logs.items(), reverse=bool(turn % 2)):
            row = make_rows(1)
            seconds[name].append(seconds_of(lambda log=log, row=row: log.append(row)))
    return seconds


def naive(folder: Path, size: int) -> float:
    """Return the median time to read the whole file, add a row and write it again."""
    path = folder / "naive.parquet"
    frame = draw_log(MODEL, size + 1, 0, END).to_pandas()
    frame[:-1].to_parquet(path)
    row = frame[-1:]

    def append() -> None:
        pd.concat([pd.read_parquet(path), row]).to_parquet(path)

    return statistics.median(seconds_of(append) for _ in range(5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--appends", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        seconds = compare(prepare(folder, options.rows), options.appends)
        medians = {name: statistics.median(some) for name, some in seconds.items()}
        first = next(iter(medians.values()))
        print("| log | append one row, median | 99 of 100 within | ÷ the first |\n|---|---|---|---|")
        for name, median in medians.items():
            slow = statistics.quantiles(seconds[name], n=100)[-1]
            print(f"| {name} | {1e6 * median:.1f} µs | {1e6 * slow:.1f} µs | {median / first:.2f} |")
        ours = max(medians.values())
        print("\n| rows in the file | read, append, rewrite | ÷ ours |\n|---|---|---|")
        for size in NAIVE_SIZES:
            theirs = naive(folder, size)
            print(f"| {size:,} | {1e3 * theirs:.1f} ms | {theirs / ours:,.0f} |")


if __name__ == "__main__":
    main()
