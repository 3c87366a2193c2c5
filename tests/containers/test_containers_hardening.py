"""What the engine says of the running containers, not what the file asks for."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.containers.compose import PROJECT, Compose
from tests.processes import ROOT

pytestmark = pytest.mark.timeout(1200)

# service -> what it is allowed to lack; docker-compose.yml says why beside the line
EXCEPTIONS = {
    "databases": {"restart policy", "health check"},  # it ends
    "cadvisor": {"non-root"},
    "secrets": {"non-root", "no capabilities", "restart policy", "health check"},  # it gives files away, and ends
}
PUBLISHED = {"proxy", "monitor", "trigger", "prefect-server", "mlflow", "prometheus", "alertmanager", "grafana"}

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
READERS = {one.split("=")[0]: one.split("=")[2].split(",") for one in SERVICES["secrets"]["command"] if "=" in one}
YOURS = {"smtp_password", "slack_webhook_url", "forward_token", "api_keys"}  # to fill: empty before


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
    """Each service has its own as files for its user alone; nothing that `docker inspect` shows has any of them."""
    shown, secrets = str(stack.containers()), dict[str, str]()
    for container in stack.lasting():
        service, user = service_of(container), container["Config"]["User"].split(":")[0]
        assert sum(m["Destination"] == "/run/secrets" for m in container["Mounts"]) == (service in READERS), service
        for name in READERS.get(service, ()):
            file = f"/run/secrets/{name}"
            told = stack.execute(service, "sh", "-c", f"ls -a /run/secrets; stat -c '%a %u' {file}; cat {file}").stdout
            listed, _, rest = told.partition(f"600 {user}\n")
            assert set(listed.split()) == {".", "..", *READERS[service]}, service
            assert secrets.setdefault(name, rest.strip()) == rest.strip(), "every reader has the same"
    for name, secret in secrets.items():
        assert name.endswith("_web") or len(secret) == (0 if name in YOURS else 64), name
        assert not secret or secret not in shown, name


def test_a_container_that_is_root_and_sees_the_disk_reads_no_secret(stack: Compose) -> None:
    """cAdvisor sees the host's files; those of the secrets belong to others, and it has no right to pass that over."""
    volume = f"{PROJECT}_secrets"
    place = stack.run("docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume).stdout.strip()
    done = stack.execute("cadvisor", "cat", f"/rootfs{place}/api_key", check=False)
    assert done.returncode != 0
    assert not done.stdout
    assert "Permission denied" in done.stderr


def test_secrets_of_ones_own_take_the_place_of_those_that_were_made(stack: Compose, tmp_path: Path) -> None:
    """One more file for Compose; what was given once is kept without it, and no other service sees it."""
    own = Compose(
        {
            "SECRETS": str(tmp_path),
            "COMPOSE_PROJECT_NAME": f"{PROJECT}-own",
            "COMPOSE_FILE": "docker-compose.yml:docker-compose.secrets.yml",
        }
    )
    (tmp_path / "smtp_password").write_text("of my own")
    (tmp_path / "smtp_password").chmod(0o600)
    without = Compose({**own.environment, "COMPOSE_FILE": "docker-compose.yml"})
    read = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "cat", "alertmanager", "/run/secrets/smtp_password")
    try:
        made = own.compose("run", "--rm", "-T", "secrets").stdout
        assert {"smtp_password: yours", "api_key: made"} <= set(made.splitlines())
        kept = without.compose("run", "--rm", "-T", "secrets").stdout
        assert {"smtp_password: kept", "api_key: kept"} <= set(kept.splitlines())
        assert without.compose(*read).stdout == "of my own"
        assert "of my own" not in made + kept
    finally:
        own.compose("down", "--volumes")


def test_no_second_password_is_made_for_a_database_that_has_one(stack: Compose) -> None:
    """Where the database is there and its password is not, nothing starts, and it is said what to do."""
    lost = Compose({"COMPOSE_PROJECT_NAME": f"{PROJECT}-lost"})
    try:
        lost.compose("run", "--rm", "-T", "--entrypoint", "touch", "secrets", "/secrets/x")  # makes the volumes
        image = stack.containers("alertmanager")[0]["Config"]["Image"]
        volume = f"{PROJECT}-lost_postgres:/database"
        lost.run(
            "docker", "run", "--rm", "--user", "0", "--entrypoint", "touch", "-v", volume, image, "/database/PG_VERSION"
        )
        done = lost.compose("up", "--detach", "postgres", check=False)
        assert done.returncode != 0
        said = lost.compose("logs", "--no-log-prefix", "secrets").stdout
        assert all(
            part in said for part in ("secrets/database_password", "docker-compose.secrets.yml", "down --volumes")
        )
    finally:
        lost.compose("down", "--volumes")
