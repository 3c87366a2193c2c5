"""A pool of threads that profile in parallel."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of so many threads, with BLAS limited to one each, for its own would compete for the same cores."""
    with _blas().limit(limits=1, user_api="blas"), ThreadPoolExecutor(number) as pool:
        yield pool


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
