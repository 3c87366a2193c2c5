"""A panel's targets, asked of Prometheus, as frames."""

import math
from collections.abc import Sequence
from typing import Any

from scripts.dashboards.queries.json_paths import Json, dig
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.sections import Panel
from scripts.dashboards.queries.time_range import SCRAPE_SECONDS, seconds_of
from scripts.preview.frames import Field, Frame, legends

_PIXELS_A_COLUMN = 65  # of a page 1600 pixels wide


def ask(panel: Panel, prometheus: Prometheus) -> list[Frame]:
    """Return the frames of all targets; raise QueryError for the first that Prometheus refuses."""
    targets = [one for one in panel.json.get("targets") or [] if one.get("expr") and not one.get("hide")]
    tables = sum(one.get("format") == "table" for one in targets)
    return [frame for target in targets for frame in _ask_target(target, panel, prometheus, alone=tables < 2)]  # noqa: PLR2004 - two tables tell their values apart by refId


def step_of(panel: Panel, target: Json) -> float:
    """Return the step that Grafana would ask for, in seconds."""
    least = target.get("interval") or panel.json.get("interval")
    minimum = seconds_of(panel.scope.fill(least).lstrip(">")) if least else SCRAPE_SECONDS
    points = panel.json.get("maxDataPoints") or panel.place.width * _PIXELS_A_COLUMN
    return panel.scope.time.step(int(points), minimum)


def _ask_target(target: Json, panel: Panel, prometheus: Prometheus, *, alone: bool) -> list[Frame]:
    step = step_of(panel, target)
    query = panel.scope.fill(target["expr"], step)
    ref_id = str(target.get("refId", "A"))
    time = panel.scope.time
    if target.get("instant") and not target.get("range"):
        series = prometheus.instant(query, time.end)
    else:
        series = [_on_grid(one, step) for one in prometheus.range(query, time, step)]
    series = [{**one, "values": [(float(t), _number(v)) for t, v in one["values"]]} for one in series]
    if target.get("format") == "table":
        return [_table(series, ref_id, alone=alone)] if series else []
    if target.get("format") == "heatmap":
        series = _buckets(series)
    names = legends([one["metric"] for one in series], panel.scope.fill(target.get("legendFormat") or "", step), query)
    return [_series(one, name, ref_id) for one, name in zip(series, names, strict=True)]


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    return None if number is None or math.isnan(number) else number


def _on_grid(series: Json, step: float) -> Json:
    """Put null where a series has no point for more than a step, so that a gap is seen."""
    values: list[tuple[float, Any]] = []
    for moment, value in series["values"]:
        if values and moment - values[-1][0] > 1.5 * step:
            values.append((values[-1][0] + step, None))
        values.append((moment, value))
    return {"metric": series["metric"], "values": values}


def _series(series: Json, name: str, ref_id: str) -> Frame:
    times, values = zip(*series["values"], strict=True) if series["values"] else ((), ())
    value = Field("Value", "number", values, series["metric"], name)
    return Frame([Field("Time", "time", times), value], ref_id)


def _table(series: Sequence[Json], ref_id: str, *, alone: bool) -> Frame:
    """Return one frame of all series: time, a column per label, the value."""
    labels = sorted({key for one in series for key in one["metric"]})
    rows = [(moment, one["metric"], value) for one in series for moment, value in one["values"]]
    return Frame(
        [
            Field("Time", "time", [moment for moment, _, _ in rows]),
            *(Field(label, "text", [metric.get(label, "") for _, metric, _ in rows]) for label in labels),
            Field("Value" if alone else f"Value #{ref_id}", "number", [value for _, _, value in rows]),
        ],
        ref_id,
    )


def _buckets(series: Sequence[Json]) -> list[Json]:
    """Turn cumulative buckets into the count of each, where the series are a histogram's."""
    if not all("le" in one["metric"] for one in series):
        return list(series)
    rising = sorted(series, key=lambda one: float(dig(one, "metric.le")))
    below: dict[float, float] = {}
    counts = []
    for one in rising:
        values = [(t, None if v is None else max(0.0, v - below.get(t, 0.0))) for t, v in one["values"]]
        below |= {t: v for t, v in one["values"] if v is not None}
        counts.append({"metric": one["metric"], "values": values})
    return counts
