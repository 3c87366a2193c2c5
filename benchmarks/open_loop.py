"""An open-loop client: each request leaves when it is due, whatever became of those before it.

A client that waits for an answer before it asks again slows down with the server, and so hides how long others would
have waited (coordinated omission). Here the times are drawn beforehand, as those of many independent clients (Poisson),
and an answer's time counts from when its request was due. Requests are prepared bytes on raw sockets, by one thread.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

_TICK = 0.001  # seconds: what the kernel's clock for waiting can tell apart
_GIVE_UP = 30.0  # seconds without an answer


@dataclass(slots=True)
class Call:
    """One request, and what became of it; times are those of time.monotonic()."""

    due: float
    sent: float
    answered: float = 0.0
    status: int = 0  # none: the connection ended, or nobody answered
    answer: bytes = b""

    @property
    def seconds(self) -> float:
        """Return how long the one who asked has waited."""
        return self.answered - self.due

    @property
    def body(self) -> bytes:
        """Return the answer without its head."""
        return self.answer.partition(b"\r\n\r\n")[2]

    def header(self, name: str) -> str | None:
        """Return a header of the answer."""
        head = self.answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return dict(line.lower().split(": ", 1) for line in head).get(name.lower())


def post(path: str, body: bytes, host: str = "api") -> bytes:
    """Return the bytes of a POST of JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw when requests are due: so many a second on the average, in seconds from the beginning."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(1 / rate, int(rate * seconds * 1.2) + 100))
    return [float(at) for at in times[times < seconds]]


class OpenLoop:
    """Connections to one server: as many as there are requests on their way."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._poll = select.epoll()
        self._idle: deque[socket.socket] = deque()  # the longest idle is next: the newest would all be one worker's
        self._busy: dict[int, tuple[socket.socket, Call, bytes]] = {}
        self._ended: list[Call] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in [*self._idle, *(sock for sock, *_ in self._busy.values())]:
            sock.close()
        self._poll.close()

    def run(self, requests: Sequence[bytes], due: Iterable[float]) -> list[Call]:
        """Send the requests in turn, over and over, at these seconds from now; return the calls as they ended."""
        self._ended = []
        begun = time.monotonic()
        for number, after in enumerate(due):
            while (now := time.monotonic()) < begun + after:
                self._receive(min(_TICK, begun + after - now))
            self._send(requests[number % len(requests)], begun + after)
            if number % 16 == 0:  # also while it is late
                self._receive(0)
        while self._busy and time.monotonic() < begun + after + _GIVE_UP:
            self._receive(0.1)
        for sock, call, _ in [*self._busy.values()]:
            self._end(sock, call)
        return self._ended

    def saturate(self, requests: Sequence[bytes], clients: int, seconds: float) -> list[Call]:
        """Let so many clients ask without a pause, each once it was answered (a closed loop); return the calls."""
        self._ended, number = [], 0
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            while len(self._busy) < clients:
                self._send(requests[number % len(requests)], now)
                number += 1
            self._receive(0.1)
        while self._busy and time.monotonic() < until + _GIVE_UP:
            self._receive(0.1)
        return self._ended

    def _send(self, request: bytes, due: float) -> None:
        call = Call(due, time.monotonic())
        new = not self._idle
        sock = self._connect() if new else self._idle.popleft()
        self._busy[sock.fileno()] = (sock, call, request if new else b"")
        if not new:
            self._write(sock, call, request)

    def _write(self, sock: socket.socket, call: Call, request: bytes) -> None:
        try:
            sock.send(request)
        except OSError:
            self._end(sock, call)

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(self._address)
        self._poll.register(sock, select.EPOLLOUT)  # until it is connected
        return sock

    def _receive(self, patience: float) -> None:
        for descriptor, event in self._poll.poll(patience):
            if descriptor not in self._busy:
                self._forget(descriptor)
                continue
            sock, call, request = self._busy[descriptor]
            if request and event & select.EPOLLOUT:
                self._busy[descriptor] = (sock, call, b"")
                self._poll.modify(sock, select.EPOLLIN)
                self._write(sock, call, request)
            else:
                self._read(sock, call)

    def _read(self, sock: socket.socket, call: Call) -> None:
        try:
            piece = sock.recv(65_536)
        except OSError:
            piece = b""
        call.answer += piece
        if not piece:
            self._end(sock, call)
        elif _complete(call.answer):
            call.answered, call.status = time.monotonic(), int(call.answer[9:12])
            self._end(sock, call, keep=b"\r\nconnection: close\r\n" not in call.answer.lower())

    def _end(self, sock: socket.socket, call: Call, *, keep: bool = False) -> None:
        del self._busy[sock.fileno()]
        call.answered = call.answered or time.monotonic()
        self._ended.append(call)
        if keep:
            self._idle.append(sock)
        else:
            sock.close()

    def _forget(self, descriptor: int) -> None:
        """Close a connection that the server has ended while nothing was asked."""
        for sock in [sock for sock in self._idle if sock.fileno() == descriptor]:
            self._idle.remove(sock)
            sock.close()


def _complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    at = head.lower().find(b"content-length: ") + 16
    return len(body) >= int(head[at : (head + b"\r").find(b"\r", at)])
