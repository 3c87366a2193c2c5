"""Grafana's transformations, those that dashboards of metrics use."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from scripts.dashboards.queries.json_paths import DashboardError, Json, dig
from scripts.dashboards.queries.variables import natural
from scripts.preview.frames import Field, Frame
from scripts.preview.reducers import LABELS, reduce_to


def transform(frames: Sequence[Frame], steps: Sequence[Json]) -> list[Frame]:
    """Return the frames after all transformations; raise DashboardError for one that the preview does not know."""
    result = list(frames)
    for step in steps:
        if step.get("disabled") or not result:
            continue
        if step["id"] not in _TRANSFORMATIONS:
            raise DashboardError(f"the preview does not know the transformation {step['id']}")
        result = _TRANSFORMATIONS[step["id"]](result, step.get("options") or {})
    return result


def _each(change: Callable[[Frame, Json], Frame]) -> Callable[[list[Frame], Json], list[Frame]]:
    return lambda frames, options: [change(frame, options) for frame in frames]


def _column(name: str, values: Sequence[Any], like: Field | None = None) -> Field:
    kind: Literal["number", "text"] = (
        "number" if all(v is None or isinstance(v, int | float) for v in values) else "text"
    )
    return Field(name, like.kind if like else kind, values)


def _rows(frame: Frame) -> list[dict[str, Any]]:
    names = [one.shown for one in frame.fields]
    return [dict(zip(names, row, strict=True)) for row in zip(*(one.values for one in frame.fields), strict=True)]


def _from_rows(rows: Sequence[dict[str, Any]], like: Sequence[Field]) -> Frame:
    """Return a frame of rows, with the columns of those fields."""
    columns = {one.shown: one for one in reversed(like)}
    names = dict.fromkeys(one.shown for one in like)
    return Frame([_column(name, [row.get(name) for row in rows], columns[name]) for name in names])


def _merge(frames: list[Frame], _: Json) -> list[Frame]:
    """Put the rows that agree in all shared columns together."""
    shared = set.intersection(*({one.shown for one in frame.fields} for frame in frames))
    if not shared:
        return frames
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in (row for frame in frames for row in _rows(frame)):
        same = rows.setdefault(tuple(row[name] for name in sorted(shared)), [])
        partner = next((one for one in same if all(one.get(k, v) == v for k, v in row.items())), None)
        if partner is None:
            same.append(row)
        else:
            partner.update(row)
    fields = [one for frame in frames for one in frame.fields]
    return [_from_rows([row for same in rows.values() for row in same], fields)]


def _join(frames: list[Frame], options: Json) -> list[Frame]:
    """Join on a column; columns of one name are numbered, as Grafana shows them."""
    by = options.get("byField") or "Time"
    joined = [frame for frame in frames if any(one.shown == by for one in frame.fields)]
    if not joined:
        return frames
    indexed = [{row[by]: row for row in _rows(frame)} for frame in joined]
    keys = list(dict.fromkeys(key for rows in indexed for key in rows))
    if options.get("mode") == "inner":
        keys = [key for key in keys if all(key in rows for rows in indexed)]
    keys.sort(key=lambda key: natural(key) if isinstance(key, str) else key)
    names = Counter(one.shown for frame in joined for one in frame.fields if one.shown != by)
    seen: Counter[str] = Counter()
    fields = [Field(by, next(one.kind for one in joined[0].fields if one.shown == by), keys)]
    for frame, rows in zip(joined, indexed, strict=True):
        for one in (one for one in frame.fields if one.shown != by):
            seen[one.shown] += 1
            name = f"{one.shown} {seen[one.shown]}" if names[one.shown] > 1 else one.shown
            values = [rows.get(key, {}).get(one.shown) for key in keys]
            fields.append(replace(one, name=name, legend="", values=values))
    return [Frame(fields)]


def _organize(frame: Frame, options: Json) -> Frame:
    excluded = {name for name, out in (options.get("excludeByName") or {}).items() if out}
    included = {name for name, kept in (options.get("includeByName") or {}).items() if kept}
    order, names = options.get("indexByName") or {}, options.get("renameByName") or {}
    kept = [one for one in frame.fields if one.shown not in excluded and (not included or one.shown in included)]
    kept.sort(key=lambda one: order.get(one.shown, len(order)))
    return replace(frame, fields=[replace(one, legend=names.get(one.shown) or one.legend) for one in kept])


def _labels_to_fields(frames: list[Frame], options: Json) -> list[Frame]:
    kept, value_label = options.get("keepLabels"), options.get("valueLabel")
    tables = []
    for frame in frames:
        fields = [one for one in frame.fields if not one.labels]
        for one in (one for one in frame.fields if one.labels):
            labels = {k: v for k, v in one.labels.items() if k != value_label and (not kept or k in kept)}
            fields += [Field(k, "text", [v] * len(one.values)) for k, v in labels.items() if k != "__name__"]
            name = one.labels.get(value_label or "", one.labels.get("__name__", one.name))
            fields.append(Field(name, one.kind, one.values))
        tables.append(replace(frame, fields=fields))
    return _merge(tables, {}) if len(tables) > 1 else tables


def _reduced(field: Field, calculation: str) -> Field:
    return replace(field, values=[reduce_to(calculation, field.values)])


def _reduce(frames: list[Frame], options: Json) -> list[Frame]:
    calculations = options.get("reducers") or ["max"]
    if options.get("mode") == "reduceFields":
        return [replace(frame, fields=[_reduced(one, calculations[0]) for one in frame.numbers]) for frame in frames]
    numbers = [one for frame in frames for one in frame.numbers]
    labels = sorted({key for one in numbers for key in one.labels}) if options.get("labelsToFields") else []
    return [
        Frame([
            Field("Field", "text", [one.shown for one in numbers]),
            *(Field(label, "text", [one.labels.get(label, "") for one in numbers]) for label in labels),
            *(Field(LABELS.get(c, c), "number", [reduce_to(c, one.values) for one in numbers]) for c in calculations),
        ])
    ]  # fmt: skip


def sort_rows(frame: Frame, by: str, *, descending: bool) -> Frame:
    """Return the frame with its rows sorted by a column, rows without a value last."""
    key = next((one for one in frame.fields if one.shown == by), None)
    if key is None:
        return frame
    present = [index for index, value in enumerate(key.values) if value is not None]
    absent = [index for index, value in enumerate(key.values) if value is None]
    present.sort(
        key=lambda index: natural(key.values[index]) if key.kind == "text" else key.values[index], reverse=descending
    )
    order = present + absent
    return replace(frame, fields=[replace(one, values=[one.values[index] for index in order]) for one in frame.fields])


def _sort(frame: Frame, options: Json) -> Frame:
    for by in reversed(options.get("sort") or []):
        frame = sort_rows(frame, by["field"], descending=bool(by.get("desc")))
    return frame


def _filter_fields(frame: Frame, options: Json) -> Frame:
    def named(side: str, name: str) -> bool:
        pattern = str(dig(options, f"{side}.pattern", "")).strip("/")
        return name in dig(options, f"{side}.names", []) or bool(pattern and re.search(pattern, name))

    kept = [one for one in frame.fields if not named("exclude", one.shown)]
    if dig(options, "include.names") or dig(options, "include.pattern"):
        kept = [one for one in kept if named("include", one.shown)]
    return replace(frame, fields=kept)


_TRANSFORMATIONS: dict[str, Callable[[list[Frame], Json], list[Frame]]] = {
    "merge": _merge,
    "joinByField": _join,
    "seriesToColumns": _join,
    "organize": _each(_organize),
    "labelsToFields": _labels_to_fields,
    "reduce": _reduce,
    "sortBy": _each(_sort),
    "filterFieldsByName": _each(_filter_fields),
}
