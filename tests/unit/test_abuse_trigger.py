"""The webhook under abuse: a real trigger process, before servers that stand for Prefect and MLflow."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from tests.processes import ROOT, answers, eventually, free_port
from tests.unit.test_trigger import CREATE, NOTIFICATION, RUN, RUNS, TOKEN, WELL, changed, servers, with_alert

SLOW = 200
BOUND = 1.0  # seconds


@dataclass(frozen=True)
class Trigger:
    """A trigger that runs, what the servers behind it answer, and what they were asked."""

    url: str
    answers: dict[str, tuple[int, Any]]
    asked: list[tuple[str, Any]]

    def post(self, body: Any = NOTIFICATION, **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body)
        authorization = {"Authorization": f"Bearer {TOKEN}"}
        return requests.post(f"{self.url}/alerts", data, headers={**authorization, **headers}, timeout=30)

    def runs(self) -> list[Any]:
        """Return what runs were asked for with."""
        return [content for route, content in self.asked if route == CREATE]


@pytest.fixture
def trigger(running: Trigger) -> Trigger:
    running.asked.clear()
    running.answers.update(WELL)
    return running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trigger]:
    folder, port, upstream = tmp_path_factory.mktemp("trigger"), free_port(), dict(WELL)
    (folder / "token").write_text(TOKEN)
    with servers(upstream) as (base, asked), (folder / "log").open("w") as log:
        variables = {
            "TRIGGER_PORT": str(port),
            "WEBHOOK_TOKEN_FILE": str(folder / "token"),
            "MLFLOW_TRACKING_URI": base,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.trigger"],
            cwd=ROOT,
            env={**os.environ, **variables, "PREFECT_API_URL": f"{base}/api", "TRIGGER_POLL_SECONDS": "3600"},
            stdout=log,
            stderr=log,
        )
        found = Trigger(f"http://127.0.0.1:{port}", upstream, asked)
        try:
            eventually("the trigger's start", answers(f"{found.url}/ready", process, folder / "log"), 60)
            yield found
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="empty"),
        pytest.param("Bearer ", id="no token"),
        pytest.param(TOKEN, id="no scheme"),
        pytest.param(f"Basic {TOKEN}", id="another scheme"),
        pytest.param(f"Bearer {TOKEN[:-1]}", id="one letter short"),
        pytest.param(f"Bearer {TOKEN}x", id="one letter more"),
        pytest.param(f"Bearer {TOKEN.upper()}", id="capitals"),
        pytest.param(f"Bearer {TOKEN}, Bearer {TOKEN}", id="twice"),
        pytest.param(f"Bearer {'x' * 8_000}", id="8 kB"),
    ],
)
def test_only_the_token_itself_opens(trigger: Trigger, given: str) -> None:
    """401, and nobody behind the trigger hears of it."""
    answer = trigger.post(Authorization=given)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="alerts"')
    assert trigger.asked == []


def test_the_token_counts_in_its_header_alone(trigger: Trigger) -> None:
    """In an address or a form it would end up in logs."""
    answer = requests.post(f"{trigger.url}/alerts?token={TOKEN}", {"token": TOKEN}, timeout=10)
    assert answer.status_code == 401


def test_a_replayed_notification_starts_no_second_run(trigger: Trigger) -> None:
    """At once, they share the key by which Prefect makes one run; later it is known; when it has ended, held off."""
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: trigger.post(), range(16))} == {200}
    assert len({run["idempotency_key"] for run in trigger.runs()}) == 1
    trigger.asked.clear()
    trigger.answers[RUNS] = (200, [{**RUN, "state_type": "RUNNING"}])
    again = trigger.post().json()
    assert (again["outcome"], again["flow_run_id"]) == ("known", RUN["id"])
    ended = {**RUN, "state_type": "COMPLETED", "end_time": datetime.now(UTC).isoformat()}
    trigger.answers[RUNS] = (200, [ended])
    assert trigger.post().json()["outcome"] == "cooldown"
    assert trigger.runs() == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"[" * 500_000, 400, id="deep JSON"),
        pytest.param(b'{"alerts":' * 100_000, 400, id="deep objects"),
        pytest.param(json.dumps(NOTIFICATION).encode("utf-16"), 400, id="UTF-16"),
        pytest.param(with_alert(startsAt=float("nan")), 422, id="NaN"),
        pytest.param(with_alert(startsAt="9" * 5_000), 422, id="a huge time"),
        pytest.param(changed(groupKey={"a": 1}), 422, id="an object as the key"),
        pytest.param(b" " * 5_000_000, 413, id="5 MB"),
        pytest.param(b" " * 9_000_000, 413, id="9 MB"),
    ],
)
def test_hostile_bodies_are_refused(trigger: Trigger, body: Any, status: int) -> None:
    """4xx, soon, and no run."""
    begun = time.monotonic()
    assert trigger.post(body).status_code == status
    assert time.monotonic() - begun < 5
    assert trigger.asked == []


def test_many_alerts_are_one_run_of_bounded_size(trigger: Trigger) -> None:
    """Ten thousand alerts in a group: the run is told of some, and of the count."""
    trigger.post(changed(alerts=NOTIFICATION["alerts"] * 10_000))
    (run,) = trigger.runs()
    assert run["parameters"]["alert"]["count"] == 10_000
    assert len(json.dumps(run)) < 100_000


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"x": "x" * 600_000}, id="a long value"),
        pytest.param({"x" * 600_000: "x"}, id="a long name"),
        pytest.param({f"x{i}": "☃" * 60 for i in range(10_000)}, id="many labels"),
    ],
)
def test_a_huge_alert_takes_no_place_from_the_honest_one(trigger: Trigger, labels: dict[str, str]) -> None:
    """It is in the same group, and begins before it: the run is asked for, and is told of both within bounds."""
    (honest,) = NOTIFICATION["alerts"]
    huge = {**honest, "labels": {**honest["labels"], **labels}, "startsAt": "2026-11-22T13:00:00Z"}
    assert trigger.post(changed(alerts=[huge, honest])).json()["outcome"] == "accepted"
    (run,) = trigger.runs()
    assert len(json.dumps(run)) < 300_000  # Prefect takes 512 kB
    alert = run["parameters"]["alert"]
    assert alert["count"] == 2
    assert alert["alerts"][-1]["labels"] == honest["labels"]


def test_an_alert_with_a_huge_key_is_asked_for(trigger: Trigger) -> None:
    """The key of the run is a digest of all of it."""
    assert trigger.post(changed(groupKey="x" * 600_000)).json()["outcome"] == "accepted"
    (run,) = trigger.runs()
    assert len(json.dumps(run)) < 10_000


@pytest.mark.parametrize("outcome", ["NothingToRollBackTo", "NotRolledBack"])
def test_a_forged_rollback_holds_no_real_one_off(trigger: Trigger, outcome: str) -> None:
    """A run of another alert that has changed nothing is no reason to wait; one that has rolled back is."""
    bad = {**NOTIFICATION["alerts"][0], "labels": {"alertname": "ModelTurnedBad", "action": "rollback"}}
    trigger.answers["GET /api/deployments/name/rollback/on-alert"] = (200, {"id": "d-1"})
    now = datetime.now(UTC).isoformat()
    forged = {**RUN, "state_type": "COMPLETED", "state_name": outcome, "end_time": now, "tags": ["episode:forged"]}

    def runs_of(body: Any) -> list[Any]:
        return [] if body["flow_runs"] else [forged]  # a filter by tag: of this alert's own episode there is none

    trigger.answers[RUNS] = (200, runs_of)
    assert trigger.post(changed(alerts=[bad])).json()["outcome"] == "accepted"
    forged["state_name"] = "RolledBack"
    assert trigger.post(changed(alerts=[bad])).json()["outcome"] == "cooldown"


@pytest.mark.parametrize("state", ["SCHEDULED", "RUNNING"])
def test_a_forged_rollback_without_an_end_holds_no_real_one_off(trigger: Trigger, state: str) -> None:
    """The runner takes one after the other; of three that wait no more are added."""
    bad = {**NOTIFICATION["alerts"][0], "labels": {"alertname": "ModelTurnedBad", "action": "rollback"}}
    trigger.answers["GET /api/deployments/name/rollback/on-alert"] = (200, {"id": "d-1"})
    forged = {**RUN, "state_type": state, "state_name": state.capitalize(), "tags": ["episode:forged"]}
    forged |= {"created": datetime.now(UTC).isoformat(), "end_time": None}
    number = 2
    trigger.answers[RUNS] = (200, lambda body: [] if body["flow_runs"] else [forged] * number)
    assert trigger.post(changed(alerts=[bad])).json()["outcome"] == "accepted"
    number = 3
    assert trigger.post(changed(alerts=[bad])).json()["outcome"] == "cooldown"


@pytest.mark.parametrize(
    "sends",
    [
        pytest.param(b"P", id="one byte"),
        pytest.param(b"POST /alerts HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{", id="part of a body"),
    ],
)
def test_slow_clients_keep_alertmanager_from_nothing(trigger: Trigger, sends: bytes) -> None:
    """Two hundred of them, and a notification is taken within a second."""
    with ExitStack() as stack:
        for _ in range(SLOW):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", int(trigger.url.rpartition(":")[2]))))
            sock.sendall(sends)
        begun = time.monotonic()
        assert trigger.post().status_code == 200
        assert time.monotonic() - begun < BOUND
