"""Route each model's alerts to its owner: `python -m scripts.owners` writes the routes into alertmanager.yml.

DRIFTLOOP_CONFIG is a config file or a folder of them; `owner` in one says who hears of its model. An owner is reached
as the receiver `people` is, by another address or channel: that has the mail server and the webhook. What stands
between the marks in the file is written anew, all else stays as it is, and amtool must accept the whole.
"""

import argparse
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from monitoring.contract.config import Config, Owner
from monitoring.contract.config_file import load_config, load_configs
from monitoring.contract.errors import ConfigError, DriftloopError
from scripts.prometheus_tools import ToolsError, find_tools

ROOT = Path(__file__).resolve().parent.parent
ROUTING = ROOT / "alertmanager/alertmanager.yml"
PEOPLE = "people"
_WAYS = {"email": ("email_configs", "to"), "slack": ("slack_configs", "channel")}  # the receiver's section, and who


class OwnersError(DriftloopError):
    """The owners cannot be routed to."""


def owners_of(path: Path) -> Mapping[str | None, Owner]:
    """Return the owners by model; of one config file, whose alerts bear no model's name, by None.

    Raise ConfigError where a file cannot be used: its owner would hear of nothing.
    """
    if not path.is_dir():
        owner = load_config(path).owner
        return {} if owner is None else {None: owner}
    files = load_configs(path)
    if faulty := [str(one) for one in files.values() if isinstance(one, ConfigError)]:
        raise ConfigError("\n".join(faulty))
    usable = [one for one in files.values() if isinstance(one, Config)]
    return {one.model.name: one.owner for one in usable if one.owner is not None}


def with_owners(text: str, owners: Mapping[str | None, Owner]) -> str:
    """Return the text of an alertmanager.yml with these owners; raise OwnersError if it has no room for them."""
    known = {one["name"]: one for one in yaml.safe_load(text)["receivers"]}
    people = known.get(PEOPLE, {})
    receivers = [_receiver(name, owner, people) for name, owner in owners.items()]
    text = _between(text, "owners' routes", list(_routes(owners)), "    ")
    return _between(text, "owners", receivers, "  ")


def _name(model: str | None) -> str:
    return "owner" if model is None else f"owner of {model}"


def _routes(owners: Iterable[str | None]) -> Iterator[dict[str, Any]]:
    for model in owners:
        matchers = {} if model is None else {"matchers": [f"model={json.dumps(model)}"]}
        yield {"receiver": _name(model), **matchers}


def _receiver(model: str | None, owner: Owner, people: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receiver like that of `people`, with the owner's address or channel."""
    receiver: dict[str, Any] = {"name": _name(model)}
    for way, (section, who) in _WAYS.items():
        if (address := getattr(owner, way)) is None:
            continue
        if not people.get(section):
            raise OwnersError(
                f"owner.{way} = {address}: the receiver `{PEOPLE}` in alertmanager.yml has no {section}, which say by"
                " which server; uncomment it there"
            )
        receiver[section] = [{**copy.deepcopy(people[section][0]), who: address}]
    return receiver


def _between(text: str, mark: str, entries: list[dict[str, Any]], indent: str) -> str:
    """Return the text with these list entries between a mark's two lines."""
    place = re.compile(rf"^( *# begin: {mark}, .*\n)(?:.*\n)*?( *# end: {mark}\n)", re.MULTILINE)
    if place.search(text) is None:
        raise OwnersError(f"alertmanager.yml lacks the lines `# begin: {mark}, …` and `# end: {mark}`")
    written = yaml.safe_dump(entries, sort_keys=False, width=1000, allow_unicode=True) if entries else ""
    return place.sub(lambda found: found[1] + textwrap.indent(written, indent) + found[2], text)


def require_accepted(text: str) -> None:
    """Raise OwnersError with what amtool says, unless it accepts the text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alertmanager.yml"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run([find_tools().amtool, "check-config", path], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OwnersError(f"amtool does not accept the result, so nothing is written: {done.stdout}{done.stderr}")


def main() -> None:
    """Write the owners into alertmanager.yml, and say who hears of what."""
    parser = argparse.ArgumentParser(description="Route each model's alerts to its owner.")
    parser.add_argument("--routing", type=Path, default=ROUTING, help="the alertmanager.yml (default: the stack's)")
    options = parser.parse_args()
    try:
        owners = owners_of(Path(os.environ.get("DRIFTLOOP_CONFIG") or ROOT / "monitoring/config.yml"))
        text = with_owners(options.routing.read_text(encoding="utf-8"), owners)
        require_accepted(text)
        options.routing.write_text(text, encoding="utf-8")
    except (DriftloopError, ToolsError, OSError) as error:
        sys.exit(f"driftloop: {error}")
    for model, owner in owners.items():
        reached = " and ".join(one for one in (owner.email, owner.slack) if one)
        print(f"{model or 'the model'}: {reached}")
    print(f"{options.routing}: {len(owners)} owners; restart Alertmanager, or send it SIGHUP")


if __name__ == "__main__":
    main()
