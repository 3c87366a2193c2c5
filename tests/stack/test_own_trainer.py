"""A trainer of the user's in the flow `retrain`, with a real Prefect and MLflow: its candidate, and its failure."""

from pathlib import Path

import pytest

from monitoring.contract.config_file import load_config
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from tests.stack.flows_servers import Servers, now, write_user_reference
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.models import write_config

pytestmark = pytest.mark.timeout(500)
USERS = "tests.unit.users_trainers"


def test_a_trainer_makes_a_champion_and_one_that_fails_leaves_it(servers: Servers, tmp_path: Path) -> None:
    """The version, the run's report and log say whose it is; afterwards a failure says why, and changes nothing."""
    name = "own-trainer"
    path = write_config(tmp_path, name, trainer=f"{USERS}:train")
    layout, config = Layout(tmp_path / "data"), load_config(path)
    write_user_reference(layout, config)
    variables = {"DATA_DIR": str(layout.root), "DRIFTLOOP_CONFIG": str(path)}
    assert servers.run_flow("bootstrap", **variables)["state_name"] == "Promoted"
    write_log(layout, config, draw_wine(300, shift=6, seed=2), start=now() - 900_000_000)
    run = servers.run_flow("retrain", **variables)
    assert run["state_name"] == "Promoted", run["state"]["message"]
    assert servers.version_of(name, "champion") == "2"
    tags = servers.tags(name, "2")
    assert (tags["trainer"], tags["origin"], tags["gate"]) == (f"{USERS}:train", "retrain", "passed")
    assert r"Version 2 is a model by tests.unit.users\_trainers:train" in servers.artifact(run["id"])
    assert "of the reference acidity sugar alcohol density truth timestamp" in servers.log_of(run["id"])
    before = layout.reference.read_bytes()

    write_config(tmp_path, name, trainer=f"{USERS}:raises")
    write_log(layout, config, draw_wine(300, shift=12, seed=3), start=now() - 600_000_000, version="2", writer="x")
    failed = servers.run_flow("retrain", **variables)
    assert failed["state_type"] == "FAILED"
    assert "ValueError: no licence. The champion stays" in failed["state"]["message"]
    assert servers.version_of(name, "champion") == "2"
    assert layout.reference.read_bytes() == before
    newest = read_history(layout)[0]
    assert (newest.outcome, "no licence" in newest.message) == ("Failed", True)
    # a start finds the version that the user's trainer has made, and trains none over it
    assert servers.run_flow("bootstrap", **variables)["state_name"] == "Ready"
