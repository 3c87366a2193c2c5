"""The dashboards, held against Grafana's own npm packages where node is: its types, and what its registries know."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.dashboards.export import FOLDER
from tests.contract.npm import install
from tests.processes import ROOT

PACKAGES = ROOT / "tests/contract/grafana"


@pytest.fixture(scope="module", name="installed")
def install_grafana() -> Path:
    return install(PACKAGES)


def check(installed: Path, *boards: Path) -> dict[str, Any]:
    command = ["node", str(PACKAGES / "check.cjs"), str(installed), *map(str, boards)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(400)  # the packages come once
def test_grafana_knows_what_the_dashboards_ask_of_it(installed: Path, tmp_path: Path) -> None:
    """Options and field configs have its types; units, reducers, transformations and color modes are its own."""
    paths = sorted(FOLDER.glob("*.json"))
    panels = [panel for path in paths for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]
    broken = next(panel for panel in panels if panel["type"] == "table")
    broken["fieldConfig"]["defaults"] |= {"unit": "furlongs", "color": {"mode": "plaid"}}
    broken["options"] |= {"footer": {"show": False}}
    broken["transformations"] = [{"id": "joinByGuess", "options": {}}]
    other = {**broken, "type": "abacus", "options": {"reduceOptions": {"calcs": ["luckiest"]}}, "transformations": []}
    (tmp_path / "broken.json").write_text(json.dumps({"uid": "broken", "panels": [broken, other]}))
    found = check(installed, *paths, tmp_path / "broken.json")
    assert [problem for problem in found["problems"] if not problem.startswith("broken: ")] == []
    assert found["counts"]["panels"] == len(panels) + 2
    assert all(count > 0 for count in found["counts"].values())
    for wrong in ("furlongs", "plaid", "footer", "joinByGuess", "abacus", "luckiest"):
        assert any(wrong in problem for problem in found["problems"]), wrong
