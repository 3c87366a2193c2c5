"""The receivers for people, switched on as the comments say: real Alertmanager, real SMTP, real HTTP."""

import json
import re
import shutil
import socketserver
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from monitoring.contract.config_file import load_config
from scripts.prometheus_tools import find_tools
from tests.processes import ROOT, serving

COMMITTED = (ROOT / "alertmanager/alertmanager.yml").read_text()
RULES = [
    rule
    for path in sorted((ROOT / "monitoring/alert_rules").glob("*_alerts.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RULE = next(rule for rule in RULES if rule.get("alert") == "MFCCFeatureDrift")
FEATURES = load_config(ROOT / "monitoring/config.yml").model.features


class Inbox(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it is given, and how its client logged in."""

    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _SMTP)
        self.logins: list[str] = []
        self.mails: list[str] = []


class _SMTP(socketserver.StreamRequestHandler):
    server: Inbox

    def handle(self) -> None:
        self.say("220 inbox")
        while line := self.rfile.readline().decode().strip():
            match line.split()[0].upper():
                case "EHLO":
                    self.say("250-inbox\r\n250 AUTH PLAIN")
                case "AUTH":
                    self.server.logins.append(line)
                    self.say("235 welcome")
                case "DATA":
                    self.say("354 go on")
                    self.server.mails.append(self.mail())
                    self.say("250 kept")
                case "QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 fine")

    def mail(self) -> str:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.decode())
        return "".join(lines)

    def say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Slack(ThreadingHTTPServer):
    """Takes Slack's webhook."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Webhook)
        self.messages: list[tuple[str, dict[str, Any]]] = []


class _Webhook(BaseHTTPRequestHandler):
    server: Slack

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.messages.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
        pass


def switched_on(folder: Path, smtp: int, slack: int) -> Path:
    """Uncomment both receivers; secrets and servers are the test's."""
    (folder / "smtp_password").write_text("pa55")
    (folder / "slack_webhook_url").write_text(f"http://127.0.0.1:{slack}/services/T0/B0/x")
    (folder / "webhook_token").write_text("token")
    before, people, after = re.split("(  - name: people\n.*?)(?=  - name:)", COMMITTED, flags=re.DOTALL)
    people = re.sub("^    # ", "    ", people, flags=re.MULTILINE)
    text = (before + people + after).replace("/run/secrets", str(folder))
    text = re.sub(r"smarthost: .*", f"smarthost: 127.0.0.1:{smtp}\n        require_tls: false", text)
    text = re.sub(r"group_interval: \w+", "group_interval: 1s", text)
    text = re.sub(r"group_wait: \w+", "group_wait: 3s", text)  # for all features to come together on a busy machine
    shutil.copytree(ROOT / "alertmanager/templates", folder / "templates")
    path = folder / "alertmanager.yml"
    path.write_text(text)
    return path


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[tuple[str, Inbox, Slack]]:
    inbox, slack = Inbox(), Slack()
    with serving(inbox) as smtp, serving(slack) as http, socketserver.TCPServer(("127.0.0.1", 0), _SMTP) as probe:
        port = probe.server_address[1]
        probe.server_close()
        config = switched_on(tmp_path, smtp, http)
        command = [
            str(find_tools().alertmanager),
            f"--config.file={config}",
            f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}", inbox, slack
        finally:
            process.terminate()
            process.wait(10)


def alerts(started: datetime, ended: datetime | None = None, **annotations: str) -> list[dict[str, Any]]:
    """Return what Prometheus sends for the mission's rule: an alert per feature, the first with a value of its own."""
    times = {"startsAt": started.isoformat(), **({"endsAt": ended.isoformat()} if ended else {})}
    return [
        {
            "labels": {"alertname": RULE["alert"], "severity": "warning", "job": "monitor", "feature": feature},
            "annotations": {
                **RULE["annotations"],
                "description": f"Feature {feature} shows drift (p-value: 0.00{number})",
                **annotations,
            },
            **times,
        }
        for number, feature in enumerate(FEATURES)
    ]


def post_until(url: str, body: list[dict[str, Any]], seen: Callable[[], bool], log: Path) -> None:
    deadline, posted = time.monotonic() + 40, False
    while not seen():
        assert time.monotonic() < deadline, log.read_text()
        with suppress(requests.ConnectionError):
            posted = posted or requests.post(f"{url}/api/v2/alerts", json=body, timeout=5).ok
        time.sleep(0.1)


def parts_of(mail: str) -> tuple[str, str, str]:
    """Return a mail's subject, its text and its HTML."""
    message = message_from_string(mail, policy=policy.default)
    assert message["To"] == "on-call@example.com"
    found = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
    return message["Subject"], found["text/plain"], found["text/html"]


def test_all_features_of_an_alert_are_one_message_that_one_can_act_on(
    alertmanager: tuple[str, Inbox, Slack], tmp_path: Path
) -> None:
    """One mail and one message in Slack name every feature, value, threshold, time and link; so do those of the end."""
    url, inbox, slack = alertmanager
    started = datetime.now(UTC) - timedelta(minutes=7)
    post_until(url, alerts(started), lambda: bool(inbox.mails and slack.messages), tmp_path / "log")
    subject, text, html = parts_of(inbox.mails[0])
    assert subject == f"[FIRING ({len(FEATURES)})] MFCCFeatureDrift: {RULE['annotations']['summary']}"
    (path, message), shown = slack.messages[0], slack.messages[0][1]["attachments"][0]
    assert path == "/services/T0/B0/x"
    assert (message["channel"], shown["title"]) == ("#ml-alerts", subject)
    for said in (text, unescape(html), unescape(shown["text"])):
        for alert in alerts(started):
            assert alert["annotations"]["description"] in said
        assert "threshold: p-value < 0.05" in said
        assert f"{started:%Y-%m-%d %H:%M:%S UTC}" in said
        assert ", ".join(sorted(FEATURES)) in said
    links = [RULE["annotations"]["dashboard_url"], RULE["annotations"]["runbook_url"], "http://localhost:8000/report"]
    assert [action["url"] for action in shown["actions"]] == links
    for link in (*links, "/#/alerts?receiver=people"):
        assert link in text
        assert link in unescape(html)
    assert not re.search(r"<(img|script|link)\b|src=", html)

    ended = datetime.now(UTC)
    post_until(url, alerts(started, ended), lambda: len(inbox.mails) > 1 and len(slack.messages) > 1, tmp_path / "log")
    assert (len(inbox.mails), len(inbox.logins), len(slack.messages)) == (2, 2, 2)
    subject, text, html = parts_of(inbox.mails[1])
    assert subject.startswith("[RESOLVED] MFCCFeatureDrift")
    for said in (text, unescape(html), unescape(slack.messages[1][1]["attachments"][0]["text"])):
        assert RULE["annotations"]["resolved"] in said
    assert f"until {ended:%Y-%m-%d %H:%M:%S UTC}: 7m" in text


def test_what_a_client_sent_stays_text(alertmanager: tuple[str, Inbox, Slack], tmp_path: Path) -> None:
    """Markup in a name is shown as it is: neither HTML in the mail nor a link or a mention in Slack."""
    url, inbox, slack = alertmanager
    nasty = "<script>alert(1)</script> <!channel> & more"
    body = alerts(datetime.now(UTC), description=nasty)
    post_until(url, body, lambda: bool(inbox.mails and slack.messages), tmp_path / "log")
    _, text, html = parts_of(inbox.mails[0])
    assert nasty in text
    assert nasty in unescape(html)
    assert "<script>" not in html
    shown = slack.messages[0][1]["attachments"][0]["text"]
    assert "&lt;script&gt;" in shown
    assert "<!channel>" not in shown


def test_an_alert_without_a_description_says_its_value(alertmanager: tuple[str, Inbox, Slack], tmp_path: Path) -> None:
    """As the mission has it for missing values; with neither of them a message says the summary."""
    url, inbox, slack = alertmanager
    (rule,) = [rule for rule in RULES if rule.get("alert") == "DataQualityIssue"]
    labels = {"alertname": rule["alert"], "severity": "critical", "job": "monitor"}
    notes = {**rule["annotations"], "value": "101 missing values"}
    bare = {name: text for name, text in notes.items() if name != "value"}
    body = [
        {"labels": {**labels, "instance": str(number)}, "annotations": annotations}
        for number, annotations in enumerate((notes, bare))
    ]
    post_until(url, body, lambda: bool(inbox.mails and slack.messages), tmp_path / "log")
    subject, text, html = parts_of(inbox.mails[0])
    assert subject == f"[FIRING (2)] DataQualityIssue: {notes['summary']}"
    for said in (text, unescape(html), unescape(slack.messages[0][1]["attachments"][0]["text"])):
        assert "101 missing values, threshold: 100" in said
        assert f"{notes['summary']}, threshold: 100" in said
        assert "<no value>" not in said
