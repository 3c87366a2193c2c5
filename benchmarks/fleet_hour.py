"""An hour of 100 models with 10 rows a second in all, compressed into five minutes: what is lost, and what is late.

One API and one monitor of 100 models, each the built-in one by another name, with a window of its newest 10,000 rows
and a drift alarm that is calibrated beforehand. 36,000 rows come in 300 s, each a request of its own to a model drawn
at random. The monitor's interval stays what it is, so a look sees twelve times the rows of one in life. Its figures are
late where they are older than an interval and a half. Afterwards each model's log is read: every acknowledged row is in
it once.

    python -m benchmarks.fleet_hour [--models 100] [--seconds 300] [--interval 15]
"""

import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
import requests

from benchmarks.fleet_api import keep_champions, megabytes
from benchmarks.fleet_monitor import (
    EVERY,
    beginning,
    monitoring,
    prepare,
    read_options,
    sizes_of,
    sorted_at,
    until_judged,
    value_of,
)
from benchmarks.servers import Server, features, serving

A_SECOND, HOUR = 10, 3600
CLIENTS = 4


@dataclass
class Sent:
    """What was sent to each model, and the ids that its answers had; the count of answers by status."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)


def send(server: Server, names: list[str], rate: float, ends: float, seed: int) -> Sent:
    """Send a row after the other at a pace, each to a model drawn at random."""
    sent, drawn, session = Sent({name: [] for name in names}), random.Random(seed), requests.Session()  # noqa: S311
    due = time.monotonic()
    while (due := due + 1 / rate) < ends:
        time.sleep(max(0.0, due - time.monotonic()))
        name, body = drawn.choice(names), {"features": features(drawn.randrange(100))}
        try:
            answer = session.post(f"{server.url}/models/{name}/predict", json=body, timeout=30)
        except requests.RequestException as error:
            sent.statuses[type(error).__name__] += 1
            continue
        sent.statuses[str(answer.status_code)] += 1
        if answer.ok:
            sent.ids[name].append(answer.json()["prediction_id"])
    return sent


def compare(data: Path, names: list[str], all_sent: list[Sent]) -> tuple[int, int]:
    """Return how many acknowledged rows are not in their model's log, and how many are in it more than once."""
    missing = double = 0
    for name in names:
        log = pq.read_table(data / name / "current.parquet", columns=["prediction_id"])
        found = Counter(log["prediction_id"].to_pylist())
        ids = [one for sent in all_sent for one in sent.ids[name]]
        missing += sum(not found[one] for one in ids)
        double += sum(found[one] > 1 for one in ids)
    return missing, double


def main() -> None:
    options = read_options(__doc__, models=100, seconds=300)
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        prepare(folder, options.models)
        names, configs, data = beginning(folder, options.models)
        keep_champions(data, names)
        with serving("with_log", data, DRIFTLOOP_CONFIG=str(configs)) as api:
            for name in names:
                assert requests.get(f"{api.url}/models/{name}/ready", timeout=30).ok, name
            with monitoring(data, configs, options.interval) as (process, url):
                until_judged(process, url, names)
                time.sleep(2 * options.interval)
                ends = time.monotonic() + options.seconds
                rate = A_SECOND * HOUR / 300 / CLIENTS
                all_sent: list[Sent] = []
                clients = [
                    threading.Thread(target=lambda seed=seed: all_sent.append(send(api, names, rate, ends, seed)))
                    for seed in range(CLIENTS)
                ]
                for client in clients:
                    client.start()
                scrapes, behind = [], 0.0
                while (now := time.monotonic()) < ends:
                    text = requests.get(f"{url}/models/{names[len(scrapes) % len(names)]}/metrics", timeout=30).text
                    scrapes.append(time.monotonic() - now)
                    behind = max(behind, time.time() - (value_of(text, "monitor_last_success_timestamp_seconds") or 0))
                    time.sleep(max(0.0, EVERY - scrapes[-1]))
                for client in clients:
                    client.join()
                memory = megabytes(api), sizes_of(process.pid)[1]
        missing, double = compare(data, names, all_sent)
        shutil.rmtree(data)
    statuses = sum((sent.statuses for sent in all_sent), Counter())
    print(f"{options.models} models, {sum(statuses.values())} rows in {options.seconds:g} s: answers {dict(statuses)}")
    print(f"acknowledged rows that are not in their model's log: {missing}; more than once: {double}")
    late = "late" if behind > 1.5 * options.interval else "in time"
    print(f"a model's oldest figures: {behind:.1f} s at an interval of {options.interval:g} s, {late}")
    print(f"a scrape of one model: median, 99 %, longest: {sorted_at(scrapes)}")
    print(f"memory: API {memory[0]:.0f} MB, monitor {memory[1]:.0f} MB")


if __name__ == "__main__":
    main()
