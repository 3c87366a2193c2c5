"""`python -m monitoring gate`: exit statuses a nightly job can go by, and the examples of the docs."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from monitoring.__main__ import main
from monitoring.batch.usual_effects import UsualEffects
from monitoring.contract.layout import Layout
from monitoring.contract.reference import write_reference
from tests.processes import ROOT
from tests.unit.models import WINE, wine
from tests.unit.monitor_fixtures import START, log_rows, make_rows

TESTS = ["TestColumnDrift", "TestColumnsType", {"TestNumberOfColumnsWithMissingValues": {"lte": 0}}]
ACCURACY = {"TestAccuracyScore": {"gte": 0.6}}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of data with a reference without times, and the config of the wines in the environment."""
    config(tmp_path, [*TESTS, ACCURACY])
    monkeypatch.setenv("DRIFTLOOP_CONFIG", str(tmp_path / "config.yml"))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    keep(tmp_path, make_rows(wine(tmp_path), 2000))
    return tmp_path / "data"


def config(folder: Path, tests: list[Any], **changes: Any) -> None:
    (folder / "config.yml").write_text(yaml.safe_dump({**WINE, "tests": tests, **changes}))


def keep(folder: Path, rows: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    write_reference(Layout(folder / "data"), wine(folder).model, table, origin="user")


def batch(folder: Path, rows: int = 600, shift: float = 0.0, **columns: Any) -> Path:
    drawn = make_rows(wine(folder), rows, seed=4, shift=shift)
    path = folder / "batch.parquet"
    drawn.assign(**({"timestamp": pd.date_range(START, periods=rows, freq="s")} | columns)).to_parquet(path)
    return path


def gate(*options: Any) -> int:
    return main(["gate", *map(str, options)])


def test_no_time_is_asked_for_and_none_is_taken(tmp_path, capsys):
    model = {**WINE["model"], "columns": {"timestamp": "day"}}
    config(tmp_path, [*TESTS, ACCURACY], model=model)
    path = batch(tmp_path)
    pd.read_parquet(path).drop(columns="timestamp").to_parquet(path)
    assert gate("--input", path) == 0
    with pytest.raises(SystemExit, match="2"):
        gate("--input", path, "--timestamp", "2026-01-01")
    assert "unrecognized arguments: --timestamp" in capsys.readouterr().err


def test_what_is_as_the_reference_passes(tmp_path, capsys):
    assert gate("--input", batch(tmp_path)) == 0
    told = capsys.readouterr().out
    assert "SUCCESS drift of acidity: ks, adjusted p-value" in told
    assert "SUCCESS drift of guess: chi_square_two_sample, adjusted" in told
    assert "SUCCESS TestAccuracyScore" in told
    assert told.endswith("600 rows against 2,000: passing\n")


@pytest.mark.parametrize("known", [pytest.param(2000, id="full"), pytest.param(8, id="as few in the reference")])
def test_a_column_with_hardly_a_value_does_not_pass_in_silence(tmp_path, capsys, known):
    """No test tells five values from any others. Where the reference has as few, that is no failure, but is said."""
    rows = make_rows(wine(tmp_path), 2000)
    keep(tmp_path, rows.assign(sugar=rows["sugar"].where(rows.index < known)))
    drawn = pd.read_parquet(batch(tmp_path))
    sugar = drawn["sugar"].where(drawn.index < 5, np.inf if known == 2000 else np.nan)
    path = batch(tmp_path, sugar=sugar)
    options = ["--input", path, "--judge", "drift"]
    assert gate(*options) == (1 if known == 2000 else 0)
    assert (
        f"drift of sugar: not judged: 5 of 600 rows have a value, {600 * known / 2000:.0f} by the"
        in capsys.readouterr().out
    )
    assert gate(*options, "--require-all") == (1 if known == 2000 else 3)


@pytest.mark.parametrize(
    ("shift", "columns", "fails"),
    [
        pytest.param(1.0, {}, "drift", id="drift"),
        pytest.param(0.0, {"sugar": None}, "drift, quality", id="a column that has gone"),
        pytest.param(0.0, {"truth": "red", "guess": ["red", "white"] * 300}, "accuracy", id="accuracy"),
    ],
)
def test_what_fails_is_said_and_may_be_left_out(tmp_path, capsys, shift, columns, fails):
    path = batch(tmp_path, shift=shift, **columns)
    assert gate("--input", path) == 1
    assert f"failing ({fails})" in capsys.readouterr().out
    others = {"drift", "quality", "accuracy"} - set(fails.split(", "))
    assert gate("--input", path, "--judge", *others) == 0
    assert gate("--input", path, "--judge", *fails.split(", ")) == 1


def test_many_rows_make_no_drift_of_a_change_that_is_small(tmp_path, capsys):
    keep(tmp_path, make_rows(wine(tmp_path), 20_000))
    path = batch(tmp_path, rows=20_000, shift=0.08)
    assert gate("--input", path, "--judge", "drift") == 0
    assert re.search(
        r"SUCCESS drift of acidity: ks, adjusted p-value \S+e-\d+, effect 0\.0\d+", capsys.readouterr().out
    )
    assert gate("--input", path, "--judge", "drift", "--effect", "0.05") == 1


def test_a_day_may_differ_as_much_as_the_reference_s_own_days_do(tmp_path, capsys):
    """Each day has a level of its own; the batch's is among those of the reference, or it is not."""
    days, rows = 20, 300
    reference = make_rows(wine(tmp_path), days * rows)
    levels = np.repeat(np.random.default_rng(1).uniform(-1, 1, days), rows).astype("float32")
    times = [START - timedelta(days=days) + timedelta(seconds=86_400 / rows * n) for n in range(days * rows)]
    keep(tmp_path, reference.assign(acidity=reference["acidity"] + levels, timestamp=times))
    spread = [START + timedelta(seconds=140 * n) for n in range(600)]
    usual, unusual = (batch(tmp_path, shift=shift, timestamp=spread).read_bytes() for shift in (0.7, 2.5))
    for content, code in ((usual, 0), (unusual, 1)):
        (tmp_path / "batch.parquet").write_bytes(content)
        assert gate("--input", tmp_path / "batch.parquet", "--judge", "drift") == code
        assert (
            "effects count from those of 20 pieces of 1 day of the reference on, and from 0.1"
            in capsys.readouterr().out
        )


def test_effects_are_usual_per_column():
    usual = UsualEffects(12, 3_600_000_000, {"a": 0.3})
    assert (usual.least("a", 0.1), usual.least("b", 0.1), usual.least("a", 0.5)) == (0.3, 0.1, 0.5)
    assert usual.said == "12 pieces of 1.0 hours of the reference"
    assert UsualEffects().said is None


def test_what_cannot_be_judged_is_2_or_where_all_is_required_3(tmp_path, capsys):
    unlabelled = batch(tmp_path, truth=None)
    assert gate("--input", unlabelled) == 0
    assert capsys.readouterr().out.endswith("passing; not judged: accuracy\n")
    assert gate("--input", unlabelled, "--require-all") == 3
    assert gate("--input", unlabelled, "--judge", "accuracy") == 2
    assert "no test could run" in capsys.readouterr().out
    config(tmp_path, [ACCURACY])
    assert gate("--input", unlabelled, "--judge", "drift") == 2
    assert "SKIPPED drift: not run: TestColumnDrift is not among" in capsys.readouterr().out
    assert gate("--input", batch(tmp_path, rows=20)) == 2
    assert "20 rows cannot be judged; minimum_rows is 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.parquet", b"PAR1", "a.parquet: is not a readable Parquet file", id="cut off"),
        pytest.param("a.csv", b"x;y\n1;2\n", "names none of the config's columns", id="other columns"),
        pytest.param("a.csv", b"acidity;sugar;alcohol;density;guess\n1,5;1;1;1;red\n", "--decimal ,", id="comma"),
        pytest.param("a.csv", b"acidity;sugar;alcohol;guess\n1;1;1;red\n", "has no column density", id="lacks one"),
    ],
)
def test_of_half_a_batch_nothing_is_judged(tmp_path, capsys, name, content, says):
    (tmp_path / name).write_bytes(content)
    assert gate("--input", batch(tmp_path), tmp_path / name) == 2
    assert says in capsys.readouterr().err


def test_text_among_a_csv_s_numbers_is_bad_quality(tmp_path, capsys):
    rows = pd.read_parquet(batch(tmp_path)).astype({"sugar": object})
    rows.loc[5, "sugar"] = "sweet"
    rows.to_csv(tmp_path / "a.csv", index=False)
    assert gate("--input", tmp_path / "a.csv", "--judge", "quality") == 1
    assert "FAIL    TestColumnsType" in capsys.readouterr().out


def test_times_that_cannot_be_read_are_named(tmp_path, capsys):
    """Rows without times are judged, but not held against the reference's days."""
    assert gate("--input", batch(tmp_path, timestamp="22.02.2017 02:47")) == 0
    assert "the rows' times are not used: column timestamp" in capsys.readouterr().out


def test_without_input_the_log_s_window_is_judged(tmp_path, data, capsys):
    log_rows(data, wine(tmp_path), make_rows(wine(tmp_path), 800, seed=8))
    assert gate() == 0
    told = capsys.readouterr().out
    assert "500 rows against 2,000: passing" in told
    days = (datetime.now(UTC) - START).days
    assert re.match(rf"the log's rows from 2026-01-01 00:\d\d to 2026-01-01 00:\d\d UTC, {days:,} days ago\n", told)
    log_rows(data, wine(tmp_path), make_rows(wine(tmp_path), 800, seed=9, shift=1), START + timedelta(hours=1))
    assert gate("--html", tmp_path / "report.html") == 1
    assert "<html" in (tmp_path / "report.html").read_text()


def _blocks(language: str) -> list[str]:
    page = (ROOT / "docs/bring-your-own.md").read_text().partition("### In a nightly job")[2]
    return re.findall(rf"```{language}\n(.*?)```", page.partition("\n## ")[0], re.DOTALL)


def test_the_job_of_the_docs_judges_and_appends(tmp_path, data):
    """Under cron as it stands there: run twice, the batch is in the log once, and the status is the gate's."""
    (script,) = _blocks("bash")
    (tmp_path / "nightly.sh").write_text(script)
    batch(tmp_path, shift=2).rename(tmp_path / "scored-2026-01-01.parquet")
    about = {**os.environ, "DRIFTLOOP": str(ROOT), "OUT": str(tmp_path), "DAY": "2026-01-01"}
    for _ in range(2):
        ran = subprocess.run(["bash", tmp_path / "nightly.sh"], env=about, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr) == (1, "600 rows against 2,000: failing (drift)\n")
    assert sum(pq.read_metadata(path).num_rows for path in (data / "current.parquet").glob("part-*")) == 600


def test_the_step_of_the_docs_stops_bad_quality_and_tells_drift(tmp_path, data):
    (code,) = _blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    step = names["judge_and_log"]
    assert step(str(batch(tmp_path)), str(ROOT)) is False
    assert step(str(batch(tmp_path, shift=2)), str(ROOT)) is True
    with pytest.raises(RuntimeError, match="bad quality"):
        step(str(batch(tmp_path, sugar=None)), str(ROOT))
    assert sum(pq.read_metadata(path).num_rows for path in (data / "current.parquet").glob("part-*")) == 1200
