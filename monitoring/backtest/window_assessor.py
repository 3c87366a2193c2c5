"""One look at a window of the past, as the monitor looks at the present."""

from dataclasses import replace

import pyarrow as pa

from monitoring.alarms.accuracy_estimate import AccuracyEstimator
from monitoring.alarms.loss_estimate import LossEstimator
from monitoring.contract.config import Config
from monitoring.contract.reference import Reference
from monitoring.monitor import report_on
from monitoring.profile.bounds import Bounds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile
from monitoring.snapshot.snapshot import Origin, Snapshot
from monitoring.suite.frames import Frames


class WindowAssessor:
    """Holds windows against one reference."""

    def __init__(self, config: Config, reference: Reference) -> None:
        self._config, self._reference = config, reference
        self._grid = grid_of(config.model, reference.table, Bounds.of(config))
        self._profile: Profile = profile_rows(self._grid, reference.table)
        self._estimator = AccuracyEstimator(reference, config.model)
        self._loss_estimator = LossEstimator(reference, config.model, self._grid)
        self._origin = Origin(reference.origin, reference.model_version, reference.digest)

    def look(self, rows: pa.Table) -> Snapshot:
        """Return what a look at a window's rows finds, but for the tests that look at each row once."""
        model, frames = self._config.model, None
        if self._config.engine == "dataframe":
            frames = Frames.of(self._reference.table, rows, model)
        current = profile_rows(self._grid, rows)
        snapshot = report_on(self._config, self._profile, current, frames, drawn=False).snapshot
        estimate = self._estimator.estimate(current, self._config.minimum_rows)
        loss = self._loss_estimator.estimate(current, self._config.minimum_rows)
        return replace(snapshot, reference_origin=self._origin, estimate=estimate, loss_estimate=loss)
