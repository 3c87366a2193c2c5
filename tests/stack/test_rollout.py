"""A candidate on trial in the shadow: the loop closes over API, monitor, trigger, flows, Prefect and MLflow."""

import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from monitoring.contract.history import read_history
from monitoring.contract.trial import OF_TRIAL
from tests.processes import answers, eventually, free_port, process
from tests.stack.flows_servers import Loop, Servers, now, serving
from tests.unit.api_fixtures import gunicorn
from tests.unit.flows_fixtures import draw_wine, write_log

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]  # MLflow's client, not ours
MODEL = "madeira"


def asked(loop: Loop, name: str) -> dict[str, Any]:
    """Notify the trigger until it starts a run, and return the run's end."""

    def look() -> str | None:
        answer = loop.notify(name, name)
        return answer["flow_run_id"] if answer["outcome"] == "accepted" else None

    return loop.servers.ended_run(eventually("a run after the cooldown", look, 120))


def test_a_candidate_answers_in_the_shadow_and_is_promoted_by_labels(servers: Servers, tmp_path: Path) -> None:
    """The champion answers until labels have decided; then the challenger is champion, with a reference of its own."""
    with serving(servers, tmp_path, MODEL, rollout="shadow") as loop:
        drifted = draw_wine(400, shift=6.0, seed=1)
        write_log(loop.layout, loop.config, drifted, start=now(), writer="drifted")
        run = asked(loop, "ModelDrift")
        assert run["state_name"] == "OnTrial", run["state"]["message"]
        assert [servers.version_of(MODEL, alias) for alias in ("champion", "challenger")] == ["1", "2"]
        environment = {
            **{name: loop.variables[name] for name in ("DRIFTLOOP_CONFIG",)},
            "MLFLOW_TRACKING_URI": servers.mlflow,
            "PREDICTION_LOG_SEAL_SECONDS": "1",
        }
        port, log = free_port(), tmp_path / "monitor.log"
        variables = {**loop.variables, "MONITOR_PORT": str(port), "MONITOR_INTERVAL_SECONDS": "1", "DRIFT_ALARM": "off"}
        monitor = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "monitoring", "run"]
        with (
            gunicorn(loop.layout.root, wait_for="/ready", **environment) as server,
            process(command, log, servers.environment(**variables)) as watching,
        ):
            eventually("the monitor's start", answers(f"{monitor}/ready", watching, log), 120)

            def about() -> Any:
                return requests.get(f"{server.url}/model", timeout=10).json()

            def shown() -> str:
                return requests.get(f"{monitor}/metrics", timeout=10).text

            eventually("the challenger", lambda: about()["challenger"]["version"] == "2", 120)
            rows = draw_wine(300, shift=6.0, seed=2).to_pylist()
            features = list(loop.config.model.features)
            sent = [{"features": {n: row[n] for n in features}, "truth": row["truth"]} for row in rows]
            answer = requests.post(f"{server.url}/predict", json={"instances": sent}, timeout=30).json()
            assert {one["model_version"] for one in answer["predictions"]} == {"1"}
            decided = 'rollout_decided{decision="promote",version="2"} 1.0'
            eventually("the decision", lambda: decided in shown(), 120)
            page = requests.get(f"{monitor}/", timeout=10).text
            assert "300 of them with a label" in page
            assert asked(loop, OF_TRIAL)["state_name"] == "Promoted"
            assert [servers.version_of(MODEL, alias) for alias in ("champion", "challenger")] == ["2", None]
            assert servers.version_of(MODEL, "previous") == "1"
            reference = loop.reference()
            assert (reference.model_version, reference.origin, len(reference.table)) == ("2", "rebased", 300)
            eventually("the new champion", lambda: about()["version"] == "2", 120)
            assert about()["challenger"]["version"] is None
            eventually("the trial's end", lambda: "rollout_" not in shown(), 120)
        newest = read_history(loop.layout)[0]
        assert (newest.outcome, newest.version) == ("Promoted", "2")
        assert newest.asked is not None
        assert newest.asked.name == OF_TRIAL
