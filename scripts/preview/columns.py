"""Columns as a panel's field configuration wants them: name, text and colour of each value."""

import math
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from scripts.dashboards.queries.json_paths import Json, dig, finite
from scripts.dashboards.queries.sections import Panel
from scripts.preview.colours import NAMED, PALETTE, colour, continuous
from scripts.preview.frames import Field, Frame
from scripts.preview.units import write

_NAME = re.compile(r"\$\{__(?:field|series)\.(?:labels\.)?\"?([\w ]+)\"?\}")


@dataclass(frozen=True)
class Column:
    """A field with its configuration, the defaults and overrides together."""

    field: Field
    name: str
    config: Json
    index: int  # among the panel's columns of numbers: its colour in the palette
    now: float

    @property
    def values(self) -> Sequence[Any]:
        """Return the field's values."""
        return self.field.values

    def custom(self, path: str, default: Any = None) -> Any:
        """Return one of the panel type's own settings."""
        return dig(self.config, f"custom.{path}", default)

    def bound(self, name: str) -> float | None:
        """Return `min` or `max`, if they are set."""
        value = self.config.get(name)
        return None if value is None else float(value)

    def text(self, value: Any) -> str:
        """Return what is shown for a value: what it is mapped to, or the number in its unit."""
        mapped = mapping_of(self.config.get("mappings") or [], value)
        if mapped is not None and mapped.get("text"):
            return str(mapped["text"])
        if isinstance(value, str):
            return value
        if self.field.kind == "time" and value is not None:
            return write(value * 1e3, self.config.get("unit") or "dateTimeAsIso", now=self.now)
        if value is None:
            return str(self.config.get("noValue") or write(None))
        return write(value, self.config.get("unit") or "", self.config.get("decimals"), now=self.now)

    def colour(self, value: Any = None) -> str:
        """Return the colour of a value, or of the whole column where its mode is not by value."""
        mapped = mapping_of(self.config.get("mappings") or [], value) or {}
        if mapped.get("color"):
            return colour(mapped["color"])
        mode = dig(self.config, "color.mode", "")
        if mode in {"fixed", "shades"}:
            return colour(dig(self.config, "color.fixedColor", "text"))
        if mode.startswith("palette"):
            return PALETTE[self.index % len(PALETTE)]
        if mode.startswith("continuous"):
            return continuous(mode, self.share(value))
        return threshold_colour(self.steps, value)

    def series_colour(self) -> str:
        """Return the colour of a line or bar of this column: the palette's, unless another is configured."""
        by_value = dig(self.config, "color.mode", "palette-classic") not in {"fixed", "shades"}
        return PALETTE[self.index % len(PALETTE)] if by_value else self.colour()

    def share(self, value: float | None) -> float:
        """Return where a value lies between minimum and maximum, 0 to 1."""
        present = [number for one in self.values if (number := finite(one)) is not None]
        low, high = self.bound("min"), self.bound("max")
        low = min(present, default=0.0) if low is None else low
        high = max(present, default=1.0) if high is None else high
        return (
            0.0
            if finite(value) is None or value is None or high <= low
            else min(max((value - low) / (high - low), 0.0), 1.0)
        )

    @property
    def steps(self) -> list[tuple[float | None, str]]:
        """Return the thresholds in the column's own numbers, the first without a bound."""
        low, high = self.bound("min") or 0.0, self.bound("max")
        scale = None if dig(self.config, "thresholds.mode") != "percentage" else ((100 if high is None else high) - low)
        steps = []
        for step in dig(self.config, "thresholds.steps", []):
            value = step.get("value")
            steps.append((value if scale is None or value is None else low + value * scale / 100, step["color"]))
        return steps


def columns_of(frames: Sequence[Frame], panel: Panel) -> list[list[Column]]:
    """Return each frame's columns, configured."""
    index = 0
    result = []
    for frame in frames:
        columns = []
        for field in frame.fields:
            columns.append(_configured(field, frame, panel, index))
            index += field.kind == "number"
        result.append(columns)
    return result


def numbers_of(frames: Sequence[Frame], panel: Panel) -> list[Column]:
    """Return the columns of numbers of all frames, without those that the panel hides."""
    found = [one for columns in columns_of(frames, panel) for one in columns if one.field.kind == "number"]
    return [one for one in found if not one.custom("hideFrom.viz")]


def _configured(field: Field, frame: Frame, panel: Panel, index: int) -> Column:
    defaults = dig(panel.json, "fieldConfig.defaults", {})
    if field.kind != "number":  # units, bounds and thresholds of the defaults are meant for the numbers
        defaults = {key: defaults[key] for key in ("custom", "mappings") if key in defaults}
    config = deepcopy(defaults)
    for override in dig(panel.json, "fieldConfig.overrides", []):
        if _matches(override["matcher"], field, frame):
            for given in override["properties"]:
                _put(config, given["id"], given.get("value"))
    name = config.get("displayName")
    now = panel.scope.time.end
    return Column(field, _named(panel.scope.fill(name), field) if name else field.shown, config, index, now)


def _named(template: str, field: Field) -> str:
    return _NAME.sub(lambda match: field.shown if match[1] == "name" else field.labels.get(match[1], ""), template)


def _matches(matcher: Json, field: Field, frame: Frame) -> bool:
    options = matcher.get("options")
    match matcher["id"]:
        case "byName":
            return bool(field.shown == options)
        case "byRegexp":
            return bool(re.search(re.sub(r"^/(.*)/\w*$", r"\1", str(options)), field.shown))
        case "byFrameRefID":
            return bool(frame.ref_id == options)
        case "byType":
            return bool(field.kind == ("text" if options == "string" else options))
        case "byNames":
            return bool(field.shown in dig(matcher, "options.names", []))
    return False


def _put(config: Json, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config.setdefault(key, {})
    config[last] = value


def mapping_of(mappings: Sequence[Json], value: Any) -> Json | None:
    """Return what the first mapping that fits says of a value: its `text` and `color`."""
    for mapping in mappings:
        options = mapping.get("options") or {}
        found: Json | None = None
        if mapping["type"] == "value":
            found = options.get(_key(value))
        elif mapping["type"] == "range" and isinstance(value, int | float):
            low, high = options.get("from"), options.get("to")
            found = options["result"] if (low is None or value >= low) and (high is None or value <= high) else None
        elif mapping["type"] == "regex" and isinstance(value, str):
            found = options["result"] if re.search(str(options["pattern"]).strip("/"), value) else None
        elif mapping["type"] == "special":
            found = options["result"] if _special(options.get("match"), value) else None
        if found is not None:
            return found
    return None


def _key(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _special(match: str | None, value: Any) -> bool:
    empty, nan = value is None, isinstance(value, float) and math.isnan(value)
    cases = {"null": empty, "nan": nan, "null+nan": empty or nan, "empty": bool(value == "")}
    return cases.get(match or "", False)


def threshold_colour(steps: Sequence[tuple[float | None, str]], value: float | None) -> str:
    """Return the colour of the highest threshold that a value reaches; the base's where there is no value."""
    chosen = "text"
    for bound, name in steps:
        if bound is None or (isinstance(value, int | float) and value >= bound):
            chosen = name
    return colour(chosen) if steps else NAMED["text"]
