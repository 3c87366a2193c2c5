"""Requests a second of `POST /predict` with the log on, against the log off and against an empty Flask handler.

All three run side by side under the API's own gunicorn settings, two workers; wrk loads one after the other, at 16
connections, in rounds. Figures are medians over rounds, ratios medians of a round's ratios. Also: rows a second in
batches of 1,000 on one worker.

    python -m benchmarks.prediction_log_throughput [--rounds 7] [--seconds 3]
"""

import argparse
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.servers import CONNECTIONS, features, keep_champion, load, serving

BATCH = 1_000


def single(folder: Path, rounds: int, seconds: float) -> None:
    """Compare the applications by requests of one row."""
    body = {"features": features()}
    with ExitStack() as stack:
        urls = {name: stack.enter_context(serving(name, folder)) for name in ("with_log", "without_log", "empty")}
        urls["with_log, fsync"] = stack.enter_context(serving("with_log", folder, PREDICTION_LOG_FSYNC="on"))
        for url in urls.values():
            load(url, body, 1)
        rates: dict[str, list[float]] = {name: [] for name in urls}
        for turn in range(rounds):
            for name, url in sorted(urls.items(), reverse=bool(turn % 2)):
                rates[name].append(load(url, body, seconds))
    print(f"| application, {CONNECTIONS} connections, two workers | requests a second | log on ÷ this |\n|---|---|---|")
    for name, found in rates.items():
        ratio = statistics.median(ours / other for ours, other in zip(rates["with_log"], found, strict=True))
        print(f"| {name.replace('_', ' ')} | {statistics.median(found):,.0f} | {ratio:.2f} |")


def batches(folder: Path, rounds: int, seconds: float) -> None:
    """Measure rows a second in large requests on one worker."""
    body = {"instances": [features(row) for row in range(BATCH)]}
    with serving("with_log", folder, API_WORKERS="1") as url:
        load(url, body, 1, 2)
        rates = [BATCH * load(url, body, seconds, 2) for _ in range(rounds)]
    print(f"\nbatches of {BATCH:,} on one worker: {statistics.median(rates):,.0f} rows a second into the log")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        keep_champion(folder)
        single(folder, options.rounds, options.seconds)
        batches(folder, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
