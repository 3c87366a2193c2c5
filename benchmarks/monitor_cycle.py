"""What a cycle, the memory and the start of the monitor cost with 10,000,000 rows, against 10,000.

Both monitors watch one log. For each new part of 1,000 rows both run a cycle, in turn; ratios are of medians. First of
the built-in model, then of a regression with 8 numeric and 6 categorical features, all of whose rows have labels.

    python -m benchmarks.monitor_cycle [--rows 10000000] [--cycles 30]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests
import yaml

from benchmarks import mixed
from benchmarks.rows import END, SPACING, draw_log, write_log, write_part, write_sample_reference
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "monitoring/config.yml"
SMALL = 10_000
NEW = 1_000
HORIZON = 1_000_000
PORT = 8765
PATIENCE = 300  # seconds


def watch() -> None:
    """Run one cycle for each line of the standard input; answer with its seconds."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415
    from structlog import configure, get_logger, make_filtering_bound_logger  # noqa: PLC0415

    from monitoring.monitor import Monitor  # noqa: PLC0415
    from monitoring.settings import MonitorSettings  # noqa: PLC0415

    configure(wrapper_class=make_filtering_bound_logger(40))
    settings = MonitorSettings.read()
    monitor = Monitor(load_config(settings.driftloop_config), settings, CollectorRegistry())
    for _ in sys.stdin:
        begun = time.perf_counter()
        monitor.cycle()
        seconds = time.perf_counter() - begun
        report = monitor.state.report
        if report is None or report.run is None:
            get_logger().error("no_verdict", problem=monitor.state.problem)
            sys.exit(1)
        print(json.dumps({"rows": report.snapshot.rows, "seconds": seconds}), flush=True)


def environment(data: Path, window: int, horizon: int | None = None) -> dict[str, str]:
    """Make a folder whose config watches the newest `window` rows of the log next to it."""
    data.mkdir()
    log = data.parent / "log"
    (data / "current.parquet").symlink_to(log / "current.parquet")
    shutil.copy(log / "reference.parquet", data)
    config = yaml.safe_load((log / "config.yml").read_text()) | {"window": {"rows": window}}
    if horizon is not None:
        config["duplicate_horizon"] = horizon
    (data / "config.yml").write_text(yaml.safe_dump(config))
    return {
        **os.environ,
        "DATA_DIR": str(data),
        "DRIFTLOOP_CONFIG": str(data / "config.yml"),
        "MONITOR_PORT": str(PORT),
        "REPORT_INTERVAL_SECONDS": "100000",
    }


def start(variables: dict[str, str]) -> tuple[float, int, int]:
    """Start a monitor; return the seconds to its first verdict, its memory a few cycles later, and its peak (MB)."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "monitoring", "run"],
        cwd=ROOT, env=variables | {"MONITOR_INTERVAL_SECONDS": "1"}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not _has_verdict():
            assert process.poll() is None, "the monitor ended"
            assert time.perf_counter() - begun < PATIENCE, f"the monitor came to no verdict within {PATIENCE} s"
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        time.sleep(10)
        return seconds, _megabytes(process.pid, "VmRSS"), _megabytes(process.pid, "VmHWM")
    finally:
        process.terminate()
        process.wait()


def _megabytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) // 1024


def _has_verdict() -> bool:
    try:
        metrics = requests.get(f"http://127.0.0.1:{PORT}/metrics", timeout=5).text
    except requests.RequestException:  # not up yet, or busy importing
        return False
    return "\nevidently_test_status{" in metrics


def compare_cycles(folder: Path, rows: int, cycles: int) -> dict[int, list[float]]:
    """Let monitors of both windows look at one log that grows by 1,000 rows a cycle."""
    model = load_config(folder / "log/config.yml").model
    monitors = {
        window: subprocess.Popen(
            [sys.executable, "-m", "benchmarks.monitor_cycle", "--watch"],
            cwd=ROOT, env=environment(folder / f"cycle-{window}", window), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for window in (SMALL, rows)
    }  # fmt: skip
    seconds: dict[int, list[float]] = {window: [] for window in monitors}
    for cycle in range(-2, cycles):
        if cycle >= -1:
            begin = END + SPACING * NEW * (cycle + 1)
            write_part(folder / "log/current.parquet", draw_log(model, NEW, 10_000 + cycle, begin), cycle + 1, "new")
        for window, process in sorted(monitors.items(), reverse=bool(cycle % 2)):
            process.stdin.write("\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert answer["rows"] == window, answer
            if cycle >= 0:
                seconds[window].append(answer["seconds"])
    for process in monitors.values():
        process.stdin.close()
        process.wait()
    return seconds


def compare(folder: Path, config: str, rows: int, cycles: int) -> None:
    """Write a log of so many rows; print what starts and cycles cost beside it."""
    log = Layout(folder / "log")
    log.root.mkdir()
    (log.root / "config.yml").write_text(config)
    model = load_config(log.root / "config.yml").model
    parts = write_log(log, model, rows)
    write_sample_reference(log, model)
    print(f"{rows:,} rows in {parts} parts\n")
    small = start(environment(folder / "small", SMALL))
    print("| window | first start | again, with kept profiles | memory | peak |\n|---|---|---|---|---|")
    print(f"| {SMALL:,} | {small[0]:.1f} s | | {small[1]} MB | {small[2]} MB |")
    for horizon in (None, HORIZON):
        variables = environment(folder / f"start-{horizon}", rows, horizon)
        first, again = start(variables), start(variables)
        name = f"{rows:,}" + (f", duplicates among the newest {horizon:,}" if horizon else "")
        print(f"| {name} | {first[0]:.1f} s | {again[0]:.1f} s | {again[1]} MB | {max(first[2], again[2])} MB |")
    seconds = compare_cycles(folder, rows, cycles)
    medians = {window: statistics.median(times) for window, times in seconds.items()}
    found = ", ".join(f"{1000 * median:.0f} ms at {window:,} rows" for window, median in medians.items())
    print(f"\ncycle with {NEW:,} new rows: {found}")
    print(f"ratio {medians[rows] / medians[SMALL]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch()
        return
    for title, config in (
        ("The built-in model", CONFIG.read_text()),
        ("A regression of mixed features", yaml.safe_dump(mixed.config_of("regression"))),
    ):
        print(f"\n### {title}\n")
        with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
            compare(Path(temporary), config, options.rows, options.cycles)


if __name__ == "__main__":
    main()
