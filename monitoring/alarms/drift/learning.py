"""Learning: how long the alarm waits, after a re-base, for rows that show what it is to be calibrated with.

A re-based reference may be of three hours in the evening. Where rows follow a rhythm, such a reference says little
about the next morning. So the alarm says nothing until the reference and the log's rows since are a day long, and is
calibrated with all of these; or two cycles long, where no earlier rows show the rhythm either. The accuracy test
watches meanwhile.
"""

from datetime import timedelta

import numpy as np

from monitoring.alarms.drift.rhythm import are_dependent, find_rhythm
from monitoring.alarms.drift.scores import Observations
from monitoring.alarms.drift.usual import DAY, HOUR
from monitoring.contract.config import CYCLES, Config
from monitoring.contract.reference import Reference
from monitoring.contract.rhythm_rows import FEWEST_CYCLES
from monitoring.contract.times import Micros


def learning_until(
    reference: Reference, rows: Observations, earlier: Observations | None, config: Config
) -> Micros | None:
    """Return the time until which rows of the log join a reference's; None if it needs none, or was not re-based.

    `rows` are the reference's, `earlier` its rhythm rows.
    """
    if reference.origin != "rebased" or reference.through is None or rows.times is None or config.rhythm == "none":
        return None
    span = int(np.ptp(rows.times))
    due = _span_due(rows, earlier, config)
    return None if span >= due else Micros(reference.through + due - span)


def _span_due(rows: Observations, earlier: Observations | None, config: Config) -> int:
    """Return how long a time, in microseconds, the rows have to span; 0 where they have no rhythm."""
    categories = len(config.model.categories)
    rhythm = find_rhythm(rows, categories, config.rhythm, config.timezone, earlier)
    if rhythm.cycle is not None:
        return DAY if rhythm.earlier else 0
    if config.rhythm in CYCLES:
        return FEWEST_CYCLES * (CYCLES[config.rhythm] // timedelta(microseconds=1))
    # what differs within minutes is no rhythm of days, but what is left of the change
    return FEWEST_CYCLES * DAY if np.ptp(rows.times) > HOUR and are_dependent(rows, categories) else 0  # type: ignore[arg-type]
