"""`python -m monitoring ingest`: a batch job's scored rows become part of the log, once however often it runs."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.batch.append import Appended, append, discard_litter
from monitoring.batch.csv_files import CsvOptions
from monitoring.batch.inputs import InputFile, Reading, find_inputs, read_rows
from monitoring.batch.refusals import Refusal, refuse
from monitoring.contract.config import Config, Model
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import FAILS, PASSES
from monitoring.contract.layout import ID_INDEX, LOG_LOCK, Layout
from monitoring.contract.listing import LeftOut
from monitoring.contract.locks import FolderLock
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.plain_files import discard
from monitoring.contract.times import Micros, latest_time, parse_moment
from monitoring.contract.uris import shown
from monitoring.contract.values import UnfitColumnError
from monitoring.offline.unknown_categories import told

PATIENCE = 600.0  # seconds that a run waits for others


def add_ingest(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's options."""
    command = commands.add_parser("ingest", help="append a batch job's scored rows to the log, once")
    add_input_options(command, required=True)
    command.add_argument("--timestamp", type=parse_moment, help="the time of all rows, of files without a column of it")
    command.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    command.set_defaults(run=ingest)


def add_input_options(command: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options that say which files are read, and how."""
    command.add_argument(
        "--input",
        nargs="+",
        required=required,
        metavar="FILES",
        help="Parquet or CSV files, folders, patterns like 'out/*.csv', or URIs like s3://bucket/folder",
    )
    command.add_argument(
        "--allow-missing-columns", action="store_true", help="a feature that is not there counts as missing values"
    )
    command.add_argument(
        "--delimiter", help="what stands between a CSV file's columns; default: found in its first line"
    )
    command.add_argument("--decimal", choices=[".", ","], default=".", help="a CSV file's decimal mark (default: .)")
    command.add_argument("--encoding", default="utf-8", help="a CSV file's encoding (default: %(default)s)")


def reading_of(options: argparse.Namespace, model: Model, moment: Micros | None) -> Reading:
    """Return how the options say that files become rows, those without a time at a moment.

    Raise DriftloopError if the options cannot be used.
    """
    delimiter = {"\\t": "\t", "tab": "\t"}.get(options.delimiter, options.delimiter)
    if delimiter is not None and len(delimiter) != 1:
        raise DriftloopError(f"--delimiter {options.delimiter}: it is one character, or `tab`")
    csv = CsvOptions(delimiter, options.decimal, options.encoding)
    return Reading(model, csv, moment, options.allow_missing_columns)


def ingest(options: argparse.Namespace, config: Config) -> int:
    """Append the input's rows to the log, file by file; return FAILS if rows or files were refused."""
    if options.settings.prediction_log is not None:
        raise DriftloopError("PREDICTION_LOG names a log of others, which is only read; unset it to append to ours")
    layout = Layout(options.settings.data_dir, options.settings.parts_uri)
    reading = reading_of(options, config.model, options.timestamp)
    files, none = find_inputs(options.input, config.model)
    total, refused, number = Appended(), 0, len(files) + len(none)
    earlier = total.new_ids
    for file in files:
        try:
            rows, refusals, notes = _read(file, reading)
        except UNREADABLE as error:
            none.append(LeftOut(file.uri, reason_of(error)))
            continue
        one, few = _append(layout, config.model, rows), sum(refusal.rows for refusal in refusals)
        sys.stdout.write(f"{shown(file.uri)}: {_counts(one, few)}\n")
        sys.stdout.writelines(f"  {line}\n" for line in (*map(str, refusals), *notes, *_doubts(one, earlier)))
        total, refused = _sum(total, one), refused + few
        earlier = pa.chunked_array([*earlier.chunks, *one.new_ids.chunks], pa.string())
    sys.stdout.writelines(f"{shown(one.uri)}: the file is refused: {one.reason}\n" for one in none)
    if number > 1:
        aside = f", {len(none)} refused" if none else ""
        sys.stdout.write(f"{number} files{aside}: {_counts(total, refused)}\n")
    return FAILS if refused or none else PASSES


def _read(file: InputFile, reading: Reading) -> tuple[pa.Table, list[Refusal], list[str]]:
    """Return a file's rows that the log takes, the refusals of others, and what is odd about the answers."""
    rows, refusals = refuse(read_rows(file, reading), reading.model, latest_time())
    model = reading.model
    notes = [_unknown(rows[name], name, model) for name in (model.prediction, model.target)] if model.categories else []
    return rows, refusals, [note for note in notes if note]


def _unknown(answers: pa.ChunkedArray, name: str, model: Model) -> str | None:
    """Say which answers are no categories; raise UnfitColumnError if all of them are."""
    counts = {one["values"]: one["counts"] for one in answers.drop_null().value_counts().to_pylist()}
    unknown = Counter({value: number for value, number in counts.items() if value not in model.categories})
    said = told(model, name, unknown)
    if said and len(unknown) == len(counts):
        raise UnfitColumnError(f"{said}: the rows do not fit the config")
    return said


def _append(layout: Layout, model: Model, rows: pa.Table) -> Appended:
    """Append a file's rows while nobody else looks ids up and appends; no other run does, nor the API.

    Raise DriftloopError if the log cannot be read or written.
    """
    folder = layout.journals(layout.current)
    try:
        with FolderLock(folder / LOG_LOCK, PATIENCE).held():
            discard_litter([layout.current, layout.labels])
            _drop_index(folder)
            return append(layout, model, rows)
    except OSError as error:
        raise DriftloopError(f"{layout.current} cannot be written: {reason_of(error)}") from error


def _drop_index(folder: Path) -> None:
    """Remove the API's index of ids, which will not know those of the new rows: it makes another from the log."""
    for file in (folder / ID_INDEX).glob("*"):
        discard(file)


def _counts(of: Appended, refused: int) -> str:
    labels = f"; {of.labels:,} label{'s' if of.labels > 1 else ''} of known rows added" if of.labels else ""
    rows = f"{of.appended:,} row{'' if of.appended == 1 else 's'} appended"
    return f"{rows}, {of.known:,} known already, {refused:,} refused{labels}"


def _doubts(of: Appended, earlier: pa.ChunkedArray) -> Iterator[str]:
    """Say what is odd about a file's rows; `earlier` are the ids made of those of the command's other files."""
    if repeated := len(of.known_ids) and len(earlier) and pc.sum(pc.is_in(of.known_ids, value_set=earlier)).as_py():
        yield (
            f"{repeated:,} row{'s' if repeated > 1 else ''} without an id known from another file of this command: if"
            " they are other rows that are equal, give them ids or one file"
        )
    for file in of.unreadable:
        yield f"{file.shown}: cannot be read ({file.reason}), so rows that are only there are not known"
    if of.relabelled:
        yield f"{of.relabelled:,} id{'s have' if of.relabelled > 1 else ' has'} several labels; the last one counts"
    if of.moved:
        yield (
            f"{of.moved:,} known row{'s have' if of.moved > 1 else ' has'} another time in the log, whose rows stay as"
            " they are: if these are other rows, they need other ids"
        )
    if of.misdated:
        yield (
            f"{of.misdated:,} ids are UUIDs of version 7 that tell another time than their row: labels that come later"
            " will not find them"
        )


def _sum(one: Appended, other: Appended) -> Appended:
    numbers = (getattr(one, name) + getattr(other, name) for name in ("appended", "known", "labels"))
    return Appended(*numbers)
