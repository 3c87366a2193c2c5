"""Owners of models in Alertmanager's configuration: each hears of its own, and amtool accepts the whole."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.contract.config import Config, Owner
from monitoring.contract.errors import ConfigError
from scripts.owners import ROUTING, OwnersError, owners_of, require_accepted, with_owners
from scripts.prometheus_tools import find_tools
from tests.unit.models import WINE

COMMENTED = ROUTING.read_text()
_BEFORE, _TRIGGER, _AFTER = COMMENTED.partition("  - name: trigger\n")
REACHABLE = (
    re.sub(r"^(    )# (email_configs|  |slack_configs)", r"\1\2", _BEFORE, flags=re.MULTILINE) + _TRIGGER + _AFTER
)
ANNA, BEN = Owner(email="anna@example.com"), Owner(email="ben@example.com", slack="#ben")


def receiver_of(text: str, folder: Path, **labels: str) -> str:
    """Ask amtool who hears of an alert with these labels."""
    path = folder / "alertmanager.yml"
    path.write_text(text)
    asked = [f"{name}={value}" for name, value in labels.items()]
    command = [find_tools().amtool, "config", "routes", "test", "--config.file", path, *asked]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_each_owner_hears_of_its_own_model(tmp_path: Path) -> None:
    """Others' alerts, and those of no model, go to people; a run is asked for as before."""
    text = with_owners(REACHABLE, {"red": ANNA, "white": BEN})
    require_accepted(text)
    assert receiver_of(text, tmp_path, alertname="DriftDetected", model="red") == "owner of red"
    assert receiver_of(text, tmp_path, alertname="DriftDetected", model="white") == "owner of white"
    assert receiver_of(text, tmp_path, alertname="DriftDetected", model="rose") == "people"
    assert receiver_of(text, tmp_path, alertname="TargetDown") == "people"
    assert receiver_of(text, tmp_path, alertname="ModelDrift", action="retrain", model="red") == "trigger,owner of red"
    (ben,) = [one for one in yaml.safe_load(text)["receivers"] if one["name"] == "owner of white"]
    assert ben["email_configs"][0]["to"] == "ben@example.com"
    assert ben["email_configs"][0]["smarthost"] == "smtp.example.com:587"
    assert ben["slack_configs"][0]["channel"] == "#ben"


def test_written_again_nothing_stands_twice_and_who_is_gone_is_gone() -> None:
    """Comments and all else stay as they are."""
    once = with_owners(REACHABLE, {"red": ANNA, "white": BEN})
    assert with_owners(once, {"red": ANNA, "white": BEN}) == once
    assert with_owners(once, {}) == REACHABLE
    assert "# Watchdog always fires." in once


def test_one_models_owner_hears_of_all(tmp_path: Path) -> None:
    """Alerts of a stack with one config file bear no model's name."""
    assert receiver_of(with_owners(REACHABLE, {None: ANNA}), tmp_path, alertname="TargetDown") == "owner"


@pytest.mark.parametrize(
    ("text", "owners", "says"),
    [
        pytest.param(COMMENTED, {"red": ANNA}, "owner.email = anna@example.com: .* has no email_configs", id="no mail"),
        pytest.param(REACHABLE.replace("# begin: owners,", "#"), {}, "lacks the lines `# begin: owners,", id="marks"),
    ],
)
def test_what_cannot_be_reached_is_said(text: str, owners: dict[str | None, Owner], says: str) -> None:
    """Nothing is written then."""
    with pytest.raises(OwnersError, match=says):
        with_owners(text, owners)


def test_what_amtool_refuses_is_not_written() -> None:
    """Its reason is told."""
    with pytest.raises(OwnersError, match=r"(?s)does not accept the result.*receiver"):
        require_accepted(COMMENTED.replace("receiver: watchdog", "receiver: nobody"))


def test_owners_are_those_of_the_configs(tmp_path: Path) -> None:
    """A faulty file stops it: its owner would hear of nothing."""

    def write(name: str, owner: dict[str, str] | None) -> None:
        content: dict[str, Any] = {**WINE, "model": {**WINE["model"], "name": name}}
        (tmp_path / f"{name}.yml").write_text(yaml.safe_dump(content if owner is None else content | {"owner": owner}))

    write("red", {"email": "anna@example.com"})
    write("white", None)
    assert owners_of(tmp_path) == {"red": ANNA}
    assert owners_of(tmp_path / "red.yml") == {None: ANNA}
    assert owners_of(tmp_path / "white.yml") == {}
    write("rose", {"email": "nobody"})
    with pytest.raises(ConfigError, match=r"owner\.email = 'nobody'"):
        owners_of(tmp_path)
    with pytest.raises(ValueError, match="takes email, slack, or both"):
        Config.model_validate({**WINE, "owner": {}})
