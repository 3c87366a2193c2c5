"""Ask Prometheus what every panel, variable and annotation of the dashboards asks; write the answers to a file."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parents[2]
WINDOW, STEP = 180, 5  # seconds: the demo is faster than life
_LABEL_VALUES = re.compile(r"label_values\((?P<of>\w+), (?P<label>\w+)\)")


def questions() -> Iterator[tuple[str, str, str, bool]]:
    """Yield dashboard, panel, expression, and whether it is a look at now."""
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield path.stem, panel["title"], target["expr"], bool(target.get("instant"))
        for mark in board["annotations"]["list"]:
            yield path.stem, f"annotation {mark['name']}", mark["expr"], False
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield path.stem, f"variable {variable['name']}", variable["query"]["query"], True


def ask(prometheus: str, expr: str, *, instant: bool) -> list[Any]:
    """Return the values of an expression, variables expanded: `[value, ...]`, none if it has no data."""

    def get(path: str, **parameters: str) -> Any:
        answer = requests.get(f"{prometheus}/api/v1/{path}", params=parameters, timeout=20)
        assert answer.ok, f"{expr}: {answer.text}"
        return answer.json()["data"]

    if values := _LABEL_VALUES.fullmatch(expr):
        return list(get(f"label/{values['label']}/values", **{"match[]": values["of"]}))
    expr = expr.replace("$__rate_interval", "15s").replace("$feature", ".*")
    if instant:
        return [series["value"][1] for series in get("query", query=expr)["result"]]
    now = time.time()
    found = get("query_range", query=expr, start=str(now - WINDOW), end=str(now), step=str(STEP))["result"]
    return [series["values"][-1][1] for series in found]


def main() -> None:
    prometheus = os.environ["PROMETHEUS_URL"]
    answers = [
        {"dashboard": board, "panel": panel, "expr": expr, "values": ask(prometheus, expr, instant=instant)}
        for board, panel, expr, instant in questions()
    ]
    Path(sys.argv[1]).write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
