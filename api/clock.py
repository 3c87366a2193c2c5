"""The time that rows are given: it does not run backwards where the machine's clock is set back a little.

The newest rows are the window, and a re-based reference lets in what is later than itself: rows that a clock set back
dates before others would be read late, or not at all.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from monitoring.contract.times import AHEAD, Micros


class Clock:
    """Times that are each later than the one before, unless the clock is set back by more than an hour.

    That is how far ahead of the clock readers believe a row's time to be.
    """

    def __init__(self, read: Callable[[], int] = time.time_ns) -> None:
        self._read = read
        self._last = 0
        self._lock = threading.Lock()

    def now(self) -> Micros:
        """Return the time; while a clock that was set back has not caught up, the last time plus one."""
        with self._lock:
            now = self._read() // 1000
            if self._last - AHEAD // timedelta(microseconds=1) <= now <= self._last:
                now = self._last + 1
            self._last = now
            return Micros(now)
