"""Where a change is: each group of `model.segments` in the window, held against the same group in the reference."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from monitoring.profile.profile import Counts, Profile
from monitoring.profile.two_sample_tests import homogeneity

LEAST_ROWS = 50  # of a group, in the window and in the reference, from which on it is tested
LEVEL = 0.05  # the false discovery rate over all groups and columns


@dataclass(frozen=True)
class GroupColumn:
    """A column that differs within a group, and its p-value, adjusted for all groups and columns."""

    column: str
    adjusted_p_value: float


@dataclass(frozen=True)
class Group:
    """A group's rows in window and reference, and the columns that differ, the surest first; None if it has too few."""

    segment: str
    name: str
    rows: int
    reference_rows: int
    drifted: tuple[GroupColumn, ...] | None


def compare_groups(reference: Profile, current: Profile) -> tuple[Group, ...]:
    """Hold each group that has rows against the reference's, the worst first.

    Each column but the segment's own is tested in each group by the two-sample chi-square test. The p-values of all
    groups and columns are adjusted together (Benjamini and Hochberg 1995, scipy.stats.false_discovery_control).
    """
    groups = list(_groups(reference, current))
    p_values = [found.adjusted_p_value for one in groups for found in one.drifted or ()]
    adjusted = iter(stats.false_discovery_control(p_values, method="bh").tolist() if p_values else ())
    judged = [one if one.drifted is None else replace(one, drifted=_remaining(one.drifted, adjusted)) for one in groups]
    return tuple(sorted(judged, key=_by_trouble))


def _groups(reference: Profile, current: Profile) -> Iterator[Group]:
    """Yield the groups that have rows, each with all its columns' p-values as they are."""
    grid = current.grid.segments
    widths = [len(cells.names) for cells in grid.cells.values()]
    ends = np.cumsum([0, *widths])
    names = [(segment, name) for segment, groups in grid.groups.items() for name in groups.names]
    for (segment, name), *both in zip(names, reference.groups, current.groups, strict=True):
        table = np.stack(both).astype(np.int64)
        reference_rows, rows = table[:, : widths[0]].sum(axis=1).tolist()
        if not (rows or reference_rows):
            continue
        tested = _tests(list(grid.cells), ends, table, segment) if min(rows, reference_rows) >= LEAST_ROWS else None
        yield Group(segment, name, rows, reference_rows, tested)


def _tests(columns: list[str], ends: Counts, table: Counts, segment: str) -> tuple[GroupColumn, ...]:
    """Test a group's columns, whose cells are those of a table (2, cells)."""
    cells = zip(columns, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
    return tuple(GroupColumn(name, homogeneity(table[:, a:b])) for name, a, b in cells if name != segment)


def _remaining(tested: tuple[GroupColumn, ...], adjusted: Iterator[float]) -> tuple[GroupColumn, ...]:
    found = [GroupColumn(one.column, next(adjusted)) for one in tested]
    return tuple(sorted((one for one in found if one.adjusted_p_value < LEVEL), key=lambda one: one.adjusted_p_value))


def _by_trouble(group: Group) -> tuple[int, float, int]:
    least = group.drifted[0].adjusted_p_value if group.drifted else 1.0
    return -len(group.drifted or ()), least, -group.rows
