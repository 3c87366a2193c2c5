"""The drift alarms on real traffic: `python -m benchmarks.alarms.traffic [--part halves] [--set num] [--halves 3]`."""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.alarms.traffic import flights, halves

ROOT = Path(__file__).parents[3]


def watch_all(work: Callable[[Any], dict[str, Any]], jobs: list[Any], workers: int, out: Path) -> list[dict[str, Any]]:
    """Do all jobs on so many processes, print each as it ends, and keep what was found."""
    found = []
    with ProcessPoolExecutor(workers) as pool:
        for result in pool.map(work, jobs):
            print(json.dumps(result, default=float), flush=True)
            found.append(result)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(found, default=float), encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("halves",), default="halves")
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(flights.SETS))
    parser.add_argument("--unit", dest="units", action="append", choices=halves.UNITS)
    parser.add_argument("--halves", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / ".local/bench-alarms/traffic")
    options = parser.parse_args()
    begun = time.perf_counter()
    jobs = halves.jobs(options.sets or list(flights.SETS), options.units or list(halves.UNITS), options.halves)
    print(halves.table(watch_all(halves.one, jobs, options.workers, options.out / "halves.json")))
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
