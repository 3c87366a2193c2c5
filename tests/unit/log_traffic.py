"""Clients that predict and remember what was acknowledged, and readers that look at the log meanwhile."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import requests

from monitoring.contract.config import Config, Window
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from tests.unit.api_fixtures import features_of

_PAUSE = 0.02  # seconds before a client tries a server again that is down


class Threads:
    """Threads that run until they are stopped; what one of them raises is raised when they are."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self.stopping = threading.Event()
        self._work = work
        self._raised: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        try:
            self._work(number)
        except BaseException as error:  # noqa: BLE001 - raised where the test can see it
            self._raised.append(error)

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        if self._raised:
            raise self._raised[0]


class Traffic:
    """Clients that predict until they are stopped, and remember what was acknowledged."""

    def __init__(self, url: str, config: Config, clients: int = 4) -> None:
        self.acknowledged: list[str] = []
        self._url = url
        self._config = config
        self._threads = Threads(clients, self._send)
        self._threads.start()

    def _send(self, client: int) -> None:
        single = {"features": features_of(self._config, client)}
        batch = {"instances": [features_of(self._config, client)] * 20}
        with requests.Session() as session:
            for body in itertools.cycle([single, batch]):
                if self._threads.stopping.is_set():
                    return
                try:
                    answer = session.post(f"{self._url}/predict", json=body, timeout=10)
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                    self._threads.stopping.wait(_PAUSE)
                    continue  # its worker was killed: not acknowledged
                assert answer.ok, answer.text
                content = answer.json()
                self.acknowledged += [p["prediction_id"] for p in content.get("predictions", [content])]

    def stop(self) -> list[str]:
        self._threads.stop()
        return self.acknowledged


class Readers:
    """Readers that see each id at most once, and never fewer than they saw before."""

    def __init__(self, data: Path, config: Config, count: int = 2) -> None:
        self.looks = 0
        self._layout = Layout(data)
        self._config = config
        self._threads = Threads(count, self._read)
        self._threads.start()

    def _read(self, _number: int) -> None:
        seen: set[str] = set()
        while not self._threads.stopping.is_set():
            rows = read_rows(self._layout, self._config.model, Window(rows=10**9))
            assert rows.unreadable == ()
            ids = rows.table["prediction_id"].to_pylist()
            found = set(ids)
            assert len(ids) == len(found), f"{len(ids) - len(found)} rows twice"
            assert seen <= found, f"{len(seen - found)} rows gone"
            seen = found
            self.looks += 1
            self._threads.stopping.wait(_PAUSE)

    def stop(self) -> int:
        self._threads.stop()
        return self.looks
