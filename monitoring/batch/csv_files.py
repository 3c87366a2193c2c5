"""CSV files as columns of numbers and texts: what a job's export means, or which option says it.

Everything is read as text, and each column becomes what the config says that it is. So `007` stays a level, and `4.0`,
which pandas writes for whole numbers with gaps, is the level 4.
"""

import codecs
import csv
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.fs

from monitoring.contract.config import Model
from monitoring.contract.schemas import log_schema
from monitoring.contract.uris import uri_of
from monitoring.contract.values import UnfitColumnError

ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.bz2", ".csv.zst")
_DELIMITERS = (",", ";", "\t", "|")
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MISSING = pa.array(["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"])  # where a number is due
_TRUTH = pa.array(["True", "False", "TRUE", "FALSE", "true", "false"])
_COMMA = re.compile(r"[+-]?[0-9]+(\.[0-9]{3})*,[0-9]+")
_WHOLE = r"^[+-]?[0-9]+\.0+$"
_SHOWN = 40  # characters of a value or a line


class CsvError(ValueError):
    """A CSV file cannot be understood as it is; the error names the option that may help."""


@dataclass(frozen=True)
class CsvOptions:
    """How a CSV file is written; a delimiter that is None is found in its first line."""

    delimiter: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"


def is_csv(uri: str) -> bool:
    """Say whether a file is CSV, by its name."""
    return uri.partition("?")[0].lower().endswith(ENDINGS)


def read_csv(source: str, model: Model, options: CsvOptions, *, strict: bool = True) -> pa.Table:
    """Read a CSV file's columns that the model knows, by their stored names; others are left out.

    Not `strict`, a column of text where numbers are due stays text, for tests to tell. Raise CsvError, or
    UnfitColumnError, with what cannot be read; OSError or ArrowException where the file cannot be.
    """
    filesystem, path = pa.fs.FileSystem.from_uri(uri_of(source))
    with filesystem.open_input_stream(path, compression="detect") as stream:
        content = _as_utf_8(stream.read(), options.encoding)
    fields = _fields(model)
    delimiter, names = _header(content, fields, options.delimiter)
    wanted = [name for name in dict.fromkeys(names) if name in fields]
    if twice := [name for name in wanted if names.count(name) > 1]:
        raise UnfitColumnError(f"column {', '.join(twice)} stands more than once")
    table = pyarrow.csv.read_csv(
        pa.BufferReader(content),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
    columns = [_meant(table[name], fields[name], model, options, strict=strict) for name in wanted]
    return pa.table(columns, names=wanted)


def _fields(model: Model) -> dict[str, pa.Field]:
    """Return what is due in each column, by the names that a file may have for it."""
    ours = {field.name: field for field in log_schema(model)}
    return ours | {theirs: ours[name] for name, theirs in model.names}


def _as_utf_8(content: bytes, encoding: str) -> bytes:
    if content.startswith(_UTF_16):
        encoding = "utf-16"
    try:
        codec = codecs.lookup(encoding).name
        text = content.decode(codec)
    except LookupError as error:
        raise CsvError(f"--encoding {encoding}: there is no such encoding; utf-8 and latin-1 are some") from error
    except UnicodeDecodeError as error:
        raise CsvError(
            f"is not {encoding} ({error.reason} at byte {error.start:,}); --encoding names another"
        ) from error
    return content if codec == "utf-8" else text.encode()


def _header(content: bytes, known: Collection[str], delimiter: str | None) -> tuple[str, Sequence[str]]:
    """Return the delimiter and the names in the first line: the one by which most of them are known."""
    if not content.strip(b"\xef\xbb\xbf \r\n"):
        raise CsvError("is empty; a CSV file begins with the names of its columns")
    line = content.partition(b"\n")[0].decode().lstrip("\ufeff").rstrip("\r")
    try:
        splits = {
            mark: next(csv.reader([line], delimiter=mark), []) for mark in (delimiter and (delimiter,)) or _DELIMITERS
        }
    except csv.Error as error:
        raise CsvError(f"its first line cannot be read: {error}") from error
    mark = max(splits, key=lambda one: len({*splits[one]} & {*known}))
    if not {*splits[mark]} & {*known}:
        raise CsvError(
            f"its first line names none of the config's columns: {line[:_SHOWN]!r}; a CSV file begins with their names,"
            " and --delimiter says what stands between them"
        )
    return mark, splits[mark]


def _meant(column: pa.ChunkedArray, field: pa.Field, model: Model, options: CsvOptions, *, strict: bool) -> Any:
    if pa.types.is_floating(field.type):
        return _numbers(column, field.name, options, strict=strict)
    if pa.types.is_timestamp(field.type) or field.name == "model_version":
        return column
    answers = field.name in (model.prediction, model.target)
    return _levels(column, model.categories if answers else ())


def _numbers(column: pa.ChunkedArray, name: str, options: CsvOptions, *, strict: bool) -> pa.ChunkedArray:
    """Return numbers; raise with a value that is none, and with the option if it is one with a decimal comma."""
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.is_in(text, value_set=_MISSING), pa.scalar(None, pa.string()), text)
    if pc.all(pc.is_in(text.drop_null(), value_set=_TRUTH)).as_py() and text.null_count < len(text):
        return pc.equal(pc.utf8_lower(text), "true").cast(pa.float64())
    if options.decimal != ".":  # with a decimal comma, a point may be one that parts thousands: it is no number
        text = pc.replace_substring(pc.replace_substring(text, ".", "_"), options.decimal, ".")
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        places = pc.indices_nonzero(pc.is_valid(text)).to_pylist()
        wrong = next(column[place].as_py() for place in places if not _is_number(text[place]))
        hint = (
            "; --decimal , reads decimal commas" if _COMMA.fullmatch(wrong.strip()) and options.decimal == "." else ""
        )
        if strict or hint:
            raise UnfitColumnError(f"column {name} holds {wrong[:_SHOWN]!r}, no number{hint}") from None
        return column


def _is_number(text: pa.StringScalar) -> bool:
    try:
        text.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _levels(column: pa.ChunkedArray, categories: Sequence[str]) -> pa.ChunkedArray:
    """Return texts: whole numbers that were written with `.0`, and true and false, as the levels that they are."""
    given = column.drop_null()
    if not len(given) or (categories and {*given.unique().to_pylist()} <= {*categories}):
        return column
    if pc.all(pc.match_substring_regex(given, _WHOLE)).as_py():
        return pc.replace_substring_regex(column, r"\.0+$", "")
    if pc.all(pc.is_in(given, value_set=_TRUTH)).as_py():
        return pc.utf8_lower(column)
    return column
