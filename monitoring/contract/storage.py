"""Where files lie and how they are written: a folder of this machine, or one in object storage."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from monitoring.contract.column_names import Columns
from monitoring.contract.plain_files import BAD, OddEntryError, fitting, make_folder, opened, set_aside
from monitoring.contract.renamed_file import Foreign, RenamedFile
from monitoring.contract.uris import without_keys

_ID = "prediction_id"
LARGE = 1 << 18  # rows of a row group that is not read at once
_BUFFER = 1 << 16  # bytes that are read at once of each column of such a group
_LARGEST_FOOTER = 1 << 28  # bytes: what its last ones claim is allocated before it is read

Stamp = tuple[int, ...]


@dataclass(frozen=True, order=True)
class Remote:
    """A file or folder in object storage: the root's URI (`s3://bucket/prefix?region=…`) and the path below it.

    An object is there as a whole or not at all, so that it needs no temporary name.
    """

    root: str
    path: str = ""

    @property
    def name(self) -> str:
        """Return the last part of the path."""
        return self.path.rpartition("/")[2]

    def __truediv__(self, name: str) -> "Remote":
        return Remote(self.root, f"{self.path}/{name}".lstrip("/"))

    def __str__(self) -> str:
        _, base = _connect(self.root)  # without what the URI may tell beside it, such as a key
        return f"{self.root.partition('://')[0]}://{base}/{self.path}"

    @property
    def address(self) -> tuple[pa.fs.FileSystem, str]:
        """Return the filesystem and the path on it."""
        filesystem, base = _connect(self.root)
        return filesystem, f"{base}/{self.path}".rstrip("/")


@dataclass(frozen=True, order=True)
class Named:
    """A file of rows of others, with what it lacks and how it calls its columns; it is only ever read.

    `key` is the name by which a file of a watched log is known: a file that is written anew has another.
    """

    at: Path | Remote
    foreign: Foreign
    key: str = ""

    @property
    def name(self) -> str:
        """Return the name by which the file is known."""
        return self.key or self.at.name

    def __str__(self) -> str:
        return str(self.at)

    def __truediv__(self, name: str) -> "Named":
        return Named(self.at / name, self.foreign)

    @property
    def address(self) -> tuple[pa.fs.FileSystem, str]:
        """Return the filesystem and the path on it."""
        return (pa.fs.LocalFileSystem(), str(self.at)) if isinstance(self.at, Path) else self.at.address


Place = Path | Remote | Named


def named(at: Place, columns: Columns) -> Place:
    """Return a file as one with names of its own, if there are some."""
    return Named(at, Foreign(columns)) if columns and not isinstance(at, Named) else at


def place(text: str) -> Path | Remote:
    """Return the place that a path or a URI names; a URI of this machine (`file://`) is a path."""
    if text.startswith("file:"):
        return Path(pa.fs.FileSystem.from_uri(text)[1])
    return Remote(text) if "://" in text else Path(text)


@lru_cache
def _connect(root: str) -> tuple[pa.fs.FileSystem, str]:
    try:
        filesystem, base = pa.fs.FileSystem.from_uri(root)
    except pa.ArrowException as error:
        raise type(error)(without_keys(str(error))) from None
    return filesystem, base.rstrip("/")


def list_names(folder: Place) -> list[str]:
    """List the names in a folder; one that is not there is empty. Raise NotADirectoryError if it is a file."""
    if isinstance(folder, Path):
        try:
            return os.listdir(folder)  # noqa: PTH208 - names are all that is wanted, at any number of files
        except FileNotFoundError:
            return []
    filesystem, path = folder.address
    return [info.base_name for info in filesystem.get_file_info(pa.fs.FileSelector(path, allow_not_found=True))]


def open_parquet(path: Place, dictionaries: Sequence[str] = ()) -> pq.ParquetFile | RenamedFile:
    """Open a Parquet file; raise FileNotFoundError if it is not there, ArrowException if it cannot be read.

    Raise OddEntryError if what lies there is no plain file (`monitoring.contract.plain_files`). Columns of text among
    `dictionaries` that it has are read as such, without a copy of each word.
    """
    if isinstance(path, Named):
        theirs = dict(path.foreign.columns)
        stored = open_parquet(path.at, [*dictionaries, *(theirs[name] for name in dictionaries if name in theirs)])
        file = RenamedFile(stored, path.foreign)
        if path.key:
            file.require_names()
        return file
    try:
        return _open(path, dictionaries)
    except KeyError:  # one of them is not there
        with _open(path) as file:
            names = file.schema_arrow.names
        return _open(path, [name for name in dictionaries if name in names])


def _open(path: Path | Remote, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    if isinstance(path, Path):
        with opened(path) as descriptor:
            _require_footer(descriptor)
            # by its descriptor, so that what is read is what was looked at; Arrow opens it anew
            source, words = f"/dev/fd/{descriptor}", list(dictionaries)
            file = pq.ParquetFile(source, pre_buffer=False, read_dictionary=words)
            if _has_large_groups(file.metadata):
                file.close()  # piece by piece, a large group takes little memory
                file = pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER, read_dictionary=words)
            return file
    filesystem, inner = path.address
    return pq.ParquetFile(inner, filesystem=filesystem, pre_buffer=True, read_dictionary=list(dictionaries))


def _has_large_groups(metadata: pq.FileMetaData) -> bool:
    groups = range(metadata.num_row_groups) if metadata.num_rows > LARGE else ()
    return any(metadata.row_group(group).num_rows > LARGE for group in groups)


def _require_footer(descriptor: int) -> None:
    """Raise OddEntryError if a file claims a footer that no file of rows has."""
    end = os.pread(descriptor, 8, max(0, os.fstat(descriptor).st_size - 8))
    if end[4:] == b"PAR1" and (claimed := int.from_bytes(end[:4], "little")) > _LARGEST_FOOTER:
        raise OddEntryError(f"claims a footer of {claimed / 1e6:,.0f} MB")


def write_parquet(path: Place, table: pa.Table, **options: Any) -> None:
    """Write a table of rows to a file that is there as a whole, and durably, or not at all."""
    # Numbers and ids hardly repeat: with dictionaries of them a part is 40 % larger and takes four times as long.
    options["use_dictionary"] = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name != _ID]
    if isinstance(path, Path):
        with replaced(path) as temporary:
            pq.write_table(table, temporary, **options)
        return
    content = pa.BufferOutputStream()
    pq.write_table(table, content, **options)
    filesystem, inner = path.address
    with filesystem.open_output_stream(inner) as stream:
        stream.write(content.getvalue())


def remove(path: Place) -> None:
    """Remove a file; one that is not there is no error."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    filesystem, inner = path.address
    with contextlib.suppress(FileNotFoundError):
        filesystem.delete_file(inner)


def size(path: Place) -> int:
    """Return a file's size in bytes; 0 if it is not there."""
    if isinstance(path, Path):
        try:
            return path.stat().st_size
        except OSError:  # who opens it says so
            return 0
    filesystem, inner = path.address
    return int(filesystem.get_file_info(inner).size or 0)


def stamp_of(seen: os.stat_result) -> Stamp:
    """Return numbers of a file of this machine that change when it does."""
    return seen.st_ino, seen.st_mtime_ns, seen.st_size


def stamp(path: Place) -> Stamp | None:
    """Return numbers that change when a file does; None if it is not there."""
    if isinstance(path, Path):
        try:
            seen = path.stat()
        except OSError:  # a link that leads nowhere, or in a circle, is there itself
            try:
                seen = path.lstat()
            except FileNotFoundError:
                return None
        return stamp_of(seen)
    filesystem, inner = path.address
    info = filesystem.get_file_info(inner)
    return None if info.type == pa.fs.FileType.NotFound else (info.mtime_ns or 0, info.size or 0)


def read_bytes(path: Remote | Named) -> pa.Buffer:
    """Read an object; raise FileNotFoundError if it is not there, OSError if the storage cannot be reached."""
    filesystem, inner = path.address
    with filesystem.open_input_file(inner) as stream:
        return stream.read_buffer()


def quarantine(path: Place) -> str:
    """Rename a file so that every reader passes over it; return its new name. One that is not there is no error."""
    if isinstance(path, Path):
        return set_aside(path)
    name = BAD + path.name
    filesystem, inner = path.address
    with contextlib.suppress(FileNotFoundError):
        filesystem.move(inner, f"{inner.rpartition('/')[0]}/{name}")
    return name


@contextlib.contextmanager
def replaced(path: Path, *, over_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` atomically and durably when the block ends well.

    A folder that lies in its place is set aside, or not `over_folder`, as where a user has named it, IsADirectoryError.
    """
    make_folder(path.parent)
    temporary = path.with_name(fitting(path.name, before="_", after=f".{secrets.token_hex(8)}.tmp"))
    try:
        yield temporary
        step("file written")
        sync(temporary)
        step("file synced")
        if over_folder:
            rename_over(temporary, path)
        else:
            temporary.replace(path)
        step("file renamed")
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def rename_over(source: Path, path: Path) -> None:
    """Rename a file so that it replaces another one; a folder that lies in its place is set aside."""
    try:
        source.replace(path)
    except IsADirectoryError:
        set_aside(path)
        source.replace(path)


def step(name: str) -> None:
    """Name a point between two steps, where a process may be killed: an audit event, by which tests kill it there."""
    sys.audit("driftloop.step", name)


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
