"""The API at three times what it can serve: who is refused, how soon, what the others wait, and what else goes on.

API and monitor run as processes; the clients, in a third one, share the cores with them. First 16 clients ask without a
pause: what is answered then is the capacity. Then requests of one row come in an open loop (benchmarks.open_loop) at
half of the capacity, at three times as much, and at half again. Meanwhile the API and the monitor are scraped four
times a second. Writes the section of docs/reliability.md and docs/images/overload.svg.

    python -m benchmarks.overload [--seconds 30] [--dry]
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import orjson
import requests

from benchmarks.open_loop import OpenLoop, poisson, post
from benchmarks.overload_report import Look, Stages, draw, table
from benchmarks.rows import write_sample_reference
from benchmarks.servers import MODEL, ROOT, Server, features, keep_champion, serving
from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.processes import free_port

PAGE, PICTURE = ROOT / "docs/reliability.md", ROOT / "docs/images/overload.svg"
CLIENTS = 16  # that measure the capacity
TIMES = (("half", 0.5), ("overload", 3.0), ("after", 0.5))
CYCLE = 5  # seconds between the monitor's cycles
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def ask(url: str, seconds: float, out: Path) -> None:
    """Be the clients; keep what became of each request."""
    address = urlsplit(url)
    rows = [post("/predict", orjson.dumps({"features": features(row)})) for row in range(200)]
    found: dict[str, np.ndarray] = {}
    ids: list[str] = []
    with OpenLoop(str(address.hostname), int(address.port or 80)) as clients:
        clients.saturate(rows, CLIENTS, 3)
        answered = [c for c in clients.saturate(rows, CLIENTS, 10) if c.status == 200]  # noqa: PLR2004
        capacity = len(answered) / 10
        for number, (name, times) in enumerate(TIMES):
            calls = clients.run(rows, poisson(times * capacity, seconds, number))
            found[name] = np.array([(c.due, c.sent, c.answered, c.status) for c in calls])
            ids += [orjson.loads(c.body)["prediction_id"] for c in calls if c.status == 200]  # noqa: PLR2004
    np.savez(out, capacity=np.array(capacity), ids=np.array(ids), **found)


@contextmanager
def monitoring(data: Path) -> Iterator[str]:
    """Run the monitor on the API's log; yield its address."""
    port = free_port()
    environment = {**os.environ, "DATA_DIR": str(data), "MONITOR_PORT": str(port), "DRIFT_ALARM": "off"}
    environment["MONITOR_INTERVAL_SECONDS"] = str(CYCLE)
    command = [sys.executable, "-m", "monitoring", "run"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def memory(server: Server) -> float:
    """Return the MB of resident memory of the API's workers."""
    workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in workers) * PAGE_BYTES / 1e6


def scrape(url: str) -> tuple[float, str]:
    """Return how long a scrape took, infinite where it failed, and its answer."""
    begun = time.monotonic()
    try:
        answer = requests.get(f"{url}/metrics", timeout=30)
    except requests.RequestException:
        return float("inf"), ""
    return (time.monotonic() - begun if answer.ok else float("inf")), answer.text


def watch(server: Server, monitor: str, stopped: threading.Event, seen: list[Look]) -> None:
    """Scrape both, and look at the API's memory, until stopped."""
    while not stopped.wait(0.25):
        api, _ = scrape(server.url)
        took, text = scrape(monitor)
        cycle, last = (
            float(found[1]) if (found := re.search(rf"^{name} (\S+)$", text, re.MULTILINE)) else 0.0
            for name in ("monitor_cycle_seconds", "monitor_last_success_timestamp_seconds")
        )
        seen.append(Look(time.monotonic(), memory(server), api, took, cycle, last))


def measure(folder: Path, seconds: float) -> tuple[Stages, list[Look]]:
    """Run all stages; return what the clients and the watcher saw."""
    data, out, seen, stopped = folder / "data", folder / "calls.npz", list[Look](), threading.Event()
    keep_champion(data)
    layout = Layout(data)
    write_sample_reference(layout, MODEL)
    with serving("with_log", data) as server, monitoring(data) as monitor:
        while scrape(monitor)[0] == float("inf"):
            time.sleep(0.5)
        watcher = threading.Thread(target=watch, args=(server, monitor, stopped, seen))
        watcher.start()
        command = [sys.executable, "-m", "benchmarks.overload", "--ask", server.url, "--seconds", str(seconds)]
        try:
            subprocess.run([*command, "--out", out], cwd=ROOT, check=True)
        finally:
            stopped.set()
            watcher.join()
    logged = Counter(read_rows(layout, MODEL, Window(rows=10**9)).table["prediction_id"].to_pylist())
    with np.load(out) as found:
        stages = {name: found[name] for name, _ in TIMES}
        ids = found["ids"].tolist()
        missing = sum(one not in logged for one in ids)
        return Stages(float(found["capacity"]), stages, len(ids), missing, sum(n > 1 for n in logged.values())), seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of each stage (default: %(default)s)")
    parser.add_argument("--dry", action="store_true", help="print the table, and write nothing")
    parser.add_argument("--ask", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask:
        ask(options.ask, options.seconds, options.out)
        return
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        stages, seen = measure(Path(temporary), options.seconds)
    said = table(stages, seen, before)
    print(said)
    if not options.dry:
        draw(stages, seen, PICTURE)
        marks = r"(<!-- overload -->\n).*(<!-- end of overload -->)"
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(marks, lambda m: m[1] + said + m[2], page, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
