"""Columns as a panel's field configuration wants them: name, text and colour of each value."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from scripts.dashboards.queries.json_paths import Json, dig
from scripts.dashboards.queries.sections import Panel
from scripts.preview.colours import PALETTE, TEXT, colour
from scripts.preview.frames import Field, Frame
from scripts.preview.units import write


@dataclass(frozen=True)
class Column:
    """A field with its configuration, the defaults and overrides together."""

    field: Field
    config: Json
    index: int  # among the panel's columns of numbers: its colour in the palette

    @property
    def name(self) -> str:
        """Return what heads the column."""
        return self.field.shown

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
        """Return what is shown for a value: a text as it is, a number in its unit."""
        if isinstance(value, str):
            return value
        if self.field.kind == "time" and value is not None:
            return write(value * 1e3, "dateTimeAsIso")
        return write(value, self.config.get("unit") or "none", self.config.get("decimals"))

    def threshold_colour(self, value: float | None) -> str:
        """Return the colour of the highest threshold that a value reaches; the base's where there is no value."""
        reached = [name for bound, name in self.steps if bound is None or (value is not None and value >= bound)]
        return colour(reached[-1]) if reached else TEXT

    @property
    def series_colour(self) -> str:
        """Return the palette's colour of a line or bar of this column."""
        return PALETTE[self.index % len(PALETTE)]

    @property
    def steps(self) -> list[tuple[float | None, str]]:
        """Return the thresholds with their colours, the first without a bound."""
        return [(step.get("value"), step["color"]) for step in dig(self.config, "thresholds.steps", [])]


def finite(value: Any) -> float | None:
    """Return a value if it is a number that can be drawn."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def columns_of(frames: Sequence[Frame], panel: Panel) -> list[list[Column]]:
    """Return each frame's columns, configured."""
    index = 0
    result = []
    for frame in frames:
        columns = []
        for field in frame.fields:
            columns.append(_configured(field, panel, index))
            index += field.kind == "number"
        result.append(columns)
    return result


def _configured(field: Field, panel: Panel, index: int) -> Column:
    # Units, bounds and thresholds of the defaults are meant for the numbers.
    config = deepcopy(dig(panel.json, "fieldConfig.defaults", {})) if field.kind == "number" else {}
    for override in dig(panel.json, "fieldConfig.overrides", []):
        if override["matcher"]["options"] == field.shown:
            for given in override["properties"]:
                _put(config, given["id"], given["value"])
    return Column(field, config, index)


def _put(config: Json, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config.setdefault(key, {})
    config[last] = value
