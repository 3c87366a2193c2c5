"""Request a run of a flow for a person, and wait for its outcome."""

import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from flows.clients.prefect import DEPLOYMENT, FlowRun, Prefect
from flows.clients.rest import UnavailableError
from flows.settings import FlowSettings

PATIENCE = 15  # seconds, for a Prefect that is busy
Answer = TypeVar("Answer")
SERVER_ERRORS = 500  # statuses from here on


def request_run(flow: str, settings: FlowSettings, say: Callable[[str], None]) -> FlowRun:
    """Request a run, report its id and how it ended through `say`, and return it.

    A busy Prefect, which answers with 503 or not in time, is asked again for a while; the request's key keeps it from
    making two runs. Raise UnavailableError if it stays so, if nobody serves the flow, or if the run has not ended after
    `flows_wait_seconds`.
    """
    prefect = Prefect(settings.prefect_api_url, settings.prefect_api_auth_string)
    name = f"{flow}/{DEPLOYMENT}"
    deployment = _patiently(lambda: prefect.deployment_id(flow, DEPLOYMENT))
    if _patiently(lambda: prefect.deployment_status(flow, DEPLOYMENT)) != "READY":
        raise UnavailableError(f"nobody serves {name} now: the service `flows` does not run")
    key = uuid.uuid4().hex
    run, _ = _patiently(lambda: prefect.create_run(deployment, key, ["by hand"], {}, who="a person"))
    say(f"{name}: asked for run {run.id}")
    deadline = time.monotonic() + settings.flows_wait_seconds
    while not run.ended:
        if time.monotonic() >= deadline:
            raise UnavailableError(f"run {run.id} has not ended within {settings.flows_wait_seconds:g} s; it goes on")
        time.sleep(0.5)
        run = _patiently(partial(prefect.run, run.id))
    say(f"{run.state_name}: {run.state.message if run.state and run.state.message else 'see its log in Prefect'}")
    return run


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Return the answer; while the server is busy or out of reach, ask again for PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except UnavailableError as error:
            passing = error.status is None or error.status >= SERVER_ERRORS
            if not passing or time.monotonic() >= deadline:
                raise
            time.sleep(1)
