"""`python -m monitoring profile` and `report`: the suite on data sets of any size, without a running monitor."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import CANNOT, FAILS, PASSES, SKIPPED
from monitoring.contract.listing import list_files
from monitoring.contract.part_reader import reason_of
from monitoring.contract.reference import Reference, parse_reference
from monitoring.contract.storage import replaced
from monitoring.contract.uris import shown, uri_of
from monitoring.contract.values import narrowed
from monitoring.offline.dataset import DatasetProfile, demands_of, profile_locally, stored_types
from monitoring.offline.unknown_categories import unknown_in
from monitoring.profile.bounds import Bounds
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.grid import Grid
from monitoring.profile.profile import Profile
from monitoring.profile.serialised import from_bytes, to_bytes, types_in
from monitoring.suite.lean_evidently import leave_out_the_rest


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
    profile.add_argument(
        "--skip-unreadable", action="store_true", help="go on without files that cannot be read, and name them"
    )
    profile.add_argument(
        "--allow-missing-columns",
        action="store_true",
        help="a column that is not there counts as missing values",
    )
    profile.set_defaults(run=make_profile)
    report = commands.add_parser("report", help="run the tests on a profile; exit status 1 if one fails")
    report.add_argument("--profile", required=True, type=Path, help="what `profile` has written")
    report.add_argument("--reference", required=True, help="the reference that it was made against")
    report.add_argument("--html", type=Path, help="where Evidently's report is written to")
    report.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    report.add_argument(
        "--require-all", action="store_true", help="exit status 3 if none fails and one could not be run"
    )
    report.set_defaults(run=make_report)


def make_profile(options: argparse.Namespace, config: Config) -> int:
    """Profile the input and write the profile, whole or not at all."""
    _spare(options.out, options.input, options.reference, options.config)
    types = stored_types(options.input, config.model)
    grid, _ = _read_reference(options.reference, config, types)
    begun = time.monotonic()
    demands = demands_of(
        config.model, skip_unreadable=options.skip_unreadable, missing_columns=options.allow_missing_columns
    )
    made = _engine(options)(grid, options.input, hashes=not options.no_duplicates, demands=demands)
    profile = replace(made.profile, left_out=len({one.uri for one in made.left_out}))
    write_whole(options.out, to_bytes(profile))
    seconds = time.monotonic() - begun
    files = f"{made.files:,} file{'s' if made.files != 1 else ''}"
    sys.stdout.write(f"{options.out}: the profile of {profile.rows:,} rows in {files}, in {seconds:.1f} s\n")
    if made.left_out:
        sys.stdout.write(f"{_files(profile.left_out)} left out, wholly or in part:\n")
        sys.stdout.writelines(f"  {one}\n" for one in made.left_out)
    if made.unused:
        sys.stdout.write("Not used:\n")
        sys.stdout.writelines(f"  {one}\n" for one in made.unused)
    return PASSES


def _spare(out: Path | None, *inputs: str | Path | None) -> None:
    """Raise DriftloopError if what is to be written would take the place of something that is read."""
    if out is not None and out.exists() and any(_is_same(out, one) for one in inputs if one is not None):
        raise DriftloopError(f"{out}: is read by this command, and would be overwritten; choose another name")


def _is_same(path: Path, source: str | Path) -> bool:
    return "://" not in str(source) and Path(source).exists() and path.samefile(source)


def _files(number: int) -> str:
    return f"{number:,} file{'s were' if number > 1 else ' was'}"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raise DriftloopError if it cannot be written."""
    try:
        with replaced(path, over_folder=False) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DriftloopError(f"{path}: cannot be written: {error}") from error


def _engine(options: argparse.Namespace) -> Callable[..., DatasetProfile]:
    if options.engine == "local":
        return profile_locally
    from monitoring.offline.spark import profile_on_spark  # noqa: PLC0415 - an extra that few need

    return lambda *arguments, **named: profile_on_spark(*arguments, **named, master=options.master)


def make_report(options: argparse.Namespace, config: Config) -> int:
    """Run the config's tests on a profile, print each verdict, and return the exit status that they give."""
    if problem := config.beyond_profiles():
        raise DriftloopError(f"`report` computes from profiles, whatever `engine` says: {problem}")
    _spare(options.html, options.profile, options.reference, options.config)
    content = _read_profile(options.profile)
    grid, reference = _read_reference(options.reference, config, _about(options.profile, types_in, content))
    current: Profile = _about(options.profile, from_bytes, grid, content)
    if current.rows < config.minimum_rows:
        raise DriftloopError(f"{options.profile}: {current.rows} rows; minimum_rows is {config.minimum_rows}")
    unknown = _about(options.profile, lambda: list(unknown_in(current)))
    leave_out_the_rest()
    from monitoring.monitor import report_on  # noqa: PLC0415 - Evidently takes seconds; errors above need none

    report = report_on(config, reference, current, drawn=options.html is not None)
    assert report.run is not None  # there are enough rows
    for verdict in report.run.verdicts:
        sys.stdout.write(f"{verdict.status.upper():7} {verdict.test}: {verdict.found}\n")
    sys.stdout.writelines(f"{line}\n" for line in unknown)
    if report.run.segments:
        sys.stdout.writelines(f"{line}\n" for line in report.run.segments.said)
    if current.left_out:
        sys.stdout.write(f"{_files(current.left_out)} left out, wholly or in part, when the profile was made\n")
    verdicts = report.run.verdicts
    failed, skipped = sum(v.failed for v in verdicts), sum(v.skipped for v in verdicts)
    word = "failing" if failed else "passing" if len(verdicts) > skipped else "no test could run"
    aside = f", {skipped} test{'s' if skipped > 1 else ''} skipped" if skipped else ""
    sys.stdout.write(f"{current.rows:,} rows against {reference.rows:,}: {word}{aside}\n")
    if options.html:
        write_whole(options.html, report.run.html().encode())
        sys.stdout.write(f"{options.html}: Evidently's report\n")
    if failed:
        return FAILS
    if skipped and options.require_all:
        return SKIPPED
    return CANNOT if skipped == len(verdicts) else PASSES


def _read_profile(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DriftloopError(f"{path}: cannot be read: {error}") from error


def _about(path: Path, read: Callable[..., Any], *arguments: Any) -> Any:
    """Read something of a profile's file; what is wrong with it is said with its name."""
    try:
        return read(*arguments)
    except DriftloopError as error:
        raise DriftloopError(f"{path}: {error}") from error


def load_reference(source: str, config: Config, *, predicted: bool = True) -> Reference:
    """Read a reference, a Parquet file or its URI; raise DriftloopError if it is none that fits the config.

    With `predicted=False` the prediction column may be absent.
    """
    if not list_files(source).alone:  # which refuses pipes and devices too: they would be waited for
        raise DriftloopError(f"{shown(source)}: is a folder; a reference is one Parquet file")
    try:
        filesystem, path = pa.fs.FileSystem.from_uri(uri_of(source))
        with filesystem.open_input_file(path) as file:
            content = file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DriftloopError(f"{shown(source)}: the reference cannot be read: {reason_of(error)}") from error
    return parse_reference(content, shown(source), config.model, predicted=predicted)


def _read_reference(source: str, config: Config, types: Mapping[str, pa.DataType]) -> tuple[Grid, Profile]:
    """Return the reference's grid and profile, in the types in which the rows are compared with it."""
    table = narrowed(load_reference(source, config).table, types)
    grid = grid_of(config.model, table, Bounds.of(config))
    return grid, profile_rows(grid, table)
