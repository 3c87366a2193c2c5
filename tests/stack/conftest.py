"""One run of the demo for all tests of the stack that look at it."""

import sys

import pytest

from tests.stack.demo_run import SERVICES, Demo, free_ports, run_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Close the loop once, and look up what every panel of the dashboards asks for before the stack stops."""
    folder, looked_up = tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("looked-up") / "answers.json"
    ports = free_ports(len(SERVICES))
    then = f"{sys.executable} -m tests.stack.ask_panels {looked_up}"
    return Demo(run_demo(folder, ports, "--then", then), ports, folder, looked_up)
