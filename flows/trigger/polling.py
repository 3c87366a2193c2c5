"""Servers polled in the background, so that a scrape costs them nothing and a server that is down is seen as such."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import structlog
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = structlog.get_logger(__name__)

Seen = TypeVar("Seen")
PATIENCE = (
    120.0  # seconds that a poll may take: some ten requests, whose time limits are between two bytes of an answer
)


class Poll(Generic[Seen]):
    """A server's last answer: `seen` is None before the first poll, after one that failed, and while one hangs."""

    def __init__(self, service: str, read: Callable[[], Seen], seconds: float) -> None:
        self.service, self._read, self._seconds = service, read, seconds
        self._seen: Seen | None = None
        self._began: float | None = None
        self.failures = 0

    @property
    def seen(self) -> Seen | None:
        """Return what the last poll saw, unless the one under way takes too long: that is no answer."""
        began = self._began
        hangs = began is not None and time.monotonic() - began > PATIENCE
        return None if hangs else self._seen

    def start(self) -> None:
        """Poll for as long as the process lives."""
        threading.Thread(target=self._poll_forever, name=f"{self.service}-poll", daemon=True).start()

    def poll(self) -> None:
        """Poll the server once; whatever goes wrong is a failed poll, for polling must go on."""
        self._began = time.monotonic()
        try:
            self._seen = self._read()
        except Exception as error:  # noqa: BLE001 - an answer of another shape raises anything
            self._seen = None
            self.failures += 1
            log.warning("poll_failed", service=self.service, reason=str(error) or repr(error))
        self._began = None

    def _poll_forever(self) -> None:
        pause = threading.Event()
        while True:
            self.poll()
            pause.wait(self._seconds)


class PollHealth(Collector):
    """Which servers answered the last poll, and how often each did not."""

    def __init__(self, polls: Iterable[Poll[Any]]) -> None:
        self._polls = tuple(polls)

    def collect(self) -> Iterator[Metric]:
        """Yield a series per server."""
        up = GaugeMetricFamily("upstream_up", "1 if the last poll of the server went well.", labels=["service"])
        failures = CounterMetricFamily("trigger_poll_failures", "Polls of a server that failed.", labels=["service"])
        for poll in self._polls:
            up.add_metric([poll.service], float(poll.seen is not None))
            failures.add_metric([poll.service], poll.failures)
        yield from (up, failures)
