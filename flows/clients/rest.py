"""A request to a server, and whether a failure can pass."""

from typing import Any

import requests

from monitoring.contract.errors import DriftloopError
from monitoring.contract.uris import shown

_TIMEOUT = 5  # seconds; a notification takes up to five requests


class UnavailableError(DriftloopError):
    """Prefect or MLflow cannot be used now; later it may. `status` is that of its answer, if it gave one."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


class RejectedError(DriftloopError):
    """The server understood the request and refused it: an error of ours, so a retry does not help."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


def send(server: str, method: str, url: str, **options: Any) -> requests.Response:
    """Send a request and return a good answer; raise UnavailableError or RejectedError for any other."""
    try:
        answer = requests.request(method, url, timeout=_TIMEOUT, **options)
    except requests.RequestException as error:
        raise UnavailableError(f"{server} cannot be reached at {shown(url)}: {type(error).__name__}") from error
    if answer.ok:
        return answer
    detail = f"{server} answered {answer.status_code} at {shown(url)}: {answer.text[:300]}"
    # 401 and 403 are cured in the settings, 404 by serving the deployment, 408 and 429 by time
    if answer.status_code >= 500 or answer.status_code in {401, 403, 404, 408, 429}:  # noqa: PLR2004
        raise UnavailableError(detail, answer.status_code)
    raise RejectedError(detail, answer.status_code)
