"""Who is let in: by how long it would wait, at any pace of the threads, and with room for a burst."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from api.admission import Admission

THREADS = 4


@dataclass
class Server:
    """A worker in made-up time: threads that take `seconds` for a request, and who waited how long."""

    seconds: float
    now: float = 100.0
    refused: int = 0
    waits: list[tuple[float, float]] = field(default_factory=list)  # when a request began, and how long it had waited
    working: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission: Admission[float] = Admission(THREADS, lambda: self.now)

    def arrive(self) -> None:
        if not self.admission.take(self.now, writes=True):
            self.refused += 1

    def turn(self, until: float) -> None:
        """Let the threads work until then."""
        while self._begin() and min(self.working) <= until:
            self.now = min(self.working)
            self.working.remove(self.now)
            self.admission.end()
        self.now = until

    def _begin(self) -> bool:
        for arrived, _ in self.admission.begin():
            self.waits.append((self.now, self.now - arrived))
            self.working.append(self.now + self.seconds)
        return bool(self.working)

    def load(self, times: float, seconds: float) -> Iterator[float]:
        """Let so many times of what it can serve arrive, evenly."""
        gap, begun = self.seconds / THREADS / times, self.now
        for number in range(int(seconds / gap)):
            self.turn(begun + number * gap)
            self.arrive()
            yield self.now - begun


@pytest.mark.parametrize("seconds", [0.002, 0.02, 1.0], ids=["single rows", "batches", "large batches"])
def test_what_is_let_in_has_a_thread_soon(seconds: float) -> None:
    """At three times the capacity nobody waits longer than a moment, or than three requests take; two in three go."""
    server = Server(seconds)
    arrived = sum(1 for _ in server.load(3, 200 * seconds + 5))
    standing = [wait for began, wait in server.waits if began > 100.5 + 10 * seconds]
    assert len(standing) > 100
    assert max(standing) < max(0.06, 4 * seconds)
    assert 0.6 < server.refused / arrived < 0.7


def test_half_of_the_capacity_is_never_refused() -> None:
    """Nor is what comes evenly just below it."""
    for share in (0.5, 0.95):
        server = Server(0.004)
        assert sum(1 for _ in server.load(share, 20)) > 5_000
        assert server.refused == 0


def test_a_burst_is_let_in() -> None:
    """Fifty at once are no overload, whatever would wait too long if it went on."""
    server = Server(0.008)
    for _ in range(5):
        for _ in range(50):
            server.arrive()
        server.turn(server.now + 1)
    assert server.refused == 0
    for _ in range(500):
        server.arrive()
    assert server.refused > 300


def test_slow_requests_are_forgotten_once_nobody_asks() -> None:
    """A burst of quick requests is none of those that were slow a while ago."""
    server = Server(2)
    for _ in range(40):
        server.arrive()
    server.turn(server.now + 60)
    server.seconds, server.refused = 0.002, 0
    for _ in range(60):
        server.arrive()
    assert server.refused == 0


def test_all_are_let_in_again_when_the_load_ends() -> None:
    """The queue is gone within its own length, and the next burst is let in."""
    server = Server(0.008)
    for _ in server.load(3, 10):
        pass
    assert server.refused
    server.turn(server.now + 0.2)
    server.refused = 0
    for _ in range(50):
        server.arrive()
    assert server.refused == 0


def test_who_asks_how_things_are_is_let_in_and_takes_nobodys_place() -> None:
    """Only what writes is refused, and for what it writes it waits; the others take turns with it."""
    server = Server(0.008)
    for _ in range(500):
        assert server.admission.take(server.now, writes=False)
    server.arrive()
    assert server.refused == 0
    for _ in server.load(3, 1):
        pass
    assert server.refused
    assert server.admission.take(server.now, writes=False)


def test_of_many_models_each_has_its_share() -> None:
    """One that is flooded fills its own queue; another's requests are let in, and wait for one of its own at most."""
    admission: Admission[str] = Admission(THREADS, lambda: 100.0)
    flood = sum(admission.take("flood", writes=True, model="a") for _ in range(500))
    assert 0 < flood < 500
    assert [model for _, model in admission.begin()] == ["a"] * (THREADS - 1)  # the last thread is kept for others
    for model in ("b", "c", "b", "c"):
        assert admission.take(model, writes=True, model=model)
    assert not admission.take("flood", writes=True, model="a")
    assert [model for _, model in admission.begin()] == ["b"]
    for ended in ("a", "b", "a"):
        admission.end(ended)
    assert [model for _, model in admission.begin()] == ["a", "c", "b"]


def test_who_has_waited_for_hung_threads_is_given_back() -> None:
    """After half a minute, in the order of arrival; the others wait on."""
    server = Server(1e9)
    for _ in range(THREADS):
        server.arrive()
    server.turn(server.now + 1)
    server.arrive()
    server.turn(server.now + 20)
    server.arrive()
    server.turn(server.now + 15)
    assert list(server.admission.overdue()) == [101.0]
    assert list(server.admission.overdue()) == []
