"""The thresholds of the alert rules: panels draw what the rules say, and nothing else."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "monitoring/config.yml"
RULES = CONFIG.with_name("alert_rules")
_COLORS = {"critical": "red", "warning": "orange"}
_COMPARISON = re.compile(r"(<|>|=)=?\s*(\d+(?:\.\d+)?)\b")


@dataclass(frozen=True)
class Limit:
    """The first comparison of an alert's expression, and the color of its severity."""

    value: float
    below: bool
    color: str


def limit_of(alert: str) -> Limit:
    """Return the limit of the alert whose name matches; raise KeyError if there is none."""
    for rule in _rules():
        if re.fullmatch(alert, rule.get("alert", "")) and (found := _COMPARISON.search(rule["expr"])):
            return Limit(float(found[2]), found[1] == "<", _COLORS[rule["labels"]["severity"]])
    raise KeyError(alert)


@cache
def _rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*_alerts.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]
