"""What the engine says of the running containers, not what the file asks for."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.containers.compose import PROJECT, ROOT, Compose

pytestmark = pytest.mark.timeout(1200)

# service -> what it is allowed to lack; docker-compose.yml says why beside the line
EXCEPTIONS = {"cadvisor": {"non-root"}}
PEOPLE = {"proxy", "monitor", "prefect-server", "mlflow", "prometheus", "alertmanager", "grafana"}


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


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


def test_every_process_is_what_the_engine_says(stack: Compose) -> None:
    """Seen from inside: no process has uid 0, and nothing can be written beside the volumes and /tmp."""
    for service in stack.services():
        uid = stack.execute(service, "sh", "-c", "grep -h ^Uid: /proc/[0-9]*/status | cut -f2 | sort -u").stdout.split()
        tried = stack.execute(service, "sh", "-c", "echo x >/etc/tried || echo x >/usr/tried", check=False)
        assert "ead-only" in tried.stderr, service
        assert tried.returncode != 0, service
        if service not in EXCEPTIONS:
            assert "0" not in uid, service


def test_ports_listen_on_loopback_alone(stack: Compose) -> None:
    """Only what a person opens is published, and the host listens for it on 127.0.0.1 alone."""
    published: dict[str, set[str]] = {}
    ports = set()
    for container in stack.containers():
        for bindings in container["NetworkSettings"]["Ports"].values():
            for binding in bindings or []:
                published.setdefault(service_of(container), set()).add(binding["HostIp"])
                ports.add(int(binding["HostPort"]))
    assert published == {service: {"127.0.0.1"} for service in PEOPLE & set(stack.services())}
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
        done = stack.execute(service, "python", "-c", code, check=False)
        if reachable and done.returncode == 0:
            return
        assert reachable or done.returncode != 0, address
    assert not reachable, f"{service} does not reach {target}"


def test_secrets_are_closed_to_others(stack: Compose) -> None:
    """The folder is open to its owner alone, is not in git, and no secret stands in what `docker inspect` shows."""
    assert stack.run("stat", "-c", "%a", "secrets").stdout.strip() == "700"
    assert stack.run("git", "check-ignore", "secrets/api_key").stdout
    shown = str(stack.containers())
    for file in (ROOT / "secrets").glob("[a-z]*"):
        if secret := file.read_text():  # those for mail and Slack are the user's to fill
            assert len(secret) == 64, file.name
            assert secret not in shown, file.name


@pytest.mark.parametrize("service", [pytest.param(s, id=s) for s in ("api", "trigger", "postgres", "alertmanager")])
def test_a_start_with_a_secret_missing_fails_and_names_it(stack: Compose, tmp_path: Path, service: str) -> None:
    """No container is made without its secrets."""
    name = {"api": "api_key", "postgres": "database_password"}.get(service, "webhook_token")
    shutil.copytree(ROOT / "secrets", tmp_path / "secrets")
    (tmp_path / "secrets" / name).unlink()
    other = Compose({"SECRETS": str(tmp_path / "secrets"), "COMPOSE_PROJECT_NAME": f"{PROJECT}-refused"})
    try:
        done = other.compose("create", service, check=False)
        assert done.returncode != 0
        assert f"secrets/{name}" in done.stderr
    finally:
        other.compose("down", "--volumes")


def test_without_secrets_compose_says_how_to_make_them(stack: Compose) -> None:
    """Before `make secrets` nothing starts, and the message names the command."""
    done = Compose({"SECRETS": ""}).compose("up", "--detach", check=False)
    assert done.returncode != 0
    assert "make secrets" in done.stderr
