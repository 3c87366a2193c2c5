"""Whose turn it is: the cycles of many models one after the other, spread evenly over the interval.

Cycles are Python's work, which threads do in turns: a second one would end none of them sooner, and scrapes later.
"""

import math
import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

LONG = 10.0  # seconds: a look that takes longer has the thread to itself, and the others get another one
GOLDEN = (math.sqrt(5) - 1) / 2  # the multiples of it, less whole numbers, are spread evenly however many there are


class Rounds:
    """Calls `look` for each name once in an interval. A look that does not end takes no other's turn."""

    def __init__(self, interval: float, look: Callable[[str], None], long: float = LONG) -> None:
        """Both times are in seconds; `look` must not raise."""
        self._interval, self._look, self._long = interval, look, long
        self._changed = threading.Condition()
        self._due: dict[str, float] = {}
        self._phases: dict[str, float] = {}  # seconds into the interval
        self._looking: dict[str, tuple[threading.Thread, float]] = {}  # who looks, and since when
        self._thread: threading.Thread | None = None
        self._admitted = 0
        self._stopped = False

    def admit(self, name: str) -> None:
        """Give a name a turn at once, and then one an interval.

        A look at a name that is known ends before, unless it takes long: then that thread is left to itself.
        """
        with self._changed:
            if name not in self._phases:
                self._phases[name] = self._interval * (self._admitted * GOLDEN % 1)
                self._admitted += 1
            self._due[name] = time.monotonic()
            if self._takes_long(name):
                self._leave_thread_to(name)
                del self._looking[name]
            self._changed.notify_all()

    def dismiss(self, name: str) -> None:
        """Give a name no more turns."""
        with self._changed:
            self._due.pop(name, None)
            self._phases.pop(name, None)

    def tend(self) -> None:
        """See to it that there is a thread for looks that do not take long; to be called now and then."""
        with self._changed:
            for name in filter(self._takes_long, self._looking):
                self._leave_thread_to(name)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._take_turns, name="cycles", daemon=True)
                self._thread.start()

    def stop(self, patience: float = 0.0) -> None:
        """Begin no more looks; wait so many seconds for those that are under way."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            ends = time.monotonic() + patience
            looking = [thread for thread, _ in self._looking.values()]
        for thread in looking:
            thread.join(max(0.0, ends - time.monotonic()))

    def lasts(self, name: str) -> float:
        """Return for how many seconds a look has been under way; 0 if none is."""
        begun = self._looking.get(name)
        return 0.0 if begun is None else time.monotonic() - begun[1]

    def _takes_long(self, name: str) -> bool:
        return self.lasts(name) > self._long

    def _leave_thread_to(self, name: str) -> None:
        if self._looking[name][0] is self._thread:
            log.warning("cycle_takes_long", model=name, seconds=self._long)
            self._thread = None

    def _take_turns(self) -> None:
        while (name := self._next()) is not None:
            try:
                self._look(name)
            finally:
                self._end(name)

    def _next(self) -> str | None:
        """Wait for a turn; None if this thread is no longer wanted."""
        with self._changed:
            while not self._stopped and threading.current_thread() is self._thread:
                now = time.monotonic()
                due, name = min(
                    ((due, name) for name, due in self._due.items() if name not in self._looking),
                    default=(math.inf, ""),
                )
                if due <= now:
                    self._looking[name] = threading.current_thread(), now
                    self._due[name] = self._following(name, now)
                    return name
                self._changed.wait(None if due == math.inf else due - now)
        return None

    def _following(self, name: str, now: float) -> float:
        """Return the next time that is in the name's phase."""
        return now + self._interval - (now - self._phases[name]) % self._interval

    def _end(self, name: str) -> None:
        with self._changed:
            if name in self._looking and self._looking[name][0] is threading.current_thread():
                del self._looking[name]
            self._changed.notify_all()
