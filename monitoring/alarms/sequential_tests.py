"""Both sequential tests of one reference: whether the data drifts from it, and whether its model is still right."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitoring.alarms.accuracy import AccuracyVerdict, AccuracyWatch
from monitoring.alarms.drift.drift_watch import DriftVerdict, DriftWatch
from monitoring.contract.config import Config
from monitoring.contract.config_values import LEAST_PROMISE
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Reference
from monitoring.contract.storage import replaced

KEPT_EVERY = 60.0  # seconds: what a restart would look at again


@dataclass(frozen=True)
class Evidence:
    """What the tests say; None where one has nothing to say."""

    drift: DriftVerdict
    accuracy: AccuracyVerdict | None


class SequentialTests:
    """The tests of a log against one reference, which go on after a restart."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout = layout
        self._drift = DriftWatch(layout, config, reference)
        self._accuracy = AccuracyWatch(layout, config, reference, _read(self._state))
        self._labelled, self._kept_at = 0, time.monotonic()

    def look(self) -> Evidence:
        """Take in what has arrived since the last look.

        Raise DriftloopError if the calibration's process fails or the log changes faster than it can be read, OSError
        if it cannot be read at all.
        """
        drift = self._drift.look()
        accuracy = self._accuracy.look(self._promise(drift))
        self._labelled = accuracy.rows if accuracy else 0
        if time.monotonic() - self._kept_at >= KEPT_EVERY:
            self.keep()
        return Evidence(drift, accuracy)

    def keep(self) -> None:
        """Write down where the test of accuracy stands."""
        with replaced(self._state) as temporary:
            temporary.write_text(json.dumps(self._accuracy.to_dict()), encoding="utf-8")
        self._kept_at = time.monotonic()

    def stop(self) -> None:
        """End what runs in the background."""
        self._drift.stop()

    def _promise(self, drift: DriftVerdict) -> float:
        """Return as many labelled rows as come among the rows that are promised for drift."""
        return max(drift.promise * min(1.0, self._labelled / max(drift.logged, 1)), LEAST_PROMISE)

    @property
    def _state(self) -> Path:
        return self._layout.root / "_drift/_accuracy.json"


def _read(path: Path) -> dict[str, Any] | None:
    """Return a kept state; None if there is none that can be read."""
    try:
        state = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None
