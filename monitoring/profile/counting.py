"""Profiles of Arrow tables: the counting of their rows against a grid."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.config import Model
from monitoring.contract.schemas import TIMESTAMP, compared_fields, number_type, reference_schema
from monitoring.contract.times import BEFORE_ALL, Micros
from monitoring.contract.values import UnfitColumnError, convert, is_text, require_once
from monitoring.profile.distinct_rows import DistinctRows, Hashes
from monitoring.profile.kernel import hash_rows, hash_text
from monitoring.profile.profile import CONFIDENCE_BINS, NEVER, Counts, Floats, Grid, Profile, merge

CHUNK_ROWS = 65_536  # profiled at once
PROBE_ROWS = 64  # the first rows, in which most pairs of columns differ already

CATEGORIES = pa.dictionary(pa.int32(), pa.string())

Codes = npt.NDArray[np.int64]


def grid_of(model: Model, reference: pa.Table) -> Grid:
    """Make the grid of a reference."""
    fields = compared_fields(reference.schema, model)
    columns = [_numbers(reference, field)[0] for field in fields]
    predictions = _hash_predictions(*_categories(reference, model.prediction))
    return Grid.of(model, columns, hash_rows(np.array(columns), predictions), [field.type for field in fields])


def profile_rows(grid: Grid, rows: pa.Table, *, hashes: bool = True) -> Profile:
    """Profile rows; an absent column counts as null, columns that are not the model's are ignored.

    What values may be is said in `monitoring.contract.values`; raise UnfitColumnError for a column that cannot be what
    is due. But a feature that is text counts as mismatched, and its values as missing: that is for the tests to say.
    Times that cannot be read are none.
    """
    require_once(rows.schema, [*reference_schema(grid.model).names, "confidence", "timestamp"])
    chunks = (rows.slice(start, CHUNK_ROWS) for start in range(0, len(rows), CHUNK_ROWS))
    return merge(grid, (_profile_chunk(grid, chunk, hashes=hashes) for chunk in chunks), hashes=hashes)


def _profile_chunk(grid: Grid, rows: pa.Table, *, hashes: bool) -> Profile:
    model = grid.model
    fields = map(pa.field, model.features, grid.types)
    columns = [_numbers(rows, field) for field in fields]
    x = np.array([values for values, _ in columns])
    finite = np.isfinite(x)
    predictions, names = _categories(rows, model.prediction)
    targets, target_names = _categories(rows, model.target)
    unpredicted = predictions < 0
    no_prediction = unpredicted | (predictions == names.index("")) if "" in names else unpredicted
    first, last = _time_range(rows)
    hashed = hash_rows(x, _hash_predictions(predictions, names)) if hashes else None
    return Profile(
        grid,
        rows=len(rows),
        rows_missing=int(np.count_nonzero(~finite.all(axis=0) | no_prediction)),
        rows_empty=int(np.count_nonzero(np.isnan(x).all(axis=0) & unpredicted)),
        cells=np.concatenate([marks.count(values) for marks, values in zip(grid.marks, x, strict=True)]),
        special=_special(x, finite),
        low=x.min(axis=1, where=finite, initial=np.inf),
        high=x.max(axis=1, where=finite, initial=-np.inf),
        moments=_moments(x, finite),
        apart=_differing(x),
        mismatched=np.array([mismatched for _, mismatched in columns]),
        predictions=_count(predictions, names),
        unpredicted=int(np.count_nonzero(unpredicted)),
        confusion=_confusion(targets, target_names, predictions, names),
        confidence=_confidence(rows, model),
        first=first,
        last=last,
        rows_without_target=0 if model.target in rows.schema.names else len(rows),
        known=np.zeros(len(grid.known.hashes), np.int64) if hashed is None else grid.known.count(hashed),
        distinct=None if hashed is None else DistinctRows.of(hashed),
    )


def _hash_predictions(codes: Codes, names: list[str]) -> Hashes:
    """Return a hash of each row's prediction (n,)."""
    return hash_text(names)[codes]


def _special(x: Floats, finite: npt.NDArray[np.bool_]) -> Counts:
    """Return how many values of each feature are missing, -inf and +inf (d, 3)."""
    if finite.all():
        return np.zeros((len(x), 3), np.int64)
    return np.stack([np.count_nonzero(found, axis=1) for found in (np.isnan(x), x == -np.inf, x == np.inf)], axis=1)


def _numbers(rows: pa.Table, field: pa.Field) -> tuple[Floats, bool]:
    """Return a column (n,) as float64 with NaN for null, and whether it is text, which no number is taken from."""
    if field.name not in rows.schema.names:
        return np.full(len(rows), np.nan), False
    column = rows[field.name]
    if is_text(column.type):
        return np.full(len(rows), np.nan), True
    values: Floats = convert(column, field).cast(pa.float64()).to_numpy()
    return values, False


def _categories(rows: pa.Table, name: str) -> tuple[Codes, list[str]]:
    """Return a column's categories as codes (n,), -1 for null, and the codes' names."""
    if name not in rows.schema.names:
        return np.full(len(rows), -1), []
    column = convert(rows[name], pa.field(name, CATEGORIES)).combine_chunks()
    codes: Codes = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, column.dictionary.to_pylist()


def _count(codes: Codes, names: list[str]) -> Counter[str]:
    counts = np.bincount(codes + 1, minlength=len(names) + 1)[1:].tolist()
    return Counter({name: count for name, count in zip(names, counts, strict=True) if count})


def _confusion(
    targets: Codes, target_names: list[str], predictions: Codes, names: list[str]
) -> Counter[tuple[str, str]]:
    """Return the confusion matrix of the rows with both, by (target, prediction)."""
    labelled = (targets >= 0) & (predictions >= 0)
    pairs, counts = np.unique(targets[labelled] * len(names) + predictions[labelled], return_counts=True)
    found = zip(pairs.tolist(), counts.tolist(), strict=True)
    return Counter({(target_names[pair // len(names)], names[pair % len(names)]): count for pair, count in found})


def _moments(x: Floats, finite: npt.NDArray[np.bool_]) -> Floats:
    """Return `Profile.moments` (4, d, d) of values (d, n), which are finite or not (d, n)."""
    d, n = x.shape
    if finite.all():
        mean = x.mean(axis=1)
        x = x - mean[:, None]
        squares = np.einsum("dn,dn->d", x, x)
        return np.stack([np.full((d, d), float(n)), np.tile(mean[:, None], d), np.tile(squares[:, None], d), x @ x.T])
    present = finite.astype(np.float64)
    centre = x.sum(axis=1, where=finite, keepdims=True) / np.maximum(present.sum(axis=1, keepdims=True), 1)
    x = np.where(finite, x - centre, 0.0)
    number, total = present @ present.T, x @ present.T
    off = total / np.maximum(number, 1)  # a pair's mean is not the column's where the other one is missing
    return np.stack([number, centre + off, (x * x) @ present.T - off * total, x @ x.T - off * total.T])


def _differing(x: Floats) -> npt.NDArray[np.bool_]:
    """Return which pairs of features differ in some row (d, d); two missing values are equal."""
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


def _time_range(rows: pa.Table) -> tuple[Micros, Micros]:
    """Return the earliest and the latest time of the rows; NEVER and BEFORE_ALL if they have none."""
    if "timestamp" not in rows.schema.names:
        return NEVER, BEFORE_ALL
    try:
        times = convert(rows["timestamp"], pa.field("timestamp", TIMESTAMP))
    except UnfitColumnError:  # no test needs them
        return NEVER, BEFORE_ALL
    bounds = pc.min_max(times.cast(pa.int64())).as_py()
    return (NEVER, BEFORE_ALL) if bounds["max"] is None else (bounds["min"], bounds["max"])
