"""Threads that profile side by side."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Run so many threads, and BLAS in each without more of its own: they would fight for the same cores."""
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(number) as pool:
        yield pool


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
