"""api/client.py, the one file that a service copies: it logs in the background, and never stands in a request's way."""

import ast
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import requests

from api.client import LogClient
from monitoring.contract.prediction_ids import id_milliseconds
from tests.processes import ROOT, answers, eventually, free_port
from tests.unit.api_fixtures import gunicorn
from tests.unit.mixed import trips
from tests.unit.mixed_models import champion, lay_down

Answer = tuple[int, Any]
OK: Answer = (200, {"logged": 1, "known": 0})  # or as many as were sent


class Stub:
    """A server that answers `/log` as it is told, the last answer for ever, and keeps the rows of each request."""

    def __init__(self, *said: Answer, delay: float = 0.0, bad: Collection[float] = ()) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        left = list(said)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                self.requests.append(body["rows"])
                time.sleep(delay)
                status, content = left.pop(0) if len(left) > 1 else left[0]
                distances = [row["features"]["distance"] for row in body["rows"]] if bad else []
                if refused := [n for n, distance in enumerate(distances) if distance in bad]:
                    status, content = 422, {"field": f"rows[{refused[0]}].features.distance", "detail": "is bad"}
                elif content is OK[1]:
                    content = {"logged": len(body["rows"]), "known": 0}
                text = json.dumps(content).encode()
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(text)))
                handler.end_headers()
                handler.wfile.write(text)

            def log_message(handler, *_args: object) -> None:  # noqa: N805
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def stub(*said: Answer, delay: float = 0.0, bad: Collection[float] = ()) -> Iterator[Stub]:
    """Serve it; it refuses rows of a bad distance, the first by its name."""
    one = Stub(*said, delay=delay, bad=bad)
    thread = threading.Thread(target=one.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.server.shutdown()
        one.server.server_close()


def client_of(url: str, **more: Any) -> LogClient:
    return LogClient(url, prediction="minutes", **{"batch_seconds": 0.05, **more})


def features(number: float = 1.0) -> dict[str, Any]:
    return {"distance": number, "zone": "station"}


def settled(client: LogClient, **counts: int) -> None:
    """Wait until the client has counted that."""
    try:
        eventually(f"{counts}", lambda: counts.items() <= client.counts.items(), 20)
    finally:
        print(client.counts)  # noqa: T201


def test_the_file_stands_alone() -> None:
    """It imports the standard library and requests, so that it can be copied anywhere."""
    tree = ast.parse((ROOT / "api" / "client.py").read_text())
    names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).split(".")[0] for name in names} - sys.stdlib_module_names == {"requests"}


def test_rows_are_sent_in_batches_with_ids_and_times() -> None:
    """Ids carry the row's time; what numpy and pandas call a number is one, and NaN is missing."""
    when = datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)
    with stub(OK) as server:
        client = client_of(server.url, batch_rows=10)
        one = client.log({"distance": np.float32(1.5), "passengers": np.int64(2), "zone": float("nan")}, np.float64(7))
        other = client.log(features(), 7, timestamp=when, model_version="3", confidence=0.5)
        client.log({"distance": np.nan, "zone": "x"}, 1, prediction_id="mine", timestamp=pd.Timestamp(when))
        for _ in range(22):
            client.log(features(), 7)
        settled(client, logged=25, waiting=0)
        client.close()
    rows = [row for batch in server.requests for row in batch]
    assert max(map(len, server.requests)) == 10
    assert rows[0]["features"] == {"distance": 1.5, "passengers": 2, "zone": None}
    assert [row["prediction_id"] for row in rows[:3]] == [one, other, "mine"]
    assert id_milliseconds(other) == when.timestamp() * 1000 // 1
    assert rows[1] == {
        "features": features(), "minutes": 7, "prediction_id": other, "timestamp": when.isoformat(),
        "model_version": "3", "confidence": 0.5,
    }  # fmt: skip
    assert rows[2]["features"]["distance"] is None


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_batch_is_sent_again_until_it_is_logged(status: int) -> None:
    """With the same ids, whatever the server's trouble is."""
    with stub((status, {}), (status, {}), OK) as server:
        client = client_of(server.url)
        sent = client.log(features(), 7)
        settled(client, logged=1, waiting=0, failures=2)
    assert [[row["prediction_id"] for row in batch] for batch in server.requests] == [[sent]] * 3


def test_a_server_that_is_away_delays_nobody_and_rows_wait() -> None:
    """A row costs its caller far less than a millisecond; when the server comes, it gets them all."""
    port = free_port()
    client = client_of(f"http://127.0.0.1:{port}", batch_rows=100)
    began = time.perf_counter()
    for _ in range(1000):
        client.log(features(), 7)
    assert time.perf_counter() - began < 2
    settled(client, logged=0, waiting=1000, failures=1)
    client.close(0.1)
    settled(client, waiting=0, dropped=1000)
    assert client.log(features(), 7)
    settled(client, dropped=1001)


def test_memory_is_bounded_and_the_oldest_rows_go_loudly(caplog: pytest.LogCaptureFixture) -> None:
    """What is dropped is counted, and told once a while, not for each row."""
    client = client_of(f"http://127.0.0.1:{free_port()}", most_bytes=10_000, batch_rows=5)
    with caplog.at_level(logging.WARNING, "driftloop.client"):
        for _ in range(1000):
            client.log(features(), 7)
        counts = client.counts
        assert counts["waiting"] < 70
        assert counts["dropped"] >= 1000 - counts["waiting"] - 5
        assert sum("so far" in record.message for record in caplog.records) == 1
        client.close(0)
    assert str(client.counts["dropped"]) in caplog.records[-1].getMessage()  # at the end of all, however soon it is


def test_a_row_that_is_refused_costs_no_other() -> None:
    """The API names it; the others of its batch are sent without it."""
    named = {"field": "rows[1].features.distance", "detail": "must be a number"}
    with stub((422, named), OK) as server:
        client = client_of(server.url, batch_seconds=0.5)
        ids = [client.log(features(number), 7) for number in range(3)]
        settled(client, logged=2, refused=1, waiting=0)
    assert [[row["prediction_id"] for row in batch] for batch in server.requests[1:]] == [[ids[0]], [ids[2]]]


@pytest.mark.parametrize(
    "bad", [range(0, 500, 30), range(30), range(470, 500), range(500)], ids=["spread", "first", "last", "all"]
)
def test_many_bad_rows_cost_no_other(bad: range) -> None:
    """However many of a batch they are, and wherever; each costs a request or two, of few rows where they are many."""
    with stub(OK, bad=bad) as server:
        client = client_of(server.url, batch_seconds=5)
        for number in range(500):
            client.log(features(number), 7)
        settled(client, refused=len(bad), logged=500 - len(bad), waiting=0)
        client.close()
    assert len(server.requests) <= 2 * len(bad) + 1
    assert sum(map(len, server.requests)) <= 500 * 20


def test_a_batch_that_is_refused_whole_is_given_up() -> None:
    """No row is named: the next batch is not held up."""
    with stub((422, {})) as server:
        client = client_of(server.url, batch_rows=50, batch_seconds=0.5)
        for _ in range(50):
            client.log(features(), 7)
        settled(client, refused=50, waiting=0)
        assert len(server.requests) == 1


@pytest.mark.parametrize("content", [{}, [], None, "ok", {"logged": None, "known": {}}, {"logged": 1}], ids=str)
def test_an_answer_that_is_none_of_the_apis_loses_nothing(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A proxy's, say: the rows are sent again, and why is told once, not each time."""
    with stub((200, content), (200, content), (422, []), OK) as server:
        client = client_of(server.url)
        with caplog.at_level(logging.WARNING, "driftloop.client"):
            client.log(features(), 7)
            settled(client, logged=1, waiting=0, failures=3)
        client.close()
    assert [record.message.partition(", because ")[0] for record in caplog.records] == [
        f"predictions wait to be sent to {server.url}/log again"
    ]


def test_why_rows_wait_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong key, say, that nobody would look for else."""
    with stub((401, {})) as server, caplog.at_level(logging.WARNING, "driftloop.client"):
        client = client_of(server.url)
        client.log(features(), 7)
        settled(client, failures=1)
        client.close(0)
    assert caplog.records[0].message.endswith("because the API answered 401")


def test_a_thread_that_cannot_be_had_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows wait for it, and the client can be closed without."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with stub(OK) as server:
        client, other = client_of(server.url), client_of(server.url)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            client.log(features(), 7)
            other.log(features(), 7)
            other.close()
        assert other.counts["dropped"] == 1
        client.log(features(), 7)
        settled(client, logged=2, waiting=0)
        client.close()


def test_what_pandas_has_for_missing_is_missing_and_times_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands in a row; a time without a zone is in UTC in the id too, whatever the machine's is."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        with stub(OK) as server:
            client = client_of(server.url, batch_seconds=0.5)
            naive = datetime(2026, 1, 31, 12)  # noqa: DTZ001 - as services have them
            given = {"distance": pd.NA, "zone": pd.NaT}
            more = {"confidence": np.nan, "probabilities": {"a": pd.NA, "b": np.float32(1)}}
            one = client.log(given, 7, timestamp=naive, **more)
            client.log(features(), float("inf"))  # which JSON does not have
            settled(client, logged=1, refused=1)
            client.close()
    finally:
        monkeypatch.undo()
        time.tzset()
    ((row,),) = server.requests
    assert id_milliseconds(one) == naive.replace(tzinfo=UTC).timestamp() * 1000
    assert row["timestamp"] == "2026-01-31T12:00:00+00:00"
    assert row["features"] == {"distance": None, "zone": None}
    assert (row["confidence"], row["probabilities"]) == (None, {"a": None, "b": 1.0})


def test_a_row_that_cannot_be_written_has_an_id_all_the_same() -> None:
    """The caller may pass it on."""
    client = client_of("http://127.0.0.1:9")
    when: Any = "2026-01-31"
    assert id_milliseconds(client.log(features(), 7, timestamp=when))
    settled(client, refused=1)


def test_a_batch_that_is_too_large_is_divided() -> None:
    """Until the server takes it."""
    with stub((413, {}), (413, {}), OK) as server:
        client = client_of(server.url, batch_rows=20, batch_seconds=0.5)
        for _ in range(20):
            client.log(features(), 7)
        settled(client, logged=20, waiting=0)
    assert [len(batch) for batch in server.requests] == [20, 10, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        pytest.param({"zone": object()}, 1, id="a value that is none"),
        pytest.param({"zone": "\ud800"}, object(), id="half a character, and an answer that is none"),
        pytest.param(None, 1, id="no features"),
        pytest.param(7, 1, id="a number for features"),
    ],
)
def test_nothing_is_raised_into_the_callers_request(given: Any, answer: Any) -> None:
    """What cannot be written is counted."""
    client = client_of("http://127.0.0.1:9")
    assert client.log(given, answer)
    settled(client, refused=1)
    client.close(0)


def test_a_forked_process_has_a_thread_and_rows_of_its_own() -> None:
    """gunicorn forks after the module was loaded: the child neither hangs nor sends its parent's rows again."""
    code = """
import os, sys, threading, time
from api.client import LogClient
client = LogClient(sys.argv[1], prediction="minutes", batch_seconds=0.05)
client.log({"zone": "parent"}, 1)
pid = os.fork()
if not pid:
    client.log({"zone": "child"}, 1)
    client.close()
    os._exit(0 if client.counts["logged"] == 1 and client.counts["dropped"] == 0 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""
    with stub(OK, delay=0.1) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, server.url], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        zones = sorted(row["features"]["zone"] for batch in server.requests for row in batch)
    assert zones == ["child", "parent"]  # the parent's was sent as it ended


def test_a_fastapi_service_logs_its_predictions(tmp_path: Path) -> None:
    """docs/examples/fastapi_service.py beside a copy of the client, under uvicorn, into a real API without a model."""
    for name in ("docs/examples/fastapi_service.py", "api/client.py"):
        shutil.copy(ROOT / name, tmp_path)
    config = lay_down(tmp_path, trips(), champion(trips().model))
    url = f"http://127.0.0.1:{free_port()}"
    with gunicorn(tmp_path / "data", "/health", DRIFTLOOP_CONFIG=str(config)) as api:
        command = [sys.executable, "-m", "uvicorn", "fastapi_service:app", "--port", url.rpartition(":")[2]]
        with (tmp_path / "service.log").open("wb") as log:
            service = subprocess.Popen(
                command, cwd=tmp_path, env={**os.environ, "LOG_URL": api.url}, stdout=log, stderr=log
            )
        try:
            eventually("the service", answers(f"{url}/logged", service, tmp_path / "service.log"), 60)
            trip = {"distance": 2.0, "zone": "station"}
            ids = [requests.post(f"{url}/minutes", json=trip, timeout=10).json()["prediction_id"] for _ in range(30)]
        finally:
            service.terminate()
            service.wait(20)
        answer = requests.post(f"{api.url}/feedback", json={"prediction_id": ids[0], "minutes": 9}, timeout=10)
        assert answer.json()["accepted"] == 1
    rows = pd.read_parquet(tmp_path / "data" / "current.parquet")
    assert sorted(rows["prediction_id"]) == sorted(ids)
    assert set(rows["predicted_minutes"]) == {8.0}
    assert set(rows["model_version"]) == {"rule-1"}
