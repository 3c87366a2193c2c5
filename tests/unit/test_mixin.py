"""`make mixin`: the bundle of rules and dashboards for what a team has already."""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from scripts.dashboards.export import FOLDER
from scripts.mixin import rule_files, write
from scripts.prometheus_tools import find_tools
from tests.processes import ROOT


def test_the_bundle_holds_what_is_committed_in_each_of_its_forms(tmp_path: Path) -> None:
    """Plain files that promtool takes, PrometheusRules with the same groups, ConfigMaps with the same dashboards."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/of_before.yml").touch()
    command = [sys.executable, "-m", "scripts.mixin", str(tmp_path)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [str(path) for path in write(tmp_path)]
    rules = sorted((tmp_path / "rules").iterdir())
    assert [path.read_text() for path in rules] == [path.read_text() for path in rule_files()]
    subprocess.run([find_tools().promtool, "check", "rules", *rules], check=True, capture_output=True)
    resources = list(yaml.safe_load_all((tmp_path / "prometheus-rules.yaml").read_text()))
    assert [one["spec"] for one in resources] == [yaml.safe_load(path.read_text()) for path in rule_files()]
    committed = {path.name: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    assert {path.name: json.loads(path.read_text()) for path in (tmp_path / "dashboards").iterdir()} == committed
    maps = list(yaml.safe_load_all((tmp_path / "dashboards.yaml").read_text()))
    assert {name: json.loads(text) for one in maps for name, text in one["data"].items()} == committed
    names = [one["metadata"]["name"] for one in (*resources, *maps)]
    assert len({*names}) == len(names) == 6
    assert all(name.replace("-", "").isalnum() and name == name.lower() for name in names)
