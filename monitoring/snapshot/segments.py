"""Where a change is: each group of `model.segments` in the window, held against the same group in the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from monitoring.profile.profile import Counts, Profile
from monitoring.profile.segments import FEWEST_SPANS, Clusters
from monitoring.profile.two_sample_tests import Clustering, Homogeneity, homogeneity

LEAST_ROWS = 50  # of a group, in the window and in the reference, from which on it is tested
LEAST_LABELS = 30  # of a group's rows, from which on its performance is shown
LEVEL = 0.05  # the false discovery rate over all groups and columns
EFFECT = 0.1  # and the share of values that would have to move, below which a difference is none
FALL = 0.1  # of the accuracy, or rise of an error by this share, from which on a group is among the worst
EXPLAINED = 0.8  # the share of a difference that is gone without a group which explains it
_NAMED = 3  # groups and columns, in words
HALF = 0.5  # of the window: a larger group explains nothing, it is the window


@dataclass(frozen=True)
class GroupColumn:
    """A column that differs within a group: its p-value, adjusted for all groups and columns, and the effect size."""

    column: str
    adjusted_p_value: float
    effect_size: float

    @property
    def said(self) -> str:
        """Say which column differs, and how far."""
        return f"{self.column} (effect {self.effect_size:.2f})"


@dataclass(frozen=True)
class Group:
    """A group's rows in window and reference, and the columns that differ, the surest first; None if it has too few.

    The performance is the accuracy, or a regression's mean absolute error; None with fewer than LEAST_LABELS labels.
    """

    segment: str
    name: str
    rows: int
    reference_rows: int
    labelled_rows: int
    performance: float | None
    reference_performance: float | None
    drifted: tuple[GroupColumn, ...] | None
    regression: bool = False

    @property
    def fall(self) -> float:
        """Return by how much the accuracy has fallen, or by what share a regression's error has risen; at least 0."""
        if self.performance is None or self.reference_performance is None:
            return 0.0
        if not self.regression:
            return max(0.0, self.reference_performance - self.performance)
        return min(1.0, max(0.0, self.performance / max(self.reference_performance, 1e-300) - 1))

    @property
    def p_value(self) -> float | None:
        """Return the least adjusted p-value of the columns that differ; None if none does."""
        return self.drifted[0].adjusted_p_value if self.drifted else None


@dataclass(frozen=True)
class Explanation:
    """A group without whose rows most of the window's difference from the reference is gone.

    `share` is that of the window's rows which are in the group, `explained` that of the difference (the chi-square
    distance beyond chance, over the columns that differ) which is gone without them.
    """

    segment: str
    name: str
    share: float
    explained: float
    columns: tuple[str, ...]

    @property
    def said(self) -> str:
        """Say what is gone without the group."""
        named = ", ".join(self.columns[:_NAMED]) + (" and more" if len(self.columns) > _NAMED else "")
        return (
            f"{self.explained:.0%} of the difference is gone without {self.segment} = {self.name}, "
            f"which is {self.share:.1%} of the window ({named})."
        )


@dataclass(frozen=True)
class Segments:
    """All groups that have rows, the worst first, and the one that explains the change, if one does."""

    groups: tuple[Group, ...]
    explanation: Explanation | None

    @property
    def tested(self) -> int:
        """Return how many groups had rows enough to be tested."""
        return sum(one.drifted is not None for one in self.groups)

    @property
    def drifted(self) -> tuple[Group, ...]:
        """Return the groups in which a column differs."""
        return tuple(one for one in self.groups if one.drifted)

    @property
    def said(self) -> tuple[str, ...]:
        """Say how many groups differ, which the worst are, and which one explains the change."""
        worst = "; ".join(
            f"{one.segment} = {one.name}: {', '.join(column.said for column in (one.drifted or ())[:_NAMED])}"
            for one in self.drifted[:_NAMED]
        )
        differ = f"{len(self.drifted)} of {self.tested} tested groups differ{f': {worst}' if worst else ''}."
        few = len(self.groups) - self.tested
        least = f"{LEAST_ROWS} in window and reference, of {FEWEST_SPANS} days there"
        untested = (f"{few} groups have too few rows: at least {least} are needed.",)
        return (differ, *(untested if few else ()), *((self.explanation.said,) if self.explanation else ()))


@dataclass(frozen=True, eq=False)
class _Column:
    """A tested column's cells: of which column, at which place, from which to which; and the reference's clusters."""

    name: str
    place: int
    begin: int
    end: int
    clusters: Clusters | None

    def test(self, table: Counts, places: slice) -> Homogeneity:
        """Test a table of all columns' cells (2, cells), of the groups at these places together."""
        cells, known = table[:, self.begin : self.end], self.clusters
        if known is None:
            return homogeneity(cells)
        inflation, degrees = known.inflation[places, self.place].max(), known.degrees[places, self.place].min()
        return homogeneity(cells, Clustering(float(inflation), float(degrees), int(known.spans[places].max())))


def compare_groups(reference: Profile, current: Profile) -> Segments | None:
    """Hold each group that has rows against the reference's; None without segments.

    Each column but the segment's own is tested in each group by the two-sample chi-square test, which knows by how much
    the reference's days differ from each other, if its rows have times. The p-values of all groups and columns are
    adjusted together (Benjamini and Hochberg 1995, scipy.stats.false_discovery_control).
    """
    if not current.grid.segments.groups:
        return None
    tables = np.stack([np.asarray(one.groups, np.int64) for one in (reference, current)], axis=1)
    groups = list(_groups(reference, current, tables))
    p_values = [found.adjusted_p_value for one in groups for found in one.drifted or ()]
    adjusted = iter(stats.false_discovery_control(p_values, method="bh").tolist() if p_values else ())
    judged = [one if one.drifted is None else replace(one, drifted=_remaining(one.drifted, adjusted)) for one in groups]
    return Segments(tuple(sorted(judged, key=_by_trouble)), _explain(current, tables))


def _columns(profile: Profile) -> list[_Column]:
    grid = profile.grid.segments
    ends = np.cumsum([0, *(len(one.names) for one in grid.cells.values())]).tolist()
    return [_Column(name, n, ends[n], ends[n + 1], grid.clusters) for n, name in enumerate(grid.cells)]


def _groups(reference: Profile, current: Profile, tables: Counts) -> Iterator[Group]:
    """Yield the groups that have rows, each with all its columns' p-values as they are; `tables` (groups, 2, cells)."""
    columns = _columns(current)
    names = [(segment, name) for segment, one in current.grid.segments.groups.items() for name in one.names]
    for place, (segment, name) in enumerate(names):
        reference_rows, rows = tables[place, :, : columns[0].end].sum(axis=1).tolist()
        if not (rows or reference_rows):
            continue
        clusters = current.grid.segments.clusters
        days = FEWEST_SPANS if clusters is None else int(clusters.spans[place])
        enough = min(rows, reference_rows) >= LEAST_ROWS and days >= FEWEST_SPANS
        tested = _tests(columns, tables[place], segment, place) if enough else None
        labelled, now, then = current.outcomes.labelled(place), *(_performance(p, place) for p in (current, reference))
        regression = current.grid.model.task == "regression"
        yield Group(segment, name, rows, reference_rows, labelled, now, then, tested, regression)


def _performance(profile: Profile, place: int) -> float | None:
    if profile.outcomes.labelled(place) < LEAST_LABELS:
        return None
    loss = profile.outcomes.mean_loss(place)
    return loss if profile.grid.model.task == "regression" else 1 - loss


def _tests(columns: Sequence[_Column], table: Counts, segment: str, place: int) -> tuple[GroupColumn, ...]:
    """Test a group's columns, whose cells are those of a table (2, cells)."""
    found = ((one.name, one.test(table, slice(place, place + 1))) for one in columns if one.name != segment)
    return tuple(GroupColumn(name, test.p_value, test.effect) for name, test in found)


def _remaining(tested: tuple[GroupColumn, ...], adjusted: Iterator[float]) -> tuple[GroupColumn, ...]:
    found = [replace(one, adjusted_p_value=next(adjusted)) for one in tested]
    differ = (one for one in found if one.adjusted_p_value < LEVEL and one.effect_size >= EFFECT)
    return tuple(sorted(differ, key=lambda one: (one.adjusted_p_value, -one.effect_size)))


def _by_trouble(group: Group) -> tuple[int, float, float, int]:
    worst = max(group.fall, *(one.effect_size for one in group.drifted or ()), 0.0)
    troubled = bool(group.drifted) or group.fall >= FALL
    return -troubled, -worst, 1.0 if group.p_value is None else group.p_value, -group.rows


def _explain(current: Profile, tables: Counts) -> Explanation | None:
    """Return the group that explains most, if it explains enough.

    Of each column that differs in the whole window, the chi-square distance beyond chance is held against that of all
    rows but the group's, in window and reference. Only groups of at most HALF of both are asked.
    """
    columns = _columns(current)
    begin, found = 0, []
    for segment, groups in current.grid.segments.groups.items():
        places = slice(begin, begin := begin + len(groups.names))
        rows = tables[places, :, : columns[0].end].sum(axis=2)
        shares = rows / np.maximum(rows.sum(axis=0), 1)
        rest = (rows.sum(axis=0) - rows).min(axis=1)
        asked = np.flatnonzero((shares[:, 1] > 0) & (shares <= HALF).all(axis=1) & (rest >= LEAST_ROWS)).tolist()
        for place, explained, names in _each_explained(segment, columns, tables[places], places, asked):
            found.append(Explanation(segment, groups.names[place], float(shares[place, 1]), explained, names))
    best = max(found, key=lambda one: one.explained, default=None)
    return best if best is not None and best.explained >= EXPLAINED else None


def _each_explained(
    segment: str, columns: Sequence[_Column], tables: Counts, places: slice, asked: Sequence[int]
) -> Iterator[tuple[int, float, tuple[str, ...]]]:
    """Yield for each group that is asked what share of the differences is gone without it, and in which columns."""
    whole = tables.sum(axis=0)
    tests = {one: one.test(whole, places) for one in columns if one.name != segment}
    differ = [one for one, test in tests.items() if test.p_value * len(tests) < LEVEL and test.distance > 0]
    differ.sort(key=lambda one: -tests[one].distance)
    for place in asked if differ else ():
        left = sum(one.test(whole - tables[place], places).distance for one in differ)
        yield place, 1 - left / sum(tests[one].distance for one in differ), tuple(one.name for one in differ)
