"""The chart's resources for the Prometheus operator, held against its own schemas where node is."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.npm import install
from tests.contract.test_helm import OURS, of_kind
from tests.processes import ROOT

PACKAGES = ROOT / "tests/contract/operator"


@pytest.fixture(scope="module", name="installed")
def install_schemas() -> Path:
    return install(PACKAGES)


def problems(installed: Path, resources: list[Any]) -> list[str]:
    command = ["node", str(PACKAGES / "check.mjs"), str(installed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=json.dumps(resources))
    assert done.returncode == 0, done.stderr
    said: list[str] = json.loads(done.stdout)
    return said


@pytest.mark.timeout(400)  # the packages come once
def test_the_operator_knows_what_is_asked_of_it(installed: Path) -> None:
    """Values are those that it takes, and no field is one that it would drop; what is wrong is told."""
    resources = [one for case in ("default", "everything") for one in of_kind(case, *OURS).values()]
    assert {one["kind"] for one in resources} == OURS.keys()
    wrong = copy.deepcopy(of_kind("default", "ServiceMonitor", "AlertmanagerConfig"))
    wrong["driftloop-api"]["spec"]["endpoints"][0]["intervall"] = "5s"
    wrong["driftloop-proxy"]["spec"]["endpoints"][0]["scheme"] = "ftp"
    wrong["driftloop"]["spec"]["route"]["groupWayt"] = "10s"
    said = "\n".join(problems(installed, [*wrong.values()]))
    assert "'\"intervall\"' does not exist in type 'IEndpoint'" in said
    assert "spec/endpoints/0/scheme must be equal to one of the allowed values" in said
    assert "'\"groupWayt\"' does not exist in type 'IRoute'" in said
    assert {line.partition(":")[0] for line in said.splitlines()} == {"driftloop", "driftloop-api", "driftloop-proxy"}
    assert problems(installed, resources) == []
