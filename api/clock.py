"""The time that rows are given: it does not run backwards where the machine's clock is set back a little.

The newest rows are the window, and a re-based reference lets in what is later than itself: rows that a clock set back
dates before others would be looked at late, or not at all.
"""

import threading
import time
from collections.abc import Callable

# microseconds: readers believe rows that are an hour ahead (monitoring.contract.parts.latest_time)
HELD = 3_600_000_000


class Clock:
    """Microseconds since 1970, each later than the one before, unless the clock is set back by more than an hour."""

    def __init__(self, read: Callable[[], int] = time.time_ns) -> None:
        self._read = read
        self._last = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the time; while a clock that was set back has not caught up, a microsecond more than last time."""
        with self._lock:
            now = self._read() // 1000
            if self._last - HELD <= now <= self._last:
                now = self._last + 1
            self._last = now
            return now
