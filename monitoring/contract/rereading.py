"""Reading a folder that changes meanwhile: list, read, and begin again when a listed file has gone."""

import contextlib
from collections.abc import Iterator

from monitoring.contract.errors import DriftloopError

_ATTEMPTS = 100


def attempts(source: object) -> Iterator[contextlib.AbstractContextManager[None]]:
    """Yield contexts, each to list and read a source within, until a block gets through and leaves the loop.

    A FileNotFoundError ends an attempt: a file was merged or archived since it was listed, and the next attempt lists
    again. Raise DriftloopError when that happens again and again.
    """
    for _ in range(_ATTEMPTS):
        yield contextlib.suppress(FileNotFoundError)
    raise DriftloopError(f"{source} changes faster than it can be read")
