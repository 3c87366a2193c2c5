"""The service outside, on another machine, that notices when Watchdog's pings stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from tests.processes import QuietHandler, eventually, serving
from tests.stack.promises import OWN_CLOCKS, PACE

PERIOD, GRACE = 360, 120  # seconds: what docs/runbooks/Watchdog.md tells the service outside to wait
MISSED = {"alertmanager": 8 * 60, "prometheus": 13 * 60}  # seconds: the same


class Outside:
    """Expects Alertmanager's pings, and raises its own alarm when they stop."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.url = ""

    @property
    def alarms(self) -> bool:
        """Say whether no ping has come for longer than Watchdog's runbook allows."""
        return time.monotonic() - self.last > (PERIOD + GRACE) / PACE

    def wait_pinged(self) -> None:
        """Wait until pings come."""
        eventually("a ping", lambda: not self.alarms, 60)

    def wait_alarm(self, service: str) -> None:
        """Wait for the alarm, which tells that a service is gone, within the time that Watchdog's runbook states."""
        eventually("the alarm outside", lambda: self.alarms, MISSED[service] / PACE + OWN_CLOCKS)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take pings until the end of the block."""
        outside = self

        class Ping(QuietHandler):
            def do_POST(self) -> None:  # noqa: N802 - the name that http.server looks for
                outside.last = time.monotonic()
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(200)

        with serving(ThreadingHTTPServer(("127.0.0.1", 0), Ping)) as port:
            self.url = f"http://127.0.0.1:{port}/ping"
            yield
