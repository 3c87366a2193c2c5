"""Rules and dashboards for a Prometheus and a Grafana that a team has already: `make mixin`.

The bundle is made of the committed rules and dashboards, as plain files and as resources for Kubernetes.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from scripts.dashboards.export import documents

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "monitoring/alert_rules"
# What the kube-prometheus-stack chart looks for by default: its own release's rules, and any ConfigMap of that label.
RULE_LABELS = {"release": "kube-prometheus-stack"}
DASHBOARD_LABELS = {"grafana_dashboard": "1"}


def rule_files() -> list[Path]:
    """Return the committed rule files; the promtool tests beside them end in _test.yml."""
    return sorted(RULES.glob("*_alerts.yml"))


def prometheus_rules() -> list[dict[str, Any]]:
    """Return a PrometheusRule for each rule file, as the Prometheus operator takes it (monitoring.coreos.com/v1)."""
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": f"driftloop-{path.stem.replace('_', '-')}", "labels": RULE_LABELS},
            "spec": yaml.safe_load(path.read_text(encoding="utf-8")),
        }
        for path in rule_files()
    ]


def config_maps() -> list[dict[str, Any]]:
    """Return a ConfigMap for each dashboard, as Grafana's sidecar takes it."""
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"driftloop-dashboard-{Path(name).stem}", "labels": DASHBOARD_LABELS},
            "data": {name: json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))},
        }
        for name, text in documents().items()
    ]


def write(folder: Path) -> list[Path]:
    """Write the bundle into a folder, and return its files."""
    for name in ("rules", "dashboards"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    for path in rule_files():
        shutil.copy(path, folder / "rules")
    for name, text in documents().items():
        (folder / "dashboards" / name).write_text(text, encoding="utf-8")
    for name, resources in (("prometheus-rules.yaml", prometheus_rules()), ("dashboards.yaml", config_maps())):
        with (folder / name).open("w", encoding="utf-8") as file:
            yaml.safe_dump_all(resources, file, sort_keys=False, allow_unicode=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Write the bundle and name its files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mixin", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / ".local/mixin")
    for path in write(parser.parse_args().folder):
        print(path)


if __name__ == "__main__":
    main()
