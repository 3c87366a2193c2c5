"""Exit 0 if a server answers 200: `python -IS monitoring/contract/probe.py [HOST:]PORT PATH`, for health checks.

Plain sockets, because it runs every few seconds in every container: importing an HTTP client takes ten times as long.
"""

import socket
import sys

_TIMEOUT = 4


def main(address: str, path: str) -> int:
    """Return 0 for an answer of 200; print any other."""
    host, _, port = address.rpartition(":")
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    with socket.create_connection((host or "127.0.0.1", int(port)), _TIMEOUT) as connection:
        connection.settimeout(_TIMEOUT)
        connection.sendall(request)
        answer = connection.makefile("rb").read(2000)
    status = answer.partition(b"\r\n")[0]
    if b" 200" in status:
        return 0
    sys.stdout.write(answer.decode(errors="replace"))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
