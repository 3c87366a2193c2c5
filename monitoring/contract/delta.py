"""Delta tables, which are refused: their folders also hold files that are no longer part of them."""

from collections.abc import Iterable, Iterator

import pyarrow.fs

from monitoring.contract.listing import DatasetError

DELTA = "_delta_log"  # in the folder of a Delta table


def require_no_delta(filesystem: pyarrow.fs.FileSystem, top: str, paths: Iterable[str]) -> None:
    """Raise DatasetError if a file's folder, or one above it up to the folder `top`, is that of a Delta table."""
    folders = sorted({folder for path in paths for folder in _above(path, top)})
    infos = filesystem.get_file_info([f"{folder}/{DELTA}" for folder in folders])
    for folder, info in zip(folders, infos, strict=True):
        if info.type != pyarrow.fs.FileType.NotFound:
            raise delta_error(folder)


def delta_error(folder: str) -> DatasetError:
    """Return the error that says why a folder is refused."""
    return DatasetError(
        f"{folder}: is a Delta table, whose folder holds files that are no longer part of it; write its rows to plain"
        " Parquet files first"
    )


def _above(path: str, top: str) -> Iterator[str]:
    folder = path.rpartition("/")[0]
    yield folder
    while folder != top and folder.startswith(f"{top.rstrip('/')}/"):
        folder = folder.rpartition("/")[0]
        yield folder
