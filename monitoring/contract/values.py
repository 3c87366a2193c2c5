"""How a foreign value becomes ours: the one way in for the columns of every file, whoever wrote it.

The reference, the log, late labels, the data sets of `profile` and `backtest` and the rows of a retraining all come
through here, so that the same value is the same number, category or time on both sides of every comparison. What
cannot be one is refused with its column and its type; who reads a file adds the file's name.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.contract.prediction_ids import canonical_ids

Cast = Callable[[pa.ChunkedArray, pa.DataType], pa.ChunkedArray]

_CALENDAR = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999, in microseconds since 1970
_UUID_BYTES = 16
_DECIMAL_DIGITS = 76  # of the widest decimal


class UnfitColumnError(ValueError):
    """A column cannot be what is due there."""


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table's columns as a schema of numbers, texts and times; one that is not there is null.

    Raise UnfitColumnError, a ValueError, with the column and its type where that cannot be.
    """
    require_once(table.schema, schema.names)
    columns = [
        convert(table[field.name], field) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))


def require_once(schema: pa.Schema, names: Iterable[str]) -> None:
    """Raise UnfitColumnError if one of these columns stands several times."""
    if twice := [name for name in names if len(schema.get_all_field_indices(name)) > 1]:
        raise UnfitColumnError(f"column {', '.join(twice)} stands more than once")


def convert(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """Return a column as the field's type: a number, a text, which may be a dictionary of texts, or a time in UTC.

    Ids are in the spelling in which they are compared. Raise UnfitColumnError as `conform` does.
    """
    kind, cast = _way_in(field.type)
    if not fits(column.type, field.type):
        raise UnfitColumnError(f"column {field.name} is {column.type}; it must be {kind}")
    try:
        ours = column if _is_ours(column, field.type) else cast(_plain(column), field.type)
        _require_sound(ours, field)
        return canonical_ids(ours) if field.name == "prediction_id" else ours
    except pa.ArrowException as error:
        raise UnfitColumnError(f"column {field.name} is {column.type}; it must be {kind}: {_line(error)}") from error


def fits(given: pa.DataType, due: pa.DataType) -> bool:
    """Say whether columns of a type can be what is due, a number, a text or a time; their values may still not be."""
    given = _inner(given)
    if pa.types.is_null(given) or given == due:
        return True
    if pa.types.is_floating(due):
        return _is_number(given)
    if pa.types.is_timestamp(due):
        return pa.types.is_timestamp(given) or pa.types.is_date(given) or is_text(given)
    return is_text(given) or _is_number(given) or _is_uuid(given)


def narrower(given: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the floating type in which numbers of two types are compared: the one of fewer bits.

    2.7 as float32 is another number than 2.7 as float64. Rounded to float32, both are the same.
    """
    given = _inner(given)
    fewer = pa.types.is_floating(given) and _is_number(_inner(other)) and given.bit_width < _inner(other).bit_width
    return given if fewer else other


def narrowest(schemas: Iterable[pa.Schema], names: Collection[str]) -> dict[str, pa.DataType]:
    """Return the narrowest floating type of each of these columns over some schemas."""
    types: dict[str, pa.DataType] = {}
    for field in (field for schema in schemas for field in schema):
        if field.name in names and pa.types.is_floating(_inner(field.type)):
            types[field.name] = narrower(field.type, types.get(field.name, _inner(field.type)))
    return types


def narrowed(table: pa.Table, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return a table of which some columns of numbers are of a narrower type, if one is given."""
    fields = [f.with_type(narrower(types[f.name], f.type)) if f.name in types else f for f in table.schema]
    return conform(table, pa.schema(fields))


def without_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column in which a number that is none is null."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def is_text(given: pa.DataType) -> bool:
    """Say whether a type is text; bytes in UTF-8 are, since some writers do not say which of both they mean."""
    types = pa.types
    return any(
        test(_inner(given))
        for test in (
            types.is_string, types.is_large_string, types.is_string_view,
            types.is_binary, types.is_large_binary, types.is_binary_view,
        )
    )  # fmt: skip


def _is_number(given: pa.DataType) -> bool:
    types = pa.types
    return any(test(given) for test in (types.is_floating, types.is_integer, types.is_decimal, types.is_boolean))


def _is_uuid(given: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_binary(given)) and given.byte_width == _UUID_BYTES


def _inner(given: pa.DataType) -> pa.DataType:
    """Return the type of the values themselves, where a type wraps another."""
    if isinstance(given, pa.UuidType | pa.Bool8Type):
        return pa.bool_() if isinstance(given, pa.Bool8Type) else given.storage_type
    return _inner(given.value_type) if pa.types.is_dictionary(given) else given


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without what wraps its type, and without a dictionary unless that is of text."""
    if isinstance(column.type, pa.UuidType | pa.Bool8Type):
        storage = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        return storage.cast(_inner(column.type))
    if pa.types.is_dictionary(column.type) and not is_text(column.type):
        return column.cast(column.type.value_type)
    return column


def _way_in(due: pa.DataType) -> tuple[str, Cast]:
    if pa.types.is_floating(due):
        return "a number", _numbers
    if pa.types.is_timestamp(due):
        return "a time: a timestamp, a date, or text like 2026-01-31T12:00:00Z", _times
    return "text, a whole number, or true or false", _texts


def _require_sound(column: pa.ChunkedArray, field: pa.Field) -> None:
    """Raise unless text is UTF-8, which a damaged file's may not be, and times lie within the calendar."""
    if is_text(column.type):
        column.validate(full=True)
    elif pa.types.is_timestamp(field.type):
        bounds = pc.min_max(column)
        if bounds["max"].is_valid and (bounds["min"].value < _CALENDAR[0] or bounds["max"].value > _CALENDAR[1]):
            raise UnfitColumnError(f"column {field.name} holds times outside the years 1 to 9999")


def _line(error: Exception) -> str:
    """Return what Arrow says of a value, without what it advises."""
    return " ".join(str(error).split()).partition(" as a scalar of type")[0]


def _numbers(column: pa.ChunkedArray, due: pa.DataType) -> pa.ChunkedArray:
    """Return numbers as float64, each rounded once, or rounded once more to float32; true is 1."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow's own cast of decimals is off by a bit for every eighth
    return column.cast(pa.float64(), safe=False).cast(due, safe=False)


def _texts(column: pa.ChunkedArray, due: pa.DataType) -> pa.ChunkedArray:
    """Return categories and ids as text: 3 and 3.0 are `3`, true is `true`, NaN is none."""
    if _is_uuid(column.type):
        column = pa.chunked_array([[v and str(UUID(bytes=v)) for v in column.to_pylist()]], pa.string())
    elif pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column.cast(pa.float64())).cast(pa.int64())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.decimal256(_DECIMAL_DIGITS, 0))
    if pa.types.is_dictionary(due):
        encoded = column if _is_code(column) else column.cast(pa.string()).dictionary_encode()
        return encoded.cast(due)
    return column.cast(due)


def _is_ours(column: pa.ChunkedArray, due: pa.DataType) -> bool:
    return column.type == due and (not pa.types.is_dictionary(due) or _is_code(column))


def _is_code(column: pa.ChunkedArray) -> bool:
    """Say whether a column is a dictionary, in each piece of which no word stands twice and none is null."""
    return pa.types.is_dictionary(column.type) and all(
        not words.null_count and len(words.unique()) == len(words)
        for words in (chunk.dictionary for chunk in column.chunks)
    )


def _times(column: pa.ChunkedArray, due: pa.DataType) -> pa.ChunkedArray:
    """Return times in UTC, whole microseconds; one without a zone is in UTC."""
    if is_text(column.type):
        return _parse(column.cast(pa.string()), due)
    finer = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        return column.cast(due, safe=not finer)
    return column.cast(pa.timestamp("us"), safe=not finer).cast(due)


def _parse(text: pa.ChunkedArray, due: pa.DataType) -> pa.ChunkedArray:
    """Read ISO 8601, as date or with a time, a fraction and a zone or not; what is finer than microseconds is cut."""
    for pattern, instead in (
        (r"^(\d{4}-\d{2}-\d{2})$", r"\1T00:00"),
        (r"(\.\d{6})\d+", r"\1"),
        (r" ?(UTC|Z|z)$", "+00:00"),
        (r"(\d) ([+-]\d{2}(:?\d{2})?)$", r"\1\2"),
        (r"(T| )(\d{2}:\d{2}(:\d{2}(\.\d*)?)?)$", r"\1\2+00:00"),
    ):
        text = pc.replace_substring_regex(text, pattern=pattern, replacement=instead)
    return text.cast(due)
