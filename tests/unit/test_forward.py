"""An alert that goes on to the webhook of a user's own scheduler, in the place of Prefect's run."""

from datetime import UTC, datetime, timedelta
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.trigger import waiting
from flows.trigger.scheduler import Scheduler
from flows.trigger.waiting import wait_since
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from tests.processes import QuietHandler, serving
from tests.unit.models import write_config
from tests.unit.test_trigger import (
    CHAMPION,
    CREATE,
    NOTIFICATION,
    RUNS,
    WELL,
    changed,
    client_of,
    post,
    series,
    servers,
    token_file,
    with_alert,
)

__all__ = ["token_file"]  # a fixture

HOOK = "POST /hook"
WELL_FORWARDED: dict[str, tuple[int, Any]] = {CHAMPION: WELL[CHAMPION], HOOK: (202, {})}
NOW = datetime.now(UTC)
FIRING = with_alert(startsAt=(NOW - timedelta(minutes=1)).isoformat())
COOLDOWN = timedelta(hours=12)  # longer than the tests before these take


def forwarding(token_file: Path, base: str, **fields: Any) -> Any:
    """Return a client of a trigger that forwards to `/hook` of the servers."""
    path = write_config(token_file.parent, forward=f"{base}/hook?key=secret")
    given = {"trigger_cooldown_seconds": COOLDOWN.total_seconds(), **fields}
    return client_of(token_file, base, driftloop_config=path, **given)


def test_an_alert_is_forwarded_once_with_its_key(token_file: Path) -> None:
    """The scheduler is told of the alert, and gets the token; Prefect is not asked for anything."""
    token = token_file.parent / "theirs"
    token.write_text("their-token\n")
    with servers(WELL_FORWARDED) as (base, asked):
        client = forwarding(token_file, base, forward_token_file=token)
        first, again = post(client, FIRING).json, post(client, FIRING).json
    assert (first["outcome"], again["outcome"]) == ("forwarded", "known")
    assert again["until"] == first["until"] > NOW.isoformat()
    assert "the scheduler has this request" in again["detail"]
    sent = [body for route, body in asked if route == HOOK]
    assert len(sent) == 1
    assert (sent[0]["flow"], sent[0]["model"], sent[0]["attempt"]) == ("retrain", "wine", 1)
    assert sent[0]["alert"]["alerts"][0]["name"] == "ModelDrift"
    assert sent[0]["alert"]["champion"] == "3"
    assert len(sent[0]["idempotency_key"]) == 64
    assert {route for route, _ in asked} == {CHAMPION, HOOK}
    assert series(client)["trigger_notifications_total", "forwarded"] == 1


def test_an_alert_of_another_episode_waits_for_the_cooldown(token_file: Path) -> None:
    """As it does for a run's: an alert that flaps does not retrain each time."""
    other = with_alert(startsAt=(NOW - timedelta(seconds=5)).isoformat())
    with servers(WELL_FORWARDED) as (base, asked):
        client = forwarding(token_file, base)
        first, second = post(client, FIRING).json, post(client, other).json
    assert (first["outcome"], second["outcome"]) == ("forwarded", "cooldown")
    assert "TRIGGER_COOLDOWN_SECONDS" in second["detail"]
    assert second["until"] > NOW.isoformat()
    assert len([route for route, _ in asked if route == HOOK]) == 1


def test_a_trigger_that_was_started_anew_sends_the_same_key(token_file: Path) -> None:
    """Its scheduler knows it; a later wait of the alert, and another champion, have other keys."""
    later = with_alert(startsAt=(NOW - COOLDOWN - timedelta(minutes=20)).isoformat())
    with servers(WELL_FORWARDED) as (base, asked):
        for body in (FIRING, FIRING, later):
            assert post(forwarding(token_file, base), body).json["outcome"] == "forwarded"
        first, second, third = (body for route, body in asked if route == HOOK)
    assert first["idempotency_key"] == second["idempotency_key"] != third["idempotency_key"]
    assert (first["attempt"], third["attempt"]) == (1, 2)


def test_the_headers_carry_key_and_token() -> None:
    """As clients of other services expect them."""
    got: list[Any] = []

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["Idempotency-Key"], self.headers["Authorization"]))
            self.answer(200)

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as port:
        scheduler = Scheduler(f"http://127.0.0.1:{port}/hook", "their-token")
        assert scheduler.request("k", {}, NOW, timedelta()) == "forwarded"
        assert Scheduler(f"http://127.0.0.1:{port}/hook").request("k", {}, NOW, timedelta())
    assert got == [("k", "Bearer their-token"), ("k", None)]


@pytest.mark.parametrize(
    ("status", "answered", "outcome"),
    [
        pytest.param(200, 200, "forwarded", id="taken"),
        pytest.param(409, 200, "known", id="it has the request already"),
        pytest.param(500, 503, "failed", id="it fails"),
        pytest.param(401, 503, "failed", id="wrong token"),
        pytest.param(429, 503, "failed", id="too many"),
        pytest.param(400, 500, "failed", id="it does not understand"),
        pytest.param(302, 500, "failed", id="it is elsewhere"),
    ],
)
def test_what_the_scheduler_answers_is_told_to_alertmanager(
    token_file: Path, status: int, answered: int, outcome: str
) -> None:
    """5xx has it try again, and what failed is not taken for known; the address is shown without its key."""
    with servers({**WELL_FORWARDED, HOOK: (status, {"why": "so"})}) as (base, asked):
        client = forwarding(token_file, base)
        answer = post(client, FIRING)
        assert answer.status_code == answered
        if outcome == "failed":
            assert "the scheduler answered" in answer.json["detail"]
            assert "secret" not in answer.json["detail"]
            assert post(client, FIRING).status_code == answered
            assert len([route for route, _ in asked if route == HOOK]) == 2
    assert series(client)["trigger_notifications_total", outcome] == (2 if outcome == "failed" else 1)


def test_a_scheduler_that_cannot_be_reached_is_a_503(token_file: Path) -> None:
    """Alertmanager tries again."""
    with servers(WELL_FORWARDED) as (base, _):
        path = write_config(token_file.parent, forward="http://127.0.0.1:9/hook?key=secret")
        answer = post(client_of(token_file, base, driftloop_config=path), FIRING)
    assert answer.status_code == 503
    assert "cannot be reached at http://127.0.0.1:9/hook:" in answer.json["detail"]


def test_a_rollback_is_prefects_as_ever(token_file: Path) -> None:
    """The scheduler retrains, and nothing else."""
    bad = {**NOTIFICATION["alerts"][0], "labels": {"alertname": "ModelTurnedBad", "action": "rollback"}}
    answers = {**WELL, HOOK: (200, {}), "GET /api/deployments/name/rollback/on-alert": (200, {"id": "d-1"})}
    with servers(answers) as (base, asked):
        assert post(forwarding(token_file, base), changed(alerts=[bad])).json["outcome"] == "accepted"
    assert {CREATE, RUNS} <= {route for route, _ in asked}
    assert HOOK not in dict(asked)


@pytest.mark.parametrize(
    ("minutes", "number", "until"),
    [
        pytest.param(-5, 1, 15, id="a clock that is behind"),
        pytest.param(0, 1, 15, id="at once"),
        pytest.param(15, 2, 75, id="after the cooldown"),
        pytest.param(75, 3, 315, id="after an hour more"),
        pytest.param(315, 4, 1275, id="after four hours more"),
        pytest.param(1275, 5, 2715, id="after sixteen hours more"),
        pytest.param(2715, 6, 4155, id="after a day more"),
        pytest.param(2715 + 1440 * 700_000, 700_006, 4155 + 1440 * 700_000, id="for thousands of years"),
    ],
)
def test_waits_follow_each_other_and_grow(minutes: int, number: int, until: int) -> None:
    """As those of the flow do; each ends where the next begins."""
    start = datetime(1, 1, 1, tzinfo=UTC) + timedelta(days=1)
    now = start + timedelta(minutes=minutes)
    assert wait_since(start, timedelta(minutes=15), now) == (number, start + timedelta(minutes=until))


def test_a_cooldown_of_none_is_a_minute() -> None:
    """Else each notification would be a wait of its own."""
    assert wait_since(NOW, timedelta(0), NOW) == (1, NOW + waiting.SHORTEST)


@pytest.mark.parametrize(
    ("retrain", "reason"),
    [
        pytest.param({"forward": "scheduler/hook"}, "forward", id="no URL"),
        pytest.param({"forward": "file:///etc/passwd"}, "forward", id="another scheme"),
        pytest.param({"forward": "http://h/x", "mode": "notify"}, "with mode notify they start none", id="notify"),
    ],
)
def test_a_webhook_that_cannot_be_one_is_told_at_the_start(
    tmp_path: Path, retrain: dict[str, Any], reason: str
) -> None:
    """By its key."""
    with pytest.raises(ConfigError, match=f"retrain.*{reason}"):
        load_config(write_config(tmp_path, **retrain))


def test_a_token_that_is_not_there_stops_the_start(token_file: Path) -> None:
    """By the variable."""
    with pytest.raises(ConfigError, match="FORWARD_TOKEN_FILE"):
        forwarding(token_file, "http://127.0.0.1:9", forward_token_file=token_file.parent / "none")
