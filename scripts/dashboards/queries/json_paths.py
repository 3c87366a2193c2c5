"""Small readings of Grafana's loosely typed JSON."""

import math
from typing import Any

from monitoring.schema import DriftloopError

Json = dict[str, Any]


class DashboardError(DriftloopError):
    """A dashboard cannot be drawn."""


def dig(node: Any, path: str, default: Any = None) -> Any:
    """Return what lies at a dotted path, the default where nothing, or null, does."""
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return default if node is None else node


def finite(value: Any) -> float | None:
    """Return a value if it is a number that can be drawn."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None
