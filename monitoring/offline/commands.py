"""`python -m monitoring profile` and `report`: the suite on data sets of any size, without a running monitor."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.reference import Reference, parse_reference
from monitoring.contract.storage import replaced
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Grid, Profile, from_bytes, to_bytes
from monitoring.suite.lean_evidently import leave_out_the_rest

FAILING = 1


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the options of both commands."""
    profile = commands.add_parser("profile", help="profile a Parquet data set of any size")
    profile.add_argument("--engine", choices=["local", "spark"], default="local", help="default: %(default)s")
    profile.add_argument("--input", required=True, help="a Parquet file or folder, or a URI like s3://bucket/folder")
    profile.add_argument("--reference", required=True, help="the reference, a Parquet file or its URI")
    profile.add_argument("--out", required=True, type=Path, help="the file that the profile is written to")
    profile.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    profile.add_argument("--master", default="local[*]", help="Spark's master (default: %(default)s)")
    profile.add_argument(
        "--no-duplicates", action="store_true", help="do not look for repeated rows, which takes 8 bytes a row"
    )
    profile.set_defaults(run=make_profile)
    report = commands.add_parser("report", help="run the tests on a profile; exit code 1 if one fails")
    report.add_argument("--profile", required=True, type=Path, help="what `profile` has written")
    report.add_argument("--reference", required=True, help="the reference that it was made against")
    report.add_argument("--html", type=Path, help="where Evidently's report is written to")
    report.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    report.set_defaults(run=make_report)


def make_profile(options: argparse.Namespace, config: Config) -> int:
    """Profile the input and write the profile, whole or not at all."""
    grid, _ = _read_reference(options.reference, config)
    begun = time.monotonic()
    profile = _engine(options)(grid, options.input, hashes=not options.no_duplicates)
    with replaced(options.out) as temporary:
        temporary.write_bytes(to_bytes(profile))
    seconds = time.monotonic() - begun
    sys.stdout.write(f"{options.out}: the profile of {profile.rows:,} rows, in {seconds:.1f} s\n")
    return 0


def _engine(options: argparse.Namespace) -> Callable[..., Profile]:
    if options.engine == "local":
        from monitoring.offline.dataset import profile_locally  # noqa: PLC0415 - only one of the two is needed

        return profile_locally
    from monitoring.offline.spark import profile_on_spark  # noqa: PLC0415

    return lambda *arguments, **named: profile_on_spark(*arguments, **named, master=options.master)


def make_report(options: argparse.Namespace, config: Config) -> int:
    """Run the config's tests on a profile, print each verdict, and return 1 if one of them failed."""
    grid, reference = _read_reference(options.reference, config)
    try:
        content = options.profile.read_bytes()
    except OSError as error:
        raise DriftloopError(f"{options.profile}: cannot be read: {error}") from error
    try:
        current = from_bytes(grid, content)
    except DriftloopError as error:
        raise DriftloopError(f"{options.profile}: {error}") from error
    if current.rows < config.minimum_rows:
        raise DriftloopError(f"{options.profile}: {current.rows} rows; config.yml wants {config.minimum_rows} at least")
    leave_out_the_rest()
    from monitoring.monitor import report_on  # noqa: PLC0415 - Evidently takes seconds; errors above need none

    report = report_on(config, reference, current)
    for verdict in report.run.verdicts if report.run else ():
        sys.stdout.write(f"{verdict.status.upper():7} {verdict.test}: {verdict.found}\n")
    assessment = report.snapshot.assessment
    word = "waiting" if assessment is None else "failing" if assessment.failed else "passing"  # test by test
    sys.stdout.write(f"{current.rows:,} rows against {reference.rows:,}: {word}\n")
    if options.html and report.run:
        with replaced(options.html) as temporary:
            temporary.write_text(report.run.html(), encoding="utf-8")
        sys.stdout.write(f"{options.html}: Evidently's report\n")
    return 0 if word == "passing" else FAILING


def load_reference(source: str, config: Config) -> Reference:
    """Read a reference, a Parquet file or its URI; raise DriftloopError if it is none that fits the config."""
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(source if "://" in source else Path(source).absolute().as_uri())
        with filesystem.open_input_file(path) as file:
            content = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DriftloopError(f"{source}: the reference cannot be read: {error}") from error
    return parse_reference(content, source, config.model)


def _read_reference(source: str, config: Config) -> tuple[Grid, Profile]:
    table = load_reference(source, config).table
    grid = grid_of(config.model, table)
    return grid, profile_rows(grid, table)
