"""waitress under gunicorn's supervision: a worker of some 40 lines, to be measured against `api.workers`."""

import os
import signal
import threading
import time
from typing import Any

import waitress
from gunicorn.workers.base import Worker

_POLL = 0.1  # seconds between two looks at what is left to answer


class WaitressWorker(Worker):  # type: ignore[misc]  # gunicorn has no types
    """One waitress per process, on the socket that gunicorn's master opened."""

    def run(self) -> None:
        """Serve until the master ends the worker; then answer what is under way."""
        self._server = waitress.create_server(
            self.wsgi,
            sockets=[listener.sock for listener in self.sockets],
            threads=self.cfg.threads,
            connection_limit=self.cfg.worker_connections,
            channel_timeout=10,
            cleanup_interval=1,
            recv_bytes=65_536,
            inbuf_overflow=65_536,
            outbuf_high_watermark=100_000_000,
            max_request_header_size=65_536,
            max_request_body_size=200_000_000,
            asyncore_use_poll=True,
        )
        threading.Thread(target=self._watch, daemon=True).start()
        self._server.run()

    def _watch(self) -> None:
        while self.alive and os.getppid() == self.ppid:
            self.notify()
            time.sleep(_POLL)
        self._server.accepting = False
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while any(map(_busy, [*self._server.active_channels.values()])) and time.monotonic() < deadline:
            time.sleep(_POLL)
        signal.raise_signal(signal.SIGQUIT)


def _busy(channel: Any) -> bool:
    return bool(channel.requests or channel.total_outbufs_len)
