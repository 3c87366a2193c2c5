"""The receivers for people, switched on as the comments say: real Alertmanager, real SMTP, real HTTP."""

import json
import re
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email import message_from_string, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.prometheus_tools import find_tools

ROOT = Path(__file__).parents[2]
COMMITTED = (ROOT / "alertmanager/alertmanager.yml").read_text()
ALERT = {"alertname": "MonitorStale", "severity": "critical", "job": "monitor"}


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


@contextmanager
def serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def switched_on(folder: Path, smtp: int, slack: int) -> Path:
    """Uncomment both receivers; secrets and servers are the test's."""
    (folder / "smtp_password").write_text("pa55")
    (folder / "slack_webhook_url").write_text(f"http://127.0.0.1:{slack}/services/T0/B0/x")
    (folder / "webhook_token").write_text("token")
    before, people, after = re.split("(  - name: people\n.*?)(?=  - name:)", COMMITTED, flags=re.DOTALL)
    people = re.sub("^    # ", "    ", people, flags=re.MULTILINE)
    text = (before + people + after).replace("/run/secrets", str(folder))
    text = re.sub(r"smarthost: .*", f"smarthost: 127.0.0.1:{smtp}\n        require_tls: false", text)
    text = re.sub(r"group_wait: \w+", "group_wait: 1s", text)
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


def test_an_alert_reaches_mail_and_slack(alertmanager: tuple[str, Inbox, Slack], tmp_path: Path) -> None:
    """With both receivers uncommented and their secrets in files, one alert arrives once in each, with its text."""
    url, inbox, slack = alertmanager
    annotations = {"summary": "The figures are old", "description": "400 s, threshold 300 s"}
    alert = {"labels": ALERT, "annotations": annotations, "startsAt": datetime.now(UTC).isoformat()}
    deadline = time.monotonic() + 40
    posted = False
    while not (inbox.mails and slack.messages):
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        with suppress(requests.ConnectionError):
            posted = posted or requests.post(f"{url}/api/v2/alerts", json=[alert], timeout=5).ok
        time.sleep(0.1)
    mail = message_from_string(inbox.mails[0], policy=policy.default)
    assert mail["To"] == "on-call@example.com"
    assert "MonitorStale" in mail["Subject"]
    assert any(
        "threshold 300 s" in part.get_content() for part in mail.walk() if part.get_content_type() == "text/html"
    )
    assert len(inbox.logins) == 1
    path, message = slack.messages[0]
    assert path == "/services/T0/B0/x"
    assert (message["channel"], len(slack.messages)) == ("#ml-alerts", 1)
    assert "MonitorStale" in message["attachments"][0]["title"]
