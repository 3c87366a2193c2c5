"""`python -m monitoring gate`: a batch, or the log's window, judged by an exit status."""

import argparse
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from monitoring.batch.ingest import add_input_options, reading_of
from monitoring.batch.inputs import find_inputs, read_table
from monitoring.batch.usual_effects import UsualEffects, effect_of, usual_effects
from monitoring.contract.config import Config
from monitoring.contract.errors import DriftloopError
from monitoring.contract.exit_status import CANNOT, FAILS, PASSES, SKIPPED
from monitoring.contract.layout import Layout
from monitoring.contract.log_reader import read_rows
from monitoring.contract.part_reader import UNREADABLE, reason_of
from monitoring.contract.reference import Reference
from monitoring.contract.schemas import TIMESTAMP
from monitoring.contract.times import Micros
from monitoring.contract.uris import shown
from monitoring.contract.values import UnfitColumnError, convert, narrowed, narrowest
from monitoring.offline.commands import load_reference, write_whole
from monitoring.offline.unknown_categories import unknown_in
from monitoring.profile.bounds import Bounds
from monitoring.profile.columns import column_of
from monitoring.profile.counting import grid_of, profile_rows
from monitoring.profile.profile import Profile, merge
from monitoring.snapshot.snapshot import COLUMN_TEST, TABLE_TESTS, Assessment, ColumnDrift, Verdict
from monitoring.suite.lean_evidently import leave_out_the_rest

Kind = Literal["drift", "quality", "accuracy"]
KINDS: tuple[Kind, ...] = ("drift", "quality", "accuracy")
EFFECT = 0.1  # the least that counts as drift, as in the alert ModelDrift
_ROWS_AT_ONCE = 131_072
_FEW = 10  # times fewer values than there should be are too few to be judged


@dataclass(frozen=True)
class Compared:
    """The profiles of reference and rows, the least effect that counts as drift, and those that are usual.

    Of fewer rows than `minimum_rows` nothing is judged.
    """

    reference: Profile
    current: Profile
    effect: float
    usual: UsualEffects
    minimum_rows: int


@dataclass(frozen=True)
class Judgement:
    """A verdict, and whether it is on drift, quality or accuracy."""

    kind: Kind
    verdict: Verdict


def add_gate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's options."""
    command = commands.add_parser("gate", help="judge a batch, or the log's window, by the exit status")
    add_input_options(command, required=False)
    command.add_argument("--reference", help="what to hold it against, a Parquet file or its URI; default: DATA_DIR's")
    command.add_argument("--config", type=Path, help="default: DRIFTLOOP_CONFIG")
    command.add_argument("--judge", nargs="+", choices=KINDS, default=KINDS, help="what counts (default: all three)")
    command.add_argument(
        "--effect", type=_size, default=EFFECT, help="the least change of a column that counts as drift (default: 0.1)"
    )
    command.add_argument("--html", type=Path, help="where Evidently's report is written to")
    command.add_argument("--require-all", action="store_true", help="exit status 3 if none fails and one is skipped")
    command.set_defaults(run=gate)


def _size(text: str) -> float:
    if not math.isfinite(number := float(text)) or number < 0:
        raise ValueError(text)
    return number


def gate(options: argparse.Namespace, config: Config) -> int:
    """Judge rows against the reference, print each verdict, and return the exit status that they give."""
    if problem := config.beyond_profiles():
        raise DriftloopError(f"`gate` computes from profiles, whatever `engine` says: {problem}")
    layout = options.settings.layout(config.model)
    reference = load_reference(options.reference or str(layout.reference), config)
    tables = _read_input(options, config) if options.input else _read_window(layout, config, reference)
    compared = _compare(config, reference, tables, options.effect)
    unknown = list(unknown_in(compared.current))
    leave_out_the_rest()
    from monitoring.monitor import report_on  # noqa: PLC0415 - Evidently takes seconds; errors above need none

    report = report_on(config, compared.reference, compared.current, drawn=options.html is not None)
    assert report.run is not None  # there are enough rows
    assert report.snapshot.assessment is not None
    judged = [one for one in judge(config, report.snapshot.assessment, compared) if one.kind in options.judge]
    sys.stdout.writelines(f"{one.verdict.status.upper():7} {one.verdict.test}: {one.verdict.found}\n" for one in judged)
    sys.stdout.writelines(f"{line}\n" for line in unknown)
    code, said = _conclude(judged, options.judge, require_all=options.require_all)
    if compared.usual.pieces and "drift" in options.judge:
        sys.stdout.write(f"effects count from those of {compared.usual.said} on, and from {options.effect:g}\n")
    sys.stdout.write(f"{compared.current.rows:,} rows against {compared.reference.rows:,}: {said}\n")
    if options.html:
        write_whole(options.html, report.run.html().encode())
        sys.stdout.write(f"{options.html}: Evidently's report\n")
    return code


def _read_input(options: argparse.Namespace, config: Config) -> list[pa.Table]:
    """Read all files of the input; raise DriftloopError if one cannot be read: of half a batch nothing is judged."""
    reading = replace(reading_of(options, config.model, Micros(0)), strict=False)  # no time is asked for
    files, none = find_inputs(options.input, config.model)
    if none:
        raise DriftloopError("\n".join(map(str, none)))
    tables = []
    for file in files:
        try:
            tables.append(read_table(file, reading))
        except UNREADABLE as error:
            raise DriftloopError(f"{shown(file.uri)}: {reason_of(error)}") from error
    sys.stdout.writelines(
        f"the rows' times are not used: {problem}\n" for problem in {*map(_times_problem, tables)} if problem
    )
    return tables


def _times_problem(table: pa.Table) -> str | None:
    """Say why a file's times cannot be read, by which its rows would be held against days of the reference."""
    if "timestamp" in table.column_names:
        try:
            convert(table["timestamp"], pa.field("timestamp", TIMESTAMP))
        except UnfitColumnError as error:
            return str(error)
    return None


def _read_window(layout: Layout, config: Config, reference: Reference) -> list[pa.Table]:
    found = read_rows(layout, config.model, config.window, after=reference.through)
    sys.stdout.writelines(f"{file.shown}: left out: {file.reason}\n" for file in found.unreadable)
    times = pc.min_max(found.table["timestamp"])
    if (first := times["min"].as_py()) is not None:
        last = times["max"].as_py()
        days = (datetime.now(UTC) - last).days
        aside = f", {days:,} day{'s' if days > 1 else ''} ago" if days > 0 else ""
        sys.stdout.write(f"the log's rows from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC{aside}\n")
    return [found.table]


def _compare(config: Config, reference: Reference, tables: Sequence[pa.Table], effect: float) -> Compared:
    """Profile reference and rows, with each number in the narrower type of both."""
    table = narrowed(reference.table, narrowest((table.schema for table in tables), config.model.numbers))
    grid = grid_of(config.model, table, Bounds.of(config))
    pieces = (table.slice(n, _ROWS_AT_ONCE) for table in tables for n in range(0, len(table), _ROWS_AT_ONCE))
    try:
        ours, current = profile_rows(grid, table), merge(grid, (profile_rows(grid, piece) for piece in pieces))
    except UnfitColumnError as error:  # a prediction or label of another kind: no test is about these
        raise DriftloopError(str(error)) from error
    if current.rows < config.minimum_rows:
        raise DriftloopError(f"{current.rows:,} rows cannot be judged; minimum_rows is {config.minimum_rows:,}")
    usual = usual_effects(table, ours, current, config.minimum_rows)
    return Compared(ours, current, effect, usual, config.minimum_rows)


def judge(config: Config, assessment: Assessment, compared: Compared) -> Iterator[Judgement]:
    """Yield what counts in an assessment: drift by column, and each test of quality and of accuracy.

    A column has drifted if that remains after adjusting for the number of columns looked at, and its effect is large
    enough: of many rows the least change is significant.
    """
    for verdict in _drift(assessment, compared):
        yield Judgement("drift", verdict)
    for verdict in assessment.verdicts:
        name = verdict.test.partition(":")[0]
        if name not in (COLUMN_TEST, *TABLE_TESTS):
            yield Judgement("accuracy" if name in config.model.rules.label_tests else "quality", verdict)


def _drift(assessment: Assessment, compared: Compared) -> Iterator[Verdict]:
    broken = {v.test.partition(":")[2]: v for v in assessment.verdicts if v.status == "error"}
    drifts = [(one.drift, one.adjusted_drift, one.adjusted_p_value) for one in assessment.features]
    if (last := assessment.prediction) is not None:
        columns = len(assessment.features) + 1
        drifts.append((last, last.remains(columns), None if last.p_value is None else min(1.0, last.p_value * columns)))
    for drift, remains, adjusted in drifts:
        if drift.column in broken:
            yield replace(broken[drift.column], test=f"drift of {drift.column}")
        elif drift.distance is None and adjusted is None:
            continue
        elif (scarce := _scarce(drift.column, compared)) is not None:
            yield scarce
        else:
            size = effect_of(drift.column, compared.reference, compared.current)
            least = compared.usual.least(drift.column, compared.effect)
            fails = remains and (drift.distance is not None or size >= least)
            found = _found(drift, adjusted, size, least)
            yield Verdict(f"drift of {drift.column}", "fail" if fails else "success", found)
    if not drifts or all(drift.p_value is None and drift.distance is None for drift, _, _ in drifts):
        yield Verdict("drift", "skipped", f"not run: {COLUMN_TEST} is not among the config's tests")


def _scarce(name: str, compared: Compared) -> Verdict | None:
    """Return the verdict on a column with hardly a value: an error, unless the reference has as few."""
    column = column_of(compared.current.grid, name)
    values = column.judged(compared.current)
    expected = column.judged(compared.reference) / compared.reference.rows * compared.current.rows
    if _FEW * values >= max(expected, compared.minimum_rows):
        return None
    found = f"not judged: {values:,} of {compared.current.rows:,} rows have a value, {expected:,.0f} by the reference"
    return Verdict(f"drift of {name}", "error" if _FEW * values < expected else "skipped", found)


def _found(drift: ColumnDrift, adjusted: float | None, effect: float, least: float) -> str:
    if drift.distance is not None:
        return f"{drift.method} {drift.distance:.3g} (drift from {drift.threshold:g} on)"
    drifted = f"drift: below {drift.threshold:g}, and {least:.2g} or more"
    return f"{drift.method}, adjusted p-value {adjusted:.2g}, effect {effect:.2g} ({drifted})"


def _conclude(judged: Sequence[Judgement], kinds: Iterable[Kind], *, require_all: bool) -> tuple[int, str]:
    """Return the exit status, and in words what fails or could not be judged."""
    failed = [kind for kind in kinds if any(one.verdict.failed for one in judged if one.kind == kind)]
    run = {one.kind for one in judged if not one.verdict.skipped}
    unjudged = [kind for kind in kinds if kind not in run]
    aside = f"; not judged: {', '.join(unjudged)}" if unjudged else ""
    if failed:
        return FAILS, f"failing ({', '.join(failed)}){aside}"
    if not run:
        return CANNOT, "no test could run"
    skipped = unjudged or any(one.verdict.skipped for one in judged)
    return SKIPPED if skipped and require_all else PASSES, f"passing{aside}"
