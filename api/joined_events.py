"""What becomes of an event: it waits for its other half, and both together are rows of the log."""

import json
from typing import Any

from api.cloud_events import Event
from api.inference_protocol import answered, requested
from api.log.halves import HalfTooLargeError
from api.logged_rows import take_rows
from api.problems import Problem, unprocessable
from api.sent_rows import read_rows
from api.service import Service

_OTHER = {"request": "response", "response": "request"}
_READ = {"request": requested, "response": answered}


def take_event(service: Service, event: Event) -> dict[str, Any] | None:
    """Log an inference whose other half has come before, and return the answer of `POST /log`; None if it waits.

    Raise the Problem of a half that cannot be used, and LogUnavailableError if nothing can be kept.
    """
    model, log = service.config.model, service.predictions
    half = {"rows": _READ[event.kind](event.content, model), "time": event.time}
    try:
        other, dropped = log.halves.meet(event.key, event.kind, _OTHER[event.kind], json.dumps(half).encode())
    except HalfTooLargeError as error:
        raise Problem(413, "too_large", f"data: {error}", field="data") from error
    except OSError as error:
        raise log.unavailable(error) from error
    service.metrics.joined("dropped", dropped)
    service.metrics.joined("joined" if other is not None else "waiting", 1)
    if other is None:
        return None
    both = {event.kind: half, _OTHER[event.kind]: json.loads(other)}
    try:
        answer = take_rows(service, read_rows(_rows(event.key, both["request"], both["response"]), model))
    except Problem:
        log.halves.forget(event.key)
        raise
    log.halves.forget(event.key)
    return answer


def _rows(key: str, request: dict[str, Any], response: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows as `POST /log` takes them; of several each has its number behind the id."""
    asked, answers = request["rows"], response["rows"]
    if len(asked) != len(answers):
        raise unprocessable("shape", "rows", f"{len(asked)} were asked, and {len(answers)} answered")
    return [
        {
            "features": features,
            **answer,
            "prediction_id": key if len(asked) == 1 else f"{key}-{n}",
            "timestamp": request["time"],
        }
        for n, (features, answer) in enumerate(zip(asked, answers, strict=True))
    ]
