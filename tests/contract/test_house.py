"""The house's lines: who may import whom, what the code must not know, and what lies at the top."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring.contract.config_file import load_config

ROOT = Path(__file__).parents[2]
MODEL = load_config(ROOT / "monitoring/config.yml").model
PACKAGES = ("api", "monitoring", "flows", "data", "scripts")
CONTRACT = {f"monitoring.contract.{path.stem}" for path in (ROOT / "monitoring/contract").glob("[a-z]*.py")}

# package -> what it may import of the others
MAY_IMPORT = {
    "api": CONTRACT,
    "monitoring": set(),
    "flows": CONTRACT | {"data.sample"},  # the sample reference of a first start
    "data": CONTRACT,
    "scripts": CONTRACT | {"data.simulate", "data.drifts"},  # the demo's traffic
}
# library -> the packages that may import it
KEPT_TO = {
    "evidently": {"monitoring"},
    "mlflow": {"flows"},
    "prefect": {"flows"},
    "sklearn": {"monitoring", "flows"},
    "pandas": {"monitoring", "flows"},
    "pyspark": {"monitoring"},
}
# what the files that every service loads may load themselves
CONTRACT_LIBRARIES = {"pyarrow", "pydantic", "pydantic_settings", "structlog", "yaml"}

TOP = {
    ".ci", ".dockerignore", ".env", ".env.example", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "Procfile",
    "README.md", "alertmanager", "api", "benchmarks", "data", "docker-compose.secrets.yml",
    "docker-compose.yml", "docs", "flows", "grafana", "monitoring", "postgres", "prometheus", "pyproject.toml",
    "scripts", "tests", "uv.lock",
}  # fmt: skip

SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EACH_SOURCE = pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in SOURCES])


def _imports(path: Path) -> Iterator[str]:
    """Name every module that a file imports, anywhere in it; `from x import y` gives x and, for a module y, x.y."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join((path.relative_to(ROOT).parts[0], node.module or "")) if node.level else node.module or ""
            inner = [f"{module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()]
            yield from modules or [module]


def _package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def test_there_are_sources_to_judge() -> None:
    """The checks below see every package."""
    assert {_package(path) for path in SOURCES} == set(PACKAGES)


@EACH_SOURCE
def test_packages_import_only_what_they_may(path: Path) -> None:
    """Packages meet over HTTP and files; of each other they import the contract alone."""
    own = _package(path)
    foreign = {name for name in _imports(path) if name.split(".")[0] in {*PACKAGES, "tests"} - {own}}
    assert foreign <= MAY_IMPORT[own]


@EACH_SOURCE
def test_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    """Evidently is imported by monitoring alone; the API imports neither pandas nor MLflow nor scikit-learn."""
    strays = [name for name in _imports(path) if _package(path) not in KEPT_TO.get(name.split(".")[0], {*PACKAGES})]
    assert not strays


@pytest.mark.parametrize("module", sorted(CONTRACT))
def test_the_contract_is_light(module: str) -> None:
    """The contract's modules, which every service loads, need the base dependencies alone."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    libraries = {name.split(".")[0] for name in _imports(path)} - {"monitoring"}
    assert {one for one in libraries if one not in sys.stdlib_module_names} <= CONTRACT_LIBRARIES


@EACH_SOURCE
def test_code_does_not_know_the_features(path: Path) -> None:
    """No feature's name, nor the family's, stands in code: they come from config.yml."""
    family = MODEL.features[0].rpartition("_")[0]
    lines = [line for line in path.read_text().splitlines() if family in line.lower()]
    assert not lines


@EACH_SOURCE
def test_code_does_not_know_how_many_features_there_are(path: Path) -> None:
    """The number of features is no literal in code."""
    numbers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
    assert not [n.lineno for n in numbers if type(n.value) in (int, float) and n.value == len(MODEL.features)]


@EACH_SOURCE
def test_code_does_not_know_the_categories(path: Path) -> None:
    """No category's name is, or is a word of, a text in code, nor a name in it."""
    names = re.compile(rf"\b({'|'.join(MODEL.categories)})\b", re.IGNORECASE)
    tree = ast.parse(path.read_text())
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    identifiers = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
    assert not [text for text in texts + identifiers if names.search(text)]


def test_the_top_level_holds_what_the_house_has() -> None:
    """Nothing lies at the top of the repository that the house does not name."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is ignored cannot be told from what is part of it")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {name.split("/")[0] for name in listed} <= TOP
