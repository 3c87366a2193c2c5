"""Clients that are slow, or too many at once, before the proxy of the running containers."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from tests.containers.compose import Compose
from tests.processes import eventually
from tests.unit.test_abuse_proxy import many_requests_end, slow_clients_end

pytestmark = pytest.mark.timeout(1200)

URL = "http://127.0.0.1:5050"
LIMIT = 100  # in ten seconds: few enough that a busy machine answers more of them in that time


@pytest.fixture
def limited(stack: Compose) -> Iterator[Compose]:
    """The stack with a proxy that takes fewer requests from an address; at the end it is as before."""
    strict = replace(stack, environment={**stack.environment, "API_RATE_LIMIT": str(LIMIT)})
    try:
        yield renewed(strict)
    finally:
        renewed(stack)


def renewed(stack: Compose) -> Compose:
    """Let the proxy begin anew, and wait until it passes requests on."""
    stack.compose("up", "--detach", "--no-deps", "--force-recreate", "proxy")
    eventually("the API behind the proxy", lambda: requests.get(f"{URL}/ready", timeout=5).ok)
    return stack


@pytest.mark.usefixtures("stack")
def test_slow_clients_end_at_the_proxy() -> None:
    """Two hundred that hold back head or body: others are served meanwhile, and after ten seconds they hear why."""
    slow_clients_end(URL)


@pytest.mark.usefixtures("limited")
def test_too_many_requests_of_one_address_are_a_429() -> None:
    """A problem that says when to come back."""
    many_requests_end(URL, LIMIT)
