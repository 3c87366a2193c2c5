"""Requests a second of `POST /predict` with the log on, against the log off and against an empty Flask handler.

All run side by side under the API's own gunicorn settings, two workers; wrk loads one after the other, at 16
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
APPLICATIONS = (
    ("the API, log on", "with_log", {}),
    ("the same, log off", "without_log", {}),
    ("an empty handler that parses the JSON (orjson)", "empty", {}),
    ("an empty handler that parses the JSON (Flask's own)", "empty_plain", {}),
    ("the API, log on with PREDICTION_LOG_FSYNC", "with_log", {"PREDICTION_LOG_FSYNC": "on"}),
)


def single(folder: Path, rounds: int, seconds: int) -> None:
    """Compare the applications by requests of one row."""
    body = {"features": features()}
    with ExitStack() as stack:
        servers = {title: stack.enter_context(serving(name, folder, **more)) for title, name, more in APPLICATIONS}
        for server in servers.values():
            load(server, body, 1)
        found: dict[str, list[tuple[float, float]]] = {title: [] for title in servers}
        for turn in range(rounds):
            for title, server in sorted(servers.items(), reverse=bool(turn % 2)):
                found[title].append(load(server, body, seconds))
    print(f"| {CONNECTIONS} connections, two workers | requests a second | log on ÷ this | CPU a request |")
    print("|---|---|---|---|")
    ours = [rate for rate, _ in found[APPLICATIONS[0][0]]]
    for title, measured in found.items():
        rates, cpu = zip(*measured, strict=True)
        ratio = statistics.median(our / rate for our, rate in zip(ours, rates, strict=True))
        print(f"| {title} | {statistics.median(rates):,.0f} | {ratio:.2f} | {1e6 * statistics.median(cpu):.0f} µs |")


def batches(folder: Path, rounds: int, seconds: int) -> None:
    """Measure rows a second in large requests on one worker."""
    body = {"instances": [features(row) for row in range(BATCH)]}
    with serving("with_log", folder, API_WORKERS="1") as server:
        load(server, body, 1, 2)
        measured = [load(server, body, seconds, 2) for _ in range(rounds)]
    rates, cpu = zip(*measured, strict=True)
    rate, each = BATCH * statistics.median(rates), 1e6 * statistics.median(cpu) / BATCH
    print(f"\nbatches of {BATCH:,} on one worker: {rate:,.0f} rows a second into the log, {each:.1f} µs of CPU a row")


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
