"""Query results as Grafana holds them: frames of named columns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

_PLACEHOLDER = re.compile(r"\{\{\s*(.+?)\s*\}\}")
AUTO = "__auto"


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
    ref_id: str = "A"

    @property
    def length(self) -> int:
        """Return how many rows it has."""
        return len(self.fields[0].values) if self.fields else 0

    @property
    def times(self) -> Sequence[float]:
        """Return the first column of time, empty where there is none."""
        return next((one.values for one in self.fields if one.kind == "time"), ())

    @property
    def numbers(self) -> list[Field]:
        """Return the columns of numbers."""
        return [one for one in self.fields if one.kind == "number"]


def legends(series: Sequence[Mapping[str, str]], template: str, query: str) -> list[str]:
    """Return a name for each series' labels: by the template, or automatically by the labels that differ."""
    if template and template != AUTO:
        return [_filled(template, labels) for labels in series]
    differing = sorted(
        {key for labels in series for key in labels} - {"__name__"} if len(series) == 1 else _differing(series)
    )
    if len(differing) == 1:
        return [labels.get(differing[0], "") or "Value" for labels in series]
    return [_selector(labels, differing) or labels.get("__name__", "") or query for labels in series]


def _filled(template: str, labels: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: labels.get(match[1], ""), template)


def _differing(series: Sequence[Mapping[str, str]]) -> set[str]:
    keys = {key for labels in series for key in labels}
    return {key for key in keys if len({labels.get(key, "") for labels in series}) > 1}


def _selector(labels: Mapping[str, str], keys: Sequence[str]) -> str:
    shown = ", ".join(f'{key}="{labels[key]}"' for key in keys if key in labels and key != "__name__")
    return f"{{{shown}}}" if shown else ""
