"""What several files of stack tests share: a run of the demo, Prefect with MLflow, the stack that is made to fail."""

import sys
from collections.abc import Generator, Iterator

import pytest

from data.simulate import Traffic
from tests.processes import free_ports
from tests.stack.demo_run import SERVICES, Demo, run_demo
from tests.stack.faulty import Faulty
from tests.stack.flows_servers import Servers, running_servers
from tests.stack.situation import situation
from tests.stack.stage import Stage
from tests.stack.watching import watching


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Close the loop once, and look up what every panel of the dashboards asks for before the stack stops.

    The whole run is watched for what wants to leave the machine.
    """
    folder, looked_up = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("looked-up") / "answers.json"
    ports = free_ports(len(SERVICES))
    then = f"{sys.executable} -m tests.stack.ask_panels {looked_up}"
    with watching(tmp_path_factory.mktemp("watch")) as watch:
        finished = run_demo(folder, ports, "--then", then, surroundings=watch.environment())
    return Demo(finished, ports, folder, looked_up, watch.seen())


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    found = Stage(lambda: tmp_path_factory.mktemp("faults"))
    yield found
    found.clear()


@pytest.fixture
def faulty(stage: Stage) -> Faulty:
    return stage.at_rest()


@pytest.fixture
def sent(faulty: Faulty) -> Traffic:
    return faulty.sent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say what the loop was doing when a case of faults failed; the next one gets another stack."""
    report = yield
    stage, machine = (getattr(item, "funcargs", {}).get(name) for name in ("stage", "machine"))
    if report.failed and report.when == "call" and isinstance(machine, Faulty):
        report.sections.append(("What the loop was doing", situation(machine)))
    if report.failed and isinstance(stage, Stage):
        report.sections.append(("What the loop was doing", stage.situation()))
        stage.clear()
    return report
