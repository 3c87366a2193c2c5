"""Grafana's transformations, those that the dashboards use."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from scripts.dashboards.queries.json_paths import DashboardError, Json
from scripts.dashboards.queries.variables import natural
from scripts.preview.frames import Field, Frame


def transform(frames: Sequence[Frame], steps: Sequence[Json]) -> list[Frame]:
    """Return the frames after all transformations; raise DashboardError for one that the preview does not know."""
    result = list(frames)
    for step in steps:
        if step["id"] not in _TRANSFORMATIONS:
            raise DashboardError(f"the preview does not know the transformation {step['id']}")
        result = _TRANSFORMATIONS[step["id"]](result, step["options"]) if result else result
    return result


def _rows(frame: Frame, by: str) -> dict[Any, dict[str, Any]]:
    """Return a frame's rows by the value of a column."""
    names = [one.shown for one in frame.fields]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(one.values for one in frame.fields), strict=True)]
    return {row[by]: row for row in rows}


def _join(frames: list[Frame], options: Json) -> list[Frame]:
    """Keep every row of frames that have a column; other columns of one name are numbered, as Grafana shows them."""
    by = options["byField"]
    joined = [frame for frame in frames if any(one.shown == by for one in frame.fields)]
    if not joined:
        return frames
    indexed = [_rows(frame, by) for frame in joined]
    keys = sorted({key for rows in indexed for key in rows}, key=natural)
    names = Counter(one.shown for frame in joined for one in frame.fields if one.shown != by)
    seen: Counter[str] = Counter()
    fields = [Field(by, "text", keys)]
    for frame, rows in zip(joined, indexed, strict=True):
        for one in (one for one in frame.fields if one.shown != by):
            seen[one.shown] += 1
            name = f"{one.shown} {seen[one.shown]}" if names[one.shown] > 1 else one.shown
            values = [rows.get(key, {}).get(one.shown) for key in keys]
            fields.append(replace(one, name=name, legend="", values=values))
    return [Frame(fields)]


def _organize(frames: list[Frame], options: Json) -> list[Frame]:
    """Leave columns out, and rename others."""
    return [replace(frame, fields=_renamed(frame, options)) for frame in frames]


def _renamed(frame: Frame, options: Json) -> list[Field]:
    excluded, names = options["excludeByName"], options["renameByName"]
    kept = [one for one in frame.fields if not excluded.get(one.shown)]
    return [replace(one, legend=names.get(one.shown) or one.legend) for one in kept]


_TRANSFORMATIONS: dict[str, Callable[[list[Frame], Json], list[Frame]]] = {"joinByField": _join, "organize": _organize}
