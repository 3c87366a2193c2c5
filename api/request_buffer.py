"""Buffers a request while its bytes arrive: finds its end, limits its time and size, keeps large bodies on disk."""

import re
import tempfile
import time
from typing import IO

MAX_BODY_BYTES = 45_000_000  # 100,000 instances at full precision

_MAX_HEAD = 65_536
_IN_MEMORY = 65_536  # of a body; what is longer goes into a temporary file
_MAX_KEPT = MAX_BODY_BYTES + 1_000_000  # more is refused anyway: the rest is read and forgotten
_MAX_DISCARDED = 200_000_000  # of a body; who sends more is cut off
_STALLED_AFTER = 10.0  # seconds without a byte, and for a head
_SLOWEST = 20_000  # bytes a second, on the average of a whole body or answer


_CHUNKED = -1
_REQUEST_LINE = re.compile(rb"[A-Z]+ [!-~\x80-\xff]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_CLOSES = re.compile(rb"\r\nconnection:[^\r]*\bclose\b", re.IGNORECASE)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,14}")  # other spellings are read one way here and another way there


def _framing(head: bytes) -> int | None:
    """Return how long a request's body is, or _CHUNKED; None if two readers of its head could disagree on that.

    Such a head smuggles a second request past whoever reads it the other way: a length with leading zeros, twice, or
    beside chunks; a line that is no field (RFC 9112, 6.3 and 11.2).
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    fields = [_FIELD.fullmatch(line) for line in lines]
    if request is None or None in fields:
        return None
    named = [(field[1].lower(), field[2].strip(b" \t")) for field in fields if field is not None]
    lengths = [value for name, value in named if name == b"content-length"]
    codings = [value for name, value in named if name == b"transfer-encoding"]
    if codings:
        sound = not lengths and [coding.lower() for coding in codings] == [b"chunked"] and first.endswith(b"1.1")
        return _CHUNKED if sound else None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        return None
    return int(lengths[0])


class TransferRate:
    """How fast bytes move between a client and the server."""

    def __init__(self, patience: float = _STALLED_AFTER) -> None:
        self.moved = 0
        self._patience = patience  # for the first byte
        self._began = self._last = time.monotonic()

    def move(self, count: int) -> None:
        """Note bytes that moved."""
        self._last = time.monotonic()
        if not self.moved:
            self._began = self._last
        self.moved += count

    def late(self) -> bool:
        """Say whether the client has stalled, or is slower than any that is worth a connection."""
        now = time.monotonic()
        if not self.moved:
            return now - self._began > self._patience
        return now - self._last > _STALLED_AFTER or now - self._began > _STALLED_AFTER + self.moved / _SLOWEST


class _ChunkedBody:
    """Finds the end of a chunked body (RFC 9112, 7.1); whether it is sound the parser decides, who reads it again."""

    def __init__(self) -> None:
        self.ended = self.broken = False
        self._skip = 0
        self._line = bytearray()
        self._trailers = False
        self._behind = False  # a chunk's bytes

    def take(self, data: bytes) -> int:
        """Follow the body and return how many of the bytes belong to it."""
        at = 0
        while at < len(data) and not self.ended:
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                self._behind = not self._skip
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._read_line()
            elif len(self._line) > _MAX_HEAD:
                self.ended = self.broken = True
        return at

    def _read_line(self) -> None:
        line, end = bytes(self._line[:-2]), bytes(self._line[-2:])
        self._line.clear()
        behind, self._behind = self._behind, False
        size = re.match(rb"([0-9a-fA-F]{1,8})[ \t]*(;|$)", line)
        if end != b"\r\n" or (behind and line):  # behind a chunk's bytes its line ends
            self.ended = self.broken = True
        elif behind:
            return
        elif self._trailers:
            self.ended = not line
        elif size:
            self._skip = int(size[1], 16)
            self._trailers = not self._skip
        else:
            self.ended = self.broken = True


class RequestBuffer:
    """One request while it arrives. Complete or not, `recv` reads what is there and never waits."""

    def __init__(self, patience: float = _STALLED_AFTER) -> None:
        self.rate = TransferRate(patience)
        self.refused: int | None = None  # the status that it is refused with, before it is complete
        self.complete = False
        self.waits_for_continue = False
        self.first_line = b""
        self.closes = False  # the client asks for the connection's end after the answer
        self.surplus = b""  # of the client's next request
        self.spooled = 0
        self._head = bytearray()
        self._body: IO[bytes] | None = None
        self._left = 0
        self._chunks: _ChunkedBody | None = None

    def take(self, data: bytes) -> None:
        """Add bytes that have come."""
        self.rate.move(len(data))
        if self._body is None:
            searched = max(0, len(self._head) - 3)
            self._head += data
            if (end := self._head.find(b"\r\n\r\n", searched)) < 0:
                self.refused = 431 if len(self._head) > _MAX_HEAD else None
                return
            data = bytes(self._head[end + 4 :])
            del self._head[end + 4 :]
            self._begin_body()
        if self.refused:
            return
        self._take_body(data)
        if self.complete and self._body is not None:
            self._body.seek(0)
        elif self.rate.moved > _MAX_DISCARDED:
            self.refused = 413

    def _begin_body(self) -> None:
        """Read from the head how the body ends; refuse a head that another reader could take otherwise."""
        self._body = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - `close` does
        head = bytes(self._head)
        self.first_line = head[: head.find(b"\r\n")]
        self.closes = not self.first_line.endswith(b"1.1") or bool(_CLOSES.search(head))
        framing = _framing(head)
        if framing is None:
            self.refused = 400
        elif framing == _CHUNKED:
            self._chunks = _ChunkedBody()
        else:
            self._left = framing
        self.waits_for_continue = b"\r\nexpect: 100-continue\r\n" in head.lower()

    def _take_body(self, data: bytes) -> None:
        assert self._body is not None
        if self._chunks:
            used = self._chunks.take(data)
            self.complete = self._chunks.ended
        else:
            used = min(self._left, len(data))
            self._left -= used
            self.complete = not self._left
        self.surplus = data[used:]
        kept = data[: min(used, _MAX_KEPT - self.spooled)]
        self._body.write(kept)
        self.spooled += len(kept)

    @property
    def writes(self) -> bool:
        """Say whether it asks for work, and not only how things are."""
        return self.first_line.startswith(b"POST ")

    @property
    def path(self) -> str:
        """Return the path that it asks for."""
        return self.first_line.split(b" ")[1].partition(b"?")[0].decode("latin-1")

    def recv(self, size: int) -> bytes:
        """Return the next bytes, as a socket would; none at the end."""
        if self._head:
            chunk = bytes(self._head[:size])
            del self._head[:size]
            return chunk
        return self._body.read(size) if self._body else b""

    @property
    def broken(self) -> bool:
        """Say whether nobody can tell where the client's next request begins."""
        return self._chunks is not None and self._chunks.broken

    @property
    def large(self) -> bool:
        """Say whether it takes more than a small request's memory."""
        return self.spooled > _IN_MEMORY

    def close(self) -> None:
        """Forget what is kept."""
        if self._body is not None:
            self._body.close()
