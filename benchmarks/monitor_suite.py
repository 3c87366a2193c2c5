"""What the suite costs from Parquet on disk to verdicts, by rows: Evidently's engine, its newer API, NannyML, and ours.

Every engine runs in a process of its own on the same files; imports and a first run on few rows are not counted. Ours
is timed from scratch (each part is read and profiled, on two threads) and from kept profiles (the same window again).
NannyML needs an environment of its own, which uv makes; without uv or a network it is left out. After the built-in
model come a regression and a classification of 8 numeric and 6 categorical features, at the largest number of rows.

    python -m benchmarks.monitor_suite [--rows 1000 10000 100000 1000000] [--plot docs/images/monitor_suite.svg]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import yaml

from benchmarks import mixed
from benchmarks.rows import write_log, write_sample_reference
from monitoring.contract.config import Config, Window
from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from monitoring.contract.tasks import TaskName

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "monitoring/config.yml"
WARM_UP = 1_000
REPEATS = 5
ENGINES = {
    "dataframe": "Evidently, DataFrame engine",
    "new": "Evidently, newer API",
    "nannyml": "NannyML",
    "scratch": "ours, from scratch",
    "kept": "ours, from kept profiles",
    "read": "pyarrow's read of the columns alone",
}
OF_MIXED = ("dataframe", "scratch", "kept", "read")
BUILT_IN = "built-in"
UV = Path(sys.executable).with_name("uv")
NANNYML = [
    *(UV, "run", "--no-project", "--isolated", "--python", sys.executable, "--with", "nannyml==0.13.1"),
    *("--with", "statsmodels", "--with", "setuptools<81", "python", ROOT / "benchmarks/nannyml_drift.py"),
]


def configured(layout: Layout, rows: int) -> Config:
    """Return the config beside the rows, with a window that all of them are in."""
    return load_config(layout.root / "config.yml").model_copy(update={"window": Window(rows=rows + 1)})


def prepare(folder: Path, case: str, sizes: set[int]) -> None:
    """Write for each size a config, its reference, and a log of so many rows."""
    for rows in sorted(sizes):
        layout = Layout(folder / case / str(rows))
        layout.root.mkdir(parents=True)
        config = layout.root / "config.yml"
        config.write_text(CONFIG.read_text() if case == BUILT_IN else yaml.safe_dump(mixed.config_of(case)))
        model = load_config(config).model
        write_log(layout, model, rows)
        write_sample_reference(layout, model)


def dataframe(layout: Layout, rows: int) -> Callable[[], object]:
    """Run the config's tests by Evidently's own engine; the profiles that say which columns to test are not timed."""
    import pandas as pd  # noqa: PLC0415

    from monitoring.contract.log_reader import read_rows  # noqa: PLC0415
    from monitoring.contract.reference import read_reference  # noqa: PLC0415
    from monitoring.profile.counting import grid_of, profile_rows  # noqa: PLC0415
    from monitoring.suite.frames import Frames, to_arrow  # noqa: PLC0415
    from monitoring.suite.suite import run_suite  # noqa: PLC0415

    config = configured(layout, rows)
    reference = read_reference(layout, config.model).table
    grid = grid_of(config.model, reference)
    profiles = profile_rows(grid, reference), profile_rows(grid, read_rows(layout, config.model, config.window).table)

    def run() -> object:
        current = to_arrow(pd.read_parquet(layout.current), config.model)
        return run_suite(config, *profiles, Frames.of(reference, current, config.model))

    return run


def new(layout: Layout, rows: int) -> Callable[[], object]:
    """Run drift and data quality by Evidently's newer API, as near to the config's tests as it has them."""
    import pandas as pd  # noqa: PLC0415
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415
    from evidently.metrics import DuplicatedRowCount, RowCount, ValueDrift  # noqa: PLC0415
    from evidently.presets import DataSummaryPreset  # noqa: PLC0415

    model = configured(layout, rows).model
    definition = DataDefinition(numerical_columns=list(model.features), categorical_columns=[model.prediction])
    columns = [*model.features, model.prediction]
    reference = Dataset.from_pandas(pd.read_parquet(layout.reference)[columns], data_definition=definition)
    drift = [ValueDrift(column=name, method="ks") for name in model.features]
    drift.append(ValueDrift(column=model.prediction, method="chisquare"))

    def run() -> object:
        current = Dataset.from_pandas(pd.read_parquet(layout.current)[columns], data_definition=definition)
        report = Report([*drift, RowCount(), DuplicatedRowCount(), DataSummaryPreset()], include_tests=True)
        return report.run(current, reference).dict()

    return run


def ours(layout: Layout, rows: int, *, kept: bool) -> Callable[[], object]:
    """Look at the window and run the suite on its profile."""
    import shutil  # noqa: PLC0415

    from monitoring.contract.reference import read_reference  # noqa: PLC0415
    from monitoring.profile.counting import grid_of, profile_rows  # noqa: PLC0415
    from monitoring.suite.suite import run_suite  # noqa: PLC0415
    from monitoring.window.window import ProfiledWindow  # noqa: PLC0415

    config = configured(layout, rows)
    table = read_reference(layout, config.model).table
    grid = grid_of(config.model, table)
    reference = profile_rows(grid, table)
    window = ProfiledWindow(layout, config, grid)

    def run() -> object:
        nonlocal window
        if not kept:
            shutil.rmtree(layout.root / "_profiles", ignore_errors=True)
            window = ProfiledWindow(layout, config, grid)
        return run_suite(config, reference, window.look(None).profile)

    return run


def read(layout: Layout, rows: int) -> Callable[[], object]:
    """Read the columns that the suite looks at, and do nothing with them."""
    from pyarrow import parquet  # noqa: PLC0415

    model = configured(layout, rows).model
    columns = [*model.features, model.prediction, model.target]
    return lambda: parquet.read_table(layout.current, columns=columns)


def measure(engine: str, folder: Path, rows: int) -> None:
    """Run one engine; print its best time and this process's peak of memory."""
    makers = {
        "dataframe": dataframe,
        "new": new,
        "read": read,
        "scratch": lambda *some: ours(*some, kept=False),
        "kept": lambda *some: ours(*some, kept=True),
    }
    for size in (WARM_UP, rows):
        run = makers[engine](Layout(folder / str(size)), size)
        run()
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
        if sum(seconds) > REPEATS:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"seconds": min(seconds), "megabytes": peak}))


def ask(engine: str, folder: Path, rows: int) -> dict[str, float] | None:
    """Run an engine in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.monitor_suite", "--engine", engine, "--folder", folder]
    if engine == "nannyml":
        if not UV.exists():
            return None
        command = [*NANNYML, folder]
    done = subprocess.run([*command, str(rows)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{ENGINES[engine]} is left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}", file=sys.stderr)
        return None
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(folder: Path, engines: Sequence[str], sizes: Sequence[int]) -> dict[str, dict[int, dict[str, float]]]:
    """Run the engines side by side on each size; print their table, and ratios at the last size."""
    results: dict[str, dict[int, dict[str, float]]] = {engine: {} for engine in engines}
    for rows in sizes:
        for engine in engines:
            if (answer := ask(engine, folder, rows)) is not None:
                results[engine][rows] = answer
    results = {engine: found for engine, found in results.items() if found}
    print("| rows | " + " | ".join(ENGINES[engine] for engine in results) + " |\n|" + "---|" * (len(results) + 1))
    for rows in sizes:
        found = [results[engine].get(rows) for engine in results]
        cells = [f"{f['seconds']:.3g} s, {f['megabytes']:.0f} MB" if f else "" for f in found]
        print(f"| {rows:,} | " + " | ".join(cells) + " |")
    for engine in ("scratch", "kept"):
        ratio = results["dataframe"][sizes[-1]]["seconds"] / results[engine][sizes[-1]]["seconds"]
        print(f"\nat {sizes[-1]:,} rows Evidently's DataFrame engine ÷ {ENGINES[engine]}: {ratio:.0f}")
    ratio = results["scratch"][sizes[-1]]["seconds"] / results["read"][sizes[-1]]["seconds"]
    print(f"\nat {sizes[-1]:,} rows ours, from scratch ÷ {ENGINES['read']}: {ratio:.1f}")
    return results


def plot(results: dict[str, dict[int, dict[str, float]]], path: Path) -> None:
    """Draw seconds against rows."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for engine, found in results.items():
        axes.loglog(list(found), [one["seconds"] for one in found.values()], marker="o", label=ENGINES[engine])
    axes.set(xlabel="rows in the window", ylabel="seconds to verdicts")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--plot", type=Path, help="where to draw the figure")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options, size = parser.parse_known_args()
    if options.engine:
        measure(options.engine, options.folder, int(size[0]))
        return
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        prepare(Path(temporary), BUILT_IN, {WARM_UP, *options.rows})
        results = compare(Path(temporary) / BUILT_IN, tuple(ENGINES), options.rows)
        for case in get_args(TaskName):
            prepare(Path(temporary), case, {WARM_UP, options.rows[-1]})
            print(f"\n### A {case} of mixed features\n")
            compare(Path(temporary) / case, OF_MIXED, options.rows[-1:])
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
