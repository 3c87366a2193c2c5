"""The drift watch's state file: the monitor writes it, and a retraining reads since when the data has drifted."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.contract.config import Model
from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import read_plain
from monitoring.contract.reference import Reference
from monitoring.contract.times import BEFORE_ALL, Micros, latest_time


@dataclass(frozen=True)
class Alarm:
    """A current alarm: the statistic that raised it, the time of its onset, and of the row at which it was raised.

    The onset is the most likely change point.
    """

    kind: str
    onset: Micros
    noticed: Micros


@dataclass(frozen=True)
class DriftState:
    """What the watch keeps: the time of the last row before it started anew, its alarm, and the rows' cycle.

    `cycle_seconds` is the length of the cycle in which the rows depend on the time; None where there is none.
    """

    since: Micros = BEFORE_ALL
    alarm: Alarm | None = None
    cycle_seconds: float | None = None


def drift_state_path(layout: Layout) -> Path:
    """Return where the state lies."""
    return layout.root / "_drift" / "_state.json"


def drift_key(reference: Reference, model: Model) -> str:
    """Return the key of what a watch is for: the reference, the features, their kinds and the categories."""
    return _digest((reference.digest, *model.features, "", *model.categories, *model.of_kind("categorical")))


def read_drift_state(layout: Layout, key: str) -> DriftState | None:
    """Return the state of the watch with this key; None if no valid one is kept, as after a change of the reference."""
    try:
        content = json.loads(read_plain(drift_state_path(layout)))
        since, cycle = Micros(int(content["since"])), content.get("cycle_seconds")
        if content["reference"] != key or since > latest_time():  # else its clock was wrong
            return None
        if cycle is not None and not 0 < float(cycle) < math.inf:
            return None
        return DriftState(since, _alarm(content["alarm"]), None if cycle is None else float(cycle))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _alarm(content: dict[str, Any] | None) -> Alarm | None:
    if content is None:
        return None
    return Alarm(str(content["kind"]), Micros(int(content["onset"])), Micros(int(content["noticed"])))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
