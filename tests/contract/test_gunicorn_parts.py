"""gunicorn's private parts: which ones the API builds on stands in one place, and the installed gunicorn has them."""

import ast
import inspect
import socket
import tomllib
from importlib import metadata

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from packaging.requirements import Requirement

from api.connections import Connection
from api.gunicorn_parts import (
    CONNECTION_MEMBERS,
    REPLACED_METHODS,
    WORKER_MEMBERS,
    TConn,
    ThreadWorker,
    get_parser,
)
from api.workers import Worker
from tests.processes import ROOT

LOOP = inspect.getsource(ThreadWorker)


def attributes_of(cls: type, name: str, context: type[ast.expr_context] = ast.expr_context) -> set[str]:
    """Return the attributes of a variable that a class's code reads or sets."""
    nodes = ast.walk(ast.parse(inspect.getsource(cls)))
    found = (node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, context))
    return {node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == name}


@pytest.mark.parametrize("name", REPLACED_METHODS)
def test_gunicorn_calls_the_methods_that_are_replaced(name: str) -> None:
    """Its loop refers to each by name, and passes to it what ours takes."""
    assert f"self.{name}" in LOOP
    for cls in (ThreadWorker, Worker):
        assert len(inspect.signature(getattr(cls, name)).parameters) == 1 + REPLACED_METHODS[name], cls


def test_gunicorn_has_the_members_that_are_used() -> None:
    """A worker and a connection of gunicorn's own have each of them, and its threads read the connection's."""
    config = Config()
    worker = ThreadWorker(0, 0, [], None, 0, config, Logger(config))
    worker.tmp.close()
    here, there = socket.socketpair()
    with here, there:
        connection = TConn(config, here, None, None)
        parser = get_parser(config, here, None)
        there.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
        assert next(parser).path == "/ready"
    assert {name for name in WORKER_MEMBERS if not hasattr(worker, name)} == set()
    assert {name for name in CONNECTION_MEMBERS if not hasattr(connection, name)} == set()
    assert {name for name in CONNECTION_MEMBERS if f"conn.{name}" not in LOOP} == set()


def test_the_lists_name_all_that_is_used() -> None:
    """What our classes take from gunicorn's, and have not themselves, is on the lists."""
    config = Config()
    worker = ThreadWorker(0, 0, [], None, 0, config, Logger(config))
    worker.tmp.close()
    inherited = {name for name in attributes_of(Worker, "self") if hasattr(worker, name)}
    assert inherited - vars(Worker).keys() == WORKER_MEMBERS
    assert {name for name in vars(Worker) if hasattr(ThreadWorker, name) and not name.startswith("__")} == {
        "check_config",
        *REPLACED_METHODS,
    }
    assert attributes_of(Connection, "self", ast.Store) >= CONNECTION_MEMBERS


def test_nothing_else_imports_private_parts() -> None:
    """The settings file takes the logger's class, which gunicorn documents as a base for one's own."""
    importing = {}
    for file in (ROOT / "api").rglob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        if modules := {node.module for node in nodes if (node.module or "").startswith("gunicorn")}:
            importing[file.name] = modules
    assert importing.keys() == {"gunicorn.conf.py", "gunicorn_parts.py"}
    assert importing["gunicorn.conf.py"] == {"gunicorn.glogging"}


def test_only_tested_releases_are_allowed() -> None:
    """The range has an end, short of the minor release after the locked one; what is installed is in it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (allowed,) = (Requirement(line).specifier for line in extras["api"] if line.startswith("gunicorn"))
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (locked,) = (package["version"] for package in packages if package["name"] == "gunicorn")
    major, minor, *_ = locked.split(".")
    assert allowed.contains(locked)
    assert allowed.contains(metadata.version("gunicorn"))
    assert not allowed.contains(f"{major}.{int(minor) + 1}.0")
