"""The monitor as a service: one process, which serves and, in a thread, watches."""

import atexit
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import flask
import prometheus_client
import waitress

from monitoring.contract.config import Config
from monitoring.contract.logs import start_logging
from monitoring.profile.allocator import use_one_allocator
from monitoring.settings import MonitorSettings
from monitoring.suite.lean_evidently import leave_out_the_rest

THREADS = 8  # that answer requests
TURN = 0.0005  # seconds that a thread computes while another waits for its turn: a scrape takes several turns
CONNECTIONS = 800  # within the 1,024 files that a process commonly may open; slow clients hold these, and no threads


def serve(config: Config, settings: MonitorSettings) -> None:
    """Watch one model, and serve until told to stop."""
    _prepare()
    from monitoring.monitor import Monitor  # noqa: PLC0415 - takes seconds, in which the log should not be silent
    from monitoring.page.page import create_app  # noqa: PLC0415

    monitor = Monitor(config, settings, prometheus_client.REGISTRY)
    watching = _watch(monitor.run, monitor.stop)
    _answer(create_app(monitor, prometheus_client.REGISTRY, watching.is_alive), settings)


def serve_folder(folder: Path, settings: MonitorSettings) -> None:
    """Watch the models of a folder of config files, and serve until told to stop."""
    _prepare()
    from monitoring.fleet.fleet import Fleet  # noqa: PLC0415 - as above
    from monitoring.fleet.fleet_metrics import FleetCollector  # noqa: PLC0415
    from monitoring.page.fleet_page import create_fleet_app  # noqa: PLC0415

    fleet = Fleet(folder, settings)
    prometheus_client.REGISTRY.register(FleetCollector(fleet))
    watching = _watch(fleet.run, fleet.stop)
    _answer(create_fleet_app(fleet, prometheus_client.REGISTRY, watching.is_alive), settings)


def _prepare() -> None:
    """Set up the process before Evidently is imported."""
    start_logging("monitor")
    logging.captureWarnings(capture=True)
    signal.signal(signal.SIGTERM, _stop)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    use_one_allocator()
    leave_out_the_rest()


def _watch(run: Callable[[threading.Event], None], stop: Callable[[], None]) -> threading.Thread:
    """Start the loop in a thread; what it began ends with the process."""
    gc.freeze()  # else each full collection walks through all that was imported, and stops scrapes for 0.2 s
    sys.setswitchinterval(TURN)
    watching = threading.Thread(target=run, args=(threading.Event(),), name="monitor", daemon=True)
    watching.start()
    atexit.register(stop)
    return watching


def _answer(app: flask.Flask, settings: MonitorSettings) -> None:
    waitress.serve(
        app,
        host=settings.monitor_host,
        port=settings.monitor_port,
        threads=THREADS,
        ident="monitor",
        connection_limit=CONNECTIONS,
        channel_timeout=30,
        cleanup_interval=10,
        max_request_body_size=1_000_000,  # nothing here takes a body
        asyncore_use_poll=True,
    )


def _stop(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
