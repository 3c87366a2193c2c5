"""A batch job's files: those that paths, patterns, folders and URIs name, and their rows, whatever wrote them."""

import contextlib
import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs

from monitoring.batch.csv_files import CsvOptions, is_csv, read_csv
from monitoring.contract.column_names import Columns, absent, with_our_names
from monitoring.contract.config import Model
from monitoring.contract.delta import is_table, require_no_delta, table_files
from monitoring.contract.listing import DataFile, DatasetError, LeftOut, list_files
from monitoring.contract.partitions import Partition, typed, with_our_texts, with_partition
from monitoring.contract.schemas import TIMESTAMP, log_schema
from monitoring.contract.storage import named, open_parquet, place
from monitoring.contract.times import Micros
from monitoring.contract.uris import shown, uri_of
from monitoring.contract.values import UnfitColumnError, conform
from monitoring.offline.dataset import demands_of
from monitoring.offline.survey import inspect, problem_of

_Found = TypeVar("_Found")

_WILD = "*["  # in a URI; a question mark begins its options there


@dataclass(frozen=True)
class InputFile:
    """A file with what the names of its folders say of its rows."""

    uri: str
    partition: Partition = ()


@dataclass(frozen=True)
class Reading:
    """How files become rows: the model, how CSV is written, and the time of rows in files without a column of it.

    Not `strict`, text where numbers are due is left for tests to tell.
    """

    model: Model
    csv: CsvOptions
    moment: Micros | None = None
    missing_columns: bool = False
    strict: bool = True


def find_inputs(sources: Iterable[str], model: Model) -> tuple[list[InputFile], list[LeftOut]]:
    """Return the files that sources name, and what lies there and is none; raise DatasetError for one that has none."""
    files: dict[str, DataFile] = {}
    left_out: dict[str, LeftOut] = {}
    for source in sources:
        found, none = _files_of(source)
        files |= {file.uri: file for file in found}
        left_out |= {one.uri: one for one in none}
    given = [replace(file, partition=with_our_texts(file.partition, model.names)) for file in files.values()]
    partitions = typed((file.partition for file in given), model.numbers)
    return [InputFile(f.uri, p) for f, p in zip(given, partitions, strict=True)], list(left_out.values())


def _files_of(source: str) -> tuple[Sequence[DataFile], Sequence[LeftOut]]:
    """Return a Delta table's files, or those that a path, a pattern or a URI names."""
    where, mark, options = source.partition("?") if "://" in source else (source, "", "")
    with contextlib.suppress(pa.ArrowException, OSError):  # whoever lists it says so
        folder = place(source)
        if is_table(*((pa.fs.LocalFileSystem(), str(folder)) if isinstance(folder, Path) else folder.address)):
            begin = folder.absolute().as_uri() if isinstance(folder, Path) else where.rstrip("/")
            files = ((f"{begin}/{quote(file.name, safe='/=')}{mark}{options}", file) for file in table_files(folder))
            return [DataFile(uri, file.partition) for uri, file in files], ()
    found, none = _matching(source)
    _require_no_delta(source, found)
    return found, none


def _require_no_delta(source: str, found: Iterable[DataFile]) -> None:
    """Raise DatasetError if a file, or what the source names before its pattern begins, is of a Delta table."""
    where, _, options = source.partition("?") if "://" in source else (source, "", "")
    top = f"{_folder(where)}?{options}" if options else _folder(where)
    filesystem, path = pa.fs.FileSystem.from_uri(uri_of(top))
    require_no_delta(filesystem, path.rstrip("/"), [pa.fs.FileSystem.from_uri(file.uri)[1] for file in found])


def _folder(where: str) -> str:
    """Return the folder in which a pattern begins; what is none stays."""
    mark = re.search(r"[*[]" if "://" in where else r"[*?[]", where)
    return where if mark is None else where[: mark.start()].rpartition("/")[0]


def _matching(source: str) -> tuple[Sequence[DataFile], Sequence[LeftOut]]:
    if "://" in source:
        where, _, options = source.partition("?")
        if not any(mark in where for mark in _WILD):
            listing = list_files(source)
            return listing.files, listing.left_out
        listing = list_files(_folder(where) + (f"?{options}" if options else ""))
        found = [file for file in listing.files if fnmatchcase(shown(file.uri), shown(where))]
        return _some(source, found), ()
    try:
        listing = list_files(source)
    except DatasetError:
        if not glob.has_magic(source):
            raise
        paths = _some(source, sorted(glob.glob(source, recursive=True)))  # noqa: PTH207 - an absolute one may be given
        listings = [list_files(path) for path in paths]
        return [f for one in listings for f in one.files], [f for one in listings for f in one.left_out]
    return listing.files, listing.left_out


def _some(source: str, found: Sequence[_Found]) -> Sequence[_Found]:
    if not found:
        raise DatasetError(f"{shown(source)}: no file is named so")
    return found


def wide_schema(model: Model) -> pa.Schema:
    """Return the log's columns with numbers as float64, as which batches are read and told apart."""
    return log_schema(model.model_copy(update={"dtype": "float64"}))


def read_rows(file: InputFile, reading: Reading) -> pa.Table:
    """Read a file's rows as `wide_schema`; ids and times may be null.

    Raise UnfitColumnError with what does not fit, OSError or ArrowException where the file cannot be read.
    """
    model = reading.model
    table = read_table(file, reading)
    if "timestamp" not in table.column_names:
        if reading.moment is None:
            raise UnfitColumnError(
                "has no column timestamp; model.columns says what else it is called, and --timestamp gives all rows one"
            )
        moment = pa.scalar(reading.moment, pa.int64()).cast(TIMESTAMP)
        table = table.append_column("timestamp", pa.repeat(moment, len(table)))
    return conform(table, wide_schema(model))


def read_table(file: InputFile, reading: Reading) -> pa.Table:
    """Read the columns of the log that a file has, in its types; raise as `read_rows` does."""
    model = reading.model
    table = _read_csv(file, reading) if is_csv(file.uri) else _read_parquet(file, reading)
    due = (model.prediction,) if reading.missing_columns else (*model.features, model.prediction)
    if missing := [name for name in due if name not in table.column_names]:
        hint = "" if model.prediction in missing else "; --allow-missing-columns takes them as missing values"
        raise UnfitColumnError(f"has no column {', '.join(missing)}{hint}")
    return table


def _read_csv(file: InputFile, reading: Reading) -> pa.Table:
    table = read_csv(file.uri, reading.model, reading.csv, strict=reading.strict)
    names = [name for name, _ in file.partition]
    if lacking := absent([*table.column_names, *names], _wanted_names(reading)):
        raise UnfitColumnError(f"has no column {'; nor '.join(lacking)}")
    table = with_our_names(table, reading.model.names)
    return with_partition(table, file.partition, [n for n in _known(reading.model) if n not in table.column_names])


def _wanted_names(reading: Reading) -> Columns:
    """Return the files' own names, without that of the time where all rows are given one."""
    return tuple(one for one in reading.model.names if one[0] != "timestamp" or reading.moment is None)


def _known(model: Model) -> list[str]:
    return list(log_schema(model).names)


def _read_parquet(file: InputFile, reading: Reading) -> pa.Table:
    model = reading.model
    demands = replace(demands_of(model), any_of=(), names=_wanted_names(reading))
    if reading.strict:
        demands = replace(demands, text_counts=())
    given = tuple((name, None if value is None else str(value)) for name, value in file.partition)
    found = inspect(DataFile(file.uri, given), demands)
    if problem := problem_of(found, demands):
        raise UnfitColumnError(problem)
    wanted = _known(model)
    with open_parquet(named(place(file.uri), model.names)) as opened:
        columns = [name for name in wanted if name in opened.schema_arrow.names]
        table = opened.read_row_groups(range(opened.num_row_groups), columns=columns)
    return with_partition(table, file.partition, wanted)
