"""Profiles on a Spark cluster: the data set's units are divided among tasks, whose profiles are merged as a tree.

Each task reads its units by pyarrow and profiles them by the same kernel as a single machine does, so that the result
is equal. The driver sees the files' names and, at the end, a few profiles.
"""

import atexit
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitoring.contract.errors import DriftloopError
from monitoring.offline.dataset import DatasetError, Unit, divide, list_files, profile_unit
from monitoring.profile.profile import Grid, Profile, from_bytes, merge, to_bytes

FAN = 16  # profiles that are merged into one at each level of the tree
LOOPBACK = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}

Batches = Iterator[pa.RecordBatch]


class SparkError(DriftloopError):
    """Spark cannot be used here, or failed."""


def profile_on_spark(grid: Grid, source: str, *, hashes: bool = True, master: str = "local[*]") -> Profile:
    """Profile a data set on Spark; `master` is Spark's own term (local[*], spark://…, yarn, k8s://…).

    The workers must reach the data set under the same address, and have numpy, pyarrow and this package's extra
    `monitoring`; the package itself is sent to them. Raise SparkError if there is no Spark or no Java.
    """
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # what goes in is Arrow
    session = _session(master)
    try:
        _send_package(session)
        files = session.createDataFrame([(uri,) for uri in list_files(source)], "uri string")
        number = min(files.count(), 100 * session.sparkContext.defaultParallelism)
        units = files.repartition(number).mapInArrow(_dividing(grid), "uri string, groups array<int>")
        tasks = 4 * session.sparkContext.defaultParallelism
        profiles = units.repartition(tasks).mapInArrow(_profiling(grid, hashes=hashes), "profile binary")
        while tasks > FAN:
            tasks = -(-tasks // FAN)
            profiles = profiles.repartition(tasks).mapInArrow(_merging(grid, hashes=hashes), "profile binary")
        return merge(grid, (from_bytes(grid, bytes(row.profile)) for row in profiles.toLocalIterator()), hashes=hashes)
    except DriftloopError:
        raise
    except Exception as error:
        raise SparkError(f"Spark could not profile {source}: {_reason(error)}") from error
    finally:
        session.stop()


def _session(master: str) -> Any:
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 - an extra that few need
    except ModuleNotFoundError as error:
        raise SparkError("Spark is not installed: pip install 'driftloop[spark]'") from error
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise SparkError("Spark needs Java 17 or later: neither is java on PATH, nor is JAVA_HOME set")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("driftloop profile").master(master)
    if master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        for key, value in LOOPBACK.items():
            builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:
        raise SparkError(f"Spark does not start on {master}: {_reason(error)}") from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def _send_package(session: Any) -> None:
    root = Path(__file__).parents[2]
    folder = tempfile.mkdtemp(prefix="driftloop-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # tasks may fetch it as long as Spark runs
    session.sparkContext.addPyFile(shutil.make_archive(f"{folder}/monitoring", "zip", root, "monitoring"))


def _reason(error: Exception) -> str:
    """Return our own words out of a traceback that came through Java, or its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours = [line.partition(": ")[2] for line in lines if f"{DatasetError.__name__}: " in line]
    return (ours or lines or [type(error).__name__])[0]


def _dividing(grid: Grid) -> Callable[[Batches], Batches]:
    def divide_files(batches: Batches) -> Batches:
        for batch in batches:
            units = list(divide(grid.model, batch.column("uri").to_pylist()))
            groups = pa.array([list(unit.groups) for unit in units], pa.list_(pa.int32()))
            yield pa.record_batch(
                [pa.array([unit.uri for unit in units], pa.string()), groups], names=["uri", "groups"]
            )

    return divide_files


def _profiling(grid: Grid, *, hashes: bool) -> Callable[[Batches], Batches]:
    def profile_units(batches: Batches) -> Batches:
        units = (Unit(row["uri"], tuple(row["groups"])) for batch in batches for row in batch.to_pylist())
        yield _one(merge(grid, (profile_unit(grid, unit, hashes=hashes) for unit in units), hashes=hashes))

    return profile_units


def _merging(grid: Grid, *, hashes: bool) -> Callable[[Batches], Batches]:
    def merge_profiles(batches: Batches) -> Batches:
        kept = (value.as_py() for batch in batches for value in batch.column("profile"))
        yield _one(merge(grid, (from_bytes(grid, content) for content in kept), hashes=hashes))

    return merge_profiles


def _one(profile: Profile) -> pa.RecordBatch:
    return pa.record_batch([pa.array([to_bytes(profile)], pa.binary())], names=["profile"])
