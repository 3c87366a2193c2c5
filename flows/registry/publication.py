"""A new champion and its reference, published so that a crash between any two steps is made good.

The order is: register the version; stage its reference under `_references/_next-<version>/`; move the alias (one atomic
call: from here on the version serves); keep the replaced reference as `_references/<digest>.parquet`; rename the staged
one into its place. A crash before the alias moves leaves a staged file of a version that is not champion, which the
next publication removes. A crash after it leaves the champion's own staged file, and whoever comes next (a run of
`retrain` or `rollback`, or `bootstrap` at the next start) puts it into its place.

Where the champion stays and its reference alone is re-based (`Accepted`), no alias moves: from the moment that the
reference is staged, whoever comes next completes it.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from monitoring.contract.config import Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.locks import lock, open_lock
from monitoring.contract.plain_files import OddEntryError, discard, discard_tree, list_plain, make_folder, read_plain
from monitoring.contract.reference import (
    InvalidReferenceError,
    Performance,
    Reference,
    parse_reference,
    read_reference,
    reference_digest,
    write_reference,
)
from monitoring.contract.rhythm_rows import RhythmRows, write_rhythm_rows
from monitoring.contract.storage import replaced, step, sync
from monitoring.contract.times import Micros

KEPT = 20


class BusyError(DriftloopError):
    """Another run of the flows is at work on the same DATA_DIR."""


@contextlib.contextmanager
def sole_run(layout: Layout, patience: float = 60) -> Iterator[None]:
    """Hold DATA_DIR for one run; raise BusyError if another process still holds it after `patience` seconds.

    The lock ends with its process, however that ends.
    """
    deadline = time.monotonic() + patience
    descriptor = open_lock(layout.root / "_flows.lock")
    try:
        while not lock(descriptor):
            if time.monotonic() >= deadline:
                raise BusyError(f"{layout.root}: another run of a flow is still at work here")
            time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def _staged(layout: Layout, version: str) -> Layout:
    return Layout(_kept(layout) / f"_next-{version}")


def stage(
    layout: Layout,
    model: Model,
    version: str,
    table: pa.Table,
    *,
    origin: str,
    through: Micros | None = None,
    performance: Performance | None = None,
    rhythm_rows: RhythmRows | None = None,
) -> None:
    """Lay the reference of a version ready, before the version becomes champion, or for the champion itself.

    Its rhythm rows are in place at once: they lie under its digest.
    """
    unchecked, target = _staged(layout, f"{version}-unchecked"), _staged(layout, version)
    write_reference(
        unchecked, model, table, origin=origin, model_version=version, through=through, performance=performance
    )
    digest = read_reference(unchecked, model).digest  # one that the monitor would refuse must not get into the place
    if rhythm_rows is not None:
        write_rhythm_rows(layout, model, digest, rhythm_rows)
    step("reference written")
    make_folder(target.root)
    unchecked.reference.replace(target.reference)
    sync(target.root)
    step("reference staged")


def complete(layout: Layout, champion: str) -> bool:
    """Put the champion's staged reference into its place; say whether there was one."""
    staged = _staged(layout, champion).reference
    found = staged.exists()
    if found:
        _keep(layout)
        step("reference kept")
        with replaced(layout.reference) as temporary:
            shutil.copyfile(staged, temporary)
        step("reference replaced")
    for folder in _kept(layout).glob("_next-*"):
        discard_tree(folder)
    _drop_rhythm_rows(layout)
    return found


def kept_reference(layout: Layout, model: Model, digest: str) -> Reference:
    """Return a replaced reference by its digest; raise InvalidReferenceError if it is gone or not the same any more."""
    path = _kept(layout) / f"{digest}.parquet"
    try:
        reference = parse_reference(read_plain(path), path, model)
    except (OSError, OddEntryError) as error:
        raise InvalidReferenceError(f"{path}: the reference that was replaced cannot be read: {error}") from error
    if reference.digest != digest:
        raise InvalidReferenceError(f"{path}: its content is not what its name says; it was changed")
    return reference


def _kept(layout: Layout) -> Path:
    return layout.root / "_references"


def _keep(layout: Layout) -> None:
    """Keep the present reference under its digest, and the newest KEPT of the kept ones."""
    digest = reference_digest(layout)
    if digest is None:
        return
    with replaced(_kept(layout) / f"{digest}.parquet") as temporary:
        shutil.copyfile(layout.reference, temporary)
    oldest_first = sorted(list_plain(_kept(layout), "*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    for path in oldest_first[:-KEPT]:
        discard(path)


def _drop_rhythm_rows(layout: Layout) -> None:
    """Remove the rhythm rows of references that are neither in place nor kept."""
    digests = {reference_digest(layout), *(path.stem for path in list_plain(_kept(layout), "*.parquet"))}
    for path in list_plain(layout.rhythm_rows, "*.parquet"):
        if path.stem not in digests:
            discard(path)
