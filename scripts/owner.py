"""One stack for a folder: who runs on it holds a lock that ends with its process, and says in it who it is."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from monitoring.contract.errors import DriftloopError
from monitoring.contract.locks import lock, open_lock
from monitoring.contract.plain_files import OddEntryError, read_plain

LOCK = "_stack.lock"


class OwnedError(DriftloopError):
    """Another stack runs on a folder."""


def claim(folders: Mapping[str, Path], ports: Mapping[str, int]) -> list[int]:
    """Take folders, each with what it is called, for a stack on these ports; return the descriptors that hold them.

    A folder is held for as long as a process has its descriptor open: the one that claims it, what it becomes by exec,
    and the children that are given it. Raise OwnedError, with the other's process and ports, if another stack has one.
    """
    held: list[int] = []
    own = json.dumps({"pid": os.getpid(), "ports": dict(ports)})
    try:
        for path, called in {path.resolve(): called for called, path in folders.items()}.items():
            held.append(open_lock(path / LOCK))
            if not lock(held[-1]):
                raise OwnedError(_refusal(called, path))  # noqa: TRY301 - what was taken before is given back
            os.ftruncate(held[-1], 0)
            os.pwrite(held[-1], own.encode(), 0)
            os.set_inheritable(held[-1], True)
    except BaseException:
        for descriptor in held:
            os.close(descriptor)
        raise
    return held


def _refusal(called: str, path: Path) -> str:
    """Say who has a folder, by what it wrote into its lock."""
    try:
        other = json.loads(read_plain(path / LOCK, largest=10_000))
        ports = ", ".join(f"{name} {port}" for name, port in other["ports"].items())
        who = f"the stack of process {int(other['pid'])}, which listens on {ports}"
    except (OSError, OddEntryError, ValueError, LookupError, TypeError, AttributeError):
        who = "a process that has not said which"
    return f"{path}, the {called} folder, is in use by {who}: stop that one, or give this one another folder"
