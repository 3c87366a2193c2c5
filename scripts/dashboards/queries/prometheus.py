"""What Prometheus answers to queries over HTTP."""

from typing import Any

import requests

from scripts.dashboards.queries.json_paths import DashboardError
from scripts.dashboards.queries.time_range import TimeRange

_TIMEOUT = 30


class PrometheusUnreachableError(DashboardError):
    """Prometheus does not answer."""


class QueryError(DashboardError):
    """Prometheus refuses a query."""


class Prometheus:
    """A Prometheus server at an address."""

    def __init__(self, url: str, login: tuple[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = login

    def require_ready(self) -> None:
        """Raise PrometheusUnreachableError that says what to do, unless the server answers a query."""
        try:
            self.instant("vector(1)", None)
        except DashboardError as error:
            raise PrometheusUnreachableError(
                f"Prometheus cannot be reached at {self.url} ({error}).\n"
                "Start the stack with `make run`, or say where it is: make dashboards-preview PROMETHEUS_URL=http://…"
            ) from error

    def instant(self, query: str, moment: float | None) -> list[dict[str, Any]]:
        """Return the series of a query at a moment, each with `metric` and one pair in `values`."""
        data = self._ask("POST", "/api/v1/query", query=query, **({} if moment is None else {"time": str(moment)}))
        if data["resultType"] != "vector":
            raise QueryError(f"the result is a {data['resultType']}, not a vector")
        return [{"metric": one["metric"], "values": [one["value"]]} for one in data["result"]]

    def range(self, query: str, time: TimeRange, step: float) -> list[dict[str, Any]]:
        """Return the series of a query over a range, each with `metric` and pairs in `values`."""
        bounds = {"start": str(time.start), "end": str(time.end), "step": str(step)}
        found: list[dict[str, Any]] = self._ask("POST", "/api/v1/query_range", query=query, **bounds)["result"]
        return found

    def label_values(self, label: str, selector: str, time: TimeRange) -> list[str]:
        """Return the values of a label among the series of a selector."""
        bounds = {"start": str(time.start), "end": str(time.end), "match[]": selector}
        return list(self._ask("GET", f"/api/v1/label/{label}/values", **bounds))

    def _ask(self, method: str, path: str, **parameters: str) -> Any:
        place = {"params": parameters} if method == "GET" else {"data": parameters}
        try:
            answer = self._session.request(method, self.url + path, timeout=_TIMEOUT, **place)  # type: ignore[arg-type]
            body = answer.json()
        except requests.JSONDecodeError as error:
            raise QueryError(f"HTTP {answer.status_code}, and no answer of Prometheus's") from error
        except requests.RequestException as error:
            raise PrometheusUnreachableError(_reason(error)) from error
        if not isinstance(body, dict) or body.get("status") != "success":
            raise QueryError(str(body.get("error", "no reason given")) if isinstance(body, dict) else "no reason given")
        return body["data"]


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectionError) and not isinstance(error, requests.ConnectTimeout):
        return "nothing listens there"
    return type(error).__name__
