"""The prediction log without a server: rows as the API appends them, and logs to append to."""

import time
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from uuid_utils import uuid7

from api.log.append_log import AppendLog, Sealing, prediction_format
from api.metrics import Maker, log_metrics
from benchmarks.servers import CATEGORY, MODEL, features

NEVER = Sealing(seconds=1e9, rows=10**9)

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))


def open_log(folder: Path) -> AppendLog:
    """Open a log that is sealed when it is told to."""
    return AppendLog(folder, prediction_format(MODEL), log_metrics("log", Maker(CollectorRegistry())), NEVER)


def make_rows(count: int, at: int | None = None) -> list[list[Any]]:
    """Make the log's rows of a request of so many instances, now or at a time in microseconds since 1970."""
    at = time.time_ns() // 1000 if at is None else at
    values = [list(features(row % 1000).values()) for row in range(count)]
    return [[str(uuid7(nanoseconds=at * 1000)), at, *some, CATEGORY, 0.731852, "1", None] for some in values]
