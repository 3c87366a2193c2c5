"""One replay in a process and a folder of its own, with a temporary Prefect server."""

import logging
import os
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.loop.events import row_of

QUIET = {
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "PYTHONWARNINGS": "ignore",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def one(job: tuple[str, tuple[str, ...], str, str]) -> dict[str, Any]:
    """Replay a job: its name, its faults, the set of features, and the day on which it ends."""
    name, given, features, _ = job
    with tempfile.TemporaryDirectory(prefix="driftloop-") as temporary:
        folder = Path(temporary)
        os.environ |= {**QUIET, "PREFECT_HOME": str(folder / "prefect")}
        return {"name": name, "faults": list(given), "features": features, **_replay(folder, *job)}


def _replay(folder: Path, name: str, given: tuple[str, ...], features: str, last: str) -> dict[str, Any]:
    import structlog  # noqa: PLC0415 - the environment comes first, for what reads it when it is imported
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    from benchmarks.alarms.traffic import flights  # noqa: PLC0415
    from benchmarks.loop import traffic  # noqa: PLC0415
    from benchmarks.loop.data_dir import DataDir, write_config  # noqa: PLC0415
    from benchmarks.loop.replay import Replay, Story, set_environment  # noqa: PLC0415
    from monitoring.contract.config_file import load_config  # noqa: PLC0415
    from monitoring.contract.layout import Layout  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for noisy in ("mlflow", "alembic", "skl2onnx", "httpx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    begun = time.perf_counter()
    config = write_config(folder, flights.SETS[features])
    set_environment(folder, config)
    data = DataDir(load_config(config), Layout(folder / "data"))
    reference = traffic.reference_rows()
    data.write_reference(reference)
    faults = tuple(traffic.Fault.parse(text) for text in given)
    rows = traffic.log_rows(faults, last)
    begin, end = traffic.midnight(traffic.BEGIN), traffic.midnight(last)
    with prefect_test_harness(server_startup_timeout=120):
        story = Replay(data, rows, begin, end, Story(say=partial(_say, name))).run()
    return {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "rows": len(rows),
        "reference_rows": len(reference),
        "changes": [[_first(rows, moment), what] for fault in faults for moment, what in fault.changes if moment < end],
        "minimum_labels": data.config.retrain.minimum_labels,
        "looks": story.looks,
        "in_alarm": story.in_alarm,
        "learning": story.learning,
        "accuracy": story.accuracy,
        "accuracy_alone": story.accuracy_alone,
        "calibrations": story.calibrations,
        "seconds": time.perf_counter() - begun,
        "events": [{**asdict(event), "moment": event.moment.isoformat()} for event in story.events],
    }


def _say(name: str, event: Any) -> None:
    """Show on standard error how far a replay is; what is held back is not worth a line there."""
    if event.about.get("outcome") != "cooldown":
        sys.stderr.write(f"{name}: {' '.join(row_of(event.moment, event.what, event.about))}\n")


def _first(rows: Any, moment: datetime) -> str:
    """Return the time of the first row from a moment on."""
    return str(rows.timestamp[rows.timestamp >= moment].iloc[0].isoformat())
