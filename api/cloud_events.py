"""Events of KServe's and Seldon's payload logging: CloudEvents over HTTP, binary and structured (CloudEvents 1.0.2).

What a server was asked and what it answered come as two events. KServe gives both one id; Seldon gives them the
extension `requestid`, and each an id of its own.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from werkzeug.datastructures import Headers

from api.json_body import parse_json
from api.problems import shown, unprocessable
from api.sent_rows import check_text, require_few
from api.validation import as_object
from monitoring.contract.config import Model

STRUCTURED = "application/cloudevents+json"
TYPES = {
    f"{sender}.serving.inference.{kind}": kind
    for sender in ("org.kubeflow", "io.seldon")
    for kind in ("request", "response")
}
_ATTRIBUTES = ("id", "type", "time", "requestid")


@dataclass(frozen=True)
class Event:
    """One half of an inference: `kind` is request or response, and both halves have the same key."""

    key: str
    kind: str
    time: str | None
    content: dict[str, Any]


def parse_event(headers: Headers, mimetype: str, body: bytes, model: Model) -> Event:
    """Read an event; raise the Problem that says what cannot be used."""
    require_few(body, model)
    if mimetype == STRUCTURED:
        given = as_object(parse_json(body), "body")
        data = given.get("data")
        if "data_base64" in given:
            raise unprocessable("event_data", "data_base64", "is binary; the data must be JSON")
    else:
        given = {name: unquote(headers[f"ce-{name}"]) for name in _ATTRIBUTES if f"ce-{name}" in headers}
        data = parse_json(body)
    for name in _ATTRIBUTES:
        if given.get(name) not in (None, ""):
            check_text(given[name], name)
    kind = TYPES.get(given.get("type") or "")
    if kind is None:
        detail = f"is {shown(given.get('type'))}; there are {', '.join(TYPES)}"
        raise unprocessable("event_type", "type", detail)
    key = given.get("requestid") or given.get("id")
    if not key:
        raise unprocessable("missing_field", "id", "is missing; it tells which request a response belongs to")
    return Event(key, kind, given.get("time"), as_object(data, "data"))
