"""Post to an API that may be away for a while."""

import time
from threading import Event
from typing import Any

import requests
import structlog

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TIMEOUT = 10.0
_LONGEST_ASKED = 30.0  # seconds that a server may ask to be left alone for
_TOO_MANY, _SERVER_ERROR = 429, 500


class Delivery:
    """A connection to one API; counts what it had to try again."""

    def __init__(self, url: str, stopping: Event, key: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._stopping = stopping
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"
        self.retries = 0

    def post(self, path: str, body: Any, until: float = 0.0) -> requests.Response | None:
        """Post JSON until the API answers anything below 500; return None if told to stop or past `until` (monotonic).

        A 429 is tried again as well, and both not before Retry-After. Without `until` there is one attempt.
        """
        pause = _FIRST_PAUSE
        while True:
            asked = 0.0
            try:
                response = self._session.post(self._url + path, json=body, timeout=_TIMEOUT)
                if response.status_code < _SERVER_ERROR and response.status_code != _TOO_MANY:
                    return response
                asked = _retry_after(response)
                reason = f"status {response.status_code}"
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                reason = type(error).__name__
            if pause == _FIRST_PAUSE:  # once per outage, not once per attempt
                log.warning("request_failed_will_retry", url=self._url + path, reason=reason)
            left = until - time.monotonic()
            if left <= 0 or self._stopping.wait(min(max(pause, asked), left)):
                return None
            self.retries += 1
            pause = min(2 * pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _retry_after(response: requests.Response) -> float:
    """Return for how many seconds the server asks to be left alone; 0 if it does not say so in seconds."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_ASKED) if value.isascii() and value.isdigit() else 0.0
