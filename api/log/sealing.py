"""From journal to part: the same journal gives the same part, so that dying in between leaves nothing to undo."""

import os
from dataclasses import dataclass
from pathlib import Path

from api.log.journal import identity
from api.log.journal_lines import LogFormat, begun_at, read_content
from monitoring.contract.locks import lock
from monitoring.contract.parts import part_name
from monitoring.contract.plain_files import OddEntryError, discard, open_plain, opened, read_plain, require_size
from monitoring.contract.storage import Place, replaced, step, write_parquet
from monitoring.contract.times import Micros


@dataclass(frozen=True)
class Sealed:
    """The result of sealing a journal."""

    part: Place | None
    rows: int
    torn_bytes: int
    corrupt_lines: int
    quarantined: Path | None


def seal_orphan(path: Path, parts: Place, form: LogFormat) -> Sealed | None:
    """Seal a dead process's journal; return None if its writer lives or another process was faster.

    Raise OddEntryError if it is no journal that a process of ours could have left.
    """
    try:
        descriptor = open_plain(path)
    except FileNotFoundError:
        return None
    try:
        if not lock(descriptor):
            return None
        step("orphan locked")
        return seal(path, parts, form)
    finally:
        os.close(descriptor)


def seal(path: Path, parts: Place, form: LogFormat) -> Sealed:
    """Turn a journal that nobody appends to into a part, and remove it last."""
    writer, segment = identity(path)
    content = read_content(read_plain(path), form)
    part = quarantined = None
    if content.corrupt:
        quarantined = path.with_name(f"_corrupt-{writer}-{segment}.jsonl")
        with replaced(quarantined) as temporary:
            temporary.write_bytes(b"".join(line + b"\n" for line in content.corrupt))
        step("corrupt lines quarantined")
    if content.times:
        part = parts / part_name(min(content.times), max(content.times), len(content.times), writer, segment)
        write_parquet(part, content.table)
        step("journal sealed")
    for litter in path.parent.glob(f"_*-{writer}-{segment}.*.tmp"):  # of a process that died while it sealed this
        discard(litter)
    path.unlink()
    step("journal removed")
    return Sealed(part, len(content.times), content.torn_bytes, len(content.corrupt), quarantined)


def first_time(path: Path, form: LogFormat) -> Micros | None:
    """Return when a journal was begun; None without a row, or of a file that cannot be read."""
    try:
        with opened(path) as descriptor, open(descriptor, "rb", closefd=False) as journal:
            require_size(descriptor)
            head = journal.readline() + journal.readline()  # the names of the columns, then a line per request
    except (OSError, OddEntryError):
        return None
    return begun_at(head, form)
