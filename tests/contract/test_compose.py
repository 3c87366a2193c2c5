"""docker-compose.yml, .env and the Dockerfiles: what every service has, read from the files."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.processes import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
FIRST = COMPOSE["services"].pop("secrets")  # which makes the others' secrets, and ends
SETTINGS = dict(line.split("=", 1) for line in (ROOT / ".env").read_text().splitlines() if line and line[0] != "#")
EACH_SERVICE = pytest.mark.parametrize(
    "service", [pytest.param(service, id=name) for name, service in COMPOSE["services"].items()]
)
DOCKERFILES = sorted(ROOT.glob("[a-z]*/**/Dockerfile"))
EACH_DOCKERFILE = pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in DOCKERFILES])

# The root user's exceptions; the reason stands beside the line.
ROOT_USERS = {"cadvisor"}
INTERNAL = {"loop", "database", "exporters"}
READERS = dict(argument.split("=", 1) for argument in FIRST["command"] if "=" in argument)


def test_every_service_of_the_stack_is_there() -> None:
    """The stack is complete, and the simulator starts with the profile `demo` alone."""
    assert COMPOSE["services"].keys() == {
        "api", "monitor", "trigger", "prefect-server", "prefect-runner", "mlflow", "postgres", "prometheus",
        "alertmanager", "grafana", "cadvisor", "node-exporter", "proxy", "simulator", "databases",
    }  # fmt: skip
    assert [name for name, service in COMPOSE["services"].items() if "profiles" in service] == ["simulator"]


@EACH_SERVICE
def test_no_service_lacks_its_limits(service: dict[str, Any]) -> None:
    """Each has limits and log rotation, and, unless it ends, a health check and a restart policy."""
    if service is not COMPOSE["services"]["databases"]:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()
        assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < float(service["cpus"]) <= 1  # more than a small machine has would not start
    assert service["pids_limit"] > 0
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


@EACH_SERVICE
def test_no_service_has_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    """Each has a read-only root, no capabilities, no way to new privileges, and nothing that lifts these."""
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode"} & service.keys()


def test_root_is_the_exception_and_is_explained() -> None:
    """Every service names a user other than root; one that cannot says why beside the line."""
    roots = {name for name, s in COMPOSE["services"].items() if s["user"].split(":")[0] in ("0", "root", "")}
    assert roots == ROOT_USERS
    lines = (ROOT / "docker-compose.yml").read_text().splitlines()
    assert all("# exception: " in line for line in lines if 'user: "0:0"' in line)


@EACH_SERVICE
def test_dependencies_are_waited_for(service: dict[str, Any]) -> None:
    """A dependency is waited for until it is healthy, and the secrets until they are there.

    The API alone is not: it may wait for a model of the user's, and the proxy passes on what can be answered meanwhile.
    """
    conditions = {name: one["condition"] for name, one in service.get("depends_on", {}).items()}
    ended = "service_completed_successfully"
    due = {"secrets": ended, "databases": ended, "api": "service_started"}
    assert conditions == {name: due.get(name, "service_healthy") for name in conditions}


@EACH_SERVICE
def test_configuration_is_mounted_read_only(service: dict[str, Any]) -> None:
    """What comes from the host is read-only; what is written goes to a named volume."""
    for volume in service.get("volumes", []):
        source = re.sub(r"\$\{[^}]*\}", "./", volume).split(":")[0]
        assert volume.endswith(":ro") or source in COMPOSE["volumes"], volume


@EACH_SERVICE
def test_what_is_published_listens_on_loopback(service: dict[str, Any]) -> None:
    """Ports are published on 127.0.0.1, and only by services that are on the network with a way out."""
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-(\d+)\}:\1", port)
        assert "edge" in service["networks"]


def test_networks_without_a_way_out() -> None:
    """All networks but one are internal; the databases and the exporters are beside those that need them."""
    assert {name for name, network in COMPOSE["networks"].items() if network.get("internal")} == INTERNAL
    members = {n: {s for s, of in COMPOSE["services"].items() if n in of["networks"]} for n in COMPOSE["networks"]}
    assert members["database"] == {"postgres", "databases", "prefect-server", "mlflow"}
    assert members["exporters"] == {"prometheus", "cadvisor", "node-exporter"}


def test_every_foreign_image_has_an_exact_tag_in_env() -> None:
    """An image is built here, or its tag is a version and stands in .env."""
    services = COMPOSE["services"].values()
    started = {of["image"] for of in services if "build" not in of and not of["image"].startswith("driftloop/")}
    built_on = {image for of in services if "build" in of for image in of["build"]["args"].values()}
    built_on -= {"${SOURCE_DATE_EPOCH:?}"}
    assert started | built_on == {f"${{{name}:?}}" for name in SETTINGS if name.endswith("_IMAGE")}
    for name, image in SETTINGS.items():
        if name.endswith("_IMAGE"):
            assert re.search(r":v?\d+(\.\d+)*[\w.-]*$", image), name


def test_no_secret_stands_in_a_tracked_file() -> None:
    """Passwords come from files of secrets alone."""
    for name, of in COMPOSE["services"].items():
        for key, value in of.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|KEY|SECRET", key) and value not in ("true", "false"):
                assert str(value).startswith("/run/secrets/"), (name, key)


def test_who_reads_secrets_has_its_own_from_the_start() -> None:
    """Each reader waits for its secrets, in a volume that nobody else has, and which belongs to its user."""
    services = COMPOSE["services"]
    mounted = {name: [v for v in of.get("volumes", []) if "/run/secrets" in v] for name, of in services.items()}
    readers = {name: volumes for name, volumes in mounted.items() if volumes}
    assert readers == {name: [f"secrets-{name}:/run/secrets:ro"] for name in READERS}
    for name, told in READERS.items():
        assert told.split("=")[0] == services[name]["user"]
        assert services[name]["depends_on"]["secrets"] == {"condition": "service_completed_successfully"}
        assert f"secrets-{name}:/services/{name}" in FIRST["volumes"]


def test_what_reads_a_secret_is_given_it() -> None:
    """Every secret that a service's settings or command name is among those that it is handed."""
    for name, of in COMPOSE["services"].items():
        text = yaml.safe_dump({key: of.get(key) for key in ("command", "environment", "healthcheck")})
        named = {*re.findall(r"=(?:\w+:)?@(\w+)", text), *re.findall(r"/run/secrets/(\w+)", text)}
        assert named <= {*READERS.get(name, "=").split("=")[1].split(",")}, name


def test_the_service_that_makes_secrets_can_do_that_alone() -> None:
    """It is root, to give files away: without a network, on a read-only root, with the rights for just that."""
    assert FIRST["network_mode"] == "none"
    assert (FIRST["read_only"], FIRST["cap_drop"]) == (True, ["ALL"])
    assert set(FIRST["cap_add"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER"}
    assert FIRST["security_opt"] == ["no-new-privileges:true"]
    assert FIRST["restart"] == "no"
    assert [v for v in FIRST["volumes"] if not v.startswith("secrets") and not v.endswith(":ro")] == []


@EACH_DOCKERFILE
def test_images_are_built_alike(path: Path) -> None:
    """Each starts from an image that .env names, ends as our user, and needs no syntax that an older BuildKit lacks."""
    text = path.read_text()
    base = re.search(r"^ARG (\w+_IMAGE)(?:=(.*))?\n", text, re.MULTILINE)
    assert base is not None
    assert base[2] in (None, SETTINGS[base[1]])
    assert set(re.findall(r"^FROM \$\{(\w+)\}", text, re.MULTILINE)) == {base[1]}
    assert not re.search(r"^# *syntax=|<<|COPY --link|@sha256", text, re.MULTILINE)
    stages = text.split("\nFROM ")[1:]
    assert "USER 10001:10001" in stages[-1]
    for command in re.findall(r"^(?:CMD|ENTRYPOINT) (.*)", text, re.MULTILINE):
        assert command.startswith("["), command  # so that signals reach the process


def test_images_share_their_first_layers() -> None:
    """The lines up to the locked base packages are the same in every image of ours that runs Python code."""
    texts = [path.read_text() for path in DOCKERFILES if "uv sync" in path.read_text()]
    assert len(texts) == 4
    marker = "uv sync --frozen --no-dev\n"
    assert len({text[: text.index(marker) + len(marker)] for text in texts}) == 1
    assert all("--frozen" in line for text in texts for line in text.splitlines() if "uv sync" in line)


def test_uv_is_the_makefiles() -> None:
    """One version of uv installs everywhere."""
    version = re.search(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    pinned = {v for path in DOCKERFILES for v in re.findall(r"uv==(\S+)", path.read_text())}
    assert pinned == {version[1]}


def test_who_shares_a_volume_is_one_user() -> None:
    """Folders in it are their maker's alone (0700): another user could not read what the first has written."""
    users: dict[str, set[str]] = {}
    for service in COMPOSE["services"].values():
        for mount in service.get("volumes", ()):
            if (volume := mount.partition(":")[0]) in COMPOSE["volumes"]:
                users.setdefault(volume, set()).add(service["user"])
    assert users["data"] == {"10001:10001"}
    assert all(len(found) == 1 for found in users.values()), users
