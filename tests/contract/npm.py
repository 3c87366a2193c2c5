"""Packages of npm that contract tests ask, where node is."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT

_NO_NETWORK = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


def install(packages: Path) -> Path:
    """Install the packages of a folder once into .local, in the exact versions of its lock; skip if that cannot be."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip(f"node and npm are not here: nothing is held against the packages of {packages.name}")
    digest = hashlib.sha256((packages / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / f".local/{packages.name}-packages" / digest
    if not (folder / ".ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(packages / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        command += ["--fetch-retries=1", "--fetch-timeout=60000"]  # milliseconds
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
        if done.returncode and any(code in done.stderr for code in _NO_NETWORK):
            pytest.skip(f"npm's registry cannot be reached: nothing is held against the packages of {packages.name}")
        assert done.returncode == 0, done.stderr
        (folder / ".ready").touch()
    return folder
