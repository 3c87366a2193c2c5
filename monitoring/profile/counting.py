"""Profiles of Arrow tables: the counting of their rows against a grid."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Model
from monitoring.contract.schemas import TIMESTAMP, compared_fields, number_type, reference_schema
from monitoring.contract.tasks import TaskName
from monitoring.contract.times import BEFORE_ALL, Micros
from monitoring.contract.values import UnfitColumnError, convert, is_text, require_once
from monitoring.profile.bounds import Bounds
from monitoring.profile.categorical import TEXTS, LevelGrid, TextColumn
from monitoring.profile.distinct_rows import DistinctRows, Hashes, KnownRows
from monitoring.profile.error_bins import ErrorBins, ErrorEdges
from monitoring.profile.grid import CONFIDENCE_BINS, Grid
from monitoring.profile.kernel import hash_rows, hash_text
from monitoring.profile.label_errors import ErrorSums, absolute_errors
from monitoring.profile.label_scores import ScoreCounts, columns_read, label_places, read_cells
from monitoring.profile.numeric import NumericGrid
from monitoring.profile.profile import NEVER, Counts, Floats, Profile, merge
from monitoring.profile.segments import GroupOutcomes, SegmentGrid

CHUNK_ROWS = 65_536  # profiled at once
PROBE_ROWS = 64  # the first rows, in which most pairs of columns differ already


def grid_of(model: Model, reference: pa.Table, bounds: Bounds | None = None) -> Grid:
    """Make the grid of a reference, with the bounds that the config's tests name."""
    bounds = bounds or Bounds()
    fields = [field for field in compared_fields(reference.schema, model) if field.name in model.numbers]
    numeric = NumericGrid.of(fields, [_numbers(reference, field)[0] for field in fields])
    categorical = model.of_kind("categorical")
    levels = LevelGrid.of(categorical, [_texts(reference, name) for name in categorical])
    bare = Grid(model, numeric, levels, KnownRows.of(np.empty(0, np.uint64)), None, bounds)
    columns = _Columns.of(bare, reference)
    return replace(
        bare,
        known=KnownRows.of(columns.hashes),
        error_edges=_EDGES[model.task](model, reference),
        segments=_segments_of(model, reference, columns),
    )


def _segments_of(model: Model, reference: pa.Table, columns: "_Columns") -> SegmentGrid:
    if not model.segments:
        return SegmentGrid({}, {})
    return SegmentGrid.of(model.segments, columns.by_name, _all_times(reference))


def profile_rows(grid: Grid, rows: pa.Table, *, hashes: bool = True) -> Profile:
    """Profile rows; an absent column counts as null, columns that are not the model's are ignored.

    What values may be is said in `monitoring.contract.values`; raise UnfitColumnError for a column that cannot be what
    is due. But a numeric feature that is text counts as mismatched, and its values as missing: that is for the tests to
    say. Times that cannot be read are none.
    """
    names = [*reference_schema(grid.model).names, *grid.model.probability_columns]
    require_once(rows.schema, [*names, "confidence", "timestamp"])
    chunks = (rows.slice(start, CHUNK_ROWS) for start in range(0, len(rows), CHUNK_ROWS))
    return merge(grid, (_profile_chunk(grid, chunk, hashes=hashes) for chunk in chunks), hashes=hashes)


@dataclass(frozen=True, eq=False)
class _Columns:
    """The tested columns of some rows: numbers (d, n), and texts, of which a prediction that is a category is last."""

    grid: Grid
    numbers: Floats
    mismatched: npt.NDArray[np.bool_]
    texts: tuple[TextColumn, ...]

    @classmethod
    def of(cls, grid: Grid, rows: pa.Table) -> "_Columns":
        fields = map(pa.field, grid.numeric.names, grid.numeric.types)
        columns = [_numbers(rows, field, text=field.name != grid.model.prediction) for field in fields]
        numbers = np.array([values for values, _ in columns]).reshape(len(columns), len(rows))
        mismatched = np.array([text for _, text in columns], np.bool_)
        return cls(grid, numbers, mismatched, tuple(_texts(rows, name) for name in grid.texts))

    @property
    def levels(self) -> tuple[TextColumn, ...]:
        """Return the categorical features."""
        return self.texts[: len(self.grid.categorical.names)]

    @property
    def by_name(self) -> Mapping[str, TextColumn | Floats]:
        """Return all tested columns."""
        numbers = zip(self.grid.numeric.names, self.numbers, strict=True)
        return dict(numbers) | dict(zip(self.grid.texts, self.texts, strict=True))

    @cached_property
    def groups(self) -> Counts:
        """Return each row's group of each segment (segments, n)."""
        return self.grid.segments.places(self.by_name, self.numbers.shape[1])

    def outcomes(self, losses: Callable[[], Floats]) -> GroupOutcomes:
        """Sum up the rows' losses (n,), NaN where there is no label, by group; without groups ask for none."""
        segments = self.grid.segments
        return GroupOutcomes.of(self.groups, losses(), segments.shape[0]) if segments.groups else GroupOutcomes()

    @cached_property
    def words(self) -> tuple[Hashes, ...]:
        """Return a hash of each word of each column of text, and last that of none."""
        ours = tuple(self.grid.categorical.hash(index, column) for index, column in enumerate(self.levels))
        predicted = self.texts[len(ours) :]
        return (*ours, *(hash_text(column.words.to_pylist()) for column in predicted))

    @property
    def hashes(self) -> Hashes:
        """Return a hash of each row (n,)."""
        hashed = [words[column.codes] for words, column in zip(self.words, self.texts, strict=True)]
        predicted = hashed[len(self.levels) :] or [np.zeros(self.numbers.shape[1], np.uint64)]
        return hash_rows(self.numbers, predicted[0], hashed[: len(self.levels)])

    @property
    def apart(self) -> npt.NDArray[np.bool_]:
        """Return which columns of text differ in some row (t, t); two missing values are equal."""
        differs = np.zeros((len(self.texts), len(self.texts)), np.bool_)
        for a, b in combinations(range(len(self.texts)), 2):
            differs[a, b] = differs[b, a] = not (self._equal(a, b, PROBE_ROWS) and self._equal(a, b, None))
        return differs

    def _equal(self, a: int, b: int, rows: int | None) -> bool:
        ours, theirs = (self.words[n][self.texts[n].codes[:rows]] for n in (a, b))
        return np.array_equal(ours, theirs)


def _profile_chunk(grid: Grid, rows: pa.Table, *, hashes: bool) -> Profile:
    model = grid.model
    columns = _Columns.of(grid, rows)
    x = columns.numbers
    finite = np.isfinite(x)
    empty = np.isnan(x).all(axis=0)
    usable = finite.all(axis=0)
    for text in columns.texts:
        empty &= text.codes < 0
        if (lacking := text.lacking()) is not None:
            usable &= ~lacking
    counted = [grid.categorical.count(index, column) for index, column in enumerate(columns.levels)]
    first, last = _time_range(rows)
    hashed = columns.hashes if hashes else None
    return Profile(
        grid,
        rows=len(rows),
        rows_missing=int(np.count_nonzero(~usable)),
        rows_empty=int(np.count_nonzero(empty)),
        cells=_joined([marks.count(values) for marks, values in zip(grid.numeric.marks, x, strict=True)]),
        special=_special(x, finite),
        low=x.min(axis=1, where=True if finite.all() else finite, initial=np.inf),
        high=x.max(axis=1, where=True if finite.all() else finite, initial=-np.inf),
        moments=_moments(x, finite),
        apart=_differing(x),
        mismatched=columns.mismatched,
        levels=_joined([counts for counts, _ in counted]),
        nulls=np.array([column.nulls for column in columns.levels], np.int64),
        unseen=tuple(unseen for _, unseen in counted),
        listed=grid.bounds.count_listed(grid.categorical.names, columns.levels),
        **grid.bounds.count(grid.numeric.names, x),
        apart_texts=columns.apart,
        groups=grid.segments.count(columns.groups, columns.by_name),
        confidence=_confidence(rows, model),
        first=first,
        last=last,
        rows_without_target=0 if model.target in rows.schema.names else len(rows),
        known=np.zeros(len(grid.known.hashes), np.int64) if hashed is None else grid.known.count(hashed),
        distinct=None if hashed is None else DistinctRows.of(hashed),
        **_ANSWERS[model.task](columns, rows),
    )


def _joined(counts: list[Counts]) -> Counts:
    return np.concatenate([np.empty(0, np.int64), *counts])


def _categories(columns: _Columns, rows: pa.Table) -> Mapping[str, Any]:
    """Count predictions and labels that are categories."""
    predictions, targets = columns.texts[-1], _texts(rows, columns.grid.model.target)
    names = predictions.words.to_pylist()
    found = {name: count for name, count in zip(names, predictions.counts.tolist(), strict=True) if count}
    return {
        "predictions": Counter(found),
        "unpredicted": predictions.nulls,
        "confusion": _confusion(targets, predictions),
        "errors": ErrorSums(),
        "scores": _scores(targets, rows, columns.grid.model),
        "error_bins": ErrorBins(),
        "outcomes": columns.outcomes(lambda: _wrong(targets, predictions)),
    }


def _wrong(targets: TextColumn, predictions: TextColumn) -> Floats:
    """Return 1 for a row whose prediction is another category than its label, 0 for an equal one, NaN for neither."""
    same = pc.index_in(targets.words, value_set=predictions.words).fill_null(-1).to_numpy(zero_copy_only=False)
    wrong = np.append(same, -1)[targets.codes] != predictions.codes
    return np.where((targets.codes >= 0) & (predictions.codes >= 0), wrong, np.nan)


def _scores(targets: TextColumn, rows: pa.Table, model: Model) -> ScoreCounts:
    """Count the probabilities of the labelled rows, of which there may be few."""
    labelled = targets.codes >= 0
    if not model.scored or not labelled.any():
        return ScoreCounts.none()
    few = rows.select([name for name in columns_read(model) if name in rows.schema.names]).filter(pa.array(labelled))
    places = label_places(targets.words.to_pylist(), model)
    return ScoreCounts.of(read_cells(few, model), places[targets.codes[labelled]])


def _answers(columns: _Columns, rows: pa.Table) -> Mapping[str, Any]:
    """Sum up predictions and labels that are numbers."""
    predictions, labels = _answered(columns.grid.model, rows)
    return {
        "predictions": Counter(),
        "unpredicted": int(np.count_nonzero(np.isnan(predictions))),
        "confusion": Counter(),
        "errors": ErrorSums.of(predictions, labels),
        "scores": ScoreCounts.none(),
        "error_bins": columns.grid.error_bins(predictions, labels),
        "outcomes": columns.outcomes(lambda: absolute_errors(predictions, labels)),
    }


def _answered(model: Model, rows: pa.Table) -> tuple[Floats, Floats]:
    """Return a regression's predictions and labels (n,), not rounded to a reference's type; NaN is none."""
    names = model.prediction, model.target
    predictions, labels = (_numbers(rows, pa.field(name, model.rules.values), text=False)[0] for name in names)
    return predictions, labels


_ANSWERS: Mapping[TaskName, Callable[[_Columns, pa.Table], Mapping[str, Any]]] = {
    "classification": _categories,
    "regression": _answers,
}
_EDGES: Mapping[TaskName, Callable[[Model, pa.Table], ErrorEdges | None]] = {
    "classification": lambda _model, _rows: None,
    "regression": lambda model, rows: ErrorEdges.of(*_answered(model, rows)),
}


def _special(x: Floats, finite: npt.NDArray[np.bool_]) -> Counts:
    """Return how many values of each column are missing, -inf and +inf (d, 3)."""
    if finite.all():
        return np.zeros((len(x), 3), np.int64)
    return np.stack([np.count_nonzero(found, axis=1) for found in (np.isnan(x), x == -np.inf, x == np.inf)], axis=1)


def _numbers(rows: pa.Table, field: pa.Field, *, text: bool = True) -> tuple[Floats, bool]:
    """Return a column (n,) as float64 with NaN for null, and whether it is text, which no number is taken from.

    Where no `text` is let through, raise UnfitColumnError.
    """
    if field.name not in rows.schema.names:
        return np.full(len(rows), np.nan), False
    column = rows[field.name]
    if text and is_text(column.type):
        return np.full(len(rows), np.nan), True
    values: Floats = convert(column, field).cast(pa.float64()).to_numpy()
    return values, False


def _texts(rows: pa.Table, name: str) -> TextColumn:
    """Return a column of text; raise UnfitColumnError if it cannot be that."""
    if name not in rows.schema.names:
        return TextColumn.missing(len(rows))
    column = rows[name]
    if pa.types.is_integer(column.type):  # the few distinct numbers are made text, not each
        column = _words_alone(column)
    return TextColumn.of(convert(column, pa.field(name, TEXTS)))


def _words_alone(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return whole numbers as a dictionary of texts."""
    encoded = column.dictionary_encode().combine_chunks()
    words = encoded.dictionary.cast(pa.string())
    return pa.chunked_array([pa.DictionaryArray.from_arrays(encoded.indices, words)])


def _confusion(targets: TextColumn, predictions: TextColumn) -> Counter[tuple[str, str]]:
    """Return the confusion matrix of the rows with both, by (target, prediction)."""
    labelled = (targets.codes >= 0) & (predictions.codes >= 0)
    number = len(predictions.words)
    pairs, counts = np.unique(targets.codes[labelled] * number + predictions.codes[labelled], return_counts=True)
    target_names, names = targets.words.to_pylist(), predictions.words.to_pylist()
    found = zip(pairs.tolist(), counts.tolist(), strict=True)
    return Counter({(target_names[pair // number], names[pair % number]): count for pair, count in found})


@np.errstate(over="ignore", invalid="ignore")  # of numbers whose squares are beyond all: nothing is known of these
def _moments(x: Floats, finite: npt.NDArray[np.bool_]) -> Floats:
    """Return `Profile.moments` (4, d, d) of values (d, n), which are finite or not (d, n)."""
    d, n = x.shape
    if finite.all():
        mean = x.mean(axis=1)
        x = x - mean[:, None]
        products = x @ x.T
        squares = products.diagonal()
        return np.stack([np.full((d, d), float(n)), np.tile(mean[:, None], d), np.tile(squares[:, None], d), products])
    present = finite.astype(np.float64)
    centre = x.sum(axis=1, where=finite, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    x = np.where(finite, x - centre, 0.0)
    number, total = present @ present.T, x @ present.T
    off = total / np.maximum(number, 1)  # a pair's mean is not the column's where the other one is missing
    return np.stack([number, centre + off, (x * x) @ present.T - off * total, x @ x.T - off * total.T])


def _differing(x: Floats) -> npt.NDArray[np.bool_]:
    """Return which pairs of columns differ in some row (d, d); two missing values are equal."""
    head = x[:, :PROBE_ROWS]
    differs: npt.NDArray[np.bool_] = np.logical_not(_equal(head[:, None], head[None]).all(axis=2))
    for a, b in np.argwhere(np.triu(~differs, 1)).tolist():
        differs[a, b] = differs[b, a] = not _equal(x[a], x[b]).all()
    return differs


def _equal(a: Floats, b: Floats) -> npt.NDArray[np.bool_]:
    """Return which values are equal, element by element; NaN is equal to NaN."""
    equal: npt.NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal


def _confidence(rows: pa.Table, model: Model) -> Counts:
    """Return how many confidences lie in each of CONFIDENCE_BINS equal bins from 0 to 1 (bins,)."""
    values = _numbers(rows, pa.field("confidence", number_type(model)))[0]
    values = values[(values >= 0) & (values <= 1)]
    bins = np.minimum((values * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    return np.bincount(bins, minlength=CONFIDENCE_BINS)


def _all_times(rows: pa.Table) -> npt.NDArray[np.int64] | None:
    """Return the rows' times (n,), each as `Micros`; None unless each row has one."""
    times = _read_times(rows)
    return None if times is None or times.null_count or not len(times) else times.to_numpy()


def _read_times(rows: pa.Table) -> pa.ChunkedArray | None:
    if "timestamp" not in rows.schema.names:
        return None
    try:
        return convert(rows["timestamp"], pa.field("timestamp", TIMESTAMP)).cast(pa.int64())
    except UnfitColumnError:  # no test needs them
        return None


def _time_range(rows: pa.Table) -> tuple[Micros, Micros]:
    """Return the earliest and the latest time of the rows; NEVER and BEFORE_ALL if they have none."""
    if (times := _read_times(rows)) is None:
        return NEVER, BEFORE_ALL
    bounds = pc.min_max(times).as_py()
    return (NEVER, BEFORE_ALL) if bounds["max"] is None else (bounds["min"], bounds["max"])
