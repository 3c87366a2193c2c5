"""What stands in the packages: their files, the modules they import, and the words in them that are code."""

import ast
import importlib.util
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.processes import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOUSE = PYPROJECT["tool"]["driftloop"]
PACKAGES: tuple[str, ...] = tuple(HOUSE["imports"])
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """A module that imports another, and the line."""

    importer: str
    imported: str
    place: str

    @property
    def library(self) -> str:
        return self.imported.split(".")[0]

    @property
    def is_ours(self) -> bool:
        return self.library in (*PACKAGES, "tests")

    def __str__(self) -> str:
        return f"{self.place}: {self.importer} imports {self.imported}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports() -> tuple[Import, ...]:
    """Return every import anywhere in a file; `from x import y` gives x.y where y is a module of ours, else x."""
    return tuple(
        Import(module_of(path), name, f"{path.relative_to(ROOT)}:{node.lineno}")
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node, path)
    )


def _names(node: ast.Import | ast.ImportFrom, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
    inner = [f"{module}.{alias.name}" for alias in node.names]
    modules = [name for name in inner if _is_module(name)]
    return modules if len(modules) == len(inner) else [module, *modules]


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def words(path: Path) -> Iterator[tuple[int, str]]:
    """Give the line and the text of each name that a file defines or reads, and of each string that is no docstring."""
    tree = tree_of(path)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.arg(arg=word) | ast.FunctionDef(name=word) | ast.ClassDef(name=word):
                yield node.lineno, word
            case ast.Constant(value=str(word)) if id(node) not in docstrings:
                yield node.lineno, word
