"""What a pipeline goes by: the exit statuses of the commands."""

import subprocess
import sys
from pathlib import Path

import pytest

from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import CANNOT, run_command
from tests.processes import ROOT
from tests.unit.taxi import Desk, trips

DEAR = trips(1000, seed=5).assign(fare_amount=lambda rows: rows["fare_amount"] * 5)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("rows", "statuses", "word"),
    [
        pytest.param(trips(1000, seed=5), [0, 0], "passing", id="passing"),
        pytest.param(DEAR, [1, 1], "failing", id="failing"),
        pytest.param(trips(1000, seed=5).drop(columns="tip"), [0, 3], "passing, 1 test skipped", id="skipped"),
        pytest.param(DEAR.drop(columns="tip"), [1, 1], "failing, 1 test skipped", id="failing and skipped"),
    ],
)
def test_the_report_says_by_its_status_how_the_tests_ended(desk, capsys, rows, statuses, word):
    rows.to_parquet(desk.folder / "rows.parquet")
    assert desk.profile(desk.folder / "rows.parquet") == 0
    assert [desk.report(), desk.report("--require-all")] == statuses
    said = capsys.readouterr().out
    assert f"1,000 rows against 2,000: {word}\n" in said
    assert "tip" in rows or "SKIPPED TestAccuracyScore: not run: the rows have no column tip\n" in said


def test_what_cannot_be_written_is_no_failing_test(desk, capsys):
    trips(500).to_parquet(desk.folder / "rows.parquet")
    (desk.folder / "_p").mkdir()
    assert desk.profile(desk.folder / "rows.parquet") == 2
    assert "_p: cannot be written" in capsys.readouterr().err


def test_a_damaged_profile_is_refused_wherever_it_is_damaged(desk, capsys):
    trips(500).to_parquet(desk.folder / "rows.parquet")
    assert desk.profile(desk.folder / "rows.parquet") == 0
    content = (desk.folder / "_p").read_bytes()
    for place in range(0, len(content), len(content) // 20):
        (desk.folder / "_p").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert desk.report() == 2
        assert "not a profile" in capsys.readouterr().err


def test_a_mistake_of_ours_is_told_in_full_and_is_no_failing_test(capsys):
    def broken() -> int:
        raise ZeroDivisionError("by nothing")

    def refused() -> int:
        raise DriftloopError("x.parquet: is empty")

    assert run_command(broken) == CANNOT
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "internal error: ZeroDivisionError: by nothing" in said
    assert run_command(refused) == CANNOT
    assert capsys.readouterr().err == "x.parquet: is empty\n"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["monitoring", "profile", "--input", ".", "--out", "p", "--reference", "absent"], id="profile"),
        pytest.param(["monitoring", "report", "--profile", "absent", "--reference", "absent"], id="report"),
        pytest.param(["monitoring", "backtest", "--log", "absent", "--reference", "absent"], id="backtest"),
        pytest.param(["monitoring", "check-config"], id="check-config"),
        pytest.param(["flows", "rollback"], id="rollback"),
        pytest.param(["flows", "check-model", "absent"], id="check-model"),
        pytest.param(["data.sample", "--output", "s.parquet"], id="sample"),
        pytest.param(["data.statistics", "--input", "absent", "--output", "o.json"], id="statistics"),
        pytest.param(["data.drift_vectors"], id="drift_vectors"),
        pytest.param(["data.simulate", "--drift", "absent"], id="simulate"),
        pytest.param(["flows", "nonsense"], id="usage"),
    ],
)
def test_processes_end_with_2_and_without_a_traceback(tmp_path, command):
    """As real processes: what cannot be done is said in words."""
    nobody = "http://127.0.0.1:9/api"
    environment = {"DRIFTLOOP_CONFIG": "absent.yml", "PREFECT_API_URL": nobody, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()
