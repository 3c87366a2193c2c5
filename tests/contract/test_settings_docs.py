"""docs/settings.md and what the services read from the environment name the same variables with the same defaults."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from api.settings import APISettings
from data.simulate import SimulatorSettings
from flows.settings import FlowSettings, TriggerSettings
from monitoring.settings import MonitorSettings
from scripts.stack import PORTS
from tests.processes import ROOT

PAGE = (ROOT / "docs/settings.md").read_text()
ROW = re.compile(r"\| `(?P<name>[A-Z][A-Z0-9_]*)` \|" + r" ([^|]+?) \|" * 5)
NAME = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
SETTINGS = {
    "API": APISettings, "monitor": MonitorSettings, "flows": FlowSettings, "trigger": TriggerSettings,
    "simulator": SimulatorSettings,
}  # fmt: skip
OUR_SERVICES = {"api", "monitor", "prefect-runner", "proxy", "simulator", "trigger"}  # of docker-compose.yml
SHELL = [
    ROOT / "Procfile", ROOT / "flows/with-secrets", ROOT / "api/proxy/haproxy.cfg",
    *(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix),
]  # fmt: skip
# texts in code that look like a variable's name
NO_VARIABLES = {
    "BRANCH_EQ",
    "BRANCH_LEQ",
    "INVALID_PARAMETER_VALUE",
    "MAX_CONTENT_LENGTH",
    "PG_VERSION",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "START_TIME_DESC",
}
# what images and set-up steps say to Python, uv, apt and the shell, none of it read by a service
BUILD = re.compile("HOME|PATH|PWD|LC_ALL|APT_CONFIG|UV_.*|PYC_.*|PYTHON[A-Z]+")
FASTER_THAN_LIFE = ROOT / "scripts/demo.py"  # sets variables to values that are nobody's defaults
MAKES_OWN = {"CURDIR", "MAKE", "MAKEFILE_LIST"}

Values = dict[str, set[str]]  # variable -> what it is where nobody sets it; none where that is no constant


def _text(value: Any) -> str:
    """Write a default as one writes the variable."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"`{value}`"


def _fields() -> Iterator[tuple[str, str]]:
    for settings in SETTINGS.values():
        for name, field in settings.model_fields.items():
            yield name.upper(), "required" if field.default is PydanticUndefined else _text(field.default)


def _constants(path: Path) -> Iterator[tuple[str, str | None]]:
    """Find the variables that a module names: each, and each with the text that it stands beside as its value."""
    module = ast.parse(path.read_text())
    own = {
        t.id for node in module.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)
    }
    for node in ast.walk(module):
        pairs: list[tuple[Any, Any]] = []
        if isinstance(node, ast.Constant):
            pairs = [(node, None)]
        elif isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and len(node.args) == 2:
            pairs = [(node.args[0], node.args[1])] if node.func.attr in {"get", "setdefault"} else []
        for key, value in pairs:
            if (
                isinstance(key, ast.Constant)
                and isinstance(key.value, str)
                and NAME.fullmatch(key.value)
                and key.value not in own
            ):
                told = isinstance(value, ast.Constant) and path != FASTER_THAN_LIFE
                yield key.value, _text(value.value) if told else None


def _substituted(text: str) -> Iterator[tuple[str, str | None]]:
    """Find the variables that a shell, Compose or haproxy puts into a text, with the default that stands there."""
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for name, default in re.findall(r"\$\{?([A-Z][A-Z0-9_]*)(?::?-([^}$]+)\})?", code):
        yield name, _text(default) if default else None


def _of_make() -> Iterator[tuple[str, str | None]]:
    text = (ROOT / "Makefile").read_text()
    own = {*re.findall(r"^(?:export )?([A-Z_]+) *:?=", text, re.MULTILINE), *MAKES_OWN}
    given = dict(re.findall(r"^([A-Z_]+) *\?= *(\S+)$", text, re.MULTILINE))
    given |= dict(re.findall(r"\$\(or \$\(([A-Z]+)\),([^)]+)\)", text))
    for name in {*re.findall(r"\$\(([A-Z_]+)\)", text)} - own:
        yield name, _text(given[name]) if name in given else None


def _dotenv() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env").read_text(), re.MULTILINE))


def read_by_services() -> Values:
    """Return each variable that a service, the local stack, Compose or make reads, with its defaults."""
    found: Values = defaultdict(set)
    compose = (ROOT / "docker-compose.yml").read_text() + (ROOT / "docker-compose.secrets.yml").read_text()
    dotenv = ((name, _text(value)) for name, value in _dotenv().items())
    ports = ((f"{name.upper()}_PORT", _text(port)) for name, port in PORTS.items())
    modules = (
        p for package in ("api", "monitoring", "flows", "data", "scripts") for p in (ROOT / package).rglob("*.py")
    )
    sources = [_fields(), ports, dotenv, _of_make(), *map(_constants, modules)]
    sources += [_substituted(path.read_text()) for path in SHELL]
    for source in sources:
        for name, value in source:
            found[name] |= {value} if value else set()
    for name, value in _substituted(compose):  # a default that differs holds in containers alone: see below
        if not found[name] and value:
            found[name].add(value)
    for name in in_containers(found):
        found[name] |= set()
    return {name: values for name, values in found.items() if not BUILD.fullmatch(name) and name not in NO_VARIABLES}


def in_containers(defaults: Values) -> Values:
    """Return what the images and docker-compose.yml give our services, where that is not the default."""
    found: Values = defaultdict(set)
    for path in sorted(ROOT.glob("[a-z]*/**/Dockerfile")):
        for block in re.findall(r"^ENV (.*(?:\\\n.*)*)", path.read_text(), re.MULTILINE):
            for name, value in re.findall(r"([A-Z][A-Z0-9_]*)=(\S+)", block):
                found[name].add(value)
    dotenv = _dotenv()
    for service, about in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items():
        for name, value in about["environment"].items() if service in OUR_SERVICES else ():
            given = re.sub(r"\$\{([A-Z_]+)(?::?[-?]([^}]*))?\}", lambda m: m[2] or dotenv.get(m[1], ""), str(value))
            found[name] |= {given} if given else set()
    return {
        name: {_text(value) for value in values} - defaults.get(name, set())
        for name, values in found.items()
        if not BUILD.fullmatch(name)
    }


def documented() -> dict[str, list[str]]:
    """Return the table's rows: variable -> read by, default, in containers, unit, meaning."""
    rows = [ROW.fullmatch(line) for line in PAGE.splitlines() if line.startswith("| `")]
    assert None not in rows, "a row of the table has another form"
    names = [row["name"] for row in rows if row]
    assert names == sorted(set(names)), "the variables stand in the order of the alphabet, each once"
    return {row["name"]: list(row.groups()[1:]) for row in rows if row}


def _values(cell: str) -> set[str]:
    return set(cell.split(", ")) - {"-"}


def test_every_variable_is_documented_and_no_other() -> None:
    """A variable that is read and not in the table is told by name, and so is one that is read no more."""
    read, told = read_by_services(), documented()
    assert (sorted(read.keys() - told.keys()), sorted(told.keys() - read.keys())) == ([], [])


def test_the_defaults_are_those_of_the_code() -> None:
    """Also where two services differ, and where containers do."""
    read, told = read_by_services(), documented()
    given = in_containers(read)
    wrong = {
        name: (told[name][1:3], sorted(read[name]), sorted(given.get(name, ())))
        for name in read.keys() & told.keys()
        if _values(told[name][1]) != read[name] or _values(told[name][2]) != given.get(name, set())
    }
    assert not wrong


def test_the_readers_are_those_of_the_code() -> None:
    """Each service whose settings have the variable is named beside it."""
    told = documented()
    missing = [
        (field.upper(), service)
        for service, settings in SETTINGS.items()
        for field in settings.model_fields
        if service not in told.get(field.upper(), [""])[0].split(", ")
    ]
    assert not missing
