"""reference.parquet: the rows that the log is held against, and where they come from."""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, TypeAdapter, ValidationError

from monitoring.contract import names
from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.plain_files import OddEntryError, read_plain
from monitoring.contract.probabilities import probability_flaws
from monitoring.contract.schemas import TIMESTAMP, compared_fields, probability_fields, reference_schema
from monitoring.contract.storage import replaced
from monitoring.contract.times import Micros, latest_time
from monitoring.contract.values import UnfitColumnError, conform, without_nan

TIME = pa.field("timestamp", TIMESTAMP)  # when a row was predicted, where a reference knows it
_MICROS = re.compile(r"-?[0-9]{1,18}")

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(gt=0)]
Loss = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ERRORS_BOUND = 0.999  # the quantile of a regression's absolute errors that larger ones are counted as


class InvalidReferenceError(DriftloopError):
    """reference.parquet is absent, unreadable or does not fit the config."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """How often a model is right at a confidence: knots in order of confidence, each of so many unseen rows."""

    confidence: tuple[Share, ...]
    accuracy: tuple[Share, ...]
    rows: tuple[Count, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless there are knots, and each has its three numbers and its place."""
        if not len(self.confidence) == len(self.accuracy) == len(self.rows) > 0:
            raise ValueError("a calibration takes as many confidences as accuracies and rows, at least one of each")
        if list(self.confidence) != sorted(set(self.confidence)):
            raise ValueError("a calibration's confidences ascend")


@dataclass(frozen=True)
class Performance:
    """How good a model is on so many rows that it had not seen: a classification's accuracy, or a regression's errors.

    The accuracy is the share of rows that it gets right. `mae` is the mean absolute error, of errors no larger than
    `mae_bound`, their 99.9 % quantile: larger ones count as that. `mae_deviation` is their standard deviation.

    They are those of its promotion, or, once labels have shown that it stays as good after a change, those of the
    reference since: then `at_promotion` is the accuracy, or the mean absolute error, that it was promoted with.
    """

    accuracy: Share | None
    rows: Count
    calibration: ReliabilityCurve | None = None
    at_promotion: Loss | None = None
    mae: Loss | None = None
    mae_bound: Loss | None = None
    mae_deviation: Loss | None = None

    def __post_init__(self) -> None:
        """Raise ValueError unless it is of one task, and complete."""
        if (self.accuracy is None) == (self.mae is None):
            raise ValueError("a performance is either an accuracy, of a classification, or a mae, of a regression")
        if self.mae is not None and (self.mae_bound is None or self.mae > self.mae_bound):
            raise ValueError("a mae takes a mae_bound, and is no larger")
        if self.accuracy is not None and (self.at_promotion or 0) > 1:
            raise ValueError("an accuracy at promotion is 1 at most")

    @classmethod
    def of_errors(cls, errors: pa.Array | pa.ChunkedArray, at_promotion: float | None = None) -> "Performance":
        """Measure a regression by the absolute errors (n,) of its answers; all are finite, and there is one at least.

        A row that a model has no answer for has no error: who judges the model decides what that is worth.
        """
        bound = pc.quantile(errors, ERRORS_BOUND, interpolation="higher")[0].as_py()
        counted = pc.min_element_wise(errors, pa.scalar(bound, errors.type))
        measured = (float(one(counted).as_py()) for one in (pc.mean, pc.stddev))
        mae, deviation = measured
        return cls(
            None,
            len(errors),
            at_promotion=at_promotion,
            mae=min(mae, float(bound)),  # equal errors have a mean that rounding puts above them
            mae_bound=float(bound),
            mae_deviation=deviation,
        )

    @property
    def promised(self) -> float:
        """Return the measure at its promotion, so that one acceptance after the other does not wear it down."""
        measured = self.mae if self.accuracy is None else self.accuracy
        assert measured is not None
        return measured if self.at_promotion is None else self.at_promotion


@dataclass(frozen=True)
class Reference:
    """The reference's rows and where they come from.

    Its table has the columns of `reference_schema`, `timestamp` if it knows its rows' times, and those of the
    probabilities if they are known and kept.

    A number that is stored in a narrower type than the log's keeps it: what is compared with it is rounded likewise.

    `through` is the time of the newest logged row in it; only later rows are held against it. It is None for a
    reference that was not taken from the log, and for one that was made while the clock was far ahead: it would let no
    row in. `performance` is None if nobody has measured it.
    """

    table: pa.Table
    digest: str
    through: Micros | None
    origin: str
    model_version: str | None
    performance: Performance | None = None


def read_reference(layout: Layout, model: Model, *, predicted: bool = True) -> Reference:
    """Read reference.parquet; raise InvalidReferenceError with the list of what does not fit the config.

    With `predicted=False` the prediction column may be absent: a first start fills it.
    """
    path = layout.reference
    try:
        content = read_plain(path)
    except FileNotFoundError as error:
        raise InvalidReferenceError(f"{path}: there is no reference; the flow `bootstrap` makes one") from error
    except (OSError, OddEntryError) as error:
        raise InvalidReferenceError(f"{path}: is not a readable Parquet file: {error}") from error
    return parse_reference(content, path, model, predicted=predicted)


def reference_digest(layout: Layout) -> str | None:
    """Return the SHA-256 of the reference's file, as `Reference.digest`; None if there is no reference."""
    try:
        return hashlib.sha256(read_plain(layout.reference)).hexdigest()
    except FileNotFoundError:
        return None


def parse_reference(content: bytes, path: str | Path, model: Model, *, predicted: bool = True) -> Reference:
    """Parse a reference's bytes, so that digest and rows are of the same file; see `read_reference`."""
    try:
        # a thread of Arrow's may be the last to hold the bytes, and aborts a process that ends just then
        stored = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except UNREADABLE as error:
        raise InvalidReferenceError(f"{path}: is not a readable Parquet file: {reason_of(error)}") from error
    known = [field for field in (TIME, *probability_fields(model)) if field.name in stored.column_names]
    label = pa.field(model.target, model.rules.values)
    table, problems = _rows(stored, [*compared_fields(stored.schema, model), label, *known], model.features)
    problems += misfits(stored, table, model, predicted=predicted)
    problems += probability_flaws(table, stored.column_names, model.probability_columns)
    if TIME.name in table.column_names and (timeless := table[TIME.name].null_count):
        problems.append(f"column timestamp: {timeless:,} rows have no time; give all theirs, or leave the column out")
    if problems:
        raise InvalidReferenceError(f"{path} does not fit the config:\n" + "\n".join(f"  {p}" for p in problems))
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (stored.schema.metadata or {}).items()
    }
    return Reference(
        table=table,
        digest=hashlib.sha256(content).hexdigest(),
        through=_through(metadata, path),
        origin=metadata.get(names.ORIGIN, "user"),
        model_version=metadata.get(names.REFERENCE_MODEL),
        performance=_performance(metadata, path),
    )


def _rows(stored: pa.Table, schema: Iterable[pa.Field], features: Collection[str]) -> tuple[pa.Table, list[str]]:
    """Return a reference's columns as the schema, without those that cannot be, and why they cannot."""
    columns: dict[str, pa.ChunkedArray] = {}
    problems = []
    for field in schema:
        try:
            column = conform(stored, pa.schema([field]))[field.name]
            columns[field.name] = column if field.name in features else without_nan(column)
        except UnfitColumnError as error:
            problems.append(str(error))
    return pa.table(columns), problems


def _through(metadata: Mapping[str, str], path: str | Path) -> Micros | None:
    text = metadata.get(names.THROUGH)
    if not text:
        return None
    if not _MICROS.fullmatch(text):
        raise InvalidReferenceError(f"{path}: its metadata {names.THROUGH} is {text[:40]!r}; it must be microseconds")
    through = Micros(int(text))
    return through if through <= latest_time() else None


def _performance(metadata: Mapping[str, str], path: str | Path) -> Performance | None:
    if names.PERFORMANCE not in metadata:
        return None
    try:
        return TypeAdapter(Performance).validate_json(metadata[names.PERFORMANCE])
    except ValidationError as error:
        lines = "\n".join(f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidReferenceError(f"{path}: its metadata {names.PERFORMANCE} cannot be used:\n{lines}") from error


def misfits(stored: pa.Table, rows: pa.Table, model: Model, *, predicted: bool) -> Iterator[str]:
    """Say what is wrong with a reference's columns, as they are stored and, as far as they fit, as rows."""
    if not len(stored):
        yield "it has no rows"
    required = {*model.features, model.target} | ({model.prediction} if predicted else set())
    for field in reference_schema(model):
        if field.name not in stored.column_names:
            if field.name in required:
                yield f"column {field.name} is missing"
        elif field.name in rows.column_names:
            column = rows[field.name]
            if field.name in required and len(column) and _is_void(column):
                yield f"column {field.name} has no value"
                continue
            if field.name in model.features:
                flaws = model.kind(field.name).flaws(column)
            else:
                flaws = model.rules.flaws(column, model.categories)
            yield from (f"column {field.name} {flaw}" for flaw in flaws)


def _is_void(column: pa.ChunkedArray) -> bool:
    return bool(pc.all(pc.is_null(column, nan_is_null=True)).as_py())


def write_reference(
    layout: Layout,
    model: Model,
    table: pa.Table,
    *,
    origin: str,
    model_version: str | None = None,
    through: Micros | None = None,
    performance: Performance | None = None,
) -> None:
    """Replace reference.parquet atomically by these rows, with a note of where they come from."""
    metadata = {names.ORIGIN: origin}
    if model_version is not None:
        metadata[names.REFERENCE_MODEL] = model_version
    if through is not None:
        metadata[names.THROUGH] = str(through)
    if performance is not None:
        metadata[names.PERFORMANCE] = json.dumps(asdict(performance))
    schema = reference_schema(model)
    for field in (TIME, *probability_fields(model)):
        if field.name in table.column_names:
            schema = schema.append(field)
    with replaced(layout.reference) as temporary:
        pq.write_table(table.select(schema.names).cast(schema.with_metadata(metadata)), temporary)
