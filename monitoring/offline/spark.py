"""Profiles on a Spark cluster: the data set's units are divided among tasks, whose profiles are merged as a tree.

Each task reads its units by pyarrow and profiles them by the same kernel as a single machine does, so that the result
is equal. The driver sees what the files' footers say and, at the end, a few profiles.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitoring.contract.errors import DriftloopError
from monitoring.contract.listing import DataFile, DatasetError, LeftOut, list_files
from monitoring.contract.uris import shown, without_keys
from monitoring.offline.dataset import DatasetProfile, Unit, demands_of, divide, try_unit
from monitoring.offline.survey import Demands, Inspected, inspect, survey
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile, merge
from monitoring.profile.serialised import from_bytes, to_bytes

FAN = 16  # profiles that are merged into one at each level of the tree
LOOPBACK = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}

Batches = Iterator[pa.RecordBatch]
_TEXT = "text string"  # JSON
_PROFILE = "profile binary, left_out array<string>"


class SparkError(DriftloopError):
    """Spark cannot be used here, or failed."""


def profile_on_spark(
    grid: Grid, source: str, *, hashes: bool = True, master: str = "local[*]", demands: Demands | None = None
) -> DatasetProfile:
    """Profile a data set on Spark; `master` is Spark's own term (local[*], spark://…, yarn, k8s://…).

    The workers must reach the data set under the same address, and have numpy, pyarrow and this package's extra
    `monitoring`; the package itself is sent to them. Raise SparkError if there is no Spark or no Java.
    """
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")  # what goes in is Arrow
    demands = demands or demands_of(grid.model)
    session = _session(master)
    try:
        _send_package(session)
        listing = list_files(source)
        surveyed = survey(listing, _inspect_all(session, listing.files, demands), demands)
        units = [(json.dumps([u.uri, u.groups, u.partition]),) for u in divide(surveyed.files)]
        tasks = 4 * session.sparkContext.defaultParallelism
        profiling = _profiling(grid, hashes=hashes, skip_unreadable=demands.skip_unreadable)
        profiles = session.createDataFrame(units, _TEXT).repartition(tasks).mapInArrow(profiling, _PROFILE)
        while tasks > FAN:
            tasks = -(-tasks // FAN)
            profiles = profiles.repartition(tasks).mapInArrow(_merging(grid, hashes=hashes), _PROFILE)
        left_out = set(surveyed.left_out)

        def each() -> Iterator[Profile]:
            for row in profiles.toLocalIterator():
                left_out.update(LeftOut(*json.loads(text)) for text in row.left_out)
                yield from_bytes(grid, bytes(row.profile))

        profile = merge(grid, each(), hashes=hashes)
        return DatasetProfile(profile, len(surveyed.files), tuple(sorted(left_out)), surveyed.unused)
    except DriftloopError:
        raise
    except Exception as error:
        raise SparkError(f"Spark could not profile {shown(source)}: {_reason(error)}") from error
    finally:
        session.stop()


def _inspect_all(session: Any, files: Sequence[DataFile], demands: Demands) -> list[Inspected]:
    """Read the footers of all files on the workers."""
    if not files:
        return []
    rows = [(json.dumps([file.uri, file.partition]),) for file in files]
    number = min(len(rows), 100 * session.sparkContext.defaultParallelism)
    found = session.createDataFrame(rows, _TEXT).repartition(number).mapInArrow(_inspecting(demands), _TEXT)
    return [_inspected(row.text) for row in found.collect()]


def _inspected(text: str) -> Inspected:
    (uri, partition), columns, groups, covers, problem, unused = json.loads(text)
    file = DataFile(uri, tuple((name, value) for name, value in partition))
    return Inspected(file, tuple(columns), tuple(groups), tuple(covers), problem, tuple(unused))


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
    return without_keys((ours or lines or [type(error).__name__])[0])


def _inspecting(demands: Demands) -> Callable[[Batches], Batches]:
    def inspect_files(batches: Batches) -> Batches:
        for batch in batches:
            files = (DataFile(*json.loads(text)) for text in batch.column("text").to_pylist())
            found = (inspect(file, demands) for file in files)
            texts = [json.dumps(astuple(one)) for one in found]
            yield pa.record_batch([pa.array(texts, pa.string())], names=["text"])

    return inspect_files


def _profiling(grid: Grid, *, hashes: bool, skip_unreadable: bool) -> Callable[[Batches], Batches]:
    def profile_units(batches: Batches) -> Batches:
        total, left_out = Profile.empty(grid, hashes=hashes), []
        for text in (text for batch in batches for text in batch.column("text").to_pylist()):
            uri, groups, partition = json.loads(text)
            unit = Unit(uri, tuple(groups), tuple((name, value) for name, value in partition))
            profile, unread = try_unit(grid, unit, hashes=hashes, skip_unreadable=skip_unreadable)
            total += profile
            left_out += [json.dumps([one.uri, one.reason]) for one in unread]
        yield _one(total, left_out)

    return profile_units


def _merging(grid: Grid, *, hashes: bool) -> Callable[[Batches], Batches]:
    def merge_profiles(batches: Batches) -> Batches:
        left_out: list[str] = []

        def each() -> Iterator[Profile]:
            for batch in batches:
                left_out.extend(text for texts in batch.column("left_out").to_pylist() for text in texts)
                yield from (from_bytes(grid, content) for content in batch.column("profile").to_pylist())

        total = merge(grid, each(), hashes=hashes)
        yield _one(total, left_out)

    return merge_profiles


def _one(profile: Profile, left_out: list[str]) -> pa.RecordBatch:
    arrays = [pa.array([to_bytes(profile)], pa.binary()), pa.array([left_out], pa.list_(pa.string()))]
    return pa.record_batch(arrays, names=["profile", "left_out"])
