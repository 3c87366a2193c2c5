import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.containers.compose import Compose, paced
from tests.processes import ROOT


def _missing() -> str | None:
    """Return why there is no engine, or None."""
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    for command in (["docker", "version"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            return f"`{' '.join(command)}` says: {done.stderr.strip()}"
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an engine skip what needs one, in one line."""
    ours = [item for item in items if item.path.parent == Path(__file__).parent]
    if ours and (reason := _missing()):
        ours[0].add_marker(pytest.mark.skip(reason=f"nothing is tested in containers, for lack of an engine: {reason}"))
        config.hook.pytest_deselected(items=ours[1:])
        items[:] = [item for item in items if item not in ours[1:]]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The whole stack, up and healthy, in a project of its own; removed at the end with all that it stored."""
    configs = tmp_path_factory.mktemp("configs")
    compose = Compose(
        {
            "PROMETHEUS_CONFIG": str(paced(ROOT / "prometheus/prometheus.yml", configs / "prometheus.yml")),
            "ALERT_RULES": str(paced(ROOT / "monitoring/alert_rules", configs / "rules")),
            "ALERTMANAGER_CONFIG": str(paced(ROOT / "alertmanager/alertmanager.yml", configs / "alertmanager.yml")),
            "MONITOR_INTERVAL_SECONDS": "2",
            "PREDICTION_LOG_SEAL_SECONDS": "1",
        }
    )
    try:
        said = [line for line in compose.up().splitlines() if line.startswith("left out")]
        capture = request.config.pluginmanager.get_plugin("capturemanager")
        if said and capture is not None:
            with capture.global_and_fixture_disabled():
                sys.stderr.write("\n" + "\n".join(said) + "\n")
        yield compose
    finally:
        compose.compose("--profile", "demo", "down", "--volumes", "--remove-orphans", check=False)


@pytest.fixture
def at_rest(stack: Compose) -> None:
    """Let a case begin from a stack that is whole, whatever the former one has left."""
    stack.heal()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how the stack was when a test failed."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Compose):
        report.sections.append(("What the stack was doing", stack.situation()))
    return report
