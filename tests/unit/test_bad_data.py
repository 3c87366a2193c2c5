"""Files that cannot be read, beside a log that can: each costs itself alone, and is named with the reason."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from monitoring.contract.config import Config
from monitoring.monitor import Monitor
from monitoring.page.page import create_app
from tests.unit.bad_files import UNREADABLE
from tests.unit.models import LOANS, loans
from tests.unit.monitor_fixtures import (
    START,
    keep_calibration,
    keep_reference,
    label_rows,
    log_rows,
    make_rows,
    monitor_of,
)

ROWS = 120
COUNTED = loans(minimum_rows=500)  # no verdict: that takes time
LEAST = ["timestamp", *LOANS.model.features]


def failures(registry: CollectorRegistry) -> dict[str, float]:
    samples = [s for family in registry.collect() for s in family.samples if s.name == "monitor_failures_total"]
    return {s.labels["stage"]: s.value for s in samples if s.value}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a log with late labels, a reference and the detector's calibration, once."""
    data = tmp_path_factory.mktemp("log")
    keep_reference(data, LOANS, make_rows(LOANS, 200))
    keep_calibration(data, LOANS, populations=3)
    rows = make_rows(LOANS, ROWS, seed=1)
    ids = log_rows(data, LOANS, rows.assign(target=None))
    label_rows(data, LOANS, ids, rows["target"].tolist())
    return data


def watched(log: Path, data: Path, config: Config = LOANS) -> tuple[Monitor, CollectorRegistry]:
    """Return a monitor, detector and all, of a copy of the log."""
    shutil.copytree(log, data, dirs_exist_ok=True)
    return monitor_of(data, config, drift_alarm="on")


@pytest.mark.parametrize("folder", ["current.parquet", "labels.parquet"])
@pytest.mark.parametrize(("name", "make"), UNREADABLE)
def test_a_file_that_cannot_be_read_costs_itself_alone(
    log: Path, tmp_path: Path, folder: str, name: str, make: Callable[[Path], None]
) -> None:
    """The cycle succeeds on every other row and label; the file is named with a reason, logged and counted once."""
    monitor, registry = watched(log, tmp_path, COUNTED)
    bad = tmp_path / folder / name
    make(bad)
    with capture_logs() as logs:
        monitor.cycle()
        monitor.cycle()
    assert monitor.state.problem is None
    assert [line["path"] for line in logs if line["event"] == "part_unreadable"] == [str(bad)]
    assert all(line["reason"] for line in logs if line["event"] == "part_unreadable")
    assert failures(registry) == {"read_part": 1}
    assert registry.get_sample_value("monitor_unreadable_parts") == 1
    assert registry.get_sample_value("rowcount") == ROWS
    assert registry.get_sample_value("labelled_rows") == ROWS
    assert registry.get_sample_value("drift_rows_seen") == ROWS


@pytest.mark.parametrize(
    "names", [pytest.param(LEAST, id="features alone"), pytest.param([*LEAST, "prediction"], id="and a prediction")]
)
def test_a_file_with_fewer_columns_is_read(log: Path, tmp_path: Path, names: list[str]) -> None:
    """Another tool's file without ids, labels or versions counts: what it lacks is null."""
    monitor, registry = watched(log, tmp_path)
    (part,) = (tmp_path / "current.parquet").iterdir()
    pq.write_table(pq.read_table(part).select(names), tmp_path / "current.parquet/from-elsewhere.parquet")
    monitor.cycle()
    assert monitor.state.unreadable == ()
    assert failures(registry) == {}
    assert registry.get_sample_value("rowcount") == 2 * ROWS
    assert registry.get_sample_value("drift_rows_seen") == 2 * ROWS


def test_the_report_and_the_page_name_the_file(log: Path, tmp_path: Path) -> None:
    """A person who looks sees which file is left out, and why; reports are kept all the same."""
    monitor, registry = watched(log, tmp_path)
    (tmp_path / "current.parquet/from-elsewhere.parquet").write_text("<b>no Parquet</b>")
    monitor.cycle()
    page = create_app(monitor, registry, lambda: True).test_client().get("/").text
    assert "current.parquet/from-elsewhere.parquet" in page
    assert "Parquet magic bytes not found" in page
    assert len(monitor.archive.entries()) == 1
    (tmp_path / "current.parquet/from-elsewhere.parquet").unlink()
    monitor.cycle()
    assert "from-elsewhere" not in create_app(monitor, registry, lambda: True).test_client().get("/").text


def test_a_part_that_is_damaged_after_its_profile_was_kept(tmp_path: Path) -> None:
    """Its rows stay counted, and labels that look for their rows in it cost no cycle; the file is named."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    rows = make_rows(LOANS, 5000, seed=1)
    ids = log_rows(tmp_path, LOANS, rows.assign(target=None))
    monitor, _ = monitor_of(tmp_path, loans(window={"rows": 6000}))
    monitor.cycle()
    (part,) = (tmp_path / "current.parquet").iterdir()
    content = part.read_bytes()
    part.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    label_rows(tmp_path, LOANS, ids, rows["target"].tolist())
    again, registry = monitor_of(tmp_path, loans(window={"rows": 6000}))
    again.cycle()
    again.cycle()
    assert again.state.problem is None
    assert registry.get_sample_value("rowcount") == 5000
    assert [file.path for file in again.state.unreadable] == [part]


@pytest.mark.parametrize(
    ("labels", "labelled", "accuracy"),
    [
        pytest.param(["maybe"] * 60 + ["yes"] * 60, 120, 0.5, id="a category never seen"),
        pytest.param(["no"] * 120, 120, 0.0, id="all wrong"),
    ],
)
def test_any_label_is_a_label(tmp_path: Path, labels: list[str], labelled: int, accuracy: float) -> None:
    """A label that the config does not name says that the prediction was wrong, and fails no cycle."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    ids = log_rows(tmp_path, LOANS, make_rows(LOANS, ROWS, seed=1).assign(target=None, prediction="yes"))
    label_rows(tmp_path, LOANS, ids, labels)
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert failures(registry) == {}
    assert registry.get_sample_value("labelled_rows") == labelled
    assert registry.get_sample_value("model_accuracy") == accuracy


def test_labels_before_their_rows_twice_and_in_conflict(tmp_path: Path) -> None:
    """Labels wait for their rows; of several the latest counts in the window, whichever file is read first."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    rows = make_rows(LOANS, ROWS, seed=1).assign(prediction="yes", target=None)
    ids = log_rows(tmp_path, LOANS, rows)
    (part,) = (tmp_path / "current.parquet").iterdir()
    held = part.rename(tmp_path / part.name)
    monitor, registry = monitor_of(tmp_path)
    label_rows(tmp_path, LOANS, ids, ["no"] * ROWS, start=START + timedelta(hours=1))
    label_rows(tmp_path, LOANS, ids, ["yes"] * ROWS, start=START + timedelta(hours=2))
    monitor.cycle()
    assert registry.get_sample_value("labelled_rows") == 0
    held.rename(part)
    monitor.cycle()
    assert registry.get_sample_value("labelled_rows") == ROWS
    assert registry.get_sample_value("model_accuracy") == 1
    label_rows(tmp_path, LOANS, ids, ["no"] * ROWS, start=START + timedelta(hours=3))
    monitor.cycle()
    assert registry.get_sample_value("model_accuracy") == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"age": np.float32(1)}, id="a constant column"),
        pytest.param(dict.fromkeys(LOANS.model.features, np.float32(1)), id="all columns constant"),
        pytest.param({"prediction": "yes", "target": "yes"}, id="one category"),
    ],
)
@pytest.mark.parametrize("size", [1, 200])
@pytest.mark.filterwarnings("ignore:A single label was found")
def test_a_poor_reference_is_compared_with_all_the_same(tmp_path: Path, size: int, change: dict[str, Any]) -> None:
    """The cycle and the detector's calibration succeed; what cannot be compared has no value."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200).head(size).assign(**change))
    keep_calibration(tmp_path, LOANS, populations=3)
    log_rows(tmp_path, LOANS, make_rows(LOANS, ROWS, seed=1).assign(prediction="maybe"))
    monitor, registry = monitor_of(tmp_path, drift_alarm="on")
    monitor.cycle()
    assert failures(registry) == {}
    assert registry.get_sample_value("rowcount") == ROWS
    assert registry.get_sample_value("drift_rows_seen") == ROWS
    assert registry.get_sample_value("prediction_distribution", {"answer": "other"}) == 1
