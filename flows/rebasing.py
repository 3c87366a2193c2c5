"""A reference that is re-based: the labelled rows since the change, as the version predicts them that is to serve."""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from flows.registry.publication import stage
from flows.training.collection import Collected, newest_row
from flows.training.rhythm_rows import find_rhythm_rows
from monitoring.contract.config import Config
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Performance, Reference
from monitoring.contract.rhythm_rows import RhythmRows
from monitoring.contract.times import BEFORE_ALL, Micros


@dataclass(frozen=True)
class Ground:
    """What a reference is re-based on: the collected rows, the present reference, and until when an alarm lasted."""

    config: Config
    layout: Layout
    collected: Collected
    reference: Reference
    alarmed_until: Micros


def stage_rebased(
    ground: Ground, version: str, predict: Callable[[pa.Table], tuple[pa.Table, Performance]], *, replaces: bool
) -> None:
    """Stage the collected rows, predicted, as a version's reference, with the rows before the change for its rhythm.

    `replaces` says that the version takes another champion's place.
    """
    collected, config = ground.collected, ground.config
    until = collected.unchanged_until
    rhythm = find_rhythm_rows(ground.layout, config, ground.reference, until, alarmed_until=ground.alarmed_until)
    table, performance = predict(_level(collected, rhythm))
    through = collected.through
    if replaces:
        # Rows that the former champion answered meanwhile say nothing about the new one: the window starts after them.
        through = max(through or BEFORE_ALL, newest_row(ground.layout))
    stage(
        ground.layout,
        config.model,
        version,
        table,
        origin="rebased",
        through=through,
        performance=performance,
        rhythm_rows=rhythm,
    )


def _level(collected: Collected, rhythm: RhythmRows | None) -> pa.Table:
    """Return the rows that tell the new level: those since the change, where the rhythm is learned from others."""
    return collected.table if rhythm is None else collected.table.slice(collected.older)
