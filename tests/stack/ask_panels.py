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
from scripts.dashboards.queries.targets import annotations_of, ask_annotation, ask_target
from scripts.dashboards.queries.time_range import read_range
from scripts.dashboards.queries.variables import resolve

SINCE = "now-15m"  # the whole demo, also on a busy machine: its alarm may be over long before the end


def answers_of(path: Path, prometheus: Prometheus) -> Iterator[tuple[str, str, str, list[Any]]]:
    """Yield section, what asks, its expression and the newest value of each series, none if there is no data."""
    board = load_dashboard(path)
    scope = resolve(board, read_range(SINCE), prometheus)
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            values = scope.variables[variable["name"]].values
            yield "", f"variable {variable['name']}", variable["query"]["query"], list(values)
    for annotation in annotations_of(board):
        found = ask_annotation(annotation, scope, prometheus)
        yield "", f"annotation {annotation['name']}", annotation["expr"], newest(found.series)
    for section, panel in ((one, panel) for one in sections_of(board, scope) for panel in one.panels):
        for target in panel.json["targets"]:
            found = ask_target(panel, target, prometheus)
            yield section.title, panel.title, found.query, newest(found.series)


def newest(series: list[dict[str, Any]]) -> list[str]:
    return [one["values"][-1][1] for one in series]


def main() -> None:
    prometheus = Prometheus(os.environ["PROMETHEUS_URL"])
    answers = [
        {"dashboard": path.stem, "section": section, "panel": panel, "expr": expr, "values": values}
        for path in sorted(FOLDER.glob("*.json"))
        for section, panel, expr, values in answers_of(path, prometheus)
    ]
    Path(sys.argv[1]).write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
