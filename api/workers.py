"""gunicorn's threaded worker, except that a thread gets a request only once all of it has arrived.

gunicorn's own worker reads requests and writes answers in the thread that computes the answer. As many clients as there
are threads can then keep all others out: each sends one byte and waits. Here the event loop receives requests, and it
sends what a client does not take at once. A slow client costs a connection, for as long as
`api.request_buffer.TransferRate` allows, and never a thread.
"""

import selectors
import socket
import sys
import time
from functools import partial
from typing import Any

from api.admission import Admission
from api.connections import Connection
from api.gunicorn_parts import ThreadWorker
from api.refusals import REFUSALS, SHED
from api.request_buffer import RequestBuffer

_MAX_BUFFERED = 100_000_000  # bytes of bodies, and of answers, that a worker keeps for slow clients
_LINGER = 2.0  # seconds for a client to read the answer and close
_CHECK_EVERY = 0.5  # seconds between two looks for clients that are late
_LONGEST_TURN = 0.01  # seconds of the loop's own work after which threads get their next requests beside it
_ACCEPTED = 32  # connections at once, so that none waits for its turn behind the requests of others
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A threaded worker whose event loop buffers requests and answers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched: set[Connection] = set()
        self.keepalived_conns = self._watched  # at their limit gunicorn closes connections with the answer
        self.max_keepalived = self.worker_connections * 9 // 10  # others are for new clients
        self._spooled = self._unsent = 0
        self._next_check = self._next_begin = 0.0
        self._admission: Admission[Connection] = Admission(self.cfg.threads)

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse TLS, which needs a socket that waits."""
        super().check_config(cfg, log)
        if cfg.is_ssl:
            sys.exit("the API does not speak TLS; put a proxy before it")

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection, and wait for its first request.

        A worker that is behind takes several, so that they are refused in time; one that is not leaves others theirs.
        """
        several = _ACCEPTED if self._admission.behind else 1
        for _ in range(min(several, self.worker_connections - self.nr_conns)):
            try:
                sock, client = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.nr_conns += 1
            sock.setblocking(False)
            self._watch(Connection(self.cfg, sock, client, listener.getsockname()), selectors.EVENT_READ, self._receive)

    def _watch(self, conn: Connection, event: int, then: Any) -> None:
        if conn.waits_for == (event, then):
            return
        (self.poller.modify if conn.waits_for else self.poller.register)(conn.sock, event, partial(then, conn))
        conn.waits_for = (event, then)
        self._watched.add(conn)

    def _unwatch(self, conn: Connection) -> None:
        if conn.waits_for:
            conn.waits_for = None
            self._watched.remove(conn)
            self.poller.unregister(conn.sock)

    def _receive(self, conn: Connection, _sock: Any = None) -> None:
        if data := conn.read():
            self._take(conn, data)
        elif data is not None:
            self._drop(conn)

    def _take(self, conn: Connection, data: bytes) -> None:
        """Add bytes to a connection's request, and answer it, or have it answered, when nothing more is needed."""
        request, before = conn.request, conn.request.spooled
        try:
            request.take(data)
        except OSError:  # no room, or no descriptor, for a temporary file
            self._refuse(conn, 503)
            return
        self._spooled += request.spooled - before
        if request.complete:
            self._let_in(conn)
        elif request.refused:
            self._refuse(conn, request.refused)
        elif self._spooled > _MAX_BUFFERED and request.large:
            self._refuse(conn, 503)
        elif request.waits_for_continue:
            self._let_come(conn)

    def _let_in(self, conn: Connection) -> None:
        """Let a request wait for a thread, or refuse it if none would come to it soon."""
        if self._admission.take(conn, writes=conn.request.writes, model=self._model_of(conn)):
            self._unwatch(conn)
        else:
            self._shed(conn)

    def _let_come(self, conn: Connection) -> None:
        """Tell a client who asks that it may send the body, if the request would be let in now."""
        conn.request.waits_for_continue = False
        if self._admission.has_room(self._model_of(conn)):
            self._send(conn, _CONTINUE)
        else:
            self._shed(conn)

    def _model_of(self, conn: Connection) -> str:
        model: str = self.wsgi.extensions["driftloop.model_of"](conn.request.path)
        return model

    def _shed(self, conn: Connection) -> None:
        request = conn.request
        self.wsgi.extensions["driftloop.shed"](request.path)
        goes_on = request.complete and not (request.closes or request.broken or request.surplus)
        conn.keep = self.alive and goes_on and len(self._watched) < self.max_keepalived
        self._answer(conn, SHED[conn.keep])

    def _refuse(self, conn: Connection, status: int) -> None:
        conn.keep = False
        self._answer(conn, REFUSALS[status])

    def _answer(self, conn: Connection, data: bytes) -> None:
        self._discard_request(conn)
        if self._send(conn, data):
            self._flush(conn)

    def _send(self, conn: Connection, data: bytes) -> bool:
        try:
            conn.sock.sendall(data)
        except OSError:
            self._drop(conn)
            return False
        return True

    def finish_request(self, conn: Connection, done: Any) -> None:
        """Go on with a connection whose request a thread has answered."""
        self._admission.end(conn.model)
        if time.monotonic() > self._next_begin:
            self._begin()
        self._discard_request(conn)
        answered = not done.cancelled() and done.exception() is None and bool(done.result())
        conn.keep = self.alive and answered and not conn.request.broken
        self._flush(conn)

    def _flush(self, conn: Connection, _sock: Any = None) -> None:
        self._unsent -= conn.unsent
        conn.unsent = 0
        try:
            sent = conn.sock.flush()
        except OSError:
            self._drop(conn)
            return
        if sent:
            self._after_answer(conn)
            return
        conn.unsent = conn.sock.unsent
        self._unsent += conn.unsent
        if self._unsent > _MAX_BUFFERED:
            self._drop(conn)
        else:
            self._watch(conn, selectors.EVENT_WRITE, self._flush)

    def _after_answer(self, conn: Connection) -> None:
        """Wait for the next request, or for the client to close."""
        if conn.keep:
            surplus, conn.request = conn.request.surplus, RequestBuffer(self.cfg.keepalive)
            self._watch(conn, selectors.EVENT_READ, self._receive)
            if surplus:
                self._take(conn, surplus)
        elif not self.alive:
            self._drop(conn)
        else:
            conn.closes_at = time.monotonic() + _LINGER
            self._watch(conn, selectors.EVENT_READ, self._linger)
            try:
                conn.sock.shutdown(socket.SHUT_WR)
            except OSError:
                self._drop(conn)

    def _linger(self, conn: Connection, _sock: Any) -> None:
        """Read away what still comes: closing on unread data would reset the connection before the answer is read."""
        if conn.read() == b"":
            self._drop(conn)

    def _discard_request(self, conn: Connection) -> None:
        self._spooled -= conn.request.spooled
        conn.request.spooled = 0
        conn.request.close()

    def _drop(self, conn: Connection) -> None:
        self._unwatch(conn)
        self._discard_request(conn)
        self._unsent -= conn.unsent
        conn.unsent = 0
        self.nr_conns -= 1
        conn.close()

    def murder_keepalived(self) -> None:
        """Give threads their next requests, now that the loop has done its part, and cut off clients that are slow.

        Threads that compute hold Python's lock, and the loop would wait for it at each step of refusing a request.
        """
        self._begin()
        if self.alive and time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + _CHECK_EVERY
        self._cut_off()

    def _begin(self) -> None:
        self._next_begin = time.monotonic() + _LONGEST_TURN
        for conn in self._admission.overdue():
            self._shed(conn)
        for conn, conn.model in self._admission.begin():
            self.enqueue_req(conn)

    def _cut_off(self) -> None:
        """End connections of clients that are too slow; when the worker ends, also those that wait for nothing."""
        for conn in [*self._watched]:
            late = conn.late()
            if (conn.idle and not self.alive) or (late and (conn.idle or conn.unsent)):
                self._drop(conn)
            elif late:
                self._refuse(conn, 408)
