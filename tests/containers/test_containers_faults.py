"""The database behind Prefect and MLflow dies under traffic; and a person goes back to the former champion."""

import pytest
import requests

from tests.containers.compose import PACE, PROJECT, Compose
from tests.processes import eventually

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long, pytest.mark.usefixtures("at_rest")]

PROMISED = 3 * 60  # seconds within which UpstreamDown fires: docs/runbooks/UpstreamDown.md
POLLS = 30  # seconds that no pace divides: the trigger's polls of servers that hang, scrapes, evaluations


def firing(stack: Compose, service: str) -> bool:
    return bool(stack.query(f'ALERTS{{alertname="UpstreamDown",alertstate="firing",service="{service}"}}'))


def test_predictions_go_on_without_the_database_and_it_is_told(stack: Compose) -> None:
    """Both servers are down with it, and an alert says so of each; when it is back, so are they, by themselves."""
    champion = stack.champion()
    with stack.simulator("--rate=40", "--batch=2", "--label-delay=1") as counts:
        eventually("traffic", lambda: counts().get("acknowledged", 0) > 50, 60)
        stack.run("docker", "kill", f"{PROJECT}-postgres-1")
        for service in ("prefect", "mlflow"):
            eventually(f"UpstreamDown of {service}", lambda s=service: firing(stack, s), PROMISED / PACE + POLLS)
        before = counts()["acknowledged"]
        stack.run("docker", "start", f"{PROJECT}-postgres-1")
        eventually("every container to be healthy", lambda: not stack.unhealthy(), 120)
        for service in ("prefect", "mlflow"):
            eventually(f"the end of it for {service}", lambda s=service: not firing(stack, s), 60)
        told = counts()
    assert (told["refused"], told["labels_refused"]) == (0, 0)
    assert told["acknowledged"] > before
    assert stack.champion() == champion
    assert requests.get("http://127.0.0.1:5050/model", timeout=10).json()["version"] == champion
