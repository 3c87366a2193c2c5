"""Read Grafana's loosely typed JSON, and refuse by name what the code does not know."""

import json
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from monitoring.contract.errors import DriftloopError

Json = dict[str, Any]
# Dotted paths, `*` for any ending, with the values that are known there; None for all.
KnownSettings = Mapping[str, Collection[Any] | None]


class DashboardError(DriftloopError):
    """A dashboard cannot be read, asked or drawn."""


def dig(node: Any, path: str, default: Any = None) -> Any:
    """Return what lies at a dotted path, the default where nothing, or null, does."""
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return default if node is None else node


def require_known(node: Json, known: KnownSettings, owner: str) -> None:
    """Raise DashboardError that names each setting that is not known, for it might change what is asked or drawn."""
    unknown = [
        f"{path} = {json.dumps(value)}"
        for path, value in _settings(node)
        if not any(fnmatchcase(path, one) and (values is None or value in values) for one, values in known.items())
    ]
    if unknown:
        raise DashboardError(f"{owner}: unknown to the preview: {', '.join(unknown)}")


def _settings(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Give each value that is set with its path; the elements of a list bear the list's."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _settings(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for value in node:
            yield from _settings(value, path)
    elif node is not None:
        yield path, node
