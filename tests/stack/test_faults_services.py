"""A service of ours dies while rows come: what was answered stays, the loop closes once, and somebody is told."""

import pytest

from tests.stack.episode import Episode, Moment, survives
from tests.stack.faulty import Faulty

pytestmark = [pytest.mark.timeout(3600), pytest.mark.long]  # against hangs alone: each wait has its own deadline

DEATHS = [
    pytest.param("monitor", Episode.detected, {"TargetDown": {"job": "monitor"}}, id="the monitor"),
    pytest.param(
        "trigger", Episode.detected,
        {"TargetDown": {"job": "trigger"}, "AlertmanagerNotificationsFailing": {}}, id="the trigger",
    ),
    pytest.param("flows", Episode.detected, {"RunnerDown": {}, "RetrainStuck": {}}, id="the runner before it is asked"),
    pytest.param("flows", Episode.at_work, {"RunnerDown": {}}, id="the runner at work"),
    pytest.param("api", Episode.detected, {"TargetDown": {"job": "api"}}, id="the API"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "moment", "alerts"), DEATHS)
def test_a_death_within_an_episode(
    faulty: Faulty, service: str, moment: Moment, alerts: dict[str, dict[str, str]]
) -> None:
    """One service dies where it hurts most; somebody is told, it comes back, and the episode ends in one promotion."""
    survives(faulty, service, moment, lambda: faulty.wait_all_firing(alerts))
