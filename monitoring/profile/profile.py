"""Profiles: the statistics of rows that Evidently's tests need, in a form that can be merged by addition.

A profile counts rows against a fixed reference. Tests like Kolmogorov-Smirnov's do not depend on where values lie
between two neighbouring values of the reference, so it is enough to count how many lie at and between them. Such counts
add up over parts, processes and machines, in any order. `monitoring.suite.engine` computes the suite's results from the
sums, at a cost that does not depend on the number of rows.
"""

import hashlib
import json
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.times import BEFORE_ALL, Micros
from monitoring.profile.distinct_rows import DistinctRows, Hashes, KnownRows
from monitoring.profile.kernel import Marks

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

FORMAT = 2
BINS = 10
FENCE = 1.5  # Tukey's fences: this many interquartile ranges beyond the quartiles
CONFIDENCE_BINS = 1000
NEVER = Micros(int(np.iinfo(np.int64).max))  # later than every row
_HEADER = b"driftloop.profile"
_DIGEST = hashlib.sha256().digest_size


class ProfileMismatchError(DriftloopError):
    """Two profiles, or a profile and a reference, were made against different references."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The fixed marks that rows are counted against, made from the reference.

    A feature's marks are the distinct finite values of the reference, its Tukey fences, and the edges of its
    histogram's bins, sorted. `known` are its rows, so that repetitions of them can be told from others; `types` are
    the features', to which the values of rows are rounded.
    """

    model: Model
    marks: tuple[Marks, ...]
    fences: tuple[tuple[float, float], ...]
    edges: tuple[Floats, ...]
    known: KnownRows
    types: tuple[pa.DataType, ...]

    @classmethod
    def of(cls, model: Model, columns: Sequence[Floats], hashes: Hashes, types: Sequence[pa.DataType]) -> "Grid":
        """Make the grid of a reference's features and its rows' hashes; one without a finite value gets no marks."""
        values = [column[np.isfinite(column)] for column in columns]
        fences = tuple(_tukey_fences(v) for v in values)
        edges = tuple(_bin_edges(v) for v in values)
        marks = tuple(
            Marks(np.unique(np.concatenate([v, f, e])) if len(v) else v)
            for v, f, e in zip(values, fences, edges, strict=True)
        )
        return cls(model, marks, fences, edges, KnownRows.of(hashes), tuple(types))

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 of all that a profile's counts depend on."""
        model = self.model
        types = map(str, self.types)
        names = (FORMAT, CONFIDENCE_BINS, *types, *model.features, model.prediction, model.target)
        digest = hashlib.sha256(repr(names).encode())
        for marks in self.marks:
            digest.update(len(marks).to_bytes(8, "little") + marks.values.tobytes())
        digest.update(self.known.hashes.tobytes())
        return digest.hexdigest()

    @cached_property
    def offsets(self) -> Counts:
        """Return where each feature's cells begin in `Profile.cells`, and where the last one's end (d + 1,)."""
        return np.cumsum([0, *(2 * len(marks) + 1 for marks in self.marks)])


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


def _add(a: Counts, b: Counts) -> Counts:
    return np.add(a, b, dtype=np.int64)  # whatever narrow type they were kept in


def _add_moments(a: Floats, b: Floats) -> Floats:
    """Return the moments of both samples (Chan, Golub and LeVeque 1979)."""
    number = a[0] + b[0]
    weight = a[0] * b[0] / np.maximum(number, 1)
    gap = b[1] - a[1]
    mean = a[1] + gap * b[0] / np.maximum(number, 1)
    return np.stack([number, mean, a[2] + b[2] + gap**2 * weight, a[3] + b[3] + gap * gap.T * weight])


def _add_distinct(a: DistinctRows | None, b: DistinctRows | None) -> DistinctRows | None:
    return None if a is None or b is None else a.merge(b)


@dataclass(frozen=True, eq=False)
class Profile:
    """The counts and moments of some rows; each field's metadata says how it merges.

    With d features:

    - `cells` (Σ(2k + 1),): for each feature in turn, with k marks, the number of finite values below the first mark, at
      it, between it and the second, at that, …, above the last.
    - `special` (d, 3): values that are missing, -inf, +inf. `low`, `high` (d,): the range of the finite values.
    - `moments` (4, d, d): over the rows where features a and b are finite: their number, the mean of a, the sum of its
      squared deviations, and the sum of products of both deviations. Equal up to rounding for any division of the rows.
    - `apart` (d, d): whether two features differ in some row. `mismatched` (d,): whether a column was not numeric.
    - `known` (u,): how many rows equal each of the reference's distinct rows; 0 where nobody looked for repetitions.
    - `first`, `last`: the range of the timestamps, each as `Micros`.
    - `rows_without_target`: rows that came without a column of labels, which is not the same as with an empty one.
    - `left_out`: the files that could not be read, whose rows are not among these.
    """

    grid: Grid
    rows: int = field(metadata={"merge": operator.add})
    rows_missing: int = field(metadata={"merge": operator.add})
    rows_empty: int = field(metadata={"merge": operator.add})
    cells: Counts = field(metadata={"merge": _add})
    special: Counts = field(metadata={"merge": _add})
    low: Floats = field(metadata={"merge": np.minimum})
    high: Floats = field(metadata={"merge": np.maximum})
    moments: Floats = field(metadata={"merge": _add_moments})
    apart: npt.NDArray[np.bool_] = field(metadata={"merge": np.logical_or})
    mismatched: npt.NDArray[np.bool_] = field(metadata={"merge": np.logical_or})
    predictions: Counter[str] = field(metadata={"merge": operator.add})
    unpredicted: int = field(metadata={"merge": operator.add})
    confusion: Counter[tuple[str, str]] = field(
        metadata={"merge": operator.add}
    )  # (target, prediction) of the labelled rows
    confidence: Counts = field(metadata={"merge": _add})
    known: Counts = field(metadata={"merge": _add})
    first: Micros = field(metadata={"merge": min})
    last: Micros = field(metadata={"merge": max})
    distinct: DistinctRows | None = field(metadata={"merge": _add_distinct})
    rows_without_target: int = field(default=0, metadata={"merge": operator.add})
    left_out: int = field(default=0, metadata={"merge": operator.add})

    @classmethod
    def empty(cls, grid: Grid, *, hashes: bool = True) -> "Profile":
        """Return the profile of no rows: added to another, it changes nothing."""
        d = len(grid.marks)
        return cls(
            grid, 0, 0, 0,
            cells=np.zeros(grid.offsets[-1], np.int64),
            special=np.zeros((d, 3), np.int64),
            low=np.full(d, np.inf),
            high=np.full(d, -np.inf),
            moments=np.zeros((4, d, d)),
            apart=np.zeros((d, d), np.bool_),
            mismatched=np.zeros(d, np.bool_),
            predictions=Counter(),
            unpredicted=0,
            confusion=Counter(),
            confidence=np.zeros(CONFIDENCE_BINS, np.int64),
            known=np.zeros(len(grid.known.hashes), np.int64),
            first=NEVER,
            last=BEFORE_ALL,
            distinct=DistinctRows() if hashes else None,
        )  # fmt: skip

    def __add__(self, other: "Profile") -> "Profile":
        """Return the profile of both profiles' rows; raise ProfileMismatchError if their references differ."""
        self.require(other.grid)
        merged = {f.name: f.metadata["merge"](getattr(self, f.name), getattr(other, f.name)) for f in MERGED}
        return Profile(self.grid, **merged)

    def require(self, grid: Grid) -> None:
        """Raise ProfileMismatchError unless this profile was counted against that grid."""
        if grid.digest != self.grid.digest:
            raise ProfileMismatchError(_other_reference(self.grid.digest, grid.digest))

    def column(self, index: int) -> Counts:
        """Return a feature's cells (2k + 1,), for its k marks."""
        return self.cells[self.grid.offsets[index] : self.grid.offsets[index + 1]]

    def finite(self, index: int) -> int:
        """Return how many finite values a feature has."""
        return self.rows - int(self.special[index].sum())

    def below(self, index: int, mark: float) -> int:
        """Return how many finite values of a feature lie below one of its marks."""
        place = int(np.searchsorted(self.grid.marks[index].values, mark))
        return int(self.column(index)[: 2 * place + 1].sum())

    def up_to(self, index: int, mark: float) -> int:
        """Return how many finite values of a feature lie at or below one of its marks."""
        place = int(np.searchsorted(self.grid.marks[index].values, mark))
        return int(self.column(index)[: 2 * place + 2].sum())

    def histogram(self, index: int) -> Counts:
        """Return how many finite values of a feature lie in each of the grid's bins (BINS,); the outer two are open."""
        places = np.searchsorted(self.grid.marks[index].values, self.grid.edges[index][1:-1])
        inner = np.cumsum(self.column(index))[2 * places]  # below an edge: all cells up to the one before it
        return np.diff(inner, prepend=0, append=self.finite(index))

    def mean(self, index: int) -> float:
        """Return the mean of a feature's finite values."""
        return float(self.moments[1, index, index])

    def variance(self, index: int) -> float:
        """Return the variance of a feature's finite values, with n-1 in the denominator."""
        number, _, squares = self.moments[:3, index, index]
        return float(squares / (number - 1)) if number > 1 else float("nan")

    def constant(self, index: int) -> bool:
        """Return whether a feature has one distinct value, or none."""
        infinite = int(np.count_nonzero(self.special[index, 1:]))
        spread = 0 if not self.finite(index) else 1 if self.low[index] == self.high[index] else 2
        return spread + infinite <= 1

    @property
    def equal_columns(self) -> int:
        """Return how many pairs of features have the same values in all rows."""
        apart = self.apart | self.mismatched | self.mismatched[:, None]
        return int(np.count_nonzero(np.triu(~apart, 1)))

    @property
    def labelled(self) -> int:
        """Return how many rows hold a prediction and its label."""
        return self.confusion.total()

    @property
    def duplicated(self) -> int | None:
        """Return how many rows repeat an earlier one in all features and the prediction; None without hashes."""
        return None if self.distinct is None else self.rows - len(self.distinct)


def _other_reference(theirs: str, ours: str) -> str:
    return f"a profile that was made against another reference: {theirs[:12]}, not {ours[:12]}"


MERGED = tuple(f for f in fields(Profile) if "merge" in f.metadata)


def merge(grid: Grid, profiles: Iterable[Profile], *, hashes: bool = True) -> Profile:
    """Return the sum of any number of profiles."""
    return reduce(operator.add, profiles, Profile.empty(grid, hashes=hashes))


def compact(profile: Profile) -> Profile:
    """Return a profile without its rows' hashes, with counts in the narrowest type, so that many fit in memory."""
    return replace(
        profile,
        cells=_narrow(profile.cells),
        confidence=_narrow(profile.confidence),
        known=_narrow(profile.known),
        distinct=None,
    )


def to_bytes(profile: Profile) -> bytes:
    """Return a profile as a SHA-256 and a compressed Arrow IPC file, whose columns are the arrays, with one row."""
    values = {f.name: getattr(profile, f.name) for f in MERGED}
    arrays = {name: _narrow(value).ravel() for name, value in values.items() if isinstance(value, np.ndarray)}
    if profile.distinct is not None:
        arrays["distinct"] = profile.distinct.joined()
    header: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, int)}
    header |= {name: list(value.items()) for name, value in values.items() if isinstance(value, Counter)}
    types = dict(zip(profile.grid.model.features, map(str, profile.grid.types), strict=True))
    header |= {"format": FORMAT, "grid": profile.grid.digest, "types": types}
    columns = [pa.ListArray.from_arrays([0, len(a)], pa.array(a)) for a in arrays.values()]
    batch = pa.record_batch(columns, names=list(arrays)).replace_schema_metadata({_HEADER: json.dumps(header)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    content = bytes(sink.getvalue())
    return hashlib.sha256(content).digest() + content


def _narrow(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return integers in the narrowest type that holds them, in the same shape; other arrays as they are."""
    if array.dtype != np.int64:
        return array
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def types_in(content: bytes) -> dict[str, pa.DataType]:
    """Return the types that a profile's features were rounded to; raise ProfileMismatchError if it is none."""
    header, _ = _open(content)
    return {name: pa.type_for_alias(text) for name, text in header["types"].items()}


def _open(content: bytes) -> tuple[dict[str, Any], pa.RecordBatch]:
    digest, content = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise ProfileMismatchError(f"not a profile of format {FORMAT}, or a damaged one; make it again")
    try:
        with pa.ipc.open_file(content) as reader:
            header = json.loads(reader.schema.metadata[_HEADER])
            batch = reader.get_batch(0)
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ProfileMismatchError(f"not a profile: {error}") from error
    if header["format"] != FORMAT:
        raise ProfileMismatchError(f"a profile of format {header['format']}; this version reads {FORMAT}")
    return header, batch


def from_bytes(grid: Grid, content: bytes) -> Profile:
    """Read a profile; raise ProfileMismatchError if it is none, damaged, of another format, or of another reference."""
    header, batch = _open(content)
    if header["grid"] != grid.digest:
        raise ProfileMismatchError(_other_reference(header["grid"], grid.digest))
    arrays = {name: batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in batch.schema.names}
    hashes = arrays.pop("distinct", None)
    values: dict[str, Any] = {"distinct": None if hashes is None else DistinctRows((hashes,) if len(hashes) else ())}
    for name, none in ((f.name, getattr(Profile.empty(grid), f.name)) for f in MERGED):
        if isinstance(none, np.ndarray):
            values[name] = arrays[name].astype(none.dtype).reshape(none.shape)
        elif isinstance(none, Counter):
            values[name] = Counter({tuple(k) if isinstance(k, list) else k: n for k, n in header[name]})
        elif isinstance(none, int):
            values[name] = header[name]
    return Profile(grid, **values)
