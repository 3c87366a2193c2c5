"""A dashboard's variables: what they can be, and what they are in a query and in a title."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scripts.dashboards.queries.json_paths import DashboardError, Json, KnownSettings, require_known
from scripts.dashboards.queries.prometheus import Prometheus
from scripts.dashboards.queries.time_range import TimeRange, rate_interval

_NAMES = re.compile(r"\$(\w+)|\$\{(\w+):regex\}|\$\{[^}]*\}|\[\[\w[^]]*\]\]")
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\s*\)", re.DOTALL)
_NATURAL_ORDER = 7

_COMMON: KnownSettings = dict.fromkeys(
    ("type", "name", "label", "skipUrlSync", "allowCustomValue", "auto", "auto_count", "auto_min")
)  # fmt: skip
_KNOWN: Mapping[str, KnownSettings] = {
    "datasource": {**_COMMON, "query": ("prometheus",), "multi": (False,), "includeAll": (False,)},
    "query": {
        **_COMMON, "datasource.*": None, "query.query": None, "query.refId": None, "query.qryType": None,
        "refresh": None, "multi": (True,), "includeAll": (True,), "allValue": None, "sort": (_NATURAL_ORDER,),
        "current.selected": None, "current.text": None, "current.value": ("$__all",),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """A variable with its values; all of them are selected where `all_value` stands for them, else there is one."""

    name: str
    values: Sequence[str]
    all_value: str = ""
    label: str = ""
    hidden: bool = False

    @property
    def text(self) -> str:
        """Return the selected value as people read it."""
        return "All" if self.all_value else self.values[0]

    @property
    def matcher(self) -> str:
        """Return the selected values as an expression that matches them in a query's text between quotes."""
        return self.all_value or re.sub(r"([\\^$*+?.()|{}\[\]/])", r"\\\\\1", self.values[0])

    @property
    def regex(self) -> str:
        """Return the same for a text between backticks, in which a backslash is one."""
        return self.all_value or re.sub(r"([-\\^$*+?.()|{}\[\]/])", r"\\\1", self.values[0])


@dataclass(frozen=True)
class Scope:
    """The variables that hold somewhere, and the time."""

    time: TimeRange
    variables: Mapping[str, Variable] = field(default_factory=dict)

    def having(self, variable: Variable) -> "Scope":
        """Return the same scope with a variable more, or another."""
        return Scope(self.time, {**self.variables, variable.name: variable})

    def fill(self, query: str, step: float) -> str:
        """Return a query with what it names; raise DashboardError for a name of a form that is not known."""
        built_in = {"__range": f"{round(self.time.seconds)}s", "__rate_interval": f"{round(rate_interval(step))}s"}
        regexes = {f"{name}:regex": one.regex for name, one in self.variables.items()}
        return _filled(query, built_in | {name: one.matcher for name, one in self.variables.items()} | regexes)

    def fill_text(self, text: str) -> str:
        """Return a title or the like with the variables that it names; raise DashboardError as `fill` does."""
        return _filled(text, {name: one.text for name, one in self.variables.items()})


def _filled(text: str, values: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or (f"{match[2]}:regex" if match[2] else None)
        if name is None or (name not in values and (match[2] or name.startswith("__"))):
            raise DashboardError(
                f"{text}: the preview fills in $name, ${{name:regex}}, $__range and $__rate_interval, not {match[0]}"
            )
        return values.get(name, match[0])  # what is nobody's name stays: `$1` of label_replace

    return _NAMES.sub(value, text)


def resolve(dashboard: Json, time: TimeRange, prometheus: Prometheus) -> Scope:
    """Return the scope of a dashboard; raise DashboardError for a variable of a kind that is not known."""
    scope = Scope(time)
    for definition in dashboard.get("templating", {}).get("list", []):
        scope = scope.having(_variable(definition, scope, prometheus))
    return scope


def _variable(definition: Json, scope: Scope, prometheus: Prometheus) -> Variable:
    kind, name = definition["type"], definition["name"]
    if kind not in _KNOWN:
        raise DashboardError(f"variable {name}: the preview knows no variables of type {kind}")
    require_known(definition, _KNOWN[kind], f"variable {name}")
    label = definition.get("label") or name
    if kind == "datasource":
        return Variable(name, ["prometheus"], label=label, hidden=True)
    query = definition["query"]["query"]
    found = _LABEL_VALUES.fullmatch(query.strip())
    if found is None or not definition.get("allValue"):
        raise DashboardError(f"variable {name}: the preview asks label_values(metric, label) with an allValue for all")
    series = scope.fill(found[1].strip(), step=0)
    values = sorted(prometheus.label_values(found[2], series, scope.time), key=natural)
    return Variable(name, values, all_value=definition["allValue"], label=label)


def natural(value: str) -> list[tuple[int, str]]:
    """Return a key that sorts `x_2` before `x_10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", value)]
