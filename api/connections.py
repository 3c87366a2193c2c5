"""A client's connection under `api.workers`: it buffers the request and the answer, and never blocks."""

import socket
import time
from collections import deque
from typing import Any

from api.gunicorn_parts import TConn, get_parser
from api.request_buffer import RequestBuffer, TransferRate


class AnswerBuffer:
    """A client's socket that never blocks: what the client does not take now is kept, and sent by `flush`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest: deque[memoryview] = deque()
        self.rate = TransferRate()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def setblocking(self, _flag: object) -> None:
        """Stay as it is."""

    def sendall(self, data: bytes) -> None:
        """Send, or keep."""
        if not self._rest:
            self.rate = TransferRate()
        self._rest.append(memoryview(data))
        self.flush()

    def flush(self) -> bool:
        """Send what is kept; say whether all is sent."""
        while self._rest:
            try:
                sent = self._sock.send(self._rest[0])
            except BlockingIOError:
                return False
            self.rate.move(sent)
            if sent == len(self._rest[0]):
                self._rest.popleft()
            else:
                self._rest[0] = self._rest[0][sent:]
        return True

    @property
    def unsent(self) -> int:
        """Return the bytes that are kept."""
        return sum(len(part) for part in self._rest)


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A client's connection: `request` is its present or next request."""

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, sock, client, server)
        self.sock = AnswerBuffer(sock)
        self.request = RequestBuffer()
        self.parser = get_parser(cfg, self, client)
        self.initialized = self.data_ready = True
        self.keep = False
        self.model = ""  # that its request is for, while a thread has it; of many models
        self.waits_for: tuple[int, Any] | None = None  # what the event loop watches it for, and what it does then
        self.unsent = 0  # bytes of an answer that are on their way out
        self.closes_at: float | None = None

    def recv(self, size: int) -> bytes:
        """Return what the parser reads."""
        return self.request.recv(size)

    def read(self) -> bytes | None:
        """Return what the client has sent, nothing if it has closed, None if there is nothing yet."""
        try:
            return bytes(self.sock.recv(65_536))
        except BlockingIOError:
            return None
        except OSError:
            return b""

    @property
    def idle(self) -> bool:
        """Say whether the client waits for nothing."""
        return self.closes_at is not None or not (self.request.rate.moved or self.unsent)

    def late(self) -> bool:
        """Say whether the client takes too long with what is waited for."""
        if self.closes_at is not None:
            return time.monotonic() > self.closes_at
        return bool((self.sock.rate if self.unsent else self.request.rate).late())
