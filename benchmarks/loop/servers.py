"""What the trigger asks of Prefect and MLflow, in simulated time.

Runs have the replay's times, versions are the real ones. The flows themselves run under a real Prefect and a real
MLflow, whose clocks show the present.
"""

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flows.clients.mlflow import MLflow
from flows.clients.prefect import FlowRun as Run
from flows.clients.prefect import Prefect
from flows.registry.versions import version_of
from monitoring.contract.names import CHAMPION


@dataclass(frozen=True)
class Asked:
    """A run that the trigger has asked for."""

    flow: str
    key: str
    run: Run
    parameters: dict[str, Any]


@dataclass
class Clock:
    """What the time is in the replay."""

    now: datetime


@dataclass(frozen=True)
class ReplayedPrefect(Prefect):
    """The runs so far, as Prefect would list them at the replay's moment; `asked` holds the oldest first."""

    clock: Clock = field(kw_only=True)
    asked: list[Asked] = field(default_factory=list)

    def deployment_id(self, flow: str, deployment: str) -> str:  # noqa: ARG002 - as Prefect's
        """Return the flow's name: there is one deployment of each."""
        return flow

    def newest_runs(self, flow: str, limit: int = 200, **run_filter: Any) -> list[Run]:
        """Return a flow's newest runs, the newest first; the filter may name tags that all of them have."""
        tags = set(run_filter.get("tags", {}).get("all_", ()))
        found = [one.run for one in reversed(self.asked) if one.flow == flow and tags <= set(one.run.tags)]
        return found[:limit]

    def create_run(
        self, deployment: str, key: str, tags: list[str], parameters: dict[str, Any], who: str = "an alert"
    ) -> tuple[Run, bool]:
        """Note a run, or return the one with this key."""
        for one in self.asked:
            if one.key == key:
                return one.run, False
        run = Run(id=str(uuid.uuid4()), state_type="SCHEDULED", created=self.clock.now, tags=tags)
        self.asked.append(Asked(deployment, key, run, {**parameters, "who": who}))
        return run, True

    def end(self, asked: Asked, outcome: str, state_type: str, ended: datetime) -> None:
        """Note how a run that began when it was asked for has ended."""
        times = {"start_time": asked.run.created, "end_time": ended}
        run = asked.run.model_copy(update={"state_type": state_type, "state_name": outcome, **times})
        self.asked[self.asked.index(asked)] = replace(asked, run=run)


class RegistryOf(MLflow):
    """The registry, asked in process."""

    def champion(self, name: str) -> str:
        """Return the champion's version."""
        version = version_of(name, CHAMPION)
        assert version is not None
        return version
