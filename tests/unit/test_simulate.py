"""The simulator against a real HTTP server that writes down what it is sent."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.sample import draw_reference
from data.simulate import Traffic, TrafficSettings
from data.statistics import SampleDataError
from monitoring.contract.config_file import load_config
from tests.processes import ROOT, eventually

MODEL = load_config(ROOT / "monitoring/config.yml").model


@dataclass
class Recorder:
    """What an API would be asked, with the moment; `answer` may put another status in its place."""

    answer: Callable[[str, int, Any], int | None] = lambda _path, _number, _body: None
    requests: list[tuple[float, str, Any]] = field(default_factory=list)
    predicted: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    labels: dict[str, tuple[float, str]] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()
    url: str = ""
    retry_after: str | None = None  # what each answer says

    def take(self, path: str, body: Any) -> tuple[int, Any]:
        now = time.monotonic()
        self.requests.append((now, path, body))
        if status := self.answer(path, len(self.requests), body):
            return status, {"title": "refused"}
        if path == "/feedback":
            known = [one for one in body if one["prediction_id"] not in self.unknown]
            self.labels.update({one["prediction_id"]: (now, one[MODEL.target]) for one in known})
            return 200, {"results": [{"status": "accepted" if one in known else "unknown"} for one in body]}
        rows = body["instances"] if "instances" in body else [body["features"]]
        answers = [{"prediction_id": f"id-{len(self.predicted) + i}"} for i in range(len(rows))]
        self.predicted.update({a["prediction_id"]: (now, row) for a, row in zip(answers, rows, strict=True)})
        return 200, {"predictions": answers} if "instances" in body else answers[0]


@contextmanager
def serving(recorder: Recorder, port: int = 0) -> Iterator[Recorder]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = recorder.take(self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if recorder.retry_after is not None:
                self.send_header("Retry-After", recorder.retry_after)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def api() -> Iterator[Recorder]:
    with serving(Recorder()) as recorder:
        yield recorder


def _finish(traffic: Traffic, seconds: float = 20) -> Traffic:
    traffic.start()
    try:
        assert traffic.wait(seconds), f"the traffic has not ended within {seconds} s"
    finally:
        traffic.stop()
    return traffic


def _traffic(api: Recorder, **settings: Any) -> Traffic:
    return Traffic(TrafficSettings(url=api.url, seed=1, **{"rate": 1000, "label_delay": 0, **settings}))


def test_single_requests_carry_every_feature(api: Recorder) -> None:
    """With a batch of 1 each row is one request of `features`; all are sent, acknowledged and labelled."""
    counts = _finish(_traffic(api, rows=30)).counts()
    assert (counts.sent, counts.acknowledged, counts.refused, counts.labels) == (30, 30, 0, 30)
    assert all(set(row) == set(MODEL.features) for _, row in api.predicted.values())
    assert all("features" in body for _, path, body in api.requests if path == "/predict")
    assert set(api.labels) == set(api.predicted)


def test_batches_hold_so_many_rows_and_no_more_than_asked_for(api: Recorder) -> None:
    """100 rows in batches of 40 are 40, 40 and 20."""
    _finish(_traffic(api, rows=100, batch=40))
    assert [len(body["instances"]) for _, path, body in api.requests if path == "/predict"] == [40, 40, 20]


def test_the_same_seed_sends_the_same_rows(api: Recorder) -> None:
    """Two runs with one seed send equal rows."""
    _finish(_traffic(api, rows=10))
    _finish(_traffic(api, rows=10))
    rows = [row for _, row in api.predicted.values()]
    assert rows[:10] == rows[10:]
    assert rows[0] != rows[1]


def test_the_rate_is_kept_to(api: Recorder) -> None:
    """At 50 rows a second in batches of 5, 50 rows take 0.9 s or more, and never come in a burst."""
    _finish(_traffic(api, rows=50, rate=50, batch=5, label_share=0))
    times = [moment for moment, _, _ in api.requests]
    assert len(times) == 10
    assert times[-1] - times[0] > 0.75
    assert times[5] - times[0] > 0.35


def test_a_slow_api_is_not_flooded_afterwards() -> None:
    """After an answer that took 0.6 s the rows that were due meanwhile are left out, not sent at once."""

    def slow(_path: str, number: int, _body: Any) -> None:
        if number == 1:
            time.sleep(0.6)  # the server's slowness is what is under test, not a wait for something

    with serving(Recorder(slow)) as api:
        _finish(_traffic(api, duration=1.2, rate=50, label_share=0))
    assert len(api.requests) < 0.8 * 50


def test_a_duration_ends_the_run(api: Recorder) -> None:
    """A run of 0.5 s at 40 rows a second sends about 20 rows and ends."""
    counts = _finish(_traffic(api, duration=0.5, rate=40)).counts()
    assert 10 <= counts.sent <= 25
    assert counts.labels == counts.acknowledged


def test_labels_come_late(api: Recorder) -> None:
    """No label comes before its delay; all come, in lists, with categories of the config."""
    counts = _finish(_traffic(api, rows=60, label_delay=0.6)).counts()
    assert set(api.labels) == set(api.predicted)
    assert counts.labels_due == 0
    assert all(moment - api.predicted[one][0] >= 0.6 for one, (moment, _) in api.labels.items())
    assert {label for _, label in api.labels.values()} <= set(MODEL.categories)
    assert sum(path == "/feedback" for _, path, _ in api.requests) < 10


def test_only_the_share_gets_labels(api: Recorder) -> None:
    """With a share of 0.3 about 0.3 of the rows get a label."""
    _finish(_traffic(api, rows=600, batch=50, label_share=0.3))
    assert len(api.labels) / len(api.predicted) == pytest.approx(0.3, abs=0.07)


def test_labels_are_the_rows_own(tmp_path: Path) -> None:
    """A row resampled from a file gets the label that it has in the file, drifted or not."""
    levels = dict(zip(MODEL.categories, range(0, 1000, 100), strict=False))
    table = pa.table(
        {name: [float(level) for level in levels.values()] for name in MODEL.features} | {MODEL.target: list(levels)}
    )
    pq.write_table(table, tmp_path / "tracks.parquet")
    with serving(Recorder()) as api:
        traffic = _traffic(api, rows=100, tracks=tmp_path / "tracks.parquet", jitter=0.01)
        traffic.set_drifts(["gain"])
        _finish(traffic)
    for one, (_, row) in api.predicted.items():
        assert row[MODEL.features[3]] == pytest.approx(levels[api.labels[one][1]], abs=30)


def test_resampled_rows_are_near_real_ones_but_never_the_same(tmp_path: Path) -> None:
    """A thousand rows from a file of 40 hold no exact duplicate, and keep its spread."""
    table = draw_reference(MODEL, rows=40)
    pq.write_table(table, tmp_path / "tracks.parquet")
    with serving(Recorder()) as api:
        _finish(_traffic(api, rows=1000, batch=500, rate=10_000, tracks=tmp_path / "tracks.parquet"))
    sent = np.array([list(row.values()) for _, row in api.predicted.values()])
    assert len(np.unique(sent, axis=0)) == 1000
    assert sent.std(axis=0) == pytest.approx([np.std(table[name]) for name in MODEL.features], rel=0.15)


def test_a_file_that_does_not_fit_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """Tracks without the config's columns are an error at the start."""
    pq.write_table(pa.table({"width": [1.0]}), tmp_path / "tracks.parquet")
    with pytest.raises(SampleDataError, match="lacks the columns mfcc_1"):
        Traffic(TrafficSettings(tracks=tmp_path / "tracks.parquet"))


def test_drifts_are_switched_while_it_runs(api: Recorder) -> None:
    """set_drifts acts from the next request on, and an empty list ends it."""
    traffic = _traffic(api, rate=400, label_share=0)
    traffic.start()
    try:
        for names in ([], ["zeros", "missing_features"], []):
            before = traffic.counts().acknowledged
            traffic.set_drifts(names)
            eventually("60 more rows", lambda before=before: traffic.counts().acknowledged >= before + 60, 10)
    finally:
        traffic.stop()
    rows = [row for _, row in api.predicted.values()]
    odd = [i for i, row in enumerate(rows) if None in row.values() or not any(row.values())]
    assert odd[0] >= 60
    assert odd[-1] < len(rows) - 30
    assert len(odd) > 20


def test_an_api_that_is_not_ready_is_tried_again() -> None:
    """Rows answered by 503 are sent again until they are acknowledged; each try is counted."""
    with serving(Recorder(lambda path, number, _: 503 if path == "/predict" and number <= 3 else None)) as api:
        counts = _finish(_traffic(api, rows=5)).counts()
    assert (counts.sent, counts.acknowledged, counts.refused, counts.retries) == (5, 5, 0, 3)
    first = [body for _, _, body in api.requests[:4]]
    assert all(body == first[0] for body in first)


@pytest.mark.parametrize("status", [429, 503])
def test_an_api_that_asks_to_be_left_alone_is(status: int) -> None:
    """The next try comes not before Retry-After, and the row arrives once."""
    refuse = Recorder(lambda path, number, _: status if path == "/predict" and number == 1 else None, retry_after="1")
    with serving(refuse) as api:
        counts = _finish(_traffic(api, rows=2, label_share=0)).counts()
    assert (counts.acknowledged, counts.refused, counts.retries) == (2, 0, 1)
    assert api.requests[1][0] - api.requests[0][0] >= 1


def test_an_api_that_starts_later_is_waited_for() -> None:
    """Traffic may start before the API listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = Recorder(url=f"http://127.0.0.1:{port}")
    traffic = _traffic(api, rows=3)
    traffic.start()
    try:
        eventually("two attempts", lambda: traffic.counts().retries >= 2, 10)
        with serving(api, port):
            assert traffic.wait(20)
    finally:
        traffic.stop()
    assert traffic.counts().acknowledged == 3


def test_refused_rows_are_counted_and_not_repeated() -> None:
    """A 4xx is the client's fault: the row is counted as refused and never sent again."""
    with serving(Recorder(lambda _path, number, _body: 422 if number % 2 else None)) as api:
        counts = _finish(_traffic(api, rows=10, label_share=0)).counts()
    assert (counts.sent, counts.acknowledged, counts.refused) == (10, 5, 5)
    assert len(api.requests) == 10


def test_one_bad_label_does_not_cost_the_others() -> None:
    """Where the API does not know one id of a list, every other label of it arrives, and the one is counted."""
    with serving(Recorder(unknown=frozenset({"id-7"}))) as api:
        counts = _finish(_traffic(api, rows=40, batch=40)).counts()
    assert (counts.labels, counts.labels_refused) == (39, 1)
    assert set(api.predicted) - set(api.labels) == {"id-7"}


def test_a_list_that_is_refused_is_counted_label_by_label() -> None:
    """A 4xx for a list of labels is none for its predictions, and is not repeated."""
    with serving(Recorder(lambda path, _number, _body: 404 if path == "/feedback" else None)) as api:
        counts = _finish(_traffic(api, rows=40, batch=40)).counts()
    assert (counts.acknowledged, counts.labels, counts.labels_refused) == (40, 0, 40)
    assert [path for _, path, _ in api.requests] == ["/predict", "/feedback"]


def test_a_broken_feedback_does_not_hold_predictions_up() -> None:
    """While /feedback answers 500, rows go on at their rate; the labels arrive once it works."""
    broken = [True]
    with serving(Recorder(lambda path, _n, _b: 500 if path == "/feedback" and broken[0] else None)) as api:
        traffic = _traffic(api, rows=150, rate=100)
        traffic.start()
        try:
            eventually("all rows", lambda: traffic.counts().acknowledged == 150, 8)
            assert traffic.counts().labels == 0
            broken[0] = False
            assert traffic.wait(20)
        finally:
            traffic.stop()
    assert set(api.labels) == set(api.predicted)


def test_stop_ends_at_once(api: Recorder) -> None:
    """stop() does not wait for labels that are due later, and is harmless without a start."""
    traffic = _traffic(api, rows=5, label_delay=600)
    traffic.stop()
    traffic = _traffic(api, rows=5, label_delay=600)
    traffic.start()
    eventually("all rows", lambda: traffic.counts().acknowledged == 5, 10)
    assert traffic.counts().labels_due == 5
    started = time.monotonic()
    traffic.stop()
    assert time.monotonic() - started < 2


def test_another_server_than_the_api_is_noticed(api: Recorder) -> None:
    """Answers of 200 that are no predictions count as refused."""
    api.take = lambda _path, _body: (200, ["hello"])  # type: ignore[method-assign]
    assert _finish(_traffic(api, rows=3)).counts().refused == 3


def _command(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data.simulate", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_command_sends_and_tells_its_counts_as_json(api: Recorder) -> None:
    """The command sends, drifts after its time, ends by itself with exit 0 and tells the counts in a JSON line."""
    done = _command(
        *("--url", api.url, "--rate", "40", "--duration", "1.5", "--label-delay", "0.2"),
        *("--drift", "zeros", "--drift-after", "0.7"),
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["drift_started", "traffic_ended"]
    assert lines[-1]["service"] == "simulator"
    assert lines[-1]["acknowledged"] == len(api.predicted) > 20
    assert lines[-1]["labels"] == len(api.labels) == len(api.predicted)
    zero = [not any(row.values()) for _, row in api.predicted.values()]
    assert any(zero)
    assert not any(zero[:15])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        pytest.param(["--url", "http://127.0.0.1:1", "--duration", "0.5"], 2, '"acknowledged": 0', id="nobody-there"),
        pytest.param(["--url", "localhost:5050"], 2, "--url: String should match pattern '^https?://'", id="no-scheme"),
        pytest.param(["--drift", "gian"], 2, "no drift 'gian'", id="unknown-drift"),
        pytest.param(["--rate", "0"], 2, "--rate: Input should be greater than 0", id="rate"),
        pytest.param(["--tracks", "/nowhere.parquet"], 2, "not a readable Parquet file", id="no-tracks"),
    ],
)
def test_command_that_cannot_do_its_work_says_so(options: list[str], code: int, message: str) -> None:
    """Nothing acknowledged, or an option that cannot be used: exit 2 with the reason."""
    done = _command(*options)
    assert done.returncode == code
    assert message in done.stdout + done.stderr
