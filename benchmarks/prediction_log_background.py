"""What sealing and merging cost: rows a second, and their share of a core at 500 predictions a second.

An hour of 500 predictions a second by two workers passes as fast as it can: each appends 10 seconds' rows, seals, and
one of them looks after the folder. The time of sealing and merging is CPU time of this process; appending is not in it.

    python -m benchmarks.prediction_log_background [--minutes 60] [--rate 500]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from api.log.maintenance import Maintenance
from api.log.retention import Retention
from benchmarks.logs import make_rows, open_log
from monitoring.contract.parts import covered, list_parts

SEAL_SECONDS = 10  # PREDICTION_LOG_SEAL_SECONDS
WORKERS = 2
BEGIN = 1_790_000_000_000_000  # microseconds since 1970


def cpu_seconds(work: Callable[[], None]) -> float:
    """Return the CPU time that something takes, in all of this process's threads."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary) / "current.parquet"
        logs = [open_log(folder) for _ in range(WORKERS)]
        maintenance = Maintenance(logs[0], open_log(Path(temporary) / "labels.parquet"), Retention(), 1.0)
        sealing = merging = 0.0
        rewritten = most = 0
        seen: set[str] = set()
        for tick in range(options.minutes * 60 // SEAL_SECONDS):
            for log in logs:
                rows = make_rows(options.rate * SEAL_SECONDS // WORKERS, BEGIN + tick * SEAL_SECONDS * 1_000_000)
                for row in rows:
                    log.append([row])
                sealing += cpu_seconds(log.seal)
            merging += cpu_seconds(maintenance.once)
            parts = list_parts(folder)[0]
            most = max(most, len(parts))
            new = [part for part in parts if covered(part) and part.name not in seen]
            rewritten += sum(part.rows for part in new)
            seen |= {part.name for part in new}
    total = options.rate * 60 * options.minutes
    share = (sealing + merging) / (60 * options.minutes)
    print(f"{total:,} rows, an hour's {options.rate} a second" if options.minutes == 60 else f"{total:,} rows")  # noqa: PLR2004
    print("\n| | rows | rows a second |\n|---|---|---|")
    print(f"| sealed | {total:,} | {total / sealing:,.0f} |")
    print(f"| merged, each row {rewritten / total:.1f} times | {rewritten:,} | {rewritten / merging:,.0f} |")
    print(f"\nshare of a core at {options.rate} predictions a second: {100 * share:.2f} % (at most {most} parts)")


if __name__ == "__main__":
    main()
