"""Delta tables: which files are part of one now, and which files of before each of them took the place of.

The folder of a table also holds files that are no longer part of it, so its log is what tells; `deltalake` reads that.
Which files a commit replaces stands in the commit itself (Delta Transaction Log Protocol, "Add File and Remove File").
"""

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.listing import DatasetError
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.partitions import Texts
from monitoring.contract.storage import Remote, Stamp
from monitoring.contract.uris import without_keys

if TYPE_CHECKING:
    from deltalake import DeltaTable

DELTA = "_delta_log"  # in the folder of a Delta table
_AZURE = "core.windows.net"  # the end of hosts that begin with the account
_COMMITS = 1000  # the newest ones, in which is looked for what a file took the place of
_COMMIT = re.compile(r"[0-9]{20}\.json")
_AT_ONCE = 8
_PLACES = 50_000  # files that one is said to have taken the place of, at most


@dataclass(frozen=True)
class DeltaFile:
    """A file that is part of a table: its path from the table's folder, what changes with it, and its partition.

    `replaces` holds the paths of files whose rows a commit has moved into it (OPTIMIZE, UPDATE, MERGE, overwriting).
    """

    name: str
    stamp: Stamp
    partition: Texts
    replaces: tuple[str, ...] = ()


def is_table(filesystem: pa.fs.FileSystem, folder: str) -> bool:
    """Say whether a folder is that of a Delta table."""
    return bool(filesystem.get_file_info(f"{folder.rstrip('/')}/{DELTA}").type != pa.fs.FileType.NotFound)


def table_files(folder: Path | Remote) -> list[DeltaFile]:
    """Return the files of a table; raise DatasetError if it cannot be read as plain Parquet files, or not at all."""
    try:
        from deltalake import DeltaTable  # noqa: PLC0415 - an extra
        from deltalake.exceptions import DeltaError  # noqa: PLC0415
    except ImportError:
        raise DatasetError(
            f"{folder}: is a Delta table, which the package deltalake reads; install the extra `delta`"
        ) from None
    try:
        uri, options = _named(folder)
        table = DeltaTable(uri, storage_options=options)
        _require_plain(folder, table)
        actions = _actions(table)
        names = {unquote(action["path"]) for action in actions}
        replaced = _replaced(folder, table.version(), names)
    except (DeltaError, *UNREADABLE) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{folder}: the Delta table cannot be read: {without_keys(reason_of(error))}") from error
    return [_file(action, replaced) for action in actions]


def require_no_delta(filesystem: pa.fs.FileSystem, top: str, paths: Iterable[str]) -> None:
    """Raise DatasetError if a file's folder is that of a Delta table, or one above it.

    These are looked at up to the folder `top`, and above it while folders are those of a Hive partition.
    """
    folders = sorted({folder for path in paths for folder in _above(path, top)})
    infos = filesystem.get_file_info([f"{folder}/{DELTA}" for folder in folders])
    for folder, info in zip(folders, infos, strict=True):
        if info.type != pa.fs.FileType.NotFound:
            raise delta_error(folder)


def delta_error(folder: str) -> DatasetError:
    """Return the error that says how a table is named."""
    return DatasetError(
        f"{folder}: is a Delta table, whose folder also holds files that are no longer part of it; give that folder"
        " itself, and nothing above or below it"
    )


def _above(path: str, top: str) -> Iterator[str]:
    folder = path.rpartition("/")[0]
    yield folder
    while (folder != top and folder.startswith(f"{top.rstrip('/')}/")) or "=" in folder.rpartition("/")[2]:
        folder = folder.rpartition("/")[0]
        yield folder


def _named(folder: Path | Remote) -> tuple[str, dict[str, str]]:
    """Return a table's address as deltalake takes it, and the options of its storage."""
    if isinstance(folder, Path):
        return str(folder.absolute()), {}
    uri = urlsplit(folder.root)
    if uri.scheme.startswith("abfs"):
        name, _, domain = (uri.hostname or "").partition(".")
        account = name if domain.endswith(_AZURE) else uri.username
        named = {"azure_storage_account_name": account, "azure_storage_account_key": uri.password}
        container = folder.address[1].strip("/")
        return f"{uri.scheme}://{container}", {name: unquote(value) for name, value in named.items() if value}
    query = {name: values[-1] for name, values in parse_qs(uri.query).items()}
    options = {"aws_region": query.get("region"), "aws_access_key_id": uri.username}
    options["aws_secret_access_key"] = unquote(uri.password) if uri.password else None
    if (host := query.get("endpoint_override")) is not None:
        scheme = query.get("scheme", "https")
        options |= {"aws_endpoint_url": f"{scheme}://{host}", "aws_allow_http": str(scheme == "http").lower()}
    return str(folder), {name: value for name, value in options.items() if value is not None}


def _require_plain(folder: Path | Remote, table: "DeltaTable") -> None:
    """Raise DatasetError if the files hold rows that are deleted, or columns by other names than the table's."""
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        raise DatasetError(
            f"{folder}: is a Delta table with column mapping (delta.columnMapping.mode = {mapping}), whose files call"
            " columns by other names; write its rows to a table without it"
        )
    if sum(batch.num_rows for batch in table.deletion_vectors()):
        raise DatasetError(
            f"{folder}: is a Delta table with deletion vectors, whose files hold rows that are deleted; REORG TABLE …"
            " APPLY (PURGE) writes the files without them"
        )


def _actions(table: "DeltaTable") -> list[dict[str, Any]]:
    return pa.table(table.get_add_actions(flatten=False)).to_pylist()  # type: ignore[no-any-return]


def _file(action: Mapping[str, Any], replaced: Mapping[str, tuple[str, ...]]) -> DeltaFile:
    name = unquote(action["path"])
    partition = tuple(
        (key, None if value is None else _text(value)) for key, value in (action.get("partition") or {}).items()
    )
    return DeltaFile(name, (action["modification_time"], action["size_bytes"]), partition, replaced.get(name, ()))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _replaced(folder: Path | Remote, version: int, present: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return, for each present file that a commit has written in the place of others, what it replaces."""
    filesystem, path = (pa.fs.LocalFileSystem(), str(folder)) if isinstance(folder, Path) else folder.address
    found = filesystem.get_file_info(pa.fs.FileSelector(f"{path}/{DELTA}"))
    commits = sorted(
        (info.path, info.mtime_ns or 0)
        for info in found
        if _COMMIT.fullmatch(info.base_name) and int(info.base_name[:20]) <= version
    )
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        moved = {
            name: removed
            for adds in pool.map(lambda commit: _moved(folder, *commit), commits[-_COMMITS:])
            for name, removed in adds.items()
        }
    before: dict[tuple[str, ...], tuple[str, ...]] = {}  # the files of a commit have most often taken the same places
    for removed in {moved[name] for name in present if name in moved}:
        before[removed] = _all_before(removed, moved)
    return {name: before[moved[name]] for name in present if name in moved}


def _all_before(removed: tuple[str, ...], moved: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the files that were removed, what these had taken the place of, and so on, the latest first."""
    seen = dict.fromkeys(removed)
    waiting = deque(removed)
    while waiting and len(seen) < _PLACES:
        for name in moved.get(waiting.popleft(), ()):
            if name not in seen:
                seen[name] = None
                waiting.append(name)
    return tuple(seen)


@lru_cache(maxsize=4 * _COMMITS)
def _moved(folder: Path | Remote, commit: str, _mtime: int) -> Mapping[str, tuple[str, ...]]:
    """Return what a commit's new files took the place of: the files removed from their partition, or all of them."""
    filesystem = pa.fs.LocalFileSystem() if isinstance(folder, Path) else folder.address[0]
    with filesystem.open_input_stream(commit) as stream:
        actions = [json.loads(line) for line in stream.read().splitlines() if line.strip()]
    removed: dict[str, list[str]] = {}
    for remove in (action["remove"] for action in actions if "remove" in action):
        removed.setdefault(_partition_of(remove), []).append(unquote(remove["path"]))
    every = tuple(name for names in removed.values() for name in names)
    places = {partition: tuple(names) for partition, names in removed.items()}
    # A row goes to another partition where it is updated alone; a log may not tell the partitions of what it removes.
    updated = any(action.get("commitInfo", {}).get("operation") == "UPDATE" for action in actions)
    elsewhere = every if updated or "null" in places else ()
    added = (action["add"] for action in actions if "add" in action)
    found = {unquote(add["path"]): places.get(_partition_of(add), elsewhere) for add in added}
    return {name: before for name, before in found.items() if before}


def _partition_of(action: Mapping[str, Any]) -> str:
    return json.dumps(action.get("partitionValues"), sort_keys=True)
