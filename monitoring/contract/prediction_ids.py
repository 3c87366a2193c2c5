"""Ids of predictions: UUIDs of version 7, which carry their row's time."""

from uuid import UUID


def id_milliseconds(prediction_id: str) -> int | None:
    """Return the time in a version 7 UUID, in milliseconds since 1970; None if it is not one."""
    try:
        value = UUID(prediction_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return value.int >> 80 if value.version == 7 else None  # noqa: PLR2004
