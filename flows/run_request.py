"""Request a run of a flow for a person, and wait for its outcome."""

import time
import uuid
from collections.abc import Callable

from flows.clients.prefect import DEPLOYMENT, FlowRun, Prefect, parameters_of, tags_of
from flows.clients.rest import UnavailableError
from flows.settings import FlowSettings
from flows.watched_models import watched_model


def request_run(flow: str, settings: FlowSettings, say: Callable[[str], None], model: str | None = None) -> FlowRun:
    """Request a run, for one of many models if it is named; say its id and how it ended, and return it.

    Raise ConfigError if there is no such model, UnavailableError if nobody serves the flow, or if it has not ended
    after `flows_wait_seconds`.
    """
    watched_model(settings, model)
    prefect = Prefect(settings.prefect_api_url, settings.prefect_api_auth_string)
    name = f"{flow}/{DEPLOYMENT}"
    deployment = prefect.deployment_id(flow, DEPLOYMENT)
    if prefect.deployment_status(flow, DEPLOYMENT) != "READY":
        raise UnavailableError(f"nobody serves {name} now: the service `flows` does not run")
    tags = ["by hand", *tags_of(model)]
    run, _ = prefect.create_run(deployment, uuid.uuid4().hex, tags, parameters_of(model), who="a person")
    say(f"{name}: asked for run {run.id}")
    deadline = time.monotonic() + settings.flows_wait_seconds
    while not run.ended:
        if time.monotonic() >= deadline:
            raise UnavailableError(f"run {run.id} has not ended within {settings.flows_wait_seconds:g} s; it goes on")
        time.sleep(0.5)
        run = prefect.run(run.id)
    say(f"{run.state_name}: {run.state.message if run.state and run.state.message else 'see its log in Prefect'}")
    return run
