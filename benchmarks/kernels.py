"""Ways to count values at and between marks, one a process: see monitor_kernel.py, which runs this."""

import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

COLUMNS, MARKS, ROUNDS = 13, 1_000, 5
PACKAGES = {"numba": ("numba", "llvmlite"), "polars": ("polars", "polars-runtime-32")}
ENOUGH = 2.0  # seconds of one way

Count = Callable[[np.ndarray], Any]


def megabytes() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096 / 1e6


def ours(marks: np.ndarray) -> Count:
    from monitoring.profile.kernel import Marks  # noqa: PLC0415

    return Marks(marks).count


def from_sorted(values: np.ndarray, marks: np.ndarray) -> np.ndarray:
    begins, ends = np.searchsorted(values, marks), np.searchsorted(values, marks, side="right")
    return np.diff(np.stack([begins, ends], axis=1).ravel(), prepend=0, append=len(values))


def by_numpy(marks: np.ndarray) -> Count:
    return lambda values: from_sorted(np.sort(values), marks)


def by_pyarrow(marks: np.ndarray) -> Count:
    import pyarrow as pa  # noqa: PLC0415

    return lambda values: from_sorted(pa.array(values).sort().to_numpy(), marks)


def by_polars(marks: np.ndarray) -> Count:
    import polars as pl  # noqa: PLC0415

    return lambda values: from_sorted(pl.Series(values).sort().to_numpy(), marks)


def by_duckdb(marks: np.ndarray) -> Count:
    import duckdb  # noqa: PLC0415

    bounds = "[" + ", ".join(repr(float(mark)) for mark in marks) + "]"

    def count(values: np.ndarray) -> Any:  # up to each mark only, without those at it
        drawn = values  # noqa: F841 - duckdb finds it by its name
        return duckdb.sql(f"select histogram(column0, {bounds}) from drawn").fetchall()  # noqa: S608

    return count


def by_numba(marks: np.ndarray) -> Count:
    import numba  # noqa: PLC0415

    @numba.njit
    def search(values: np.ndarray, marks: np.ndarray, counts: np.ndarray) -> None:
        for value in values:
            begin, end = 0, len(marks)
            while begin < end:
                middle = (begin + end) >> 1
                if marks[middle] < value:
                    begin = middle + 1
                else:
                    end = middle
            counts[2 * begin + (begin < len(marks) and marks[begin] == value)] += 1

    def count(values: np.ndarray) -> np.ndarray:
        counts = np.zeros(2 * len(marks) + 1, np.int64)
        search(values, marks, counts)
        return counts

    return count


KERNELS = {
    "ours": ours,
    "numpy": by_numpy,
    "pyarrow": by_pyarrow,
    "polars": by_polars,
    "duckdb": by_duckdb,
    "numba": by_numba,
}


def best(run: Count, columns: list[np.ndarray]) -> float:
    run(columns[0][:1000])
    seconds: list[float] = []
    while len(seconds) < ROUNDS and sum(seconds) < ENOUGH:
        begun = time.perf_counter()
        for column in columns:
            run(column)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def on_disk(name: str) -> float:
    files = [f for package in PACKAGES.get(name, (name,)) for f in importlib.metadata.files(package) or []]
    return sum(f.locate().stat().st_size for f in files if f.locate().exists()) / 1e6


def main(name: str, rows: int) -> None:
    rng = np.random.default_rng(1)
    of = [(rng.normal(size=3) * 50, rng.uniform(5, 40, 3)) for _ in range(COLUMNS)]  # three normals mixed
    draw = [lambda n, m=m, s=s: rng.normal(m[k := rng.integers(0, 3, n)], s[k]).astype(np.float32) for m, s in of]
    marks = [np.unique(one(MARKS).astype(np.float64)) for one in draw]
    columns = [one(rows).astype(np.float64) for one in draw]
    held, begun = megabytes(), time.perf_counter()
    importlib.import_module("numpy" if name == "ours" else name)
    import_seconds, import_megabytes = time.perf_counter() - begun, megabytes() - held
    kernels = [KERNELS[name](one) for one in marks]
    seconds = 0.0
    for kernel, column in zip(kernels, columns, strict=True):
        seconds += best(kernel, [column])
    sort = best(np.sort, columns)
    print(
        json.dumps(
            {
                "ratio": seconds / sort,
                "nanoseconds": seconds / rows / COLUMNS * 1e9,
                "import_seconds": import_seconds,
                "import_megabytes": import_megabytes,
                "disk_megabytes": 0 if name in {"ours", "numpy"} else on_disk(name),
            }
        )
    )


main(sys.argv[1], int(sys.argv[2]))
