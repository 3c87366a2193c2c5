"""Flows and trigger of many models: runs bear the model's name, and one model's runs hold off none of another's."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.clients.prefect import Prefect
from flows.first_starts import FirstStarts
from flows.settings import FlowSettings
from flows.watched_models import watched_model
from monitoring.contract.errors import ConfigError
from monitoring.contract.model_folder import ModelFolder
from tests.unit.models import WINE
from tests.unit.test_trigger import CREATE, RUN, RUNS, WELL, changed, client_of, post, series, servers, with_alert

DEPLOYED = "GET /api/deployments/name/bootstrap/on-alert"


@pytest.fixture(name="folder")
def config_folder(tmp_path: Path) -> Path:
    """Return a folder of two models, and a file that is none."""
    (tmp_path / "models").mkdir()
    for name in ("red", "white"):
        write(tmp_path / "models", name)
    (tmp_path / "models/broken.yml").write_text("model: [")
    return tmp_path / "models"


def write(folder: Path, name: str, **changes: Any) -> None:
    content = {**WINE, **changes, "model": {**WINE["model"], "name": name}}
    (folder / f"{name}.yml").write_text(yaml.safe_dump(content))


def about(model: str | None, action: str = "retrain") -> dict[str, Any]:
    labels = {"alertname": "ModelDrift", "action": action}
    return with_alert(labels=labels if model is None else {**labels, "model": model})


@pytest.fixture(name="token_file")
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("a-token-for-tests\n")
    return tmp_path / "token"


def test_an_alert_starts_a_run_of_its_own_model(folder: Path, token_file: Path) -> None:
    """The run has the model's name as parameter and tag, and only runs of that model are looked at."""
    with servers(WELL) as (base, asked):
        client = client_of(token_file, base, driftloop_config=folder)
        assert post(client, about("white")).json["outcome"] == "accepted"
    created = next(body for route, body in asked if route == CREATE)
    assert created["parameters"]["model"] == "white"
    assert "model:white" in created["tags"]
    looked = [body["flow_runs"]["tags"]["all_"] for route, body in asked if route == RUNS]
    assert ["model:white"] in looked


def test_another_models_run_holds_nothing_off(folder: Path, token_file: Path) -> None:
    """Prefect answers by tags; the cooldown of one model's run is none of the other's."""
    ended = {**RUN, "state_type": "COMPLETED", "state_name": "Promoted", "tags": ["model:red"]}

    def runs(body: dict[str, Any]) -> list[Any]:
        wanted = body["flow_runs"].get("tags", {}).get("all_", [])
        return [ended] if wanted == ["model:red"] else []

    with servers({**WELL, RUNS: (200, runs)}) as (base, _):
        settings = {"driftloop_config": folder, "trigger_cooldown_seconds": 1e9}
        client = client_of(token_file, base, **settings)
        assert post(client, about("red")).json["outcome"] == "cooldown"
        assert post(client, about("white")).json["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        pytest.param("gone", "is about gone, of which no file can be used; the models are red, white", id="removed"),
        pytest.param(None, "bears no label `model`; the models are red, white", id="no label"),
    ],
)
def test_an_alert_about_no_model_is_ignored_and_says_so(
    folder: Path, token_file: Path, model: str | None, says: str
) -> None:
    """A model that was removed may still have an alert; nobody else is retrained for it."""
    with servers(WELL) as (base, asked):
        answer = post(client_of(token_file, base, driftloop_config=folder), about(model)).json
    assert answer["outcome"] == "ignored"
    assert says in answer["detail"]
    assert not [route for route, _ in asked if route == CREATE]


def test_models_come_change_and_go_without_a_restart(folder: Path, token_file: Path) -> None:
    """`retrain.mode: notify` of one model's file holds from the next notification on, and for it alone."""
    with servers(WELL) as (base, _):
        client = client_of(token_file, base, driftloop_config=folder)
        assert post(client, about("rose")).json["outcome"] == "ignored"
        write(folder, "rose", retrain={**WINE["retrain"], "mode": "notify"})
        assert post(client, about("rose")).json["outcome"] == "notified"
        assert post(client, about("red")).json["outcome"] == "accepted"
        (folder / "rose.yml").unlink()
        assert post(client, about("rose")).json["outcome"] == "ignored"


def test_metrics_tell_the_models_apart(folder: Path, token_file: Path) -> None:
    """The newest run of one hides no other's failure; a model without versions is there."""
    failed = {**RUN, "id": "run-2", "state_type": "FAILED", "state_name": "Failed", "tags": ["model:red"]}
    fine = {**RUN, "state_type": "COMPLETED", "state_name": "Promoted", "tags": ["model:white"]}
    with servers({**WELL, RUNS: (200, [fine, failed])}) as (base, _):
        client = client_of(token_file, base, driftloop_config=folder)
        client.application.extensions["upstreams"].prefect.poll()
        found = series(client)
    assert found["flow_last_run_state", "retrain", "red", "FAILED"] == 1
    assert found["flow_last_run_state", "retrain", "white", "FAILED"] == 0
    assert found["flow_runs", "retrain", "white", "COMPLETED"] == 1


def test_many_runs_of_one_model_push_no_failure_of_another_out(folder: Path, token_file: Path) -> None:
    """Prefect tells the newest 200 of all; of a model with few among them its own are asked for."""
    failed = {**RUN, "id": "run-2", "state_type": "FAILED", "state_name": "Failed", "tags": ["model:red"]}
    fine = {**RUN, "state_type": "COMPLETED", "state_name": "Promoted", "tags": ["model:white"]}

    def runs(body: dict[str, Any]) -> list[Any]:
        wanted = body["flow_runs"].get("state", {}).get("type", {}).get("any_", ["COMPLETED", "FAILED"])
        tags = body["flow_runs"].get("tags", {}).get("all_", [])
        found = [run for run in [fine] * 300 + [failed] if run["state_type"] in wanted and {*tags} <= {*run["tags"]}]
        return found[: body["limit"]]

    with servers({**WELL, RUNS: (200, runs)}) as (base, _):
        client = client_of(token_file, base, driftloop_config=folder)
        client.application.extensions["upstreams"].prefect.poll()
        found = series(client)
    assert found["flow_last_run_state", "retrain", "red", "FAILED"] == 1
    assert found["flow_last_run_state", "retrain", "white", "COMPLETED"] == 1


def test_a_run_is_about_the_model_that_it_names(folder: Path, tmp_path: Path) -> None:
    """Its files lie in its folder; what is wrong is said with the names that there are, and the faults."""
    settings = FlowSettings(driftloop_config=folder, data_dir=tmp_path / "data")
    found = watched_model(settings, "red")
    assert (found.config.model.name, found.path) == ("red", folder / "red.yml")
    assert found.layout.root == tmp_path / "data/red"
    with pytest.raises(ConfigError, match="say which one: red, white"):
        watched_model(settings)
    with pytest.raises(ConfigError, match=r"(?s)no usable file is about the model broken; .*broken\.yml"):
        watched_model(settings, "broken")
    alone = FlowSettings(driftloop_config=folder / "red.yml", data_dir=tmp_path / "data")
    assert watched_model(alone).layout.root == tmp_path / "data"
    with pytest.raises(ConfigError, match="is about the model red, not about white"):
        watched_model(alone, "white")


class Clock:
    """Seconds that only tests let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_model_is_started_once_and_again_when_its_file_changes(folder: Path) -> None:
    """A run of `bootstrap` each; comments change nothing, and a file that comes back is a new one."""
    state = {"state_type": "COMPLETED", "state_name": "Ready"}
    answers = {DEPLOYED: (200, {"id": "d-1"}), CREATE: (201, RUN), RUNS: (200, [])}
    with servers({**answers, "GET /api/flow_runs/run-1": (200, {**RUN, **state})}) as (base, asked):
        starts = FirstStarts(Prefect(f"{base}/api"), ModelFolder(folder))

        def look() -> list[str]:
            before = len(asked)
            starts.look()
            return sorted(body["parameters"]["model"] for route, body in asked[before:] if route == CREATE)

        assert look() == ["red", "white"]
        assert look() == []
        (folder / "red.yml").write_text((folder / "red.yml").read_text() + "# a comment\n")
        write(folder, "white", minimum_rows=101)
        write(folder, "rose")
        assert look() == ["rose", "white"]
        kept = (folder / "rose.yml").rename(folder / "away")
        assert look() == []
        kept.rename(folder / "rose.yml")
        assert look() == ["rose"]
        keys = [body["idempotency_key"] for route, body in asked if route == CREATE]
    assert len(set(keys)) == 5


def test_a_first_start_that_fails_is_asked_for_again(folder: Path) -> None:
    """After a while; and none is asked for where one waits already."""
    failed = {**RUN, "state_type": "FAILED", "state_name": "Failed"}
    waiting: list[Any] = []
    answers = {DEPLOYED: (200, {"id": "d-1"}), CREATE: (201, RUN), RUNS: (200, lambda _: waiting)}
    clock = Clock()
    with servers({**answers, "GET /api/flow_runs/run-1": (200, failed)}) as (base, asked):
        starts = FirstStarts(Prefect(f"{base}/api"), ModelFolder(folder), clock)

        def requests() -> int:
            return sum(route == CREATE for route, _ in asked)

        starts.look()
        assert requests() == 2
        starts.look()
        starts.look()
        assert requests() == 2
        clock.now = 31
        starts.look()
        assert requests() == 4
        starts.look()
        clock.now = 62
        starts.look()
        assert requests() == 4
        clock.now = 100
        waiting.append(RUN)
        starts.look()
        assert requests() == 4


def test_a_typo_or_a_folder_that_is_away_stops_no_retraining(folder: Path, token_file: Path) -> None:
    """The model goes on by what its file said before; after a restart its alert is ignored, and the answer says why."""
    with servers(WELL) as (base, _):
        client = client_of(token_file, base, driftloop_config=folder)
        assert post(client, about("red")).json["outcome"] == "accepted"
        (folder / "red.yml").write_text("model: [")
        assert post(client, about("red")).json["outcome"] == "accepted"
        away = folder.rename(folder.with_name("away"))
        assert post(client, about("white")).json["outcome"] == "accepted"
        away.rename(folder)
        anew = client_of(token_file, base, driftloop_config=folder)
        assert post(anew, about("red")).json["outcome"] == "ignored"


def test_a_group_about_several_models_serves_each(folder: Path, token_file: Path) -> None:
    """Somebody's own Alertmanager may not group by the model; one that is gone holds up no other."""
    alerts = [about(name)["alerts"][0] for name in ("gone", "red", "white")]
    with servers(WELL) as (base, asked):
        answer = post(client_of(token_file, base, driftloop_config=folder), changed(alerts=alerts)).json
    assert [answer["outcome"], *(one["outcome"] for one in answer["others"])] == ["ignored", "accepted", "accepted"]
    created = [body for route, body in asked if route == CREATE]
    assert [body["parameters"]["model"] for body in created] == ["red", "white"]
    assert created[0]["idempotency_key"] != created[1]["idempotency_key"]
