"""The files of a data set, on this machine or in object storage, by their names alone: nothing is opened.

Names that begin with `_` or `.` are nobody's data (`_SUCCESS`, `.x.crc`), except folders of a Hive partition, like
`_month=1`. Everything else is a file to look into, or is named with the reason why it is none.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.errors import DriftloopError
from monitoring.contract.part_reader import reason_of
from monitoring.contract.partitions import Texts, texts_in
from monitoring.contract.uris import shown, uri_of

_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class DatasetError(DriftloopError):
    """A data set cannot be read, or does not hold the model's columns."""


@dataclass(frozen=True, order=True)
class DataFile:
    """A file by its URI, with what the names of its folders say of its rows."""

    uri: str
    partition: Texts = ()


@dataclass(frozen=True, order=True)
class LeftOut:
    """A file or folder that is not read, or row groups of a file, and why."""

    uri: str
    reason: str

    def __str__(self) -> str:
        return f"{shown(self.uri)}: {self.reason}"


@dataclass(frozen=True)
class Listing:
    """What lies at a source; `alone` says that the source is one file, named by the user."""

    source: str
    files: tuple[DataFile, ...]
    left_out: tuple[LeftOut, ...] = ()
    alone: bool = False


def list_files(source: str) -> Listing:
    """List a data set's files, those in folders of a folder too; raise DatasetError if there are none."""
    try:
        uri = uri_of(source)
        filesystem, path = pa.fs.FileSystem.from_uri(uri)
        if isinstance(filesystem, pa.fs.LocalFileSystem):
            return _list_local(source, path)
        found = filesystem.get_file_info(path)
        if found.type == pa.fs.FileType.NotFound:
            raise DatasetError(f"{shown(source)}: there is no such file or folder")
        if found.type != pa.fs.FileType.Directory:
            return Listing(source, (DataFile(uri),), alone=True)
        infos = filesystem.get_file_info(pa.fs.FileSelector(path, recursive=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{shown(source)}: cannot be listed: {reason_of(error)}") from error
    below = len(path.rstrip("/")) + 1
    names = (info.path[below:] for info in infos if info.type != pa.fs.FileType.Directory)
    kept = sorted(name for name in names if is_data(name) and _is_file(name.rpartition("/")[2]))
    return _some(source, (DataFile(_address(uri, f"{path.rstrip('/')}/{n}"), texts_in(n)) for n in kept), ())


def _some(source: str, files: Iterable[DataFile], left_out: Iterable[LeftOut]) -> Listing:
    listing = Listing(source, tuple(files), tuple(left_out))
    if not listing.files and not listing.left_out:
        raise DatasetError(f"{shown(source)}: holds no file *.parquet, nor any other")
    return listing


def _list_local(source: str, path: str) -> Listing:
    """List a file or folder of this machine by our own walk: Arrow's passes over what it does not understand."""
    root = Path(path)
    try:
        mode = root.stat().st_mode
    except FileNotFoundError as error:
        raise DatasetError(f"{shown(source)}: there is no such file or folder") from error
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            raise DatasetError(f"{shown(source)}: is {_kind(mode)}; it must be a file or a folder")
        return Listing(source, (DataFile(root.as_uri()),), alone=True)
    files: list[DataFile] = []
    left_out: list[LeftOut] = []
    for name, reason in walk(root, "", ()):
        uri = (root / name).as_uri()
        if reason is None:
            files.append(DataFile(uri, texts_in(name)))
        else:
            left_out.append(LeftOut(uri, reason))
    return _some(source, sorted(files), sorted(left_out))


def walk(root: Path, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, str | None]]:
    """Yield each name below a folder, by its path from the root, with the reason if it cannot be read."""
    try:
        seen = (root / below).stat()
        names = sorted(os.listdir(root / below))  # noqa: PTH208 - names are all that is wanted
    except OSError as error:
        yield below or ".", f"cannot be listed: {error.strerror}"
        return
    here = (seen.st_dev, seen.st_ino)
    if here in above:
        yield below, "is a link to a folder that holds it"
        return
    for name in names:
        path = f"{below}/{name}".lstrip("/")
        if not is_data(path):
            continue
        try:
            mode = (root / path).stat().st_mode
        except OSError as error:
            yield path, "is a link to nothing" if (root / path).is_symlink() else f"cannot be read: {error.strerror}"
            continue
        if stat.S_ISDIR(mode):
            yield from walk(root, path, (*above, here))
        elif _is_file(name) and not stat.S_ISREG(mode):
            yield path, f"is {_kind(mode)}, no file"
        elif _is_file(name):
            yield path, None


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "something else")


def _is_file(name: str) -> bool:
    return not name.startswith(("_", "."))


def is_data(path: str) -> bool:
    """Say whether a path below a folder is not hidden; folders of a Hive partition may begin with `_`."""
    *folders, name = path.split("/")
    hidden = any(folder.startswith(".") or (folder.startswith("_") and "=" not in folder) for folder in folders)
    return not hidden and not name.startswith(".") and (_is_file(name) or "=" in name)


def _address(uri: str, file: str) -> str:
    """Return the URI of a file that was found below a source, escaped: its scheme, its user and its options stay."""
    scheme, _, rest = uri.partition("://")
    where, _, options = rest.partition("?")
    user, at, _ = where.partition("/")[0].rpartition("@")
    return f"{scheme}://{user}{at}{quote(file, safe='/=')}" + (f"?{options}" if options else "")
