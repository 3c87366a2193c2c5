"""Processes that hold windows against one reference side by side: threads would take turns, a look is Python's work."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from monitoring.contract.config import Config
from monitoring.contract.reference import Reference
from monitoring.snapshot.snapshot import Snapshot

FEW_LOOKS = 20  # are done before a process has started

_own: dict[str, Any] = {}  # a process's assessor


@contextlib.contextmanager
def looking(config: Config, reference: Reference, looks: int) -> Iterator[Callable[[pa.Table], Future[Snapshot]]]:
    """Return what takes a window's rows and promises what a look at them finds."""
    workers = min(os.cpu_count() or 1, looks // FEW_LOOKS + 1)
    if workers == 1:
        _start(config, reference)
        yield _at_once
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    with ProcessPoolExecutor(workers, spawn, _start, (config, reference)) as pool:
        yield lambda rows: pool.submit(_look, rows)


def _start(config: Config, reference: Reference) -> None:
    from monitoring.suite.lean_evidently import leave_out_the_rest  # noqa: PLC0415 - before Evidently is imported

    leave_out_the_rest()
    from monitoring.backtest.window_assessor import WindowAssessor  # noqa: PLC0415

    threadpool_limits(1, user_api="blas")
    _own["assessor"] = WindowAssessor(config, reference)


def _look(rows: pa.Table) -> Snapshot:
    snapshot: Snapshot = _own["assessor"].look(rows)
    return snapshot


def _at_once(rows: pa.Table) -> Future[Snapshot]:
    done: Future[Snapshot] = Future()
    done.set_result(_look(rows))
    return done
