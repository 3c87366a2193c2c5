"""Where a request ends: one reading of its head, or none. A second one would smuggle requests past whoever has it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from api.request_buffer import RequestBuffer

HIDDEN = b"POST /predict HTTP/1.1\r\nHost: api\r\nContent-Length: 2\r\n\r\n{}"


def request(line: str, *fields: str | bytes, body: bytes = b"") -> bytes:
    fields = tuple(f if isinstance(f, bytes) else f.encode() for f in ("Host: api", *fields))
    return b"\r\n".join([line.encode(), *fields, b"", b""]) + body


@contextmanager
def taken(data: bytes, piece: int = 0) -> Iterator[RequestBuffer]:
    """Yield a buffer that was given the bytes, all at once or piece by piece."""
    buffer = RequestBuffer()
    for at in range(0, len(data), piece or len(data)):
        if not (buffer.complete or buffer.refused):
            buffer.take(data[at : at + (piece or len(data))])
    yield buffer
    buffer.close()


POST, GET, CHUNKED = "POST /predict HTTP/1.1", "GET /health HTTP/1.1", "Transfer-Encoding: chunked"
LENGTH = len(HIDDEN)
AMBIGUOUS = {
    "sixteen digits": request(POST, f"Content-Length: {LENGTH:016d}", body=HIDDEN),
    "a leading zero": request(POST, f"Content-Length: 0{LENGTH}", body=HIDDEN),
    "more than is counted": request(POST, f"Content-Length: {10**15}", body=HIDDEN),
    "a sign": request(POST, f"Content-Length: +{LENGTH}", body=HIDDEN),
    "an underscore": request(POST, f"Content-Length: {LENGTH // 10}_{LENGTH % 10}", body=HIDDEN),
    "digits of another script": request(POST, "Content-Length: \u0665\u0660".encode(), body=HIDDEN),
    "hexadecimal": request(POST, f"Content-Length: {LENGTH:#x}", body=HIDDEN),
    "a list": request(POST, f"Content-Length: {LENGTH}, {LENGTH}", body=HIDDEN),
    "twice": request(POST, "Content-Length: 0", f"Content-Length: {LENGTH}", body=HIDDEN),
    "nothing": request(POST, "Content-Length:", body=HIDDEN),
    "beside chunks": request(POST, f"Content-Length: {LENGTH}", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "chunked twice": request(POST, CHUNKED, CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "another coding": request(POST, "Transfer-Encoding: identity", body=HIDDEN),
    "a coding before it": request(POST, "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunks in HTTP/1.0": request("POST /predict HTTP/1.0", CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "a space before the colon": request(POST, f"Content-Length : {LENGTH}", body=HIDDEN),
    "a folded line": request(POST, "X: y", f" Content-Length: {LENGTH}", body=HIDDEN),
    "a bare line feed": request(POST, f"X: y\nContent-Length: {LENGTH}", body=HIDDEN),
    "a bare carriage return": request(POST, f"X: y\rContent-Length: {LENGTH}", body=HIDDEN),
    "a null byte": request(POST, f"Content-Length: {LENGTH}\0", body=HIDDEN),
    "a vertical tab": request(POST, "Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a line without a name": request(POST, f": {LENGTH}", body=HIDDEN),
    "a blank line first": b"\r\n" + request(GET),
    "no version": request("GET /health", body=HIDDEN),
    "two targets": request("GET /health /predict HTTP/1.1", body=HIDDEN),
}


@pytest.mark.parametrize("piece", [0, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(sent: bytes, piece: int) -> None:
    """Nothing of it reaches the parser, and nothing behind it is taken for a request."""
    with taken(sent, piece) as buffer:
        assert (buffer.refused, buffer.complete, buffer.surplus) == (400, False, b"")


def _chunks(*parts: bytes) -> bytes:
    return request(POST, CHUNKED, body=b"".join(parts))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(_chunks(b"2\n{}\r\n0\r\n\r\n"), id="a bare line feed"),
        pytest.param(_chunks(b"2\r\n{}xx0\r\n\r\n"), id="no line's end behind the bytes"),
        pytest.param(_chunks(b"0x2\r\n{}\r\n0\r\n\r\n"), id="a prefix"),
        pytest.param(_chunks(b"+2\r\n{}\r\n0\r\n\r\n"), id="a sign"),
        pytest.param(_chunks(b" 2\r\n{}\r\n0\r\n\r\n"), id="a space"),
        pytest.param(_chunks(b"000000002\r\n{}\r\n0\r\n\r\n"), id="nine digits"),
    ],
)
@pytest.mark.parametrize("piece", [0, 1], ids=["at once", "byte by byte"])
def test_chunks_that_can_be_read_in_two_ways_end_the_connection(sent: bytes, piece: int) -> None:
    """The parser, which reads them again, answers 400; where the next request begins nobody can tell."""
    with taken(sent, piece) as buffer:
        assert buffer.broken


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(request(GET), id="no body"),
        pytest.param(request(GET, "Content-Length: 0"), id="none, and it says so"),
        pytest.param(request(GET, f"Content-Length: {LENGTH}", body=HIDDEN), id="a body of a GET, which is no request"),
        pytest.param(request("HEAD /health HTTP/1.1", "Content-Length: 0"), id="none of HEAD"),
        pytest.param(request("DELETE /health HTTP/1.1", "Content-Length: 0"), id="none of DELETE"),
        pytest.param(b"GET /health HTTP/1.0\r\n\r\n", id="HTTP/1.0, which has no Host"),
        pytest.param(request(POST, "Expect: 100-continue", "Content-Length: 2", body=b"{}"), id="asked for first"),
        pytest.param(request(POST, f"content-length:\t{LENGTH} ", body=HIDDEN), id="a length"),
        pytest.param(_chunks(b"2\r\n{}\r\n0\r\n\r\n"), id="chunks"),
        pytest.param(_chunks(b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"), id="trailers"),
        pytest.param(request(POST, b"X: \xe9\t(\xa0)", "Content-Length: 2", body=b"{}"), id="a field of 8 bits"),
    ],
)
def test_an_honest_request_is_taken(sent: bytes) -> None:
    """With what belongs to it, and what comes behind is the next one."""
    with taken(sent + HIDDEN) as buffer:
        assert (buffer.refused, buffer.complete, buffer.broken) == (None, True, False)
        assert buffer.surplus == HIDDEN
        read = b""
        while more := buffer.recv(1000):
            read += more
    assert read == sent
