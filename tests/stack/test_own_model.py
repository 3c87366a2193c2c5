"""docs/own-model.md, done: another data set through the whole loop by its config alone."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.dashboards.feature_monitoring import CATEGORIES, GROUPS
from scripts.dashboards.model_performance import REGRESSION, TRIAL
from tests.processes import ROOT, free_ports
from tests.stack.demo_run import HOPS, SERVICES, run_demo

PAGE = (ROOT / "docs/own-model.md").read_text()
CONFIG = "docs/examples/breast_cancer.yml"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the page's Python."""
    folder = tmp_path_factory.mktemp("reference")
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "load_breast_cancer" in block)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return folder / "tumours.parquet"


@pytest.mark.parametrize("options", [pytest.param([], id="config"), pytest.param(["--reference"], id="reference")])
def test_the_config_is_checked_as_the_page_says(reference: Path, tmp_path: Path, options: list[str]) -> None:
    """The command and what it prints, before there is a reference and with it."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")  # not in the project, whose data folder may hold a reference
    (tmp_path / reference.name).symlink_to(reference)
    arguments = ["check-config", *(part for option in options for part in (option, reference.name))]
    command = [sys.executable, "-m", "monitoring", *arguments]
    environment = {"DRIFTLOOP_CONFIG": CONFIG, "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"DRIFTLOOP_CONFIG={CONFIG} .venv/bin/python -m monitoring {' '.join(arguments)}\n" in PAGE
    assert f"```\n{done.stdout}```" in PAGE


@pytest.mark.timeout(1200)
def test_another_model_closes_the_loop_by_its_config_alone(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every hop is seen, and every panel of the dashboards that is not about audio has data."""
    monkeypatch.setenv("DRIFTLOOP_CONFIG", CONFIG)
    answers = tmp_path.with_name("answers.json")
    then = f"{sys.executable} -m tests.stack.ask_panels {answers}"
    finished = run_demo(tmp_path, free_ports(len(SERVICES)), "--reference", str(reference), "--then", then)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for hop in HOPS:
        assert re.search(rf" s  {hop} ", finished.stdout), hop
    assert "refused or failed 0" in finished.stdout
    found = json.loads(answers.read_text())
    other = {CATEGORIES, GROUPS, REGRESSION, TRIAL}
    empty = [one for one in found if not one["values"] and one["section"] not in other]
    assert {one["panel"] for one in empty} <= {"variable model"}  # where a stack has one model, nothing bears its name
    (features,) = (one["values"] for one in found if one["panel"] == "variable feature")
    assert len(features) == 30
