"""Moments as whole microseconds."""

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.contract.times import before, from_microseconds, latest_time, microseconds

MOMENT = datetime(2026, 9, 21, 14, 13, 20, 123457, UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def test_microseconds_are_exact() -> None:
    """A moment's microseconds are whole, before 1970 too, and give the moment back."""
    assert microseconds(MOMENT) == 1_790_000_000_123_457
    assert microseconds(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)) == -1
    assert from_microseconds(microseconds(MOMENT)) == MOMENT


@pytest.mark.parametrize(
    ("moment", "duration", "expected"),
    [
        pytest.param(MOMENT, timedelta(microseconds=1), 1_790_000_000_123_456, id="the next before"),
        pytest.param(MOMENT, timedelta(0), 1_790_000_000_123_457, id="no time before"),
        pytest.param(EPOCH, timedelta(days=1), -86_400_000_000, id="before 1970"),
        pytest.param(EPOCH, timedelta(days=99_999_999), -99_999_999 * 86_400 * 10**6, id="before the year 1"),
    ],
)
def test_a_time_before_a_moment_needs_no_calendar(moment: datetime, duration: timedelta, expected: int) -> None:
    """A window may be configured to last longer than there have been years: no datetime could hold its start."""
    assert before(moment, duration) == expected


def test_a_row_is_believed_up_to_an_hour_ahead() -> None:
    """The clocks of two machines differ; a row of next year is a wrong clock's."""
    assert latest_time(MOMENT) - microseconds(MOMENT) == 3600 * 10**6
