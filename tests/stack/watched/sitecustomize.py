"""Record, and refuse, what a Python process wants from beyond this machine.

Python imports a module of this name at its start; tests/stack/watching.py puts its folder on PYTHONPATH.
"""

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

ADDRESSED = {"socket.connect", "socket.sendto", "socket.sendmsg"}  # (socket, address)
NAMED = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}  # (host, ...)
HERE = {None, "", "localhost"}


def is_here(host: Any) -> bool:
    """Tell whether a name or an address is this machine's own; 0.0.0.0 is what servers bind."""
    if isinstance(host, bytes):
        host = host.decode()
    if host in HERE:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ADDRESSED:
        address = arguments[1]
        if not isinstance(address, tuple):  # a path: Unix's own sockets
            return
        host = address[0]
    elif event in NAMED:
        host = arguments[0]
    else:
        return
    if not is_here(host):
        with Path(os.environ["WATCH_FILE"]).open("a") as attempts:
            attempts.write(f"{event} {host} by {' '.join(sys.orig_argv)[:200]!r}\n")
        raise ConnectionRefusedError(f"{event} {host}: refused by the test that watches this process")


if "WATCH_FILE" in os.environ:
    sys.addaudithook(_audit)
