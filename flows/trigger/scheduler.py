"""The user's scheduler, which retrains in the place of the flow: the alert's notification goes on to its webhook.

What becomes of a run there is not known here, so an alert that still fires asks again in waits that grow as those of
the flow do (`flows.trigger.waiting`), counted from the alert's start. Each wait has a key of its own, by which the
scheduler knows a request that it has had: Alertmanager repeats itself, and a new trigger remembers nothing.
"""

from collections import deque
from datetime import datetime, timedelta
from http import HTTPStatus
from threading import Lock
from typing import Any, Literal

from flows.clients.rest import RejectedError, send

Answer = Literal["forwarded", "known", "cooldown"]
_KEPT = 200  # keys


class Scheduler:
    """A webhook by its address, and the token that it asks for."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._url, self._token = url, token
        self._known: deque[str] = deque(maxlen=_KEPT)
        self.sent: datetime | None = None  # when it was last sent one that was new to it
        self._lock = Lock()

    def request(self, key: str, body: dict[str, Any], now: datetime, cooldown: timedelta) -> Answer:
        """Send a request under a key, unless it was sent before, or another one within the cooldown.

        It is known by what was sent before and by the answer (409). Raise UnavailableError where another
        try may help, RejectedError where it cannot.
        """
        with self._lock:  # of two notifications at once one sends
            if key in self._known:
                return "known"
            if self.sent is not None and self.sent <= now < self.sent + cooldown:
                return "cooldown"
            new = self._send(key, body)
            self._known.append(key)
            if not new:
                return "known"
            self.sent = now
            return "forwarded"

    def _send(self, key: str, body: dict[str, Any]) -> bool:
        headers = {"Idempotency-Key": key}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        sent = {"idempotency_key": key, **body}
        try:
            answer = send("the scheduler", "POST", self._url, json=sent, headers=headers, allow_redirects=False)
        except RejectedError as error:
            if error.status == HTTPStatus.CONFLICT:
                return False
            raise
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            raise RejectedError(f"the scheduler answered {answer.status_code}, and redirections are not followed")
        return True
