"""The drift alarms on real traffic: `make bench-alarms ARGS="--part traffic"`, or a part of it.

    python -m benchmarks.alarms.traffic [--part halves --set num --unit rows --halves 3] [--quick] [--kept]

All parts together go into docs/alarms.md and docs/images/traffic.svg.
"""

import argparse
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.alarms.traffic import blame, faults, flights, halves, loan, weeks
from benchmarks.alarms.traffic.packages import ROOT
from benchmarks.alarms.traffic.picture import draw

PAGE, PICTURE = ROOT / "docs/alarms.md", ROOT / "docs/images/traffic.svg"
PARTS = ("halves", "weeks", "faults", "loan")
HALVES, QUICK_HALVES = 20, 3
PICTURED = "![Alarms where nothing has changed, and hours to each fault](images/traffic.svg)\n"
FAULT_HALVES = 10  # each with every fault


def keep(out: Path, name: str, found: Any) -> None:
    """Keep what a part found."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(found, default=float), encoding="utf-8")


def work(done: Callable[[Any], dict[str, Any]], jobs: Iterable[Any], workers: int) -> list[dict[str, Any]]:
    """Do all jobs on so many processes, and print each result as it comes."""
    found = []
    with ProcessPoolExecutor(workers) as pool:
        for result in pool.map(done, jobs):
            print(json.dumps(result, default=float)[:800], flush=True)
            found.append(result)
    return found


def run(part: str, options: argparse.Namespace) -> None:
    """Measure one part, and keep what it found."""
    sets, number, workers, out = options.sets or list(flights.WATCHED), options.halves, options.workers, options.out
    if part == "halves":
        keep(out, part, work(halves.one, halves.jobs(sets, options.units or list(halves.UNITS), number), workers))
    elif part == "weeks":
        keep(out, part, work(weeks.one, [(name, n) for name in sets for n in weeks.WEEKS], workers))
    elif part == "loan":
        keep(out, part, work(loan.one, loan.REFERENCES, workers))
    else:
        with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
            folder = Path(temporary)
            jobs = [(n, folder) for n in range(min(number, FAULT_HALVES))]
            ours = faults.ours(work(faults.one, jobs, workers))
            keep(out, "peer-driftloop", ours)
            share = ours["share"] if options.share is None else options.share
            faults.run_peers(folder, share, out, workers)


def text(out: Path) -> str:
    """Return all tables as Markdown, of the parts that were measured."""
    tables = {
        "Nothing has changed": ("halves", halves.table),
        "Two months after the reference": ("weeks", weeks.table),
        "Car loans": ("loan", loan.table),
    }
    said = []
    for title, (part, table) in tables.items():
        if (path := out / f"{part}.json").exists():
            said.append(f"### {title}\n\n{table(json.loads(path.read_text('utf-8')))}\n")
    if found := fault_results(out):
        said.insert(-1, f"### Faults\n\n{faults.table(found)}\n")
        if found[0]["peer"] == "driftloop":
            said.insert(-1, f"### Onset and attribution of the faults\n\n{blame.table(found[0]['delays'])}\n")
    return "\n" + PICTURED + "\n" + "\n".join(said)


def fault_results(out: Path) -> list[dict[str, Any]]:
    """Return what our detector and the peers found."""
    paths = [out / f"peer-{name}.json" for name in ("driftloop", *faults.ENVIRONMENTS)]
    return [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", dest="parts", action="append", choices=PARTS, help="default: all, and write the page")
    parser.add_argument("--set", dest="sets", action="append", choices=tuple(flights.SETS))
    parser.add_argument("--unit", dest="units", action="append", choices=halves.UNITS)
    parser.add_argument("--halves", type=int, default=HALVES)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_HALVES} halves")
    parser.add_argument("--share", type=float, help="tune peers to this share of time in alarm instead of Driftloop's")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / ".local/bench-alarms/traffic")
    parser.add_argument("--kept", action="store_true", help="measure nothing: write what the last run found")
    options = parser.parse_args()
    options.halves = QUICK_HALVES if options.quick else options.halves
    begun = time.perf_counter()
    for part in () if options.kept else options.parts or PARTS:
        run(part, options)
    said = text(options.out)
    print(said)
    if not options.kept:
        print(f"{(time.perf_counter() - begun) / 60:.1f} minutes on {os.cpu_count()} cores")
    if options.kept or not (options.parts or options.quick):
        draw(json.loads((options.out / "halves.json").read_text("utf-8")), fault_results(options.out), PICTURE)
        page = PAGE.read_text(encoding="utf-8")
        marks = r"(<!-- traffic -->\n).*(<!-- end of traffic -->)"
        PAGE.write_text(re.sub(marks, lambda m: m[1] + said + "\n" + m[2], page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
