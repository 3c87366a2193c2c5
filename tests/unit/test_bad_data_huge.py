"""A foreign file of millions of rows in one row group: whoever reads it needs the memory of a piece of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.schemas import TIMESTAMP
from tests.processes import ROOT
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import keep_calibration, keep_reference, make_rows

ROWS, PIECE = 5_000_000, 262_144 // 5 * 5  # what one look of the detector takes, in whole blocks
END = 1_790_000_000_000_000
LIMIT = 500  # MB: the rows as a table are 600
CODE = """
import json, sys
from pathlib import Path
from api.log.quarantine import why_unreadable
from monitoring.contract.config import Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.row_lookup import find_rows
from monitoring.contract.schemas import log_schema
from tests.unit.models import loans
from tests.unit.monitor_fixtures import monitor_of

def peak():
    # of this program: getrusage also counts what its parent held when it was started
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024

data, layout = Path(sys.argv[1]), Layout(Path(sys.argv[1]))
before, found = peak(), {}  # imports do not count
for window, alarm in (({"rows": 1000}, "on"), ({"duration": "9999d"}, "off")):
    config = loans(window=window)
    monitor, registry = monitor_of(data, config, drift_alarm=alarm)
    monitor.cycle()
    found[f"window {window}"] = registry.get_sample_value("rowcount"), monitor.state.problem, peak() - before
    found[f"detector {window}"] = registry.get_sample_value("drift_rows_seen"), len(monitor.state.unreadable)
found["retrain"] = len(read_rows(layout, config.model, Window(rows=1000)).table), peak() - before
found["label"] = len(find_rows(layout.current, ["row-7"], log_schema(config.model))), peak() - before
found["maintenance"] = why_unreadable(next(layout.current.iterdir()), log_schema(config.model)), peak() - before
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a log that is one file with one row group, and return its folder."""
    data = tmp_path_factory.mktemp("huge")
    keep_reference(data, LOANS, make_rows(LOANS, 200))
    keep_calibration(data, LOANS, populations=3)
    folder = data / "current.parquet"
    folder.mkdir()
    random = np.random.default_rng(0)
    columns = {
        "prediction_id": pa.array([f"row-{n}" for n in range(ROWS)]),
        "timestamp": pa.array(END + 1000 * np.arange(ROWS) - 1000 * ROWS, TIMESTAMP),
        **{name: random.standard_normal(ROWS, np.float32) for name in LOANS.model.features},
        "prediction": pa.array(["no", "yes"]).take(pa.array(random.integers(0, 2, ROWS))),
        "confidence": np.full(ROWS, 0.5, np.float32),
    }
    pq.write_table(pa.table(columns), folder / "from-elsewhere.parquet", row_group_size=ROWS)
    assert pq.read_metadata(folder / "from-elsewhere.parquet").num_row_groups == 1
    return data


@pytest.mark.timeout(120)
def test_a_huge_row_group_is_read_in_pieces(huge: Path) -> None:
    """By monitor, detector, retraining, look-ups and maintenance: the result is right, the peak of memory bounded."""
    arguments = [sys.executable, "-W", "ignore", "-c", CODE, str(huge)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    seen = found.pop("detector {'rows': 1000}")[0]
    assert PIECE <= seen < ROWS / 10
    assert [found[name][0] for name in found] == [1000, ROWS, None, 1000, 1, None]
    assert found["maintenance"][-1] < LIMIT
