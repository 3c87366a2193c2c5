"""Requests a second of `POST /predict` with the log on, against the log off and against an empty Flask handler.

All run side by side under the API's own gunicorn settings, two workers; wrk loads one after the other, at 16
connections, in rounds. Figures are medians over rounds, ratios medians of a round's ratios. Also: rows a second in
batches of 1,000 on one worker, of `POST /predict` and of `POST /log`; and the same for a regression and a
classification of 8 numeric and 6 categorical features, each served as the default trainer makes it.

    python -m benchmarks.prediction_log_throughput [--rounds 7] [--seconds 3]
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import yaml

from benchmarks import mixed
from benchmarks.servers import CATEGORY, CONNECTIONS, MODEL, features, keep_champion, load, serving
from monitoring.contract.config_file import load_config
from monitoring.contract.tasks import TaskName

BATCH = 1_000
Application = tuple[str, str, dict[str, str]]
OURS = ("the API, log on", "with_log", {})
OTHERS = (
    ("the same, log off", "without_log", {}),
    ("an empty handler that parses the JSON (orjson)", "empty", {}),
    ("an empty handler that parses the JSON (Flask's own)", "empty_plain", {}),
)
DURABLE = ("the same, `PREDICTION_LOG_FSYNC=on`", "with_log", {"PREDICTION_LOG_FSYNC": "on"})


def single(
    folder: Path, rounds: int, seconds: int, applications: tuple[Application, ...], row: Mapping[str, Any] | None = None
) -> None:
    """Compare applications by requests of one row, by default of the built-in model's; ratios are the first's to each.

    Print a table's head and rows.
    """
    print(f"\n| {CONNECTIONS} connections, two workers | requests a second | the first ÷ this | CPU a request |")
    print("|---|---|---|---|")
    body = {"features": row or features()}
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(name, folder, **more)) for _, name, more in applications]
        for server in servers:
            load(server, body, 1)
        found: list[list[tuple[float, float]]] = [[] for _ in servers]
        for turn in range(rounds):
            for measured, server in list(zip(found, servers, strict=True))[:: -1 if turn % 2 else 1]:
                measured.append(load(server, body, seconds))
    for (title, _, _), measured in zip(applications, found, strict=True):
        rates, cpu = zip(*measured, strict=True)
        ratio = statistics.median(ours[0] / rate for ours, rate in zip(found[0], rates, strict=True))
        print(f"| {title} | {statistics.median(rates):,.0f} | {ratio:.2f} | {1e6 * statistics.median(cpu):.0f} µs |")


def batches(folder: Path, rounds: int, seconds: int) -> None:
    """Measure rows a second in large requests on one worker: those that it predicts, and those that others did."""
    bodies = {
        "/predict": {"instances": [features(row) for row in range(BATCH)]},
        "/log": {"rows": [sent_row(row) for row in range(BATCH)]},
    }
    found: dict[str, list[tuple[float, float]]] = {path: [] for path in bodies}
    with serving("with_log", folder, API_WORKERS="1") as server:
        for path, body in bodies.items():
            load(server, body, 1, 2, path=path)
        for turn in range(rounds):
            for path in list(bodies)[:: -1 if turn % 2 else 1]:
                found[path].append(load(server, bodies[path], seconds, 2, path=path))
    print(f"\n| batches of {BATCH:,}, one worker | rows a second into the log | ÷ /predict | CPU a row |")
    print("|---|---|---|---|")
    for path, measured in found.items():
        rates, cpu = zip(*measured, strict=True)
        ratio = statistics.median(ours[0] / base[0] for ours, base in zip(measured, found["/predict"], strict=True))
        rate, each = BATCH * statistics.median(rates), 1e6 * statistics.median(cpu) / BATCH
        print(f"| `POST {path}` | {rate:,.0f} | {ratio:.2f} | {each:.1f} µs |")


def sent_row(number: int) -> dict[str, Any]:
    """Return a row that another service predicted, with an id that each request makes its own."""
    return {
        "features": features(number),
        MODEL.prediction: CATEGORY,
        "prediction_id": f"00000000-0000-4000-8000-@@@@@@@@{number:04x}",
        "timestamp": "2026-01-31T12:00:00.123456Z",
        "confidence": 0.5,
        "model_version": "7",
    }


def mixed_features(folder: Path, task: TaskName, rounds: int, seconds: int) -> None:
    """Compare the API with an empty handler by requests of mixed features."""
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump(mixed.config_of(task)))
    model = load_config(config).model
    reference = mixed.reference_of(model)
    keep_champion(folder, model, reference)
    row = reference.select(model.features).slice(0, 1).to_pylist()[0]
    here = {"DRIFTLOOP_CONFIG": str(config)}
    single(folder, rounds, seconds, tuple((title, name, here) for title, name, _ in (OURS, *OTHERS)), row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        keep_champion(folder)
        single(folder, options.rounds, options.seconds, (OURS, *OTHERS))
        single(folder, options.rounds, options.seconds, (OURS, DURABLE))
        batches(folder, options.rounds, options.seconds)
    for task in get_args(TaskName):
        print(f"\n### A {task} of mixed features")
        with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
            mixed_features(Path(temporary), task, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
