"""Which requests are let in, and which one gets the next thread.

A server that lets everybody in answers everybody too late: above its capacity the queue grows for as long as the load
lasts, and what it computes is for clients that have gone. Here a request is let in only if a thread will come to it
soon. How long that takes is known from how many wait and how fast they have become fewer of late, so that the bound is
one of time on any machine, for single rows and for large batches.

A burst is no overload. While requests have waited for a moment only, many may wait; once they wait without a break, few
may (as CoDel tells good queues from bad ones: Nichols and Jacobson, 2012).

Of many models each has its own queue. The room is shared evenly by those whose requests wait, who take turns, and the
last free thread is kept for a model that has none: one that is flooded, or slow, leaves the others theirs.
"""

import time
from collections import Counter, deque
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
        self._asking: deque[tuple[float, Request]] = deque()  # how things are
        self._writing: dict[str, deque[tuple[float, Request]]] = {}  # by model, whose turn it is first; none is empty
        self._running: Counter[str] = Counter()  # threads that a model's requests have
        self._writes_next = False  # whose turn it is, where both wait

    def take(self, request: Request, *, writes: bool, model: str = "") -> bool:
        """Let a request in, one that writes only if there is room for its model's; say whether it was."""
        if not writes:
            self._asking.append((self._clock(), request))
            return True
        if not self.has_room(model):
            return False
        self._writing.setdefault(model, deque()).append((self._clock(), request))
        return True

    def has_room(self, model: str = "") -> bool:
        """Say whether a request that writes to the model would be let in now."""
        now = self._clock()
        if self._behind is None and now - self._answered > _REMEMBERED:
            self._pace = _PACE  # what slow requests took a while ago says nothing of these
        burst = self._behind is None or now - self._behind < _BURST_ENDS
        room = max(self._least, (_BURST if burst else _PATIENCE) / self._pace)
        waiting = len(self._writing.get(model, ()))
        if sharing := len(self._writing.keys() - {model}):
            return waiting < max(_FOR_EACH_THREAD, room / (sharing + 1))
        return waiting - self._free < room

    @property
    def behind(self) -> bool:
        """Say whether requests wait."""
        return self._behind is not None

    def begin(self) -> Iterator[tuple[Request, str]]:
        """Return the requests whose turn it is, each with its model; those that ask take turns with those that write.

        For each of them `end` is called with that model.
        """
        while self._free and (begun := self._next()):
            self._free -= 1
            self._running[begun[1]] += 1
            yield begun
        if not (self._asking or self._writing):
            self._behind = None
        elif self._behind is None:
            self._behind = self._clock()

    def _next(self) -> tuple[Request, str] | None:
        models = (model for model in self._writing if self._free > 1 or not model or not self._running[model])
        model = next(models, None)
        if self._asking and (model is None or not self._writes_next):
            self._writes_next = True
            return self._asking.popleft()[1], ""
        if model is None:
            return None
        self._writes_next = False
        queue = self._writing.pop(model)
        request = queue.popleft()[1]
        if queue:
            self._writing[model] = queue  # behind the others
        return request, model

    def overdue(self) -> Iterator[Request]:
        """Return the requests that have waited too long."""
        for waiting in (self._asking, *self._writing.values()):
            while waiting and self._clock() - waiting[0][0] > _LONGEST:
                yield waiting.popleft()[1]
        self._writing = {model: waiting for model, waiting in self._writing.items() if waiting}

    def end(self, model: str = "") -> None:
        """Note that a request was answered: its thread is free."""
        now = self._clock()
        if self._behind is not None:
            self._pace += _WEIGHT * (now - max(self._answered, self._behind) - self._pace)
        self._answered = now
        self._free += 1
        self._running[model] -= 1
