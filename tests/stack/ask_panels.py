"""Ask Prometheus what every panel, variable and annotation of the dashboards asks; write the answers to a file."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.dashboards.export import FOLDER
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.sections import load_dashboard, sections_of
from scripts.dashboards.queries.targets import step_of
from scripts.dashboards.queries.time_range import SCRAPE_SECONDS, read_range
from scripts.dashboards.queries.variables import resolve

SINCE = "now-3m"  # the demo is faster than life


def answers_of(path: Path, prometheus: Prometheus) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield what asks, its expression and the newest value of each series, none if there is no data."""
    board, time = load_dashboard(path), read_range(SINCE)
    scope = resolve(board["templating"]["list"], time, prometheus)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield (
                f"variable {variable['name']}",
                variable["query"]["query"],
                list(scope.variables[variable["name"]].values),
            )
    for mark in board["annotations"]["list"]:
        found = prometheus.range(scope.fill(mark["expr"], SCRAPE_SECONDS), time, SCRAPE_SECONDS)
        yield f"annotation {mark['name']}", mark["expr"], newest(found)
    for panel in (panel for section in sections_of(board, scope) for panel in section.panels):
        for target in panel.json.get("targets", []):
            step = step_of(panel, target)
            query = panel.scope.fill(target["expr"], step)
            instant = target.get("instant")
            found = prometheus.instant(query, time.end) if instant else prometheus.range(query, time, step)
            yield panel.title, query, newest(found)


def newest(series: list[dict[str, Any]]) -> list[str]:
    return [one["values"][-1][1] for one in series]


def main() -> None:
    prometheus = Prometheus(os.environ["PROMETHEUS_URL"])
    answers = [
        {"dashboard": path.stem, "panel": panel, "expr": expr, "values": values}
        for path in sorted(FOLDER.glob("*.json"))
        for panel, expr, values in answers_of(path, prometheus)
    ]
    Path(sys.argv[1]).write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
