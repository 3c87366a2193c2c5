"""Files that no reader can use, each made the way in which a disk, a person or another tool makes them."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitoring.contract.parts import Part, covering, merged_name
from monitoring.contract.schemas import TIMESTAMP

TIME = 1_767_225_600_500_000  # microseconds since 1970, among the rows of the tests
OURS = f"part-{TIME}-{TIME + 9000}-10-0badc0de-1.parquet"
SOURCE = Part(TIME + 9000, TIME, 10, Path(OURS))
MERGED = merged_name([SOURCE])


def _table(ids: str = "id", **columns: pa.Array) -> pa.Table:
    plain = {
        "prediction_id": pa.array([f"{ids}-{n}" for n in range(10)]),
        "timestamp": pa.array([TIME + 1000 * n for n in range(10)], TIMESTAMP),
        "age": pa.array([0.5] * 10, pa.float32()),
        "target": pa.array(["yes"] * 10),
    }
    return pa.table({name: column for name, column in {**plain, **columns}.items() if column is not None})


def _whole(path: Path) -> bytes:
    pq.write_table(_table().replace_schema_metadata(covering([SOURCE])), path)
    return path.read_bytes()


def _empty(path: Path) -> None:
    path.touch()


def _not_parquet(path: Path) -> None:
    path.write_text("timestamp,age\n2026-01-01,3\n")


def _truncated(path: Path) -> None:
    content = _whole(path)
    path.write_bytes(content[: len(content) // 2])


def _torn_pages(path: Path) -> None:
    """The footer is whole, the rows are not: a sector that went bad."""
    content = _whole(path)
    path.write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])


def _zeros(path: Path) -> None:
    """What a power loss leaves of a file that was never synced."""
    path.write_bytes(bytes(len(_whole(path))))


def _written(**columns: pa.Array | None) -> Callable[[Path], None]:
    return lambda path: pq.write_table(_table(**columns), path)  # type: ignore[arg-type]


def _folder(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    """Who opens it waits for somebody who writes."""
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"/proc/self/fd/{here}/{path.name[-60:]}")
    os.close(here)
    path.with_name(path.name[-60:]).rename(path)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _terabyte(path: Path) -> None:
    """All hole; the footer claims to be two gigabytes of it."""
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\xff\xff\xff\x7fPAR1")


_AGES = {name: pa.array(["old"] * 10) for name in ("age", "mfcc_1", "acidity")}
_AGES |= {name: pa.array([[1]] * 10) for name in ("target", "actual_genre", "truth")}

UNREADABLE = [
    pytest.param(name, make, id=f"{make_id}, {whose}")
    for whose, name in (("ours", OURS), ("merged", MERGED), ("foreign", "from-elsewhere.parquet"))
    for make_id, make in (
        ("empty", _empty),
        ("not Parquet", _not_parquet),
        ("truncated", _truncated),
        ("zeros", _zeros),
        ("torn pages", _torn_pages),
        ("text for a number, a list for text", _written(**_AGES)),
        ("no timestamp", _written(timestamp=None)),
        ("a list as timestamp", _written(timestamp=pa.array([[1]] * 10))),
        ("timestamps beyond all calendars", _written(timestamp=pa.array([2**62] * 10, TIMESTAMP))),
        ("a folder", _folder),
    )
]

ODD = {
    "a FIFO": _fifo,
    "a socket": _socket,
    "a link to a device": _link("/dev/zero"),
    "a link that leads nowhere": _link("/nonexistent/file"),
    "a link in a circle": _circle,
    "a terabyte of holes": _terabyte,
}
UNREADABLE += [
    pytest.param(name, make, id=f"{make_id}, {whose}")
    for (make_id, make), (whose, name) in zip(
        ODD.items(), 2 * [("ours", OURS), ("foreign", "from-elsewhere.parquet"), ("merged", MERGED)], strict=True
    )
]
