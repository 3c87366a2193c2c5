"""Makes the secrets of the stack in containers that are missing, and hands each service its own.

The service `secrets` of docker-compose.yml runs it at each start, as root and without a network, and then ends. Its
arguments say who reads what: SERVICE=UID:GID=NAME,NAME. /secrets is a volume of its own that keeps all of them;
/services/SERVICE is what that service sees as /run/secrets. What lies in /given is the user's own, and takes the place
of what was made. Nothing of a secret is printed.
"""

import ctypes
import os
import secrets
import string
import sys
from collections.abc import Mapping
from ctypes.util import find_library
from dataclasses import dataclass
from pathlib import Path

KEPT, GIVEN, SERVICES, DATABASE = (Path(path) for path in ("/secrets", "/given", "/services", "/database"))
USER = "driftloop"
KEEPER = 10_002  # user and group of what is kept: nobody else's, for a container that is root sees the host's files
WEB = "_web"  # after a server's name: what Prometheus and Alertmanager read, with the bcrypt hash of its password
# What nobody can make: empty until it is given.
YOURS = ("smtp_password", "slack_webhook_url", "forward_token", "api_keys")
LOST = """\
The database in the volume `postgres` asks for a password that is not here. Where you have it, write it into
secrets/database_password and start with
    docker compose -f docker-compose.yml -f docker-compose.secrets.yml up
or start anew, without your data: docker compose down --volumes"""


@dataclass(frozen=True)
class Reader:
    """A service, the user and group that it runs as, and the names of the secrets that it reads."""

    service: str
    user: int
    group: int
    names: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Reader":
        """Read an argument; raise ValueError if it is none."""
        service, owner, names = text.split("=")
        user, group = map(int, owner.split(":"))
        return cls(service, user, group, tuple(names.split(",")))


def main() -> None:
    """Bring every service's folder up to date."""
    readers = [Reader.parse(argument) for argument in sys.argv[1:]]
    names = {name for reader in readers for name in reader.names}
    values = {name: find(name) for name in sorted(names) if not name.endswith(WEB)}
    values |= {name: web_config(values[f"{name.removesuffix(WEB)}_password"]) for name in names if name.endswith(WEB)}
    leave(KEPT, KEEPER, KEEPER, values)
    for reader in readers:
        leave(SERVICES / reader.service, reader.user, reader.group, {name: values[name] for name in reader.names})


def find(name: str) -> bytes:
    """Return the secret that is given, or else the one that is kept, or else a new one of 256 random bits."""
    for folder, said in ((GIVEN, "yours"), (KEPT, "kept")):
        if not (path := folder / name).is_file():
            continue
        value = path.read_bytes()
        if value.strip() or (folder == GIVEN and name in YOURS):  # an empty one of yours takes back what was given
            print(f"{name}: {said}")
            return value
    if name in YOURS:
        print(f"{name}: not given")
        return b""
    if name == "database_password" and (DATABASE / "PG_VERSION").exists():
        sys.exit(LOST)
    print(f"{name}: made")
    return secrets.token_hex(32).encode()


def web_config(password: bytes) -> bytes:
    """Return a configuration for `--web.config.file` that asks for this password, and does not hold it."""
    return f"basic_auth_users:\n  {USER}: {bcrypt(password.strip())}\n".encode()


def bcrypt(password: bytes) -> str:
    """Return a password's hash by the C library for passwords, which Debian has, and so the base image.

    Raise OSError where that library is missing or knows no bcrypt.
    """
    crypt = ctypes.CDLL(find_library("crypt") or "libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(21)) + "."
    made: bytes | None = crypt(password, f"$2b$10${salt}".encode())
    if made is None or not made.startswith(b"$2b$"):
        raise OSError("libcrypt.so.1 knows no bcrypt")
    return made.decode()


def leave(folder: Path, user: int, group: int, values: Mapping[str, bytes]) -> None:
    """Leave these secrets in a folder, and no others, for its user alone."""
    folder.chmod(0o700)
    os.chown(folder, user, group)
    for name, value in values.items():
        write(folder / name, value, user, group)
    for other in folder.iterdir():
        if other.name not in values:
            other.unlink()


def write(path: Path, value: bytes, user: int, group: int) -> None:
    """Put a secret in its place at once, as a file that its user alone can read."""
    new = path.with_name(f".{path.name}")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    new.write_bytes(value)
    os.chown(new, user, group)
    new.replace(path)


if __name__ == "__main__":
    main()
