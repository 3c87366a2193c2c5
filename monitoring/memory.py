"""Memory that a cycle needed for a moment goes back to the system, where allocators would keep it."""

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa


def give_back() -> None:
    """Return what the allocators hold and nothing uses."""
    pa.default_memory_pool().release_unused()
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    """Find malloc_trim(3), which glibc has."""
    trim: Callable[[int], int] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _pad: 0)
    return trim
