"""What the engine says of the running containers, not what the file asks for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.compose import PROJECT, Compose
from tests.processes import ROOT

pytestmark = pytest.mark.timeout(1200)

# service -> what it is allowed to lack; docker-compose.yml says why beside the line
EXCEPTIONS = {"cadvisor": {"non-root"}}
PUBLISHED = {"proxy", "monitor", "trigger", "prefect-server", "mlflow", "prometheus", "alertmanager", "grafana"}

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SECRETS = {name for service in SERVICES.values() for name in service.get("secrets", [])}
YOURS = {"smtp_password", "slack_webhook_url"}  # to fill: empty before


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


@contextmanager
def put_aside(file: Path) -> Iterator[Path]:
    """Take a secret away meanwhile; one that somebody has filled in is as before at the end."""
    kept = file.rename(file.with_name(f".{file.name}.kept"))
    try:
        yield file
    finally:
        kept.replace(file)


def lacks(container: dict[str, Any]) -> set[str]:
    host, config = container["HostConfig"], container["Config"]
    holds = {
        "non-root": config["User"].split(":")[0] not in ("", "0", "root"),
        "read-only root": host["ReadonlyRootfs"],
        "no capabilities": host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"],
        "no new privileges": "no-new-privileges:true" in (host["SecurityOpt"] or []),
        "memory limit": host["Memory"] > 0,
        "CPU limit": host["NanoCpus"] > 0,
        "process limit": (host["PidsLimit"] or 0) > 0,
        "restart policy": host["RestartPolicy"]["Name"] == "unless-stopped",
        "log rotation": {"max-size", "max-file"} <= host["LogConfig"]["Config"].keys(),
        "health check": bool(config.get("Healthcheck", {}).get("Test")),
    }
    return {item for item, held in holds.items() if not held}


def test_every_container_is_hardened(stack: Compose) -> None:
    """No container has root, capabilities, a writable root, or unbounded memory, CPU or logs."""
    lacking = {service_of(c): missing for c in stack.containers() if (missing := lacks(c))}
    assert lacking == EXCEPTIONS


def as_root(stack: Compose, service: str) -> set[str]:
    """Return the processes of a service that have uid 0, each as its file in /proc."""
    found = stack.execute(
        service, "sh", "-c", "grep -l '^Uid:.*[[:space:]]0[[:space:]]' /proc/[0-9]*/status", check=False
    )
    assert found.returncode in (0, 1, 2), (service, found.stderr)  # 2: one ended meanwhile
    return set(found.stdout.split())


def test_every_process_is_what_the_engine_says(stack: Compose) -> None:
    """Seen from inside: no process has uid 0, and nothing can be written beside the volumes and /tmp.

    The engine's own, with which it enters a container to run a health check, has it for a moment: what was there in
    one look is looked for again.
    """
    for service in stack.services():
        tried = stack.execute(service, "sh", "-c", "echo x >/etc/tried || echo x >/usr/tried", check=False)
        assert "ead-only" in tried.stderr, service
        assert tried.returncode != 0, service
        if service not in EXCEPTIONS and (seen := as_root(stack, service)):
            time.sleep(1)
            assert not seen & as_root(stack, service), service


def test_ports_listen_on_loopback_alone(stack: Compose) -> None:
    """Only what a person opens is published, and the host listens for it on 127.0.0.1 alone."""
    published: dict[str, set[str]] = {}
    ports = set()
    for container in stack.containers():
        for bindings in container["NetworkSettings"]["Ports"].values():
            for binding in bindings or []:
                published.setdefault(service_of(container), set()).add(binding["HostIp"])
                ports.add(int(binding["HostPort"]))
    assert published == {service: {"127.0.0.1"} for service in PUBLISHED & set(stack.services())}
    listening = {
        line.split()[1].split(":")[0]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) in ports
    }
    assert listening == {"0100007F"}  # 127.0.0.1


@pytest.mark.parametrize(
    ("service", "target", "port", "reachable"),
    [
        pytest.param("mlflow", "postgres", 5432, True, id="MLflow reaches the database"),
        pytest.param("api", "postgres", 5432, False, id="the API does not reach the database"),
        pytest.param("monitor", "postgres", 5432, False, id="the monitor does not reach the database"),
        pytest.param("trigger", "node-exporter", 9100, False, id="the trigger does not reach the exporters"),
        pytest.param("api", "cadvisor", 8080, False, id="the API does not reach cAdvisor"),
        pytest.param("api", "mlflow", 5000, True, id="the API reaches the registry"),
    ],
)
def test_networks_part_what_need_not_meet(
    stack: Compose, service: str, target: str, port: int, *, reachable: bool
) -> None:
    """A service reaches what it needs, by name; what it does not need it reaches neither by name nor by address."""
    networks = stack.containers(target)[0]["NetworkSettings"]["Networks"].values()
    for address in [target, *(network["IPAddress"] for network in networks)]:
        code = f"import socket; socket.create_connection(({address!r}, {port}), 3)"
        done = stack.execute(service, "env", "RES_OPTIONS=timeout:1 attempts:1", "python", "-c", code, check=False)
        if reachable and done.returncode == 0:
            return
        assert reachable or done.returncode != 0, address
    assert not reachable, f"{service} does not reach {target}"


def test_secrets_are_closed_to_all_but_their_service(stack: Compose) -> None:
    """Folder and files open to one user alone, are not in git, and stand in nothing that `docker inspect` shows."""
    assert stack.run("stat", "-c", "%a", "secrets").stdout.strip() == "700"
    assert stack.run("git", "check-ignore", "secrets/api_key").stdout
    shown, read = str(stack.containers()), set()
    for container in stack.containers():
        user = container["Config"]["User"].split(":")[0]
        files = [m["Destination"] for m in container["Mounts"] if m["Destination"].startswith("/run/secrets/")]
        for file in files:
            told = stack.execute(service_of(container), "sh", "-c", f"stat -c '%a %u' {file}; cat {file}").stdout
            rights, _, secret = told.strip().partition("\n")
            assert rights == f"600 {user}", (container["Name"], file)
            assert secret not in shown or not secret, file
            name = file.rpartition("/")[2]
            assert len(secret) == 64 or name in YOURS, name
            read.add(name)
    assert read == SECRETS - ({"grafana_password"} if "grafana" not in stack.services() else set())


def test_a_secret_that_was_filled_in_by_hand_is_put_right(stack: Compose) -> None:
    """`make secrets` closes the file and gives it to its service, and leaves what it says as it is."""
    with put_aside(ROOT / "secrets" / "smtp_password") as file:
        file.write_text("by hand")
        stack.run("scripts/secrets")
        assert f"{file.stat().st_mode & 0o777:o}" == "600"
        read = ("--entrypoint", "cat", "alertmanager", "/run/secrets/smtp_password")
        assert stack.compose("run", "--rm", "--no-deps", "-T", *read).stdout == "by hand"


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in sorted(SECRETS)])
def test_a_start_with_a_secret_missing_fails_and_says_what_to_do(stack: Compose, tmp_path: Path, name: str) -> None:
    """Compose alone names the file and the command, whichever secret it is, and starts nothing."""
    for other in SECRETS - {name}:
        (tmp_path / other).touch()
    service = next(service for service, of in SERVICES.items() if name in of.get("secrets", []))
    refused = Compose(
        {
            "SECRETS": str(tmp_path),
            "COMPOSE_PROJECT_NAME": f"{PROJECT}-refused",
            "GRAFANA_IMAGE": stack.containers("alertmanager")[0]["Config"]["Image"],  # one that is there
        }
    )
    try:
        done = refused.compose("up", "--detach", "--no-deps", service, check=False)
        assert done.returncode != 0
        assert f"secrets/{name}, which `make secrets` generates, does not exist" in done.stderr
        assert not refused.compose("ps", "--all", "--quiet").stdout
    finally:
        refused.compose("down", "--volumes")


def test_make_up_makes_no_second_password_for_a_database_that_has_one(stack: Compose) -> None:
    """A database password that is missing although the database exists stops `make up`, which names the ways out."""
    with put_aside(ROOT / "secrets" / "database_password") as file:
        done = stack.run("scripts/up", check=False)
        assert done.returncode == 1
        assert all(said in done.stderr for said in ("secrets/database_password is missing", "make purge"))
        assert not file.exists()


def test_without_secrets_compose_says_how_to_make_them(stack: Compose) -> None:
    """Before `make secrets` nothing starts, and the message names the command."""
    done = Compose({"SECRETS": ""}).compose("up", "--detach", check=False)
    assert done.returncode != 0
    assert "make secrets" in done.stderr
