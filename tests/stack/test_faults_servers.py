"""A server that is not ours dies while rows come: predictions go on, the loop closes once, and somebody is told."""

import pytest

from tests.stack.episode import Episode, Moment, survives
from tests.stack.faulty import Faulty

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]  # against hangs alone: each wait has its own deadline

DEATHS = [
    pytest.param(
        "prefect", Episode.detected, {"UpstreamDown": {"service": "prefect"}, "TriggerFailing": {}}, id="Prefect"
    ),
    pytest.param("mlflow", Episode.at_work, {"UpstreamDown": {"service": "mlflow"}}, id="MLflow"),
    pytest.param("alertmanager", Episode.asked_for, {"TargetDown": {"job": "alertmanager"}}, id="Alertmanager"),
]


@pytest.mark.parametrize(("service", "moment", "alerts"), DEATHS)
def test_a_death_within_an_episode(
    faulty: Faulty, service: str, moment: Moment, alerts: dict[str, dict[str, str]]
) -> None:
    """One service dies where it hurts most; somebody is told, it comes back, and the episode ends in one promotion."""
    survives(faulty, service, moment, lambda: faulty.wait_all_firing(alerts))


def test_the_death_of_prometheus_within_an_episode(faulty: Faulty) -> None:
    """No alert can tell; the service outside does."""
    survives(faulty, "prometheus", Episode.detected, lambda: faulty.outside.wait_alarm("prometheus"))


def test_the_switch_outside_tells_when_alertmanager_or_prometheus_is_gone(faulty: Faulty) -> None:
    """Nobody inside can: what tells is that the pings of Watchdog stop, within the time that its runbook states."""
    for service in ("alertmanager", "prometheus"):
        faulty.outside.wait_pinged()
        faulty.kill(service)
        faulty.outside.wait_alarm(service)
        faulty.start(service)
    faulty.outside.wait_pinged()
