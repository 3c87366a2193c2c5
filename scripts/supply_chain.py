"""Ask others about what is locked: `python -m scripts.supply_chain audit` or `sbom`, that is `make audit`, `make sbom`.

pip-audit is pinned here and run by uv in an environment of its own, so that what it needs does not meet what we lock.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from monitoring.contract.errors import DriftloopError
from scripts.licences import locked_names

ROOT = Path(__file__).resolve().parent.parent
UV = str(Path(sys.executable).parent / "uv")
PIP_AUDIT = "pip-audit==2.10.0"
IGNORED = ROOT / "scripts/ignored_vulnerabilities.yml"


class SupplyChainError(DriftloopError):
    """What is locked has a known vulnerability, or nobody could say."""


def export(target: Path) -> None:
    """Write everything that uv.lock holds, hashes included, as a requirements file."""
    command = [UV, "export", "--frozen", "--all-extras", "--no-emit-project", "--quiet", "--output-file", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def tool(package: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of a pinned package in uv's environment for it."""
    return subprocess.run(
        [UV, "tool", "run", "--quiet", "--from", package, *command], capture_output=True, text=True, check=False
    )


def judge(report: Mapping[str, Any], ignored: Mapping[str, str]) -> str:
    """Return a line that sums pip-audit's JSON up; raise SupplyChainError unless all was looked up and is clean.

    pip-audit itself counts what it could not look up as clean.
    """
    found, seen, unknown = [], set(), []
    for one in report["dependencies"]:
        if "skip_reason" in one:
            unknown.append(one["name"])
        for vulnerability in one.get("vulns", []):
            names = {vulnerability["id"], *vulnerability["aliases"]}
            seen |= names
            if not names & ignored.keys():
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
                found.append(f"{one['name']} {one['version']}: {' '.join(sorted(names))}, fixed in {fixed}")
    total = len(report["dependencies"])
    if found:
        raise SupplyChainError("known vulnerabilities:\n  " + "\n  ".join(found))
    if unknown:
        raise SupplyChainError(
            f"{len(unknown)} of {total} distributions could not be looked up ({', '.join(unknown[:3])}, ...), "
            "so nothing is known about them. The index may be a mirror without the advisories; "
            'another source: make audit ARGS="--vulnerability-service osv"'
        )
    if stale := sorted(ignored.keys() - seen):
        raise SupplyChainError(f"{', '.join(stale)}: not reported any more; remove from {IGNORED.relative_to(ROOT)}")
    return f"{total} distributions, no known vulnerability, {len(ignored)} ignored with a reason"


def audit(arguments: list[str]) -> str:
    """Ask PyPI's advisories about every locked distribution; raise SupplyChainError unless all are clean."""
    ignored = yaml.safe_load(IGNORED.read_text()) or {}
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        export(requirements)
        options = ["--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", *arguments]
        done = tool(PIP_AUDIT, "pip-audit", "--requirement", str(requirements), *options)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise SupplyChainError(f"pip-audit gave no answer:\n{_end(done.stderr)}") from error
    return judge(report, ignored)


def sbom(target: Path) -> str:
    """Write a CycloneDX list of every locked distribution; raise SupplyChainError if one is missing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [UV, "export", "--frozen", "--all-extras", "--format", "cyclonedx1.5", "--quiet"]
    subprocess.run([*command, "--output-file", str(target)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    named = {component["name"] for component in json.loads(target.read_text())["components"]}
    if missing := locked_names() - named:
        raise SupplyChainError(f"not in {target}: {', '.join(sorted(missing))}")
    return f"{len(named)} distributions in {target}"


def _end(said: str) -> str:
    return "\n".join(said.strip().splitlines()[-3:])


def main() -> None:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description="Ask others about what is locked.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("audit", help="known vulnerabilities; further options go to pip-audit")
    commands.add_parser("sbom").add_argument("--target", type=Path, default=ROOT / ".local/sbom.json")
    arguments, further = parser.parse_known_args()
    if further and arguments.command == "sbom":
        parser.error(f"unknown: {' '.join(further)}")
    try:
        print(audit(further) if arguments.command == "audit" else sbom(arguments.target))
    except DriftloopError as error:
        sys.exit(f"driftloop: {error}")


if __name__ == "__main__":
    main()
