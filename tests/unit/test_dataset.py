"""Profiles of data sets of any kind, by threads and by Spark, and the report on them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from monitoring.__main__ import main
from monitoring.contract.layout import Layout
from monitoring.contract.listing import DatasetError
from monitoring.contract.parts import covering, list_parts, merged_name
from monitoring.offline import dataset
from monitoring.offline.dataset import demands_of, profile_locally
from monitoring.offline.spark import SparkError, profile_on_spark
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile
from monitoring.profile.serialised import from_bytes, to_bytes
from tests.processes import ROOT
from tests.unit.models import GENRES
from tests.unit.monitor_fixtures import keep_reference, log_rows, make_rows
from tests.unit.profile_strategies import same_profile

MODEL = GENRES.model
JAVA = pytest.mark.skipif(
    not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="Spark needs Java, and there is none"
)


@pytest.fixture(scope="module")
def reference() -> pd.DataFrame:
    return make_rows(GENRES, 300)


@pytest.fixture(scope="module")
def grid(reference: pd.DataFrame) -> Grid:
    return grid_of(MODEL, pa.Table.from_pandas(reference))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as people have them: types that differ, columns that lack, missing values, an empty file, row groups."""
    folder = tmp_path_factory.mktemp("mixed")
    rows = make_rows(GENRES, 4000, seed=1, shift=0.2)
    rows.iloc[::7, 0], rows.iloc[::11, 1], rows.iloc[::13, 2] = np.nan, np.inf, -np.inf
    rows = pd.concat([rows, rows.iloc[:500]], ignore_index=True)
    quarters = [rows.iloc[n::4] for n in range(4)]
    whole = quarters[1].assign(**{MODEL.features[3]: quarters[1][MODEL.features[3]].round().astype("int64")})
    for name, part in {
        "float32": quarters[0],
        "whole numbers": whole,
        "2026/float64": quarters[2].astype(dict.fromkeys(MODEL.features, "float64")),
        "2026/categories": quarters[3].astype({MODEL.prediction: "category"}).drop(columns=MODEL.features[4]),
        "words": make_rows(GENRES, 50).assign(**{MODEL.features[5]: "loud"}),
        "empty": rows.iloc[:0],
        "_scratch": rows,
    }.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pandas(part, preserve_index=False), path, row_group_size=300)
    return folder


def in_one_pass(grid: Grid, folder: Path) -> Profile:
    """Profile each file as a whole, one after the other."""
    files = sorted(path for path in folder.rglob("*.parquet") if not path.name.startswith("_"))
    return sum((profile_rows(grid, pq.read_table(path, partitioning=None)) for path in files), Profile.empty(grid))


def test_threads_count_what_one_pass_over_all_rows_counts(grid, mixed, monkeypatch):
    monkeypatch.setattr(dataset, "UNIT_ROWS", 700)
    whole = in_one_pass(grid, mixed)
    assert whole.rows == 4550
    assert whole.duplicated > 400
    assert whole.mismatched[5]
    same_profile(profile_locally(grid, str(mixed), workers=3).profile, whole)
    same_profile(profile_locally(grid, mixed.as_uri(), workers=1).profile, whole)


@JAVA
@pytest.mark.timeout(180)  # two sessions of Spark
def test_spark_counts_the_same_to_the_last_row(grid, mixed, tmp_path, monkeypatch):
    """Over more tasks than are merged at once, so that the profiles are merged as a tree."""
    whole = profile_locally(grid, str(mixed)).profile
    monkeypatch.setattr("monitoring.offline.spark.FAN", 3)
    same_profile(profile_on_spark(grid, str(mixed), master="local[2]").profile, whole)
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"other": [1.0]}), foreign)
    with pytest.raises(DatasetError, match=r"foreign\.parquet: holds none of the config's features"):
        profile_on_spark(grid, str(foreign), master="local[2]")


@JAVA
@pytest.mark.timeout(180)
def test_spark_reads_folders_that_say_something_and_names_what_it_leaves_out(grid, tmp_path):
    """The same columns out of folders' names, and the same files and row groups left out, as on this machine."""
    folder = tmp_path / "rows"
    rows = make_rows(GENRES, 600)
    rows.to_parquet(folder, partition_cols=[MODEL.prediction])
    (folder / "notes.txt").write_text("x")
    content = bytearray(next(folder.rglob("*.parquet")).read_bytes())
    content[4:400] = bytes(396)
    (folder / f"{MODEL.prediction}=jazz" / "damaged.parquet").write_bytes(content)
    demands = demands_of(MODEL, skip_unreadable=True)
    here = profile_locally(grid, str(folder), demands=demands)
    there = profile_on_spark(grid, str(folder), master="local[2]", demands=demands)
    same_profile(there.profile, here.profile)
    assert here.profile.predictions == rows[MODEL.prediction].value_counts().to_dict()
    assert [Path(one.uri).name for one in here.left_out] == ["notes.txt", "damaged.parquet"]
    assert (there.files, there.left_out) == (here.files, here.left_out)


def test_without_java_the_error_names_it(grid, mixed, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SparkError, match="needs Java 17"):
        profile_on_spark(grid, str(mixed))


def test_rows_of_merged_parts_count_once(grid, tmp_path):
    """The log as it lies while a merge has made its part, and not yet removed those that the part covers."""
    rows = make_rows(GENRES, 400)
    log_rows(tmp_path, GENRES, rows)
    folder = Layout(tmp_path).current
    parts, _ = list_parts(folder)
    table = pq.read_table(parts[0].path).replace_schema_metadata(covering(parts))
    pq.write_table(table, folder / merged_name(parts))
    assert profile_locally(grid, str(folder)).profile.rows == 400


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(lambda folder: folder / "absent", "there is no such file or folder", id="absent"),
        pytest.param(lambda folder: folder, r"holds no file \*\.parquet", id="empty"),
        pytest.param(lambda _folder: "gopher://where", "cannot be listed", id="scheme"),
        pytest.param(lambda folder: _write(folder / "a.parquet", b"PAR1"), "is not a readable Parquet file", id="text"),
        pytest.param(
            lambda folder: pq.write_table(pa.table({"other": [1]}), folder / "b.parquet") or folder,
            "holds none of the config's features",
            id="foreign",
        ),
    ],
)
def test_what_cannot_be_profiled_is_named(grid, tmp_path, make, says):
    with pytest.raises(DatasetError, match=says):
        profile_locally(grid, str(make(tmp_path)))


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def data(tmp_path: Path, reference: pd.DataFrame) -> Path:
    keep_reference(tmp_path, GENRES, reference)
    log_rows(tmp_path, GENRES, make_rows(GENRES, 1000, seed=5))
    return tmp_path


def run(command: str, data: Path, *more: str) -> int:
    options = {
        "profile": ["--input", str(Layout(data).current), "--out", str(data / "out.profile")],
        "report": ["--profile", str(data / "out.profile")],
    }[command]
    return main([command, *options, "--reference", str(Layout(data).reference), *more])


def test_a_profile_gives_the_report_that_the_monitor_gives(data, capsys):
    assert run("profile", data) == 0
    assert "the profile of 1,000 rows" in capsys.readouterr().out
    code = run("report", data, "--html", str(data / "report.html"))
    said = capsys.readouterr().out
    assert code == ("FAIL " in said)
    assert f"TestColumnDrift:{MODEL.features[0]}" in said
    assert "1,000 rows against 300" in said
    assert "<html" in (data / "report.html").read_text()


def test_a_failing_test_is_said_by_the_exit_code(data, capsys):
    log_rows(data, GENRES, make_rows(GENRES, 1000, seed=6, shift=3))
    run("profile", data)
    assert run("report", data) == 1
    assert "FAIL    TestColumnDrift" in capsys.readouterr().out


def test_a_test_that_the_profile_cannot_answer_is_refused_by_name(data, capsys):
    assert run("profile", data, "--no-duplicates") == 0
    assert run("report", data) == 2
    assert "TestNumberOfDuplicatedRows cannot be computed" in capsys.readouterr().err


def test_a_drift_test_that_profiles_do_not_give_is_named_with_its_key(data, capsys, tmp_path):
    """Before anything is read: `engine: dataframe` is what the monitor obeys, and `report` has no rows."""
    text = (ROOT / "monitoring/config.yml").read_text().replace("engine: profile", "engine: dataframe")
    path = tmp_path / "config.yml"
    path.write_text(text.replace("test: ks", "test: mannw"))
    assert run("report", data, "--config", str(path)) == 2
    told = capsys.readouterr().err
    assert "drift.default.test is 'mannw'" in told
    assert "take one of ks, t_test, chi_square_two_sample, chisquare" in told


def test_a_profile_of_another_reference_is_refused(data, capsys):
    run("profile", data)
    keep_reference(data, GENRES, make_rows(GENRES, 300, seed=9))
    assert run("report", data) == 2
    assert "was made against another reference" in capsys.readouterr().err


def test_too_few_rows_get_no_verdict(data, capsys, reference):
    pq.write_table(pa.Table.from_pandas(make_rows(GENRES, 5)), data / "few.parquet")
    run("profile", data, "--input", str(data / "few.parquet"))
    assert run("report", data) == 2
    assert "5 rows; minimum_rows is 200" in capsys.readouterr().err


def test_an_input_that_fails_leaves_no_profile(data, capsys):
    assert run("profile", data, "--input", str(data / "absent")) == 2
    assert "there is no such file or folder" in capsys.readouterr().err
    assert not (data / "out.profile").exists()
    assert run("profile", data, "--reference", str(data / "absent.parquet")) == 2
    assert "absent.parquet: there is no such file" in capsys.readouterr().err


def test_a_profile_that_was_cut_off_is_refused(data, capsys, grid):
    content = to_bytes(Profile.empty(grid))
    assert from_bytes(grid, content).rows == 0
    (data / "out.profile").write_bytes(content[:100])
    assert run("report", data) == 2
    assert "not a profile" in capsys.readouterr().err
