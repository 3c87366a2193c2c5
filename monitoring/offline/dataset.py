"""Profiles of any Parquet data set, of any size: a file, a folder, or either in object storage.

The files are divided into units, a few row groups each, and each unit becomes a profile. Profiles add up in any order,
so it does not matter who takes which: threads of this machine here, a cluster's tasks in `monitoring.offline.spark`.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.parts import is_merged, noted
from monitoring.contract.values import UnfitColumnError
from monitoring.profile.allocator import release_memory
from monitoring.profile.counting import profile_rows
from monitoring.profile.profile import Grid, Profile, merge
from monitoring.profile.threads import threads

UNIT_ROWS = 131_072
GIVE_BACK = 64  # units


class DatasetError(DriftloopError):
    """A data set cannot be read, or does not hold the model's columns."""


@dataclass(frozen=True)
class Unit:
    """Some row groups of a file, by the file's URI."""

    uri: str
    groups: tuple[int, ...]


def list_files(source: str) -> list[str]:
    """List the URIs of a data set's Parquet files, those in folders of a folder too.

    Names that begin with `_` or `.` are nobody's data, and a part whose rows a merged part holds does not count.
    Raise DatasetError if there is none.
    """
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(_uri(source))
        found = filesystem.get_file_info(path)
        if found.type == pa.fs.FileType.NotFound:
            raise DatasetError(f"{source}: there is no such file or folder")
        infos = [found]
        if found.type == pa.fs.FileType.Directory:
            infos = filesystem.get_file_info(pa.fs.FileSelector(path, recursive=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{source}: cannot be listed: {error}") from error
    below = len(path.rstrip("/")) + 1
    files = [i.path for i in infos if i.type == pa.fs.FileType.File and _is_data(i.path[below:] or i.base_name)]
    if not files:
        raise DatasetError(f"{source}: holds no file *.parquet")
    gone: set[str] = set()
    for file in files:
        if is_merged(_name(file)):
            with _open(_address(source, file)) as merged:
                gone.update(noted(merged))
    return sorted(_address(source, file) for file in files if _name(file) not in gone)


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _uri(source: str) -> str:
    return source if "://" in source else Path(source).absolute().as_uri()


def _address(source: str, file: str) -> str:
    """Return the URI of a file that was found below a source: its scheme and its options stay."""
    scheme, _, rest = _uri(source).partition("://")
    if scheme == "file":
        return Path(file).as_uri()
    options = rest.partition("?")[2]
    return f"{scheme}://{file}" + (f"?{options}" if options else "")


def _is_data(path: str) -> bool:
    return path.endswith(".parquet") and not any(name.startswith(("_", ".")) for name in path.split("/"))


def _open(uri: str) -> pq.ParquetFile:
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(uri)
        return pq.ParquetFile(path, filesystem=filesystem, memory_map=uri.startswith("file:"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DatasetError(f"{uri}: is not a readable Parquet file: {error}") from error


def divide(model: Model, files: Iterable[str]) -> Iterator[Unit]:
    """Divide files into units; raise DatasetError where a file holds none of the model's features."""
    for uri in files:
        with _open(uri) as file:
            if not set(model.features) & set(file.schema_arrow.names):
                raise DatasetError(f"{uri}: holds none of the config's features: {', '.join(model.features)}")
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        few: list[int] = []
        for group, _ in enumerate(sizes):
            few.append(group)
            if group + 1 == len(sizes) or sum(sizes[g] for g in few) + sizes[group + 1] > UNIT_ROWS:
                yield Unit(uri, tuple(few))
                few = []


def profile_unit(grid: Grid, unit: Unit, *, hashes: bool = True) -> Profile:
    """Read a unit's rows, whatever the columns' types, and profile them."""
    model = grid.model
    wanted = [*model.features, model.prediction, model.target, "confidence", "timestamp"]
    with _open(unit.uri) as file:
        columns = [name for name in wanted if name in file.schema_arrow.names]
        try:
            rows = file.read_row_groups(unit.groups, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{unit.uri}: cannot be read: {error}") from error
    try:
        return profile_rows(grid, rows, hashes=hashes)
    except UnfitColumnError as error:
        raise DatasetError(f"{unit.uri}: {error}") from error


def profile_locally(grid: Grid, source: str, *, hashes: bool = True, workers: int | None = None) -> Profile:
    """Profile a data set on all cores; each thread takes one unit after the other and keeps their sum alone."""
    units = divide(grid.model, list_files(source))
    lock = threading.Lock()

    def add_up(_worker: int) -> Profile:
        total = Profile.empty(grid, hashes=hashes)
        for taken in range(1, 1 << 62):
            with lock:
                unit = next(units, None)
            if unit is None:
                break
            total += profile_unit(grid, unit, hashes=hashes)
            if taken % GIVE_BACK == 0:
                release_memory()
        return total

    number = workers or os.cpu_count() or 1
    with threads(number) as pool:
        return merge(grid, pool.map(add_up, range(number)), hashes=hashes)
