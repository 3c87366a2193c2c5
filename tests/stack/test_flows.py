"""Trigger, flows, Prefect and MLflow together, as real processes: from a notification to a re-based reference."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import requests
import yaml

from monitoring.contract.config_file import load_config
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference, write_reference
from tests.processes import ROOT, eventually, free_port
from tests.stack.flows_servers import COOLDOWN, Loop, Servers, now, serving, write_user_reference
from tests.stack.test_open_doors import FOREIGN_PAGES
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.models import write_config

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def loop(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with serving(servers, tmp_path_factory.mktemp("loop"), "wine") as found:
        yield found


def test_bootstrap_publishes_a_champion_and_fills_the_reference(loop: Loop) -> None:
    """The user's rows stay as they are and get predictions; the model is fetched as the API fetches it."""
    servers, reference = loop.servers, loop.reference()
    assert servers.newest_run("bootstrap")["state_name"] == "Promoted"
    assert servers.version_of("wine", "champion") == "1"
    assert (reference.origin, reference.model_version, reference.through) == ("user", "1", None)
    assert reference.table["acidity"].to_pylist() == draw_wine(300)["acidity"].to_pylist()
    assert reference.table["truth"].null_count == 20
    assert reference.table["guess"].null_count == 0
    guesses, truths = (np.array(reference.table[c].to_pylist()[20:]) for c in ("guess", "truth"))
    assert np.mean(guesses == truths) > 0.9

    uri = servers.registry("model-versions/get-download-uri", name="wine", version="1").json()["artifact_uri"]
    path = uri.removeprefix("mlflow-artifacts:/")
    model = requests.get(f"{servers.mlflow}/api/2.0/mlflow-artifacts/artifacts/{path}/model.onnx", timeout=10)
    session = onnxruntime.InferenceSession(model.content, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["classes"]) == ["red", "white"]
    assert json.loads(properties["features"]) == list(loop.config.model.features)
    labels, probabilities = session.run(["label", "probabilities"], {"features": np.full((2, 4), np.nan, np.float32)})
    assert (len(labels), probabilities.shape) == (2, (2, 2))


def test_second_bootstrap_changes_nothing(loop: Loop) -> None:
    """A restart finds everything in place."""
    before = loop.layout.reference.read_bytes()
    run = loop.servers.run_flow("bootstrap", **loop.variables)
    assert run["state_name"] == "Ready"
    assert loop.layout.reference.read_bytes() == before
    assert loop.servers.version_of("wine", "champion") == "1"


def test_alert_that_keeps_firing_is_known_then_held_then_tried_again_until_it_promotes(loop: Loop) -> None:
    """Too few labels end the first run without a candidate; with labels the repeated alert brings a champion."""
    servers, before = loop.servers, loop.reference()
    first = loop.notify("drift")
    assert first["outcome"] == "accepted"
    again = loop.notify("drift")
    assert (again["outcome"], again["flow_run_id"]) == ("known", first["flow_run_id"])
    ended = servers.ended_run(first["flow_run_id"])
    assert (ended["state_type"], ended["state_name"]) == ("COMPLETED", "TooFewLabels")
    assert "100 labelled rows are needed" in ended["state"]["message"]
    assert "Too few labels" in servers.artifact(ended["id"])
    assert servers.version_of("wine", "champion") == "1"
    held = loop.notify("drift")
    assert held["outcome"] == "cooldown"
    assert held["until"] > ended["end_time"]
    assert loop.notify("another alert")["outcome"] == "cooldown"

    write_log(loop.layout, loop.config, draw_wine(200, seed=1), start=now() - 900_000_000)
    _, newest = write_log(loop.layout, loop.config, draw_wine(400, shift=6, seed=2), start=now(), labels="late")
    second = loop.notify_until_accepted("drift")
    assert second["flow_run_id"] != first["flow_run_id"]
    ended = servers.ended_run(second["flow_run_id"])
    assert (ended["state_name"], ended["state_type"]) == ("Promoted", "COMPLETED"), ended["state"]["message"]

    assert servers.version_of("wine", "champion") == "2"
    assert servers.version_of("wine", "previous") == "1"
    tags = servers.tags("wine", "2")
    assert tags["gate"] == "passed"
    assert tags["flow_run_id"] == ended["id"]
    assert json.loads(tags["alert"])["alerts"][0]["fingerprint"] == "c0ffee"
    assert tags["reference_digest"] == before.digest
    assert json.loads(tags["log_parts"])["count"] == 1
    assert tags["serves_from"] > tags["promoted_at"] > ended["start_time"][:19]
    after = loop.reference()
    assert (after.origin, after.model_version, after.through) == ("rebased", "2", newest)
    assert after.table["acidity"].to_pylist() == draw_wine(400, shift=6, seed=2)["acidity"].to_pylist()
    assert np.mean(np.array(after.table["guess"].to_pylist()) == np.array(after.table["truth"].to_pylist())) > 0.9
    assert (loop.layout.root / "_references" / f"{before.digest}.parquet").exists()
    report = servers.artifact(ended["id"])
    assert "| accuracy |" in report
    assert "/#/models/wine/versions/2" in report
    newest, short, first = read_history(loop.layout)
    assert (newest.outcome, newest.flow_run_id, newest.version) == ("Promoted", ended["id"], "2")
    assert newest.asked is not None
    assert newest.asked.name == "ModelDrift"
    assert newest.champion is not None
    assert newest.candidate is not None
    assert newest.candidate.accuracy > newest.champion.accuracy
    assert newest.reference_digest == after.digest
    assert (short.outcome, short.version, short.reference_digest) == ("TooFewLabels", "1", before.digest)
    assert (first.flow, first.outcome, first.version) == ("bootstrap", "Promoted", "1")


def test_the_trigger_exports_the_runs_and_the_versions(loop: Loop) -> None:
    """What the real servers said last: the promotion, how long it took, and what the candidate measured."""

    def look() -> dict[str, float] | None:
        text = requests.get(f"{loop.trigger}/metrics", timeout=10).text
        found = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
        both = ('mlflow_champion_version{model="wine"}', 'flow_last_run_outcome{flow="retrain",outcome="Promoted"}')
        return found if [found.get(name) for name in both] == [2, 1] else None

    found = eventually("the promotion in the trigger's metrics", look, 120)
    assert found['flow_runs{flow="retrain",state="COMPLETED"}'] >= 2  # other files' models may run in this Prefect
    assert found['flow_runs_waiting{flow="retrain"}'] == 0
    assert 0 < found['flow_last_run_duration_seconds{flow="retrain"}'] < 200
    assert found['mlflow_model_versions{model="wine"}'] == 2
    assert found['mlflow_version_alias{alias="previous",model="wine",version="1"}'] == 1
    created = found['mlflow_version_created_timestamp_seconds{gate="passed",model="wine",version="2"}']
    assert created <= found['flow_last_success_timestamp_seconds{flow="retrain"}']
    assert found['mlflow_version_metric{metric="candidate_accuracy",model="wine",version="2"}'] > 0.9
    assert found['upstream_up{service="prefect"}'] == found['upstream_up{service="mlflow"}'] == 1


def test_an_alert_whose_runs_conclude_nothing_waits_longer(loop: Loop) -> None:
    """After the second run without labels four times as long as after the first, by Prefect's own record of them."""
    for _ in range(2):
        ended = loop.servers.ended_run(loop.notify_until_accepted("weary")["flow_run_id"])
        assert ended["state_name"] == "TooFewLabels"
    held = loop.notify("weary")
    assert (held["outcome"], held["inconclusive"]) == ("cooldown", 2)
    wait = datetime.fromisoformat(held["until"]) - datetime.fromisoformat(ended["end_time"])
    assert wait.total_seconds() == pytest.approx(4 * COOLDOWN, abs=2)
    found = 'flow_inconclusive_runs{flow="retrain"} 2.0'
    eventually("the runs in the metrics", lambda: found in requests.get(f"{loop.trigger}/metrics", timeout=10).text, 60)


def test_gate_refuses_a_candidate_that_gains_too_little(loop: Loop, tmp_path: Path) -> None:
    """It is registered for people to look at, and neither alias nor reference moves."""
    champion, before = loop.servers.version_of("wine", "champion"), loop.reference()
    write_log(loop.layout, loop.config, draw_wine(300, shift=6, seed=3), start=now(), writer="gate")
    strict = write_config(tmp_path, minimum_gain=0.9)
    run = loop.servers.run_flow("retrain", **{**loop.variables, "DRIFTLOOP_CONFIG": str(strict)})
    assert run["state_name"] == "NotPromoted", run["state"]["message"]
    candidate = str(int(champion or 0) + 1)
    assert loop.servers.tags("wine", candidate)["gate"] == "refused"
    assert loop.servers.version_of("wine", "champion") == champion
    assert loop.reference().digest == before.digest
    assert f"refused version {candidate}" in loop.servers.artifact(run["id"])


def test_run_after_one_that_was_cut_off_completes_its_publication(loop: Loop) -> None:
    """The alias had moved and the reference had not: the next run puts it into its place."""
    champion = loop.servers.version_of("wine", "champion")
    staged = Layout(loop.layout.root / "_references" / f"_next-{champion}")
    rows = draw_wine(50, seed=9)
    rows = rows.append_column("guess", rows["truth"])
    write_reference(staged, loop.config.model, rows, origin="rebased", model_version=champion, through=5)
    run = loop.servers.run_flow("retrain", **loop.variables)
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Rebased")
    assert "an alert that still fires asks for that by itself" in run["state"]["message"]
    assert loop.reference().through == 5
    assert not staged.root.exists()


def test_first_start_without_a_reference_draws_the_sample(servers: Servers, tmp_path: Path) -> None:
    """With the committed config, nothing else is needed; the sample's predictions are honest."""
    run = servers.run_flow("bootstrap", DATA_DIR=str(tmp_path))
    assert run["state_name"] == "Promoted", run["state"]["message"]
    model = load_config(ROOT / "monitoring/config.yml").model
    reference = read_reference(Layout(tmp_path), model)
    assert (reference.origin, reference.model_version) == ("sample", servers.version_of(model.name, "champion"))
    guesses, truths = (np.array(reference.table[c].to_pylist()) for c in (model.prediction, model.target))
    assert 0.4 < np.mean(guesses == truths) < 0.85


def test_changed_features_replace_no_champion(servers: Servers, tmp_path: Path) -> None:
    """A start fails on a champion that takes other features than the config; under another name it trains one.

    The log's rows are a former model's then: the new one is not judged by them.
    """
    path = write_config(tmp_path)
    settings = yaml.safe_load(path.read_text())
    settings["model"]["name"] = "cider"
    path.write_text(yaml.safe_dump(settings))
    config = load_config(path)
    variables = {"DATA_DIR": str(tmp_path / "data"), "DRIFTLOOP_CONFIG": str(path)}
    write_user_reference(Layout(tmp_path / "data"), config)
    servers.run_flow("bootstrap", **variables)
    _, newest = write_log(Layout(tmp_path / "data"), config, draw_wine(30))
    settings["model"]["features"].remove("density")
    path.write_text(yaml.safe_dump(settings))
    run = servers.run_flow("bootstrap", **variables)
    assert run["state_type"] == "FAILED"
    assert "A start replaces no champion" in run["state"]["message"]
    assert servers.version_of("cider", "champion") == "1"
    settings["model"]["name"] = "dry-cider"
    path.write_text(yaml.safe_dump(settings))
    run = servers.run_flow("bootstrap", **variables)
    assert run["state_name"] == "Promoted", run["state"]["message"]
    assert json.loads(servers.tags("dry-cider", "1")["features"]) == ["acidity", "sugar", "alcohol"]
    assert read_reference(Layout(tmp_path / "data"), load_config(path).model).through == newest


def test_reference_that_does_not_fit_stops_the_start(servers: Servers, tmp_path: Path) -> None:
    """`python -m flows serve` exits non-zero with the list of what does not fit, and registers nothing."""
    config = load_config(write_config(tmp_path))
    write_user_reference(Layout(tmp_path), config)
    path = write_config(tmp_path)
    path.write_text(path.read_text().replace("sugar", "salt").replace("name: wine", "name: misfit"))
    environment = servers.environment(DATA_DIR=str(tmp_path), DRIFTLOOP_CONFIG=str(path))
    command = [sys.executable, "-m", "flows", "serve"]
    stopped = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert stopped.returncode == 2
    assert "column salt is missing" in stopped.stdout
    assert servers.version_of("misfit", "champion") is None


def test_start_names_the_server_that_it_waits_for(tmp_path: Path, servers: Servers) -> None:
    """With nobody there it says so, and gives up when the time is up."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    environment = servers.environment(DATA_DIR=str(tmp_path), MLFLOW_TRACKING_URI=nowhere, FLOWS_WAIT_SECONDS="1")
    command = [sys.executable, "-m", "flows", "serve"]
    stopped = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert stopped.returncode == 2
    assert f"MLflow did not answer at {nowhere}" in stopped.stdout


@pytest.mark.parametrize("headers", FOREIGN_PAGES)
def test_a_foreign_page_cannot_use_mlflow(servers: Servers, headers: dict[str, str]) -> None:
    """It holds the alias by which the champion is chosen; it checks origins and names by itself."""
    answer = requests.post(
        f"{servers.mlflow}/api/2.0/mlflow/registered-models/create", json={"name": "a"}, headers=headers, timeout=30
    )
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
