"""A dashboard's variables: what they can be, what they are, and how a text names them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.dashboards.queries.json_paths import DashboardError, Json, dig
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.time_range import TimeRange, duration_text, rate_interval

ALL = "$__all"
_NAMES = re.compile(r"\$(\w+)|\$\{(\w+)(?:\.[^:}]+)?(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?\]\]")
_LABEL_VALUES = re.compile(r"^label_values\((?:(.+),)?\s*([\w:.]+)\s*\)$", re.DOTALL)
_QUERY_RESULT = re.compile(r"^query_result\((.+)\)$", re.DOTALL)


@dataclass(frozen=True)
class Variable:
    """A variable with its selected values; `several` if it may hold more than one."""

    name: str
    values: Sequence[str]
    several: bool = False
    all_value: str = ""
    label: str = ""
    hidden: bool = False

    def written(self, style: str = "") -> str:
        """Return the values as a query names them, or in one of Grafana's other styles."""
        if style in {"csv", "pipe", "raw", "text"}:
            return {"pipe": "|", "text": " + "}.get(style, ",").join(self.values)
        if self.all_value:
            return self.all_value
        if not self.several and style != "regex":
            return ",".join(self.values)
        escaped = [re.sub(r"([\\^$*+?.()|{}\[\]/])", r"\\\\\1", value) for value in self.values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


@dataclass(frozen=True)
class Scope:
    """The variables that hold somewhere, and the time."""

    time: TimeRange
    variables: Mapping[str, Variable] = field(default_factory=dict)

    def having(self, variable: Variable) -> "Scope":
        """Return the same scope with a variable more, or another."""
        return Scope(self.time, {**self.variables, variable.name: variable})

    def fill(self, text: str, step: float | None = None, style: str = "") -> str:
        """Return a text with the variables that it names; a name that is nobody's stays as it is."""
        built_in = self._built_in(step)

        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2] or match[4]
            if name in built_in:
                return built_in[name]
            if name in self.variables:
                return self.variables[name].written(match[3] or match[5] or style)
            return match[0]

        return _NAMES.sub(value, text)

    def _built_in(self, step: float | None) -> dict[str, str]:
        seconds = round(self.time.seconds)
        always = {
            "__range": f"{seconds}s",
            "__range_s": str(seconds),
            "__range_ms": str(seconds * 1000),
            "__from": str(round(self.time.start * 1000)),
            "__to": str(round(self.time.end * 1000)),
        }
        if step is None:
            return always
        of_step = {"__interval": duration_text(step), "__interval_ms": str(round(step * 1000))}
        return always | of_step | {"__rate_interval": duration_text(rate_interval(step))}


def resolve(definitions: Sequence[Json], time: TimeRange, prometheus: Prometheus) -> Scope:
    """Return the scope of a dashboard; each variable may name those before it."""
    scope = Scope(time)
    for definition in definitions:
        options = _options(definition, scope, prometheus)
        several = bool(definition.get("multi") or definition.get("includeAll"))
        values, everything = _selected(definition, options)
        scope = scope.having(
            Variable(
                definition["name"],
                values,
                several=several,
                all_value=definition.get("allValue") or "" if everything else "",
                label=definition.get("label") or definition["name"],
                hidden=definition.get("hide", 0) not in (0, "dontHide") or definition["type"] == "datasource",
            )
        )
    return scope


def _options(definition: Json, scope: Scope, prometheus: Prometheus) -> list[str]:
    kind = definition["type"]
    query = definition.get("query", "")
    text = query.get("query", "") if isinstance(query, dict) else str(query)
    if kind == "datasource":
        return ["prometheus"]
    if kind in {"custom", "interval"}:
        return [one.rpartition(" : ")[2].strip() for one in re.split(r"(?<!\\),", text) if one.strip()]
    if kind in {"constant", "textbox"}:
        return [text]
    if kind != "query":
        raise DashboardError(f"variable {definition['name']}: the preview knows no variables of type {kind}")
    found = _ask(scope.fill(text, step=scope.time.step(1)), scope.time, prometheus)
    return _sorted(_matching(found, definition.get("regex") or ""), int(definition.get("sort") or 0))


def _ask(query: str, time: TimeRange, prometheus: Prometheus) -> list[str]:
    if match := _LABEL_VALUES.match(query.strip()):
        return prometheus.label_values(match[2], (match[1] or "").strip(), time)
    if match := _QUERY_RESULT.match(query.strip()):
        return [_result_text(one) for one in prometheus.instant(match[1], time.end)]
    raise DashboardError(f"the preview asks label_values(…) and query_result(…) for variables, not {query}")


def _result_text(series: Json) -> str:
    labels = ",".join(f'{key}="{value}"' for key, value in series["metric"].items() if key != "__name__")
    moment, value = series["values"][-1]
    return f"{series['metric'].get('__name__', '')}{{{labels}}} {value} {round(float(moment) * 1000)}"


def _matching(values: Sequence[str], regex: str) -> list[str]:
    """Keep what a `/regex/` finds: its first group, or the whole."""
    if not regex:
        return list(dict.fromkeys(values))
    pattern = re.compile(re.sub(r"^/(.*)/\w*$", r"\1", regex).replace("(?<", "(?P<"))
    matches = [match for value in values if (match := pattern.search(value))]
    named = [match.groupdict().get("value") or (match[1] if pattern.groups else None) for match in matches]
    return list(dict.fromkeys(name or match.string for name, match in zip(named, matches, strict=True)))


def _sorted(values: list[str], order: int) -> list[str]:
    """Sort as Grafana numbers its orders: 1 and 2 by letters, 3 and 4 by numbers, 5 and 6 any case, 7 and 8 both."""
    keys: dict[int, Callable[[str], Any]] = {
        1: str,
        2: str,
        3: _number,
        4: _number,
        5: str.lower,
        6: str.lower,
        7: natural,
        8: natural,
    }
    return sorted(values, key=keys[order], reverse=order % 2 == 0) if order in keys else values


def _number(value: str) -> float:
    digits = re.search(r"-?\d+(\.\d+)?", value)
    return float(digits[0]) if digits else -1.0


def natural(value: str) -> list[tuple[int, str]]:
    """Return a key that sorts `x_2` before `x_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", value)]


def _selected(definition: Json, options: list[str]) -> tuple[list[str], bool]:
    """Return the values that the dashboard was saved with, where they still exist, and whether they are all."""
    current = dig(definition, "current.value", [])
    chosen = [str(one) for one in (current if isinstance(current, list) else [current])]
    if ALL in chosen or (definition.get("includeAll") and not chosen):
        return options, True
    kept = [one for one in chosen if one in options]
    return kept or options[:1], False
