"""Times as the files hold them: whole microseconds, and how far ahead of the clock one is believed."""

import argparse
from datetime import UTC, datetime, timedelta
from typing import NewType

Micros = NewType("Micros", int)  # a moment: microseconds since 1970, UTC

BEFORE_ALL = Micros(-1)  # earlier than every row
NEVER = Micros(253_402_300_799_000_000)  # the calendar's last second: who writes 9999-12-31 23:59:59 means no time
AHEAD = timedelta(hours=1)  # of this clock: up to there a row's time is believed
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> Micros:
    """Return a moment with a time zone as whole microseconds."""
    return Micros((moment - _EPOCH) // timedelta(microseconds=1))


def parse_moment(text: str) -> Micros:
    """Read an option's time of ISO 8601; one without a zone is UTC. Raise ArgumentTypeError if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 2026-11-01 or 2026-11-01T08:00") from error
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def from_microseconds(moment: int) -> datetime:
    """Return the moment as a datetime of UTC."""
    return _EPOCH + timedelta(microseconds=moment)


def latest_time(now: datetime | None = None) -> Micros:
    """Return the time up to which a row is believed: an hour ahead of this clock.

    The newest rows are the window. One that a wrong clock dated far ahead would stay in it for years, and a reference
    that is said to go through its time would let no other row in.
    """
    return microseconds((now or datetime.now(UTC)) + AHEAD)


def before(moment: datetime, duration: timedelta) -> Micros:
    """Return the time so long before a moment, which may lie before the calendar begins."""
    return Micros(microseconds(moment) - duration // timedelta(microseconds=1))
