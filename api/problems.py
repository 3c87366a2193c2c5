"""Errors as RFC 9457 `application/problem+json`."""

import json
from http import HTTPStatus
from typing import Any

from flask import Response

from monitoring.contract.errors import DriftloopError

_SHOWN = 60


class Problem(DriftloopError):  # noqa: N818 - RFC 9457's word
    """An answer other than success: `reason` is a constant word for metrics, `detail` a sentence for a person."""

    def __init__(
        self, status: int, reason: str, detail: str, *, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.field = field
        self.retry_after = retry_after


def unprocessable(reason: str, field: str, detail: str) -> Problem:
    """Make the 422 of a field that cannot be used."""
    return Problem(422, reason, f"{field}: {detail}", field=field)


def shown(value: Any) -> str:
    """Return a value as JSON would write it, cut to what fits into a sentence."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def response(problem: Problem) -> Response:
    """Render a problem."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "reason": problem.reason,
    }
    if problem.field is not None:
        body["field"] = problem.field
    answer = Response(json.dumps(body), problem.status, mimetype="application/problem+json")
    if problem.retry_after is not None:
        answer.headers["Retry-After"] = str(problem.retry_after)
    return answer
