"""The monitor as a service: gunicorn, one worker that serves and, in a thread, watches."""

import logging
import threading
from typing import Any

import flask
import prometheus_client
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from monitoring.schema import Config, start_logging
from monitoring.settings import MonitorSettings


class PlainLogger(Logger):  # type: ignore[misc]  # gunicorn is untyped
    """Gunicorn's own lines, sent through the service's JSON log."""

    def setup(self, cfg: Any) -> None:  # noqa: ARG002 - the signature is gunicorn's
        """Leave handlers and format to the root logger."""
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)


class _Service(BaseApplication):  # type: ignore[misc]  # gunicorn is untyped
    def __init__(self, config: Config, settings: MonitorSettings) -> None:
        self._config = config
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"{self._settings.monitor_host}:{self._settings.monitor_port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": 8,
            "timeout": 300,  # importing Evidently may take long on a cold or busy machine
            "proc_name": "monitor",
            "logger_class": PlainLogger,
            "control_socket_disable": True,  # it would want a writable HOME
        }
        for key, value in options.items():
            self.cfg.set(key, value)

    def load(self) -> flask.Flask:
        """Start watching, in the worker: Evidently is imported once, and not in the parent."""
        from monitoring.monitor import Monitor  # noqa: PLC0415 - see above
        from monitoring.page import create_app  # noqa: PLC0415

        monitor = Monitor(self._config, self._settings, prometheus_client.REGISTRY)
        watching = threading.Thread(target=monitor.run, args=(threading.Event(),), name="monitor", daemon=True)
        watching.start()
        return create_app(monitor, prometheus_client.REGISTRY, watching.is_alive)


def serve(config: Config, settings: MonitorSettings) -> None:
    """Serve until told to stop."""
    start_logging("monitor")
    logging.captureWarnings(capture=True)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    _Service(config, settings).run()
