"""What another service has answered, asked for when somebody looks, and kept for a few seconds."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

TIMEOUT = 2.0  # seconds: a page that waits longer for another service is no help

T = TypeVar("T")


class Remembered(Generic[T]):
    """An answer that is asked for once in `lifetime` seconds at most: many who look are one question."""

    def __init__(self, ask: Callable[[], T], first: T, lifetime: float) -> None:
        """Answer `first` until somebody has asked."""
        self._ask, self._seen, self._lifetime = ask, first, lifetime
        self._lock = threading.Lock()
        self._asked = float("-inf")

    def read(self) -> T:
        """Return the answer; one thread at a time waits for it, the others, which answer scrapes too, take the last."""
        if time.monotonic() - self._asked >= self._lifetime and self._lock.acquire(blocking=False):
            try:
                self._seen = self._ask()
                self._asked = time.monotonic()
            finally:
                self._lock.release()
        return self._seen
