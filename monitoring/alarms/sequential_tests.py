"""Both sequential tests against one reference: of drift from it, and of harm by its model."""

import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitoring.alarms.accuracy import AccuracyVerdict
from monitoring.alarms.drift.drift_watch import DriftVerdict, DriftWatch
from monitoring.alarms.harm_watch import HarmWatch
from monitoring.alarms.loss import LossVerdict
from monitoring.contract.config import Config
from monitoring.contract.config_values import LEAST_PROMISE
from monitoring.contract.layout import Layout
from monitoring.contract.plain_files import read_plain
from monitoring.contract.reference import Reference
from monitoring.contract.storage import replaced

SAVED_EVERY = 60.0  # seconds: of so long a time a restart reads the log again


@dataclass(frozen=True)
class Verdicts:
    """The verdicts of both tests; `harm` is None where there is nothing to test."""

    drift: DriftVerdict
    harm: AccuracyVerdict | LossVerdict | None

    @property
    def accuracy(self) -> AccuracyVerdict | None:
        """Return the verdict on a classification."""
        return self.harm if isinstance(self.harm, AccuracyVerdict) else None

    @property
    def loss(self) -> LossVerdict | None:
        """Return the verdict on a regression."""
        return self.harm if isinstance(self.harm, LossVerdict) else None


class SequentialTests:
    """Both tests of a log against one reference; they go on after a restart."""

    def __init__(self, layout: Layout, config: Config, reference: Reference) -> None:
        self._layout = layout
        self._drift = DriftWatch(layout, config, reference)
        self._harm = HarmWatch(layout, config, reference, _load_state(self._state))
        self._labelled, self._saved_at = 0, time.monotonic()

    def update(self, now: datetime | None = None) -> Verdicts:
        """Take in what has arrived since the last update; `now` is what the clock shows in a replay of the past.

        Raise DriftloopError if the calibration's process fails or the log changes faster than it can be read, OSError
        if it cannot be read at all.
        """
        drift = self._drift.update(now)
        harm = self._harm.update(self._promise(drift))
        self._labelled = harm.rows if harm else 0
        if time.monotonic() - self._saved_at >= SAVED_EVERY:
            self.save()
        return Verdicts(drift, harm)

    def save(self) -> None:
        """Save the state of the test of harm."""
        with replaced(self._state) as temporary:
            temporary.write_text(json.dumps(self._harm.to_dict()), encoding="utf-8")
        self._saved_at = time.monotonic()

    def stop(self) -> None:
        """End what runs in the background."""
        self._drift.stop()

    def _promise(self, drift: DriftVerdict) -> float:
        """Return the promise for harm: as many labelled rows as come among the rows promised for drift."""
        return max(drift.promise * min(1.0, self._labelled / max(drift.logged, 1)), LEAST_PROMISE)

    @property
    def _state(self) -> Path:
        return self._layout.root / "_drift/_accuracy.json"


def _load_state(path: Path) -> dict[str, Any] | None:
    """Return a saved state; None if there is none that can be read."""
    try:
        state = json.loads(read_plain(path))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None
