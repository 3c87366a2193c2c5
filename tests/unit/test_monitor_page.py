"""The monitor over HTTP: the page in each state, reports, metrics, health; and the process as it is started."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from monitoring.contract.history import Episode, Scored, TriggeringAlert, keep_episode
from monitoring.contract.layout import Layout
from monitoring.contract.reference import Performance, ReliabilityCurve, read_reference, write_reference
from monitoring.contract.times import microseconds
from monitoring.monitor import Monitor
from monitoring.page.page import create_app
from tests.processes import ROOT
from tests.unit.models import GENRES, LOANS, loans
from tests.unit.monitor_fixtures import (
    START,
    keep_calibration,
    keep_reference,
    keep_timed_reference,
    log_rows,
    make_rows,
    monitor_of,
)

PATIENCE = 90


def _client(monitor: Monitor, registry: CollectorRegistry, *, alive: bool = True) -> FlaskClient:
    return create_app(monitor, registry, lambda: alive).test_client()


def _watch(data: Path, rows: int = 120, shift: float = 0.0) -> FlaskClient:
    keep_reference(data, LOANS, make_rows(LOANS, 200), model_version="7")
    current = make_rows(LOANS, 120, seed=1, shift=shift)
    current.loc[:2, "debt"] = None
    log_rows(data, LOANS, current.head(rows))
    monitor, registry = monitor_of(data)
    monitor.cycle()
    return _client(monitor, registry)


def test_a_start_that_waits_for_a_model_is_said(tmp_path: Path) -> None:
    """Until one is registered: the page, and `/ready`, say that nothing is served, and what to do."""
    monitor, registry = monitor_of(tmp_path, loans(bootstrap="wait"))
    monitor.cycle()
    page = _client(monitor, registry).get("/").text
    assert "No model is registered, and nothing is served" in page
    assert "python -m flows register --model" in page
    assert "python -m flows register --model" in _client(monitor, registry).get("/ready").json["status"]
    now = datetime.now(UTC)
    about = {"flow": "register", "flow_run_id": "1", "started_at": now, "ended_at": now, "message": "", "version": "1"}
    keep_episode(Layout(tmp_path), Episode(**about, outcome="Promoted"))
    page = _client(monitor, registry).get("/").text
    assert "No model is registered" not in page
    assert "runs/flow-run/1" not in page


def test_page_and_reports_ask_for_the_password(tmp_path: Path) -> None:
    """Without it, with a wrong one and with another user nothing is shown; what machines read stays open."""
    (tmp_path / "password").write_text("of the monitor\n")
    client = _client(*monitor_of(tmp_path, monitor_password_file=tmp_path / "password"))
    logins = [None, ("driftloop", "wrong"), ("admin", "of the monitor"), ("driftloop", "of the monitor")]
    assert [client.get("/", auth=login).status_code for login in logins] == [401, 401, 401, 200]
    assert [client.get("/report", auth=login).status_code for login in logins] == [401, 401, 401, 404]
    assert client.get("/").headers["WWW-Authenticate"].startswith("Basic")
    assert [client.get(path).status_code for path in ("/metrics", "/health", "/ready")] == [200, 200, 503]


def test_the_page_tells_what_was_found(tmp_path: Path) -> None:
    """Verdict, tests with what was found, features with their numbers, the reference's origin, a picture, links."""
    text = _watch(tmp_path, shift=2).get("/").text
    verdicts = json.loads((next((tmp_path / "_reports").glob("*.json"))).read_text())["judgement"]["verdicts"]
    failing = sum(v["status"] != "success" for v in verdicts)
    assert f"{failing} of {len(verdicts)} tests fail" in text
    for wanted in (
        "TestColumnDrift:age",
        "120 rows",
        "model version 7",
        "<svg",
        "in the reference",
        "Wanted: at most 0",
    ):
        assert wanted in text
    for feature in LOANS.model.features:
        assert f">{feature}</td>" in text
    for link in ("/report", "/reports", "http://127.0.0.1:9090", "http://127.0.0.1:4200"):
        assert f'href="{link}"' in text


@pytest.mark.parametrize(
    ("timed", "told"),
    [
        pytest.param(True, "by 10 chunks of the reference in time order", id="with times"),
        pytest.param(False, "by sampling error alone: the reference has no times", id="without"),
    ],
)
def test_page_and_metrics_say_what_the_threshold_of_the_estimate_rests_on(
    tmp_path: Path, *, timed: bool, told: str
) -> None:
    """Ten chunks of a reference that has times; of one that has none, the number of its rows."""
    model, table = LOANS.model, pa.Table.from_pandas(make_rows(LOANS, 1_000), preserve_index=False)
    if timed:
        times = pa.array(range(1_000), pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        table = table.append_column("timestamp", times)
    performance = Performance(0.85, 1_000, ReliabilityCurve((0.5,), (0.85,), (1_000,)))
    write_reference(Layout(tmp_path), model, table, origin="sample", performance=performance)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert told in _client(monitor, registry).get("/").text
    assert registry.get_sample_value("model_accuracy_estimate_chunks") == (10 if timed else 0)
    threshold = registry.get_sample_value("model_accuracy_estimate_threshold")
    assert threshold is not None
    assert 0.6 < threshold < 0.85


def test_page_and_report_name_the_tests_that_were_skipped(tmp_path: Path) -> None:
    """Too few labels: the tests of labels stand among the others with their reason, and the headline counts them."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1).assign(target=None))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    client = _client(monitor, registry)
    text = client.get("/").text
    assert ", 2 were skipped" in text
    assert ">skipped</td>" in text
    for shown in (text, client.get("/report").text):
        assert "not run: 0 of 20 labels" in shown


def test_features_that_no_test_can_judge_count_for_none(tmp_path: Path) -> None:
    """A column that holds no value agrees with nothing: the page says that it was not tested."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 200))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 120, seed=1).assign(age=float("nan")))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    text = " ".join(_client(monitor, registry).get("/").text.split())
    number = len(LOANS.model.features)
    assert f"0 of {number - 1} features that could be tested drifted by their own test" in text
    assert f"The drift of 1 of {number} features was not tested." in text


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    """No script, style sheet, font or picture from anywhere: the page is complete in itself."""
    response = _watch(tmp_path).get("/")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not [tag for tag in ("<script", "<link", "<img", "url(", "src=") if tag in response.text]


def test_the_page_says_that_rows_are_too_few(tmp_path: Path) -> None:
    """Instead of a verdict there is the count so far."""
    text = _watch(tmp_path, rows=12).get("/").text
    assert "Collecting rows: 12 of 50" in text
    assert "tests pass" not in text


def test_names_are_escaped(tmp_path: Path) -> None:
    """A category out of a foreign reference or log is text, never markup."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 60), model_version="<b>1</b>")
    log_rows(tmp_path, LOANS, make_rows(LOANS, 60, seed=1))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    assert "<b>1</b>" not in _client(monitor, registry).get("/").text


def test_before_the_reference_everything_answers(tmp_path: Path) -> None:
    """At a first start the page says what is missing, /ready is 503, and metrics are up."""
    monitor, registry = monitor_of(tmp_path)
    client = _client(monitor, registry)
    assert "Starting" in client.get("/").text
    monitor.cycle()
    text = client.get("/").text
    for told in ("there is no reference yet", "Prometheus cannot say what fires", "no run of a flow has ended"):
        assert told in text
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200
    assert "monitor_last_success_timestamp_seconds 0.0" in client.get("/metrics").text
    assert client.get("/report").status_code == 404
    assert "no report yet" in client.get("/reports").text


def test_a_failed_cycle_is_on_the_page(tmp_path: Path) -> None:
    """The page says what failed and how old its values are."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 60))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 60, seed=1))
    monitor, registry = monitor_of(tmp_path)
    monitor.cycle()
    (tmp_path / "reference.parquet").unlink()
    monitor.cycle()
    text = _client(monitor, registry).get("/").text
    assert "The last cycle failed" in text
    assert "there is no reference" in text
    assert "s old" in text


def test_ready_and_health(tmp_path: Path) -> None:
    """Ready once a cycle has succeeded; healthy as long as the loop lives."""
    client = _watch(tmp_path)
    assert client.get("/ready").status_code == 200
    assert client.get("/health").status_code == 200
    assert _client(*monitor_of(tmp_path), alive=False).get("/health").status_code == 503


class _Broken(Collector):
    def collect(self) -> Iterator[None]:
        raise RuntimeError("cannot collect")

    def describe(self) -> list[None]:
        return []


def test_metrics_that_fail_are_no_200(tmp_path: Path) -> None:
    """A scrape that cannot be answered fails, so that `up` falls, rather than being empty."""
    monitor, registry = monitor_of(tmp_path)
    registry.register(_Broken())
    assert _client(monitor, registry).get("/metrics").status_code == 500


def test_the_last_report_is_served_as_page_and_as_data(tmp_path: Path) -> None:
    """Evidently's page, and the same look at the window in full precision."""
    client = _watch(tmp_path, shift=2)
    page, data = client.get("/report"), client.get("/report.json")
    assert page.mimetype == "text/html"
    assert "Drift per Column" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert data.json["rows"] == 120
    p_values = {f["drift"]["column"]: f["drift"]["p_value"] for f in data.json["judgement"]["features"]}
    exported = client.get("/metrics").text
    assert f'loan_drift_p_value{{feature="age"}} {p_values["age"]!r}' in exported


def test_kept_reports_are_listed_and_served(tmp_path: Path) -> None:
    """Each report of the list opens, as a page and as data."""
    client = _watch(tmp_path)
    name = next((tmp_path / "_reports").glob("*.html")).stem
    assert f'href="/reports/{name}"' in client.get("/reports").text
    assert client.get(f"/reports/{name}").status_code == 200
    assert client.get(f"/reports/{name}.json").json["verdict"] in name


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("20260101T000000.000Z-passing-9", id="unknown"),
        pytest.param("..%2Freference.parquet", id="path"),
        pytest.param("%2e%2e", id="dots"),
    ],
)
def test_only_reports_are_served(tmp_path: Path, name: str) -> None:
    """Whatever is no kept report's id is a 404."""
    assert _watch(tmp_path).get(f"/reports/{name}").status_code == 404


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:  # refused, or not answered while the worker starts
        return 0, str(error)


def test_the_process_watches_and_serves(tmp_path: Path) -> None:
    """`python -m monitoring run` with the default config is ready, serves, and stops when told to."""
    keep_reference(tmp_path, GENRES, make_rows(GENRES, 300))
    log_rows(tmp_path, GENRES, make_rows(GENRES, 250, seed=1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {"DATA_DIR": str(tmp_path), "MONITOR_PORT": str(port), "MONITOR_INTERVAL_SECONDS": "1"}
    command = [sys.executable, "-m", "monitoring", "run"]
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE
            while _get(f"http://127.0.0.1:{port}/ready")[0] != 200:
                assert process.poll() is None, "the monitor ended"
                assert time.monotonic() < deadline, "the monitor did not become ready"
                time.sleep(0.2)
            status, metrics = _get(f"http://127.0.0.1:{port}/metrics")
            assert status == 200
            assert "rowcount 250.0" in metrics
            assert 'mfcc_drift_p_value{feature="mfcc_1"}' in metrics
            assert "_created" not in metrics
        finally:
            process.terminate()
    assert process.returncode == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert "cycle_done" in {event["event"] for event in events}
    assert {event["service"] for event in events} == {"monitor"}


@pytest.mark.parametrize("command", [pytest.param("run", id="run"), pytest.param("check-config", id="check-config")])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param({"DRIFTLOOP_CONFIG": "no/such.yml"}, "no/such.yml", id="config"),
        pytest.param({"MONITOR_PORT": "http"}, "MONITOR_PORT = 'http'", id="variable"),
    ],
)
def test_what_cannot_be_used_stops_the_start(command: str, variables: dict[str, str], said: str) -> None:
    """Exit code 2 and one message that names the file or the variable; no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "monitoring", command],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_tells_the_drift_alarm_and_who_is_to_blame(tmp_path: Path) -> None:
    """Since when, by which evidence, which feature moved which way, and by how much."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 300))
    config = loans(false_alarm_every=100_000)
    keep_calibration(tmp_path, config)
    log_rows(tmp_path, LOANS, make_rows(LOANS, 300, seed=1, shift=1.0))
    monitor, registry = monitor_of(tmp_path, config, drift_alarm="on")
    monitor.cycle()
    text = _client(monitor, registry).get("/").text
    assert "The data have drifted since 2026-01-01 00:00:00 UTC: age (up)" in text
    assert "the threshold 5.0" in text
    assert "once in 100,000 rows" in text


@pytest.mark.parametrize(
    ("days", "told", "values"),
    [
        pytest.param(
            21,
            (
                "in 5,000 rows (25 days at 200 rows a day)",
                "4,200 rows without change (21 days), the reference&#39;s own: the calibration uses its 3 weeks",
                "The promise reaches 1.2 times as far; beyond them it is extrapolated, by a Gumbel law",
                "a week, learned from 3 of them",
            ),
            (4_200, 604_800, 3),
            id="three weeks",
        ),
        pytest.param(
            0.5,
            (
                "nothing: the alarm takes the reference&#39;s rows for independent of each other, and they are not.",
                "no daily or weekly one is in the alarm: the reference spans 12 hours",
            ),
            (0, 0, 0),
            id="hours",
        ),
        pytest.param(
            None,
            (
                "120,000 rows without change (600 days), drawn from the reference one by one",
                "They cover the promise if that is so, which a reference without times does not tell.",
                "no daily or weekly one is in the alarm: the reference does not know its rows&#39; times",
                "alarms come far more often than promised: give reference.parquet a column timestamp",
            ),
            (120_000, 0, 0),
            id="no times",
        ),
    ],
)
def test_page_and_metrics_say_what_the_promise_rests_on(
    tmp_path: Path, days: float | None, told: tuple[str, ...], values: tuple[float, ...]
) -> None:
    """The rhythm that is in the alarm, or why none is and what helps; what is promised, and what supports it."""
    config, rows = loans(false_alarm_every=5_000), make_rows(LOANS, 4_200)
    if days is None:
        keep_reference(tmp_path, LOANS, rows)
    else:
        keep_timed_reference(tmp_path, LOANS, rows, days)
    keep_calibration(tmp_path, config)
    last = datetime.now(UTC) - timedelta(seconds=1)
    for hour in range(25):  # 200 rows in the day between the first and the last
        moment = last - timedelta(hours=24 - hour)
        log_rows(tmp_path, LOANS, make_rows(LOANS, 8, seed=hour), moment)
    monitor, registry = monitor_of(tmp_path, config, drift_alarm="on")
    monitor.cycle()
    text = _client(monitor, registry).get("/").text
    for wanted in told:
        assert wanted in text
    names = ("drift_supported_rows", "drift_rhythm_cycle_seconds", "drift_rhythm_cycles")
    assert tuple(registry.get_sample_value(name) for name in names) == pytest.approx(values, rel=0.001)
    assert registry.get_sample_value("drift_false_alarm_every_rows") == 5_000
    assert registry.get_sample_value("drift_rows_per_second") == pytest.approx(200 / 86_400, rel=0.005)


def test_the_page_tells_how_far_the_calibration_is(tmp_path: Path) -> None:
    """Before the detector is calibrated, the page says so instead of calling the data steady."""
    keep_reference(tmp_path, LOANS, make_rows(LOANS, 300))
    log_rows(tmp_path, LOANS, make_rows(LOANS, 300, seed=1))
    monitor, registry = monitor_of(tmp_path, LOANS, drift_alarm="on")
    monitor.cycle()
    text = _client(monitor, registry).get("/").text
    monitor.stop()
    assert "being calibrated to the reference" in text


def test_the_page_tells_until_when_the_alarm_learns(tmp_path: Path) -> None:
    """After a re-base, and what ends learning."""
    config = loans(rhythm="1d")
    keep_timed_reference(tmp_path, config, make_rows(config, 300), 0.25)
    table = read_reference(Layout(tmp_path), config.model).table
    write_reference(Layout(tmp_path), config.model, table, origin="rebased", through=microseconds(START))
    log_rows(tmp_path, config, make_rows(config, 300, seed=1))
    monitor, registry = monitor_of(tmp_path, config, drift_alarm="on")
    monitor.cycle()
    text = _client(monitor, registry).get("/").text
    assert "learning until 2026-01-02 18:00" in text
    assert "ends with the first row after that" in text
    until = registry.get_sample_value("drift_learning_until_timestamp_seconds")
    assert until == (START + timedelta(days=1.75)).timestamp()


def test_the_page_tells_of_a_rollback(tmp_path: Path) -> None:
    """What asked, both versions' accuracy on the same rows, what serves now, and why."""
    now = datetime.now(UTC)
    told = Episode(
        flow="rollback",
        flow_run_id="0f0e-aaaa",
        started_at=now,
        ended_at=now,
        outcome="RolledBack",
        message="version 6 is champion again",
        asked=TriggeringAlert(name="ModelTurnedBad", starts_at=now),
        champion=Scored(version="7", accuracy=0.25, macro_f1=0.2),
        candidate=Scored(version="6", accuracy=0.75, macro_f1=0.7),
        version="6",
    )
    keep_episode(Layout(tmp_path), told)
    text = _watch(tmp_path).get("/").text
    for wanted in (
        ">rollback</a>",
        'title="version 6 is champion again">RolledBack<',
        "ModelTurnedBad",
        "25.0%",
        "75.0%",
    ):
        assert wanted in text
