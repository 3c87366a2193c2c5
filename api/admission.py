"""Which requests are let in, and which one gets the next thread.

A server that lets everybody in answers everybody too late: above its capacity the queue grows for as long as the load
lasts, and what it computes is for clients that have gone. Here a request is let in only if a thread will come to it
soon. How long that takes is known from how many wait and how fast they have become fewer of late, so that the bound is
one of time on any machine, for single rows and for large batches.

A burst is no overload. While requests have waited for a moment only, many may wait; once they wait without a break, few
may (as CoDel tells good queues from bad ones: Nichols and Jacobson, 2012).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_PATIENCE = 0.04  # seconds that a request waits for a thread at most where the queue stands
_BURST = 0.15  # the same where it has just begun
_BURST_ENDS = 0.1  # seconds after which a queue is no burst's
_FOR_EACH_THREAD = 3  # requests that may wait in any case: none takes more than about four times as long as alone
_LONGEST = 30.0  # seconds; who has waited so long, because the threads hang, is refused as well
_PACE = 0.002  # seconds from one answer to the next, until it is known
_REMEMBERED = 10.0  # seconds after the last answer for which the pace is known
_WEIGHT = 1 / 64  # of the newest answer in the pace


Request = TypeVar("Request")


class Admission(Generic[Request]):
    """The requests that wait for a worker's threads."""

    def __init__(self, threads: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = threads
        self._least = _FOR_EACH_THREAD * threads
        self._pace = _PACE  # seconds from one answer to the next, while requests wait
        self._answered = 0.0
        self._behind: float | None = None  # since when requests wait without a break
        self._waiting: dict[bool, deque[tuple[float, Request]]] = {False: deque(), True: deque()}  # by: writes
        self._turn = False  # whose it is, where both wait

    def take(self, request: Request, *, writes: bool) -> bool:
        """Let a request in, one that writes only if there is room; say whether it was."""
        if writes and not self.has_room():
            return False
        self._waiting[writes].append((self._clock(), request))
        return True

    def has_room(self) -> bool:
        """Say whether a request would be let in now."""
        now = self._clock()
        if self._behind is None and now - self._answered > _REMEMBERED:
            self._pace = _PACE  # what slow requests took a while ago says nothing of these
        burst = self._behind is None or now - self._behind < _BURST_ENDS
        room = max(self._least, (_BURST if burst else _PATIENCE) / self._pace)
        return len(self._waiting[True]) - self._free < room

    @property
    def behind(self) -> bool:
        """Say whether requests wait."""
        return self._behind is not None

    def begin(self) -> Iterator[Request]:
        """Return the requests whose turn it is; those that ask how things are take turns with those that write."""
        while self._free and any(self._waiting.values()):
            self._free -= 1
            which = self._turn if self._waiting[self._turn] else not self._turn
            self._turn = not which
            yield self._waiting[which].popleft()[1]
        if not any(self._waiting.values()):
            self._behind = None
        elif self._behind is None:
            self._behind = self._clock()

    def overdue(self) -> Iterator[Request]:
        """Return the requests that have waited too long."""
        for waiting in self._waiting.values():
            while waiting and self._clock() - waiting[0][0] > _LONGEST:
                yield waiting.popleft()[1]

    def end(self) -> None:
        """Note that a request was answered: its thread is free."""
        now = self._clock()
        if self._behind is not None:
            self._pace += _WEIGHT * (now - max(self._answered, self._behind) - self._pace)
        self._answered = now
        self._free += 1
