"""The expressions of the rules that ask for a flow, over gauges.

They are comparisons, of one gauge or of `max(one or other)`, joined by `and on ()` and `unless on ()`. That is all of
PromQL that these rules use; any other expression is refused. Where elements are joined `on ()`, all that counts is
whether each side has some: so the value of an expression is whether it has.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne

from prometheus_client.core import Metric

Gauges = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]

_OPERATORS = {"==": eq, "!=": ne, ">=": ge, "<=": le, ">": gt, "<": lt}
_AGGREGATIONS = {"max": max, "min": min, "sum": sum}
_JOIN = re.compile(r"\s+(and|unless)\s+on\s*\(\)\s+")
_SELECTOR = r"(?P<name>[a-zA-Z_:]\w*)(?:\{(?P<matchers>[^{}]*)\})?(?:\s+or\s+(?P<other>[a-zA-Z_:]\w*))?"
_COMPARISON = re.compile(
    rf"(?:(?P<aggregation>max|min|sum)\s*\(\s*)?{_SELECTOR}(?(aggregation)\s*\))\s*"
    r"(?P<operator>==|!=|>=|<=|>|<)\s*(?P<bound>-?\d+(?:\.\d+)?)"
)
_MATCHER = re.compile(r"\s*(\w+)\s*=\s*\"([^\"]*)\"\s*")


def gauges_of(metrics: Iterable[Metric]) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Return metrics by name, as a scrape would give them."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for metric in metrics:
        for sample in metric.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def holds(expression: str, gauges: Gauges) -> bool:
    """Say whether an expression has an element; raise ValueError for one that is not of the kind above."""
    first, *rest = _JOIN.split(_of_one_model(expression.strip()))
    value = _compare(first, gauges)
    for join, comparison in zip(rest[::2], rest[1::2], strict=True):
        other = _compare(comparison, gauges)
        value = value and (other if join == "and" else not other)
    return value


def _of_one_model(expression: str) -> str:
    """Return what a rule asks where one model alone is watched, whose series have no label `model`."""
    plain = re.sub(r" by \(model[^()]*\) ", "", expression).replace("on (model)", "on ()")
    return re.sub(r"\(\s*(max\([^()]*\))\s+or\s+\1\s*\)", r"\1", plain)


def _compare(text: str, gauges: Gauges) -> bool:
    found = _COMPARISON.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r}: the replay does not know this kind of expression")
    wanted = _matchers(found["matchers"] or "")
    values = [v for labels, v in gauges.get(found["name"], ()) if wanted.items() <= dict(labels).items()]
    values += [v for _, v in gauges.get(found["other"] or "", ())]
    if found["aggregation"] and values:
        values = [_AGGREGATIONS[found["aggregation"]](values)]
    return any(_OPERATORS[found["operator"]](value, float(found["bound"])) for value in values)


def _matchers(text: str) -> dict[str, str]:
    matchers = [_MATCHER.fullmatch(one) for one in text.split(",") if one.strip()]
    if not all(matchers):
        raise ValueError(f"{{{text}}}: the replay knows matchers by `=` alone")
    return {match[1]: match[2] for match in matchers if match}
