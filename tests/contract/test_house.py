"""The house's rules beside its rooms: what code must not know, and what lies at the top."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from monitoring.contract.config_file import load_config
from tests.contract.sources import SOURCES, tree_of, words
from tests.processes import ROOT

MODEL = load_config(ROOT / "monitoring/config.yml").model

TOP = {
    ".ci", ".dockerignore", ".env", ".env.example", ".gitignore", "CHANGELOG.md", "LICENSE", "Makefile", "Procfile",
    "README.md", "alertmanager", "api", "benchmarks", "data", "deploy", "docker-compose.secrets.yml",
    "docker-compose.yml", "docs", "flows", "grafana", "monitoring", "postgres", "prometheus", "pyproject.toml",
    "scripts", "tests", "uv.lock",
}  # fmt: skip


def test_a_packages_init_is_a_docstring() -> None:
    """It says what the room is for; nothing happens there, for it is loaded with whatever stands in the room."""
    inits = [path / "__init__.py" for path in sorted({path.parent for path in SOURCES})]
    offenders = [str(path.relative_to(ROOT)) for path in inits if not path.exists() or not _is_docstring(path)]
    assert not offenders, "\n".join(offenders)


def _is_docstring(path: Path) -> bool:
    tree = tree_of(path)
    return len(tree.body) == 1 and ast.get_docstring(tree) is not None


def test_code_knows_neither_features_nor_categories() -> None:
    """No name in code and no text is a feature's or a category's; prose, docstrings and messages may speak of them."""
    names = {name.lower() for name in (*MODEL.features, *MODEL.categories)}
    family = MODEL.features[0].rpartition("_")[0]
    offenders = [
        f"{path.relative_to(ROOT)}:{line}: {word!r}" for path in SOURCES for line, word in words(path)
        if word.strip().lower() in names or (family and re.search(rf"\b_?{family}(_|\b)", word, re.IGNORECASE))
    ]  # fmt: skip
    assert not offenders, "\n".join(offenders)


def test_the_top_level_holds_what_the_house_has() -> None:
    """Nothing lies at the top of the repository that the house does not name."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is ignored cannot be told from what is part of it")
    command = [git, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    assert {name.split("/")[0] for name in listed} <= TOP
