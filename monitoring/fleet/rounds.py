"""Whose turn it is: the cycles of many models on a few threads, spread evenly over the interval."""

import math
import threading
import time
from collections.abc import Callable, Iterable

import structlog

log = structlog.get_logger(__name__)

THREADS = 2  # a long first look at one log leaves the other models a thread
LONG = 60.0  # seconds: a cycle that takes longer is given a thread of its own, however long it lasts
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
        self._threads: set[threading.Thread] = set()
        self._admitted = 0
        self._stopped = False

    def admit(self, name: str) -> None:
        """Give a name its first turn at once, and then one an interval; for one that is known, a turn at once.

        A look of its that takes long counts no more.
        """
        with self._changed:
            if name not in self._phases:
                self._phases[name] = self._interval * (self._admitted * GOLDEN % 1)
                self._admitted += 1
            self._due[name] = time.monotonic()
            if self._takes_long(name):
                del self._looking[name]
            self._changed.notify_all()

    def dismiss(self, name: str) -> None:
        """Give a name no more turns."""
        with self._changed:
            self._due.pop(name, None)
            self._phases.pop(name, None)

    def tend(self) -> None:
        """Start threads until so many are free for looks that do not take long; to be called now and then."""
        with self._changed:
            for name in self._long_looks():
                thread, _ = self._looking[name]
                if thread in self._threads:
                    log.warning("cycle_takes_long", model=name, seconds=self._long)
                    self._threads.remove(thread)
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            for _ in range(THREADS - len(self._threads)):
                thread = threading.Thread(target=self._take_turns, name="cycles", daemon=True)
                self._threads.add(thread)
                thread.start()

    def stop(self, patience: float = 0.0) -> None:
        """Begin no more looks; wait so many seconds for those that are under way."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        ends = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def long_looks(self) -> dict[str, float]:
        """Return whose look takes long, and since when, in seconds of the monotonic clock."""
        with self._changed:
            return {name: self._looking[name][1] for name in self._long_looks()}

    def _long_looks(self) -> Iterable[str]:
        return [name for name in self._looking if self._takes_long(name)]

    def _takes_long(self, name: str) -> bool:
        return name in self._looking and time.monotonic() - self._looking[name][1] > self._long

    def _take_turns(self) -> None:
        while (name := self._next()) is not None:
            try:
                self._look(name)
            finally:
                self._end(name)

    def _next(self) -> str | None:
        """Wait for a turn; None if this thread is no longer wanted."""
        with self._changed:
            while not self._stopped and threading.current_thread() in self._threads:
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
