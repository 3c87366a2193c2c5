"""Named API keys: what each opens, who has used it, and how one is taken away while the API runs."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from flask import Flask
from werkzeug.test import TestResponse

from api.keys import hashed
from api.settings import APISettings
from monitoring.contract.config_file import load_config
from monitoring.contract.errors import ConfigError
from tests.processes import ROOT
from tests.unit.api_fixtures import features_of, keep_champion, running, settings
from tests.unit.models import write_config

WEB, LABELLER = "key-of-web", "key-of-labeller"
LINES = {"web": f"web predict,log {hashed(WEB)}\n", "labeller": f"labeller feedback {hashed(LABELLER)}  # ours\n"}


@pytest.fixture
def chosen(tmp_path: Path) -> APISettings:
    config = write_config(tmp_path)
    keep_champion(tmp_path, load_config(config))
    (tmp_path / "single").write_text("the-single-key\n")
    (tmp_path / "keys").write_text("".join(LINES.values()))
    return settings(tmp_path, config, api_key_file=tmp_path / "single", api_keys_file=tmp_path / "keys")


@pytest.fixture
def app(chosen: APISettings) -> Iterator[Flask]:
    with running(chosen) as app:
        yield app


def post(app: Flask, path: str, body: Any, key: str | None) -> TestResponse:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return app.test_client().post(path, json=body, headers=headers)


def row(chosen: APISettings, **more: str) -> dict[str, Any]:
    return {"features": features_of(load_config(chosen.driftloop_config)), **more}


def test_each_key_opens_its_scopes_and_no_other(app: Flask, chosen: APISettings) -> None:
    """Without a key and with a wrong one it is 401; with one that has another scope 403, which names what is needed."""
    body = row(chosen)
    statuses = [post(app, "/predict", body, key).status_code for key in (None, "wrong", WEB, "the-single-key")]
    assert statuses == [401, 401, 200, 200]
    label = {"prediction_id": post(app, "/predict", body, WEB).json["prediction_id"], "truth": "red"}
    refused = [post(app, "/feedback", label, WEB), post(app, "/predict", body, LABELLER)]
    assert [(answer.status_code, answer.json["reason"]) for answer in refused] == [(403, "scope")] * 2
    assert "the scope feedback; that of web has log, predict" in refused[0].json["detail"]
    assert "POST /predict takes a key with the scope predict" in refused[1].json["detail"]
    assert post(app, "/feedback", label, LABELLER).status_code == 200
    assert [post(app, "/log/cloudevents", {}, key).status_code for key in (LABELLER, WEB)] == [403, 422]


def test_a_key_that_may_not_label_sends_no_label_with_its_rows(app: Flask, chosen: APISettings) -> None:
    """A row may bring its label; that takes the scope of labels, on either endpoint, and nothing is logged without."""
    labelled = row(chosen, truth="red")
    sent = {"rows": [{**labelled, "guess": "red", "prediction_id": "one"}]}
    for path, body in (("/predict", labelled), ("/log", sent)):
        refused = post(app, path, body, WEB)
        assert (refused.status_code, "the scope feedback" in refused.json["detail"]) == (403, True)
        assert post(app, path, body, "the-single-key").status_code == 200


def test_a_key_is_given_and_taken_away_while_it_runs(app: Flask, chosen: APISettings) -> None:
    """The file counts as it is: a line that is gone or broken opens nothing from then on, one that is new does."""
    file, body = chosen.data_dir / "keys", row(chosen)

    def opened() -> list[int]:
        return [post(app, "/predict", body, key).status_code for key in (WEB, "new", "the-single-key")]

    assert opened() == [200, 401, 200]
    file.write_text(f"{LINES['labeller']}new predict {hashed('new')}\n")
    assert opened() == [401, 200, 200]
    file.write_text(f"{LINES['web']}new everything {hashed('new')}\n")
    assert opened() == [200, 401, 200]
    file.unlink()
    assert opened() == [401, 401, 200]


def test_the_log_says_whose_key_it_was(app: Flask, chosen: APISettings) -> None:
    """Every request is a line with the name of its key, also where that does not open it; of none for a 401."""
    with structlog.testing.capture_logs() as lines:
        for key in (WEB, LABELLER, "the-single-key", "wrong"):
            post(app, "/predict", row(chosen), key)
    told = [(line["key"], line["endpoint"], line["status"]) for line in lines if line["event"] == "request"]
    assert told == [
        ("web", "predict", 200), ("labeller", "predict", 403), ("api_key", "predict", 200), (None, "predict", 401)
    ]  # fmt: skip
    assert not any(key in str(lines) for key in (WEB, LABELLER, "the-single-key", "wrong"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(None, "cannot be read", id="absent"),
        pytest.param("web predict\n", "line 1: takes NAME SCOPE,SCOPE SHA256", id="without a hash"),
        pytest.param(f"# ours\nweb admin {hashed('x')}\n", "line 2: takes NAME", id="another scope"),
        pytest.param(f"a log {hashed('x')}\nb log {hashed('x')}\n", "each hash once", id="one key for two"),
        pytest.param(f"w=b log {hashed('x')}\n", "line 1", id="no name"),
        pytest.param("web predict key-in-the-clear\n", "line 1", id="a key that is not hashed"),
        pytest.param("wäb", "cannot be read", id="not ASCII"),
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, content: str | None, says: str) -> None:
    """What is wrong is named by its line; what stands there is not repeated, for it may be a key."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=f"API_KEYS_FILE = {path}: .*{says}") as raised:
        APISettings(data_dir=tmp_path, api_keys_file=path).read_keys()
    assert "key-in-the-clear" not in str(raised.value)


def test_the_command_makes_a_key_and_its_line(tmp_path: Path) -> None:
    """The line goes into the file as it is printed; the key opens what was asked for."""
    done = subprocess.run(
        [sys.executable, "-m", "api.keys", "web", "predict", "log"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    key, line = (text.partition(": ")[2].strip() for text in done.stdout.splitlines())
    (tmp_path / "keys").write_text(line)
    keys = APISettings(data_dir=tmp_path, api_keys_file=tmp_path / "keys").read_keys()
    assert keys is not None
    assert keys.find(key) == ("web", {"predict", "log"}, None)
    assert keys.find("another") is None
