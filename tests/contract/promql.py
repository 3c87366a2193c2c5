"""PromQL as the contract tests look at it: which metrics an expression names, and whether Prometheus takes it."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml

from scripts.prometheus_tools import Tools
from tests.processes import ROOT

_NOT_METRICS = (
    r'"[^"]*"|`[^`]*`',  # strings
    r"\{[^}]*\}",  # matchers
    r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)",  # label lists
    r"\[[^\]]*\]",  # ranges
    r"\boffset\s+\w+",
    r"\b[a-z_0-9]+\s*(?=\()",  # functions and aggregations
    r"\b(?:and|or|unless|bool|Inf|NaN)\b",
    r"\b\d[\w.]*",
)


def metrics_in(expression: str) -> set[str]:
    for pattern in _NOT_METRICS:
        expression = re.sub(pattern, " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", expression))


def run(*command: object) -> str:
    finished = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def check_expressions(tools: Tools, folder: Path, expressions: Iterable[str]) -> None:
    """Let promtool read each expression as a rule of its own."""
    rules = [{"record": "a:b:c", "expr": expr, "labels": {"n": str(n)}} for n, expr in enumerate(expressions)]
    path = folder / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": rules}]}))
    run(tools.promtool, "check", "rules", path)
