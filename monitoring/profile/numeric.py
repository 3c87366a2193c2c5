"""Numeric columns in a grid: the marks that values are counted at and between, fences and bins.

They are the numeric features, and last the prediction where that is a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitoring.profile.kernel import Marks

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS = 10
FENCE = 1.5  # Tukey's fences: this many interquartile ranges beyond the quartiles


@dataclass(frozen=True, eq=False)
class NumericGrid:
    """What numeric columns are counted against.

    `ranges` are the least and the greatest finite value of each column in the reference. A column's marks are the
    distinct ones, its Tukey fences, and the edges of its histogram's bins, sorted. `types` are those to which the
    values of rows are rounded.
    """

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    marks: tuple[Marks, ...]
    fences: tuple[tuple[float, float], ...]
    edges: tuple[Floats, ...]
    ranges: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, fields: Sequence[pa.Field], columns: Sequence[Floats]) -> "NumericGrid":
        """Make the grid of a reference's columns (n,) each; one without a finite value gets no marks."""
        values = [column[np.isfinite(column)] for column in columns]
        fences = tuple(_tukey_fences(v) for v in values)
        edges = tuple(_bin_edges(v) for v in values)
        marks = tuple(
            Marks(np.unique(np.concatenate([v, f, e])) if len(v) else v)
            for v, f, e in zip(values, fences, edges, strict=True)
        )
        ranges = tuple((float(v.min(initial=np.inf)), float(v.max(initial=-np.inf))) for v in values)
        return cls(tuple(f.name for f in fields), tuple(f.type for f in fields), marks, fences, edges, ranges)

    @cached_property
    def offsets(self) -> Counts:
        """Return where each column's cells begin in `Profile.cells`, and where the last one's end (d + 1,)."""
        return np.cumsum([0, *(2 * len(marks) + 1 for marks in self.marks)])

    @cached_property
    def places(self) -> dict[str, int]:
        """Return each column's place among them."""
        return {name: place for place, name in enumerate(self.names)}


def _tukey_fences(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    low, high = np.quantile(values, (0.25, 0.75))
    margin = FENCE * (high - low)
    return float(low - margin), float(high + margin)


def _bin_edges(values: Floats) -> Floats:
    """Return the edges of BINS bins of equal width over the values' range (BINS + 1,)."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)
