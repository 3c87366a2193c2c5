"""What the event loop answers by itself, before a request is parsed: RFC 9457 problems, as bytes."""

import json
from http import HTTPStatus


def _refusal(status: int, reason: str, detail: str, *, retry: int | None = None, keep: bool = False) -> bytes:
    title = HTTPStatus(status).phrase
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, "reason": reason})
    fields = ["Content-Type: application/problem+json", f"Content-Length: {len(body)}"]
    fields += [f"Retry-After: {retry}"] if retry is not None else []
    fields += [f"Connection: {'keep-alive' if keep else 'close'}"]
    return "\r\n".join([f"HTTP/1.1 {status} {title}", *fields, "", body]).encode()


# By status. The connection ends, because nobody can tell where the next request begins.
REFUSALS = {
    400: _refusal(
        400, "bad_request", "this is not HTTP as the API takes it: its head leaves open where the request ends"
    ),
    408: _refusal(408, "too_slow", "the request did not come in time; a stalled or very slow client is cut off"),
    413: _refusal(413, "too_large", "the body is too large"),
    431: _refusal(431, "too_large", "the request's header is too large"),
    503: _refusal(503, "busy", "too many large requests are on their way in; please try again", retry=5),
}

# By whether the connection is kept.
SHED = {
    keep: _refusal(
        503,
        "overloaded",
        "more requests come in than can be answered; this one was not looked at, please try again",
        retry=1,
        keep=keep,
    )
    for keep in (False, True)
}
