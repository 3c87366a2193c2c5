"""Hold rules, configurations and Dockerfiles against the real tools: `python -m scripts.check_configs`.

Compose is asked where it is installed; it needs no engine for this.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.prometheus_tools import find_tools
from scripts.stack import ROOT

Command = list[str | Path]


def main() -> None:
    """Run every check; exit 1 if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        checks = [*_rules_and_routes(Path(folder)), *_containers()]
        environment = dict(os.environ)
        failed = [check for check in checks if subprocess.run(check, cwd=ROOT, env=environment, check=False).returncode]
    sys.exit(bool(failed))


def _rules_and_routes(folder: Path) -> list[Command]:
    tools = find_tools()
    rules = ROOT / "monitoring/alert_rules"
    # Laid out as in the Prometheus container: the configuration, and the rules in a folder beside it.
    config = Path(shutil.copy(ROOT / "prometheus/prometheus.yml", folder))
    shutil.copytree(rules, config.parent / "rules")
    return [
        [tools.promtool, "check", "config", config],
        [tools.promtool, "test", "rules", *sorted(rules.glob("*_test.yml"))],
        [tools.amtool, "check-config", ROOT / "alertmanager/alertmanager.yml"],
    ]


def _containers() -> list[Command]:
    hadolint = Path(sys.executable).parent / "hadolint"
    checks: list[Command] = [[hadolint, *sorted(ROOT.glob("[a-z]*/**/Dockerfile"))]]
    compose = ["docker", "compose"]
    if (
        shutil.which("docker")
        and not subprocess.run([*compose, "version"], capture_output=True, check=False).returncode
    ):
        checks.append([*compose, "--profile", "demo", "config", "--quiet"])
    else:
        print("docker compose is not installed: docker-compose.yml is not checked by it")
    return checks


if __name__ == "__main__":
    main()
