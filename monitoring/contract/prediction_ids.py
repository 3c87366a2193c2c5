"""Ids of predictions: UUIDs of version 7, which carry their row's time.

A UUID is the same whatever the case of its letters. Ids become one spelling where they come in, from a file or a
request, and are compared as they are everywhere else. Ids that are no UUIDs keep their letters.
"""

import re
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc

_UUID = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_IS_UUID = re.compile(_UUID)


def canonical_id(prediction_id: str) -> str:
    """Return an id in the spelling in which ids are compared."""
    return prediction_id.lower() if _IS_UUID.fullmatch(prediction_id) else prediction_id


def canonical_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return each id (n) in the spelling in which ids are compared."""
    lower = pc.ascii_lower(ids)
    if lower.equals(ids):  # nearly always, and ten times faster than to look for UUIDs
        return ids
    return pc.if_else(pc.match_substring_regex(ids, _UUID), lower, ids)


def id_milliseconds(prediction_id: str) -> int | None:
    """Return the time in a version 7 UUID, in milliseconds since 1970; None if it is not one."""
    try:
        value = UUID(prediction_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return value.int >> 80 if value.version == 7 else None  # noqa: PLR2004
