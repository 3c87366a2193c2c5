"""Hold rules and configurations against the real promtool and amtool: `python -m scripts.check_configs`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.prometheus_tools import find_tools
from scripts.stack import ROOT


def main() -> None:
    """Run every check; exit 1 if one fails."""
    tools = find_tools()
    rules = ROOT / "monitoring/alert_rules"
    with tempfile.TemporaryDirectory() as folder:
        # Laid out as in the Prometheus container: the configuration, and the rules in a folder beside it.
        config = Path(shutil.copy(ROOT / "prometheus/prometheus.yml", folder))
        shutil.copytree(rules, config.parent / "rules")
        checks: list[list[str | Path]] = [
            [tools.promtool, "check", "config", config],
            [tools.promtool, "test", "rules", *sorted(rules.glob("*_test.yml"))],
            [tools.amtool, "check-config", ROOT / "alertmanager/alertmanager.yml"],
        ]
        failed = [check for check in checks if subprocess.run(check, check=False).returncode]
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
