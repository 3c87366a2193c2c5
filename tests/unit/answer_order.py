"""Clients that remember which version answered them and when, and what the order of their answers must be."""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from tests.processes import eventually
from tests.unit.log_traffic import Threads

CLIENTS = 16


@dataclass(frozen=True)
class Answer:
    """What a client got, when it asked and when it had the answer, by a clock that does not jump."""

    url: str
    asked: float
    had: float
    status: int
    version: str


@dataclass(frozen=True)
class Change:
    """A move of the alias to a version, which began at that time."""

    began: float
    version: str


class Clients:
    """Clients that ask one server after the other and keep all answers."""

    def __init__(self, urls: Sequence[str], features: Mapping[str, float]) -> None:
        self.answers: list[Answer] = []
        self.broken = 0  # connections that ended without an answer
        self._last: dict[int, Answer] = {}
        self._urls = urls
        self._body = {"features": features}
        self._threads = Threads(CLIENTS, self._ask)
        self._threads.start()

    def _ask(self, client: int) -> None:
        with requests.Session() as session:
            for url in itertools.islice(itertools.cycle(self._urls), client, None):
                if self._threads.stopping.is_set():
                    return
                asked = time.monotonic()
                try:
                    answer = session.post(f"{url}/predict", json=self._body, timeout=60)
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                    self.broken += 1
                    continue
                version = answer.json().get("model_version", "none")
                self._last[client] = Answer(url, asked, time.monotonic(), answer.status_code, version)
                self.answers.append(self._last[client])

    def wait_for(self, version: str) -> None:
        """Wait until the latest answers of all clients are of that version, from each server."""
        enough = CLIENTS * len(self._urls)
        eventually(
            f"version {version} at all clients",
            lambda: {answer.version for answer in self.answers[-enough:]} == {version} and len(self._last) == CLIENTS,
        )

    def wait_for_answers(self, count: int) -> None:
        """Wait for that many more answers."""
        enough = len(self.answers) + count
        eventually("more answers", lambda: len(self.answers) >= enough)

    def stop(self) -> list[Answer]:
        """Let the clients end, and return all answers."""
        self._threads.stop()
        return self.answers


@contextmanager
def asking(urls: Sequence[str], features: Mapping[str, float]) -> Iterator[Clients]:
    clients = Clients(urls, features)
    try:
        yield clients
    finally:
        clients.stop()


def behind(answers: list[Answer], changes: list[Change]) -> Iterator[tuple[Answer, float]]:
    """Give each answer of a former version, and for how many seconds somebody had had the next when it was asked."""
    for place, change in enumerate(changes):
        end, later = (changes[place + 1].began, changes[place + 1].version) if changes[place + 1 :] else (1e18, "")
        first = min(a.had for a in answers if a.version == change.version and a.asked >= change.began)
        for answer in answers:
            overtaken = answer.version == later and answer.had > end  # by the next change
            if first < answer.asked < end and answer.version != change.version and not overtaken:
                yield answer, answer.asked - first


def require_no_way_back(answers: list[Answer], changes: list[Change]) -> None:
    """Fail if an answer is of another version than one that somebody had when it was asked for."""
    found = list(behind(answers, changes))
    assert found == [], f"{len(found)} answers went back, such as {found[0]}"


def overlap(answers: list[Answer], changes: list[Change]) -> float:
    """Return for how many seconds at most the former version was still answered with after the first of the next."""
    return max((seconds for _, seconds in behind(answers, changes)), default=0.0)
