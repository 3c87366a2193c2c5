"""Retrainings that are killed, for test_retrain_kills.py: `python -m tests.stack.doomed_runs STEP…`.

Each step gets new labelled rows after a change, a run that is killed right after the step, the start of a new runner's
(`bootstrap`), and the run that the alert asks for next. A line of JSON per step says how things stood after each.
"""

import json
import os
import signal
import sys
import time
from typing import Any

import mlflow

from flows.bootstrap import bootstrap
from flows.registry.versions import CHAMPION, PREVIOUS, version_of
from flows.retrain import retrain
from flows.settings import FlowSettings
from monitoring.contract.config import Config
from monitoring.contract.config_file import load_config
from monitoring.contract.history import read_history
from monitoring.contract.layout import Layout
from monitoring.contract.reference import read_reference
from tests.unit.flows_fixtures import draw_wine, write_log
from tests.unit.kills import KILLED, forked, on_step


def standing(config: Config, layout: Layout) -> dict[str, Any]:
    """Say who is champion, whose the reference is, and how many versions were registered."""
    told = next((one for one in read_history(layout) if one.version is not None), None)
    reference = read_reference(layout, config.model)
    versions = mlflow.MlflowClient().search_model_versions(f"name='{config.model.name}'")
    return {
        "champion": version_of(config.model.name, CHAMPION),
        "previous": version_of(config.model.name, PREVIOUS),
        "reference": reference.model_version,
        "history": told.version if told and told.reference_digest == reference.digest else None,
        "versions": len(versions),
        "staged": sorted(path.name for path in (layout.root / "_references").glob("_next-*")),
    }


def killed_at(step: str) -> int:
    """Run `retrain` in a process that is killed right after the step."""

    def doomed() -> None:
        on_step(lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == step else None)
        retrain(return_state=True)

    return forked(doomed)


def ended(flow: Any) -> str:
    """Run a flow in a process of its own; return the name of the state that it ends in."""
    read, write = os.pipe()

    def run() -> None:
        os.write(write, str(flow(return_state=True).name).encode())

    code = forked(run)
    os.close(write)
    with os.fdopen(read) as said:
        return said.read() if code == 0 else f"exit code {code}"


def main() -> None:
    settings = FlowSettings.read()
    config, layout = load_config(settings.driftloop_config), Layout(settings.data_dir)
    mlflow.set_tracking_uri(settings.mlflow_tracking_uri)
    ended(bootstrap)
    for number, step in enumerate(sys.argv[1:]):
        rows = draw_wine(400, shift=6.0 * (number % 2 == 0), seed=number)
        write_log(layout, config, rows, start=time.time_ns() // 1000, writer=f"w{number}")
        told: dict[str, Any] = {"step": step, "before": standing(config, layout)}
        assert killed_at(step) == KILLED, step
        told["after the kill"] = standing(config, layout)
        told["restart"] = ended(bootstrap)
        told["after the restart"] = standing(config, layout)
        told["next run"] = ended(retrain)
        told["at the end"] = standing(config, layout)
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
