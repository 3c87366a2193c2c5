"""Ids for rows that have none: UUIDs of version 7, made from the row's time and from what stands in it.

The same row has the same id whenever, wherever and from whichever file it is read, so that a batch that is given twice
is known. Where the log's numbers are float32 they are rounded to it first, or a file of such would hold other rows. A
label is no part of it: it may come later. Where rows of one file are equal, they are told apart by their number.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import numpy as np
import pyarrow as pa

from monitoring.contract.config import Model

_SIZE = 16  # bytes of a digest
_NO_TEXT = b"\xff\xff\xff\xff"


def content_ids(rows: pa.Table, model: Model) -> Iterator[str]:
    """Yield an id for each row (n) of the log's columns; each has a time, and numbers are float64."""
    seen: Counter[bytes] = Counter()
    times = rows["timestamp"].cast(pa.int64()).to_numpy()
    for time, content in zip(times.tolist(), _contents(rows, model), strict=True):
        digest = _digest(time.to_bytes(8, "little") + content)
        number = seen[digest]
        seen[digest] += 1
        yield _uuid7(time // 1000, _digest(digest + number.to_bytes(8, "little")) if number else digest)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_SIZE).digest()


def _contents(rows: pa.Table, model: Model) -> Iterator[bytes]:
    """Yield each row's values as bytes: numbers, then texts by length, each in the order of their columns' names."""
    left_out = ("prediction_id", "timestamp", model.target)
    columns = [rows[name] for name in sorted(rows.column_names) if name not in left_out]
    numbers = [column.to_numpy() + 0.0 for column in columns if pa.types.is_floating(column.type)]  # -0.0 is 0.0
    matrix = np.array(numbers, "<f8").reshape(len(numbers), len(rows)).T.copy()
    if model.dtype == "float32":
        with np.errstate(over="ignore"):  # infinite in the log, too
            matrix = matrix.astype("<f4").astype("<f8")
    matrix[np.isnan(matrix)] = np.nan
    texts = [column.to_pylist() for column in columns if not pa.types.is_floating(column.type)]
    for place in range(len(rows)):
        yield matrix[place].tobytes() + b"".join(_bytes_of(text[place]) for text in texts)


def _bytes_of(text: str | None) -> bytes:
    if text is None:
        return _NO_TEXT
    content = text.encode()
    return struct.pack("<I", len(content)) + content


def _uuid7(milliseconds: int, digest: bytes) -> str:
    """Return the UUID of RFC 9562 whose 74 random bits are a digest's."""
    bits = int.from_bytes(digest, "big")
    value = milliseconds << 80 | 7 << 76 | (bits >> 64 & 0xFFF) << 64 | 2 << 62 | bits & ((1 << 62) - 1)
    return str(UUID(int=value))
