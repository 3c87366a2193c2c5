"""The whole loop over eight weeks of flights: `make bench-loop`, or a replay of one's own.

    python -m benchmarks.loop [--fault km@2013-10-20 --fault hour@2013-11-17..2013-11-24] [--set sched] [--json FILE]

Without --fault it makes the two replays of docs/alarms.md, without faults and with three, and writes them there.
"""

import argparse
import json
import multiprocessing
import os
import re
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.alarms.traffic import flights
from benchmarks.alarms.traffic.packages import ROOT
from benchmarks.loop import traffic
from benchmarks.loop.episodes import episode_table
from benchmarks.loop.events import event_table
from benchmarks.loop.scenario import one
from benchmarks.loop.summary import summarise, summary_table

PAGE = ROOT / "docs/alarms.md"
REPLAYS = {
    "no fault": (),
    "three faults": ("km@2013-10-20", "celsius@2013-11-06", "hour@2013-11-17..2013-11-24"),
}


def text(replays: list[dict[str, Any]]) -> str:
    """Return what the page says of the replays."""
    alarms = (f"Every alarm, {replay['name']}:\n\n{episode_table(replay)}\n" for replay in replays)
    return "\n" + summary_table(replays) + "\n\n" + "\n".join(alarms)


def write(said: str) -> None:
    """Write what the page says into docs/alarms.md."""
    page, marks = PAGE.read_text(encoding="utf-8"), r"(<!-- loop -->\n).*(<!-- end of loop -->)"
    PAGE.write_text(re.sub(marks, lambda m: m[1] + said + "\n" + m[2], page, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", dest="faults", action="append", help=f"{'|'.join(traffic.FAULTS)}@DAY or @DAY..DAY")
    parser.add_argument("--set", dest="features", default="num", choices=tuple(flights.SETS), help="default: num")
    parser.add_argument("--until", default=traffic.END, help="the day on which the log ends (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write everything here too")
    parser.add_argument("--kept", type=Path, help="replay nothing: take what --json wrote")
    options = parser.parse_args()
    begun = time.perf_counter()
    wanted = {"asked for": tuple(options.faults)} if options.faults else REPLAYS
    jobs = [(name, faults, options.features, options.until) for name, faults in wanted.items()]
    try:
        for fault in sum(wanted.values(), ()):
            traffic.Fault.parse(fault)
    except ValueError as error:
        parser.error(str(error))
    if options.kept:
        replays = json.loads(options.kept.read_text(encoding="utf-8"))
    else:
        flights.flights()  # the package is fetched once
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.workers, mp_context=context, max_tasks_per_child=1) as pool:
            replays = [{**replay, "summary": summarise(replay)} for replay in pool.map(one, jobs)]
    if options.json:
        options.json.write_text(json.dumps(replays, indent=1), encoding="utf-8")
    for replay in replays:
        print(f"\n## {replay['name']}: every event\n\n{event_table(replay)}")
    print(text(replays))
    if not options.kept:
        print(f"\n{(time.perf_counter() - begun) / 60:.1f} minutes on {os.cpu_count()} cores")
    if not options.faults and options.until == traffic.END and options.features == "num":
        write(text(replays))


if __name__ == "__main__":
    main()
