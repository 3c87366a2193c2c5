# ruff: noqa: N999 - gunicorn looks for this name
"""gunicorn's settings: `gunicorn -c api/gunicorn.conf.py "api.app:create_app()"`.

The application is made in each worker after the fork, never in the master: journals and threads belong to one process.
"""

import ctypes
import gc
import os
import resource
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import structlog
from gunicorn.glogging import Logger

from api.settings import APISettings
from api.workers import Worker
from monitoring.contract.errors import ConfigError
from monitoring.contract.logs import start_logging
from monitoring.contract.plain_files import discard, make_folder

try:
    _settings = APISettings.read()
    _settings.require_configs()
    _keys = _settings.read_keys()
except ConfigError as error:
    raise SystemExit(str(error)) from None

# Before prometheus_client is imported anywhere: it picks its mode on import.
_OWN_METRICS = "PROMETHEUS_MULTIPROC_DIR" not in os.environ
if _OWN_METRICS:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="driftloop-api-metrics-")


class JSONLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Sends gunicorn's own log lines the way of all others; requests are counted, not logged."""

    def setup(self, cfg: Any) -> None:
        """Log through the root logger."""
        self.cfg = cfg
        start_logging("api")
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


_ARENA_MAX = -8  # M_ARENA_MAX of malloc.h
_CONNECTIONS = 4000  # of a worker: under overload one that ends and is made anew costs more than a refusal
_FILES = 4 * _CONNECTIONS  # a connection may have a temporary file beside its socket
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft != resource.RLIM_INFINITY and _soft < _FILES:
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_FILES if _hard == resource.RLIM_INFINITY else min(_FILES, _hard), _hard)
    )
_allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)

bind = f"{_settings.api_host}:{_settings.api_port}"
workers = _settings.api_workers
worker_class = Worker
threads = _settings.api_threads
keepalive = 30
timeout = 120
worker_connections = _CONNECTIONS if _allowed == resource.RLIM_INFINITY else max(1000, min(_CONNECTIONS, _allowed // 4))
graceful_timeout = 8  # and seal, within the 10 s that Docker gives
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
logger_class = JSONLogger
control_socket_disable = True


def on_starting(_server: Any) -> None:
    """Say whether everybody may write, and drop what an earlier master counted."""
    if _keys is None:
        reason = "neither API_KEY_FILE nor API_KEYS_FILE is set"
        structlog.get_logger(__name__).warning("api_key_off", reason=reason, open_to="everybody")
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    make_folder(folder)
    for pattern in ("*.db", "*.tmp"):
        for file in folder.glob(pattern):
            discard(file)


def post_fork(_server: Any, _worker: Any) -> None:
    """Let all threads share two of glibc's arenas: those of many models' threads would each keep one half empty."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(_ARENA_MAX, 2)


def post_worker_init(worker: Any) -> None:
    """Spare the garbage collector what a worker has loaded for good: its rounds took a third of a batch's time."""

    def freeze() -> None:
        worker.wsgi.extensions["driftloop"].wait_until_warm()
        gc.collect()
        gc.freeze()

    threading.Thread(target=freeze, name="freeze", daemon=True).start()


def child_exit(_server: Any, worker: Any) -> None:
    """Forget the gauges of a worker that died; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - after the directory is set

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def worker_exit(_server: Any, worker: Any) -> None:
    """Seal the worker's journals; a killed worker's are recovered by another."""
    if (wsgi := getattr(worker, "wsgi", None)) is not None:
        wsgi.extensions["driftloop"].close()


def on_exit(_server: Any) -> None:
    """Remove the metrics' folder."""
    if _OWN_METRICS:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
