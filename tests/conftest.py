"""No test calls home, nor does what it starts; tests/stack/watching.py takes that away again from what it watches."""

import os
from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts.stack import QUIET

os.environ.update(QUIET)

# Files of tests that share what one of them has started.
SHARE = {
    **dict.fromkeys(("test_dashboards", "test_loop", "test_telemetry"), "demo"),
    **dict.fromkeys(("test_flows", "test_own_trainer", "test_retrain_kills", "test_rollback"), "servers"),
}


class BySharedStack(LoadScopeScheduling):
    """Gives tests that share a running stack to one process: xdist 3.8 itself cannot, on the ids of pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        path = PurePath(nodeid.partition("::")[0])
        if path.parent.name == "containers":
            return "containers"
        return SHARE.get(path.stem, str(path))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedStack | None:
    """Schedule so under `--dist loadscope`."""
    return BySharedStack(config, log) if config.getvalue("dist") == "loadscope" else None
