"""Many models in one stack: what is done to some is told of them, and holds up no other."""

import re
from pathlib import Path

import pytest

from tests.processes import free_ports
from tests.stack.demo_run import HOPS, SERVICES, run_demo

TOLD = ("genres' config", "car_loans' labels", "flights_late gone", "config mended", "flights_late mended")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_is_done_to_three_models_holds_up_no_fourth(tmp_path: Path) -> None:
    """A config that is no YAML, wrong labels and a file that is no Parquet, a folder that goes; the fourth recovers."""
    finished = run_demo(tmp_path, free_ports(len(SERVICES)), "--chaos", program="scripts.fleet_demo")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for hop in (
        *HOPS,
        "genres' config",
        "car_loans' labels",
        "flights_late gone",
        "config mended",
        "flights_late mended",
    ):
        assert re.search(rf" s  {hop} ", finished.stdout), hop
    assert "refused or failed 0" in finished.stdout
