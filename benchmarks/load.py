"""An hour of ten times the expected rate, compressed into five minutes: what grows, and how long a scrape takes.

The whole stack runs as `make run` starts it. Expected are the simulator's 20 rows a second; an hour of ten times as
many is 720,000 rows, which is 2,400 a second for five minutes, with a label for each. Before that, three minutes of the
same fill the windows, and whatever else is kept to a bounded size. Every process is looked at every two seconds, and
the monitor is scraped ten times a second, also while its cycles run.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
from scipy import stats

from data.traffic import Counts, Traffic, TrafficSettings
from monitoring.contract.config_file import load_config
from monitoring.contract.parts import list_parts
from scripts.demo import Demo, running
from scripts.stack import PORTS, ROOT, Stack

EXPECTED, TIMES, HOUR = 20, 10, 3600
MINUTES = float(os.environ.get("LOAD_MINUTES", "5"))
RATE = EXPECTED * TIMES * HOUR / (5 * 60)  # rows a second
CLIENTS, BATCH = 2, 20
WARM_UP, LOOKS = 180.0, 2.0  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Look:
    """What a service's processes hold at a moment: seconds, bytes of resident memory, open files, threads."""

    at: float
    memory: int
    files: int
    threads: int


@dataclass(frozen=True)
class Scrape:
    """One answer of the monitor's /metrics: when it was asked for, seconds, and the cycle that it told of."""

    begun: float
    seconds: float
    cycle: tuple[float, float]  # begin and end of the last cycle that succeeded, seconds since 1970


def sessions(log: Path) -> dict[str, int]:
    """Return each service's session, from what the stack has said at its start."""
    return {name: int(pid) for name, pid in re.findall(r"(\S+) started \(pid=(\d+)\)", log.read_text())}


def look(session: int) -> Look:
    """Add up the processes of a session."""
    memory = files = threads = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session:
                continue
            memory += int(fields[21]) * PAGE
            threads += int(fields[17])
            files += len(list((process / "fd").iterdir()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return Look(time.monotonic(), memory, files, threads)


def watch(services: dict[str, int], stopped: threading.Event, seen: dict[str, list[Look]]) -> None:
    while not stopped.wait(LOOKS):
        for name, session in services.items():
            seen[name].append(look(session))


def scrape(url: str, stopped: threading.Event, seen: list[Scrape]) -> None:
    with requests.Session() as session:
        while not stopped.wait(0.1):
            begun, start = time.time(), time.perf_counter()
            text = session.get(url, timeout=30).text
            seconds = time.perf_counter() - start
            end, took = (
                float(found[1]) if (found := re.search(rf"^{name} (\S+)$", text, re.MULTILINE)) else 0.0
                for name in ("monitor_last_success_timestamp_seconds", "monitor_cycle_seconds")
            )
            seen.append(Scrape(begun, seconds, (end - took, end)))


@contextmanager
def threads(*jobs: tuple) -> Iterator[None]:
    stopped = threading.Event()
    found = [threading.Thread(target=job, args=(*before, stopped, after)) for job, before, after in jobs]
    for one in found:
        one.start()
    try:
        yield
    finally:
        stopped.set()
        for one in found:
            one.join()


def client(url: str) -> None:
    """Send one client's share for the time given, in a process of its own; print what became of it."""
    settings = TrafficSettings(
        url=url, rate=RATE / CLIENTS, batch=BATCH, label_delay=5, duration=WARM_UP + MINUTES * 60,
        config=ROOT / "monitoring/config.yml",
    )  # fmt: skip
    traffic = Traffic(settings)
    traffic.start()
    while not traffic.wait(1):
        pass
    counts = traffic.counts()
    print(counts.sent, counts.acknowledged, counts.refused, counts.retries, counts.labels, counts.labels_refused)


def slope(at: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Return the slope a minute and half the width of its 95 % interval, by least squares."""
    fit = stats.linregress(at / 60, values)
    return float(fit.slope), float(np.nan_to_num(fit.stderr) * stats.t.ppf(0.975, len(at) - 2))  # of constants: 0


def memory_table(seen: dict[str, list[Look]]) -> str:
    lines = [
        "| service | memory, first and last minute | slope, MB a minute | open files, least to most | threads |",
        "|---|---|---|---|---|",
    ]
    for name, looks in seen.items():
        at = np.array([one.at for one in looks])
        memory = np.array([one.memory / 1e6 for one in looks])
        minute = max(1, round(60 / LOOKS))
        grows, width = slope(at, memory)
        files, running_ = [one.files for one in looks], [one.threads for one in looks]
        lines.append(
            f"| {name} | {memory[:minute].mean():.0f} MB, {memory[-minute:].mean():.0f} MB "
            f"| {grows:+.2f} ± {width:.2f} "
            f"| {min(files)} to {max(files)} | {min(running_)} to {max(running_)} |"
        )
    return "\n".join(lines)


def scrape_table(seen: list[Scrape]) -> str:
    cycles = sorted({one.cycle for one in seen})
    during = [
        one.seconds * 1e3
        for one in seen
        if any(begin < one.begun + one.seconds and one.begun < end for begin, end in cycles)
    ]
    every = [one.seconds * 1e3 for one in seen]
    lines = ["| scrapes of the monitor | how many | median | 99 % | longest |", "|---|---|---|---|---|"]
    for name, values in (("all", every), (f"while one of {len(cycles)} cycles ran", during)):
        p50, p99, most = np.percentile(values, [50, 99, 100])
        lines.append(f"| {name} | {len(values):,} | {p50:.1f} ms | {p99:.1f} ms | {most:.1f} ms |")
    took = [end - begin for begin, end in cycles]
    return "\n".join(lines) + f"\n\nA cycle took {np.median(took):.2f} s in the median, {max(took):.2f} s at most."


def logged(data: Path) -> int:
    return sum(part.rows for part in list_parts(data / "current.parquet")[0])


def measure(demo: Demo, log: Path) -> str:
    stack = demo.stack
    demo.hop("stack up", demo.ready, 180)
    command = [sys.executable, "-m", "benchmarks.load", stack.url("api")]
    clients = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    time.sleep(WARM_UP)
    seen: dict[str, list[Look]] = defaultdict(list)
    scrapes: list[Scrape] = []
    with threads((watch, (sessions(log),), seen), (scrape, (f"{stack.url('monitor')}/metrics",), scrapes)):
        told = [list(map(int, one.communicate()[0].split())) for one in clients]
    sent = Counts(*(sum(column) for column in zip(*told, strict=True)))
    deadline = time.monotonic() + 60
    while logged(stack.data) < sent.acknowledged and time.monotonic() < deadline:
        time.sleep(1)
    return (
        f"Rows sent {sent.sent:,} in {WARM_UP / 60 + MINUTES:g} minutes, acknowledged {sent.acknowledged:,}, refused "
        f"{sent.refused:,}, in the log {logged(stack.data):,}; labels taken {sent.labels:,}.\n\n"
        f"{memory_table(seen)}\n\n{scrape_table(scrapes)}\n"
    )


def main() -> None:
    if len(sys.argv) == 2:  # noqa: PLR2004 - one of the clients that this script starts
        client(sys.argv[1])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="driftloop-load-") as folder:
        ports = {name: port + 20_000 for name, port in PORTS.items()}
        stack = Stack(Path(folder) / "data", Path(folder) / "state", ports)
        log = Path(folder) / "stack.log"
        with running(stack, log) as process:
            print(measure(Demo(stack, load_config(ROOT / "monitoring/config.yml"), process, "gain"), log))


if __name__ == "__main__":
    main()
