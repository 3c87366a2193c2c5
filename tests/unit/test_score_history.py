"""How the score was over the last day: what is asked of Prometheus, and what the page draws of it."""

import json
import time
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from monitoring.page.page import create_app
from monitoring.page.score_history import DAY, HOUR, ScoreReader
from tests.processes import QuietHandler, serving
from tests.unit.models import LOANS
from tests.unit.monitor_fixtures import keep_reference, make_rows, monitor_of


class Prometheus(QuietHandler):
    """Answers range queries: for each query a function of the time, or None where there is no sample."""

    series: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server looks for
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if "query" not in asked:
            self.answer(200, json.dumps({"data": {"alerts": []}}))
            return
        begin, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        of = self.series.get(asked["query"], lambda _time: None)
        times = [begin + n * step for n in range(int((end - begin) / step) + 1)]
        values = [[one, str(of(one))] for one in times if of(one) is not None]
        self.answer(200, json.dumps({"data": {"result": [{"metric": {}, "values": values}] if values else []}}))


@pytest.fixture
def url() -> Any:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    with serving(server) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_day_is_drawn_with_its_gaps(url: str) -> None:
    """And with what the model was held to; where there was no score there is no line."""
    now = time.time()
    Prometheus.series = {
        "max(model_mae)": lambda at: None if 7 * HOUR < now - at < 9 * HOUR else 12 + (now - at) / DAY,
        "max(loss_ceiling)": lambda _at: 12.5,
    }
    found = ScoreReader(url, "regression").read()
    assert found.end - found.begin == pytest.approx(DAY)
    assert len(found.score) == 2
    assert len(found.held_to) == 1
    assert found.span == pytest.approx((12.0, 13.0), abs=0.01)


def test_one_of_many_models_is_asked_for_by_its_name(url: str) -> None:
    """The others' scores are not its own."""
    Prometheus.series = {'max(model_mae{model="loans"})': lambda _at: 3.0, "max(model_mae)": lambda _at: 9.0}
    assert ScoreReader(url, "regression", model="loans").read().span == (3.0, 3.0)


def test_a_young_stack_is_drawn_over_an_hour(url: str) -> None:
    now = time.time()
    Prometheus.series = {"max(model_accuracy)": lambda at: 0.7 if now - at < 600 else float("nan")}
    found = ScoreReader(url, "classification").read()
    assert found.end - found.begin == pytest.approx(HOUR)
    assert sum(map(len, found.score)) >= 30
    assert found.held_to == ()


def test_the_page_shows_the_line(url: str, tmp_path: Path) -> None:
    """With the least and the greatest value; before there is a score it says what is missing."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    monitor, registry = monitor_of(tmp_path, prometheus_api_url=url)
    Prometheus.series = {}
    client = create_app(monitor, registry, lambda: True).test_client()
    monitor.cycle()
    assert f"Nothing yet: a window needs {LOANS.minimum_labels} labels for it." in client.get("/").text
    Prometheus.series = {"max(model_accuracy)": lambda at: 0.25 if at % 2 else 0.75}
    text = create_app(monitor, registry, lambda: True).test_client().get("/").text
    assert "Accuracy over the last day" in text
    assert "on the window's labels" in text
    assert text.count('<path d="M') >= 1
    assert "%</text>" in text


def test_what_cannot_be_asked_is_said() -> None:
    found = ScoreReader("http://127.0.0.1:9", "classification").read()
    assert "Prometheus cannot say how it was: ConnectionError at http://127.0.0.1:9/api/v1/query_range" in str(
        found.problem
    )
    assert not found.score
