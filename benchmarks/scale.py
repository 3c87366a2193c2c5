"""The constants that docs/scale.md plans with.

python -m benchmarks.scale [--rows 1000000]
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry

from api.log.merging import FAN
from benchmarks.rows import END, PART, draw_log, write_log, write_part, write_sample_reference
from monitoring.contract.config import Model
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.listing import list_files
from monitoring.contract.names import LARGEST_PART
from monitoring.contract.reference import read_reference
from monitoring.monitor import export_metrics_to_prometheus, report_on
from monitoring.offline.dataset import demands_of, divide, profile_locally, profile_unit
from monitoring.offline.survey import inspect_all, survey
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import compact, to_bytes
from monitoring.snapshot.exporter import SnapshotCollector
from monitoring.suite.suite import run_suite

CONFIG = Path(__file__).parents[1] / "monitoring/config.yml"
ROUNDS = 3
RATES = (1_000, 1_000_000, 1_000_000_000)  # predictions an hour


def best(run: Callable[[], object]) -> float:
    """Return the seconds of the fastest of a few runs."""
    run()
    times = [time.perf_counter()]
    for _ in range(ROUNDS):
        run()
        times.append(time.perf_counter())
    return min(after - before for before, after in pairwise(times))


def _part_size(rows: pa.Table, digits: int | None = None) -> int:
    """Return the bytes of a merged part, of features that are rounded to so many digits behind the point."""
    if digits is not None:
        for place, field in enumerate(rows.schema):
            if pa.types.is_floating(field.type):
                rows = rows.set_column(place, field, pc.round(rows[field.name], digits))
    with tempfile.TemporaryDirectory(prefix="driftloop-") as folder:
        return write_part(Path(folder), rows, 0).stat().st_size


def _double(model: Model, digits: int | None = None) -> int:
    return _part_size(draw_log(model.model_copy(update={"dtype": "float64"}), PART, 0, END), digits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    config = load_config(CONFIG)
    model = config.model
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        layout = Layout(Path(temporary))
        write_log(layout, model, rows)
        write_sample_reference(layout, model)
        source = str(layout.current)
        table = read_reference(layout, model).table
        grid = grid_of(model, table)
        reference, part = profile_rows(grid, table), draw_log(model, PART, 0, END)
        whole = profile_rows(grid, part)
        counts = compact(whole)
        size = sum(path.stat().st_size for path in Path(source).iterdir())
        report = report_on(config, reference, whole)
        collector = SnapshotCollector()
        export_metrics_to_prometheus(report, collector)
        registry = CollectorRegistry()
        registry.register(collector)
        series = sum(len(family.samples) for family in registry.collect())
        listing, demands = list_files(source), demands_of(model)
        units = list(divide(survey(listing, inspect_all(listing.files, demands), demands).files))
        one_core = best(lambda: [profile_unit(grid, unit) for unit in units])
        suite = best(lambda: run_suite(config, reference, whole))
        figures = {
            "rows a second profiled by one core, from memory": f"{PART / best(lambda: profile_rows(grid, part)):,.0f}",
            "the same from Parquet on disk": f"{rows / one_core:,.0f}",
            "the same by all cores": f"{rows / best(lambda: profile_locally(grid, source)):,.0f}",
            "bytes a row of the log, merged": f"{size / rows:.0f}",
            "the same with `dtype: float64` ÷ with float32": f"{_double(model) / _part_size(part):.2f}",
            "the same of values with two digits behind the point": f"{_double(model, 2) / _part_size(part, 2):.2f}",
            "bytes of a profile without rows' hashes": f"{len(to_bytes(counts)):,}",
            "bytes a row more with them": f"{(len(to_bytes(whole)) - len(to_bytes(counts))) / PART:.1f}",
            "microseconds to merge two profiles without hashes": f"{best(lambda: counts + counts) * 1e6:.0f}",
            "milliseconds of the suite, from a profile": f"{1e3 * suite:.0f}",
            "Prometheus series of one monitor": f"{series}",
            "megabytes of this process": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}",
        }
    print("| what | figure |\n|---|---|")
    for what, figure in figures.items():
        print(f"| {what} | {figure} |")
    print("\n| predictions an hour | computed: GB of log a week | merged parts a week | cores that profile |")
    print("|---|---|---|---|")
    for rate in RATES:
        week = 7 * 24 * rate
        print(
            f"| {rate:,} | {week * size / rows / 1e9:,.2f} | {week / LARGEST_PART:,.0f} |"
            f" {rate / 3600 * one_core / rows:.2g} |"
        )
    print(f"\nEach size of part leaves up to {FAN - 1} more files that wait to be merged.")


if __name__ == "__main__":
    main()
