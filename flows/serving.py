"""Wait for the servers, bootstrap, then serve the flows that alerts ask for until told to stop."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any

import requests
import structlog
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.states import Crashed

from flows.bootstrap import bootstrap
from flows.clients.prefect import DEPLOYMENT, Prefect, model_in
from flows.first_starts import FirstStarts
from flows.registry.publication import sole_run
from flows.registry.versions import UnusableVersionError
from flows.retrain import retrain
from flows.rollback import rollback
from flows.run_limit import RunLimit
from flows.settings import FlowSettings
from flows.watched_models import watches_many
from monitoring.contract.errors import DriftloopError
from monitoring.contract.layout import Layout
from monitoring.contract.model_folder import ModelFolder

log = structlog.get_logger(__name__)

SERVED = (retrain, rollback)
_PATIENCE = 1.0  # seconds for the lock of one of many models
_BEGUN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


class UnreachableError(DriftloopError):
    """A server that the flows need does not answer."""


def wait_for(name: str, url: str, seconds: float) -> None:
    """Wait until a server answers 200; raise UnreachableError when the time is up."""
    deadline = time.monotonic() + seconds
    reason, announced = "", False
    while time.monotonic() < deadline:
        try:
            answer = requests.get(url, timeout=5)
            if answer.ok:
                return
            reason = f"it answers {answer.status_code}"
        except requests.RequestException as error:
            reason = type(error).__name__
        if not announced:
            log.info("waiting_for_server", server=name, url=url, reason=reason, at_most_seconds=seconds)
            announced = True
        time.sleep(1)
    raise UnreachableError(f"{name} did not answer at {url} within {seconds:g} s: {reason}")


def end_orphans(layouts: Mapping[str | None, Layout]) -> None:
    """End runs whose process died with a former runner: nobody else would, and the trigger waits on them.

    They end as CRASHED; an alert that still fires starts a new run, which completes what they left. Of many models
    those are left alone whose folder is held, by a command at work, or cannot be: the next start looks at them again.
    """
    flows = FlowFilter.model_validate({"name": {"any_": [flow.name for flow in (*SERVED, bootstrap)]}})
    begun = FlowRunFilter.model_validate({"state": {"type": {"any_": _BEGUN}}})
    with contextlib.ExitStack() as held:
        client = held.enter_context(get_client(sync_client=True))
        ours = {name for name, layout in layouts.items() if _is_held(held, layout, name)}
        for run in client.read_flow_runs(
            flow_filter=flows, flow_run_filter=begun, sort=FlowRunSort.START_TIME_ASC, limit=200
        ):
            if None in ours or model_in(run.tags) in ours:
                message = "its process ended with the former runner"
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
                log.warning("orphaned_run_ended", flow_run_id=str(run.id), state=run.state_name)


def _is_held(held: contextlib.ExitStack, layout: Layout, model: str | None) -> bool:
    """Hold a model's folder for as long as `held`; say whether that can be. The only model's must be."""
    try:
        held.enter_context(sole_run(layout) if model is None else sole_run(layout, _PATIENCE))
    except (DriftloopError, OSError) as error:
        if model is None:
            raise
        log.warning("orphans_left", model=model, reason=str(error))
        return False
    return True


def serve(settings: FlowSettings) -> None:
    """Serve until SIGTERM or Ctrl-C; raise DriftloopError if the bootstrap cannot be done.

    A champion that cannot be used is no reason to stop: a run of `rollback`, which repairs it, needs this process.
    """
    wait_for("Prefect", f"{settings.prefect_api_url.rstrip('/')}/health", settings.flows_wait_seconds)
    wait_for("MLflow", f"{settings.mlflow_tracking_uri.rstrip('/')}/health", settings.flows_wait_seconds)
    served = _start_many(settings) if watches_many(settings.driftloop_config) else _start_one(settings)
    log.info("serving", deployments=[f"{flow.name}/{DEPLOYMENT}" for flow in served])
    prefect = Prefect(settings.prefect_api_url, settings.prefect_api_auth_string)
    RunLimit(prefect, tuple(flow.name for flow in served), settings.flows_run_seconds).start()
    runner = Runner(limit=1, pause_on_shutdown=False)  # one run at a time, of whichever flow: the others queue
    for flow in served:
        runner.add_flow(flow, name=DEPLOYMENT, concurrency_limit=1)  # nor do two runners take two of it
    if bootstrap in served:
        FirstStarts(prefect, ModelFolder(settings.driftloop_config)).start()
    with contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())


def _start_one(settings: FlowSettings) -> tuple[Any, ...]:
    try:
        bootstrap()
    except UnusableVersionError as error:
        log.error("champion_unusable", reason=str(error), remedy="make rollback")  # noqa: TRY400 - for a person
    end_orphans({None: Layout(settings.data_dir, settings.parts_uri)})
    return SERVED


def _start_many(settings: FlowSettings) -> tuple[Any, ...]:
    """Leave each model's first start to a run of its own, so that one that fails holds up no other."""
    models = ModelFolder(settings.driftloop_config).look()
    end_orphans({name: settings.of_model(name).layout(file.config.model) for name, file in models.items()})
    return (*SERVED, bootstrap)
