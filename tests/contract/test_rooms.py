"""The rooms of the house and their order, and what code, dependencies, Dockerfiles and docs make of it.

The one list is pyproject's [tool.driftloop]. A rule that is broken names every place where it is.
"""

import graphlib
import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.contract.sources import HOUSE, PACKAGES, PYPROJECT, SOURCES, Import, imports, is_within, module_of
from tests.processes import ROOT

ROOMS: dict[str, list[list[str]]] = HOUSE["rooms"]
OPTIONAL: dict[str, list[str]] = HOUSE["optional"]
LAZY: dict[str, str] = HOUSE["lazy"]
CONTRACT = "monitoring.contract"
PROBE = "monitoring/contract/probe.py"  # a script by itself: the servers' images hold no other file of the contract

# what is large, or slow to import, and the packages that load it; the trigger's container has none of the flows'
HEAVY = {
    "api": {"onnxruntime"},
    "monitoring": {"evidently", "pandas", "pyspark", "sklearn"},
    "flows": {"mlflow", "onnxruntime", "pandas", "prefect", "sklearn"},
    "flows.trigger": set(),
    "data": set(),
    "scripts": set(),
}


def _report(offenders: list[str]) -> str:
    return "\n".join(["", *offenders])


# --- imports ----------------------------------------------------------------------------------------------------------


def test_packages_import_only_what_they_may() -> None:
    """Packages meet over HTTP and files; of each other they import the contract, and what pyproject names beside it."""
    offenders = [
        str(one)
        for one in imports()
        if one.is_ours and not any(is_within(one.imported, allowed) for allowed in _allowed(one))
    ]
    assert not offenders, _report(offenders)


def _allowed(one: Import) -> list[str]:
    own = one.importer.split(".")[0]
    return [own, *HOUSE["imports"][own]]


def _place(module: str) -> tuple[str, str]:
    """Return a module's package and its room there."""
    package, _, inner = module.partition(".")
    return package, inner.partition(".")[0]


def _floor(package: str, room: str) -> int:
    """Return on which floor a room stands; what is in none stands above them all."""
    floors = ROOMS[package]
    return next((floor for floor, rooms in enumerate(floors) if room in rooms), len(floors))


def test_no_import_between_rooms_goes_up() -> None:
    """A room imports lower ones; those of one floor do not know each other."""
    offenders = []
    for one in imports():
        (package, room), (imported, other) = _place(one.importer), _place(one.imported)
        inside = package == imported and package in ROOMS and room != other
        if inside and _floor(package, room) < len(ROOMS[package]) and _floor(package, other) >= _floor(package, room):
            offenders.append(str(one))
    assert not offenders, _report(offenders)


def test_every_folder_is_a_room() -> None:
    """No folder of a package that has rooms stands outside their order."""
    folders = {path.parent.relative_to(ROOT).parts for path in SOURCES}
    offenders = [
        "/".join(folder)
        for folder in sorted(folders)
        if len(folder) > 1 and folder[0] in ROOMS and _floor(*folder[:2]) == len(ROOMS[folder[0]])
    ]
    assert not offenders, _report(offenders)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The modules can be put into an order in which each imports earlier ones alone."""
    graph: dict[str, set[str]] = {}
    for one in imports():
        graph.setdefault(one.importer, set()).add(one.imported)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_only_the_suite_imports_evidently() -> None:
    """Everything else reads the suite's results."""
    strays = [
        str(one) for one in imports()
        if is_within(one.imported, "evidently") and not is_within(one.importer, "monitoring.suite")
    ]  # fmt: skip
    assert not strays, _report(strays)


# --- dependencies -----------------------------------------------------------------------------------------------------


def _loaded_by(package: str) -> list[Import]:
    """Return the imports of foreign libraries in a package, and in what it imports of the others."""
    modules = {module_of(path) for path in SOURCES if is_within(module_of(path), package)}
    reached = {one for one in modules if not any(is_within(one, optional) for optional in OPTIONAL)}
    while more := {one.imported for one in imports() if one.is_ours and one.importer in reached} - reached:
        reached |= more
    return [
        one for one in imports()
        if one.importer in reached and not one.is_ours and one.library not in sys.stdlib_module_names
    ]  # fmt: skip


def test_heavy_libraries_stay_where_they_belong() -> None:
    """The API loads neither pandas nor MLflow nor scikit-learn, the trigger nothing of the flows', and so on."""
    heavy = set().union(*HEAVY.values())
    offenders = [
        f"{package}: {one}" for package, own in HEAVY.items() for one in _loaded_by(package)
        if one.library in heavy - own
    ]  # fmt: skip
    assert not offenders, _report(offenders)


def test_the_base_dependencies_are_the_contracts() -> None:
    """Every service loads the contract: what it imports is installed everywhere, and nothing else is."""
    declared = {re.split(r"[^\w-]", one)[0].lower() for one in PYPROJECT["project"]["dependencies"]}
    known = {library: {name.lower() for name in names} for library, names in packages_distributions().items()}
    loaded = [one for one in _loaded_by(CONTRACT) if one.library not in LAZY]
    offenders = [str(one) for one in loaded if not known[one.library] & declared]
    assert not offenders, _report(offenders)
    assert declared - {"tzdata"} == set().union(*(known[one.library] for one in loaded))  # data, which zoneinfo reads


@pytest.mark.parametrize("library", LAZY)
def test_what_is_imported_where_it_is_needed_is_an_extra(library: str) -> None:
    """The contract and the monitor load without it."""
    extra = PYPROJECT["project"]["optional-dependencies"][LAZY[library]]
    assert [re.split(r"[^\w-]", one)[0] for one in extra] == [library]
    script = "import sys, monitoring.monitor, monitoring.batch.inputs; sys.exit(sys.argv[1] in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, library], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("optional", OPTIONAL)
def test_what_is_optional_needs_what_is_listed(optional: str) -> None:
    """Beside the base dependencies; what needs no list is no exception."""
    loaded = {
        one.library for one in imports()
        if is_within(one.importer, optional) and not one.is_ours and one.library not in sys.stdlib_module_names
    }  # fmt: skip
    assert loaded == set(OPTIONAL[optional])


# --- the same list everywhere -----------------------------------------------------------------------------------------


def test_the_tools_check_the_packages_there_are() -> None:
    """Types and imports are checked in every package."""
    assert PYPROJECT["tool"]["mypy"]["packages"] == list(PACKAGES)
    assert PYPROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"] == list(PACKAGES)


def test_images_hold_what_their_package_may_import() -> None:
    """A Dockerfile copies its package and those it imports; of the monitor, the contract's folder as one."""
    offenders = []
    for package in HOUSE["imports"].keys() - {"scripts"}:
        copied = re.findall(r"^COPY (\S+) (\S+)$", (ROOT / package / "Dockerfile").read_text(), re.MULTILINE)
        ours = {source: target for source, target in copied if source.split("/")[0] in PACKAGES}
        ours = {source: target for source, target in ours.items() if source not in (PROBE, "flows/with-secrets")}
        imported = {one if one == CONTRACT else one.split(".")[0] for one in HOUSE["imports"][package]}
        expected = {one.replace(".", "/") for one in (package, *imported)}
        if ours != {one: one for one in expected}:
            offenders.append(f"{package}/Dockerfile copies {sorted(ours)}, and should copy {sorted(expected)}")
    assert not offenders, _report(offenders)


@pytest.mark.parametrize("package", ROOMS)
def test_the_docs_show_the_rooms_in_their_order(package: str) -> None:
    """docs/architecture.md has a row per floor, from the lowest up."""
    _, _, section = (ROOT / "docs/architecture.md").read_text().partition("\n## Who may import whom\n")
    rows = re.findall(rf"^\| `{package}` \| (.+?) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == ROOMS[package]
