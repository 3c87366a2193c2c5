"""A GET that comes to an end: an answer that is too long in coming, or too large, is none.

The time limits of requests are between two bytes, so that a server which sends one every few seconds holds its client
for ever.
"""

import io
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

import requests
from urllib3.exceptions import HTTPError

from monitoring.contract.logins import Login
from monitoring.contract.plain_files import LARGEST

BETWEEN_BYTES = (3, 30)  # seconds to connect, to wait for data
LONGEST = 300.0  # seconds until the answer is there, whole
MOST_HANGING = 4  # requests that were given up and still hang: more are not begun beside them


class UnansweredError(requests.RequestException):
    """The server has not answered in time, or its answer is too large."""


class TooLargeError(UnansweredError):
    """The answer is larger than any that could be kept."""


class BoundedGet:
    """Asks servers in threads, which are left behind where an answer does not come to an end."""

    def __init__(self) -> None:
        self._hanging: list[threading.Thread] = []

    def get(self, url: str, params: dict[str, str], login: Login | None = None) -> requests.Response:
        """Return the answer, read to its end; raise a RequestException if there is none within the limits."""
        self._hanging = [thread for thread in self._hanging if thread.is_alive()]
        if len(self._hanging) >= MOST_HANGING:
            raise UnansweredError(f"{MOST_HANGING} earlier requests still hang")
        answers: queue.SimpleQueue[requests.Response | Exception] = queue.SimpleQueue()
        deadline = time.monotonic() + LONGEST
        ask = partial(requests.get, url, params=params, auth=login, timeout=BETWEEN_BYTES, stream=True)
        thread = threading.Thread(target=_fetch, args=(ask, deadline, answers), name="bounded-get", daemon=True)
        thread.start()
        try:
            answer = answers.get(timeout=LONGEST)
        except queue.Empty:
            self._hanging.append(thread)
            raise UnansweredError(f"no whole answer within {LONGEST:g} s") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _fetch(
    ask: Callable[[], requests.Response], deadline: float, answers: "queue.SimpleQueue[requests.Response | Exception]"
) -> None:
    try:
        with ask() as answer:
            answer._content = _read(answer, deadline)  # noqa: SLF001 - as `answer.content` would
        answers.put(answer)
    except HTTPError as error:  # what reading the body raises, which requests would translate
        answers.put(requests.ConnectionError(error))
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
        answers.put(error)


def _read(answer: requests.Response, deadline: float) -> bytes:
    content = io.BytesIO()  # whose value is not copied
    while piece := answer.raw.read1(1 << 20, decode_content=True):
        content.write(piece)
        if content.tell() > LARGEST:
            raise TooLargeError(f"the answer is larger than {LARGEST} bytes")
        if time.monotonic() > deadline:
            raise UnansweredError("the answer has not come in time")
    return content.getvalue()
