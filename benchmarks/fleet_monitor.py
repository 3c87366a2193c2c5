"""What a monitor of 20 models costs against a monitor of one: memory, cycles and scrapes.

Each model is the built-in one by another name, with 13 features, a window of its newest 10,000 rows and a drift alarm
that is calibrated beforehand. Each log grows by 1,000 rows between two looks, as the newest of its parts is linked in.
Both monitors run for as long, one after the other, since beside each other they would take each other's cores; one
model's metrics are scraped all the while, four times a second. The share of a core is what the process took of it, with
the scrapes: unlike seconds it does not depend on what else the machine does.

    python -m benchmarks.fleet_monitor [--models 20] [--seconds 60] [--interval 15]
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from benchmarks.rows import END, SPACING, draw_log, write_log, write_part, write_sample_reference
from monitoring.alarms.drift.calibration import calibrate
from monitoring.alarms.drift.drift_watch import DriftWatch
from monitoring.alarms.drift.vocabulary import rows_of
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference

ROOT = Path(__file__).parents[1]
ROWS, NEW = 10_000, 1_000
EVERY = 0.25  # seconds between two scrapes
PATIENCE = 300  # seconds


@dataclass(frozen=True)
class Run:
    """Megabytes, and seconds of the first verdict, of cycles, of scrapes and of what a series was behind at most."""

    models: int
    resident: float
    proportional: float
    peak: float
    begun: float
    core: float
    cycles: list[float]
    scrapes: list[float]
    behind: float


def prepare(folder: Path, models: int) -> Config:
    """Write one log, reference and calibration, and a config and a folder of links to these for each model."""
    text = yaml.safe_load((ROOT / "monitoring/config.yml").read_text()) | {"window": {"rows": ROWS}}
    (folder / "configs").mkdir()
    layout = Layout(folder / "source")
    layout.root.mkdir()
    for number in range(models):
        name = f"model-{number:02d}"
        text["model"]["name"] = name
        (folder / f"configs/{name}.yml").write_text(yaml.safe_dump(text))
    config = load_config(folder / "configs/model-00.yml")
    write_log(layout, config.model, ROWS)
    write_sample_reference(layout, config.model)
    reference = read_reference(layout, config.model)
    path = DriftWatch(layout, config, reference).calibration_path
    path.parent.mkdir(exist_ok=True)
    calibration = calibrate(rows_of(reference.table, config.model), len(config.model.categories), 1, populations=50)
    path.write_text(calibration.to_json())
    return config


def beginning(folder: Path, models: int) -> tuple[list[str], Path, Path]:
    """Lay down configs and data of so many models; return their names and both folders."""
    configs, data = folder / f"configs-{models}", folder / f"data-{models}"
    configs.mkdir()
    names = [f"model-{number:02d}" for number in range(models)]
    for name in names:
        shutil.copytree(folder / "source", data / name, copy_function=os.link)
        shutil.copy(folder / f"configs/{name}.yml", configs)
    return names, configs, data


@contextmanager
def monitoring(data: Path, configs: Path, interval: float) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run a monitor; yield its process and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "DATA_DIR": str(data),
        "DRIFTLOOP_CONFIG": str(configs),
        "MONITOR_PORT": str(port),
        "MONITOR_INTERVAL_SECONDS": str(interval),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "monitoring", "run"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def start(folder: Path, models: int, seconds: float, interval: float, config: Config) -> Run:
    """Run a monitor of so many models for so long."""
    names, configs, data = beginning(folder, models)
    with monitoring(data, configs, interval) as (process, url):
        return _watch(process, url, (data, names, config), seconds, interval)


def until_judged(process: subprocess.Popen[bytes], url: str, names: list[str]) -> float:
    """Wait until each model has a verdict; return the seconds that it took."""
    begun = time.perf_counter()
    while not all(_value(url, name, "drift_detected") is not None for name in names):
        assert process.poll() is None, "the monitor ended"
        assert time.perf_counter() - begun < PATIENCE, f"no verdict on all models within {PATIENCE} s"
        time.sleep(0.2)
    return time.perf_counter() - begun


def _watch(
    process: subprocess.Popen[bytes], url: str, logs: tuple[Path, list[str], Config], seconds: float, interval: float
) -> Run:
    data, names, config = logs
    first = until_judged(process, url, names)
    time.sleep(2 * interval)  # in which each has its second look, at its own time in the interval
    session, scrapes, cycles, behind, memory = requests.Session(), [], [], 0.0, []
    spent, since = _cpu_seconds(process.pid), time.perf_counter()
    ends, grown, checked = time.perf_counter() + seconds, 0, time.perf_counter()
    while (now := time.perf_counter()) < ends:
        name = names[len(scrapes) % len(names)]
        answer = session.get(f"{url}/models/{name}/metrics", timeout=10)
        scrapes.append(time.perf_counter() - now)
        found = (
            value_of(answer.text, "monitor_cycle_seconds"),
            value_of(answer.text, "monitor_last_success_timestamp_seconds"),
        )
        cycles.append(found[0] or 0.0)
        behind = max(behind, time.time() - (found[1] or 0.0))
        if now - checked > 1:
            checked = now
            memory.append(sizes_of(process.pid))
        if grown <= (now - ends + seconds) / interval:
            _grow(data, names, config, grown)
            grown += 1
        time.sleep(max(0.0, EVERY - (time.perf_counter() - now)))
    core = (_cpu_seconds(process.pid) - spent) / (time.perf_counter() - since)
    peak = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line)
    resident, proportional = (statistics.median(values) for values in zip(*memory, strict=True))
    return Run(len(names), resident, proportional, int(peak.split()[1]) / 1024, first, core, cycles, scrapes, behind)


def _grow(data: Path, names: list[str], config: Config, number: int) -> None:
    """Add 1,000 rows to each log."""
    rows = draw_log(config.model, NEW, 10_000 + number, END + SPACING * NEW * number)
    part = write_part(data / names[0] / "current.parquet", rows, number + 1, "new")
    for name in names[1:]:
        os.link(part, data / name / "current.parquet" / part.name)


def _value(url: str, name: str, metric: str) -> float | None:
    try:
        answer = requests.get(f"{url}/models/{name}/metrics", timeout=5)
    except requests.RequestException:  # not up yet, or busy importing
        return None
    return value_of(answer.text, metric) if answer.ok else None


def value_of(text: str, metric: str) -> float | None:
    found = re.search(rf"^{metric} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sizes_of(pid: int) -> tuple[float, float]:
    """Return the megabytes that are resident, and those with what is shared counted by its share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    rss, pss = (int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) for name in ("Rss", "Pss"))
    return rss / 1024, pss / 1024


def sorted_at(seconds: list[float]) -> str:
    """Return the median, the 99 % quantile and the longest."""
    ordered = sorted(seconds)
    return ", ".join(f"{1000 * ordered[int(share * (len(ordered) - 1))]:.0f} ms" for share in (0.5, 0.99, 1))


def _row(run: Run) -> str:
    cycle = statistics.median(run.cycles)
    cells = [
        str(run.models), f"{run.begun:.1f} s", f"{run.resident:.0f} MB", f"{run.proportional:.0f} MB",
        f"{run.peak:.0f} MB", f"{run.core:.0%}", f"{1000 * cycle:.0f} ms", f"{cycle * run.models:.2f} s",
        f"{run.behind:.1f} s", sorted_at(run.scrapes),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def read_options(description: str | None, models: int, seconds: float) -> argparse.Namespace:
    """Read how many models are watched, for how long, at which interval."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=models)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--interval", type=float, default=15)
    return parser.parse_args()


def main() -> None:
    options = read_options(__doc__, models=20, seconds=60)
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        config = prepare(folder, options.models)
        runs = [start(folder, n, options.seconds, options.interval, config) for n in (1, options.models)]
    print(f"An interval is {options.interval:g} s.\n")
    print(
        "| models | all judged after | resident | proportional | peak | of a core | a cycle, median | cycles of all | "
        "oldest figures | scrape of one model: median, 99 %, longest |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for run in runs:
        print(_row(run))
    one, many = runs
    further = (many.resident - one.resident) / (many.models - 1)
    print(f"\nmemory: ratio {many.resident / one.resident:.2f}, {further:.1f} MB for each further model")


if __name__ == "__main__":
    main()
