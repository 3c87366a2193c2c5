"""Alert rules over the past: which of them speak about the metrics at hand, and when they would have fired."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from monitoring.contract.errors import DriftloopError

SHIPPED = Path(__file__).parents[1] / "alert_rules"

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_NOT_METRICS = (
    r"#[^\n]*",
    r"\{[^}]*\}",  # matchers; strings have gone before
    r"\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)",
    r"\[[^\]]*\]",  # ranges
    r"\boffset\s+-?\w+",
    rf"\b{_NAME}\s*(?=\()",  # functions and aggregations
    r"\b(?:and|or|unless|bool|on|ignoring|by|without|group_left|group_right|inf|nan|atan2|start|end)\b",
    r"\b\d[\w.]*",
)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}

Labels = dict[str, str]
Samples = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class AlertRule:
    """An alert rule; `hold` is its `for` in seconds, and recording rules stand in `expr` as what they record."""

    name: str
    expr: str
    hold: float
    severity: str


@dataclass(frozen=True)
class Firing:
    """A time in which an alert fires (seconds since 1970), `end` None if it still does, for one series or several."""

    begin: float
    end: float | None
    low: float
    high: float
    series: tuple[Labels, ...]


@dataclass(frozen=True)
class Outcome:
    """How an alert would have fared; `problem` says why it could not be asked, `absent` which metrics had no value."""

    alert: AlertRule
    firings: tuple[Firing, ...] = ()
    share: float = 0.0
    absent: tuple[str, ...] = ()
    problem: str | None = None


def read_alerts(paths: Iterable[Path]) -> tuple[AlertRule, ...]:
    """Read the alerts of rule files; raise DriftloopError if one is no rule file."""
    rules = [rule for path in paths for rule in _read_rules(path)]
    recorded = {rule["record"]: str(rule["expr"]) for rule in rules if "record" in rule}
    return tuple(
        AlertRule(
            rule["alert"],
            _inline(str(rule["expr"]), recorded),
            seconds(str(rule.get("for", "0s"))),
            str((rule.get("labels") or {}).get("severity", "")),
        )
        for rule in rules
        if "alert" in rule
    )


def _read_rules(path: Path) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = [rule for group in content["groups"] for rule in group["rules"]]
        return [{**rule, "expr": rule["expr"]} for rule in rules]
    except OSError as error:
        raise DriftloopError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DriftloopError(f"{path}: is no file of Prometheus rules: {type(error).__name__}: {error}") from error


def _inline(expr: str, recorded: Mapping[str, str], depth: int = 8) -> str:
    """Put what recording rules record in the place of their names."""
    inlined = expr
    for name, of in recorded.items():
        inlined = re.sub(rf"(?<![\w:]){re.escape(name)}(?![\w:])", f"({of})".replace("\\", r"\\"), inlined)
    return inlined if inlined == expr or not depth else _inline(inlined, recorded, depth - 1)


def seconds(duration: str) -> float:
    """Read Prometheus' durations, such as 1h30m; raise DriftloopError for anything else."""
    parts = re.findall(r"(\d+)(ms|[smhdwy])", duration)
    if "".join(number + unit for number, unit in parts) != duration:
        if duration == "0":
            return 0.0
        raise DriftloopError(f"for: {duration}: is no duration, like 90s, 5m or 1h30m")
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def metrics_in(expr: str, known: Iterable[str]) -> frozenset[str]:
    """Return the names of the metrics in an expression; those that a matcher of __name__ means, if they are known."""
    matched: set[str] = set()
    for operator, value in re.findall(r"__name__\s*(=~|=)\s*[\"']([^\"']*)[\"']", expr):
        matched |= {value} if operator == "=" else {name for name in known if re.fullmatch(value, name)}
    expr = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`', " ", expr)
    for pattern in _NOT_METRICS:
        expr = re.sub(pattern, " ", expr, flags=re.IGNORECASE)
    return frozenset({*re.findall(_NAME, expr), *matched})


def find_firings(series: Sequence[tuple[Labels, Samples]], hold: float, step: float) -> list[Firing]:
    """Return when an alert fires, whose expression had these samples `step` seconds apart.

    As in Prometheus, an element fires from the first look at which it has had a value at every look for `hold` seconds,
    until the first look at which it has none. Times in which elements fire side by side are one.
    """
    alone = sorted(
        (one for labels, samples in series for one in _of_series(labels, samples, hold, step)),
        key=lambda one: one.begin,
    )
    merged: list[Firing] = []
    for one in alone:
        if merged and one.begin <= (merged[-1].end or 0):
            merged[-1] = _join(merged[-1], one)
        else:
            merged.append(one)
    return merged


def _of_series(labels: Labels, samples: Samples, hold: float, step: float) -> Iterable[Firing]:
    run: list[tuple[float, float]] = []
    for time, value in [*samples, (float("inf"), 0.0)]:
        if run and time - run[-1][0] > 1.5 * step:
            fired = [(t, v) for t, v in run if t - run[0][0] >= hold]
            if fired:
                values = [v for _, v in fired]
                yield Firing(fired[0][0], fired[-1][0] + step, min(values), max(values), (labels,))
            run = []
        run.append((time, value))


def _join(a: Firing, b: Firing) -> Firing:
    series = a.series if b.series[0] in a.series else (*a.series, *b.series)
    return Firing(a.begin, max(a.end or 0, b.end or 0), min(a.low, b.low), max(a.high, b.high), series)
