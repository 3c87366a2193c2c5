"""A look into every file of a data set before anything is computed: what is not Parquet, and which columns lack."""

import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.column_names import Columns, absent
from monitoring.contract.listing import DataFile, DatasetError, LeftOut, Listing
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.partitions import Partition, typed, with_our_texts
from monitoring.contract.parts import is_merged, noted
from monitoring.contract.storage import named, open_parquet, place
from monitoring.contract.uris import shown
from monitoring.contract.values import UnfitColumnError, convert, is_text
from monitoring.offline.unused_columns import unused_in

MAGIC, ENCRYPTED = b"PAR1", b"PARE"
_NEVER_LACKING = ("timestamp", "prediction_id")  # where they are required, no value can stand for them
NAMED = 10  # files and columns that a message names


@dataclass(frozen=True)
class Demands:
    """What a data set must hold to be computed on.

    Files that hold none of `any_of`, if it names some, are no part of it. Each file must have the columns `required`;
    what cannot be read stops the command, or with `skip_unreadable` is left out. `due` are all columns that will be
    read, with what is due there; in the columns `text_counts` text in the place of a number is for the tests to tell.
    `names` are the files' own ones for some columns.
    """

    due: pa.Schema
    any_of: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    skip_unreadable: bool = False
    text_counts: tuple[str, ...] = ()
    names: Columns = ()

    @property
    def numeric(self) -> frozenset[str]:
        """Return the columns where numbers are due."""
        return frozenset(field.name for field in self.due if pa.types.is_floating(field.type))


@dataclass(frozen=True)
class Inspected:
    """What a file's footer says: columns, rows by row group, and the parts whose rows it holds; or the problem.

    `unused` says which columns that no test needs are there and cannot be used.
    """

    file: DataFile
    columns: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    covers: tuple[str, ...] = ()
    problem: str | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class SurveyedFile:
    """A file that will be read, with its typed partition and its rows by row group."""

    uri: str
    partition: Partition
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Survey:
    """The files that will be read, those that will not, and columns that are there and cannot be used."""

    files: tuple[SurveyedFile, ...]
    left_out: tuple[LeftOut, ...]
    unused: tuple[LeftOut, ...] = ()


def inspect(file: DataFile, demands: Demands) -> Inspected:
    """Read a file's footer; raise FileNotFoundError if it is gone."""
    try:
        if problem := _not_parquet(file.uri):
            return Inspected(file, problem=problem)
        file = DataFile(file.uri, with_our_texts(file.partition, demands.names))
        with open_parquet(named(place(file.uri), demands.names)) as opened:
            columns = (*opened.schema_arrow.names, *(name for name, _ in file.partition))
            groups = tuple(opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups))
            covers = noted(opened) if is_merged(file.uri.rpartition("/")[2]) else ()
            problem = _unmapped(columns, demands.names) or _misfit(opened.schema_arrow, demands)
            optional = [name for name in demands.text_counts if name not in demands.any_of]
            unused = tuple(unused_in(opened, optional)) if demands.text_counts and not problem else ()
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        return Inspected(file, problem=f"is not a readable Parquet file: {reason_of(error)}")
    return Inspected(file, columns, groups, covers, problem, unused)


def _unmapped(columns: Sequence[str], names: Columns) -> str | None:
    """Say which columns that the config gives other names for are there by neither name."""
    lacking = absent(columns, names)
    return f"has no column {'; nor '.join(lacking)}" if lacking else None


def _misfit(schema: pa.Schema, demands: Demands) -> str | None:
    """Say which column cannot be what is due, by its type; the values are looked at when they are read."""
    for field in demands.due:
        indices = schema.get_all_field_indices(field.name)
        given = [schema.field(index).type for index in indices]
        if len(given) != 1 or (field.name in demands.text_counts and is_text(given[0])):
            continue
        try:
            convert(pa.chunked_array([], given[0]), field)
        except UnfitColumnError as error:
            return str(error)
    return None


def _not_parquet(uri: str) -> str | None:
    """Say what a file is that does not begin and end as Parquet does; None for one that does."""
    filesystem, path = pa.fs.FileSystem.from_uri(uri)
    if isinstance(filesystem, pa.fs.LocalFileSystem) and not stat.S_ISREG(Path(path).stat().st_mode):
        return "is no file"  # it has changed since it was listed; a pipe would be waited for
    with filesystem.open_input_file(path) as stream:
        size = stream.size()
        head, tail = stream.read_at(4, 0), stream.read_at(4, max(0, size - 4))
    if not size:
        return "is not a readable Parquet file: it is empty"
    if ENCRYPTED in (head, tail):
        return "is not a readable Parquet file: it is encrypted"
    if MAGIC not in (head, tail):
        return "is not a Parquet file"
    if head != MAGIC or tail != MAGIC or size < 2 * len(MAGIC):
        cut = "ends" if head == MAGIC else "begins"
        return f"is not a readable Parquet file: it {cut} in the middle, as if it had been cut off"
    return None


def survey(listing: Listing, inspected: Iterable[Inspected], demands: Demands) -> Survey:
    """Decide which files are read; raise DatasetError if some cannot be, or lack a column that is required."""
    found = list(inspected)
    problems = [LeftOut(one.file.uri, problem) for one in found if (problem := problem_of(one, demands))]
    left_out = sorted([*listing.left_out, *problems])
    if left_out and (listing.alone or not demands.skip_unreadable):
        raise DatasetError(refusal(listing, left_out))
    bad = {one.uri for one in left_out}
    gone = {name for one in found for name in one.covers}
    kept = [one for one in found if one.file.uri not in bad and one.file.uri.rpartition("/")[2] not in gone]
    if not kept:
        raise DatasetError("\n".join([f"{shown(listing.source)}: holds no file that can be read", *some_of(left_out)]))
    if problem := _lacking(listing, kept, demands):
        raise DatasetError(problem)
    partitions = typed((one.file.partition for one in kept), demands.numeric)
    files = zip(kept, partitions, strict=True)
    read = tuple(SurveyedFile(one.file.uri, partition, one.groups) for one, partition in files)
    return Survey(read, tuple(left_out), tuple(LeftOut(one.file.uri, text) for one in kept for text in one.unused))


def problem_of(one: Inspected, demands: Demands) -> str | None:
    """Say why a file cannot be read; None if it can be."""
    if one.problem:
        return one.problem
    twice = sorted(name for name in demands.due.names if one.columns.count(name) > 1)
    if twice:
        beside = any(name in twice for name, _ in one.file.partition)
        where = "in the file and in its folder's name" if beside else "more than once"
        return f"holds the column {', '.join(twice)} {where}"
    if demands.any_of and not {*demands.any_of} & {*one.columns}:
        return f"holds none of the config's features: {', '.join(demands.any_of)}"
    return None


def refusal(listing: Listing, left_out: Sequence[LeftOut]) -> str:
    """Return what is said of files that cannot be read, wholly or in part, and may not be left out."""
    if listing.alone:
        return str(left_out[0])
    number = f"{len(left_out)} file{'s' if len(left_out) > 1 else ''}"
    said = (
        f"{shown(listing.source)}: {number} cannot be read, wholly or in part, so nothing was computed; "
        "--skip-unreadable goes on without"
    )
    return "\n".join([said, *some_of(left_out)])


def some_of(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a line for each of the first few files."""
    lines = [f"  {one}" for one in left_out[:NAMED]]
    return lines if len(left_out) <= NAMED else [*lines, f"  and {len(left_out) - NAMED} more"]


def _lacking(listing: Listing, kept: Sequence[Inspected], demands: Demands) -> str | None:
    """Name the columns that files lack, and in which files; None if all are there."""
    lines, may_lack = [], False
    for column in demands.required:
        without = [shown(one.file.uri) for one in kept if column not in one.columns]
        may_lack |= bool(without and demands.any_of) and column not in _NEVER_LACKING
        if without and len(without) == len(kept) > 1:
            lines.append(f"  {column}: in none of the {len(kept)} files")
        elif without:
            more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
            lines.append(f"  {column}: not in {', '.join(without[:NAMED])}{more}")
    if not lines:
        return None
    others = sorted({name for one in kept for name in one.columns} - set(demands.required))
    there = f"; other columns are {', '.join(others[:NAMED])}{', …' if len(others) > NAMED else ''}" if others else ""
    said = f"{shown(listing.source)}: columns {'of the config ' if may_lack else ''}are missing{there}"
    hint = ["  --allow-missing-columns counts them as missing values"] if may_lack else []
    return "\n".join([said, *lines, *hint])


def inspect_all(files: Sequence[DataFile], demands: Demands) -> list[Inspected]:
    """Read the footers of many files, several at a time."""
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        return list(pool.map(inspect, files, repeat(demands)))
