"""Rows that a reference need not hold and service will: without a value, or with a level that nobody has seen."""

from collections.abc import Iterator

import numpy as np

from flows.training.sample import Rows
from monitoring.contract.config import Model

_MOST = 200  # rows of each kind
_NEW_LEVEL, _NEW_NUMBER = "a level that no model knows", "-987654321"


def probes(rows: Rows, model: Model) -> Iterator[tuple[str, Rows]]:
    """Yield rows (n, features) that are changed in one feature, and say what of it is changed."""
    some = rows[:: max(1, len(rows) // _MOST)][:_MOST]
    for place, name in enumerate(model.features):
        if model.kind(name).name == "numeric":
            yield f"where {name} is missing", _changed(some, place, np.nan)
            continue
        yield f"where {name} is missing", _changed(some, place, None)
        whole = all(level is None or level.lstrip("-").isdigit() for level in some[:, place])
        yield f"where {name} has a level that is new", _changed(some, place, _NEW_NUMBER if whole else _NEW_LEVEL)


def _changed(rows: Rows, place: int, value: float | str | None) -> Rows:
    changed = rows.copy()
    changed[:, place] = value
    return changed
