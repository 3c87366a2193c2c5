"""Query results as Grafana holds them: frames of named columns."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scripts.dashboards.queries.json_paths import Json
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.sections import Panel
from scripts.dashboards.queries.targets import ask_target

_PLACEHOLDER = re.compile(r"\{\{\s*(.+?)\s*\}\}")
_AUTO = "__auto"


@dataclass(frozen=True)
class Field:
    """A column: epoch seconds if its kind is time, floats or None if it is number."""

    name: str
    kind: Literal["time", "number", "text"]
    values: Sequence[Any]
    labels: Mapping[str, str] = field(default_factory=dict)
    legend: str = ""  # what the query's legend format calls it

    @property
    def shown(self) -> str:
        """Return what the column is called where nothing else is said."""
        return self.legend or self.name


@dataclass(frozen=True)
class Frame:
    """A table of columns of one length; a time series has a column of time and one of numbers."""

    fields: Sequence[Field]

    @property
    def times(self) -> Sequence[float]:
        """Return the column of time, empty where there is none."""
        return next((one.values for one in self.fields if one.kind == "time"), ())


def frames_of(panel: Panel, prometheus: Prometheus) -> list[Frame]:
    """Return the frames of all targets; raise QueryError for the first that Prometheus refuses."""
    targets = panel.json.get("targets") or []
    return [frame for target in targets for frame in _frames(target, panel, prometheus, alone=len(targets) == 1)]


def _frames(target: Json, panel: Panel, prometheus: Prometheus, *, alone: bool) -> list[Frame]:
    answer = ask_target(panel, target, prometheus)
    series = [{**one, "values": _on_grid(one["values"], answer.step)} for one in answer.series]
    if target.get("format") == "table":
        return [_table(series, "Value" if alone else f"Value #{target['refId']}")] if series else []
    names = legends([one["metric"] for one in series], target.get("legendFormat") or _AUTO, answer.query)
    return [_series(one, name) for one, name in zip(series, names, strict=True)]


def _on_grid(pairs: Sequence[Any], step: float) -> list[tuple[float, float | None]]:
    """Return the pairs as numbers, with null after a point that none follows for more than a step: a gap is seen."""
    values: list[tuple[float, float | None]] = []
    for moment, value in pairs:
        if values and moment - values[-1][0] > 1.5 * step:
            values.append((values[-1][0] + step, None))
        number = float(value)
        values.append((float(moment), None if math.isnan(number) else number))
    return values


def _series(series: Json, name: str) -> Frame:
    times, values = zip(*series["values"], strict=True)
    return Frame([Field("Time", "time", times), Field("Value", "number", values, series["metric"], name)])


def _table(series: Sequence[Json], value_name: str) -> Frame:
    """Return one frame of all series: time, a column per label, the value."""
    labels = sorted({key for one in series for key in one["metric"]})
    rows = [(moment, one["metric"], value) for one in series for moment, value in one["values"]]
    return Frame(
        [
            Field("Time", "time", [moment for moment, _, _ in rows]),
            *(Field(label, "text", [metric.get(label, "") for _, metric, _ in rows]) for label in labels),
            Field(value_name, "number", [value for _, _, value in rows]),
        ]
    )


def legends(series: Sequence[Mapping[str, str]], template: str, query: str) -> list[str]:
    """Return a name for each series' labels: by the template, or automatically by the labels that differ."""
    if template != _AUTO:
        return [_PLACEHOLDER.sub(lambda match, of=labels: of.get(match[1], ""), template) for labels in series]  # type: ignore[misc]
    differing = sorted(
        {key for labels in series for key in labels} - {"__name__"} if len(series) == 1 else _differing(series)
    )
    if len(differing) == 1:
        return [labels.get(differing[0], "") or "Value" for labels in series]
    return [_selector(labels, differing) or labels.get("__name__", "") or query for labels in series]


def _differing(series: Sequence[Mapping[str, str]]) -> set[str]:
    keys = {key for labels in series for key in labels}
    return {key for key in keys if len({labels.get(key, "") for labels in series}) > 1}


def _selector(labels: Mapping[str, str], keys: Sequence[str]) -> str:
    shown = ", ".join(f'{key}="{labels[key]}"' for key in keys if key in labels and key != "__name__")
    return f"{{{shown}}}" if shown else ""
