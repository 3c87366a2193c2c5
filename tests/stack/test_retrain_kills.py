"""A retraining that is killed at each of its steps: one promotion in the end, and nothing half-promoted is left."""

import json
import subprocess
import sys
from typing import Any

import pytest

from monitoring.contract.config_file import load_config
from monitoring.contract.layout import Layout
from tests.processes import ROOT
from tests.stack.flows_servers import Servers, write_user_reference
from tests.unit.models import write_config

pytestmark = pytest.mark.timeout(600)

BEFORE = (  # the alias has not moved: the champion stays, and the next run promotes
    "rows collected", "candidate evaluated", "model logged", "version registered", "reference staged",
    "previous alias moved",
)  # fmt: skip
AFTER = ("champion moved", "reference kept", "reference replaced")  # a restart completes it, and nothing is left to do


@pytest.fixture(scope="module")
def told(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What doomed_runs says of each step."""
    folder = tmp_path_factory.mktemp("doomed")
    path = write_config(folder, "doomed")
    write_user_reference(Layout(folder / "data"), load_config(path))
    environment = servers.environment(DATA_DIR=str(folder / "data"), DRIFTLOOP_CONFIG=str(path))
    command = [sys.executable, "-m", "tests.stack.doomed_runs", *BEFORE, *AFTER]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=350, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]  # MLflow prints too
    return {line["step"]: line for line in lines}


@pytest.mark.parametrize("step", BEFORE)
def test_before_the_alias_moves_nothing_has_happened(told: dict[str, dict[str, Any]], step: str) -> None:
    """Champion and reference are as before, also after the restart; the next run promotes, once."""
    line = told[step]
    before, killed, end = line["before"], line["after the kill"], line["at the end"]
    assert line["restart"] == "Ready"
    for standing in (killed, line["after the restart"]):
        assert (standing["champion"], standing["reference"]) == (before["champion"], before["reference"])
    assert (line["after the restart"]["staged"], line["after the restart"]["history"]) == ([], before["champion"])
    assert line["next run"] == "Promoted"
    assert end["champion"] == end["reference"] == end["history"] == str(end["versions"])
    assert end["previous"] == before["champion"]
    assert end["versions"] == killed["versions"] + 1


@pytest.mark.parametrize("step", AFTER)
def test_after_the_alias_has_moved_the_restart_completes_it(told: dict[str, dict[str, Any]], step: str) -> None:
    """The new champion gets its reference first of all, and the history tells; the next run finds nothing to do."""
    line = told[step]
    before, restarted, end = line["before"], line["after the restart"], line["at the end"]
    assert line["after the kill"]["champion"] == restarted["champion"] != before["champion"]
    assert restarted["reference"] == restarted["history"] == restarted["champion"]
    assert (line["restart"], line["next run"]) == ("Ready", "TooFewLabels")
    assert end == {**restarted, "previous": before["champion"], "versions": before["versions"] + 1, "staged": []}
