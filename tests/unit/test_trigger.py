"""The trigger's webhook: what it refuses, and what it answers when the servers behind it do not play along."""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from flows.clients import prefect
from flows.clients.rest import UnavailableError
from flows.run_request import request_run
from flows.settings import FlowSettings, TriggerSettings
from flows.trigger.app import create_app
from flows.trigger.notification import parse_notification
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from tests.unit.models import write_config

TOKEN = "a-token-for-tests"
NOWHERE = "http://127.0.0.1:9"
NOTIFICATION: dict[str, Any] = {
    "version": "4",
    "groupKey": '{}:{alertname="ModelDrift"}',
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "trigger",
    "groupLabels": {"alertname": "ModelDrift"},
    "commonLabels": {},
    "commonAnnotations": {},
    "externalURL": "http://127.0.0.1:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "ModelDrift", "action": "retrain"},
            "annotations": {"summary": "drift"},
            "startsAt": "2026-11-23T13:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": "c0ffee",
        }
    ],
}
RUN = {"id": "run-1", "created": "2026-11-23T13:00:00Z", "state_type": "SCHEDULED", "state_name": "Scheduled"}
DEPLOYMENT = "GET /api/deployments/name/retrain/on-alert"
CREATE = "POST /api/deployments/d-1/create_flow_run"
RUNS = "POST /api/flow_runs/filter"
CHAMPION = "GET /api/2.0/mlflow/registered-models/alias"
VERSIONS = "GET /api/2.0/mlflow/model-versions/search"
MODEL = "GET /api/2.0/mlflow/registered-models/get"
RUN_METRICS = "GET /api/2.0/mlflow/runs/get"
WELL = {
    CHAMPION: (200, {"model_version": {"version": "3"}}),
    DEPLOYMENT: (200, {"id": "d-1", "status": "READY"}),
    RUNS: (200, []),
    CREATE: (201, RUN),
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(NOTIFICATION), **fields}


def with_alert(**fields: Any) -> dict[str, Any]:
    return changed(alerts=[{**NOTIFICATION["alerts"][0], **fields}])


@contextmanager
def servers(answers: dict[str, tuple[int, Any]]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Stand for Prefect and MLflow: answers by method and path, or what makes one of the body; yield what was asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            route = f"{self.command} {self.path.split('?')[0]}"
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((route, json.loads(body) if body else dict(self.headers)))
            status, content = answers.get(route, (404, {"detail": "not here"}))
            content = content(json.loads(body)) if callable(content) else content
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_GET = do_POST = answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def client_of(token_file: Path, base: str = NOWHERE, **fields: Any) -> FlaskClient:
    settings = TriggerSettings(
        webhook_token_file=token_file, prefect_api_url=f"{base}/api", mlflow_tracking_uri=base, **fields
    )
    return create_app(settings).test_client()


def post(client: FlaskClient, body: Any, token: str | None = TOKEN) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/alerts", data=data, headers=headers)


def series(client: FlaskClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        pytest.param(b"", 400, "empty", id="empty body"),
        pytest.param(b"{", 400, "not JSON", id="cut off JSON"),
        pytest.param(b"\xff\xfe", 400, "not JSON", id="not text"),
        pytest.param([], 422, "object", id="a list"),
        pytest.param(changed(version="3"), 422, "version", id="version 3"),
        pytest.param({k: v for k, v in NOTIFICATION.items() if k != "groupKey"}, 422, "groupKey", id="no groupKey"),
        pytest.param(changed(groupKey=""), 422, "groupKey", id="empty groupKey"),
        pytest.param(changed(alerts=[]), 422, "alerts", id="no alerts"),
        pytest.param(with_alert(startsAt="yesterday"), 422, "alerts.0.startsAt", id="no time"),
        pytest.param(with_alert(startsAt="2026-11-23T13:00:00"), 422, "alerts.0.startsAt", id="no time zone"),
        pytest.param(with_alert(status="silenced"), 422, "alerts.0.status", id="unknown status"),
        pytest.param(with_alert(labels=None), 422, "alerts.0.labels", id="no labels"),
    ],
)
def test_body_that_is_not_a_notification_is_refused(token_file: Path, body: Any, status: int, named: str) -> None:
    """Each is a 4xx problem that names what is wrong; Alertmanager does not send it again."""
    client = client_of(token_file)
    answer = post(client, body)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert named in answer.json["detail"]
    assert series(client)["trigger_notifications_total", "refused"] == 1


@pytest.mark.parametrize(
    "token", [pytest.param(None, id="none"), pytest.param("guess", id="wrong"), pytest.param("é", id="odd")]
)
def test_request_without_the_token_is_refused(token_file: Path, token: str | None) -> None:
    """401 comes before any look at the body; the log tells of it, without what was given."""
    client = client_of(token_file)
    with structlog.testing.capture_logs() as lines:
        answer = post(client, b"", token)
    assert [line["event"] for line in lines] == ["notification_refused"]
    assert "guess" not in str(lines)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert series(client)["trigger_notifications_total", "refused"] == 1


def test_body_of_many_megabytes_is_refused(token_file: Path) -> None:
    """It is not read to its end."""
    assert post(client_of(token_file), b" " * 5_000_000).status_code == 413


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(with_alert(status="resolved"), id="only resolved"),
        pytest.param(with_alert(labels={"alertname": "ModelDrift"}), id="no action"),
        pytest.param(with_alert(labels={"action": "page"}), id="another action"),
    ],
)
def test_nothing_to_retrain_for_is_ignored(token_file: Path, body: Any) -> None:
    """Resolved alerts and those for people ask no server for anything."""
    client = client_of(token_file)
    answer = post(client, body)
    assert (answer.status_code, answer.json) == (
        200,
        {"outcome": "ignored", "detail": "no alert in it fires with the label action: retrain or rollback"},
    )
    assert series(client)["trigger_notifications_total", "ignored"] == 1


def test_resolved_alerts_beside_a_firing_one_are_left_out() -> None:
    """The episode is that of the earliest firing alert that asks for a retraining."""
    first = NOTIFICATION["alerts"][0]
    alerts = [
        {**first, "status": "resolved", "startsAt": "2026-11-23T10:00:00Z"},
        {**first, "labels": {"alertname": "Other"}, "startsAt": "2026-11-23T11:00:00Z"},
        {**first, "startsAt": "2026-11-23T14:00:00Z", "fingerprint": "later"},
        first,
    ]
    several = parse_notification(json.dumps(changed(alerts=alerts)).encode())
    alone = parse_notification(json.dumps(NOTIFICATION).encode())
    assert several.episode("3") == alone.episode("3")
    assert [a["fingerprint"] for a in several.describe("3")["alerts"]] == ["c0ffee", "later"]
    assert several.describe("3")["alerts"][0]["name"] == "ModelDrift"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param((changed(groupKey="{}:{}"), "3"), id="another group"),
        pytest.param((with_alert(startsAt="2026-11-24T13:00:00Z"), "3"), id="another start"),
        pytest.param((NOTIFICATION, "4"), id="another champion"),
    ],
)
def test_another_episode_has_another_key(other: tuple[dict[str, Any], str]) -> None:
    """Group, start and champion each make a new episode."""
    body, champion = other
    notification = parse_notification(json.dumps(NOTIFICATION).encode())
    assert parse_notification(json.dumps(body).encode()).episode(champion) != notification.episode("3")


def test_new_run_is_asked_for_once_and_told_of_the_alert(token_file: Path) -> None:
    """201 from Prefect is accepted; the run carries the alert, the key and the episode's tag."""
    with servers(WELL) as (base, asked):
        client = client_of(token_file, base, prefect_api_auth_string="me:pass:word")
        assert post(client, NOTIFICATION).json == {"outcome": "accepted", "flow_run_id": "run-1"}
    sent = dict(asked)[CREATE]
    episode = parse_notification(json.dumps(NOTIFICATION).encode()).episode("3")
    assert sent["idempotency_key"] == episode
    assert sent["tags"] == [f"episode:{episode[:16]}"]
    assert sent["parameters"]["alert"]["alerts"][0]["fingerprint"] == "c0ffee"
    assert dict(asked)[DEPLOYMENT]["Authorization"] == "Basic bWU6cGFzczp3b3Jk"


def test_alert_that_asks_for_a_rollback_starts_that_flow_alone(token_file: Path) -> None:
    """The label's value is the flow; its run is told which champion the alert is about, and only its runs count."""
    bad = {**NOTIFICATION["alerts"][0], "labels": {"alertname": "ModelTurnedBad", "action": "rollback"}}
    later = {**NOTIFICATION["alerts"][0], "startsAt": "2026-11-23T14:00:00Z"}
    with servers({**WELL, "GET /api/deployments/name/rollback/on-alert": (200, {"id": "d-1"})}) as (base, asked):
        answer = post(client_of(token_file, base), changed(alerts=[later, bad]))
    assert answer.json["outcome"] == "accepted"
    assert DEPLOYMENT not in dict(asked)
    assert {tuple(body["flows"]["name"]["any_"]) for route, body in asked if route == RUNS} == {("rollback",)}
    told = dict(asked)[CREATE]["parameters"]["alert"]
    assert (told["champion"], [one["name"] for one in told["alerts"]]) == ("3", ["ModelTurnedBad"])


def ended_run(number: int, outcome: str, end: datetime, tag: str) -> dict[str, Any]:
    moment = end.isoformat()
    return {
        "id": f"run-{number}", "created": moment, "start_time": moment, "end_time": moment,
        "state_type": "COMPLETED", "state_name": outcome, "tags": [tag],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "minutes"),
    [
        pytest.param(["TooFewLabels"], 15, id="once"),
        pytest.param(["NotPromoted", "TooFewLabels"], 60, id="twice"),
        pytest.param(["TooFewLabels"] * 3, 240, id="three times"),
        pytest.param(["TooFewLabels"] * 4, 960, id="four times"),
        pytest.param(["TooFewLabels"] * 9, 1440, id="a day at most"),
        pytest.param(["Accepted", "TooFewLabels"], 15, id="a conclusion counts as none"),
        pytest.param(["NotRolledBack"] * 2, 60, id="a rollback too"),
        pytest.param(["NotRolledBack"] * 9, 240, id="a rollback four hours at most"),
        pytest.param(["Failed", "NotPromoted", "NotPromoted"], 60, id="a failure counts as none"),
    ],
)
def test_an_alert_whose_runs_conclude_nothing_waits_longer(token_file: Path, outcomes: list[str], minutes: int) -> None:
    """Four times as long after each; the answer and the metrics say until when, and after how many runs."""
    tag = f"episode:{parse_notification(json.dumps(NOTIFICATION).encode()).episode('3')[:16]}"
    end = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes - 1)
    runs = [ended_run(i, name, end - timedelta(hours=i), tag) for i, name in enumerate(outcomes)]
    failed = sum(name in {"TooFewLabels", "NotPromoted", "NotRolledBack"} for name in outcomes)
    until = end + timedelta(minutes=minutes)
    answers = {**WELL, RUNS: (200, runs)}
    with servers(answers) as (base, asked):
        client = client_of(token_file, base)
        answer = post(client, NOTIFICATION).json
        detail = answer.pop("detail")
        assert answer == {"outcome": "cooldown", "until": until.isoformat(timespec="seconds"), "inconclusive": failed}
        assert ("could conclude nothing" in detail, "TRIGGER_COOLDOWN_SECONDS" in detail) == (failed > 1, failed <= 1)
        assert CREATE not in dict(asked)
        polled = poll(client)
        assert polled["flow_inconclusive_runs", "retrain"] == failed
        assert polled["flow_held_until_timestamp_seconds", "retrain"] == until.timestamp()
        for run in runs:
            run["end_time"] = run["start_time"] = run["created"] = (end - timedelta(minutes=2)).isoformat()
        assert post(client, NOTIFICATION).json["outcome"] == "accepted"


def test_notify_asks_for_no_retraining(token_file: Path, tmp_path: Path) -> None:
    """The servers are not asked for anything; a rollback is asked for as ever."""
    path = write_config(tmp_path, mode="notify")
    bad = {**NOTIFICATION["alerts"][0], "labels": {"alertname": "ModelTurnedBad", "action": "rollback"}}
    with servers({**WELL, "GET /api/deployments/name/rollback/on-alert": (200, {"id": "d-1"})}) as (base, asked):
        client = client_of(token_file, base, driftloop_config=path)
        answer = post(client, NOTIFICATION).json
        assert (answer["outcome"], "retrain.mode: auto" in answer["detail"]) == ("notified", True)
        assert not asked
        assert post(client, changed(alerts=[bad])).json["outcome"] == "accepted"
    assert series(client)["trigger_notifications_total", "notified"] == 1


def test_known_key_starts_nothing(token_file: Path) -> None:
    """200 from Prefect is known."""
    with servers({**WELL, CREATE: (200, RUN)}) as (base, _):
        client = client_of(token_file, base)
        assert post(client, NOTIFICATION).json["outcome"] == "known"
    assert series(client)["trigger_notifications_total", "known"] == 1


@pytest.mark.parametrize(
    ("answers", "status", "named"),
    [
        pytest.param({CHAMPION: (400, {"message": "alias champion not found"})}, 503, "MLflow", id="no champion yet"),
        pytest.param({CHAMPION: (500, {})}, 503, "MLflow", id="MLflow fails"),
        pytest.param({DEPLOYMENT: (404, {})}, 503, "Prefect", id="not served yet"),
        pytest.param({DEPLOYMENT: (401, {})}, 503, "Prefect", id="wrong credentials"),
        pytest.param({RUNS: (503, {})}, 503, "Prefect", id="Prefect fails"),
        pytest.param({CREATE: (500, {})}, 503, "Prefect", id="Prefect fails at the last step"),
        pytest.param({CREATE: (409, {"detail": "parameters"})}, 500, "409", id="parameters do not fit"),
    ],
)
def test_failure_of_a_server_is_a_5xx_so_that_alertmanager_tries_again(
    token_file: Path, answers: dict[str, tuple[int, Any]], status: int, named: str
) -> None:
    """Nothing is lost, and the failure is counted."""
    with servers({**WELL, **answers}) as (base, _):
        client = client_of(token_file, base)
        answer = post(client, NOTIFICATION)
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert named in answer.json["detail"]
    assert series(client)["trigger_notifications_total", "failed"] == 1


def test_unreachable_servers_are_a_503(token_file: Path) -> None:
    """Nobody listens there: Alertmanager shall try again."""
    answer = post(client_of(token_file), NOTIFICATION)
    assert answer.status_code == 503
    assert "cannot be reached" in answer.json["detail"]


def poll(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Ask Prefect and MLflow once, and return the series."""
    for each in client.application.extensions["upstreams"].polls:
        each.poll()
    return series(client)


def test_flow_states_disappear_when_prefect_cannot_be_read(token_file: Path) -> None:
    """A failed poll is counted and leaves no stale series; the trigger is then not ready."""
    ended = {
        **RUN,
        "state_type": "COMPLETED",
        "state_name": "Promoted",
        "start_time": "2026-11-23T13:00:01Z",
        "end_time": "2026-11-23T13:00:05Z",
    }
    answers = {RUNS: (200, [{**RUN, "id": "run-2"}, ended])}
    with servers(answers) as (base, _):
        client = client_of(token_file, base)
        polled = poll(client)
        assert polled["flow_last_run_state", "retrain", "SCHEDULED"] == 1
        assert polled["flow_last_run_state", "retrain", "FAILED"] == 0
        assert polled["flow_last_run_outcome", "retrain", "Scheduled"] == 1
        assert polled["flow_runs", "retrain", "COMPLETED"] == 1
        assert polled["flow_runs_waiting", "retrain"] == 1
        assert polled["flow_last_run_duration_seconds", "retrain"] == 4
        assert polled["flow_last_success_timestamp_seconds", "retrain"] == 1795438805
        assert polled["upstream_up", "prefect"] == 1
        assert client.get("/ready").status_code == 200
        answers[RUNS] = (500, {})
        after = poll(client)
    assert not [key for key in after if key[0].startswith("flow_")]
    assert after["trigger_poll_failures_total", "prefect"] == 1
    assert after["upstream_up", "prefect"] == 0
    assert client.get("/ready").status_code == 503
    assert client.get("/health").status_code == 200


def version(number: int, run_id: str, **tags: str) -> dict[str, Any]:
    pairs = [{"key": key, "value": value} for key, value in tags.items()]
    return {"version": str(number), "run_id": run_id, "creation_timestamp": 1_795_438_805_250, "tags": pairs}


def test_versions_disappear_when_mlflow_cannot_be_read(token_file: Path) -> None:
    """The series are those of the last poll; a run is asked for its metrics once, and a deleted run has none."""
    measured = {"run": {"data": {"metrics": [{"key": "gain", "value": 0.25}]}}}
    answers: dict[str, tuple[int, Any]] = {
        VERSIONS: (200, {"model_versions": [version(3, "r-3", gate="refused"), version(2, "r-2")]}),
        MODEL: (200, {"registered_model": {"aliases": [{"alias": "champion", "version": "2"}]}}),
        RUN_METRICS: (200, measured),
    }
    name = load_config("monitoring/config.yml").model.name
    with servers(answers) as (base, asked):
        client = client_of(token_file, base)
        poll(client)
        polled = poll(client)
        assert polled["mlflow_model_versions", name] == 3
        assert polled["mlflow_champion_version", name] == 2
        assert polled["mlflow_version_alias", "champion", name, "2"] == 1
        assert polled["mlflow_version_created_timestamp_seconds", "refused", name, "3"] == 1_795_438_805.25
        assert polled["mlflow_version_metric", "gain", name, "3"] == 0.25
        assert [route for route, _ in asked].count(RUN_METRICS) == 2
        answers[VERSIONS] = (200, {"model_versions": [version(4, "r-4")]})
        answers[RUN_METRICS] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
        assert not [key for key in poll(client) if key[0] == "mlflow_version_metric"]
        answers[VERSIONS] = (200, {})
        assert poll(client)["mlflow_model_versions", name] == 0
        answers[VERSIONS] = (503, {})
        after = poll(client)
    assert not [key for key in after if key[0].startswith("mlflow_")]
    assert after["upstream_up", "mlflow"] == 0


@pytest.mark.parametrize("content", [pytest.param(None, id="no file"), pytest.param(" \n", id="empty file")])
def test_start_without_a_token_is_refused(tmp_path: Path, content: str | None) -> None:
    """The error names the variable."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match="WEBHOOK_TOKEN_FILE"):
        client_of(path)


def test_start_without_the_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """WEBHOOK_TOKEN_FILE has no default."""
    monkeypatch.delenv("WEBHOOK_TOKEN_FILE", raising=False)
    with pytest.raises(ConfigError, match="WEBHOOK_TOKEN_FILE"):
        TriggerSettings.read()


@pytest.mark.parametrize(
    ("answer", "served"),
    [
        pytest.param((200, {"id": "d-1", "status": "READY"}), 1, id="a runner asks for runs"),
        pytest.param((200, {"id": "d-1", "status": "NOT_READY"}), 0, id="none does any more"),
        pytest.param((404, {}), 0, id="none ever did"),
    ],
)
def test_whether_a_runner_takes_runs_is_told(token_file: Path, answer: tuple[int, Any], served: int) -> None:
    """For each flow that an alert may ask for; Prefect answers all the same."""
    deployments = {f"GET /api/deployments/name/{flow}/on-alert": answer for flow in ("retrain", "rollback")}
    with servers({RUNS: (200, []), **deployments}) as (base, _):
        polled = poll(client_of(token_file, base))
    assert [polled["flow_runner_up", flow] for flow in ("retrain", "rollback")] == [served, served]
    assert ("flow_runner_up", "bootstrap") not in polled
    assert polled["upstream_up", "prefect"] == 1


def test_a_runner_that_cannot_be_asked_about_is_no_runner_that_is_gone(token_file: Path) -> None:
    """Prefect fails: that is UpstreamDown's to tell."""
    deployments = {f"GET /api/deployments/name/{flow}/on-alert": (500, {}) for flow in ("retrain", "rollback")}
    with servers({RUNS: (200, []), **deployments}) as (base, _):
        polled = poll(client_of(token_file, base))
    assert ("flow_runner_up", "retrain") not in polled
    assert polled["upstream_up", "prefect"] == 0


def test_a_busy_prefect_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same key; one that stays busy is named."""
    answers = {
        "GET /api/deployments/name/rollback/on-alert": (200, {"id": "d-1", "status": "READY"}),
        CREATE: (503, {"exception_message": "Service Unavailable"}),
        "GET /api/flow_runs/run-1": (200, {**RUN, "state_type": "COMPLETED", "state_name": "RolledBack"}),
    }
    waited: list[float] = []
    monkeypatch.setattr(prefect, "time", SimpleNamespace(sleep=waited.append))  # not of all threads
    with servers(answers) as (base, asked):
        settings = FlowSettings(prefect_api_url=f"{base}/api")
        with pytest.raises(UnavailableError, match="503"):
            request_run("rollback", settings, print)
        assert waited == list(prefect.BUSY_PAUSES)
        monkeypatch.setattr(prefect.time, "sleep", lambda _: answers.update({CREATE: (201, RUN)}))
        asked.clear()
        assert request_run("rollback", settings, print).state_name == "RolledBack"
    keys = [body["idempotency_key"] for route, body in asked if route == CREATE]
    assert len(keys) == 2
    assert len(set(keys)) == 1
